// Package notify tells people what happened: it follows the events and sends
// what matters to webhooks, mailboxes and chats, by way of shoutrrr.
//
// A trouble is told once, and again only when it came back or has stood for
// long. Its end is told if it was. What happens at once is told in one
// message. A message that cannot be delivered waits, and grows by what happens
// meanwhile. Nothing is lost by a restart; a kill between a delivery and its
// being noted makes for one message told twice.
package notify

import (
	"context"
	"errors"
	"fmt"
	"iter"
	"log/slog"
	"maps"
	"os"
	"reflect"
	"slices"
	"sync"
	"time"

	"github.com/stshost/stshost/internal/state"
)

// Target is somebody to be told.
type Target struct {
	Name string
	URL  string         // of a service of shoutrrr; a secret
	Min  state.Severity // what is less is not told; "" is warning
	// QuietFrom and QuietTo, since midnight in Location, are the hours in which
	// only what is critical is told, and its end; the rest waits for theirs. Equal: none.
	QuietFrom, QuietTo time.Duration
	Location           *time.Location // nil: time.Local
	// Repeat is after how long what is not over is said again; 0: never.
	Repeat time.Duration
}

// Source is the log of events.
type Source interface {
	// Follow yields each event with an ID above after, in the order of their
	// IDs, those to come too, until ctx ends or the log does. An error is the
	// last that it yields.
	Follow(ctx context.Context, after int64) iter.Seq2[state.Event, error]
}

// Store keeps what each target was told. When PutNotifyState has returned nil
// the data survives a crash.
type Store interface {
	// NotifyState returns the data of a target, or an error that is
	// state.ErrNotFound.
	NotifyState(ctx context.Context, target string) ([]byte, error)
	PutNotifyState(ctx context.Context, target string, data []byte) error
}

// Config is what a Notifier is made of. Source and Store are required.
type Config struct {
	Targets []Target
	Source  Source
	Store   Store
	Server  string // how messages call this server; "": the machine's name

	// Stands reports whether a trouble of this kind, with a policy domain,
	// another host or the file of an own certificate, may still be there. It is
	// asked before that is said again, for the word of its end may be lost: to a
	// crash, or because its subject left the config while no server ran. nil:
	// all stands.
	Stands func(kind, subject string) bool

	// Window is for how long events are collected before they are told; 0: 30 s.
	Window time.Duration
	// PerHour is how many messages a target gets in any hour at most; 0: 30.
	PerHour int
	// Timeout is how long a delivery may take; 0: 30 s.
	Timeout time.Duration

	// Send delivers a message; nil is [Send]. It returns when ctx ends, and
	// calls ended when nothing of it goes on any more.
	Send   func(ctx context.Context, url string, m Message, ended func()) error
	Now    func() time.Time
	Logger *slog.Logger
}

// rules are how one target is told.
type rules struct {
	quiet   quietHours
	window  time.Duration
	perHour int
}

// Notifier tells targets until its context ends.
type Notifier struct {
	cfg Config
	log *slog.Logger

	mu      sync.Mutex
	workers map[string]*worker
	last    map[string]<-chan struct{} // closed when the worker that last ran for a name has ended
	ctx     context.Context            // of Run; nil before
	running sync.WaitGroup
}

// New returns a Notifier that tells nobody until Run.
func New(cfg Config) (*Notifier, error) {
	if cfg.Source == nil || cfg.Store == nil {
		return nil, errors.New("notify: Config needs Source and Store")
	}
	if cfg.Window <= 0 {
		cfg.Window = 30 * time.Second
	}
	if cfg.PerHour <= 0 {
		cfg.PerHour = 30
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = 30 * time.Second
	}
	if cfg.Stands == nil {
		cfg.Stands = func(string, string) bool { return true }
	}
	if cfg.Send == nil {
		cfg.Send = Send
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.Server == "" {
		name, err := os.Hostname()
		if err != nil {
			return nil, fmt.Errorf("notify: the name of this machine: %w", err)
		}
		cfg.Server = name
	}
	n := &Notifier{cfg: cfg, log: cfg.Logger, workers: make(map[string]*worker), last: make(map[string]<-chan struct{})}
	n.SetTargets(cfg.Targets)
	return n, nil
}

// SetTargets replaces the targets. One that is unchanged is not disturbed, and
// one of the same name goes on where it was.
func (n *Notifier) SetTargets(targets []Target) {
	n.mu.Lock()
	defer n.mu.Unlock()
	next := make(map[string]*worker, len(targets))
	for _, t := range targets {
		if t.Min == "" {
			t.Min = state.SeverityWarning
		}
		if t.Location == nil {
			t.Location = time.Local
		}
		old := n.workers[t.Name]
		if old != nil && reflect.DeepEqual(old.target, t) {
			next[t.Name] = old
			continue
		}
		next[t.Name] = n.newWorker(t, old)
	}
	old := n.workers
	n.workers = next
	for name, w := range old {
		if next[name] != w {
			w.stop()
		}
	}
	for name, w := range next {
		if n.ctx != nil && old[name] != w {
			n.start(w)
		}
	}
}

// start runs a worker; n.mu is held.
func (n *Notifier) start(w *worker) {
	ctx, ended := n.ctx, make(chan struct{})
	n.last[w.target.Name] = ended
	n.running.Go(func() {
		defer close(ended)
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		defer context.AfterFunc(w.stopped, cancel)()
		w.run(ctx)
	})
}

// Run tells the targets until ctx ends, and then notes how far it has come.
// It always returns nil.
func (n *Notifier) Run(ctx context.Context) error {
	n.mu.Lock()
	n.ctx = ctx
	for _, w := range n.workers {
		n.start(w)
	}
	n.mu.Unlock()
	<-ctx.Done()
	n.mu.Lock()
	n.ctx = nil // no more are started
	n.mu.Unlock()
	n.running.Wait()
	return nil
}

// Stats are the counts of one target since the start.
type Stats struct {
	Sent    uint64 // messages delivered
	Failed  uint64 // deliveries that failed; each is tried again
	Waiting int    // events that wait to be told
	// FailingSince is when the first of the deliveries failed that have failed
	// one after the other until now; zero if the last one did not.
	FailingSince time.Time
}

// Stats returns the present counts by target.
func (n *Notifier) Stats() map[string]Stats {
	n.mu.Lock()
	defer n.mu.Unlock()
	all := make(map[string]Stats, len(n.workers))
	for name, w := range n.workers {
		all[name] = w.stats()
	}
	return all
}

// Test sends a message to each target, or to the named one, and hands report
// how it went. It fails if there is nobody to tell.
func Test(ctx context.Context, targets []Target, name, server string, report func(target string, err error)) error {
	byName := make(map[string]Target, len(targets))
	for _, t := range targets {
		byName[t.Name] = t
	}
	names := slices.Sorted(maps.Keys(byName))
	if name != "" {
		if _, ok := byName[name]; !ok {
			return fmt.Errorf("there is no [notify.%s] in the config", name)
		}
		names = []string{name}
	}
	if len(names) == 0 {
		return errors.New("nobody is to be told: the config has no [notify.NAME]")
	}
	for _, name := range names {
		ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
		report(name, Send(ctx, byName[name].URL, Message{
			Title: "[stshost] test of notify." + name,
			Text:  "This is a test. Had something gone wrong at a domain, it would stand here.\nServer: " + server + "\n",
		}, func() {}))
		cancel()
	}
	return nil
}
