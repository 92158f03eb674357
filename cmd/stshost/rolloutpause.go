package main

import (
	"context"
	"slices"

	"github.com/spf13/cobra"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/server"
)

func rolloutPauseCommand(o *options) *cobra.Command {
	return rolloutChangeCommand(o, &cobra.Command{
		Use:   "pause DOMAIN... | --all | --profile NAME",
		Short: "Have no step made until it is resumed",
		Long: `Pause has no step made of rollouts that are under way, until they are resumed. What
is served goes on being kept right.

Of several domains 8 are paused at a time. --all and --profile pause those that are
on their way to enforce, and leave the others alone. --json gives one answer for all.

Exit codes:
  0  paused, or it was before
  1  failed, at one domain at least
  2  wrong usage`,
	}, &rolloutChange{do: server.Rollouts.PauseRollout, outcome: turnPaused, before: turnDone, words: []outcomeWords{
		{turnPaused, "paused"}, {turnDone, "paused already"},
	}})
}

func rolloutResumeCommand(o *options) *cobra.Command {
	return rolloutChangeCommand(o, &cobra.Command{
		Use:   "resume DOMAIN... | --all | --profile NAME",
		Short: "Go on with a rollout that was paused",
		Long: `Resume has rollouts go on that were paused. The gates are looked at before each step
as ever.

Of several domains 8 are resumed at a time. --all and --profile resume those that are
paused, whoever paused them, and leave the others alone. --json gives one answer for
all.

Exit codes:
  0  resumed, or it was on its way
  1  failed, at one domain at least
  2  wrong usage`,
	}, &rolloutChange{do: server.Rollouts.ResumeRollout, outcome: turnResumed, before: turnOnItsWay, words: []outcomeWords{
		{turnResumed, "resumed"}, {turnOnItsWay, "on their way already"},
	}})
}

// rolloutChange is an order to pause rollouts, or to resume them.
type rolloutChange struct {
	selection
	do      func(server.Rollouts, context.Context, string) (state.RolloutStatus, error)
	outcome turnOutcome // of the order
	before  turnOutcome // of a domain that had it before
	words   []outcomeWords
}

// rolloutChangeCommand makes of cmd a command that changes rollouts, and says how
// they stand then.
func rolloutChangeCommand(o *options, cmd *cobra.Command, p *rolloutChange) *cobra.Command {
	cmd.Args, cmd.ValidArgsFunction = cobra.ArbitraryArgs, cobra.NoFileCompletions
	cmd.RunE = action(func(cmd *cobra.Command, args []string) error {
		if err := p.complete(cmd, args); err != nil {
			return err
		}
		return withServer(cmd, o, func(ctx context.Context, c *server.Client) error {
			sc := screenOf(cmd.OutOrStdout(), cmd.ErrOrStderr(), o.json)
			if len(p.named) == 1 {
				return p.one(ctx, c, sc)
			}
			return p.many(ctx, c, sc)
		})
	})
	p.flags(cmd)
	return cmd
}

func (p *rolloutChange) one(ctx context.Context, c server.Rollouts, sc screen) error {
	s, err := askDomain(ctx, p.named[0], func(ctx context.Context, name string) (state.RolloutStatus, error) { return p.do(c, ctx, name) })
	if err != nil {
		return err
	}
	return sc.answer(s, func(style) string { return rolloutLine(s) + "\n" })
}

func (p *rolloutChange) many(ctx context.Context, c server.Rollouts, sc screen) error {
	domains, err := p.of(ctx, c)
	if err != nil {
		return err
	}
	words := slices.Concat(p.words, []outcomeWords{
		{turnNotOnItsWay, "not on their way"}, {turnPinned, "pinned in the config"}, {turnLeaving, "leaving MTA-STS"},
		{turnFailed, "failed"}, {turnLeft, "not asked for yet"},
	})
	r := &round{asked: p.named != nil, without: p.without}
	r.give = func(ctx context.Context, before state.RolloutStatus) (turn, error) {
		s, err := p.do(c, ctx, before.Domain)
		outcome := p.outcome
		if p.had(before) {
			outcome = p.before
		}
		return turnOf(before, outcome, s, err)
	}
	r.report = func(st style) string { return r.troubleTable(st, false) + st.wrapped(r.sum(words)) + "\n" }
	if err := r.run(ctx, sc, domains); err != nil {
		return err
	}
	return r.code()
}

// had reports whether there is nothing to be changed about a domain on its way.
func (p *rolloutChange) had(s state.RolloutStatus) bool {
	return s.Goal == state.GoalEnforce && s.Paused == (p.outcome == turnPaused)
}

// without says of a domain how it stands if there is no need to ask for it.
func (p *rolloutChange) without(s state.RolloutStatus) (turnOutcome, bool) {
	switch {
	case p.named != nil: // what is named is asked for
		return "", false
	case s.Pinned != "":
		return turnPinned, true
	case s.Goal == state.GoalEnforce:
		return p.before, p.had(s)
	case s.Goal == state.GoalRetire, s.Stage == state.StageRetired:
		return turnLeaving, true
	}
	return turnNotOnItsWay, true
}
