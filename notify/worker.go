package notify

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stshost/stshost/internal/state"
)

const (
	// saveEvery bounds how much a restart has to read again when nothing is told.
	saveEvery = 10 * time.Minute
	// lookEvery bounds for how long a clock that was set goes unnoticed.
	lookEvery = 5 * time.Minute
	// storeWait is the pause after the store or the log of events has failed.
	storeWait = time.Minute
	// saveTimeout bounds one write to the store.
	saveTimeout = 5 * time.Second
	// maxHanging is how many deliveries that got no answer may hang on at a
	// time. Each has a goroutine and a connection.
	maxHanging = 4
)

// worker tells one target.
type worker struct {
	n       *Notifier
	target  Target
	rules   rules
	after   <-chan struct{} // closed when the last worker of the name has ended; nil: there was none
	stopped context.Context
	stop    context.CancelFunc

	// These go on with the next worker of the name.
	sent, failed *atomic.Uint64
	failing      *atomic.Int64 // since when all deliveries failed, in Unix nanoseconds; 0: the last did not

	waiting atomic.Int64 // events that wait to be told
	hanging atomic.Int64 // deliveries that got no answer and go on

	book    *book
	checkAt time.Time // when to look whether something may be told; zero: after an event
	remind  time.Time // when something may have to be said again
	saveAt  time.Time // when the book is stored; zero: it is
}

// newWorker returns a worker that goes on where old, which may be nil, stops.
// n.mu is held, or n is new.
func (n *Notifier) newWorker(t Target, old *worker) *worker {
	w := &worker{
		n: n, target: t, after: n.last[t.Name],
		rules: rules{window: n.cfg.Window, perHour: n.cfg.PerHour, quiet: quietHours{from: t.QuietFrom, to: t.QuietTo, loc: t.Location}},
		sent:  new(atomic.Uint64), failed: new(atomic.Uint64), failing: new(atomic.Int64),
	}
	if old != nil {
		w.sent, w.failed, w.failing = old.sent, old.failed, old.failing
	}
	w.stopped, w.stop = context.WithCancel(context.Background())
	return w
}

func (w *worker) stats() Stats {
	s := Stats{Sent: w.sent.Load(), Failed: w.failed.Load(), Waiting: int(w.waiting.Load())}
	if since := w.failing.Load(); since != 0 {
		s.FailingSince = time.Unix(0, since)
	}
	return s
}

// run tells the target until ctx ends.
func (w *worker) run(ctx context.Context) {
	if w.after != nil {
		<-w.after
	}
	for !w.load(ctx) {
		if !sleep(ctx, storeWait) {
			return
		}
	}
	events := make(chan state.Event, 64)
	var follower sync.WaitGroup
	follower.Go(func() { w.follow(ctx, w.book.Cursor, events) })
	defer follower.Wait()
	timer := time.NewTimer(w.wait())
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			w.save(context.WithoutCancel(ctx))
			return
		case e := <-events:
			w.take(e)
		case <-timer.C:
		}
		w.look(ctx)
		timer.Reset(w.wait())
	}
}

// load takes up what the target was told before.
func (w *worker) load(ctx context.Context) bool {
	data, err := w.n.cfg.Store.NotifyState(ctx, w.target.Name)
	if err != nil && !errors.Is(err, state.ErrNotFound) {
		w.problem(ctx, "what was told before cannot be read; nothing is told until it can", err)
		return false
	}
	now := w.n.cfg.Now()
	if w.book, err = openBook(data, now); err != nil {
		w.problem(ctx, "begins anew", err)
		w.book, _ = openBook(nil, now)
	}
	if errors.Is(err, state.ErrNotFound) || len(data) == 0 {
		w.saveAt = now // since when it exists
	}
	w.checkAt, w.remind = now, now
	w.count()
	return true
}

// follow hands over the events above after until ctx ends or the log does.
func (w *worker) follow(ctx context.Context, after int64, events chan<- state.Event) {
	for {
		var failed error
		for e, err := range w.n.cfg.Source.Follow(ctx, after) {
			if err != nil {
				failed = err
				break
			}
			select {
			case events <- e:
				after = e.ID
			case <-ctx.Done():
				return
			}
		}
		if failed == nil || ctx.Err() != nil {
			return
		}
		w.problem(ctx, "the events cannot be read; nothing new is told until they can", failed)
		if !sleep(ctx, storeWait) {
			return
		}
	}
}

func (w *worker) take(e state.Event) {
	now := w.n.cfg.Now()
	w.book.take(e, now, w.target.Min, w.target.Repeat)
	w.due(&w.saveAt, now.Add(saveEvery))
	if len(w.book.Pending) > 0 {
		w.due(&w.checkAt, now.Add(w.rules.window))
	}
	w.count()
}

// due makes at no later than t.
func (w *worker) due(at *time.Time, t time.Time) {
	if at.IsZero() || t.Before(*at) {
		*at = t
	}
}

// wait is how long nothing is to be done unless an event comes.
func (w *worker) wait() time.Duration {
	now := w.n.cfg.Now()
	wait := lookEvery
	for _, at := range []time.Time{w.checkAt, w.remind, w.saveAt} {
		if !at.IsZero() {
			wait = min(wait, at.Sub(now))
		}
	}
	return max(wait, 0)
}

// look does what is due.
func (w *worker) look(ctx context.Context) {
	now := w.n.cfg.Now()
	if !w.remind.IsZero() && !now.Before(w.remind) {
		w.remind = w.book.remind(now, w.target.Repeat, w.n.cfg.Stands)
		if w.remind.IsZero() { // for what is told from now on
			w.remind = now.Add(foldRepeats)
			if w.target.Repeat > 0 {
				w.remind = now.Add(w.target.Repeat)
			}
		}
		w.checkAt = now
		w.count()
	}
	if !w.checkAt.IsZero() && !now.Before(w.checkAt) {
		items, next := w.book.batch(now, w.rules)
		w.checkAt = next
		if len(items) > 0 {
			w.tell(ctx, items)
		}
	}
	if !w.saveAt.IsZero() && !now.Before(w.saveAt) {
		w.save(ctx)
	}
}

// tell delivers items in one message.
func (w *worker) tell(ctx context.Context, items []*item) {
	err := w.deliver(ctx, compose(items, w.n.cfg.Server))
	if ctx.Err() != nil && err != nil {
		return // a stop is no failure: told after the start
	}
	now := w.n.cfg.Now()
	w.checkAt = now // for what may not be told with these
	if err != nil {
		w.failed.Add(1)
		w.failing.CompareAndSwap(0, now.UnixNano())
		retry := w.book.failed(now)
		w.n.log.Warn("a notification could not be delivered", "target", w.target.Name, "events", len(items), "next_try", retry, "error", err)
		return
	}
	w.sent.Add(1)
	w.book.delivered(items, now)
	w.failing.Store(0)
	w.count()
	w.n.log.Info("a notification was sent", "target", w.target.Name, "events", len(items))
	// Also when a stop has come: what was told must not be told again.
	w.save(context.WithoutCancel(ctx))
}

func (w *worker) deliver(ctx context.Context, m Message) error {
	if w.hanging.Load() >= maxHanging {
		return errors.New("earlier messages still wait for an answer of the service")
	}
	ctx, cancel := context.WithTimeout(ctx, w.n.cfg.Timeout)
	defer cancel()
	w.hanging.Add(1)
	return w.n.cfg.Send(ctx, w.target.URL, m, func() { w.hanging.Add(-1) })
}

// save stores the book. If the store does not take it, it is tried again; until
// then a kill would have the target told again.
func (w *worker) save(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, saveTimeout)
	defer cancel()
	data, err := w.book.bytes()
	if err == nil {
		err = w.n.cfg.Store.PutNotifyState(ctx, w.target.Name, data)
	}
	if err != nil {
		w.saveAt = w.n.cfg.Now().Add(storeWait)
		w.problem(ctx, "what was told could not be stored; a crash now would have it told again", err)
		return
	}
	w.saveAt = time.Time{}
}

func (w *worker) count() { w.waiting.Store(int64(len(w.book.Pending))) }

func (w *worker) problem(ctx context.Context, what string, err error) {
	if !errors.Is(ctx.Err(), context.Canceled) {
		w.n.log.Error("notifications: "+what, "target", w.target.Name, "error", err)
	}
}

// sleep waits for d and reports whether ctx still lives.
func sleep(ctx context.Context, d time.Duration) bool {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return true
	case <-ctx.Done():
		return false
	}
}
