package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
	"github.com/stshost/stshost/server"
)

// rollbackSettings are the flags of `stshost rollback`.
type rollbackSettings struct {
	selection
	detach, yes bool
}

func rollbackCommand(o *options) *cobra.Command {
	var s rollbackSettings
	cmd := &cobra.Command{
		Use:   "rollback DOMAIN... | --all | --profile NAME",
		Short: "Take domains back to testing at once",
		Long: `Rollback takes a managed domain back to testing, from enforce, on its way out of
MTA-STS, or after it has left: the policy is served in mode testing, then announced
under a new id. Senders deliver again whatever the MX hosts offer, as soon as they
see that id, which is at their next mail as a rule. A rollout is called off.

The command shows it until every name server has the new id. The server needs no
such company: Ctrl-C ends the command alone, and --detach leaves it out.

Several domains, --all or --profile are taken back 8 at a time, those in enforce
first. One that fails holds up no other, and the command returns when the server has
all of them in hand. --all and --profile take back what is in enforce, or on its way
there, and leave those alone that leave MTA-STS, or have left it. They ask before
they change anything; where nobody can be asked, as in a script, they need --yes.

With --json: the state of a domain, again on a line of its own whenever something
changes. Of several domains one answer, when the server has all of them in hand.

Exit codes:
  0  taken back, or the command was left by Ctrl-C when the server had it in hand
  1  failed, at one domain at least, or not confirmed, or one stays in enforce, as
     the config pins it there
  2  wrong usage`,
		Example: `  stshost rollback example.org
  stshost rollback --profile office
  stshost rollback --all --yes --json`,
		Args:              cobra.ArbitraryArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: action(func(cmd *cobra.Command, args []string) error {
			if err := s.complete(cmd, args); err != nil {
				return err
			}
			if s.asks() && !somebody(cmd.InOrStdin(), cmd.ErrOrStderr()) {
				return usageError{errors.New("--all and --profile ask before they take domains back, and there is no terminal to ask at; --yes has it done unasked")}
			}
			return withServer(cmd, o, func(ctx context.Context, c *server.Client) error {
				sc := screenOf(cmd.OutOrStdout(), cmd.ErrOrStderr(), o.json)
				if len(s.named) == 1 {
					return s.one(ctx, c, sc)
				}
				m := &manyRollbacks{rollbackSettings: s, client: c, in: cmd.InOrStdin(), screen: sc}
				return m.many(ctx)
			})
		}),
	}
	s.flags(cmd)
	cmd.Flags().BoolVar(&s.detach, "detach", false, "return when the server has taken it in hand, as with several domains")
	cmd.Flags().BoolVar(&s.yes, "yes", false, "with --all or --profile: do not ask")
	return cmd
}

// asks reports whether the command has to be confirmed: many domains give up their
// protection, and nobody has named them.
func (s *rollbackSettings) asks() bool { return s.named == nil && !s.yes }

// one takes one domain back and shows how far it is.
func (s *rollbackSettings) one(ctx context.Context, c *server.Client, sc screen) error {
	r, err := askDomain(ctx, s.named[0], c.Rollback)
	switch {
	case err != nil:
		return err
	case s.detach:
		return sc.answer(r, func(st style) string {
			return st.wrapped(escaped(headline(r))) + "\n" + st.wrapped(backGoesOn(r.Domain)) + "\n"
		})
	}
	return followBack(ctx, sc, c, r.Domain)
}

func backGoesOn(domain string) string {
	return fmt.Sprintf("The server goes on by itself; `stshost status %s` shows how far it is.", domain)
}

// goingBack is a domain on its way back to testing.
type goingBack struct {
	rollout state.RolloutStatus
	domain  server.DomainStatus
}

// goers are what followBack asks.
type goers interface {
	Rollout(ctx context.Context, domain string) (state.RolloutStatus, error)
	Domain(ctx context.Context, name string) (server.DomainStatus, error)
}

// followBack shows a domain on its way back until every name server announces the
// policy.
func followBack(ctx context.Context, sc screen, c goers, domain string) error {
	return stalled(sc, follow(ctx, sc, watched[goingBack]{
		ask: func(ctx context.Context) (b goingBack, err error) {
			if b.domain, err = c.Domain(ctx, domain); err != nil {
				return b, err
			}
			b.rollout, err = c.Rollout(ctx, domain)
			return b, err
		},
		every: followEvery,
		text: func(st style, b goingBack) string {
			return st.wrapped(b.line()) + "\n"
		},
		line:   goingBack.line,
		value:  func(b goingBack) any { return b.rollout },
		key:    goingBack.line,
		over:   goingBack.over,
		goesOn: backGoesOn(domain),
	}))
}

// confirmed reports whether every name server announces the policy that is in
// testing. The step may still be that of the policy before, so it counts only with
// an id of this one, or once the stage itself is confirmed, as an id that was found
// published may be of anybody's making.
func (b goingBack) confirmed() bool {
	d := b.domain
	return d.Step == state.Confirmed && d.Mode == string(mtasts.ModeTesting) && d.ConfigWaits.IsZero() &&
		(!b.rollout.Confirmed.IsZero() || mtasts.Announces(d.ID, []byte(d.Body)))
}

func (b goingBack) line() string {
	switch {
	case b.rollout.Stage != state.StageTesting && b.rollout.Stage != "":
		return escaped(headline(b.rollout))
	case b.confirmed():
		return escaped(b.domain.Domain + ": testing, confirmed everywhere; senders deliver again whatever the MX hosts offer, as soon as they see the id " + b.domain.ID)
	}
	text := b.domain.Domain + ": back to testing, " + backStep(b.domain)
	if trouble := b.domain.Trouble(); trouble != "" {
		return withRemedy(text+"; "+trouble, b.domain.Remedy)
	}
	return escaped(text)
}

// backStep is how far the policy is that is in testing.
func backStep(d server.DomainStatus) string {
	switch {
	case d.Step == "":
		return "waits to be looked at"
	case d.Mode != string(mtasts.ModeTesting):
		return "not served yet"
	case d.Step == state.Confirmed:
		return "served, not announced yet"
	}
	return stateOf(d)
}

func (b goingBack) over() (bool, error) {
	switch {
	case b.rollout.Stage != state.StageTesting && b.rollout.Stage != "":
		return true, &stalledError{"no longer on its way back: " + headline(b.rollout), ""}
	case b.confirmed():
		return true, nil
	}
	return false, nil
}

// stalled prints why something does not go on, which ends the command.
func stalled(sc screen, err error) error {
	var stalled *stalledError
	if !errors.As(err, &stalled) {
		return err
	}
	fmt.Fprintln(sc.errOut, styleOf(sc.errOut).wrapped(stalled.Error()))
	return exitError(1)
}
