package main

import (
	"context"
	"strings"
	"time"

	"github.com/fatih/color"
	"github.com/spf13/cobra"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
	"github.com/stshost/stshost/server"
)

func horizonCommand(o *options) *cobra.Command {
	var mx string
	cmd := &cobra.Command{
		Use:   "horizon DOMAIN",
		Short: "Say when a domain, or one of its MX hosts, can go without loss of mail",
		Long: `Horizon says from when on a domain can leave MTA-STS, or with --mx an MX host can
be switched off, without loss of mail: senders keep a policy for its max_age, and go
by it (RFC 8461 §5.1). The answer rests on every policy that was ever served here or
found published, which are listed. It changes nothing.

Exit codes:
  0  it can go now
  1  not yet, or not as things stand
  2  wrong usage`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: action(func(cmd *cobra.Command, args []string) error {
			host := ""
			if cmd.Flags().Changed("mx") {
				var err error
				if host, err = mtasts.ParseDomain(mx); err != nil {
					return usageError{err}
				}
			}
			return onDomain(cmd, o, args[0], func(ctx context.Context, c *server.Client, domain string) error {
				h, err := askDomain(ctx, domain, func(ctx context.Context, name string) (state.Horizon, error) { return c.Horizon(ctx, name, host) })
				if err != nil {
					return err
				}
				sc := screenOf(cmd.OutOrStdout(), cmd.ErrOrStderr(), o.json)
				if err := sc.answer(h, func(st style) string { return st.horizon(h) }); err != nil {
					return err
				}
				if h.Open || !h.Until.IsZero() {
					return exitError(1)
				}
				return nil
			})
		}),
	}
	cmd.Flags().StringVar(&mx, "mx", "", "ask about this MX `host`, instead of the domain as a whole")
	return cmd
}

// horizon is the answer, and the policies that it rests on.
func (st style) horizon(h state.Horizon) string {
	var b strings.Builder
	b.WriteString(st.wrapped(sentence(h.Text)) + "\n")
	if h.Remedy != "" {
		b.WriteString(st.wrapped("What to do: "+sentence(h.Remedy)) + "\n")
	}
	if len(h.Bodies) == 0 {
		return b.String()
	}
	var rows [][]cell
	for _, body := range h.Bodies {
		first, last, matters := stamp(body.First), "served now", "no"
		if body.Adopted {
			first += " (found published)"
		}
		if !body.Last.IsZero() {
			last = stamp(body.Last)
		}
		if body.Matters {
			matters = "yes"
		}
		row := cells(first, last, body.Mode, duration(time.Duration(body.MaxAge)*time.Second), stamp(body.Until), matters, body.Why, dash(strings.Join(body.MX, ", ")))
		if body.Matters {
			row[5].paint = []color.Attribute{color.FgYellow}
		}
		rows = append(rows, row)
	}
	b.WriteString("\n" + st.grid([]string{"FIRST SERVED", "LAST SERVED", "MODE", "MAX_AGE", "HELD UNTIL", "MATTERS", "WHY", "MX"}, rows))
	return b.String()
}

// sentence is harmless text with a full stop.
func sentence(text string) string { return strings.TrimSuffix(escaped(text), ".") + "." }
