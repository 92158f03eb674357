package main

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/server"
)

// eventSource is a reader of events that can be away.
type eventSource struct {
	reader // answers nothing else

	mu     sync.Mutex // guards what follows, and what the follower shows and notes
	events []server.Event
	err    error
	hasty  bool // does not wait
	asked  int
}

func (s *eventSource) Events(ctx context.Context, q state.EventQuery, wait time.Duration) ([]server.Event, error) {
	look := func() (found []server.Event, err error) {
		s.mu.Lock()
		defer s.mu.Unlock()
		for _, e := range s.events {
			if e.ID > q.After {
				found = append(found, e)
			}
		}
		if q.Newest && len(found) > q.Limit {
			found = found[len(found)-q.Limit:]
		}
		return found, s.err
	}
	s.change(func() { s.asked++ })
	found, err := look()
	if len(found) == 0 && err == nil && !s.hasty {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		return look()
	}
	if err != nil {
		return nil, err
	}
	return found, nil
}

func (s *eventSource) change(f func()) {
	s.mu.Lock()
	defer s.mu.Unlock()
	f()
}

func (s *eventSource) add(texts ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, text := range texts {
		s.events = append(s.events, server.Event{ID: int64(len(s.events) + 1), Text: text})
	}
}

// follow is a follower of s and what it shows and notes.
func (s *eventSource) follow(t *testing.T, limit int) (shown, notes *[]string) {
	shown, notes = new([]string), new([]string)
	f := follower{
		ask: s, q: state.EventQuery{Newest: true, Limit: limit},
		print: func(events []server.Event) error {
			s.change(func() {
				for _, e := range events {
					*shown = append(*shown, e.Text)
				}
			})
			return nil
		},
		note: func(text string) { s.change(func() { *notes = append(*notes, text) }) },
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	t.Cleanup(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("following ended with %v", err)
		}
	})
	last, err := f.first(ctx)
	if err != nil {
		t.Fatal(err)
	}
	go func() { ended <- f.follow(ctx, last) }()
	return shown, notes
}

// settle lets d pass on the fake clock and everything come to rest.
func settle(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func TestFollowerGoesOnFromWhereItWas(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &eventSource{}
		s.add("1", "2", "3")
		shown, notes := s.follow(t, 2)
		settle(time.Hour)
		s.add("4")
		settle(time.Minute)
		s.change(func() { s.err = errors.New("connection refused") })
		settle(time.Minute)
		s.add("5", "6")
		s.change(func() { s.err = nil })
		settle(2 * time.Second)
		if want := []string{"2", "3", "4", "5", "6"}; !slices.Equal(*shown, want) {
			t.Errorf("shown %q, want %q", *shown, want)
		}
		if len(*notes) != 2 || !strings.Contains((*notes)[0], "waiting") || !strings.Contains((*notes)[1], "is back") {
			t.Errorf("notes %q", *notes)
		}

		// A server with a new store begins to count anew.
		s.change(func() { s.err = errors.New("connection refused") })
		settle(time.Minute)
		s.change(func() { s.err, s.events = nil, nil })
		s.add("of a new store")
		settle(2 * time.Second)
		s.add("and the next")
		settle(time.Minute)
		if got := (*shown)[5:]; !slices.Equal(got, []string{"and the next"}) {
			t.Errorf("shown %q", got)
		}
		if last := (*notes)[len(*notes)-1]; !strings.Contains(last, "another store") {
			t.Errorf("notes %q", *notes)
		}
	})
}

func TestFollowerOfNewEventsOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &eventSource{}
		s.add("1", "2")
		shown, _ := s.follow(t, 0)
		settle(time.Minute)
		s.add("3")
		settle(time.Minute)
		if !slices.Equal(*shown, []string{"3"}) {
			t.Errorf("shown %q", *shown)
		}
	})
}

// A server that does not wait, as one that is about to stop, is not asked all
// the time.
func TestFollowerIsPatient(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &eventSource{hasty: true}
		s.follow(t, 10)
		settle(time.Minute)
		if s.asked > 70 {
			t.Errorf("asked %d times in a minute", s.asked)
		}
	})
}

// What a CA or a name server said is no command to the terminal.
func TestEventsAreHarmlessText(t *testing.T) {
	var b strings.Builder
	p := eventPrinter{w: &b}
	if err := p.print([]server.Event{{
		Time: time.Now(), Severity: state.SeverityInfo, Domain: "a.example", Text: "said \x1b[2J\x07\r\nfake line\u009b1m ü", Remedy: "none\nat all",
	}, {Time: time.Now(), Severity: state.SeverityWarning, Host: "web.a.example", Text: "x"}}); err != nil {
		t.Fatal(err)
	}
	if strings.ContainsAny(b.String(), "\x1b\x07\r\u009b") || strings.Count(b.String(), "\n") != 3 || !strings.Contains(b.String(), "ü") {
		t.Errorf("printed %q", b.String())
	}
	if !strings.Contains(b.String(), "  warning   web.a.example  x\n") {
		t.Errorf("printed\n%s", b.String())
	}
}

func TestSinceTime(t *testing.T) {
	now := time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)
	for in, want := range map[string]time.Time{
		"24h": now.Add(-24 * time.Hour), "7d": now.AddDate(0, 0, -7), "2w": now.AddDate(0, 0, -14), "90s": now.Add(-90 * time.Second),
		"1h30m": now.Add(-90 * time.Minute), "2026-01-31T12:00:00Z": time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC),
		"2026-01-31": time.Date(2026, 1, 31, 0, 0, 0, 0, time.Local),
	} {
		if got, err := sinceTime(in, now); err != nil || !got.Equal(want) {
			t.Errorf("%s: %v, %v; want %v", in, got, err, want)
		}
	}
	for _, in := range []string{"-1h", "d", "1.5d", "99999999d", "yesterday", "-2w"} {
		if got, err := sinceTime(in, now); err == nil {
			t.Errorf("%s: %v", in, got)
		}
	}
}
