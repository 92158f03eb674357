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

const example = "example.com"

// live is the id that DNS shows for example.com, wanting exactly one record.
func live(t *testing.T, l *lab) string {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	rec, err := mtasts.FindRecord(l.txt["_mta-sts.example.com"])
	if err != nil {
		t.Fatalf("record in DNS: %v", err)
	}
	return rec.ID
}

func wantStep(t *testing.T, p *process, step state.Step) state.Domain {
	t.Helper()
	d := p.state(t, example)
	if d.Step != step {
		t.Fatalf("step = %s (%s), want %s", d.Step, d.LastError, step)
	}
	return d
}

func render(t *testing.T, p mtasts.Policy) string {
	t.Helper()
	body, err := p.Render()
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

func TestDomainReachesConfirmed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		l.txt["_mta-sts.example.com"] = []string{"somebody else's note"}
		p := l.start(t, want(example, "mx1.example.com"))
		defer p.stop()
		settleFor(time.Minute)

		d := wantStep(t, p, state.Confirmed)
		if d.Mode != mtasts.ModeTesting || d.LastError != "" {
			t.Errorf("mode %s, error %q; want testing and none", d.Mode, d.LastError)
		}
		if id := live(t, l); id != d.ID || !mtasts.Announces(id, l.served[example]) {
			t.Errorf("DNS shows id %s, journal %s", id, d.ID)
		}
		if l.txt["_mta-sts.example.com"][0] != "somebody else's note" {
			t.Error("a foreign record was touched")
		}
		if l.ordered() != 1 || len(l.pushes) != 1 {
			t.Errorf("%d orders, %d pushes; want one each", l.ordered(), len(l.pushes))
		}
		if !strings.Contains(d.Proof, "IPv4 ok") || !strings.Contains(d.Proof, "IPv6 skipped") {
			t.Errorf("proof = %q", d.Proof)
		}
	})
}

func TestUnchangedReloadAndRestartDoNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		p := l.start(t, want(example, "mx1.example.com"))
		settleFor(time.Minute)
		if c := p.set(t, want(example, "mx1.example.com")); !c.Empty() {
			t.Errorf("changes = %+v", c)
		}
		settleFor(3 * time.Hour)
		p.stop()
		p = l.start(t, want(example, "mx1.example.com"))
		defer p.stop()
		if l.serving(example) == nil {
			t.Error("the body is not served from the first moment of the second life")
		}
		settleFor(3 * time.Hour)
		if len(l.pushes) != 1 || l.ordered() != 1 {
			t.Errorf("%d pushes, %d orders; want one each", len(l.pushes), l.ordered())
		}
	})
}

func TestDriftIsRepaired(t *testing.T) {
	for name, txt := range map[string][]string{
		"removed":  nil,
		"changed":  {"v=STSv1; id=20200101T000000;"},
		"doubled":  {"v=STSv1; id=20200101T000000;", "v=STSv1; id=1;"},
		"unlisted": {"v=STSv1;", "other"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLab()
				p := l.start(t, want(example, "mx1.example.com"))
				defer p.stop()
				settleFor(time.Minute)
				before := live(t, l)
				l.mu.Lock()
				l.txt["_mta-sts.example.com"] = txt
				l.mu.Unlock()
				settleFor(2 * time.Hour)
				if id := live(t, l); id != before {
					t.Errorf("id %s after the repair, want %s: the policy did not change", id, before)
				}
				wantStep(t, p, state.Confirmed)
			})
		})
	}
}

func TestHostElsewhereWaitsThenTriesOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		l.leads, l.problem = false, "the CA saw another server"
		p := l.start(t, want(example, "mx1.example.com"))
		defer p.stop()
		settleFor(14 * time.Minute)
		d := wantStep(t, p, state.WaitingDNS)
		if l.ordered() != 0 || !strings.Contains(d.LastError, "another server") || d.Remedy == "" {
			t.Errorf("%d orders, error %q, remedy %q", l.ordered(), d.LastError, d.Remedy)
		}
		settleFor(15 * time.Minute)
		if l.ordered() == 0 {
			t.Error("no order was tried after 15 minutes")
		}
		if d := p.state(t, example); !strings.Contains(d.LastError, l.problem) {
			t.Errorf("error %q does not carry the CA's words", d.LastError)
		}
	})
}

func TestByHandWaitsForTheRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		l.manual = true
		p := l.start(t, want(example, "mx1.example.com"))
		defer p.stop()
		settleFor(time.Hour)
		d := wantStep(t, p, state.Proven)
		txt := mtasts.Record{ID: d.ID}.String()
		if !strings.Contains(d.Remedy, txt) {
			t.Fatalf("remedy %q does not show the record %q", d.Remedy, txt)
		}
		l.mu.Lock()
		l.txt["_mta-sts.example.com"] = []string{txt}
		l.mu.Unlock()
		settleFor(10 * time.Minute)
		wantStep(t, p, state.Confirmed)
	})
}

func TestDNSProviderDownRecovers(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		l.pushErr = errors.New("the provider's API answered 502")
		p := l.start(t, want(example, "mx1.example.com"))
		defer p.stop()
		settleFor(time.Hour)
		d := wantStep(t, p, state.Proven)
		if !strings.Contains(d.LastError, "502") || l.served[example] == nil {
			t.Errorf("error %q", d.LastError)
		}
		l.mu.Lock()
		l.pushErr = nil
		l.mu.Unlock()
		settleFor(15 * time.Minute)
		wantStep(t, p, state.Confirmed)
	})
}

// With a store that refuses writes nothing new is announced, what is served
// goes on being served, and work goes on by itself afterwards.
func TestReadOnlyStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		p := l.start(t, want(example, "mx1.example.com"))
		defer p.stop()
		settleFor(time.Minute)
		body := string(l.served[example])
		l.mu.Lock()
		l.journal = errors.New("the store cannot be written: disk full")
		l.mu.Unlock()
		p.set(t, want(example, "mx2.example.com"))
		settleFor(time.Hour)
		d := p.state(t, example)
		if string(l.served[example]) != body || len(l.pushes) != 1 || !strings.Contains(d.LastError, "disk full") {
			t.Errorf("serves %q, %d pushes, error %q", l.served[example], len(l.pushes), d.LastError)
		}
		l.mu.Lock()
		l.journal = nil
		l.mu.Unlock()
		settleFor(15 * time.Minute)
		wantStep(t, p, state.Confirmed)
		if len(l.pushes) != 2 || len(l.faults) > 0 {
			t.Errorf("%d pushes, faults %v", len(l.pushes), l.faults)
		}
	})
}

func TestRemovedDomainIsStillServed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		p := l.start(t, want(example, "mx1.example.com"))
		settleFor(time.Minute)
		if c := p.set(t); len(c.Removed) != 1 {
			t.Errorf("changes %+v", c)
		}
		settleFor(2 * time.Hour)
		p.stop()
		p = l.start(t)
		defer p.stop()
		settleFor(2 * time.Hour)
		if l.served[example] == nil || len(l.pushes) != 1 {
			t.Error("a policy that senders may hold is gone")
		}
		for id, want := range map[string]string{live(t, l): example, "another": "", "": ""} {
			if got := p.Announcer(id, "other.test"); got != want {
				t.Errorf("the announcer of %q is %q, want %q", id, got, want)
			}
		}
		if c := p.set(t, want(example, "mx1.example.com")); len(c.Added) != 1 {
			t.Errorf("changes %+v", c)
		}
		settleFor(2 * time.Hour)
		if wantStep(t, p, state.Confirmed); len(l.pushes) != 1 {
			t.Error("coming back made a new id for the same body")
		}
	})
}

// The store wrote the change of the body, but reported failure, and the row
// was written again as it had been. The next life serves what the ledger says,
// so the row's id does not stand.
func TestLedgerIsStrongerThanTheRow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		p := l.start(t, want(example, "mx1.example.com"))
		settleFor(time.Minute)
		first, row := live(t, l), p.state(t, example)
		p.stop()

		body := []byte(render(t, mtasts.Policy{Mode: mtasts.ModeTesting, MX: []string{"mx2.example.com"}, MaxAge: 7 * 24 * time.Hour}))
		b := state.Body{Domain: example, SHA256: mtasts.Digest(body), Body: body, Mode: mtasts.ModeTesting, FirstServed: time.Now()}
		l.dead = false
		if err := errors.Join(l.ServeBody(t.Context(), row, b, time.Now()), l.SaveDomain(t.Context(), row)); err != nil {
			t.Fatal(err)
		}
		p = l.start(t, want(example, "mx1.example.com"))
		defer p.stop()
		if got := p.first[example]; string(got) != string(body) {
			t.Errorf("serves %q from the start, the ledger has %q", got, body)
		}
		settleFor(time.Minute)
		wantStep(t, p, state.Confirmed)
		if live(t, l) == first {
			t.Error("the id stands although another body was served under it")
		}
	})
}

// A domain leaves the config and comes back, changed, while a run of it is
// under way: the next run waits for that one.
func TestDomainComesBackWhileItIsWorkedOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		p := l.start(t, want(example, "mx1.example.com"))
		defer p.stop()
		settleFor(time.Minute)
		l.mu.Lock()
		l.slow = 30 * time.Second
		l.mu.Unlock()
		p.Wake(example)
		settleFor(10 * time.Second)
		p.set(t)
		p.set(t, want(example, "mx2.example.com"))
		settleFor(10 * time.Minute)
		wantStep(t, p, state.Confirmed)
		if id := live(t, l); !mtasts.Announces(id, l.served[example]) || !strings.Contains(string(l.served[example]), "mx2") {
			t.Errorf("id %s, serves %q", id, l.served[example])
		}
		if len(l.faults) > 0 {
			t.Error(l.faults)
		}
	})
}
