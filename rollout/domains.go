package rollout

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
	"github.com/stshost/stshost/reconcile"
)

// Changes tells what SetDomains did, by policy domain.
type Changes struct {
	reconcile.Changes // of the domains that the config names
	Retiring          []string
	Abandoned         []string
}

// fewRetire is how many domains may leave by one change of the config although they
// are most of all: beyond that a file is likelier to be missing.
const fewRetire = 5

// SetDomains makes these the domains of the config. A domain that the config named
// before, in the life of this Manager, and names no longer is retired, as senders
// may hold its policy (RFC 8461 §8.3), unless it is abandoned. One that left while
// no server ran is served as before.
func (m *Manager) SetDomains(ctx context.Context, domains []Domain, abandon Abandon) (Changes, error) {
	ctx = context.WithoutCancel(ctx) // half of it would be worse than none
	m.change.Lock()
	defer m.change.Unlock()
	next := make(map[string]*Domain, len(domains))
	for i := range domains {
		next[domains[i].Wanted.Domain] = &domains[i]
	}
	known := m.names()
	c, err := m.leaving(ctx, known, next, abandon)
	if err != nil {
		return c, err
	}
	if n, of := len(c.Retiring), len(known); n > fewRetire && 2*n > of && !abandon.RetireMany {
		return c, &state.StageError{Text: fmt.Sprintf("%d of %d domains are no longer in the config, %s among them, and would leave MTA-STS; "+
			"if that is a mistake, look for a file that is missing; if not, `stshost reload --retire-many` does it. Nothing was changed", n, of, c.Retiring[0])}
	}
	rows, err := m.rowsFor(ctx, known, next, c)
	if err != nil {
		return c, err
	}
	wanted, keeps, err := m.wantedOf(ctx, domains, rows)
	if err != nil {
		return c, err
	}
	// The store has it all before anybody acts on it.
	for _, change := range rows.changed {
		if err := m.store(ctx, change.row, change.domain, change.events...); err != nil {
			m.takeBack(rows.changed)
			return c, err
		}
	}
	for _, name := range c.Abandoned {
		if err := errors.Join(m.cfg.Reconciler.Leave(ctx, name, true), m.cfg.Store.Release(ctx, name)); err != nil {
			m.log.Warn("what is left of an abandoned domain stays in the store", "domain", name, "error", err)
		}
	}
	if c.Changes, err = m.cfg.Reconciler.SetDomains(ctx, wanted); err != nil {
		m.takeBack(rows.changed)
		return c, err
	}
	back, otherwise := m.compare(known, next)
	m.replace(next, rows.all, keeps)
	c.forConfig(next, back, otherwise)
	return c, nil
}

// takeBack has the store written anew where it has rows that a config which was not
// taken over asked for.
func (m *Manager) takeBack(changed []rowChange) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, c := range changed {
		if d := m.domains[c.domain]; d != nil {
			d.unsure = true
			m.arrange(d)
		}
	}
}

// compare tells of the domains of a config what the reconciler cannot: which had
// left it, and which are to be taken along otherwise than before.
func (m *Manager) compare(known []string, next map[string]*Domain) (back, otherwise []string) {
	for _, name := range known {
		d, _ := m.get(name)
		a, b := d.conf, next[name]
		if a == nil && b != nil && d.row != nil && d.row.Left {
			back = append(back, name)
		}
		if a == nil || b == nil || a.pinned() || b.pinned() {
			continue
		}
		if a.MaxAge != b.MaxAge || !slices.Equal(a.Ramp, b.Ramp) || !slices.Equal(a.Stay, b.Stay) || a.Reporters != b.Reporters || a.Migrate != b.Migrate {
			otherwise = append(otherwise, name)
		}
	}
	return back, otherwise
}

// forConfig leaves of the reconciler's changes what the config is about, and adds
// what the reconciler cannot tell.
func (c *Changes) forConfig(next map[string]*Domain, back, otherwise []string) {
	returned := setOf(back)
	gone := func(name string) bool { return next[name] == nil }
	c.Added = once(slices.DeleteFunc(c.Added, gone), back)
	c.Changed = slices.DeleteFunc(once(c.Changed, otherwise), func(name string) bool { return gone(name) || returned[name] })
	c.Removed = once(c.Removed, c.Retiring, c.Abandoned)
}

// once are the names of all lists, each once, sorted.
func once(lists ...[]string) []string {
	return slices.Compact(slices.Sorted(slices.Values(slices.Concat(lists...))))
}

// wantedOf are the domains for the reconciler: those of the config, each at its
// stage, and those that left and retire.
func (m *Manager) wantedOf(ctx context.Context, domains []Domain, r *rows) (all []reconcile.Wanted, keeps map[string]kept, err error) {
	keeps = make(map[string]kept)
	for i := range domains {
		name := domains[i].Wanted.Domain
		row := r.all[name]
		if row != nil && row.Stage == state.StageRetired {
			continue
		}
		w, k, err := m.wanted(ctx, &domains[i], row)
		if err != nil {
			return nil, nil, err
		}
		if len(k.names) > 0 {
			keeps[name] = k
		}
		all = append(all, w)
	}
	for _, name := range slices.Sorted(maps.Keys(r.all)) {
		if r.all[name].Left {
			all = append(all, leftBehind(*r.all[name]))
		}
	}
	return all, keeps, nil
}

// wanted is a domain of the config for the reconciler, at the stage that it has.
func (m *Manager) wanted(ctx context.Context, conf *Domain, row *state.Rollout) (reconcile.Wanted, kept, error) {
	w := conf.Wanted
	if row != nil && !conf.pinned() {
		w.MX = union(w.MX, row.MX)
		w.Stage = conf.policy(placeOf(*row))
		w.Withdraw = row.Stage == state.StageWithdrawing
		if w.Stage.Mode == mtasts.ModeNone {
			w.MX = nil // the same policy as of one that leaves the config meanwhile
		}
	}
	served, ok := m.cfg.Served(w.Domain)
	if ok && row != nil && !conf.pinned() && m.overdue(conf, *row, served) {
		from, _ := conf.found(served, nil)
		w.Stage = conf.policy(from)
	}
	leads := cmp.Or(w.Mode, w.Stage.Mode, mtasts.ModeEnforce) == mtasts.ModeEnforce
	if !ok || !leads || served.Mode != mtasts.ModeEnforce || len(missing(w.MX, served.MX)) == 0 {
		return w, kept{}, nil
	}
	ledger, err := m.cfg.Store.Bodies(ctx, w.Domain)
	if err != nil {
		return w, kept{}, err
	}
	k := keep(served, w.MX, ledger, m.cfg.Now())
	w.MX = union(w.MX, k.names)
	return w, k, nil
}

// replace makes the given what is known of the domains, and has looked at what has
// something to do.
func (m *Manager) replace(next map[string]*Domain, all map[string]*state.Rollout, keeps map[string]kept) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for name := range next {
		if m.domains[name] == nil {
			m.domains[name] = &domain{name: name, index: -1}
		}
	}
	for name, d := range m.domains {
		d.conf, d.row, d.kept, d.seen = next[name], all[name], m.goOn(d.kept, keeps[name]), look{}
		if !m.forgetUnknown(d) {
			m.arrange(d)
		}
	}
}
