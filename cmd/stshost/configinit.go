package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/stshost/stshost/config"
	"github.com/stshost/stshost/dnsupdate"
	"github.com/stshost/stshost/internal/resolver"
	"github.com/stshost/stshost/mtasts"
)

func configInitCommand(o *options) *cobra.Command {
	var provider, output string
	var mx, servers []string
	var fromDNS bool
	cmd := &cobra.Command{
		Use:   "init DOMAIN",
		Short: "Write a commented starting config",
		Long: `Init writes a commented starting config for DOMAIN to standard output, or to the
file that --output names, which must not exist yet.

The names of the MX hosts are frozen into the config on purpose: a policy that
followed DNS by itself would follow a forged answer too (RFC 8461 §10).`,
		Args: cobra.ExactArgs(1),
		RunE: action(func(cmd *cobra.Command, args []string) error {
			domain, err := mtasts.ParseDomain(args[0])
			if err != nil {
				return usageError{err}
			}
			if len(servers) > 0 && !fromDNS {
				return usageError{errors.New("--resolver is for --mx-from-dns")}
			}
			if fromDNS {
				if len(mx) > 0 {
					return usageError{errors.New("--mx and --mx-from-dns exclude each other")}
				}
				if mx, err = lookUpMX(cmd.Context(), servers, domain); err != nil {
					return err
				}
			}
			for i := range mx {
				mx[i] = strings.TrimSuffix(mx[i], ".") // as dig shows them
			}
			if len(mx) == 0 {
				fmt.Fprintf(cmd.ErrOrStderr(), "mx1.%s is a guess: correct the line mx, or name the MX hosts with --mx or --mx-from-dns\n", domain)
			}
			text, err := config.Init(config.InitOptions{
				Domain: domain, Provider: provider, MX: mx,
				Options: config.Options{Providers: providers(), Refused: dnsupdate.RefusedProviders()},
			})
			if err != nil {
				return usageError{err}
			}
			if output == "" || output == "-" {
				_, err = cmd.OutOrStdout().Write(text)
				return err
			}
			f, err := os.OpenFile(output, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o640)
			if errors.Is(err, os.ErrExist) {
				return fmt.Errorf("%s exists and is not overwritten; move it away or choose another --output", output)
			}
			if err != nil {
				return err
			}
			_, err = f.Write(text)
			if err = errors.Join(err, f.Close()); err != nil {
				return err
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "wrote %s; read it, then run: stshost config check --config %s\n", output, output)
			return nil
		}),
	}
	cmd.Flags().StringVar(&provider, "dns", config.PrintAccount, "DNS `provider` that announces the policy")
	cmd.Flags().StringSliceVar(&mx, "mx", nil, "MX `host`, or *.host for any one label before it; may be repeated")
	cmd.Flags().BoolVar(&fromDNS, "mx-from-dns", false, "take the MX hosts that DNS shows now")
	cmd.Flags().StringSliceVar(&servers, "resolver", nil, "`host:port` to ask for --mx-from-dns in place of the system's resolver")
	cmd.Flags().StringVarP(&output, "output", "o", "", "`file` to write; it must not exist")
	return cmd
}

// lookUpMX reads the MX hosts of domain, in the order of their preference.
func lookUpMX(ctx context.Context, servers []string, domain string) ([]string, error) {
	ctx, cancel := context.WithTimeout(ctx, 15*time.Second)
	defer cancel()
	res, err := resolver.New(resolver.Config{Servers: servers})
	if err != nil {
		return nil, err
	}
	found, err := res.MX(ctx, domain)
	if err != nil {
		return nil, fmt.Errorf("cannot look up the MX records of %s: %w; name the hosts with --mx", domain, err)
	}
	slices.SortStableFunc(found, func(a, b resolver.MX) int { return cmp.Compare(a.Preference, b.Preference) })
	var hosts []string
	for _, m := range found {
		if strings.Trim(m.Host, ".") == "" {
			return nil, fmt.Errorf("%s has a null MX: it accepts no mail (RFC 7505 §3) and needs no MTA-STS", domain)
		}
		host, err := mtasts.ParsePattern(strings.TrimSuffix(m.Host, "."))
		if err != nil {
			return nil, fmt.Errorf("the MX record of %s: %w", domain, err)
		}
		hosts = append(hosts, host)
	}
	return hosts, nil
}
