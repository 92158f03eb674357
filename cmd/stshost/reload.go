package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"slices"
	"strings"
	"syscall"

	"github.com/spf13/cobra"

	"github.com/stshost/stshost/server"
)

func reloadCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "reload",
		Short: "Have the running server read its config again",
		Long: `Reload has the running server read its config again. A config with faults
changes nothing; the faults are shown, each with file and line.`,
		Args: cobra.NoArgs,
		RunE: action(func(cmd *cobra.Command, _ []string) error {
			admin, err := adminAddress(o.config)
			if err != nil {
				return err
			}
			res, err := server.NewClient(admin).Reload(cmd.Context())
			if errors.Is(err, server.ErrNotRunning) {
				return fmt.Errorf("no server is running at %s; start it with 'stshost serve --config %s'", admin, o.config)
			}
			if err != nil {
				return err
			}
			if o.json {
				return printJSON(cmd.OutOrStdout(), res)
			}
			fmt.Fprintln(cmd.OutOrStdout(), reloadSummary(res))
			return nil
		}),
	}
}

// reloadSummary says in a line or a few what a reload changed.
func reloadSummary(r server.ReloadResult) string {
	if r.Empty() {
		return "nothing changed"
	}
	var lines []string
	for _, part := range []struct {
		what  string
		names []string
	}{
		{"added", r.Added}, {"changed", r.Changed}, {"removed", r.Removed},
		{"settings in force", r.Settings}, {"needs a restart", r.Restart},
	} {
		if n := len(part.names); n > 10 {
			lines = append(lines, fmt.Sprintf("%s: %s and %d more", part.what, strings.Join(part.names[:10], ", "), n-10))
		} else if n > 0 {
			lines = append(lines, part.what+": "+strings.Join(part.names, ", "))
		}
	}
	return strings.Join(lines, "\n")
}

// Reload reads the config again and, if it is right, swaps it in whole.
func (s *service) Reload(ctx context.Context) (server.ReloadResult, error) {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	old := s.config()
	next, err := loadConfig(old.File)
	if err != nil {
		return server.ReloadResult{}, server.NewInvalidConfigError(err)
	}
	if err := s.dns.SetAccounts(accounts(next)); err != nil {
		return server.ReloadResult{}, err
	}
	changes, err := s.reconciler.SetDomains(ctx, wanted(next))
	if err != nil {
		return server.ReloadResult{}, errors.Join(err, s.dns.SetAccounts(accounts(old)))
	}
	s.mu.Lock()
	s.cfg = next
	s.mu.Unlock()
	res := server.ReloadResult{
		Added: changes.Added, Changed: changes.Changed, Removed: changes.Removed,
		Unchanged: len(next.Domains) - len(changes.Added) - len(changes.Changed),
		Settings:  changedSettings(old, next),
		Restart:   needRestart(s.started, next),
	}
	// Whoever reloads may have mended something elsewhere just now.
	s.reconciler.WakeBlocked()
	if res.Empty() {
		s.log.Info("config reloaded: nothing changed")
		return res, nil
	}
	for _, l := range [][]string{res.Added, res.Changed, res.Removed} {
		slices.Sort(l)
	}
	s.log.Info("config reloaded", "added", len(res.Added), "changed", len(res.Changed), "removed", len(res.Removed),
		"settings", res.Settings, "restart", res.Restart)
	return res, nil
}

// hangups delivers SIGHUP from now on, so that none ends the process while it
// starts or stops.
func hangups() (hup <-chan os.Signal, stop func()) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGHUP)
	return c, func() { signal.Stop(c) }
}

// reloadOn reloads the config on each signal until ctx ends.
func (s *service) reloadOn(ctx context.Context, hup <-chan os.Signal) error {
	for {
		select {
		case <-hup:
			if _, err := s.Reload(ctx); err != nil {
				s.log.Error("the config was not reloaded, the running one stays", "error", err)
			}
		case <-ctx.Done():
			return nil
		}
	}
}
