package reconcile

import (
	"context"
	"errors"
	"maps"
	"sync"
	"time"

	"github.com/stshost/stshost/internal/dispatch"
	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
)

// runTimeout bounds one run of a domain: a fetch over every address and a few
// DNS calls fit in well.
const runTimeout = 2 * time.Minute

// lane is the queue of the domains of one DNS account. The provider is what
// holds a run up for long, be it that it does not answer or that it wants to be
// asked slowly, so no account's domains get all workers. Guarded by
// Reconciler.mu. What somebody waits for goes before what only has its time; it is
// never due in the future.
type lane struct {
	dispatch.Queue[*domain]
	running int // domains that a worker has, or is to have
}

// Before reports whether d is to be looked at before o, both being due.
func (d *domain) Before(o *domain) bool {
	if d.soon != o.soon {
		return d.soon
	}
	return d.due.Before(o.due)
}

// Place is where the queue keeps d's place in it.
func (d *domain) Place() *int { return &d.index }

// schedule puts d in the queue for the given time. The caller holds r.mu.
func (r *Reconciler) schedule(d *domain, due time.Time) {
	l := r.lanes[d.wanted.Target.Account]
	if l == nil {
		l = new(lane)
		r.lanes[d.wanted.Target.Account] = l
	}
	if d.index >= 0 && d.lane != l {
		d.lane.Remove(d)
	}
	d.due, d.lane = due, l
	l.Put(d)
	r.kickQueue()
}

// kickQueue has the queue looked at.
func (r *Reconciler) kickQueue() {
	select {
	case r.kick <- struct{}{}:
	default:
	}
}

// unschedule takes d out of the queue. The caller holds r.mu.
func (r *Reconciler) unschedule(d *domain) {
	if d.index >= 0 {
		d.lane.Remove(d)
	}
}

// wake makes d due now, before what is overdue: something has happened to this
// one. If it is being worked on, it is once more. The caller holds r.mu.
func (r *Reconciler) wake(d *domain) {
	if !d.orphan {
		d.soon = true
		r.retry(d)
	}
}

// retry makes d due now, or once more if it is being worked on. The caller
// holds r.mu.
func (r *Reconciler) retry(d *domain) {
	due := r.cfg.Now()
	if d.index >= 0 && d.due.Before(due) {
		due = d.due // it has waited for so long already
	}
	switch {
	case d.orphan:
	case d.running:
		d.again = true
	default:
		r.schedule(d, due)
	}
}

// Wake has the domain looked at without waiting for its time.
func (r *Reconciler) Wake(name string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if d := r.domains[name]; d != nil {
		r.wake(d)
	}
}

// WakeHost is Wake for the domain of a policy host, or for an extra host. It is
// what the issuing side calls when an order came to an end.
func (r *Reconciler) WakeHost(host string) {
	if name, ok := mtasts.PolicyDomain(host); ok {
		r.Wake(name)
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	if h := r.extra[host]; h != nil {
		r.wakeExtra(h)
	}
}

// Run works on the domains until ctx ends, then waits for the runs under way,
// which end with ctx too. It always returns nil.
func (r *Reconciler) Run(ctx context.Context) error {
	var extra sync.WaitGroup
	extra.Go(func() { r.runExtra(ctx) })
	dispatch.Run(ctx, r.cfg.Workers, r.kick, r.next, r.runOne)
	extra.Wait()
	return nil
}

// next takes the domain that is due, or says how long to wait for one.
func (r *Reconciler) next() (*domain, time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.cfg.Now()
	r.heedClock(now)
	most, wait := r.share(), time.Hour
	var best *lane
	for _, l := range r.lanes {
		if l.Len() == 0 || l.running >= most {
			continue
		}
		if ahead := l.Queue[0].due.Sub(now); ahead > 0 {
			wait = min(wait, ahead)
		} else if best == nil || l.goesBefore(best) {
			best = l
		}
	}
	if best == nil {
		return nil, wait
	}
	d := best.Next()
	d.running, d.soon = true, false
	best.running++
	return d, 0
}

// goesBefore says which of two lanes gets the next worker: that in which
// somebody waits, then that which has fewer.
func (l *lane) goesBefore(o *lane) bool {
	a, b := l.Queue[0], o.Queue[0]
	if a.soon == b.soon && l.running != o.running {
		return l.running < o.running
	}
	return a.Before(b)
}

// share is how many workers one account's domains may have. A quarter of them
// is kept for the domains of other accounts, if there are any. It forgets
// accounts that have no domain any more. The caller holds r.mu.
func (r *Reconciler) share() int {
	maps.DeleteFunc(r.lanes, func(_ string, l *lane) bool { return l.Len() == 0 && l.running == 0 })
	if len(r.lanes) < 2 {
		return r.cfg.Workers
	}
	return max(1, r.cfg.Workers-max(1, r.cfg.Workers/4))
}

// heedClock has what waits wait no longer than before when the clock is set
// back. A clock whose times have a monotonic reading, as time.Now's do, never
// goes back in this sense. The caller holds r.mu.
func (r *Reconciler) heedClock(now time.Time) {
	if back := r.looked.Sub(now); back > 0 {
		for _, l := range r.lanes {
			for _, d := range l.Queue { // which keeps their order
				d.due = d.due.Add(-back)
			}
		}
	}
	r.looked = now
}

// runOne takes one domain as far as it gets and puts it back in the queue.
func (r *Reconciler) runOne(ctx context.Context, d *domain) {
	runCtx, cancel := context.WithTimeout(ctx, runTimeout)
	defer cancel()
	r.mu.Lock()
	d.cancel = cancel
	t := task{Reconciler: r, wanted: d.wanted, row: d.row, d: d, change: d.change}
	r.mu.Unlock()

	if !r.removed(d) {
		err := t.run(runCtx)
		// A run that was cancelled, by a stop or because the domain left the
		// config (it may be back by now), came to no conclusion.
		if !errors.Is(runCtx.Err(), context.Canceled) && !r.removed(d) {
			t.conclude(ctx, err)
			t.tookUp()
		}
	}
	if r.release(d, t.row) {
		r.forgetGone(ctx, d.name)
	}
}

// await notes that the config wants something else of d, which waits to be taken
// up. The caller holds r.mu.
func (r *Reconciler) await(d *domain) {
	d.change++
	d.waits = r.cfg.Now()
}

// tookUp notes that what the run was begun with is served, or that the run found
// out why it is not.
func (t *task) tookUp() {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.d.change == t.change {
		t.d.waits = time.Time{}
	}
}

// removed reports whether d left the config.
func (r *Reconciler) removed(d *domain) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return d.orphan
}

// release puts d back in the queue after a run. It reports whether the domain
// left meanwhile and may be forgotten.
func (r *Reconciler) release(d *domain, row state.Domain) (gone bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	d.row = row
	d.running, d.cancel = false, nil
	d.lane.running--
	r.kickQueue() // others of the account may have waited for that
	switch {
	case d.orphan:
		return d.mayGo(row)
	case d.again:
		d.again = false
		r.schedule(d, r.cfg.Now())
	default:
		r.schedule(d, row.NextRun)
	}
	return false
}

// backoff is the pause after the given number of failed runs in a row: from
// two seconds, so that an operator who has just mended something sees it, to
// ten minutes.
func (r *Reconciler) backoff(attempts int) time.Duration {
	const longest = 10 * time.Minute
	d := 2 * time.Second << min(max(attempts-1, 0), 10)
	return r.jitter(min(d, longest))
}

// jitter spreads d by a tenth either way, so that domains do not march in step.
func (r *Reconciler) jitter(d time.Duration) time.Duration {
	return d - d/10 + time.Duration(r.random(int64(d)/5+1))
}
