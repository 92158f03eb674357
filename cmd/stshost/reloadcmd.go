package main

import (
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stshost/stshost/server"
)

func reloadCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "reload",
		Short: "Have the running server read its config again",
		Long: `Reload has the running server read its config again. A config with faults
changes nothing; the faults are shown, each with file and line.

What is blocked is looked at again at once, and certificates that could not be
had are tried again: a host every five minutes at most, and not before a time
that the CA has asked for.`,
		Args: cobra.NoArgs,
		RunE: action(func(cmd *cobra.Command, _ []string) error {
			admin, err := adminAddress(o.config)
			if err != nil {
				return err
			}
			res, err := server.NewClient(admin).Reload(cmd.Context(), server.ReloadOrder{})
			if errors.Is(err, server.ErrNotRunning) {
				cfg, err := loadConfig(o.config)
				if err != nil {
					return err
				}
				if err := answersElsewhere(admin, cfg); err != nil {
					return err
				}
				return fmt.Errorf("no server is running at %s; start it with 'stshost serve --config %s'", admin, o.config)
			}
			if err != nil {
				return err
			}
			if o.json {
				return printJSON(cmd.OutOrStdout(), res)
			}
			for _, w := range res.Warnings {
				fmt.Fprintln(cmd.ErrOrStderr(), "warning: "+w)
			}
			fmt.Fprintln(cmd.OutOrStdout(), reloadSummary(res))
			return nil
		}),
	}
}

// reloadSummary says in a line or a few what a reload changed.
func reloadSummary(r server.ReloadResult) string {
	var lines []string
	if r.Empty() {
		lines = append(lines, "nothing changed in the config")
	}
	for _, part := range []struct {
		what  string
		names []string
	}{
		{"added", r.Added}, {"changed", r.Changed}, {"no longer in the config (an announced policy is still served)", r.Removed},
		{"settings in force", r.Settings}, {"needs a restart", r.Restart},
	} {
		if n := len(part.names); n > 10 {
			lines = append(lines, fmt.Sprintf("%s: %s and %d more", part.what, strings.Join(part.names[:10], ", "), n-10))
		} else if n > 0 {
			lines = append(lines, part.what+": "+strings.Join(part.names, ", "))
		}
	}
	if r.TriedAgain > 0 {
		lines = append(lines, fmt.Sprintf("certificates that could not be had and are tried again: %d", r.TriedAgain))
	}
	return strings.Join(lines, "\n")
}
