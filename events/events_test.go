package events_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"
	"unicode/utf8"

	"github.com/stshost/stshost/events"
	"github.com/stshost/stshost/internal/state"
)

// memory is a Store that can fail, and says what it was asked.
type memory struct {
	mu      sync.Mutex
	events  []state.Event
	batches []int // sizes of the transactions
	tries   int
	fail    error
	hang    bool // until the context ends
	pruned  []time.Time
}

func (m *memory) AddEvents(ctx context.Context, add []state.Event) ([]int64, error) {
	m.mu.Lock()
	hang := m.hang
	m.mu.Unlock()
	if hang {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.tries++; m.fail != nil {
		return nil, m.fail
	}
	var ids []int64
	for _, e := range add {
		e.ID = int64(len(m.events) + 1)
		m.events, ids = append(m.events, e), append(ids, e.ID)
	}
	m.batches = append(m.batches, len(add))
	return ids, nil
}

func (m *memory) Events(_ context.Context, q state.EventQuery) ([]state.Event, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.fail != nil {
		return nil, m.fail
	}
	var found []state.Event
	for _, e := range m.events {
		if e.ID > q.After && (q.Domain == "" || q.Domain == e.Domain) && (q.Limit == 0 || len(found) < q.Limit) {
			found = append(found, e)
		}
	}
	return found, nil
}

func (m *memory) PruneEvents(_ context.Context, before time.Time, keepAtMost int) (int64, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.pruned = append(m.pruned, before)
	return 1, m.fail
}

func (m *memory) set(f func()) {
	m.mu.Lock()
	defer m.mu.Unlock()
	f()
}

// texts are the texts of what is stored.
func (m *memory) texts() (texts []string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, e := range m.events {
		texts = append(texts, e.Text)
	}
	return texts
}

func happened(n int) state.Event {
	return state.Event{Kind: state.KindDomainStep, Severity: state.SeverityInfo, Domain: fmt.Sprintf("d%d.example", n%2), Text: fmt.Sprint(n)}
}

func numbers(from, to int) (all []string) {
	for n := from; n <= to; n++ {
		all = append(all, fmt.Sprint(n))
	}
	return all
}

// logText is a logger and what it said.
func logText() (*slog.Logger, func() string) {
	var mu sync.Mutex
	var b bytes.Buffer
	return slog.New(slog.NewTextHandler(lockedWriter{&mu, &b}, nil)), func() string {
		mu.Lock()
		defer mu.Unlock()
		return b.String()
	}
}

type lockedWriter struct {
	mu *sync.Mutex
	b  *bytes.Buffer
}

func (w lockedWriter) Write(p []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.b.Write(p)
}

func wantTexts(t *testing.T, m *memory, want []string) {
	t.Helper()
	if got := m.texts(); !slices.Equal(got, want) {
		t.Errorf("%d events are stored, want %d: %.200q", len(got), len(want), got)
	}
}

func TestRecordGathersAndStamps(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		l := events.New(events.Config{Store: m})
		defer l.Close(t.Context())
		evidence := map[string]string{"id": "1"}
		e := happened(1)
		e.Evidence, e.ID = evidence, 77
		began := time.Now()
		l.Record(e)
		evidence["id"] = "changed"
		time.Sleep(100 * time.Millisecond)
		old := happened(2)
		old.Time, old.Severity = began.Add(-time.Hour), ""
		l.Record(old)
		l.Record(state.Event{Text: "of no kind"})
		time.Sleep(99 * time.Millisecond)
		synctest.Wait()
		wantTexts(t, m, nil) // it waits for more
		time.Sleep(2 * time.Millisecond)
		synctest.Wait()
		wantTexts(t, m, numbers(1, 2))
		first, second := m.events[0], m.events[1]
		if !first.Time.Equal(began) || first.ID != 1 || first.Evidence["id"] != "1" {
			t.Errorf("first event %+v", first)
		}
		if !second.Time.Equal(began.Add(-time.Hour)) || second.Severity != state.SeverityInfo {
			t.Errorf("second event %+v", second)
		}
		if !slices.Equal(m.batches, []int{2}) {
			t.Errorf("batches %v", m.batches)
		}

		// A burst does not wait, and no batch is larger than 256.
		for n := 3; n <= 1000; n++ {
			l.Record(happened(n))
		}
		synctest.Wait()
		if got := len(m.texts()); got != 2+3*256 {
			t.Errorf("%d events are stored at once", got)
		}
		time.Sleep(250 * time.Millisecond)
		synctest.Wait()
		wantTexts(t, m, numbers(1, 1000))
		if slices.Max(m.batches) > 256 {
			t.Errorf("batches %v", m.batches)
		}
	})
}

func TestLongTextsAreClipped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		l := events.New(events.Config{Store: m})
		e := happened(1)
		e.Text, e.Evidence = "x"+strings.Repeat("ü", 1<<19), map[string]string{"answer": strings.Repeat("y", 1<<20)}
		l.Record(e)
		l.Close(t.Context())
		if got := m.events[0]; len(got.Text) > 5000 || !utf8.ValidString(got.Text) || len(got.Evidence["answer"]) > 5000 {
			t.Errorf("%d and %d bytes are kept", len(got.Text), len(got.Evidence["answer"]))
		}
	})
}

func TestStoreThatFailsForAWhile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{fail: errors.New("disk full")}
		log, said := logText()
		l := events.New(events.Config{Store: m, Logger: log})
		for n := 1; n <= 300; n++ {
			l.Record(happened(n))
		}
		time.Sleep(time.Hour)
		synctest.Wait()
		if m.tries < 100 || m.tries > 130 {
			t.Errorf("%d tries in an hour", m.tries)
		}
		m.set(func() { m.fail = nil })
		time.Sleep(31 * time.Second)
		synctest.Wait()
		wantTexts(t, m, numbers(1, 300))
		if n := strings.Count(said(), "level=ERROR"); n != 1 || !strings.Contains(said(), "disk full") || !strings.Contains(said(), "stored again") {
			t.Errorf("%d errors in the log:\n%s", n, said())
		}
		if err := l.Close(t.Context()); err != nil {
			t.Error(err)
		}
	})
}

func TestFullBacklogIsToldOnceAndNoted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{fail: errors.New("disk full")}
		log, said := logText()
		l := events.New(events.Config{Store: m, Logger: log, Backlog: 10})
		defer l.Close(t.Context())
		began := time.Now()
		for n := 1; n <= 25; n++ {
			l.Record(happened(n))
		}
		if n := strings.Count(said(), "lost"); n != 1 {
			t.Errorf("the loss was told %d times:\n%s", n, said())
		}
		m.set(func() { m.fail = nil })
		time.Sleep(time.Minute)
		synctest.Wait()
		all := m.texts()
		last := m.events[len(m.events)-1]
		if len(all) != 11 || last.Kind != state.KindStoreLost || last.Evidence["events"] != "15" ||
			!strings.Contains(last.Text, began.UTC().Format(time.RFC3339)) {
			t.Errorf("%d events, the last is %+v", len(all), last)
		}
		l.Record(happened(26)) // there is room again
		time.Sleep(time.Second)
		synctest.Wait()
		if n := len(m.texts()); n != 12 {
			t.Errorf("%d events after the store was mended", n)
		}
	})
}

func TestCloseStoresWhatWasRecorded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		l := events.New(events.Config{Store: m})
		for n := 1; n <= 600; n++ {
			l.Record(happened(n))
		}
		began := time.Now()
		for range 2 { // the second does nothing
			if err := l.Close(t.Context()); err != nil {
				t.Error(err)
			}
		}
		wantTexts(t, m, numbers(1, 600))
		if time.Since(began) > 0 {
			t.Error("the end waited for the batch to fill")
		}
		l.Record(happened(601))
		synctest.Wait()
		wantTexts(t, m, numbers(1, 600))
	})
}

func TestCloseSaysWhatIsLost(t *testing.T) {
	for name, m := range map[string]*memory{"refuses": {fail: errors.New("disk full")}, "hangs": {hang: true}} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := events.New(events.Config{Store: m})
				l.Record(happened(1))
				l.Record(happened(2))
				ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
				defer cancel()
				began := time.Now()
				err := l.Close(ctx)
				if err == nil || !strings.Contains(err.Error(), "2 events") {
					t.Errorf("error %v", err)
				}
				if time.Since(began) > 5*time.Second {
					t.Errorf("it took %s", time.Since(began))
				}
			})
		})
	}
}

func TestFollow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		l := events.New(events.Config{Store: m})
		for n := 1; n <= 3; n++ {
			l.Record(happened(n))
		}
		time.Sleep(time.Second)
		var got []string
		var at []time.Time
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for e, err := range l.Follow(t.Context(), 1) {
				if err != nil {
					t.Error(err)
				}
				got, at = append(got, e.Text), append(at, time.Now())
			}
		}()
		synctest.Wait()
		if !slices.Equal(got, numbers(2, 3)) {
			t.Errorf("at first it yields %v", got)
		}
		time.Sleep(time.Hour)
		recorded := time.Now()
		for n := 4; n <= 600; n++ { // more than go into a batch
			l.Record(happened(n))
		}
		time.Sleep(time.Second)
		synctest.Wait()
		if !slices.Equal(got, numbers(2, 600)) {
			t.Errorf("it yields %d events", len(got))
		}
		if late := at[len(at)-1].Sub(recorded); late > 250*time.Millisecond {
			t.Errorf("the last came %s late", late)
		}
		l.Record(happened(601))
		l.Close(t.Context())
		<-ended // by itself, and not before the last event
		if !slices.Equal(got, numbers(2, 601)) {
			t.Errorf("at last it has %d events", len(got))
		}
	})
}

func TestFollowEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		l := events.New(events.Config{Store: m})
		defer l.Close(t.Context())
		l.Record(happened(1))
		l.Record(happened(2))
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		n := 0
		for _, err := range l.Follow(ctx, 0) {
			if n++; err != nil {
				t.Error(err)
			}
		}
		if n != 2 {
			t.Errorf("%d events", n)
		}
		for range l.Follow(t.Context(), 0) {
			break // the caller has enough
		}
		m.set(func() { m.fail = errors.New("disk on fire") })
		n = 0
		for _, err := range l.Follow(t.Context(), 0) {
			if n++; err == nil {
				t.Error("no error")
			}
		}
		if n != 1 {
			t.Errorf("%d errors", n)
		}
		m.set(func() { m.fail = nil })
	})
}

func TestNextWaitsForWhatIsAskedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		l := events.New(events.Config{Store: m})
		defer l.Close(t.Context())
		began := time.Now()
		time.AfterFunc(10*time.Second, func() { l.Record(happened(2)) }) // of d0.example
		time.AfterFunc(20*time.Second, func() { l.Record(happened(3)) }) // of d1.example
		got, err := l.Next(t.Context(), state.EventQuery{Domain: "d1.example"})
		if err != nil || len(got) != 1 || got[0].Text != "3" {
			t.Errorf("got %v, %v", got, err)
		}
		if took := time.Since(began); took < 20*time.Second || took > 21*time.Second {
			t.Errorf("it took %s", took)
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		if got, err := l.Next(ctx, state.EventQuery{After: 2}); got != nil || err != nil {
			t.Errorf("got %v, %v", got, err)
		}
	})
}

func TestPrunesDaily(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		began := time.Now()
		l := events.New(events.Config{Store: m, Keep: 48 * time.Hour})
		time.Sleep(72*time.Hour + 2*time.Minute)
		m.set(func() { m.fail = errors.New("disk full") })
		time.Sleep(24 * time.Hour)
		m.set(func() { m.fail = nil })
		synctest.Wait()
		if err := l.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if len(m.pruned) != 4 { // while the store fails nothing is removed
			t.Fatalf("pruned %d times", len(m.pruned))
		}
		for i, before := range m.pruned {
			if want := began.Add(time.Minute + time.Duration(i-2)*24*time.Hour); !before.Equal(want) {
				t.Errorf("prune %d removes what is before %s, want %s", i, before, want)
			}
		}
	})
}

// A clock that is years ahead at the daily look costs the oldest two days, not
// all; and it may have been ahead when the first event came.
func TestPruneWithAWrongClock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		m := &memory{}
		for i, at := range []time.Duration{20 * 365 * 24 * time.Hour, 0, 24 * time.Hour, 72 * time.Hour, 30 * 24 * time.Hour} {
			m.events = append(m.events, state.Event{ID: int64(i + 1), Time: began.Add(at), Kind: state.KindServerStarted})
		}
		l := events.New(events.Config{Store: m, Now: func() time.Time { return time.Now().AddDate(9, 0, 0) }})
		time.Sleep(2 * time.Minute)
		if err := l.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if want := began.Add(48 * time.Hour); len(m.pruned) != 1 || !m.pruned[0].Equal(want) {
			t.Errorf("removes what is before %v, want %s", m.pruned, want)
		}
	})
}

// Many record while many follow: nobody misses an event or meets one twice.
func TestManyAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		l := events.New(events.Config{Store: m})
		var producers, followers sync.WaitGroup
		for range 4 {
			followers.Go(func() {
				var last int64
				for e, err := range l.Follow(t.Context(), 0) {
					if err != nil || e.ID != last+1 {
						t.Errorf("after %d comes %d, %v", last, e.ID, err)
					}
					last = e.ID
				}
				if last != 8*500 {
					t.Errorf("the last is %d", last)
				}
			})
		}
		for p := range 8 {
			producers.Go(func() {
				for n := range 500 {
					l.Record(happened(n))
					if n%100 == p {
						time.Sleep(time.Duration(p) * 70 * time.Millisecond)
					}
				}
			})
		}
		producers.Wait()
		if err := l.Close(t.Context()); err != nil {
			t.Error(err)
		}
		followers.Wait()
	})
}
