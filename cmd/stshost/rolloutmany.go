package main

import (
	"context"
	"strings"

	"github.com/stshost/stshost/internal/state"
)

// rolloutWords are the outcomes of a rollout as a sum says them, in its order.
var rolloutWords = []outcomeWords{
	{turnStarted, "started"}, {turnStartable, "can start"}, {turnOnItsWay, "on their way already"}, {turnOrdered, "on their way already, which have the new order"}, {turnDone, "done already"},
	{turnRefused, "refused"}, {turnPinned, "pinned in the config"}, {turnPaused, "paused"}, {turnLeaving, "leaving MTA-STS"},
	{turnFailed, "failed"}, {turnLeft, "not started yet"},
}

// many starts the rollouts of domains, or of all that the flags mean, and follows
// them.
func (r *roller) many(ctx context.Context) error {
	domains, err := r.of(ctx, r.client)
	if err != nil {
		return err
	}
	m := &manyRollouts{roller: r}
	m.round = round{
		asked: r.named != nil, without: m.without, give: m.give, report: m.text, most: r.batch,
		first: func(s state.RolloutStatus) bool { return s.Goal == state.GoalEnforce && !s.Paused },
	}
	if err := m.run(ctx, r.screen, domains); err != nil {
		return err
	}
	if r.plan || r.detach || r.json || !r.live {
		return m.code()
	}
	return m.follow(ctx)
}

// manyRollouts is how it goes with many domains.
type manyRollouts struct {
	*roller
	round
}

// without says of a domain how it stands if there is no need to ask for it.
func (m *manyRollouts) without(s state.RolloutStatus) (turnOutcome, bool) {
	switch {
	case s.Pinned == "" && arrived(s):
		return turnDone, true
	case s.Goal == state.GoalEnforce && !s.Paused && !s.Refused && !m.ordered() && !m.plan:
		return turnOnItsWay, true
	case m.asked: // what is named is asked for
		return "", false
	case s.Pinned != "":
		return turnPinned, true
	case s.Goal == state.GoalRetire, s.Stage == state.StageRetired:
		return turnLeaving, true
	case s.Paused:
		return turnPaused, true
	}
	return "", false
}

// give asks for one domain.
func (m *manyRollouts) give(ctx context.Context, before state.RolloutStatus) (turn, error) {
	outcome, do := turnStarted, m.client.StartRollout
	if m.plan {
		outcome, do = turnStartable, m.client.PlanRollout
	}
	s, err := do(ctx, before.Domain, m.order)
	t, failure := turnOf(before, outcome, s, err)
	g, closed := state.ClosedGate(s.Gates)
	switch {
	case err != nil:
	case arrived(s):
		t.Outcome = turnDone
	case m.plan && s.Paused:
		t.Outcome, t.Error, t.Remedy = turnPaused, s.Awaits, s.Remedy
	case m.plan && closed && !g.Awaited:
		t.Outcome, t.Gate, t.Error, t.Remedy = turnRefused, &g, s.Awaits, g.Remedy
	case before.Goal == state.GoalEnforce && !before.Paused && m.ordered() && !m.plan:
		t.Outcome = turnOrdered
	case before.Goal == state.GoalEnforce && !before.Paused:
		t.Outcome = turnOnItsWay
	}
	return t, failure
}

// ordered reports whether the command orders more than to go to enforce.
func (m *manyRollouts) ordered() bool {
	return m.order.Now || m.order.AcceptNoReports || len(m.order.Waive) > 0
}

// code is the exit code. That a domain is refused is what a plan is there to find.
func (m *manyRollouts) code() error {
	if m.plan {
		return m.round.code()
	}
	return m.round.code(turnRefused)
}

// text says for people how it went.
func (m *manyRollouts) text(st style) string {
	var b strings.Builder
	if m.plan {
		b.WriteString(m.planTable(st))
	}
	b.WriteString(m.troubleTable(st))
	text := m.sum(rolloutWords)
	switch {
	case m.plan:
		text += "; nothing was changed"
	case m.batch > 0 && m.count(turnStarted) == m.batch && m.count(turnLeft) > 0:
		text += "; run it again for the next ones"
	}
	b.WriteString(st.wrapped(text) + "\n")
	return b.String()
}

// troubleTable lists what was refused or failed; a plan has what is refused in a
// table of its own.
func (m *manyRollouts) troubleTable(st style) string {
	if m.plan {
		return m.round.troubleTable(st, true, turnRefused)
	}
	return m.round.troubleTable(st, true)
}

// planTable says of each domain what comes next, and what keeps it from that.
func (m *manyRollouts) planTable(st style) string {
	var rows [][]cell
	for _, t := range m.turns {
		if t.Rollout == nil || len(t.Rollout.Steps) < 2 || t.Outcome == turnDone || t.Outcome == turnPaused {
			continue
		}
		next, gate := t.Rollout.Steps[1], "-"
		if g, closed := state.ClosedGate(t.Rollout.Gates); closed {
			value := g.Value
			if st.width == 0 {
				value = glance(value)
			}
			gate = g.Name + ": " + value + awaitedText(g)
		}
		rows = append(rows, cells(t.Domain, placeText(next.Stage, next.MaxAge), dash(stamp(next.From)), gate))
	}
	if rows == nil {
		return ""
	}
	return st.grid([]string{"DOMAIN", "NEXT", "AT THE EARLIEST", "CLOSED GATE"}, rows) + "\n"
}
