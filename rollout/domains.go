package rollout

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

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

// Abandon says which domains that left are served no longer at once, whatever
// senders hold, instead of being retired.
type Abandon struct {
	All     bool     // that leave with this change
	Domains []string // these, if they left, now or before
}

func (a Abandon) of(name string) bool { return slices.Contains(a.Domains, name) }

// SetDomains makes these the domains of the config. A domain that the config named
// before, in the life of this Manager, and names no longer is retired, as senders
// may hold its policy (RFC 8461 §8.3), unless it is abandoned. One that left while
// no server ran is served as before.
func (m *Manager) SetDomains(ctx context.Context, domains []Domain, abandon Abandon) (Changes, error) {
	m.change.Lock()
	defer m.change.Unlock()
	next := make(map[string]*Domain, len(domains))
	for i := range domains {
		next[domains[i].Wanted.Domain] = &domains[i]
	}
	c, err := m.leaving(ctx, next, abandon)
	if err != nil {
		return c, err
	}
	rows, err := m.rowsFor(ctx, next, c)
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
			return c, err
		}
	}
	if c.Changes, err = m.cfg.Reconciler.SetDomains(ctx, wanted); err != nil {
		return c, err
	}
	for _, name := range c.Abandoned {
		if err := errors.Join(m.cfg.Reconciler.Leave(ctx, name, true), m.cfg.Store.Release(ctx, name)); err != nil {
			m.log.Warn("what is left of an abandoned domain stays in the store", "domain", name, "error", err)
		}
	}
	c.Changed = union(c.Changed, m.otherwise(next))
	m.replace(next, rows.all, keeps)
	c.forConfig(next)
	return c, nil
}

// otherwise are the domains that are to be taken along otherwise than before.
func (m *Manager) otherwise(next map[string]*Domain) (changed []string) {
	for _, name := range m.names() {
		d, _ := m.get(name)
		a, b := d.conf, next[name]
		if a == nil || b == nil || a.pinned() || b.pinned() {
			continue
		}
		if a.MaxAge != b.MaxAge || !slices.Equal(a.Ramp, b.Ramp) || !slices.Equal(a.Stay, b.Stay) || a.Reporters != b.Reporters || a.Migrate != b.Migrate {
			changed = append(changed, name)
		}
	}
	return changed
}

// forConfig leaves of the reconciler's changes what the config is about.
func (c *Changes) forConfig(next map[string]*Domain) {
	gone := func(name string) bool { return next[name] == nil }
	c.Added = slices.DeleteFunc(c.Added, gone)
	c.Changed = slices.DeleteFunc(c.Changed, gone)
	c.Removed = union(c.Removed, c.Retiring)
}

// leaving says what becomes of the domains that the config names no longer. Of those
// that no sender can know the reconciler takes care.
func (m *Manager) leaving(ctx context.Context, next map[string]*Domain, abandon Abandon) (c Changes, err error) {
	for _, name := range abandon.Domains {
		if _, hosted := m.cfg.Reconciler.Snapshot(name); hosted && next[name] == nil {
			c.Abandoned = append(c.Abandoned, name)
		}
	}
	for _, name := range m.names() {
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
	case s.State.ID != "" || s.State.Adopted:
		return true, nil
	}
	ledger, err := m.cfg.Store.Bodies(ctx, name)
	return len(ledger) > 1, err
}

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
func (m *Manager) rowsFor(ctx context.Context, next map[string]*Domain, c Changes) (*rows, error) {
	r := &rows{all: make(map[string]*state.Rollout)}
	for _, name := range m.names() {
		d, _ := m.get(name)
		conf := next[name]
		if d.row != nil {
			r.all[name] = d.row
		}
		switch {
		case slices.Contains(c.Retiring, name):
			row, err := m.rowOf(ctx, &d)
			if err != nil {
				return nil, err
			}
			m.leave(r, &d, row)
		case d.row == nil:
		case conf == nil && d.conf != nil: // abandoned, or no sender knows it
			r.set(name, nil)
		case slices.Contains(c.Abandoned, name), conf == nil && d.row.Stage == state.StageRetired:
			r.set(name, nil)
		case conf == nil && !d.row.Left && d.row.Goal == state.GoalRetire: // while no server ran
			row := *d.row
			row.Left = true
			r.set(name, &row)
		case conf == nil:
		case conf.pinned():
			r.set(name, nil, event(state.KindRolloutPaused, state.SeverityInfo, name,
				fmt.Sprintf("the config pins the mode at %s, so that no rollout decides it any more", conf.Wanted.Source)))
		case d.row.Left:
			m.comeBack(r, conf, *d.row)
		}
	}
	return r, nil
}

// leave has a domain retired that the config names no longer.
func (m *Manager) leave(r *rows, d *domain, row state.Rollout) {
	row.Left, row.Target = true, d.conf.Wanted.Target
	if row.Stage != state.StageRetiring && row.Stage != state.StageWithdrawing {
		if row.Back == nil { // else it has left before, and was about to return there
			row.Back = &state.Back{Stage: row.Stage, MaxAge: row.MaxAge, Goal: row.Goal}
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
// testing, and returns from there to where it was without waiting.
func (m *Manager) comeBack(r *rows, conf *Domain, row state.Rollout) {
	name := row.Domain
	row.Left, row.Target = false, state.Target{}
	row.Goal = state.GoalStay
	row = m.enter(row, inTesting)
	text := "the domain is back in the config and begins in testing"
	switch b := row.Back; {
	case b == nil:
	case b.Stage == state.StageEnforce:
		row.Goal = state.GoalEnforce
		text = fmt.Sprintf("the domain is back in the config: it goes on in testing, and returns to %s once the gates are open", conf.name(place{b.Stage, b.MaxAge}))
	default:
		row.Goal, row.Back = b.Goal, nil
	}
	r.set(name, &row, event(state.KindRolloutBack, state.SeverityInfo, name, text))
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
	served, ok := m.cfg.Served(d.name)
	if !ok || d.conf == nil {
		return row, nil
	}
	ledger, err := m.cfg.Store.Bodies(ctx, d.name)
	if err != nil {
		return row, err
	}
	p, since := d.conf.found(served, ledger)
	row.Stage, row.MaxAge, row.Entered, row.Confirmed = p.stage, p.maxAge, since, since
	return row, nil
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
	if conf.pinned() {
		return w, kept{}, nil // the config's word
	}
	if row != nil {
		w.MX = union(w.MX, row.MX)
		w.Stage = conf.policy(placeOf(*row))
		w.Withdraw = row.Stage == state.StageWithdrawing
	}
	served, ok := m.cfg.Served(w.Domain)
	if ok && row != nil && m.overdue(conf, *row, served) {
		w.Stage = reconcile.Stage{Mode: served.Mode, MaxAge: served.MaxAge}
	}
	leads := w.Stage.Mode == "" || w.Stage.Mode == mtasts.ModeEnforce
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

// leftBehind is a domain for the reconciler that the config names no longer.
func leftBehind(row state.Rollout) reconcile.Wanted {
	return reconcile.Wanted{
		Domain: row.Domain, Target: row.Target, MaxAge: noneMaxAge, Left: true,
		Stage:    reconcile.Stage{Mode: mtasts.ModeNone, MaxAge: noneMaxAge},
		Withdraw: row.Stage == state.StageWithdrawing,
	}
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
		d.conf, d.row, d.kept, d.seen = next[name], all[name], keeps[name], look{}
		if d.conf == nil && d.row == nil {
			m.unschedule(d)
			delete(m.domains, name)
			continue
		}
		m.arrange(d)
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
	row.Confirmed = row.Entered // it was announced
	callOff(&row)
	e := event(state.KindRolloutStep, state.SeverityWarning, name,
		fmt.Sprintf("an older store was restored: the domain was announced in mode %s with a max_age of %s meanwhile, and goes on from there", p.Mode, span(p.MaxAge)))
	e.Remedy = "`stshost rollout " + name + "` takes it further"
	return m.put(ctx, d, row, e)
}

// store writes a row, or removes it, with its events.
func (m *Manager) store(ctx context.Context, row *state.Rollout, name string, events ...state.Event) error {
	if row == nil {
		return m.cfg.Store.RemoveRollout(ctx, name, events...)
	}
	return m.cfg.Store.SaveRollout(ctx, *row, events...)
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
	d.row = row
	if d.conf == nil && d.row == nil {
		m.unschedule(d)
		delete(m.domains, name)
		return
	}
	m.arrange(d)
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
		known.kept = k
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
