package reconcile

import (
	"bytes"
	"context"
	"slices"
	"time"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
)

// Changes tells what SetDomains did, by policy domain.
type Changes struct {
	Added   []string
	Changed []string
	Removed []string
}

// Empty reports whether nothing changed.
func (c Changes) Empty() bool { return len(c.Added)+len(c.Changed)+len(c.Removed) == 0 }

// SetDomains makes wanted the domains to work on. What did not change is not
// touched. A domain that is gone from wanted but was announced goes on being
// served: senders may hold its policy for as long as its max_age
// (RFC 8461 §8.3). SetDomains, Add, Set and Leave are not called two at a time.
func (r *Reconciler) SetDomains(ctx context.Context, wanted []Wanted) (Changes, error) {
	rows, err := r.unservedRows(ctx, wanted)
	if err != nil {
		return Changes{}, err
	}
	c, gone := r.setWanted(wanted, rows)
	for _, name := range gone {
		r.forgetGone(ctx, name)
	}
	return c, nil
}

// Set is SetDomains for one domain that is served already, and leaves all others as
// they are.
func (r *Reconciler) Set(w Wanted) {
	r.mu.Lock()
	defer r.mu.Unlock()
	d := r.domains[w.Domain]
	switch {
	case d == nil:
	case d.orphan:
		var c Changes
		r.want(w, nil, &c)
	case d.wanted.equal(w) || r.meansTheSame(d, w):
		d.wanted = w
	default: // whoever sets it tells of it
		d.wanted = w
		r.await(d)
		r.wake(d)
	}
}

// Add is SetDomains with one domain more.
func (r *Reconciler) Add(ctx context.Context, w Wanted) error {
	rows, err := r.unservedRows(ctx, []Wanted{w})
	if err != nil {
		return err
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	var c Changes
	r.want(w, rows, &c)
	r.setHosts()
	return nil
}

// unservedRows returns the journal if wanted names a domain that is not in
// memory: one that served no body before the start may have a row there.
func (r *Reconciler) unservedRows(ctx context.Context, wanted []Wanted) (map[string]state.Domain, error) {
	r.mu.Lock()
	unknown := slices.ContainsFunc(wanted, func(w Wanted) bool { return r.domains[w.Domain] == nil })
	r.mu.Unlock()
	if !unknown {
		return nil, nil
	}
	saved, err := r.cfg.Journal.Domains(ctx)
	if err != nil {
		return nil, err
	}
	rows := make(map[string]state.Domain, len(saved))
	for _, row := range saved {
		rows[row.Name] = row
	}
	return rows, nil
}

// setWanted is SetDomains in memory. It returns the domains that are gone and
// at rest, and whose last body has no id.
func (r *Reconciler) setWanted(wanted []Wanted, rows map[string]state.Domain) (c Changes, gone []string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	keep := make(map[string]struct{}, len(wanted))
	for _, w := range wanted {
		keep[w.Domain] = struct{}{}
		r.want(w, rows, &c)
	}
	for name, d := range r.domains {
		if _, ok := keep[name]; ok {
			continue
		}
		if d.orphan {
			if !r.listed && d.row.Step == state.Withdrawn { // a kill came between
				gone = append(gone, name)
			}
			continue
		}
		c.Removed = append(c.Removed, name)
		if r.leave(d) {
			gone = append(gone, name)
		}
	}
	r.listed = true
	r.setHosts()
	return c, gone
}

// want makes w what is wanted of its domain. The caller holds r.mu.
func (r *Reconciler) want(w Wanted, rows map[string]state.Domain, c *Changes) {
	now := r.cfg.Now()
	d := r.domains[w.Domain]
	switch {
	case d == nil:
		row, ok := rows[w.Domain]
		switch {
		case !ok && w.Withdraw: // it has left, and a kill came before that was noted where it is wanted
			row, ok = state.Domain{Name: w.Domain, Step: state.Withdrawn, Since: now}, true
		case !ok, row.Step == state.Withdrawn && !w.Withdraw: // it had left MTA-STS, and begins anew
			row = state.Domain{Name: w.Domain, Step: state.WaitingDNS, Since: now}
		}
		d = &domain{name: w.Domain, wanted: w, row: row, index: -1}
		r.domains[w.Domain] = d
		c.Added = append(c.Added, w.Domain)
		if !w.Left && (!ok || r.listed) {
			r.tellAdded(d)
		}
		if d.soon = !ok || r.listed || row.LastRun.IsZero(); d.soon {
			r.await(d)
		}
		r.schedule(d, now)
	case d.orphan:
		d.orphan, d.drop, d.wanted = false, false, w
		if d.soon = r.listed || r.outdated(d); d.soon {
			r.await(d)
		}
		c.Added = append(c.Added, w.Domain)
		if r.listed && !w.Left { // else it was there before the start, as far as is known
			r.tellAdded(d)
		}
		if d.running {
			d.again = true // the run under way began before it left the config
		} else {
			r.schedule(d, r.firstLook(d, now))
		}
	case !d.wanted.equal(w) && !r.meansTheSame(d, w):
		old := d.wanted
		d.wanted = w
		c.Changed = append(c.Changed, w.Domain)
		r.tellChanged(d, old)
		r.await(d)
		r.wake(d)
	default:
		d.wanted = w // nothing that matters differs
	}
}

// meansTheSame reports whether w wants nothing else of d than before but for a Stage
// that makes the same policy. The caller holds r.mu.
func (r *Reconciler) meansTheSame(d *domain, w Wanted) bool {
	as := d.wanted
	as.Stage = w.Stage
	if !as.equal(w) {
		return false
	}
	_, was, err := r.policy(d.wanted, d.row)
	_, is, wrong := r.policy(w, d.row)
	return err == nil && wrong == nil && bytes.Equal(was, is)
}

// setHosts makes the policy hosts of all domains, and the extra hosts, the known
// ones. The caller holds r.mu.
func (r *Reconciler) setHosts() {
	hosts := make(map[string]struct{}, len(r.domains)+len(r.extra))
	for host := range r.extra {
		hosts[host] = struct{}{}
	}
	for name := range r.domains {
		hosts[mtasts.PolicyHost(name)] = struct{}{}
	}
	r.cfg.Certificates.SetHosts(hosts)
}

// firstLook is when a domain known from before the start is looked at: at once
// unless all was well, else when it would have been due. Many domains that
// are overdue spread over a part of the interval.
func (r *Reconciler) firstLook(d *domain, now time.Time) time.Time {
	if d.soon || before(d.row.Step, state.Confirmed) || d.row.LastError != "" {
		return now
	}
	if d.row.NextRun.After(now.Add(r.cfg.Interval)) || d.row.NextRun.Before(now) {
		return now.Add(time.Duration(r.random(int64(r.cfg.Interval)/10 + 1)))
	}
	// Counted from now: the time in the journal is the wall clock's, which may
	// be set back, while timers run on.
	return now.Add(d.row.NextRun.Sub(now))
}

// outdated reports whether another policy is served than the config wants: it
// changed while we were away.
func (r *Reconciler) outdated(d *domain) bool {
	_, body, err := r.policy(d.wanted, d.row)
	return d.wanted.Withdraw != (d.row.Step == state.Withdrawn) || err != nil || mtasts.Digest(body) != d.row.BodySHA256
}

// Snapshot is what the reconciler knows of a domain at one moment.
type Snapshot struct {
	Wanted Wanted
	Orphan bool // left the config, still served
	State  state.Domain
	// Waits is since when Wanted, which is new or has changed, waits to be taken
	// up: State is not about it yet. Zero if nothing waits.
	Waits time.Time
}

// Snapshot returns what is known of the named domain.
func (r *Reconciler) Snapshot(name string) (Snapshot, bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	d, ok := r.domains[name]
	if !ok {
		return Snapshot{}, false
	}
	return d.snapshot(), true
}

// WakeBlocked has every domain looked at that something is wrong with: after
// a change that may have mended it.
func (r *Reconciler) WakeBlocked() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, d := range r.domains {
		if d.row.LastError != "" {
			r.retry(d)
		}
	}
	for _, h := range r.extra {
		if h.LastError != "" {
			r.wakeExtra(h)
		}
	}
}

// Snapshots returns what is known of every domain, in no order.
func (r *Reconciler) Snapshots() []Snapshot {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]Snapshot, 0, len(r.domains))
	for _, d := range r.domains {
		all = append(all, d.snapshot())
	}
	return all
}

// Announcer is the domain whose record carries this id, or is about to: the one
// asked about, if it is that, or else another, be it one that left the config;
// "" if there is none. Only where it is another are all of them gone through.
func (r *Reconciler) Announcer(id, domain string) string {
	r.mu.Lock()
	defer r.mu.Unlock()
	if d := r.domains[domain]; d != nil && d.row.ID == id {
		return domain
	}
	other := ""
	for name, d := range r.domains {
		if id != "" && d.row.ID == id && (other == "" || name < other) {
			other = name
		}
	}
	return other
}

func (d *domain) snapshot() Snapshot {
	return Snapshot{Wanted: d.wanted, Orphan: d.orphan, State: d.row, Waits: d.waits}
}

// Repairs counts the records that had drifted and were pushed again.
func (r *Reconciler) Repairs() uint64 { return r.repairs.Load() }
