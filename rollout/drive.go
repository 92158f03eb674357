package rollout

import (
	"cmp"
	"context"
	"errors"
	"slices"
	"time"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
)

// drive does for a domain what is to be done now, and says when to look again; zero:
// when it is woken.
func (m *Manager) drive(ctx context.Context, name string) time.Time {
	next, err := m.tryDrive(ctx, name)
	switch {
	case errors.Is(ctx.Err(), context.Canceled): // a stop
	case err != nil:
		m.log.Warn("a rollout does not get on; it is tried again", "domain", name, "error", err)
		return m.cfg.Now().Add(again)
	}
	return next
}

func (m *Manager) tryDrive(ctx context.Context, name string) (next time.Time, err error) {
	d, ok := m.get(name)
	if !ok {
		return time.Time{}, nil
	}
	if err := m.restore(ctx, name); err != nil {
		return next, err
	}
	if err := m.dropKept(ctx, d); err != nil {
		return next, err
	}
	if err := m.migrate(ctx, d); err != nil {
		return next, err
	}
	if d, ok = m.get(name); !ok || d.row == nil || d.row.Stage == state.StageRetired {
		return d.keptDue(), nil
	}
	if err := m.noteConfirmed(ctx, name); err != nil {
		return next, err
	}
	if d, ok = m.get(name); !ok || d.row == nil {
		return next, nil
	}
	switch {
	case d.row.Goal == state.GoalRetire:
		next, err = m.driveOut(ctx, name)
	case d.conf != nil && (d.row.Goal == state.GoalEnforce || d.row.Stage == state.StageEnforce && d.row.Confirmed.IsZero()):
		next, err = m.driveOn(ctx, name)
	}
	return earlier(next, d.keptDue()), err
}

// keptDue is when names that are kept may go; zero: there are none.
func (d *domain) keptDue() time.Time {
	if len(d.kept.names) == 0 {
		return time.Time{}
	}
	return d.kept.due()
}

// earlier is the earlier of two times, of which a zero one is never.
func earlier(a, b time.Time) time.Time {
	if a.IsZero() || !b.IsZero() && b.Before(a) {
		return b
	}
	return a
}

// takenUp reports whether the reconciler has taken up what is wanted of a domain, so
// that what it knows is about that.
func (m *Manager) takenUp(name string) bool {
	snapshot, ok := m.cfg.Reconciler.Snapshot(name)
	return ok && snapshot.Waits.IsZero()
}

// confirmed reports whether every authoritative server announces the policy of the
// stage that the domain has.
func (m *Manager) confirmed(d domain, row state.Rollout) bool {
	snapshot, ok := m.cfg.Reconciler.Snapshot(d.name)
	return ok && snapshot.Waits.IsZero() && snapshot.State.Step == state.Confirmed && m.serves(d, row)
}

// serves reports whether the policy of the stage that the domain has is served.
func (m *Manager) serves(d domain, row state.Rollout) bool {
	served, _ := m.cfg.Served(d.name)
	if d.conf == nil {
		return served.Mode == leftBehind(row).Stage.Mode
	}
	return d.conf.is(served, placeOf(row))
}

// noteConfirmed notes when the policy of a stage was first seen everywhere. With the
// last stage the goal is reached then.
func (m *Manager) noteConfirmed(ctx context.Context, name string) error {
	m.change.Lock()
	defer m.change.Unlock()
	d, ok := m.get(name)
	if !ok || d.row == nil || !d.row.Confirmed.IsZero() && !d.arrived() || !m.confirmed(d, *d.row) {
		return nil
	}
	row := *d.row
	if row.Confirmed.IsZero() {
		row.Confirmed = m.cfg.Now()
	}
	var events []state.Event
	if row.Back != nil && d.conf != nil && placeOf(row) == (place{row.Back.Stage, row.Back.MaxAge}) {
		row.Goal, row.Back = row.Back.Goal, nil
	}
	d.row = &row
	if d.arrived() {
		row.Goal, row.Paused, row.Hasty, row.Evidence, row.Waivers = state.GoalStay, false, false, nil, nil
		events = append(events, event(state.KindRolloutDone, state.SeverityInfo, name,
			"the domain is in "+d.conf.name(placeOf(row))+", and every authoritative server shows it"))
	}
	if err := m.store(ctx, &row, name, events...); err != nil {
		return err
	}
	m.set(name, &row)
	return nil
}

// arrived reports whether the domain is at the last place on its way to enforce.
func (d *domain) arrived() bool {
	return d.row.Goal == state.GoalEnforce && d.row.Back == nil && d.conf != nil && d.conf.full(placeOf(*d.row))
}

// onward is the next place of a domain on its way to enforce. One that left and came
// back returns to where it was at once.
func (d *domain) onward() (place, bool) {
	if b := d.row.Back; b != nil && b.Stage == state.StageEnforce && d.row.Stage == state.StageTesting {
		return place{b.Stage, b.MaxAge}, true
	}
	return d.conf.next(placeOf(*d.row))
}

// driveOn makes the next step to enforce, if the gates are open.
func (m *Manager) driveOn(ctx context.Context, name string) (next time.Time, err error) {
	d, ok := m.get(name)
	if !ok || d.row == nil || d.conf == nil {
		return next, nil
	}
	if served, ok := m.cfg.Served(name); ok && m.overdue(d.conf, *d.row, served) {
		return m.driveAgain(ctx, d, served)
	}
	if d.row.Paused {
		return next, nil
	}
	if d.row.Stage == state.StageEnforce && d.row.Confirmed.IsZero() {
		// It is to be confirmed, which wakes it, but where nothing is changed by that.
		if !m.takenUp(name) {
			return m.cfg.Now().Add(time.Second), nil
		}
		if late := d.row.Entered.Add(promptness + time.Second); m.cfg.Now().Before(late) {
			return late, nil
		}
		return m.cfg.Now().Add(recheck), nil
	}
	to, more := d.onward()
	if !more {
		return next, nil
	}
	if !m.takenUp(name) {
		// What is served is not what is wanted, and says nothing about it. A wish that
		// changes nothing is taken up without a word.
		return m.cfg.Now().Add(time.Second), nil
	}
	if !m.serves(d, *d.row) {
		return m.cfg.Now().Add(recheck), nil // the reconciler wakes it
	}
	if at, waits := m.onlyTime(d); waits {
		return at, nil
	}
	f, gates, err := m.lookAt(ctx, d, *d.row, to)
	if err != nil {
		return next, err
	}
	now := m.cfg.Now()
	m.noteLook(name, look{at: now, gates: gates})
	g, held := state.ClosedGate(gates)
	switch {
	case !held:
		return now.Add(again), m.step(ctx, d, f, gates)
	case !g.Awaited:
		return now.Add(recheck), m.hold(ctx, d, gates, &g)
	}
	switch err := m.hold(ctx, d, gates, nil); {
	case err != nil:
		return next, err
	case !g.At.IsZero():
		return g.At, nil
	}
	return now.Add(recheck), nil // the reconciler wakes it
}

// onlyTime says until when a domain has nothing to do but wait: its last look found
// all gates open but that of time, and nothing can be gained by another one before.
func (m *Manager) onlyTime(d domain) (at time.Time, waits bool) {
	for _, g := range d.seen.gates {
		switch {
		case g.Open():
		case g.Name != state.GateTime || g.At.IsZero():
			return at, false
		default:
			at = g.At
		}
	}
	return at, !at.IsZero() && m.cfg.Now().Before(at) && !d.row.Hasty
}

// step takes a domain to the next place. What the gates were judged by must still
// hold.
func (m *Manager) step(ctx context.Context, d domain, f facts, gates []state.Gate) error {
	m.change.Lock()
	defer m.change.Unlock()
	now, ok := m.get(d.name)
	if !ok || now.row != d.row || now.conf != d.conf || !slices.Equal(now.kept.names, d.kept.names) || d.row.Paused {
		return nil // it was woken by that, and looks again
	}
	row := m.enter(*d.row, f.to)
	served, _ := m.cfg.Served(d.name)
	w, _, err := m.wanted(ctx, d.conf, &row)
	if err != nil {
		return err
	}
	asJudged := slices.Equal(served.MX, f.served.MX) && (f.to == inTesting || slices.Equal(w.MX, f.served.MX))
	if !asJudged || !m.confirmed(d, *d.row) && !waived(gates, state.GatePolicy) {
		return nil // it is looked at again
	}
	if err := m.put(ctx, d, row, stepEvent(d, f, gates)); err != nil {
		return err
	}
	m.noteLook(d.name, look{})
	m.log.Info("rollout goes on", "domain", d.name, "step", row.Stage, "max_age", row.MaxAge)
	return nil
}

func waived(gates []state.Gate, name string) bool {
	return slices.ContainsFunc(gates, func(g state.Gate) bool { return g.Name == name && g.State == state.GateWaived })
}

// hold notes, and tells once, that a gate is closed that somebody has to open; nil:
// there is none any more.
func (m *Manager) hold(ctx context.Context, d domain, gates []state.Gate, g *state.Gate) error {
	m.change.Lock()
	defer m.change.Unlock()
	now, ok := m.get(d.name)
	reason := ""
	var events []state.Event
	if g != nil {
		reason = g.Name + " " + string(g.State)
		events = append(events, heldEvent(d, gates, *g))
	}
	if !ok || now.row != d.row || d.row.Held == reason {
		return nil
	}
	row := *d.row
	row.Held = reason
	if err := m.note(ctx, d, row, events...); err != nil || g == nil {
		return err
	}
	m.log.Warn("rollout is held up", "domain", d.name, "step", d.row.Stage, "reason", g.Name+": "+g.Value, "remedy", g.Remedy)
	return nil
}

// noteLook keeps what a look at the gates found.
func (m *Manager) noteLook(name string, l look) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if d := m.domains[name]; d != nil {
		d.seen = l
	}
}

// lookAt looks at everything that the gates before a step to another place are about,
// and judges it.
func (m *Manager) lookAt(ctx context.Context, d domain, row state.Rollout, to place) (facts, []state.Gate, error) {
	select {
	case m.looks <- struct{}{}:
		defer func() { <-m.looks }()
	case <-ctx.Done():
		return facts{}, nil, ctx.Err()
	}
	f := facts{conf: d.conf, row: row, at: placeOf(row), to: to}
	f.served, _ = m.cfg.Served(d.name)
	f.seenErr = errors.New("no policy is served yet")
	if f.served.Mode != "" {
		f.seen, f.seenErr = m.cfg.Prober.CheckMX(ctx, d.name, f.served.MX, mtasts.ModeEnforce)
	}
	f.reports, f.reportsErr = m.cfg.Reports(ctx, d.name, cmp.Or(row.Confirmed, row.Entered))
	if err := ctx.Err(); err != nil {
		return f, nil, err
	}
	// Last, as the reconciler may have been at work when this began.
	f.snapshot, _ = m.cfg.Reconciler.Snapshot(d.name)
	if m.confirmed(d, row) {
		f.since = row.Confirmed
	}
	f.now = m.cfg.Now()
	return f, judge(f), nil
}

// driveOut takes a domain on its way out of MTA-STS (RFC 8461 §8.3): the policy that
// says none is served until nobody holds another one, then the record goes, then the
// rest.
func (m *Manager) driveOut(ctx context.Context, name string) (next time.Time, err error) {
	d, ok := m.get(name)
	if !ok || d.row == nil {
		return next, nil
	}
	switch d.row.Stage {
	case state.StageRetiring:
		ledger, err := m.cfg.Store.Bodies(ctx, name)
		if err != nil {
			return next, err
		}
		end, open := horizon(ledger, m.cfg.Now())
		switch {
		case open:
			return m.cfg.Now().Add(again), nil // the policy that says none is not served yet
		case !end.IsZero():
			return end, nil
		}
		return next, m.withdraw(ctx, name)
	case state.StageWithdrawing:
		if s, ok := m.cfg.Reconciler.Snapshot(name); ok && s.State.Step != state.Withdrawn {
			return next, nil // the reconciler wakes it
		}
		return next, m.finish(ctx, name)
	}
	return next, nil
}

// withdraw has the record taken out of the DNS.
func (m *Manager) withdraw(ctx context.Context, name string) error {
	m.change.Lock()
	defer m.change.Unlock()
	d, ok := m.get(name)
	if !ok || d.row == nil || d.row.Stage != state.StageRetiring {
		return nil
	}
	return m.put(ctx, d, m.enter(*d.row, place{stage: state.StageWithdrawing}), event(state.KindRolloutRetired, state.SeverityInfo, name,
		"no sender can hold a policy of the domain any more but one that says none; its record is removed"))
}

// finish ends a retirement: the record is gone, and what is left goes too.
func (m *Manager) finish(ctx context.Context, name string) error {
	m.change.Lock()
	defer m.change.Unlock()
	d, ok := m.get(name)
	if !ok || d.row == nil || d.row.Stage != state.StageWithdrawing {
		return nil
	}
	if err := m.cfg.Reconciler.Leave(ctx, name, false); err != nil {
		return err
	}
	if err := m.cfg.Store.Release(ctx, name); err != nil {
		return err
	}
	e := event(state.KindRolloutRetired, state.SeverityInfo, name, "the domain has left MTA-STS: it has no record, no policy and no certificate any more")
	if d.conf == nil {
		if err := m.store(ctx, nil, name, e); err != nil {
			return err
		}
		m.set(name, nil)
		return nil
	}
	e.Remedy = "remove its [[domain]] from the config"
	row := m.enter(*d.row, place{stage: state.StageRetired})
	row.Goal = state.GoalStay
	if err := m.store(ctx, &row, name, e); err != nil {
		return err
	}
	m.set(name, &row)
	return nil
}
