package main

import (
	"fmt"
	"maps"
	"os"
	"slices"

	"github.com/spf13/cobra"

	"github.com/stshost/stshost/config"
	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/notify"
	"github.com/stshost/stshost/reconcile"
)

// targets are those that the config wants told what happens, as package notify
// takes them, by name.
func targets(told map[string]config.Notify) []notify.Target {
	all := make([]notify.Target, 0, len(told))
	for _, name := range slices.Sorted(maps.Keys(told)) {
		c := told[name]
		all = append(all, notify.Target{
			Name: name, URL: c.URL, Min: state.Severity(c.Min),
			QuietFrom: c.QuietFrom, QuietTo: c.QuietTo, Location: c.Location, Repeat: c.Repeat,
		})
	}
	return all
}

// wireNotify makes the part that tells people what happens.
func (s *service) wireNotify(cfg *config.Config) (err error) {
	s.notifier, err = notify.New(notify.Config{
		Targets: targets(cfg.Notify), Source: s.events, Store: s.store, Stands: s.stands,
		Window: s.env.notifyWindow, Now: s.env.now, Logger: s.log,
	})
	return err
}

// stands reports whether a trouble of this kind may still be there: whether the
// config in force has its subject, and nothing says that all is well with it.
func (s *service) stands(kind, subject string) bool {
	cfg := s.config()
	domain, known := s.reconciler.Snapshot(subject)
	switch {
	case subject == "": // the server as a whole
		return true
	case kind == state.KindMXFailed:
		w, _ := s.mx.Last(subject)
		return w.Told.Kind == state.KindMXFailed
	case known && !domain.Orphan:
		return kind != state.KindDomainBlocked || domain.State.LastError != ""
	case slices.Contains(cfg.ACME.ExtraHosts, subject):
		return kind != state.KindHostBlocked || slices.ContainsFunc(s.reconciler.ExtraHosts(), func(h reconcile.HostState) bool {
			return h.Host == subject && h.LastError != ""
		})
	}
	return slices.ContainsFunc(cfg.Certificates, func(c config.Certificate) bool { return c.CertFile == subject })
}

func notifyCommand(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "notify",
		Short: "Try the notifications of the config",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(&cobra.Command{
		Use:   "test [NAME]",
		Short: "Send a test message to each [notify.NAME], or to one",
		Long: `Test sends a message to each [notify.NAME] of the config, or to the one named, and
says whether the service took it. It asks no running server, and quiet hours do
not hold it back.`,
		Args: cobra.MaximumNArgs(1),
		RunE: action(func(cmd *cobra.Command, args []string) error {
			told, err := config.LoadNotify(o.config, config.Options{CheckNotify: notify.Check})
			if err != nil {
				return err
			}
			server, err := os.Hostname()
			if err != nil {
				return fmt.Errorf("the name of this machine: %w", err)
			}
			name := ""
			if len(args) == 1 {
				name = args[0]
			}
			return testTargets(cmd, o, targets(told), name, server)
		}),
	})
	return cmd
}

// testAnswer is how a test went, as JSON.
type testAnswer struct {
	Target string `json:"target"`
	Error  string `json:"error,omitempty"`
}

func testTargets(cmd *cobra.Command, o *options, all []notify.Target, name, server string) error {
	answers := []testAnswer{}
	failed := false
	err := notify.Test(cmd.Context(), all, name, server, func(target string, err error) {
		a := testAnswer{Target: target}
		if err != nil {
			a.Error, failed = err.Error(), true
		}
		answers = append(answers, a)
		switch {
		case o.json:
		case err != nil:
			fmt.Fprintf(cmd.OutOrStdout(), "%s: not sent: %v\n", target, err)
		default:
			fmt.Fprintf(cmd.OutOrStdout(), "%s: done\n", target)
		}
	})
	if err != nil {
		return err
	}
	if o.json {
		if err := printJSON(cmd.OutOrStdout(), answers); err != nil {
			return err
		}
	}
	if failed {
		return exitError(1)
	}
	return nil
}
