package rollout

import (
	"context"
	"fmt"
	"slices"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
	"github.com/stshost/stshost/reconcile"
)

// Abandon says which domains that left are served no longer at once, whatever
// senders hold, instead of being retired.
type Abandon struct {
	All     bool     // that leave with this change
	Domains []string // these, if they left, now or before
	// RetireMany says that most of the domains may leave at once.
	RetireMany bool
}

func (a Abandon) of(name string) bool { return slices.Contains(a.Domains, name) }

// leaving says what becomes of the domains that the config names no longer. Of those
// that no sender can know the reconciler takes care.
func (m *Manager) leaving(ctx context.Context, names []string, next map[string]*Domain, abandon Abandon) (c Changes, err error) {
	for _, name := range abandon.Domains {
		if _, hosted := m.cfg.Reconciler.Snapshot(name); hosted && next[name] == nil {
			c.Abandoned = append(c.Abandoned, name)
		}
	}
	for _, name := range names {
		d, _ := m.get(name)
		switch {
		case next[name] != nil || d.conf == nil || abandon.of(name):
			continue
		case abandon.All:
			c.Abandoned = append(c.Abandoned, name)
			continue
		case d.row != nil && d.row.Stage == state.StageRetired:
			continue
		}
		known, err := m.known(ctx, name)
		if err != nil {
			return c, err
		}
		if known {
			c.Retiring = append(c.Retiring, name)
		}
	}
	return c, nil
}

// known reports whether a sender may hold a policy of the domain: one was announced.
func (m *Manager) known(ctx context.Context, name string) (bool, error) {
	s, ok := m.cfg.Reconciler.Snapshot(name)
	switch {
	case !ok || s.State.BodySHA256 == "":
		return false, nil
	case s.State.ID != "" || s.State.FormerID != "" || s.State.Adopted:
		return true, nil
	}
	ledger, err := m.cfg.Store.Bodies(ctx, name)
	return len(ledger) > 1, err
}

// leave has a domain retired that the config names no longer.
func (m *Manager) leave(r *rows, d *domain, row state.Rollout) {
	row.Left, row.Target = true, d.conf.Wanted.Target
	if row.Stage != state.StageRetiring && row.Stage != state.StageWithdrawing {
		if row.Back == nil { // else it has left before, and was about to return there
			row.Back = &state.Back{Stage: row.Stage, MaxAge: row.MaxAge, Goal: row.Goal}
		}
		if row.Paused { // it returns to where it was, and goes no further
			row.Paused, row.Back.Goal = false, state.GoalStay
		}
		row = m.enter(row, place{stage: state.StageRetiring})
	}
	row.Goal = state.GoalRetire
	e := event(state.KindDomainLeft, state.SeverityWarning, d.name,
		"the domain is no longer in the config and is retired: its policy says none until no sender can hold an earlier one, then record, policy and certificate go")
	e.Remedy = "if that was not intended, put it back into the config and reload: it returns to where it was as soon as its gates are open"
	r.set(d.name, &row, e)
}

// comeBack takes a domain on that left and is in the config again. It begins in
// testing, and returns from there to where it was without waiting. One that enforces
// a policy still was never away.
func (m *Manager) comeBack(r *rows, conf *Domain, row state.Rollout) {
	name := row.Domain
	row.Left, row.Target = false, state.Target{}
	row.Goal = state.GoalStay
	served, _ := m.cfg.Served(name)
	row = m.enter(row, inTesting)
	text := "the domain is back in the config and begins in testing"
	switch b := row.Back; {
	case b == nil:
	case b.Stage == state.StageEnforce && served.Mode == mtasts.ModeEnforce:
		at, _ := conf.found(served, nil)
		row = m.enter(row, at)
		row.Goal, row.Back = b.Goal, nil
		text = "the domain is back in the config before its policy changed, and goes on where it was"
	case b.Stage == state.StageEnforce:
		row.Goal = state.GoalEnforce
		text = fmt.Sprintf("the domain is back in the config: it goes on in testing, and returns to %s once the gates are open", conf.name(place{b.Stage, b.MaxAge}))
	default:
		row.Goal, row.Back = b.Goal, nil
	}
	r.set(name, &row, event(state.KindRolloutBack, state.SeverityInfo, name, text))
}

// leftBehind is a domain for the reconciler that the config names no longer.
func leftBehind(row state.Rollout) reconcile.Wanted {
	return reconcile.Wanted{
		Domain: row.Domain, Target: row.Target, MaxAge: noneMaxAge, Left: true,
		Stage:    reconcile.Stage{Mode: mtasts.ModeNone, MaxAge: noneMaxAge},
		Withdraw: row.Stage == state.StageWithdrawing,
	}
}

// Adopted takes note that the reconciler found a later policy published than the
// store knows, and took it over: the domain is there.
func (m *Manager) Adopted(ctx context.Context, name string, p mtasts.Policy) error {
	m.change.Lock()
	defer m.change.Unlock()
	d, ok := m.get(name)
	if !ok || d.row == nil {
		return nil
	}
	if d.conf == nil { // it retires all the same, which begins with the next body
		row := m.enter(*d.row, place{stage: state.StageRetiring})
		return m.put(ctx, d, row, event(state.KindRolloutRetired, state.SeverityWarning, name,
			fmt.Sprintf("an older store was restored: the domain was announced in mode %s meanwhile; it leaves MTA-STS from there", p.Mode)))
	}
	at := place{stage: state.StageRetiring}
	switch p.Mode {
	case mtasts.ModeTesting:
		at = inTesting
	case mtasts.ModeEnforce:
		at = place{state.StageEnforce, p.MaxAge}
	}
	row := m.enter(*d.row, at)
	callOff(&row)
	if _, served := m.cfg.Served(name); !served {
		return m.put(ctx, d, row, event(state.KindRolloutStep, state.SeverityInfo, name,
			fmt.Sprintf("the domain was found published in mode %s with a max_age of %s, and goes on from there", p.Mode, span(p.MaxAge))))
	}
	row.Confirmed = row.Entered // it was announced
	e := event(state.KindRolloutStep, state.SeverityWarning, name,
		fmt.Sprintf("an older store was restored: the domain was announced in mode %s with a max_age of %s meanwhile, and goes on from there", p.Mode, span(p.MaxAge)))
	e.Remedy = "`stshost rollout " + name + "` takes it further"
	return m.put(ctx, d, row, e)
}
