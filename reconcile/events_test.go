package reconcile

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
)

// event notes what a process told before it was killed.
func (l *lab) event(e state.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.dead {
		l.events = append(l.events, e)
	}
}

// tail is what was told since the last call, as "kind severity".
func (l *lab) tail() (heads []string, events []state.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	events, l.events = l.events, nil
	for _, e := range events {
		heads = append(heads, e.Kind+" "+string(e.Severity))
	}
	return heads, events
}

// told wants exactly these events since the last call.
func (l *lab) told(t *testing.T, want ...string) []state.Event {
	t.Helper()
	heads, events := l.tail()
	if !slices.Equal(heads, want) {
		t.Fatalf("told\n%+v\nwant %q", events, want)
	}
	for _, e := range events {
		if e.Time.IsZero() || strings.HasSuffix(e.Text, ".") || e.Text == "" || e.Domain != example {
			t.Errorf("event %+v", e)
		}
	}
	return events
}

func says(t *testing.T, e state.Event, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if all := fmt.Sprint(e); !strings.Contains(all, part) {
			t.Errorf("%s does not say %q", all, part)
		}
	}
}

func TestEventsOfTheWay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		p := l.start(t, want(example, "mx1.example.com"))
		defer p.stop()
		settleFor(time.Minute)
		events := l.told(t, "domain.added info", "domain.step info", "policy.served info", "domain.step info", "domain.step info", "domain.step info")
		d := p.state(t, example)
		says(t, events[0], "new in the config", "mx:mx1.example.com")
		says(t, events[1], "step:waiting-certificate", "mta-sts.example.com is being ordered")
		says(t, events[2], "mode testing", "sha256:"+d.BodySHA256, "max_age:604800")
		says(t, events[3], "step:proven", "proof:IPv4 ok")
		says(t, events[4], "step:announced", "id:"+d.ID, "dns_account:main")
		says(t, events[5], "step:confirmed", "id:"+d.ID, "sha256:"+d.BodySHA256)

		settleFor(48 * time.Hour) // nothing happens
		l.told(t)

		p.set(t, want(example, "mx2.example.com"))
		settleFor(time.Minute)
		events = l.told(t, "domain.changed info", "policy.served info", "domain.step info", "domain.step info", "domain.step info")
		says(t, events[0], "something else for the domain: mx", "old_mx:mx1.example.com", "mx:mx2.example.com")
		says(t, events[1], "another policy", "replaced_sha256:"+d.BodySHA256)

		p.set(t)
		says(t, l.told(t, "domain.left info")[0], "goes on being served")
		p.set(t, want(example, "mx2.example.com"))
		settleFor(time.Minute)
		says(t, l.told(t, "domain.added info")[0], "back in the config")
	})
}

func TestEventsOfTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		w := want(example, "mx1.example.com")
		p := l.start(t, w)
		defer p.stop()
		settleFor(time.Minute)
		l.tail()

		l.change(func() { l.fetchErr = errors.New("connection refused") })
		settleFor(5 * time.Hour)
		blocked := l.told(t, "domain.blocked warning")[0] // once, however often it is tried
		says(t, blocked, "blocked at the step confirmed", "connection refused", "reason:a sender cannot", "id:")
		if blocked.Remedy == "" {
			t.Error("no remedy")
		}
		l.change(func() { l.fetchErr = errors.New("handshake failure") })
		settleFor(time.Hour)
		says(t, l.told(t, "domain.blocked warning")[0], "handshake failure") // another reason
		l.change(func() { l.fetchErr = nil })
		settleFor(time.Hour)
		says(t, l.told(t, "domain.recovered info")[0], "is over", "handshake failure")

		// What is announced in enforce may cost mail.
		w.Mode = mtasts.ModeEnforce
		p.set(t, w)
		settleFor(time.Minute)
		l.tail()
		l.change(func() { l.fetchErr = errors.New("connection refused") })
		settleFor(2 * time.Hour)
		says(t, l.told(t, "domain.blocked critical")[0], "mode:enforce")
		l.change(func() { l.fetchErr = nil })
		settleFor(time.Hour)
		l.told(t, "domain.recovered info")

		l.change(func() { l.txt["_mta-sts.example.com"] = []string{"v=STSv1; id=rogue;"} })
		settleFor(2 * time.Hour)
		says(t, l.told(t, "record.repaired warning")[0], "rogue", "_mta-sts.example.com", "found:")

	})
}

// What the journal did not take is not told; once it does, what is news to it is.
func TestEventsFollowTheJournal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		w := want(example, "mx1.example.com")
		p := l.start(t, w)
		defer func() { p.stop() }()
		settleFor(time.Minute)
		l.tail()
		full := func() { l.journal = errors.New("disk full") }

		l.change(full)
		settleFor(2 * time.Hour)
		l.told(t)
		if d := p.state(t, example); d.LastError != "disk full" {
			t.Errorf("the status shows %q", d.LastError)
		}
		l.change(func() { l.journal = nil })
		settleFor(time.Hour)
		l.told(t) // nothing was wrong before, and nothing is

		l.change(func() { l.fetchErr = errors.New("connection refused") })
		settleFor(2 * time.Hour)
		l.told(t, "domain.blocked warning")
		l.change(full)
		settleFor(2 * time.Hour)
		l.change(func() { l.fetchErr = nil })
		settleFor(2 * time.Hour)
		l.told(t)
		l.change(func() { l.journal = nil })
		settleFor(time.Hour)
		says(t, l.told(t, "domain.recovered info")[0], "connection refused")

		// Killed after the first write that succeeds, which is not the last of its run.
		l.change(full)
		settleFor(2 * time.Hour)
		l.change(func() { l.journal = nil; l.slow = 30 * time.Second })
		w.MX = []string{"mx2.example.com"}
		p.set(t, w)
		settleFor(10 * time.Second) // it is served, and being fetched back
		if row := l.rows[example]; row.Step != state.Serving || row.LastError != "" {
			t.Errorf("at the kill the journal has %+v", row)
		}
		l.change(func() { l.dead = true })
		p.stop()
		l.tail()
		l.change(func() { l.slow = 0 })
		p = l.start(t, w)
		settleFor(time.Minute)
		l.told(t, "domain.step info", "domain.step info", "domain.step info")
	})
}

// A record that is to be entered by hand waits for somebody, which is told; an
// order that is under way does not.
func TestEventsOfWaiting(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		l.manual, l.leads = true, false
		p := l.start(t, want(example, "mx1.example.com"))
		defer p.stop()
		settleFor(5 * time.Minute)
		says(t, l.told(t, "domain.added info", "domain.blocked warning")[1], "step waiting-dns", "does not lead to this server")
		l.change(func() { l.leads = true })
		settleFor(10 * time.Minute)
		events := l.told(t, "domain.step info", "domain.recovered info", "policy.served info", "domain.step info", "domain.blocked warning")
		says(t, events[1], "is over")
		says(t, events[4], "it waits for a person at the step proven", "v=STSv1")
		l.change(func() { l.txt["_mta-sts.example.com"] = []string{mtasts.Record{ID: l.rows[example].ID}.String()} })
		settleFor(time.Hour)
		l.told(t, "domain.step info", "domain.recovered info")
	})
}

// A restart tells nothing that was told before, and what is new.
func TestEventsOfARestart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		p := l.start(t, want(example, "mx1.example.com"))
		settleFor(time.Minute)
		p.stop()
		l.tail()
		p = l.start(t, want(example, "mx1.example.com"))
		settleFor(3 * time.Hour)
		l.told(t)
		l.change(func() { l.fetchErr = errors.New("connection refused") })
		settleFor(2 * time.Hour)
		l.told(t, "domain.blocked warning")
		p.stop()
		p = l.start(t, want(example, "mx1.example.com"))
		settleFor(2 * time.Hour)
		l.told(t) // the reason is the one from before
		p.stop()
		p = l.start(t) // the domain left while the process was down; that is not known
		settleFor(time.Minute)
		l.told(t)
		p.stop()
	})
}

// A domain that never got anywhere leaves no promise behind.
func TestEventOfLeavingEarly(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		l.leads = false
		p := l.start(t, want(example, "mx1.example.com"))
		defer p.stop()
		settleFor(time.Minute)
		l.tail()
		p.set(t)
		settleFor(time.Minute)
		if e := l.told(t, "domain.left info")[0]; strings.Contains(e.Text, "served") {
			t.Errorf("event %+v", e)
		}
	})
}
