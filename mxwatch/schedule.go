package mxwatch

import (
	"context"
	"time"

	"github.com/stshost/stshost/internal/dispatch"
	"github.com/stshost/stshost/internal/spread"
)

// firstRetry is when MX hosts that did not pass are looked at again, so that
// whoever mended them sees it. It doubles with each look, up to the interval.
const firstRetry = 10 * time.Minute

// Before reports whether d is to be looked at before o.
func (d *domain) Before(o *domain) bool {
	if d.soon != o.soon {
		return d.soon
	}
	return d.due.Before(o.due)
}

// Place is where the queue keeps d's place in it.
func (d *domain) Place() *int { return &d.index }

// schedule puts d in the queue for the given time. The caller holds w.mu.
func (w *Watch) schedule(d *domain, due time.Time) {
	d.due = due
	w.queue.Put(d)
	select {
	case w.kick <- struct{}{}:
	default:
	}
}

// wake makes d due now, or once more if it is being looked at. The caller holds
// w.mu.
func (w *Watch) wake(d *domain) {
	if d.running {
		d.again = true
		return
	}
	if !d.soon {
		d.soon = true
		w.schedule(d, w.cfg.Now())
	}
}

// Run looks at the domains until ctx ends, then waits for the looks under way,
// which end with ctx too. It always returns nil.
func (w *Watch) Run(ctx context.Context) error {
	dispatch.Run(ctx, w.cfg.Workers, w.kick, w.next, w.runOne)
	return nil
}

// next takes the domain that is due, or says how long to wait for one.
func (w *Watch) next() (*domain, time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.queue) == 0 {
		return nil, time.Hour
	}
	first := w.queue[0]
	if ahead := first.due.Sub(w.cfg.Now()); ahead > 0 {
		return nil, min(ahead, time.Hour)
	}
	w.queue.Next()
	first.running, first.soon = true, false
	return first, 0
}

// runOne looks at one domain and puts it back in the queue, unless there is
// nothing to look at before it serves another policy.
func (w *Watch) runOne(ctx context.Context, d *domain) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	w.mu.Lock()
	gone := w.domains[d.name] != d
	last := d.known()
	d.cancel = cancel
	w.mu.Unlock()
	idle := false
	if !gone {
		last, idle = w.look(ctx, d, last)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	d.last, d.running, d.cancel = remember(last), false, nil
	now := w.cfg.Now()
	switch {
	case w.domains[d.name] != d: // it has left
	case d.again:
		d.again = false
		w.wake(d)
	case !idle && w.every > 0:
		w.schedule(d, now.Add(w.wait(d.name, d.last, now)))
	}
}

// wait is how long after now the next look comes. After a look that passed it
// is at a time of the domain's own in each interval, so that domains that came
// together do not stay together. The caller holds w.mu.
func (w *Watch) wait(name string, last memory, now time.Time) time.Duration {
	at := last.time
	if at.After(now) {
		at = now // the clock was set back
	}
	if last.attempts > 0 {
		retry := min(firstRetry<<min(last.attempts-1, 16), w.every)
		next := at.Add(retry - retry/10 + spread.Of(name, retry/5))
		if last.all != nil {
			// The look that confirms that a host fails is not much later than it
			// can, and one that would come shortly before waits to be that one.
			if due := guardDue(last.all.Hosts); due.After(at) && due.Sub(next) < firstRetry {
				next = due.Add(spread.Of(name, firstRetry/5))
			}
		}
		return next.Sub(now)
	}
	at = at.Add(w.every / 2)
	offset := time.Duration(at.UnixNano() % int64(w.every))
	ahead := spread.Of(name, w.every) - offset
	if ahead < 0 {
		ahead += w.every
	}
	return at.Add(ahead).Sub(now)
}

// firstWait is wait for a domain known from before the start. Those whose time
// has passed meanwhile are not all looked at at once.
func (w *Watch) firstWait(name string, last memory, now time.Time) time.Duration {
	if wait := w.wait(name, last, now); wait > 0 {
		return wait
	}
	if last.attempts > 0 {
		return spread.Of(name, firstRetry)
	}
	return spread.Of(name, w.every/10)
}
