package rollout

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"time"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
	"github.com/stshost/stshost/reconcile"
)

// rowChange is a row to be stored; nil: it is to be removed.
type rowChange struct {
	domain string
	row    *state.Rollout
	events []state.Event
}

// rows are the rollouts as they are after a change of the config.
type rows struct {
	all     map[string]*state.Rollout
	changed []rowChange
}

func (r *rows) set(domain string, row *state.Rollout, events ...state.Event) {
	if row == nil {
		delete(r.all, domain)
	} else {
		r.all[domain] = row
	}
	r.changed = append(r.changed, rowChange{domain, row, events})
}

// rowsFor are the rollouts that go with the domains of a config.
func (m *Manager) rowsFor(ctx context.Context, known []string, next map[string]*Domain, c Changes) (*rows, error) {
	r := &rows{all: make(map[string]*state.Rollout)}
	retiring, abandoned := setOf(c.Retiring), setOf(c.Abandoned)
	for _, name := range known {
		d, _ := m.get(name)
		conf := next[name]
		if d.row != nil {
			r.all[name] = d.row
		}
		switch {
		case retiring[name]:
			row, err := m.rowOf(ctx, &d)
			if err != nil {
				return nil, err
			}
			m.leave(r, &d, row)
		case d.row == nil:
		case conf == nil && d.conf != nil: // abandoned, or no sender knows it
			r.set(name, nil)
		case abandoned[name], conf == nil && d.row.Stage == state.StageRetired:
			r.set(name, nil)
		case conf == nil && !d.row.Left && d.row.Goal == state.GoalRetire: // while no server ran
			row := *d.row
			row.Left = true
			r.set(name, &row)
		case conf == nil:
		case !conf.pinned() && !d.row.Left && len(missing(conf.Wanted.MX, d.row.MX)) < len(d.row.MX):
			row := *d.row // the config names them from now on
			row.MX = missing(conf.Wanted.MX, row.MX)
			r.set(name, &row)
		case conf.pinned():
			r.set(name, nil, event(state.KindRolloutPaused, state.SeverityInfo, name,
				fmt.Sprintf("the config pins the mode at %s, so that no rollout decides it any more", conf.Wanted.Source)))
		case d.row.Left:
			m.comeBack(r, conf, *d.row)
		}
	}
	return r, nil
}

// setOf is a set of names: there may be many thousands of them.
func setOf(names []string) map[string]bool {
	set := make(map[string]bool, len(names))
	for _, name := range names {
		set[name] = true
	}
	return set
}

// enter is row at another place, from now on.
func (m *Manager) enter(row state.Rollout, p place) state.Rollout {
	row.Stage, row.MaxAge = p.stage, p.maxAge
	row.Entered, row.Confirmed = m.cfg.Now(), time.Time{}
	row.Waivers, row.Held = nil, ""
	return row
}

// rowOf is the row of a domain, or, if it has none, one that says where it is.
func (m *Manager) rowOf(ctx context.Context, d *domain) (state.Rollout, error) {
	if d.row != nil {
		return *d.row, nil
	}
	row := state.Rollout{Domain: d.name, Stage: state.StageTesting, Entered: m.cfg.Now()}
	snapshot, known := m.cfg.Reconciler.Snapshot(d.name)
	served, ok := m.cfg.Served(d.name)
	if !ok && known && snapshot.State.Adopted { // it is published already, and to be served as it was
		served, ok = mtasts.Policy{Mode: snapshot.State.Mode, MaxAge: snapshot.State.MaxAge}, true
	}
	if !ok || d.conf == nil {
		return row, nil
	}
	ledger, err := m.cfg.Store.Bodies(ctx, d.name)
	if err != nil {
		return row, err
	}
	p, since := d.conf.found(served, ledger)
	row.Stage, row.MaxAge, row.Entered = p.stage, p.maxAge, since
	// What is served is not announced yet, or may have been served for a while without.
	if known && snapshot.Waits.IsZero() && snapshot.State.Step == state.Confirmed {
		row.Confirmed = later(since, snapshot.State.Since).Truncate(time.Microsecond) // as the store has it
	}
	return row, nil
}

// store writes a row, or removes it, with its events.
func (m *Manager) store(ctx context.Context, row *state.Rollout, name string, events ...state.Event) error {
	err := m.write(ctx, row, name, events...)
	if err != nil { // it may have been written all the same
		m.mu.Lock()
		defer m.mu.Unlock()
		if d := m.domains[name]; d != nil {
			d.unsure = true
			m.arrange(d)
		}
	}
	return err
}

func (m *Manager) write(ctx context.Context, row *state.Rollout, name string, events ...state.Event) error {
	if row == nil {
		return m.cfg.Store.RemoveRollout(ctx, name, events...)
	}
	return m.cfg.Store.SaveRollout(ctx, *row, events...)
}

// restore writes what is known of a domain once more, after a write of something else
// whose outcome is not known: what was refused must not come true with the next start.
func (m *Manager) restore(ctx context.Context, name string) error {
	m.change.Lock()
	defer m.change.Unlock()
	d, ok := m.get(name)
	if !ok || !d.unsure {
		return nil
	}
	if err := m.write(ctx, d.row, name); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if known := m.domains[name]; known != nil {
		known.unsure = false
		m.forgetUnknown(known)
	}
	return nil
}

// forgetUnknown forgets a domain of which nothing is known, and nothing is to be done.
// It reports whether it did. The caller holds m.mu.
func (m *Manager) forgetUnknown(d *domain) bool {
	if d == nil || d.conf != nil || d.row != nil || d.unsure {
		return false
	}
	m.queue.Remove(d)
	delete(m.domains, d.name)
	return true
}

// later is the later of two times.
func later(a, b time.Time) time.Time {
	if b.After(a) {
		return b
	}
	return a
}

// get returns a copy of what is known of a domain.
func (m *Manager) get(name string) (domain, bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d := m.domains[name]
	if d == nil {
		return domain{}, false
	}
	return *d, true
}

// set makes row the one of the domain.
func (m *Manager) set(name string, row *state.Rollout) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d := m.domains[name]
	if d == nil {
		return
	}
	if d.row = row; !m.forgetUnknown(d) {
		m.arrange(d)
	}
}

// note stores a row in place of the one that d has, with its events. Nothing is in it
// that anybody acts on, so nothing is woken. The caller holds m.change.
func (m *Manager) note(ctx context.Context, d domain, row state.Rollout, events ...state.Event) error {
	if err := m.store(ctx, &row, d.name, events...); err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if known := m.domains[d.name]; known != nil && known.row == d.row {
		known.row = &row
	}
	return nil
}

// put stores a row with its events, and has the reconciler bring it about. The
// caller holds m.change.
func (m *Manager) put(ctx context.Context, d domain, row state.Rollout, events ...state.Event) error {
	w, k := reconcile.Wanted{}, kept{}
	if d.conf != nil {
		var err error
		if w, k, err = m.wanted(ctx, d.conf, &row); err != nil {
			return err
		}
	} else {
		w = leftBehind(row)
	}
	if err := m.store(ctx, &row, d.name, events...); err != nil {
		return err
	}
	m.mu.Lock()
	if known := m.domains[d.name]; known != nil {
		known.kept = m.goOn(known.kept, k)
	}
	m.mu.Unlock()
	m.set(d.name, &row)
	m.cfg.Reconciler.Set(w)
	return nil
}

// errNotHosted says that a domain is neither configured nor known.
func errNotHosted(name string) error {
	return fmt.Errorf("%w: the domain %s is not in the config; add a [[domain]] for it and reload", state.ErrNotFound, name)
}

// names are the domains that are known, sorted.
func (m *Manager) names() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Keys(m.domains))
}
