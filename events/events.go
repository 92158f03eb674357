// Package events keeps what happened for people to read: what, when, why, and
// by what evidence. Producers record events into a Log, which stores them in
// batches; readers ask the Log, and wait at it for what comes next.
//
// To record takes no time and never fails, so that the work that an event is
// about goes on whatever becomes of the store. The price is that a crash loses
// the events of the last fraction of a second. A producer for whom that is too
// much stores its events itself, in one transaction with what they tell of: Log
// prepares them and makes them known. What a reader was given has been stored,
// and survives.
package events

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"strings"
	"sync"
	"time"

	"github.com/stshost/stshost/internal/state"
)

// Store is where events are kept. Its methods may be called from many
// goroutines at once.
type Store interface {
	// AddEvents stores events, all or none, with ids that rise in their order
	// and above all earlier ones. When it has returned nil they survive a crash.
	AddEvents(ctx context.Context, events []state.Event) (ids []int64, err error)
	// Events returns the events that q chooses, the oldest first.
	Events(ctx context.Context, q state.EventQuery) ([]state.Event, error)
	// PruneEvents removes the events of before the given time, and the oldest
	// until keepAtMost are left.
	PruneEvents(ctx context.Context, before time.Time, keepAtMost int) (removed int64, err error)
}

// Defaults of Config.
const (
	DefaultKeep       = 90 * 24 * time.Hour
	DefaultKeepAtMost = 2_000_000 // about 1 GB of the store
	DefaultBacklog    = 100_000
)

// Config is what a Log is made of.
type Config struct {
	Store Store // required

	Keep       time.Duration // older events are removed, once a day; 0: DefaultKeep
	KeepAtMost int           // of more, the oldest are removed; 0: DefaultKeepAtMost
	// Backlog is how many events wait in memory while the store cannot be
	// written; what comes then is lost, and that is told. 0: DefaultBacklog.
	Backlog int

	Now    func() time.Time // nil: time.Now
	Logger *slog.Logger     // nil discards
}

// Log is the sink of events and the source for those who follow them. It may
// be used from any goroutine.
type Log struct {
	cfg Config
	log *slog.Logger

	open    context.Context // ends when nothing is recorded any more
	close   context.CancelFunc
	running context.Context // ends when there is no more time to store, after open
	stop    context.CancelFunc
	done    sync.WaitGroup

	recorded chan struct{} // holds one when something is new for the writer
	storing  sync.Mutex    // held while a batch is stored; taken before mu

	mu     sync.Mutex
	queue  []state.Event // not stored yet, oldest first
	ended  bool          // nothing is stored any more
	stored chan struct{} // closed when more is stored than there was, and at the end
	lost   int           // events that found the backlog full
	lostAt time.Time     // the first of these
	counts map[state.Severity]uint64
}

// New returns a Log that stores what is recorded until Close.
func New(cfg Config) *Log {
	if cfg.Keep <= 0 {
		cfg.Keep = DefaultKeep
	}
	if cfg.KeepAtMost <= 0 {
		cfg.KeepAtMost = DefaultKeepAtMost
	}
	if cfg.Backlog <= 0 {
		cfg.Backlog = DefaultBacklog
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	l := &Log{
		cfg: cfg, log: cfg.Logger,
		recorded: make(chan struct{}, 1),
		stored:   make(chan struct{}),
		counts:   make(map[state.Severity]uint64),
	}
	l.running, l.stop = context.WithCancel(context.Background())
	l.open, l.close = context.WithCancel(l.running)
	l.done.Go(l.write)
	l.done.Go(l.prune)
	return l
}

// maxText is the most bytes that are kept of each text of an event: some of
// them are what a CA or a DNS provider said.
const maxText = 4096

// Record takes e to be stored within a fraction of a second. It returns at
// once. A zero Time becomes now, a Severity that is none becomes info; an
// event without a Kind is refused with a line in the log.
func (l *Log) Record(e state.Event) {
	if e.Kind == "" {
		l.log.Error("an event has no kind; this is a fault of stshost", "domain", e.Domain, "event", e.Text)
		return
	}
	e = l.Prepare(e)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.counts[e.Severity]++
	switch {
	case l.open.Err() != nil:
		l.log.Warn("an event came after the end and is not kept", "domain", e.Domain, "event", e.Text)
		return
	case len(l.queue) >= l.cfg.Backlog:
		if l.lost++; l.lost == 1 {
			l.lostAt = e.Time
			l.log.Error("the store has not taken events for too long: from now on they are lost", "waiting", len(l.queue))
		}
		return
	}
	l.queue = append(l.queue, e)
	l.signal()
}

// Prepare returns e in the form in which Record stores it, for those who store
// it themselves. An event without a Kind stays without, which the store refuses.
func (l *Log) Prepare(e state.Event) state.Event {
	if e.Time.IsZero() {
		e.Time = l.cfg.Now()
	}
	if e.Severity.Rank() == 0 {
		e.Severity = state.SeverityInfo
	}
	e.ID, e.Text, e.Remedy = 0, clip(e.Text), clip(e.Remedy)
	e.Evidence = maps.Clone(e.Evidence) // the producer's map is the producer's
	for key, value := range e.Evidence {
		e.Evidence[key] = clip(value)
	}
	return e
}

// Flush stores what was recorded before it, so that what its caller stores then comes
// after that.
func (l *Log) Flush() error {
	for n := l.waiting(); n > 0; n -= batch {
		if err := l.storeBatch(); err != nil {
			return err
		}
	}
	return nil
}

// Stored counts events that their producer has stored itself, and wakes those
// who wait for them. It is called when the transaction has been committed:
// whoever asked the store before that is woken, and whoever asks later finds
// them. Ids rise in the order of commits, so that no reader is past them by
// then. It may be called after Close.
func (l *Log) Stored(events ...state.Event) {
	if len(events) == 0 {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range events {
		l.counts[e.Severity]++
	}
	l.wake()
}

// wake has those who wait for events ask the store again. The caller holds l.mu.
func (l *Log) wake() {
	if l.ended { // then nobody waits
		return
	}
	close(l.stored)
	l.stored = make(chan struct{})
}

// Counts returns how many events happened since New, by severity: those that
// were recorded, and those that their producers stored.
func (l *Log) Counts() map[state.Severity]uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return maps.Clone(l.counts)
}

// signal tells the writer that there is news.
func (l *Log) signal() {
	select {
	case l.recorded <- struct{}{}:
	default:
	}
}

func clip(s string) string {
	if len(s) <= maxText {
		return s
	}
	return strings.ToValidUTF8(s[:maxText], "") + "…" // the cut may go through a letter
}

// Close stores what was recorded and ends the Log: nothing is recorded any
// more, and those who follow come to their end. When ctx ends before all is
// stored, the rest is lost, which the error tells. It may be called again, and
// then does nothing.
func (l *Log) Close(ctx context.Context) error {
	l.mu.Lock() // so that no event is half recorded
	l.close()
	l.mu.Unlock()
	defer context.AfterFunc(ctx, l.stop)()
	l.done.Wait()
	l.stop()

	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.ended {
		l.ended = true
		close(l.stored)
	}
	left := len(l.queue) + l.lost
	l.queue, l.lost = nil, 0
	if left > 0 {
		return fmt.Errorf("%d events could not be stored and are lost: %w", left, errUnwritable)
	}
	return nil
}

var errUnwritable = errors.New("the store does not take them; see the log for why")
