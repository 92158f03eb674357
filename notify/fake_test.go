package notify

import (
	"context"
	"errors"
	"iter"
	"maps"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stshost/stshost/internal/state"
)

// eventLog is a log of events in memory.
type eventLog struct {
	mu     sync.Mutex
	events []state.Event
	more   chan struct{}
}

func newEventLog() *eventLog { return &eventLog{more: make(chan struct{})} }

// add enters events that happen now.
func (l *eventLog) add(events ...state.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range events {
		e.ID = int64(len(l.events) + 1)
		if e.Time.IsZero() {
			e.Time = time.Now()
		}
		l.events = append(l.events, e)
	}
	close(l.more)
	l.more = make(chan struct{})
}

func (l *eventLog) Follow(ctx context.Context, after int64) iter.Seq2[state.Event, error] {
	return func(yield func(state.Event, error) bool) {
		for {
			l.mu.Lock()
			events, more := l.events[min(int(after), len(l.events)):], l.more
			l.mu.Unlock()
			for _, e := range events {
				if !yield(e, nil) {
					return
				}
				after = e.ID
			}
			if len(events) > 0 {
				continue
			}
			select {
			case <-more:
			case <-ctx.Done():
				return
			}
		}
	}
}

// memory is a Store that can refuse to write.
type memory struct {
	mu      sync.Mutex
	data    map[string][]byte
	refuses bool
}

func (m *memory) NotifyState(_ context.Context, target string) ([]byte, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if data, ok := m.data[target]; ok {
		return data, nil
	}
	return nil, state.ErrNotFound
}

func (m *memory) PutNotifyState(_ context.Context, target string, data []byte) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.refuses {
		return errors.New("the disk is full")
	}
	m.data[target] = data
	return nil
}

// snapshot is what a crash at this moment leaves behind.
func (m *memory) snapshot() *memory {
	m.mu.Lock()
	defer m.mu.Unlock()
	return &memory{data: maps.Clone(m.data)}
}

// post is a service that keeps what it is sent.
type post struct {
	mu   sync.Mutex
	got  []Message
	down error // deliveries fail with it
	hang bool  // deliveries are not answered
}

func (p *post) send(ctx context.Context, _ string, m Message, ended func()) error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.hang {
		p.mu.Unlock()
		<-ctx.Done()
		p.mu.Lock()
		return ctx.Err()
	}
	ended()
	if p.down != nil {
		return p.down
	}
	p.got = append(p.got, m)
	return nil
}

// take returns what came since it was last asked.
func (p *post) take() []Message {
	p.mu.Lock()
	defer p.mu.Unlock()
	got := p.got
	p.got = nil
	return got
}

func (p *post) set(down error, hang bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down, p.hang = down, hang
}

// office is a Notifier at work in a synctest bubble.
type office struct {
	t      *testing.T
	log    *eventLog
	store  *memory
	post   *post
	n      *Notifier
	target Target
	stands func(kind, subject string) bool
	stop   func()
}

// inOffice runs f with a Notifier that tells one target.
func inOffice(t *testing.T, target Target, f func(o *office)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		target.Name, target.URL = "ops", "generic+https://hooks.test/x"
		if target.Repeat == 0 {
			target.Repeat = 24 * time.Hour
		}
		o := &office{t: t, log: newEventLog(), store: &memory{data: map[string][]byte{}}, post: &post{}, target: target}
		o.start()
		defer func() { o.stop() }()
		f(o)
	})
}

func (o *office) start() {
	o.t.Helper()
	n, err := New(Config{
		Targets: []Target{o.target}, Source: o.log, Store: o.store, Stands: o.stands, Server: "mx.test", Send: o.post.send,
	})
	if err != nil {
		o.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		n.Run(ctx)
	}()
	o.n = n
	o.stop = func() { cancel(); <-done }
	synctest.Wait()
}

// pass lets time pass.
func (o *office) pass(d time.Duration) {
	synctest.Wait()
	time.Sleep(d)
	synctest.Wait()
}

func failed(domain, why string) state.Event {
	return state.Event{Kind: state.KindCertificateFailed, Severity: state.SeverityWarning, Domain: domain, Host: "mta-sts." + domain, Text: why}
}

func issued(domain string) state.Event {
	return state.Event{Kind: state.KindCertificateIssued, Severity: state.SeverityInfo, Domain: domain, Host: "mta-sts." + domain, Text: "A certificate was issued."}
}

func blocked(domain, why string) state.Event {
	return state.Event{Kind: state.KindDomainBlocked, Severity: state.SeverityWarning, Domain: domain, Text: why, Remedy: "mend it"}
}

func critical(domain, why string) state.Event {
	e := blocked(domain, why)
	e.Severity = state.SeverityCritical
	return e
}

func recovered(domain string) state.Event {
	return state.Event{Kind: state.KindDomainRecovered, Severity: state.SeverityInfo, Domain: domain, Text: "The record is in DNS again."}
}
