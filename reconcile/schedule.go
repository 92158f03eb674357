package reconcile

import (
	"container/heap"
	"context"
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
)

// runTimeout bounds one run of a domain: a fetch over every address and a few
// DNS calls fit in well.
const runTimeout = 2 * time.Minute

// dueQueue is a heap of domains by due time: one goroutine and one timer serve
// any number of domains.
type dueQueue []*domain

func (q dueQueue) Len() int           { return len(q) }
func (q dueQueue) Less(i, j int) bool { return q[i].due.Before(q[j].due) }
func (q dueQueue) Swap(i, j int) {
	q[i], q[j] = q[j], q[i]
	q[i].index, q[j].index = i, j
}
func (q *dueQueue) Push(x any) {
	d := x.(*domain)
	d.index = len(*q)
	*q = append(*q, d)
}
func (q *dueQueue) Pop() any {
	old := *q
	d := old[len(old)-1]
	old[len(old)-1] = nil
	*q = old[:len(old)-1]
	d.index = -1
	return d
}

// schedule puts d in the queue for the given time. The caller holds r.mu.
func (r *Reconciler) schedule(d *domain, due time.Time) {
	d.due = due
	if d.index >= 0 {
		heap.Fix(&r.queue, d.index)
	} else {
		heap.Push(&r.queue, d)
	}
	select {
	case r.kick <- struct{}{}:
	default:
	}
}

// unschedule takes d out of the queue. The caller holds r.mu.
func (r *Reconciler) unschedule(d *domain) {
	if d.index >= 0 {
		heap.Remove(&r.queue, d.index)
	}
}

// wake makes d due now, or once more if it is being worked on. The caller
// holds r.mu.
func (r *Reconciler) wake(d *domain) {
	switch {
	case d.orphan:
	case d.running:
		d.again = true
	default:
		// Before whatever is overdue: something has happened to this one.
		r.schedule(d, time.Time{})
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
	if name, ok := strings.CutPrefix(host, mtasts.PolicyHost("")); ok {
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
	work := make(chan *domain)
	var workers sync.WaitGroup
	for range r.cfg.Workers {
		workers.Go(func() {
			for d := range work {
				r.runOne(ctx, d)
			}
		})
	}
	workers.Go(func() { r.runExtra(ctx) })
	r.dispatch(ctx, work)
	close(work)
	workers.Wait()
	return nil
}

// dispatch hands due domains to the workers until ctx ends.
func (r *Reconciler) dispatch(ctx context.Context, work chan<- *domain) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		d, wait := r.next()
		if d != nil {
			select {
			case work <- d:
				continue
			case <-ctx.Done():
				return
			}
		}
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-r.kick:
		case <-ctx.Done():
			return
		}
	}
}

// next takes the domain that is due, or says how long to wait for one.
func (r *Reconciler) next() (*domain, time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if len(r.queue) == 0 {
		return nil, time.Hour
	}
	now := r.cfg.Now()
	r.heedClock(now)
	if wait := r.queue[0].due.Sub(now); wait > 0 {
		return nil, wait
	}
	d := heap.Pop(&r.queue).(*domain)
	d.running = true
	return d, 0
}

// heedClock has what waits wait no longer than before when the clock is set
// back. A clock whose times have a monotonic reading, as time.Now's do, never
// goes back in this sense. The caller holds r.mu.
func (r *Reconciler) heedClock(now time.Time) {
	if back := r.looked.Sub(now); back > 0 {
		for _, d := range r.queue {
			if !d.due.IsZero() {
				d.due = d.due.Add(-back)
			}
		}
		heap.Init(&r.queue)
	}
	r.looked = now
}

// runOne takes one domain as far as it gets and puts it back in the queue.
func (r *Reconciler) runOne(ctx context.Context, d *domain) {
	runCtx, cancel := context.WithTimeout(ctx, runTimeout)
	defer cancel()
	r.mu.Lock()
	d.cancel = cancel
	t := task{Reconciler: r, wanted: d.wanted, row: d.row, d: d}
	r.mu.Unlock()

	if !r.removed(d) {
		err := t.run(runCtx)
		// A run that was cancelled, by a stop or because the domain left the
		// config (it may be back by now), came to no conclusion.
		if !errors.Is(runCtx.Err(), context.Canceled) && !r.removed(d) {
			t.conclude(ctx, err)
		}
	}
	if r.release(d, t.row) && r.neverAnnounced(ctx, d.name) {
		r.forget(ctx, d.name)
	}
}

// removed reports whether d left the config.
func (r *Reconciler) removed(d *domain) bool {
	r.mu.Lock()
	defer r.mu.Unlock()
	return d.orphan
}

// release puts d back in the queue after a run. It reports whether the domain
// left the config meanwhile and its last body has no id: none was pushed.
func (r *Reconciler) release(d *domain, row state.Domain) (gone bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	d.row = row
	d.running, d.cancel = false, nil
	switch {
	case d.orphan:
		return row.ID == ""
	case d.again:
		d.again = false
		r.schedule(d, time.Time{})
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
