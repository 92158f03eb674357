package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stshost/stshost/server"
)

func reloadCommand(o *options) *cobra.Command {
	var abandon []string
	var all, many bool
	cmd := &cobra.Command{
		Use:   "reload",
		Short: "Have the running server read its config again",
		Long: `Reload has the running server read its config again. A config with faults
changes nothing; the faults are shown, each with file and line.

A domain that is no longer in the config is retired: its policy says none until no
sender can hold an earlier one, then record, policy and certificate go (RFC 8461
§8.3). Put back into the config, it returns to where it was. A reload by which most
of many domains would leave is refused without --retire-many: a file may be missing.

--abandon drops a domain at once instead, be it that it leaves now or is on its way
out: policy and certificate are gone. Senders that hold the policy go by it until
it runs out, and refuse MX hosts that it does not name. Its record stays in the DNS,
and is yours to remove.

What is blocked is looked at again at once, and certificates that could not be
had are tried again: a host every five minutes at most, and not before a time
that the CA has asked for.`,
		Args: cobra.NoArgs,
		RunE: action(func(cmd *cobra.Command, _ []string) error {
			var list domainList
			for _, domain := range abandon {
				list.add("--abandon", domain)
			}
			if len(list.faults) > 0 {
				return usageError{errors.Join(list.faults...)}
			}
			return withServer(cmd, o, func(ctx context.Context, c *server.Client) error {
				res, err := c.Reload(ctx, server.ReloadOrder{Abandon: list.names, AbandonAll: all, RetireMany: many})
				if err != nil {
					return err
				}
				return printReload(cmd, o, res, list.names)
			})
		}),
	}
	cmd.Flags().StringArrayVar(&abandon, "abandon", nil, "drop this `domain`, which is not in the config any more, at once; may be repeated")
	cmd.Flags().BoolVar(&many, "retire-many", false, "take domains out of MTA-STS even if most of all leave the config with this reload")
	cmd.Flags().BoolVar(&all, "abandon-all", false, "drop every domain at once that leaves the config with this reload")
	return cmd
}

// printReload says what a reload did. That nothing is known of a domain which was
// to be abandoned is a failure: its name is mistyped, or it is gone already.
func printReload(cmd *cobra.Command, o *options, res server.ReloadResult, abandon []string) error {
	if o.json {
		if err := printJSON(cmd.OutOrStdout(), res); err != nil {
			return err
		}
	} else {
		for _, w := range res.Warnings {
			fmt.Fprintln(cmd.ErrOrStderr(), "warning: "+w)
		}
		fmt.Fprintln(cmd.OutOrStdout(), reloadSummary(res))
	}
	unknown := slices.DeleteFunc(slices.Clone(abandon), func(name string) bool { return slices.Contains(res.Abandoned, name) })
	if len(unknown) > 0 {
		return fmt.Errorf("not abandoned, as the server does not serve it: %s", strings.Join(unknown, ", "))
	}
	return nil
}

// reloadSummary says in a line or a few what a reload changed.
func reloadSummary(r server.ReloadResult) string {
	var lines []string
	if r.Empty() {
		lines = append(lines, "nothing changed in the config")
	}
	forgotten := slices.DeleteFunc(slices.Clone(r.Removed), func(name string) bool {
		return slices.Contains(r.Retiring, name) || slices.Contains(r.Abandoned, name)
	})
	for _, part := range []struct {
		what  string
		names []string
	}{
		{"added", r.Added}, {"changed", r.Changed},
		{"no longer in the config, and being retired (record, policy and certificate go when no sender can hold an earlier policy; put it back into the config to undo)", r.Retiring},
		{"no longer in the config, and forgotten (no sender can hold a policy of it)", forgotten},
		{"abandoned (no longer served; its record is yours to remove from the DNS, and senders that hold its policy go by it until that runs out)", r.Abandoned},
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
