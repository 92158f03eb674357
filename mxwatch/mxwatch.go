// Package mxwatch looks at the MX hosts of the hosted domains again and again:
// a policy in mode enforce is a promise that each of them offers verified TLS
// (RFC 8461 §4), and whoever keeps the hosts may break it unawares, by a
// certificate that runs out or an MX record that the policy does not name.
//
// What a look saw is kept in the store, so that a start looks at nothing before
// its time. Each fault is told once while it stands, and the end of trouble when
// all of it is over. That it could not be told whether a host fails is neither.
//
// Two things are told beside that: that a host which used to pass goes on failing
// at all of its addresses in mode enforce (guard.go), and which policy would name
// MX hosts that are new (drift.go).
package mxwatch

import (
	"context"
	"errors"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/stshost/stshost/internal/dispatch"
	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
)

// Prober looks at MX hosts; package check is the real one.
type Prober interface {
	// CheckMX looks at every address of every MX host of the domain, and judges
	// them by a policy with these patterns and this mode. The error says that
	// nothing could be said.
	CheckMX(ctx context.Context, domain string, patterns []string, mode mtasts.Mode) (state.MXCheck, error)
}

// Store keeps what was seen. When a method has returned nil, that survives a
// crash.
type Store interface {
	MXChecks(ctx context.Context) ([]state.MXWatch, error)
	SaveMXCheck(ctx context.Context, w state.MXWatch) error
	RemoveMXChecks(ctx context.Context, domains []string) error
	// Events returns the events that q chooses, the oldest first.
	Events(ctx context.Context, q state.EventQuery) ([]state.Event, error)
}

// Config is what a Watch is made of. Prober, Store and Policy are required.
type Config struct {
	Prober Prober
	Store  Store
	// Policy returns the policy that a domain serves; false: it serves none yet.
	Policy func(domain string) (mtasts.Policy, bool)
	// Event takes what happened. It returns at once and does not call back; nil
	// discards.
	Event func(state.Event)
	// Drift takes what a look saw that found an MX host which the policy does not
	// name, each time. It returns at once; nil discards.
	Drift func(domain string, seen state.MXCheck)

	// Interval is the time between two looks at a domain whose MX hosts pass; 0:
	// nothing is looked at, and what was seen is forgotten.
	Interval time.Duration
	Workers  int // domains looked at at a time; 0: 4
	Now      func() time.Time
	Logger   *slog.Logger
}

// Watch looks at MX hosts until its context ends.
type Watch struct {
	cfg Config
	log *slog.Logger

	// leaving is held to write while domains leave, and to read while something
	// is stored and told of one. It is taken before mu.
	leaving sync.RWMutex

	mu      sync.Mutex
	every   time.Duration // Config.Interval, until SetInterval
	domains map[string]*domain
	queue   dispatch.Queue[*domain]
	kick    chan struct{}            // the queue may have another head
	stored  map[string]state.MXWatch // what the store had at the start, until SetDomains
	lost    map[string]bool          // of these: the last event was not stored
}

// domain is a hosted domain. Its fields are guarded by Watch.mu.
type domain struct {
	name    string
	last    memory // its time is zero before the first look
	due     time.Time
	soon    bool // due by now, and goes before what only has its time
	index   int  // place in the queue; -1 when not queued
	running bool // a worker has it
	again   bool // wanted while running
	cancel  context.CancelFunc
}

// New returns a Watch that knows what the store has.
func New(ctx context.Context, cfg Config) (*Watch, error) {
	if cfg.Prober == nil || cfg.Store == nil || cfg.Policy == nil {
		return nil, errors.New("mxwatch: Config needs Prober, Store and Policy")
	}
	if cfg.Workers <= 0 {
		cfg.Workers = 4
	}
	if cfg.Event == nil {
		cfg.Event = func(state.Event) {}
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	rows, err := cfg.Store.MXChecks(ctx)
	if err != nil {
		return nil, err
	}
	w := &Watch{
		cfg: cfg, log: cfg.Logger, every: cfg.Interval, domains: make(map[string]*domain),
		kick: make(chan struct{}, 1), stored: make(map[string]state.MXWatch, len(rows)),
	}
	for _, row := range rows {
		w.stored[row.Domain] = row
	}
	w.lost, err = w.untell(ctx, w.stored)
	return w, err
}

// SetInterval replaces Config.Interval. What was seen is forgotten, or all
// looked at, with the next SetDomains where it becomes 0 or is 0 no longer.
func (w *Watch) SetInterval(every time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if every == w.every {
		return
	}
	w.every = every
	if every <= 0 {
		return
	}
	now := w.cfg.Now()
	for _, d := range w.domains {
		if d.index >= 0 && !d.soon {
			w.schedule(d, now.Add(w.firstWait(d.name, d.last, now)))
		}
	}
}

// interval is the time between two looks at a domain whose MX hosts pass.
func (w *Watch) interval() time.Duration {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.every
}

// has reports whether d is one of the domains, and has not left.
func (w *Watch) has(d *domain) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.domains[d.name] == d
}

// SetDomains makes these the domains to look at; of those that are gone nothing
// is kept. A domain that is new is looked at as soon as it serves a policy.
// SetDomains is not called twice at a time.
func (w *Watch) SetDomains(ctx context.Context, domains []string) error {
	if w.interval() <= 0 {
		domains = nil
	}
	w.leaving.Lock()
	gone := w.setDomains(domains)
	w.leaving.Unlock()
	return w.cfg.Store.RemoveMXChecks(ctx, gone)
}

// setDomains is SetDomains in memory. It returns those that are gone.
func (w *Watch) setDomains(names []string) (gone []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := w.cfg.Now()
	keep := make(map[string]struct{}, len(names))
	for _, name := range names {
		keep[name] = struct{}{}
		if w.domains[name] != nil {
			continue
		}
		d := &domain{name: name, index: -1, last: remember(w.stored[name])}
		w.domains[name] = d
		if d.soon = d.last.time.IsZero() || w.lost[name]; d.soon {
			w.schedule(d, now)
		} else {
			w.schedule(d, now.Add(w.firstWait(name, d.last, now)))
		}
		delete(w.stored, name)
	}
	for name := range w.stored { // left while no server ran
		gone = append(gone, name)
	}
	w.stored, w.lost = nil, nil
	for name, d := range w.domains {
		if _, ok := keep[name]; ok {
			continue
		}
		gone = append(gone, name)
		delete(w.domains, name)
		w.queue.Remove(d)
		if d.cancel != nil {
			d.cancel()
		}
	}
	slices.Sort(gone)
	return gone
}

// Look has the domain looked at without waiting for its time: it serves another
// policy.
func (w *Watch) Look(name string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if d := w.domains[name]; d != nil {
		w.wake(d)
	}
}

// LookAtFailing is Look for every domain whose MX hosts fail: somebody may have
// mended them.
func (w *Watch) LookAtFailing() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, d := range w.domains {
		if all := d.last.all; all != nil && slices.ContainsFunc(all.Faults, func(f state.MXFault) bool { return f.Open }) {
			w.wake(d)
		}
	}
}

// Last returns what is known of the MX hosts of a domain; false: they have not
// been looked at.
func (w *Watch) Last(name string) (state.MXWatch, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	d := w.domains[name]
	if d == nil || d.last.time.IsZero() {
		return state.MXWatch{}, false
	}
	last := d.known()
	if d.index >= 0 || d.running {
		last.Next = d.due
	}
	return last, true
}

// Counts is how the domains stand, in numbers.
type Counts struct {
	Failing int // something is wrong with an MX host
	Unknown int // it could not be told at the last look; those of Failing left out
}

// Counts counts the domains.
func (w *Watch) Counts() Counts {
	w.mu.Lock()
	defer w.mu.Unlock()
	var c Counts
	for _, d := range w.domains {
		switch {
		case d.last.all != nil && d.last.all.Trouble.Severity != "":
			c.Failing++
		case d.last.unknown:
			c.Unknown++
		}
	}
	return c
}
