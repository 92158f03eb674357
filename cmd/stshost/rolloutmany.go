package main

import (
	"context"
	"slices"

	"github.com/stshost/stshost/internal/state"
)

// rolloutWords are the outcomes of a rollout as a sum says them, in its order.
var rolloutWords = []outcomeWords{
	{turnStarted, "started"}, {turnStartable, "can start"}, {turnOnItsWay, "on their way already"}, {turnDone, "done already"},
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
		named: r.named != nil, without: m.without, give: m.give, report: m.text, most: r.batch,
		first: func(s state.RolloutStatus) bool { return onTheWay(s) && !s.Paused },
	}
	if err := m.run(ctx, r.screen, domains); err != nil {
		return err
	}
	if r.plan || r.detach || r.json || !r.live {
		return m.code()
	}
	return m.follow(ctx)
}

// onTheWay reports whether a domain is on its way to enforce, be it paused or held
// up.
func onTheWay(s state.RolloutStatus) bool { return s.Goal == state.GoalEnforce && s.Pinned == "" }

// manyRollouts is how it goes with many domains.
type manyRollouts struct {
	*roller
	named []string // on the command line; nil: they were not
	turns []turn
}

// without says of a domain how it stands if there is no need to ask for it.
func (m *manyRollouts) without(s state.RolloutStatus) (turnOutcome, bool) {
	ordered := m.order.Now || m.order.AcceptNoReports || len(m.order.Waive) > 0
	switch {
	case s.Pinned == "" && arrived(s):
		return turnDone, true
	case s.Goal == state.GoalEnforce && !s.Paused && !s.Refused && !ordered && !m.plan:
		return turnOnItsWay, true
	case m.named != nil: // what is named is asked for
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

// start asks for every domain that needs it. The error is that of a server that
// has gone.
func (m *manyRollouts) start(ctx context.Context, all []state.RolloutStatus) error {
	var onTheirWay, others []state.RolloutStatus
	for _, s := range all {
		outcome, known := m.without(s)
		switch {
		case known:
			m.turns = append(m.turns, turn{Domain: s.Domain, Outcome: outcome, Rollout: &s})
		case s.Goal == state.GoalEnforce && !s.Paused:
			onTheirWay = append(onTheirWay, s)
		default:
			others = append(others, s)
		}
	}
	var bar *progress
	if terminal(m.errOut) && !(m.json && terminal(m.out)) {
		bar = newProgress(m.errOut, len(onTheirWay)+len(others))
	}
	defer bar.end()
	if err := m.ask(ctx, onTheirWay, 0, bar); err != nil {
		return err
	}
	return m.ask(ctx, others, m.batch, bar)
}

// ask asks for domains, startsAtOnce of them at a time, until most have started; 0:
// for all.
func (m *manyRollouts) ask(ctx context.Context, domains []state.RolloutStatus, most int, bar *progress) (gone error) {
	type answer struct {
		turn turn
		err  error
	}
	answers := make(chan answer)
	next, asked, started := 0, 0, 0
	for {
		for next < len(domains) && asked < startsAtOnce && (most == 0 || started+asked < most) && ctx.Err() == nil && gone == nil {
			go func(s state.RolloutStatus) {
				t, err := m.askOne(ctx, s)
				answers <- answer{t, err}
			}(domains[next])
			next, asked = next+1, asked+1
		}
		if asked == 0 {
			break
		}
		a := <-answers
		asked--
		bar.step()
		switch {
		case errors.Is(a.err, server.ErrNotRunning):
			gone = a.err
			a.turn = turn{Domain: a.turn.Domain, Outcome: turnLeft}
		case a.err != nil && ctx.Err() != nil: // it may have been started all the same
			a.turn = turn{Domain: a.turn.Domain, Outcome: turnLeft}
		case a.turn.Outcome == turnStarted || a.turn.Outcome == turnStartable:
			started++
		}
		m.turns = append(m.turns, a.turn)
	}
	for _, s := range domains[next:] {
		m.turns = append(m.turns, turn{Domain: s.Domain, Outcome: turnLeft})
	}
	return gone
}

// askOne asks for one domain; before is how it stood.
func (m *manyRollouts) askOne(ctx context.Context, before state.RolloutStatus) (turn, error) {
	t := turn{Domain: before.Domain, Outcome: turnStarted}
	do := m.client.StartRollout
	if m.plan {
		t.Outcome, do = turnStartable, m.client.PlanRollout
	}
	s, err := do(ctx, before.Domain, m.order)
	var refused *state.RefusedError
	var pinned *state.PinnedError
	g, closed := state.ClosedGate(s.Gates)
	switch {
	case errors.As(err, &refused):
		t.Outcome, t.Gate, t.Error, t.Remedy, s = turnRefused, &refused.Gate, refused.Error(), refused.Remedy(), refused.Status
	case errors.As(err, &pinned):
		t.Outcome, t.Error = turnPinned, pinned.Error()
	case err != nil:
		t.Outcome, t.Error = turnFailed, err.Error()
		return t, err
	case arrived(s):
		t.Outcome = turnDone
	case m.plan && closed && !g.Awaited:
		t.Outcome, t.Gate, t.Error, t.Remedy = turnRefused, &g, s.Awaits, g.Remedy
	case before.Goal == state.GoalEnforce && !before.Paused:
		t.Outcome = turnOnItsWay
	}
	t.Rollout = &s
	return t, nil
}

// count is how many domains had one of these outcomes.
func (m *manyRollouts) count(outcomes ...turnOutcome) (n int) {
	for _, t := range m.turns {
		if slices.Contains(outcomes, t.Outcome) {
			n++
		}
	}
	return n
}

// code is the exit code: 1 if something went wrong with a domain, be it only that
// one which was named is pinned. A plan finds that out, and is well.
func (m *manyRollouts) code() error {
	bad := m.count(turnFailed)
	if !m.plan {
		bad += m.count(turnRefused)
	}
	if m.named != nil {
		bad += m.count(turnPinned)
	}
	if bad > 0 {
		return exitError(1)
	}
	return nil
}

// rolloutsAnswer is the shape of a rollout of many domains in JSON.
type rolloutsAnswer struct {
	Counts  map[turnOutcome]int `json:"counts"`
	Domains []turn              `json:"domains"`
}

func (m *manyRollouts) result() rolloutsAnswer {
	slices.SortFunc(m.turns, func(a, b turn) int { return strings.Compare(a.Domain, b.Domain) })
	a := rolloutsAnswer{Counts: map[turnOutcome]int{}, Domains: m.turns}
	for _, t := range m.turns {
		a.Counts[t.Outcome]++
	}
	return a
}

// text says for people how it went.
func (m *manyRollouts) text(st style) string {
	var b strings.Builder
	if m.plan {
		b.WriteString(m.planTable(st))
	}
	if table := m.troubleTable(st); table != "" {
		b.WriteString(table + "\n")
	}
	var parts []string
	for _, w := range turnWords {
		if n := m.count(w.outcome); n > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", n, w.words))
		}
	}
	text := counted(len(m.turns), "domain") + ": " + strings.Join(parts, ", ")
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
	var rows [][]cell
	for _, t := range m.turns {
		gate, why := "-", t.Error
		switch {
		case t.Error == "" || m.plan && t.Outcome == turnRefused:
			continue
		case t.Gate != nil:
			gate, why = t.Gate.Name, t.Gate.Value
		}
		if st.width == 0 && t.Gate != nil {
			why = glance(why)
		}
		rows = append(rows, cells(t.Domain, gate, why, dash(t.Remedy)))
	}
	if rows == nil {
		return ""
	}
	return st.grid([]string{"DOMAIN", "GATE", "WHY NOT", "WHAT TO DO"}, rows)
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
