package reconcile

import (
	"context"
	"errors"
	"time"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
)

// Leave is SetDomains without the named domain. With drop it is forgotten whatever
// senders hold.
func (r *Reconciler) Leave(ctx context.Context, name string, drop bool) error {
	r.mu.Lock()
	d := r.domains[name]
	gone := false
	switch {
	case d == nil:
	case d.orphan:
		if drop && !d.drop {
			d.drop = true
			r.tellLeft(d)
		}
		gone = !d.running && (d.drop || d.row.Step == state.Withdrawn)
	default:
		d.drop = drop
		gone = r.leave(d)
	}
	r.mu.Unlock()
	if gone {
		return r.forgetGone(ctx, name)
	}
	return nil
}

// forgetGone forgets a domain that is gone if nobody can miss it, or if it is to
// be.
func (r *Reconciler) forgetGone(ctx context.Context, name string) error {
	r.mu.Lock()
	d := r.domains[name]
	sure := d != nil && (d.drop || d.row.Step == state.Withdrawn)
	r.mu.Unlock()
	if sure || r.neverAnnounced(ctx, name) {
		return r.forget(ctx, name)
	}
	return nil
}

// mayGo reports whether a domain of this row, which left, may be one that nobody
// misses: forgetGone makes sure.
func (d *domain) mayGo(row state.Domain) bool {
	return d.drop || row.ID == "" || row.Step == state.Withdrawn
}

// leave takes d out of those that are worked on. It reports whether it is at rest
// and may be forgotten. The caller holds r.mu.
func (r *Reconciler) leave(d *domain) (gone bool) {
	r.tellLeft(d)
	r.unschedule(d)
	d.orphan, d.again, d.soon, d.waits = true, false, false, time.Time{}
	if d.cancel != nil {
		d.cancel() // runOne sees to the rest
	}
	return !d.running && d.mayGo(d.row)
}

// neverAnnounced reports whether no sender can hold a policy of the domain: it
// served none, or only one, which has no id yet, and DNS announces none. If
// that cannot be told, one may.
func (r *Reconciler) neverAnnounced(ctx context.Context, name string) bool {
	ledger, err := r.cfg.Journal.Bodies(ctx, name)
	if err != nil || len(ledger) > 1 || len(ledger) == 1 && ledger[0].Adopted {
		return false
	}
	if len(ledger) == 0 {
		return true
	}
	// The ledger may be younger than the announcement, if a store was lost.
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	txts, err := r.cfg.World.Record(ctx, name)
	return err == nil && len(mtasts.Records(txts)) == 0
}

// forget drops a domain that left the config and of which nothing needs to be
// kept. If the store refuses, it stays in memory and is served no more; the next
// Leave tries again, or the next start.
func (r *Reconciler) forget(ctx context.Context, name string) error {
	r.mu.Lock()
	d := r.domains[name]
	if d == nil || !d.orphan || d.running {
		r.mu.Unlock()
		return nil // it is back
	}
	d.running = true // nobody else works on it meanwhile
	r.cfg.Publisher.Remove(name)
	r.mu.Unlock()
	// The row goes first: one without its body would be taken for served.
	err := r.cfg.Journal.RemoveDomain(ctx, name)
	if err == nil {
		err = errors.Join(
			r.cfg.Journal.CloseBody(ctx, name, r.cfg.Now()),
			r.cfg.Certificates.Drop(ctx, mtasts.PolicyHost(name)),
		)
	}
	if err != nil {
		r.log.Warn("cannot forget a domain that left the config", "domain", name, "error", err)
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	d.running, d.again = false, false
	switch {
	case !d.orphan: // it is back, and begins anew
		if err == nil {
			d.row = state.Domain{Name: name, Step: state.WaitingDNS, Since: r.cfg.Now()}
		}
		r.schedule(d, r.cfg.Now())
	case err == nil:
		delete(r.domains, name)
		r.setHosts()
	}
	return err
}

// closeForgotten ends in the ledger, and takes out of bodies, what a kill in forget
// has left: bodies that are served, of domains without a row.
func (r *Reconciler) closeForgotten(ctx context.Context, rows []state.Domain, bodies map[string][]byte) error {
	known := make(map[string]bool, len(rows))
	for _, row := range rows {
		known[row.Name] = true
	}
	for name := range bodies {
		if known[name] {
			continue
		}
		if err := r.cfg.Journal.CloseBody(ctx, name, r.cfg.Now()); err != nil {
			return err
		}
		delete(bodies, name)
	}
	return nil
}
