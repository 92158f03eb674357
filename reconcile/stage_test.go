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

const day = 24 * time.Hour

// at is example.com taken to a stage.
func at(mode mtasts.Mode, maxAge time.Duration) Wanted {
	w := want(example, "mx1.example.com")
	w.Stage = Stage{Mode: mode, MaxAge: maxAge}
	return w
}

// policyOf is the policy that w is to have served, rendered.
func policyOf(t *testing.T, w Wanted) string {
	t.Helper()
	p := mtasts.Policy{Mode: w.Stage.Mode, MX: w.MX, MaxAge: w.Stage.MaxAge}
	if p.MaxAge == 0 {
		p.MaxAge = w.MaxAge
	}
	return render(t, p)
}

// wantStage wants the policy of w served and its id, alone, in the DNS and in the
// journal. It returns the id.
func wantStage(t *testing.T, p *process, w Wanted) string {
	t.Helper()
	d := wantStep(t, p, state.Confirmed)
	body, id := string(p.lab.serving(example)), live(t, p.lab)
	if body != policyOf(t, w) {
		t.Errorf("serves %q, want %q", body, policyOf(t, w))
	}
	if id != d.ID || !mtasts.Announces(id, []byte(body)) {
		t.Errorf("DNS shows id %s, journal %s; served is %q", id, d.ID, body)
	}
	if d.Mode != w.Stage.Mode || d.LastError != "" {
		t.Errorf("mode %s, error %q", d.Mode, d.LastError)
	}
	if s, _ := p.Snapshot(example); !s.Waits.IsZero() {
		t.Error("the wish still waits")
	}
	return id
}

// done counts all calls of the present life.
func (l *lab) done() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.calls
}

// Each stage is served, proven and announced, in this order, under an id of its
// own. The stage itself is nothing that the config has changed.
func TestStages(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		p := l.start(t, at(mtasts.ModeTesting, 0))
		defer p.stop()
		settleFor(time.Minute)
		ids := []string{wantStage(t, p, at(mtasts.ModeTesting, 0))}
		l.tail()
		for _, w := range []Wanted{
			at(mtasts.ModeEnforce, day), at(mtasts.ModeEnforce, 2*day), at(mtasts.ModeEnforce, 0),
			at(mtasts.ModeTesting, 0), at(mtasts.ModeNone, NoneMaxAge),
		} {
			before := l.serving(example)
			p.Set(w)
			settleFor(time.Minute)
			id := wantStage(t, p, w)
			if slices.Contains(ids, id) || id <= ids[len(ids)-1] {
				t.Errorf("the id %s comes after %q", id, ids)
			}
			ids = append(ids, id)

			events := l.told(t, "policy.served info", "domain.step info", "domain.step info", "domain.step info")
			says(t, events[0], "mode:"+string(w.Stage.Mode), "sha256:"+mtasts.Digest(l.serving(example)), "replaced_sha256:"+mtasts.Digest(before))
			says(t, events[1], "step:proven")
			says(t, events[2], "step:announced", "id:"+id)
			says(t, events[3], "step:confirmed", "id:"+id)
		}
		if len(l.pushes) != len(ids) || l.ordered() != 1 || len(l.faults) > 0 {
			t.Errorf("%d pushes for %d policies, %d orders, faults %v", len(l.pushes), len(ids), l.ordered(), l.faults)
		}
		if open := slices.DeleteFunc(slices.Clone(l.ledger[example]), func(b state.Body) bool { return !b.LastServed.IsZero() }); len(open) != 1 || open[0].Mode != mtasts.ModeNone {
			t.Errorf("the ledger has %+v as served", open)
		}
	})
}

// A stage is announced only when its policy was fetched back, and it is served
// only with a certificate.
func TestStageWaitsForTheProof(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		testing, enforce := at(mtasts.ModeTesting, 0), at(mtasts.ModeEnforce, day)
		p := l.start(t, testing)
		defer p.stop()
		settleFor(time.Minute)
		first := wantStage(t, p, testing)

		l.change(func() { l.certs[mtasts.PolicyHost(example)], l.problem = time.Now(), "the CA is closed" })
		p.Set(enforce)
		settleFor(time.Hour)
		if body := string(l.serving(example)); body != policyOf(t, testing) {
			t.Fatalf("serves %q without a certificate", body)
		}
		l.change(func() { l.problem, l.fetchErr = "", errors.New("connection refused") })
		settleFor(time.Hour)
		if d := wantStep(t, p, state.Serving); string(l.serving(example)) != policyOf(t, enforce) || d.ID != "" {
			t.Errorf("serves %q, id %s", l.serving(example), d.ID)
		}
		if id := live(t, l); id != first {
			t.Errorf("announces %s unproven", id)
		}
		l.change(func() { l.fetchErr = nil })
		settleFor(15 * time.Minute)
		wantStage(t, p, enforce)
	})
}

// The same stage again is no work at all, and another one that comes to the same
// policy changes nothing that anybody sees.
func TestSameStageDoesNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		w := at(mtasts.ModeEnforce, 0)
		p := l.start(t, w)
		defer p.stop()
		settleFor(time.Minute)
		id := wantStage(t, p, w)
		l.tail()

		calls := l.done()
		p.Set(w)
		settleFor(time.Minute)
		if n := l.done() - calls; n != 0 {
			t.Errorf("%d calls for a stage that the domain has", n)
		}
		if s, _ := p.Snapshot(example); !s.Waits.IsZero() {
			t.Error("the wish waits although it is served")
		}

		same := at(mtasts.ModeEnforce, w.MaxAge)
		p.Set(same)
		settleFor(time.Minute)
		if wantStage(t, p, same) != id || len(l.pushes) != 1 {
			t.Errorf("%d pushes for one policy", len(l.pushes))
		}
		l.told(t)
	})
}

// A domain that is taken to a stage with other MX hosts is served both with one
// policy. Whoever takes it there tells of it.
func TestStageAndConfigChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		p := l.start(t, at(mtasts.ModeTesting, 0))
		defer p.stop()
		settleFor(time.Minute)
		l.tail()
		w := at(mtasts.ModeEnforce, 0)
		w.MX, w.MaxAge = []string{"mx2.example.com"}, 2*day
		p.Set(w)
		settleFor(time.Minute)
		wantStage(t, p, w)
		l.told(t, "policy.served info", "domain.step info", "domain.step info", "domain.step info")
		if len(l.pushes) != 2 {
			t.Errorf("%d pushes for two policies", len(l.pushes))
		}
	})
}

// A stage that comes while the one before is worked on follows it.
func TestStageDuringARun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		p := l.start(t, at(mtasts.ModeTesting, 0))
		defer p.stop()
		settleFor(time.Minute)
		l.change(func() { l.slow = 30 * time.Second })
		p.Set(at(mtasts.ModeEnforce, day))
		settleFor(10 * time.Second) // it is being fetched back
		p.Set(at(mtasts.ModeTesting, 0))
		if s, _ := p.Snapshot(example); s.Waits.IsZero() || s.Wanted.Stage.Mode != mtasts.ModeTesting {
			t.Errorf("snapshot %+v", s)
		}
		settleFor(10 * time.Minute)
		wantStage(t, p, at(mtasts.ModeTesting, 0))
		var bodies []string
		for _, push := range l.pushes {
			bodies = append(bodies, push.body)
		}
		testing := policyOf(t, at(mtasts.ModeTesting, 0))
		if want := []string{testing, policyOf(t, at(mtasts.ModeEnforce, day)), testing}; !slices.Equal(bodies, want) {
			t.Errorf("announced %q, want %q", bodies, want)
		}
		if l.pushes[0].txt == l.pushes[2].txt || len(l.faults) > 0 {
			t.Errorf("ids %s and %s for one body before and after another; faults %v", l.pushes[0].txt, l.pushes[2].txt, l.faults)
		}
	})
}

// Set is for domains that are served: one that left is taken up again, and one that
// nobody knows stays unknown.
func TestSetTakesUpAnOrphan(t *testing.T) {
	for _, left := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			l := newLab()
			p := l.start(t, at(mtasts.ModeTesting, 0))
			defer p.stop()
			settleFor(time.Minute)
			first := live(t, l)
			if err := p.Leave(t.Context(), example, false); err != nil {
				t.Fatal(err)
			}
			settleFor(2 * time.Hour)
			l.tail()
			w := at(mtasts.ModeEnforce, day)
			w.Left = left // it is back only to be taken out of MTA-STS
			p.Set(w)
			settleFor(time.Minute)
			if id := wantStage(t, p, w); id == first {
				t.Errorf("the id %s stands", id)
			}
			if s, _ := p.Snapshot(example); s.Orphan || s.Wanted.Left != left {
				t.Errorf("snapshot %+v", s)
			}
			heads, events := l.tail()
			if added := slices.Contains(heads, "domain.added info"); added == left {
				t.Errorf("told %+v", events)
			}

			p.Set(Wanted{Domain: "other.example", Target: w.Target})
			settleFor(time.Minute)
			if _, known := p.Snapshot("other.example"); known || len(l.rows) != 1 {
				t.Errorf("a domain that nobody added is worked on: %v", l.rows)
			}
		})
	}
}

// Add is for one domain more: the others are not touched.
func TestAdd(t *testing.T) {
	const second = "second.example"
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		p := l.start(t, at(mtasts.ModeTesting, 0))
		defer p.stop()
		settleFor(time.Minute)
		l.tail()
		before := l.rows[example]
		add := func(w Wanted) {
			t.Helper()
			if err := p.Add(t.Context(), w); err != nil {
				t.Fatal(err)
			}
			settleFor(time.Minute)
		}
		w := want(second, "mx1.example.com")
		add(w)
		if d := p.state(t, second); d.Step != state.Confirmed || d.Mode != mtasts.ModeTesting {
			t.Errorf("step %s, mode %s", d.Step, d.Mode)
		}
		for _, domain := range []string{example, second} {
			if _, ok := l.hosts[mtasts.PolicyHost(domain)]; !ok {
				t.Errorf("the hosts that may have a certificate are %v", l.hosts)
			}
		}
		if heads, events := l.tail(); heads[0] != "domain.added info" || events[0].Domain != second {
			t.Errorf("told %+v", events)
		}

		// It is there, and wanted as it is, or otherwise.
		calls := l.done()
		add(w)
		if n := l.done() - calls; n != 0 {
			t.Errorf("%d calls for a domain that is there", n)
		}
		w.Stage = Stage{Mode: mtasts.ModeEnforce}
		add(w)
		if d := p.state(t, second); d.Step != state.Confirmed || d.Mode != mtasts.ModeEnforce {
			t.Errorf("step %s, mode %s", d.Step, d.Mode)
		}

		// It left.
		if err := p.Leave(t.Context(), second, false); err != nil {
			t.Fatal(err)
		}
		l.tail()
		add(w)
		if s, _ := p.Snapshot(second); s.Orphan || len(l.pushes) != 3 {
			t.Errorf("snapshot %+v, %d pushes", s, len(l.pushes))
		}
		if heads, _ := l.tail(); !slices.Equal(heads, []string{"domain.added info"}) {
			t.Errorf("told %q", heads)
		}
		if l.rows[example] != before {
			t.Errorf("the other domain was worked on: %+v", l.rows[example])
		}
	})
}

// A domain whose row the journal kept although it had left MTA-STS begins from
// nothing, unless it is to be out of it still.
func TestAddAfterTheWithdrawal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		p := l.start(t, at(mtasts.ModeNone, NoneMaxAge))
		defer p.stop()
		settleFor(time.Minute)
		none := live(t, l)
		p.Set(withdrawn())
		settleFor(time.Minute)
		wantStep(t, p, state.Withdrawn)
		l.change(func() { l.journal = errors.New("disk full") })
		if err := p.Leave(t.Context(), example, false); err == nil {
			t.Fatal("the journal refused to forget the domain, and nobody is told")
		}
		l.change(func() { l.journal = nil })
		if l.rows[example].Step != state.Withdrawn {
			t.Fatalf("the journal has %+v", l.rows)
		}

		w := withdrawn()
		w.Left = true
		if err := p.Add(t.Context(), w); err != nil {
			t.Fatal(err)
		}
		settleFor(2 * time.Hour)
		wantStep(t, p, state.Withdrawn)
		if len(l.pushes) != 1 || len(l.removals) != 1 {
			t.Errorf("%d pushes, %d removals", len(l.pushes), len(l.removals))
		}
		l.change(func() { l.journal = errors.New("disk full") })
		if err := p.Leave(t.Context(), example, false); err == nil {
			t.Fatal("the journal refused to forget the domain, and nobody is told")
		}
		l.change(func() { l.journal = nil })
		l.tail()

		managed := want(example, "mx1.example.com")
		if err := p.Add(t.Context(), managed); err != nil {
			t.Fatal(err)
		}
		settleFor(time.Minute)
		if id := wantStage(t, p, at(mtasts.ModeTesting, 0)); id == none {
			t.Errorf("the id %s stands", id)
		}
		says(t, l.told(t, "domain.added info", "policy.served info", "domain.step info", "domain.step info", "domain.step info")[0], "new in the config")
	})
}
