package reconcile

import (
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
)

// leave has example.com leave.
func (p *process) leave(t *testing.T, drop bool) {
	t.Helper()
	if err := p.Leave(t.Context(), example, drop); err != nil {
		t.Fatal(err)
	}
}

// wantGone wants nothing left of example.com but its ledger, which is closed.
func wantGone(t *testing.T, p *process) {
	t.Helper()
	l := p.lab
	if s, known := p.Snapshot(example); known {
		t.Errorf("still known: %+v", s)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if body := l.served[example]; body != nil {
		t.Errorf("serves %q", body)
	}
	if row, kept := l.rows[example]; kept {
		t.Errorf("the journal has %+v", row)
	}
	for _, b := range l.ledger[example] {
		if b.LastServed.IsZero() {
			t.Errorf("the ledger has %q as served", b.Body)
		}
	}
	if _, known := l.hosts[mtasts.PolicyHost(example)]; known {
		t.Errorf("hosts %v", l.hosts)
	}
}

// wantForgotten wants it gone, and the order for its certificate given up.
func wantForgotten(t *testing.T, p *process) {
	t.Helper()
	wantGone(t, p)
	if !slices.Contains(p.lab.dropped, mtasts.PolicyHost(example)) {
		t.Errorf("orders given up for %v", p.lab.dropped)
	}
}

// A domain that was announced stays served when it leaves, until it is dropped.
func TestLeaveKeepsWhatWasAnnounced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		w := at(mtasts.ModeEnforce, day)
		p := l.start(t, w)
		defer func() { p.stop() }()
		settleFor(time.Minute)
		id := wantStage(t, p, w)
		l.tail()
		p.leave(t, false)
		says(t, l.told(t, "domain.left info")[0], "goes on being served")
		calls := l.done()
		settleFor(3 * time.Hour)
		p.leave(t, false) // once more is nothing
		if s, _ := p.Snapshot(example); !s.Orphan || s.State.ID != id {
			t.Errorf("snapshot %+v", s)
		}
		if n := l.done() - calls; n != 0 {
			t.Errorf("%d calls for a domain that left", n)
		}
		if body := string(l.serving(example)); body != policyOf(t, w) || live(t, l) != id {
			t.Errorf("serves %q, announces %s", body, live(t, l))
		}
		l.told(t)
		p.stop()
		p = l.start(t)
		settleFor(3 * time.Hour)
		if body := string(l.serving(example)); body != policyOf(t, w) {
			t.Errorf("serves %q after a restart", body)
		}

		p.leave(t, true)
		settleFor(time.Minute)
		wantForgotten(t, p)
		if live(t, l) != id || len(l.removals) != 0 {
			t.Error("a domain that is dropped lost its record, which nobody wanted")
		}
	})
}

// One whose record is gone from the DNS is forgotten.
func TestLeaveForgetsWhatWasWithdrawn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		p := l.start(t, at(mtasts.ModeNone, NoneMaxAge))
		defer func() { p.stop() }()
		settleFor(time.Minute)
		p.Set(withdrawn())
		settleFor(time.Hour)
		wantStep(t, p, state.Withdrawn)
		if l.serving(example) == nil {
			t.Error("its policy is not served any more before it leaves")
		}
		l.tail()
		left := time.Now()
		p.leave(t, false)
		wantForgotten(t, p)
		if b := l.ledger[example]; len(b) != 1 || !b[0].LastServed.Equal(left) {
			t.Errorf("ledger %+v, want it closed at %s", b, left)
		}
		l.told(t) // whoever took it there has told
		p.leave(t, false)
		p.stop()
		p = l.start(t)
		settleFor(2 * time.Hour)
		if l.serving(example) != nil || len(l.rows) != 0 {
			t.Errorf("after a restart it serves %q, journal %v", l.serving(example), l.rows)
		}
	})
}

// One that nobody can have seen is forgotten, if that can be told.
func TestLeaveBeforeTheAnnouncement(t *testing.T) {
	for name, c := range map[string]struct {
		before func(l *lab)
		step   state.Step
		stays  bool
	}{
		"no certificate": {before: func(l *lab) { l.leads = false }, step: state.WaitingDNS},
		"not proven":     {before: func(l *lab) { l.fetchErr = errors.New("connection refused") }, step: state.Serving},
		"DNS is silent":  {before: func(l *lab) { l.fetchErr = errors.New("connection refused") }, step: state.Serving, stays: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLab()
				c.before(l)
				p := l.start(t, at(mtasts.ModeTesting, 0))
				defer p.stop()
				settleFor(time.Minute)
				wantStep(t, p, c.step)
				if c.stays {
					l.change(func() { l.recordErr = errors.New("server failure") })
				}
				p.leave(t, false)
				settleFor(time.Minute)
				if !c.stays {
					wantForgotten(t, p)
					return
				}
				if s, _ := p.Snapshot(example); !s.Orphan || l.serving(example) == nil {
					t.Errorf("snapshot %+v, serves %q", s, l.serving(example))
				}
			})
		})
	}
}

// A domain that is dropped is forgotten at once, wherever it stands: while a run of
// it is under way, at the end of that.
func TestDrop(t *testing.T) {
	for name, c := range map[string]struct {
		during bool // a run
		before func(l *lab)
	}{
		"announced":            {},
		"during a run":         {during: true},
		"before its first run": {during: true, before: func(l *lab) { l.txt[mtasts.RecordName(example)] = []string{"v=STSv1; id=1;"} }},
		"not proven":           {before: func(l *lab) { l.fetchErr = errors.New("connection refused") }},
		"waiting for its host": {before: func(l *lab) { l.leads = false }},
		"waiting for a person": {before: func(l *lab) { l.manual = true }},
		"DNS is silent":        {before: func(l *lab) { l.silent = errors.New("no answer") }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLab()
				if c.before != nil {
					c.before(l)
				}
				first := c.during && c.before != nil
				if first {
					l.slow = 30 * time.Second
				}
				p := l.start(t, at(mtasts.ModeEnforce, 0))
				defer func() { p.stop() }()
				if !first {
					settleFor(time.Minute)
				}
				l.change(func() { l.events = nil })
				if c.during && !first {
					l.change(func() { l.slow = 30 * time.Second })
					p.Set(at(mtasts.ModeEnforce, day))
				}
				if c.during {
					settleFor(10 * time.Second) // inside the fetch
				}
				pushes := len(l.pushes)
				p.leave(t, true)
				if !c.during {
					wantForgotten(t, p)
				}
				settleFor(5 * time.Minute)
				wantForgotten(t, p)
				if len(l.pushes) != pushes || len(l.removals) != 0 {
					t.Errorf("%d pushes, %d removals for a domain that was dropped", len(l.pushes)-pushes, len(l.removals))
				}
				heads, events := l.tail()
				if i := slices.Index(heads, "domain.left warning"); i < 0 || events[i].Remedy == "" {
					t.Errorf("told %+v", events)
				}
				p.stop()
				p = l.start(t)
				settleFor(2 * time.Hour)
				if l.serving(example) != nil || len(l.rows) != 0 {
					t.Errorf("after a restart it serves %q, journal %v", l.serving(example), l.rows)
				}
			})
		})
	}
}

// One that was to be dropped and is wanted again before the run under way has
// ended is kept.
func TestBackBeforeItIsDropped(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		p := l.start(t, at(mtasts.ModeTesting, 0))
		defer p.stop()
		settleFor(time.Minute)
		l.change(func() { l.slow = 30 * time.Second })
		p.Wake(example)
		settleFor(10 * time.Second) // inside the fetch
		p.leave(t, true)
		p.Set(at(mtasts.ModeEnforce, day))
		settleFor(5 * time.Minute)
		wantStage(t, p, at(mtasts.ModeEnforce, day))
		p.leave(t, false)
		settleFor(time.Minute)
		if s, known := p.Snapshot(example); !known || !s.Orphan || l.serving(example) == nil {
			t.Error("the order to drop it outlived its return")
		}
	})
}

// What the journal does not take is told to whoever wants the domain gone.
func TestLeaveTellsOfTheJournal(t *testing.T) {
	for _, drop := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			l := newLab()
			p := l.start(t, at(mtasts.ModeNone, NoneMaxAge))
			defer p.stop()
			settleFor(time.Minute)
			if !drop {
				p.Set(withdrawn())
				settleFor(time.Minute)
			}
			l.change(func() { l.journal = errors.New("disk full") })
			if err := p.Leave(t.Context(), example, drop); !errors.Is(err, l.journal) {
				t.Errorf("drop %v: error %v", drop, err)
			}
			if body := l.serving(example); body != nil {
				t.Errorf("drop %v: serves %q", drop, body)
			}
			if err := p.Leave(t.Context(), "other.example", drop); err != nil {
				t.Errorf("drop %v: a domain that nobody knows: %v", drop, err)
			}
		})
	}
}
