package main

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/stshost/stshost/config"
	"github.com/stshost/stshost/dnsupdate"
	"github.com/stshost/stshost/mtasts"
)

func dnsCommand(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dns",
		Short: "Test the way to a DNS provider",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(dnsTestCommand(o))
	return cmd
}

func dnsTestCommand(o *options) *cobra.Command {
	timeout := 2 * time.Minute
	cmd := &cobra.Command{
		Use:   "test ACCOUNT ZONE",
		Short: "Try whether a DNS account can do in a zone what stshost needs",
		Long: `Test adds a TXT record at a name of its own, _stshost-test-….ZONE, in the way
that stshost publishes one, sees it on every authoritative server, replaces it,
removes it, and sees it gone. Nothing else in the zone is touched, and what was
added is removed in any case. No server needs to run.`,
		Args: cobra.ExactArgs(2),
		RunE: action(func(cmd *cobra.Command, args []string) error {
			cfg, err := loadConfig(o.config)
			if err != nil {
				return err
			}
			account, ok := cfg.DNS[args[0]]
			if !ok {
				return fmt.Errorf("there is no DNS account %s in %s; there are: %s", args[0], o.config, strings.Join(slices.Sorted(maps.Keys(cfg.DNS)), ", "))
			}
			zone := args[1]
			if !strings.Contains(zone, "_") { // a zone such as _mta-sts.example.net is no policy domain
				if zone, err = mtasts.ParseDomain(zone); err != nil {
					return usageError{err}
				}
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			return dnsTest(ctx, cmd.OutOrStdout(), cfg, account, zone, o.json, nil)
		}),
	}
	cmd.Flags().DurationVar(&timeout, "timeout", timeout, "give up after this `time`, e.g. for name servers that are slow to show changes")
	return cmd
}

// dnsTestStep is a step in JSON.
type dnsTestStep struct {
	Step    string  `json:"step"`
	Text    string  `json:"text"`
	Seconds float64 `json:"seconds"`
	Error   string  `json:"error,omitempty"`
}

// dnsTest tries the account in the zone and tells each step as it ends.
// transport is the way to providers that speak HTTP; nil is the usual one.
func dnsTest(ctx context.Context, w io.Writer, cfg *config.Config, account config.DNSAccount, zone string, asJSON bool, transport http.RoundTripper) error {
	_, res, err := outside(cfg)
	if err != nil {
		return err
	}
	u, err := dnsupdate.New(dnsupdate.Config{
		Accounts: map[string]dnsupdate.Account{account.Name: {Provider: account.Provider, Settings: account.Settings}},
		Resolver: res, Transport: transport, Logger: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return err
	}
	out := struct {
		Account  string        `json:"account"`
		Provider string        `json:"provider"`
		Zone     string        `json:"zone"`
		Passed   bool          `json:"passed"`
		Steps    []dnsTestStep `json:"steps"`
		Error    string        `json:"error,omitempty"`
	}{Account: account.Name, Provider: account.Provider, Zone: zone, Steps: []dnsTestStep{}}
	err = u.Try(ctx, account.Name, zone, func(s dnsupdate.Step) {
		step := dnsTestStep{Step: s.Name, Text: s.Text, Seconds: s.Took.Seconds()}
		mark := "ok    "
		if s.Err != nil {
			mark, step.Error = "FAILED", s.Err.Error()
		}
		out.Steps = append(out.Steps, step)
		if !asJSON {
			fmt.Fprintf(w, "%s %7.2f s  %s\n", mark, s.Took.Seconds(), s.Text)
		}
	})
	if !asJSON {
		if err == nil {
			fmt.Fprintf(w, "The account %s (%s) can keep records in %s.\n", account.Name, account.Provider, zone)
		}
		return err
	}
	out.Passed = err == nil
	if err != nil {
		out.Error = err.Error()
	}
	if werr := printJSON(w, out); werr != nil {
		return werr
	}
	return err
}
