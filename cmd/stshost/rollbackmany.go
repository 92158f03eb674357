package main

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
	"github.com/stshost/stshost/server"
)

// rollbackWords are the outcomes of a rollback as a sum says them, in its order.
var rollbackWords = []outcomeWords{
	{turnBack, "going back to testing"}, {turnDone, "in testing already"}, {turnPinned, "pinned in the config"}, {turnLeaving, "leaving MTA-STS"},
	{turnFailed, "failed"}, {turnLeft, "not asked for yet"},
}

// manyRollbacks takes many domains back to testing.
type manyRollbacks struct {
	rollbackSettings
	client server.Rollouts
	in     io.Reader // answers, where it has to be confirmed
	screen
	round
}

// many takes the domains back that are named, or that the flags mean.
func (m *manyRollbacks) many(ctx context.Context) error {
	domains, err := m.of(ctx, m.client)
	if err != nil {
		return err
	}
	m.round = round{asked: m.named != nil, without: m.without, give: m.give, report: m.text, first: enforced}
	if m.asks() {
		m.sure = m.confirm
	}
	if err := m.run(ctx, m.screen, domains); err != nil {
		return err
	}
	if slices.ContainsFunc(m.turns, func(t turn) bool { return t.Outcome == turnPinned && t.Error != "" }) {
		return exitError(1) // senders enforce its policy still
	}
	return m.code()
}

// enforced reports whether senders enforce the policy of a domain. Those are taken
// back before the others: it is they that mail is kept back from.
func enforced(s state.RolloutStatus) bool { return s.Stage == state.StageEnforce }

// without says of a domain how it stands if there is no need to ask for it. One that
// is pinned in enforce is asked for: why it stays has to be told.
func (m *manyRollbacks) without(s state.RolloutStatus) (turnOutcome, bool) {
	switch {
	case m.asked: // what is named is asked for
		return "", false
	case s.Pinned != "":
		return turnPinned, s.Mode != string(mtasts.ModeEnforce)
	case s.Goal == state.GoalEnforce, enforced(s):
		return "", false
	case s.Stage == state.StageTesting:
		return turnDone, true
	}
	return turnLeaving, true // or its policy says none, which is as far from enforce
}

// confirm asks whether to take these domains back.
func (m *manyRollbacks) confirm(ctx context.Context, domains []state.RolloutStatus) error {
	back, from, pinned := 0, 0, 0
	for _, s := range domains {
		if s.Pinned == "" {
			back++
		} else {
			pinned++
		}
		if enforced(s) {
			from++
		}
	}
	if back == 0 {
		return nil
	}
	question := rollbackQuestion(back, from)
	if pinned > 0 {
		question += fmt.Sprintf(" Pinned in enforce by the config, and staying there: %d.", pinned)
	}
	return confirmed(ctx, m.in, m.errOut, question)
}

// rollbackQuestion says how many domains go back, and how many of them from enforce.
func rollbackQuestion(back, from int) string {
	switch {
	case back == 1 && from == 1:
		return "1 domain goes back to testing, from enforce."
	case back == 1:
		return "1 domain goes back to testing, not from enforce."
	case from == 0:
		return fmt.Sprintf("%d domains go back to testing, none of them from enforce.", back)
	case from == back:
		return fmt.Sprintf("%d domains go back to testing, all of them from enforce.", back)
	}
	return fmt.Sprintf("%d domains go back to testing, %d of them from enforce.", back, from)
}

// give takes one domain back.
func (m *manyRollbacks) give(ctx context.Context, before state.RolloutStatus) (turn, error) {
	s, err := m.client.Rollback(ctx, before.Domain)
	outcome := turnBack
	if before.Stage == state.StageTesting && before.Goal == state.GoalStay {
		outcome = turnDone
	}
	return turnOf(before, outcome, s, err)
}

// text says for people how it went.
func (m *manyRollbacks) text(st style) string {
	text := m.troubleTable(st, false) + st.wrapped(m.sum(rollbackWords)) + "\n"
	if m.count(turnBack) > 0 {
		text += st.wrapped("The server goes on by itself; `stshost status` shows how far each domain is.") + "\n"
	}
	return text
}
