package events_test

import (
	"context"
	"fmt"
	"maps"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stshost/stshost/events"
	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/store"
)

// Whoever stores an event himself stores what Record would have stored.
func TestPrepareDoesWhatRecordDoes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		long := strings.Repeat("ü", 1<<16)
		all := []state.Event{
			happened(1),
			{Kind: state.KindRolloutStep, ID: 77},
			{Kind: state.KindRolloutHeld, Severity: "loud", Time: time.Now().Add(-time.Hour), Host: "mta-sts.example.com"},
			{Kind: state.KindRolloutBack, Severity: state.SeverityCritical, Text: long, Remedy: long, Evidence: map[string]string{"answer": long, "id": "1"}},
		}
		m := &memory{}
		l := events.New(events.Config{Store: m})
		var prepared []state.Event
		for i, e := range all {
			given := maps.Clone(e.Evidence)
			got := l.Prepare(e)
			l.Record(e)
			if diff := cmp.Diff(given, e.Evidence); diff != "" {
				t.Errorf("the producer's evidence is changed: %s", diff)
			}
			if got.ID != 0 {
				t.Errorf("event %d has the id %d before it is stored", i, got.ID)
			}
			got.ID = int64(i + 1)
			prepared = append(prepared, got)
		}
		if n := len(l.Counts()); n != 2 {
			t.Errorf("%d severities are counted", n) // each event once
		}
		if got := l.Prepare(state.Event{Text: "of no kind"}); got.Kind != "" {
			t.Errorf("it has the kind %q", got.Kind)
		}
		if err := l.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(m.events, prepared); diff != "" {
			t.Errorf("-recorded +prepared:\n%.2000s", diff)
		}
	})
}

func TestStoredWakesThoseWhoWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		l := events.New(events.Config{Store: m})
		var got []string
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			for e, err := range l.Follow(t.Context(), 0) {
				if err != nil {
					t.Error(err)
				}
				got = append(got, e.Text)
			}
		}()
		synctest.Wait()

		began := time.Now()
		own := []state.Event{l.Prepare(happened(1)), l.Prepare(happened(2))}
		own[1].Severity = state.SeverityWarning
		ids, err := m.AddEvents(t.Context(), own)
		if err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if len(got) > 0 {
			t.Fatalf("it knows of %v, which nobody told it", got)
		}
		own[0].ID, own[1].ID = ids[0], ids[1]
		l.Stored(own...)
		synctest.Wait()
		if want := numbers(1, 2); cmp.Diff(want, got) != "" || !time.Now().Equal(began) {
			t.Errorf("after %s it has %v, want %v", time.Since(began), got, want)
		}
		l.Record(happened(3))
		time.Sleep(time.Second)
		synctest.Wait()
		wantTexts(t, m, numbers(1, 3)) // none is stored again
		want := map[state.Severity]uint64{state.SeverityInfo: 2, state.SeverityWarning: 1}
		if diff := cmp.Diff(want, l.Counts()); diff != "" {
			t.Errorf("counts: -want +got:\n%s", diff)
		}

		if err := l.Close(t.Context()); err != nil {
			t.Error(err)
		}
		<-ended
		if diff := cmp.Diff(numbers(1, 3), got); diff != "" {
			t.Errorf("-want +got:\n%s", diff)
		}
		// After the end there is nobody to wake. What is stored is counted.
		l.Stored(happened(4))
		l.Stored()
		if n := l.Counts()[state.SeverityInfo]; n != 3 {
			t.Errorf("%d events are counted", n)
		}
	})
}

// What was recorded before comes before what its producer stores itself.
func TestFlushKeepsTheOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m := &memory{}
		l := events.New(events.Config{Store: m})
		for n := 1; n <= 600; n++ {
			l.Record(happened(n))
		}
		if err := l.Flush(); err != nil {
			t.Fatal(err)
		}
		if _, err := m.AddEvents(t.Context(), []state.Event{l.Prepare(happened(601))}); err != nil {
			t.Fatal(err)
		}
		if err := l.Close(t.Context()); err != nil {
			t.Error(err)
		}
		wantTexts(t, m, numbers(1, 601))
	})
}

// A reader who waits at a real store is given what a transition stores with
// itself.
func TestNextIsGivenWhatATransitionStored(t *testing.T) {
	s, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "stshost.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	l := events.New(events.Config{Store: s})
	defer l.Close(t.Context())
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var after int64
	for n := range 50 { // the reader comes now before, now after
		given := make(chan []state.Event)
		go func() {
			got, err := l.Next(ctx, state.EventQuery{After: after})
			if err != nil {
				t.Error(err)
			}
			given <- got
		}()
		e := l.Prepare(happened(n))
		ids, err := s.SaveRollout(t.Context(), state.Rollout{Domain: e.Domain}, e)
		if err != nil {
			t.Fatal(err)
		}
		e.ID = ids[0]
		l.Stored(e)
		if got := <-given; len(got) != 1 || got[0].ID != e.ID || got[0].Text != e.Text {
			t.Fatalf("got %+v, want %+v", got, e)
		}
		after = e.ID
	}
}

// Some record, some store with what they change, and many follow: nobody misses
// an event or meets one twice, and the order is that of the ids.
func TestManyStoreAtOnce(t *testing.T) {
	s, err := store.Open(t.Context(), filepath.Join(t.TempDir(), "stshost.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	l := events.New(events.Config{Store: s})
	const producers, each = 4, 60
	const all = producers * each * 3 // one recorded and two stored
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	var following, producing sync.WaitGroup
	for range 3 {
		following.Go(func() {
			last := int64(0)
			for e, err := range l.Follow(ctx, 0) {
				if err != nil || e.ID != last+1 {
					t.Errorf("after %d comes %d, %v", last, e.ID, err)
				}
				if last = e.ID; last == all {
					return
				}
			}
			t.Errorf("the last is %d", last)
		})
	}
	for p := range producers {
		domain := fmt.Sprintf("p%d.example", p)
		producing.Go(func() {
			for n := range each {
				l.Record(happened(n))
				told := []state.Event{l.Prepare(happened(n)), l.Prepare(happened(n + 1))}
				ids, err := s.SaveRollout(t.Context(), state.Rollout{Domain: domain, Held: fmt.Sprint(n)}, told...)
				if err != nil {
					t.Error(err)
					return
				}
				told[0].ID, told[1].ID = ids[0], ids[1]
				l.Stored(told...)
			}
		})
	}
	producing.Wait()
	following.Wait() // while the Log is open: its end wakes nobody here
	if n := l.Counts()[state.SeverityInfo]; n != all {
		t.Errorf("%d events are counted, want %d", n, all)
	}
	if err := l.Close(t.Context()); err != nil {
		t.Error(err)
	}
}
