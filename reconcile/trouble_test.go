package reconcile

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
)

// change changes the lab while the reconciler works.
func (l *lab) change(f func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	f()
}

// A host that led elsewhere for so long that orders failed is not held up by
// their backoff once it leads here.
func TestHostThatLeadsHereAtLastIsOrderedForAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		l.leads, l.problem = false, "the CA saw another server"
		p := l.start(t, want(example, "mx1.example.com"))
		defer p.stop()
		settleFor(2 * time.Hour)
		d := wantStep(t, p, state.WaitingDNS)
		if n := l.orders["mta-sts.example.com"]; n != 1 {
			t.Errorf("%d orders while the host led elsewhere, want one", n)
		}
		for _, part := range []string{"another server", "the CA saw another server"} {
			if !strings.Contains(d.LastError, part) {
				t.Errorf("error %q does not say %q", d.LastError, part)
			}
		}
		l.change(func() { l.leads, l.problem = true, "" })
		settleFor(15 * time.Minute)
		wantStep(t, p, state.Confirmed)
	})
}

// A record that is missing at the first look and there at the second still
// decides in which mode the domain starts.
func TestRecordThatAppearsLateIsAdopted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		l.leads = false
		p := l.start(t, want(example, "mx1.example.com"))
		defer p.stop()
		settleFor(5 * time.Minute)
		enforce := mtasts.Policy{Mode: mtasts.ModeEnforce, MX: []string{"mx1.example.com"}, MaxAge: 7 * 24 * time.Hour}
		l.change(func() {
			l.txt["_mta-sts.example.com"] = []string{mtasts.Record{ID: mtasts.NewID(time.Now(), []byte(render(t, enforce)))}.String()}
			l.leads = true
		})
		settleFor(15 * time.Minute)
		if d := wantStep(t, p, state.Confirmed); d.Mode != mtasts.ModeEnforce {
			t.Errorf("mode %s, want enforce", d.Mode)
		}
	})
}

// [prove] via shows what we serve; it must not hide what an earlier host does.
func TestAdoptionLooksOutsideWithViaToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		l.hairpin = true
		l.txt["_mta-sts.example.com"] = []string{"v=STSv1; id=1;"}
		l.elsewhere[example] = render(t, mtasts.Policy{Mode: mtasts.ModeEnforce, MX: []string{"mx1.example.com"}, MaxAge: 24 * time.Hour})
		p := l.start(t, want(example, "mx1.example.com"))
		defer p.stop()
		settleFor(time.Minute)
		d := wantStep(t, p, state.Confirmed)
		if d.Mode != mtasts.ModeEnforce || d.Proof != "via 127.0.0.1:443 ok" {
			t.Errorf("mode %s, proof %q", d.Mode, d.Proof)
		}
	})
}

// A second record or a strange id is no propagation delay: it is pushed over
// at once, however recent the last push.
func TestTamperingRightAfterAPushIsRepairedSoon(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		p := l.start(t, want(example, "mx1.example.com"))
		defer p.stop()
		settleFor(time.Minute)
		id := live(t, l)
		for range 5 {
			l.change(func() {
				l.txt["_mta-sts.example.com"] = append(l.txt["_mta-sts.example.com"], "v=STSv1; id=rogue;")
			})
			p.Wake(example)
			settleFor(3 * time.Second)
			if got := live(t, l); got != id {
				t.Fatalf("id %s, want %s", got, id)
			}
		}
	})
}

// What was announced is kept right even while the policy cannot be fetched
// back from here: a second record would switch MTA-STS off for all.
func TestRecordIsRepairedWhileTheProofFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		p := l.start(t, want(example, "mx1.example.com"))
		defer p.stop()
		settleFor(time.Minute)
		id := live(t, l)
		l.change(func() {
			l.fetchErr = errors.New("connection refused")
			l.txt["_mta-sts.example.com"] = nil
		})
		settleFor(2 * time.Hour)
		if got := live(t, l); got != id {
			t.Errorf("id %s, want %s", got, id)
		}
		d := p.state(t, example)
		if !strings.Contains(d.LastError, "connection refused") || d.Proof != "" {
			t.Errorf("error %q, proof %q", d.LastError, d.Proof)
		}
		// A new body, though, waits for its proof.
		p.set(t, want(example, "mx2.example.com"))
		settleFor(2 * time.Hour)
		if got := live(t, l); got != id {
			t.Errorf("announced %s unproven", got)
		}
		l.change(func() { l.fetchErr = nil })
		settleFor(15 * time.Minute)
		wantStep(t, p, state.Confirmed)
	})
}

// Name servers that do not answer are trouble to be shown, but no drift.
func TestSilentNameServersAreNoDrift(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		p := l.start(t, want(example, "mx1.example.com"))
		defer p.stop()
		settleFor(time.Minute)
		l.change(func() { l.silent = errors.New("did not answer") })
		settleFor(3 * time.Hour)
		d := wantStep(t, p, state.Confirmed)
		if len(l.pushes) != 1 || !strings.Contains(d.LastError, "did not answer") {
			t.Errorf("%d pushes, error %q", len(l.pushes), d.LastError)
		}
		l.change(func() { l.silent = nil })
		settleFor(15 * time.Minute)
		if d := wantStep(t, p, state.Confirmed); d.LastError != "" {
			t.Errorf("error %q after all answer again", d.LastError)
		}
	})
}

// Whatever is wrong, the world is not asked all the time.
func TestLooksAreFew(t *testing.T) {
	for name, c := range map[string]struct {
		trouble func(l *lab)
		most    int // looks in a day
	}{
		"all is well":                {func(*lab) {}, 30},
		"the store refuses writes":   {func(l *lab) { l.journal = errors.New("disk full") }, 200},
		"a record to enter by hand":  {func(l *lab) { l.manual, l.txt["_mta-sts.example.com"] = true, nil }, 250},
		"the provider does not work": {func(l *lab) { l.pushErr, l.txt["_mta-sts.example.com"] = errors.New("502"), nil }, 200},
		"no fetch succeeds":          {func(l *lab) { l.fetchErr = errors.New("refused") }, 200},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLab()
				p := l.start(t, want(example, "mx1.example.com"))
				defer p.stop()
				settleFor(time.Minute)
				l.change(func() { c.trouble(l); l.lookups = 0 })
				settleFor(24 * time.Hour)
				if l.lookups > c.most || l.lookups < 10 {
					t.Errorf("%d looks in a day, want %d at most", l.lookups, c.most)
				}
			})
		})
	}
}

// A domain that leaves the config while it is worked on orders nothing and
// announces nothing any more, and nothing of it is kept.
func TestRemovedWhileWorkedOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		l.slow = 30 * time.Second
		l.txt["_mta-sts.example.com"] = []string{"v=STSv1; id=1;"} // so that the policy is looked for
		p := l.start(t, want(example, "mx1.example.com"))
		defer p.stop()
		settleFor(10 * time.Second) // inside the first look
		p.set(t)
		settleFor(time.Hour)
		if l.orders["mta-sts.example.com"] != 0 || len(l.pushes) != 0 || len(l.rows) != 0 {
			t.Errorf("%d orders, %d pushes, journal %v", l.orders["mta-sts.example.com"], len(l.pushes), l.rows)
		}
		if _, ok := p.Snapshot(example); ok {
			t.Error("the domain is still known")
		}
	})
}

// A domain that was served but got no id to announce is in no sender's cache: it is
// dropped with all that is known of it.
func TestRemovedBeforeItWasAnnounced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		l.fetchErr = errors.New("connection refused")
		p := l.start(t, want(example, "mx1.example.com"))
		settleFor(time.Minute)
		wantStep(t, p, state.Serving)
		p.set(t)
		settleFor(time.Minute)
		if _, ok := p.Snapshot(example); ok || l.served[example] != nil || len(l.rows) != 0 {
			t.Errorf("still known: serves %q, journal %v", l.served[example], l.rows)
		}
		p.stop()
		p = l.start(t)
		defer p.stop()
		if len(l.served) != 0 {
			t.Errorf("served again after a restart: %q", l.served)
		}
	})
}

// A domain that leaves the config and is back before the run under way has
// ended shows no error: nothing went wrong.
func TestBackBeforeTheRunHasEnded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		p := l.start(t, want(example, "mx1.example.com"))
		defer p.stop()
		settleFor(time.Minute)
		l.change(func() { l.slow = 30 * time.Second })
		p.Wake(example)
		settleFor(10 * time.Second) // inside the fetch
		p.set(t)
		p.set(t, want(example, "mx1.example.com"))
		settleFor(25 * time.Second) // the cancelled run has ended, the next is inside its fetch
		if d := p.state(t, example); d.LastError != "" || d.Attempts != 0 {
			t.Errorf("error %q, %d attempts", d.LastError, d.Attempts)
		}
		settleFor(time.Minute)
		wantStep(t, p, state.Confirmed)
	})
}

// A store that takes a body and reports failure closes the one before in the ledger,
// which goes on being served: senders may hold it for as long as it really was.
func TestBodyThatTheStoreTookUnseen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		p := l.start(t, want(example, "mx1.example.com"))
		defer p.stop()
		settleFor(time.Minute)
		before := string(l.serving(example))
		l.change(func() { l.doubt = errors.New("the connection broke") })
		p.set(t, want(example, "mx2.example.com"))
		settleFor(3 * time.Hour)
		if got := string(l.serving(example)); got != before {
			t.Fatalf("serves %q, which the store has not confirmed", got)
		}
		l.change(func() { l.doubt = nil })
		healed := time.Now()
		settleFor(day)
		wantStep(t, p, state.Confirmed)
		for _, b := range l.ledger[example] {
			if string(b.Body) == before && b.LastServed.Before(healed) {
				t.Errorf("the ledger has the body before as served until %s, it was until after %s", b.LastServed, healed)
			}
		}
	})
}
