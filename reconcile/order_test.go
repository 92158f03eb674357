package reconcile

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stshost/stshost/internal/state"
)

// manyOn are domains of a DNS account.
func manyOn(account string, n int) []Wanted {
	var all []Wanted
	for i := range n {
		w := want(fmt.Sprintf("%s%02d.example", account, i), "mx1.example.com")
		w.Target.Account = account
		all = append(all, w)
	}
	return all
}

func (p *process) tally() Tally { return p.Tally(func(string) bool { return false }) }

// A domain that is new or has changed goes before those that only wait for
// another try, also after a reload has these tried at once; until it is its
// turn, that is said.
func TestNewsGoesBeforeRetries(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		p := l.start(t, want(example, "mx1.example.com"))
		defer p.stop()
		settleFor(time.Minute)
		l.change(func() { l.slow, l.fetchErr = 30*time.Second, errors.New("no answer") })
		all := append(manyOn("main", 80), want(example, "mx1.example.com"))
		p.set(t, all...)
		settleFor(2 * time.Hour)
		if n := p.tally(); n.Due < 20 || n.Overdue < time.Minute || n.Waiting != 0 {
			t.Fatalf("%+v: the test needs many that are overdue", n)
		}

		all[80] = want(example, "mx2.example.com")
		p.set(t, append(all, want("new.example", "mx1.example.com"))...)
		p.WakeBlocked()
		for _, domain := range []string{example, "new.example"} {
			if s, _ := p.Snapshot(domain); s.Waits.IsZero() {
				t.Errorf("%s: nothing is said to wait", domain)
			}
		}
		if n := p.tally(); n.Waiting != 2 {
			t.Errorf("%d changes wait, want 2", n.Waiting)
		}
		// Both workers end what they have and the one that was next, then look at
		// these two.
		settleFor(95 * time.Second)
		if !strings.Contains(string(l.serving(example)), "mx2") || l.serving("new.example") == nil {
			t.Errorf("the change is not served: %q; the new one: %q", l.serving(example), l.serving("new.example"))
		}
		settleFor(time.Minute)
		for _, domain := range []string{example, "new.example"} {
			if s, _ := p.Snapshot(domain); !s.Waits.IsZero() {
				t.Errorf("%s: the change waits although a run took it up", domain)
			}
		}
		if n := p.tally(); n.Waiting != 0 {
			t.Errorf("%d changes wait, want none", n.Waiting)
		}
	})
}

// A provider that never answers holds up its own domains and nobody else's.
func TestDeafProviderHoldsUpItsOwnOnly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		deaf := manyOn(deafAccount, 40)
		p := l.start(t, append(deaf, want(example, "mx1.example.com"))...)
		defer p.stop()
		settleFor(time.Minute)
		wantStep(t, p, state.Confirmed)
		settleFor(3 * time.Hour)
		if n := p.tally(); n.Due < 20 {
			t.Fatalf("%+v: the test needs many that are overdue", n)
		}
		p.set(t, append(deaf, want(example, "mx2.example.com"), want("new.example", "mx1.example.com"))...)
		settleFor(10 * time.Second)
		wantStep(t, p, state.Confirmed)
		if d := p.state(t, "new.example"); d.Step != state.Confirmed {
			t.Errorf("the new domain is %s: %s", d.Step, d.LastError)
		}
		// Alone, they may have all workers; and a domain can move to another account.
		p.set(t, deaf...)
		settleFor(time.Hour)
		if n := p.tally(); n.Running != 2 {
			t.Errorf("%d of 2 workers are at work", n.Running)
		}
		for i := range deaf {
			deaf[i].Target.Account = "main"
		}
		p.set(t, deaf...)
		settleFor(time.Hour)
		for _, w := range deaf {
			if d := p.state(t, w.Domain); d.Step != state.Confirmed {
				t.Fatalf("%s is %s after the move: %s", w.Domain, d.Step, d.LastError)
			}
		}
	})
}

// A config that was edited while nothing ran is taken up first, and until then
// that is said.
func TestChangeWhileDownWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		p := l.start(t, want(example, "mx1.example.com"))
		settleFor(time.Minute)
		p.stop()
		l.change(func() { l.slow = 30 * time.Second })
		p = l.start(t, want(example, "mx1.example.com"))
		if s, _ := p.Snapshot(example); !s.Waits.IsZero() {
			t.Error("a change waits although there is none")
		}
		p.stop()
		p = l.start(t, want(example, "mx2.example.com"))
		defer p.stop()
		if s, _ := p.Snapshot(example); s.Waits.IsZero() {
			t.Error("the change is not said to wait")
		}
		settleFor(5 * time.Minute)
		if s, _ := p.Snapshot(example); !s.Waits.IsZero() || !strings.Contains(string(l.serving(example)), "mx2") {
			t.Errorf("waits since %s, serves %q", s.Waits, l.serving(example))
		}
	})
}
