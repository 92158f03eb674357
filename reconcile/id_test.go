package reconcile

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stshost/stshost/internal/state"
)

// A→B→A: the body is the first one again, but senders may hold B under the
// first id, so each change needs a new one.
func TestChangeAndChangeBackGiveNewIDs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		p := l.start(t, want(example, "mx1.example.com"))
		defer p.stop()
		settleFor(time.Minute)
		first := live(t, l)
		p.set(t, want(example, "mx2.example.com"))
		settleFor(time.Minute)
		second := live(t, l)
		p.set(t, want(example, "mx1.example.com"))
		settleFor(time.Minute)
		third := live(t, l)
		if first == second || second == third || first == third {
			t.Errorf("ids %s, %s, %s are not all different", first, second, third)
		}
		if len(l.pushes) != 3 {
			t.Errorf("%d pushes for three bodies", len(l.pushes))
		}
		if len(l.faults) > 0 {
			t.Error(l.faults)
		}
	})
}

// Ids have whole seconds. Bodies that change faster still get ids of their
// own each time.
func TestChangesWithinOneSecondGiveNewIDs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		p := l.start(t, want(example, "mx1.example.com"))
		defer p.stop()
		settleFor(time.Minute)
		for i := range 6 {
			p.set(t, want(example, []string{"mx2.example.com", "mx3.example.com"}[i%2]))
			settleFor(10 * time.Millisecond)
		}
		ids := map[string]bool{}
		for _, push := range l.pushes {
			ids[push.txt] = true
		}
		if len(ids) != 7 || len(l.pushes) != 7 {
			t.Errorf("%d ids and %d pushes for seven bodies", len(ids), len(l.pushes))
		}

		// An id that is ahead of the clock is no newer than what was served since.
		l.mu.Lock()
		l.fetchErr = errors.New("connection refused") // the next body is served, but never proven
		l.mu.Unlock()
		before := live(t, l)
		p.set(t, want(example, "mx1.example.com"))
		settleFor(10 * time.Millisecond)
		l.mu.Lock()
		l.fetchErr = nil
		l.mu.Unlock()
		p.set(t, want(example, "mx3.example.com"))
		settleFor(time.Minute)
		wantStep(t, p, state.Confirmed)
		if live(t, l) == before {
			t.Error("an id stands although another body was served under it")
		}
	})
}

// The change and the change back can come so fast that B is never announced.
func TestChangeBackBeforeAnnouncementStillGivesNewID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		p := l.start(t, want(example, "mx1.example.com"))
		defer p.stop()
		settleFor(time.Minute)
		first := live(t, l)
		l.fetchErr = errors.New("connection refused") // B is served but never proven
		p.set(t, want(example, "mx2.example.com"))
		settleFor(time.Minute)
		l.fetchErr = nil
		p.set(t, want(example, "mx1.example.com"))
		settleFor(time.Minute)
		wantStep(t, p, state.Confirmed)
		if id := live(t, l); id == first {
			t.Error("the id of A stands although B was served under it")
		}
	})
}
