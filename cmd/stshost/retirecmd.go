package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/server"
)

func retireCommand(o *options) *cobra.Command {
	var wait bool
	cmd := &cobra.Command{
		Use:   "retire DOMAIN",
		Short: "Take a domain out of MTA-STS without loss of mail",
		Long: `Retire takes a domain out of MTA-STS in the order of RFC 8461 §8.3: its policy says
none until no sender can hold an earlier one, which may take weeks; then its record
goes out of the DNS, and policy and certificate after it. The server does all that
by itself, and the command returns at once.

'stshost rollback DOMAIN' takes the domain back to testing, meanwhile and after.
'stshost horizon DOMAIN' says how long it would take, and changes nothing.

A domain that left the config while no server ran is retired by this, too.`,
		Args:              cobra.ExactArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: action(func(cmd *cobra.Command, args []string) error {
			return onDomain(cmd, o, args[0], func(ctx context.Context, c *server.Client, domain string) error {
				s, err := askDomain(ctx, domain, c.Retire)
				if err != nil {
					return err
				}
				sc := screenOf(cmd.OutOrStdout(), cmd.ErrOrStderr(), o.json)
				if !wait || s.Stage == state.StageRetired {
					return sc.answer(s, func(st style) string { return retireText(st, s) })
				}
				return followOut(ctx, sc, c, s)
			})
		}),
	}
	cmd.Flags().BoolVarP(&wait, "follow", "f", false, "show it until the domain is out, or Ctrl-C")
	return cmd
}

// retireText says what happens to a domain that is being retired, and until when.
func retireText(st style, s state.RolloutStatus) string {
	if s.Stage == state.StageRetired {
		return st.wrapped(escaped(withoutRemedy(s))) + "\n"
	}
	lines := []string{s.Domain + " is on its way out of MTA-STS (RFC 8461 §8.3)."}
	if s.Stage == state.StageRetiring {
		until := "Until no sender can hold an earlier policy, its policy says none."
		if !s.Until.IsZero() {
			until = "Until " + stamp(s.Until) + " senders may hold an earlier policy, and its policy says none."
		}
		lines = append(lines, until, "Then its record goes out of the DNS, and policy and certificate after it.")
	} else if s.Awaits != "" {
		lines = append(lines, withRemedy("Now: "+s.Awaits, s.Remedy)+".", "Its policy and certificate go after that.")
	}
	lines = append(lines, fmt.Sprintf("The server does that by itself; `stshost status %s` shows how far it is.", s.Domain))
	if !s.Left {
		lines = append(lines, fmt.Sprintf("`stshost rollback %s` takes the domain back to testing.", s.Domain))
	}
	var b strings.Builder
	for _, line := range lines {
		b.WriteString(st.wrapped(escaped(line)) + "\n")
	}
	return b.String()
}

// withoutRemedy is how a domain stands that is out, and what is left to do.
func withoutRemedy(s state.RolloutStatus) string {
	return withRemedy(s.Domain+" has left MTA-STS: it has no record, no policy and no certificate any more", s.Remedy)
}

// followOut shows a domain on its way out until it is there.
func followOut(ctx context.Context, sc screen, c interface {
	Rollout(ctx context.Context, domain string) (state.RolloutStatus, error)
}, first state.RolloutStatus) error {
	domain := first.Domain
	return stalled(sc, follow(ctx, sc, watched[state.RolloutStatus]{
		ask: func(ctx context.Context) (state.RolloutStatus, error) {
			s, err := c.Rollout(ctx, domain)
			if first.Left && errors.Is(err, state.ErrNotFound) { // nothing is known of it any more
				return state.RolloutStatus{Domain: domain, Stage: state.StageRetired, Left: true}, nil
			}
			return s, err
		},
		every:  followEvery,
		text:   retireText,
		line:   retireLine,
		value:  func(s state.RolloutStatus) any { return s },
		key:    func(s state.RolloutStatus) string { return fmt.Sprint(s.Stage, s.Goal, s.Confirmed, s.Remedy) },
		over:   retireOver,
		goesOn: fmt.Sprintf("The server goes on by itself; `stshost status %s` shows how far it is.", domain),
	}))
}

func retireLine(s state.RolloutStatus) string {
	if s.Stage == state.StageRetired {
		return withoutRemedy(s)
	}
	return rolloutLine(s)
}

func retireOver(s state.RolloutStatus) (bool, error) {
	switch {
	case s.Stage == state.StageRetired:
		return true, nil
	case s.Goal != state.GoalRetire:
		return true, &stalledError{"called off: " + headline(s), s.Remedy}
	}
	return false, nil
}
