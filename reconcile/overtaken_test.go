package reconcile

import (
	"errors"
	"maps"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
)

// backUp copies what the store holds; the function returned puts it back, as
// restoring an old backup does: every domain is due.
func (l *lab) backUp() (restore func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	rows, ledger := maps.Clone(l.rows), map[string][]state.Body{}
	for name, entries := range l.ledger {
		ledger[name] = slices.Clone(entries)
	}
	for name, row := range rows {
		row.NextRun = time.Time{}
		rows[name] = row
	}
	return func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.rows, l.ledger = rows, ledger
	}
}

// sender is what a sender holds: a policy under the id for which it fetched it.
type sender struct{ id, body string }

// fetches is what a sender fetches now.
func (l *lab) fetches() sender {
	l.mu.Lock()
	defer l.mu.Unlock()
	rec, err := mtasts.FindRecord(l.txt[mtasts.RecordName(example)])
	if err != nil {
		return sender{}
	}
	return sender{rec.ID, string(l.served[example])}
}

// An older store is restored. Whatever was announced since, in the end there is
// one id for the body that is served, and no sender that ever fetched another
// body while that id was announced.
func TestOlderStoreIsRestored(t *testing.T) {
	a, b := want(example, "mx1.example.com"), want(example, "mx2.example.com")
	pinned := func(w Wanted, mode mtasts.Mode) Wanted { w.Mode = mode; return w }
	for name, c := range map[string]struct {
		before  Wanted   // when the backup was made
		since   []Wanted // and after it
		after   Wanted   // when it was restored
		mode    mtasts.Mode
		sameID  bool // what was announced last stands
		asks    bool
		silence bool // the name servers do not answer at first
	}{
		"nothing happened since":       {before: a, after: a, mode: "testing", sameID: true},
		"a change":                     {before: a, since: []Wanted{b}, after: b, mode: "testing"},
		"a change, undone by restore":  {before: a, since: []Wanted{b}, after: a, mode: "testing", asks: true},
		"the same, pinned":             {before: pinned(a, "testing"), since: []Wanted{pinned(b, "testing")}, after: pinned(a, "testing"), mode: "testing"},
		"a change and back":            {before: a, since: []Wanted{b, a}, after: a, mode: "testing", sameID: true},
		"silence, then the same":       {before: a, since: []Wanted{b}, after: a, mode: "testing", silence: true, asks: true},
		"a pin came":                   {before: a, since: []Wanted{pinned(a, "enforce")}, after: pinned(a, "enforce"), mode: "enforce"},
		"a pin came and went":          {before: a, since: []Wanted{pinned(a, "enforce"), a}, after: a, mode: "enforce"},
		"a pin came and went, changed": {before: a, since: []Wanted{pinned(b, "enforce"), b}, after: b, mode: "enforce"},
		"a pin was lowered":            {before: pinned(a, "enforce"), since: []Wanted{pinned(a, "none")}, after: a, mode: "testing", asks: true},
		"nobody knows what was announced": {before: a, since: []Wanted{pinned(b, "enforce"), b},
			after: a, mode: "testing", asks: true},
		"nobody knows, but it was enforce before": {before: pinned(a, "enforce"), since: []Wanted{pinned(b, "testing")},
			after: a, mode: "enforce"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLab()
				var held []sender
				look := func() {
					// A sender that looks all the time sees every state.
					if s := l.fetches(); s.id != "" {
						held = append(held, s)
					}
				}
				eager := func(d time.Duration) {
					for range d / (100 * time.Millisecond) {
						look()
						settleFor(100 * time.Millisecond)
					}
				}
				l.slow = 200 * time.Millisecond // so that the states between are seen
				p := l.start(t, c.before)
				defer func() { p.stop() }()
				eager(time.Minute)
				wantStep(t, p, state.Confirmed)
				restore := l.backUp()
				for _, w := range c.since {
					p.set(t, w)
					eager(time.Minute)
				}
				wantStep(t, p, state.Confirmed)
				last := l.fetches()
				p.stop()

				restore()
				if c.silence {
					l.silent = errors.New("no answer") // nobody runs
				}
				p = l.start(t, c.after)
				eager(10 * time.Minute)
				l.mu.Lock()
				l.silent = nil
				l.mu.Unlock()
				eager(15 * time.Minute)
				got := l.fetches()
				if c.asks {
					if served, err := mtasts.ParsePolicy([]byte(got.body)); err != nil || c.before.Mode != "" && served.Mode != c.before.Mode {
						t.Errorf("it asks and serves %q (%v)", got.body, err)
					}
					if s := p.state(t, example); s.LastError == "" || s.Remedy == "" || got.id != last.id {
						t.Errorf("it does not ask: %+v", s)
					}
					c.after.Mode = "testing" // the operator's word
					p.set(t, c.after)
					eager(time.Minute)
					got = l.fetches()
				}
				wantStep(t, p, state.Confirmed)
				if policy, err := mtasts.ParsePolicy([]byte(got.body)); err != nil || policy.Mode != c.mode || !slices.Equal(policy.MX, c.after.MX) {
					t.Errorf("serves %+v (%v), want mode %s", policy, err, c.mode)
				}
				if !mtasts.Announces(got.id, []byte(got.body)) || p.state(t, example).ID != got.id {
					t.Errorf("announces %s for %q; the journal has %s", got.id, got.body, p.state(t, example).ID)
				}
				if (got.id == last.id) != c.sameID {
					t.Errorf("the id is %s, the last before was %s", got.id, last.id)
				}
				for _, s := range held {
					if s.id == got.id && s.body != got.body {
						t.Fatalf("a sender holds another body under the id %s that is announced", got.id)
					}
				}
				if l.faults != nil {
					t.Error(l.faults)
				}

				// It stays so, over a restart as well.
				p.stop()
				pushes := len(l.pushes)
				p = l.start(t, c.after)
				settleFor(26 * time.Hour)
				now := l.fetches()
				p.stop()
				if now != got || len(l.pushes) != pushes {
					t.Errorf("later it announces %s, %d pushes more", now.id, len(l.pushes)-pushes)
				}
			})
		})
	}
}

// A store is restored that was backed up while the first body was served and
// not announced yet. Since then the domain was announced, in enforce.
func TestStoreOfBeforeTheAnnouncementIsRestored(t *testing.T) {
	a, b := want(example, "mx1.example.com"), want(example, "mx2.example.com")
	pinned := a
	pinned.Mode = mtasts.ModeEnforce
	for name, c := range map[string]struct {
		after   Wanted
		silence bool // the name servers do not answer at first
		edit    bool // and the config changes meanwhile
	}{
		"the same":              {after: a},
		"another mx":            {after: b},
		"silence":               {after: a, silence: true},
		"silence, another mx":   {after: b, silence: true},
		"silence, then an edit": {after: a, silence: true, edit: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLab()
				l.fetchErr = errors.New("connection refused")
				p := l.start(t, a)
				settleFor(time.Minute)
				wantStep(t, p, state.Serving)
				restore := l.backUp()
				l.change(func() { l.fetchErr = nil })
				settleFor(15 * time.Minute)
				for _, w := range []Wanted{pinned, a} {
					p.set(t, w)
					settleFor(time.Minute)
				}
				if d := wantStep(t, p, state.Confirmed); d.Mode != mtasts.ModeEnforce {
					t.Fatalf("mode %s before the restore", d.Mode)
				}
				p.stop()
				last := l.fetches()

				restore()
				if c.silence {
					l.silent = errors.New("no answer")
				}
				p = l.start(t, c.after)
				defer func() { p.stop() }()
				settleFor(10 * time.Minute)
				if c.edit {
					c.after = b
					p.set(t, b)
					settleFor(10 * time.Minute)
				}
				if got := l.fetches(); c.silence && got.id != last.id {
					t.Fatalf("announces %s while nobody can say what there was", got.id)
				}
				l.change(func() { l.silent = nil })
				settleFor(15 * time.Minute)
				d := wantStep(t, p, state.Confirmed)
				got := l.fetches()
				policy, err := mtasts.ParsePolicy([]byte(got.body))
				if err != nil || policy.Mode != mtasts.ModeEnforce || !slices.Equal(policy.MX, c.after.MX) {
					t.Errorf("serves %+v (%v)", policy, err)
				}
				if got.id != d.ID || !mtasts.Announces(got.id, []byte(got.body)) {
					t.Errorf("announces %s for %q", got.id, got.body)
				}
			})
		})
	}
}

// A store is restored that was backed up when it had just been lost: what was
// published then was adopted, and not served yet. Since then came enforce.
func TestStoreOfBeforeTheFirstBodyIsRestored(t *testing.T) {
	a := want(example, "mx1.example.com")
	pinned := a
	pinned.Mode = mtasts.ModeEnforce
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		p := l.start(t, a)
		settleFor(time.Minute)
		wantStep(t, p, state.Confirmed)
		p.stop()
		l.rows, l.ledger, l.certs, l.problem = map[string]state.Domain{}, map[string][]state.Body{}, map[string]time.Time{}, "no orders today"
		p = l.start(t, a)
		settleFor(time.Minute)
		if d := wantStep(t, p, state.WaitingCertificate); !d.Adopted || d.Mode != mtasts.ModeTesting {
			t.Fatalf("before the backup: %+v", d)
		}
		restore := l.backUp()
		l.change(func() { l.problem, l.failures = "", map[string]int{} })
		p.WakeBlocked()
		settleFor(time.Hour)
		p.set(t, pinned)
		settleFor(time.Minute)
		wantStep(t, p, state.Confirmed)
		p.stop()

		restore()
		p = l.start(t, a)
		defer p.stop()
		settleFor(time.Minute)
		d := wantStep(t, p, state.Confirmed)
		policy, err := mtasts.ParsePolicy([]byte(l.fetches().body))
		if err != nil || policy.Mode != mtasts.ModeEnforce || d.Mode != mtasts.ModeEnforce {
			t.Errorf("a restored store lowered enforce: serves %+v (%v)", policy, err)
		}
	})
}

// Bodies that follow each other within a second have ids that are stamped ahead of the
// clock. A restart takes none of these for news: what was ordered after it holds.
func TestIDAheadOfTheClockIsNoNews(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		p := l.start(t, at(mtasts.ModeTesting, 0))
		settleFor(time.Minute)
		for _, age := range []time.Duration{day, 2 * day, 4 * day} {
			p.Set(at(mtasts.ModeEnforce, age))
			synctest.Wait()
		}
		if made, _ := mtasts.IDTime(wantStep(t, p, state.Confirmed).ID); !made.After(time.Now()) {
			t.Fatalf("the last id is of %s, and it is %s: nothing is shown", made, time.Now())
		}
		l.change(func() { l.fetchErr = errors.New("connection refused") })
		p.Set(at(mtasts.ModeTesting, 0))
		synctest.Wait()
		wantStep(t, p, state.Serving)
		p.stop()
		l.change(func() { l.fetchErr = nil })
		p = l.start(t, at(mtasts.ModeTesting, 0))
		defer func() { p.stop() }()
		settleFor(15 * time.Minute)
		if d := wantStep(t, p, state.Confirmed); d.Mode != mtasts.ModeTesting {
			t.Errorf("after a restart: %s", d.Mode)
		}
	})
}
