package rollout

import (
	"context"
	"fmt"
	"time"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
)

// promptness is for how long after a step the gates that it rested on count. What
// is not served by then, because the server was down or had no certificate, waits
// for another look at them.
const promptness = 10 * time.Minute

// overdue reports whether a step to a stricter policy was made some time ago, or has
// been paused since, and is not served yet.
func (m *Manager) overdue(conf *Domain, row state.Rollout, served mtasts.Policy) bool {
	if row.Stage != state.StageEnforce || !row.Confirmed.IsZero() || !row.Paused && m.cfg.Now().Sub(row.Entered).Abs() <= promptness {
		return false
	}
	return served.Mode != mtasts.ModeEnforce || served.MaxAge < conf.policy(placeOf(row)).MaxAge
}

// driveAgain looks once more at the gates of a step that is overdue. The domain goes
// on with it, or falls back to where it still is.
func (m *Manager) driveAgain(ctx context.Context, d domain, served mtasts.Policy) (next time.Time, err error) {
	ledger, err := m.cfg.Store.Bodies(ctx, d.name)
	if err != nil {
		return next, err
	}
	to := placeOf(*d.row)
	row := *d.row
	from, since := d.conf.found(served, ledger)
	row.Stage, row.MaxAge, row.Confirmed = from.stage, from.maxAge, since
	if w, _, err := m.wanted(ctx, d.conf, d.row); err != nil {
		return next, err
	} else {
		m.cfg.Reconciler.Set(w) // what is served stays until then
	}
	if d.row.Paused {
		return next, nil
	}
	if !m.takenUp(d.name) {
		return m.cfg.Now().Add(time.Second), nil // it is taken up without a word
	}
	f, gates, err := m.lookAt(ctx, d, row, to)
	if err != nil {
		return next, err
	}
	now := m.cfg.Now()
	m.noteLook(d.name, look{at: now, gates: gates})
	g, held := state.ClosedGate(gates)
	if held && g.Awaited {
		return now.Add(recheck), nil
	}
	m.change.Lock()
	defer m.change.Unlock()
	if known, ok := m.get(d.name); !ok || known.row != d.row || known.conf != d.conf {
		return now.Add(again), nil
	}
	if !held {
		return now.Add(again), m.put(ctx, d, m.enter(*d.row, to), stepEvent(d, f, gates))
	}
	row.Entered, row.Waivers, row.Held = now, nil, ""
	e := event(state.KindRolloutBack, state.SeverityWarning, d.name,
		fmt.Sprintf("the step to %s was not served in time, and the gate %s is %s by now: the domain goes on in %s", d.conf.name(to), g.Name, g.State, d.conf.name(from)))
	e.Evidence = gateEvidence(gates)
	return now.Add(recheck), m.put(ctx, d, row, e)
}
