package reconcile

import (
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
)

// What the journal refused to forget is forgotten by the next try, or the next
// start.
func TestForgetIsTriedAgain(t *testing.T) {
	for name, c := range map[string]struct{ drop, restart bool }{
		"withdrawn":              {},
		"dropped":                {drop: true},
		"withdrawn, and a start": {restart: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLab()
				p := l.start(t, at(mtasts.ModeNone, NoneMaxAge))
				defer func() { p.stop() }()
				settleFor(time.Minute)
				if !c.drop {
					p.Set(withdrawn())
					settleFor(time.Minute)
				}
				l.change(func() { l.journal = errors.New("disk full") })
				for range 2 {
					if err := p.Leave(t.Context(), example, c.drop); !errors.Is(err, l.journal) {
						t.Errorf("error %v", err)
					}
				}
				l.change(func() { l.journal = nil })
				if c.restart {
					p.stop()
					p = l.start(t)
					settleFor(time.Minute)
				} else {
					p.leave(t, c.drop)
				}
				wantForgotten(t, p)
			})
		})
	}
}

// A domain that the journal has as withdrawn, and that the config wants without a
// stage, begins in testing and not where it ended.
func TestWithdrawnRowAtTheStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		p := l.start(t, at(mtasts.ModeNone, NoneMaxAge))
		defer func() { p.stop() }()
		settleFor(time.Minute)
		p.Set(withdrawn())
		settleFor(time.Minute)
		p.stop()
		p = l.start(t, want(example, "mx1.example.com"))
		settleFor(time.Hour)
		wantStage(t, p, at(mtasts.ModeTesting, 0))
	})
}

// slowRemoval is a journal that takes its time to remove a domain.
type slowRemoval struct {
	*lab
	entered, release chan struct{}
}

func (s slowRemoval) RemoveDomain(ctx context.Context, name string) error {
	close(s.entered)
	<-s.release
	return s.lab.RemoveDomain(ctx, name)
}

// A domain that is wanted again while it is being forgotten begins when that is
// done.
func TestBackWhileItIsForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		s := slowRemoval{l, make(chan struct{}), make(chan struct{})}
		r, err := New(t.Context(), Config{
			Journal: s, Certificates: labCerts{l}, Publisher: l, World: l, DNS: l,
			Probe: func(string) (string, string) { return "/probe", "token" }, HTTP: true, Workers: 2,
		})
		if err != nil {
			t.Fatal(err)
		}
		l.onOrder = r.WakeHost
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan struct{})
		go func() { defer close(done); _ = r.Run(ctx) }()
		defer func() { cancel(); <-done }()
		p := &process{Reconciler: r, lab: l}
		p.set(t, at(mtasts.ModeTesting, 0))
		settleFor(time.Minute)
		l.change(func() { l.slow = 30 * time.Second })
		p.Wake(example)
		settleFor(10 * time.Second) // inside the fetch, at the end of which it is forgotten
		p.leave(t, true)
		<-s.entered
		l.change(func() { l.slow, l.txt[recordName] = 0, nil }) // so that nothing is adopted
		w := at(mtasts.ModeEnforce, day)
		if err := p.Add(t.Context(), w); err != nil {
			t.Fatal(err)
		}
		settleFor(time.Minute)
		close(s.release)
		settleFor(time.Minute)
		wantStage(t, p, w)
		if row := l.rows[example]; row != p.state(t, example) {
			t.Errorf("in memory %+v, the journal has %+v", p.state(t, example), row)
		}
		for _, b := range l.ledger[example] {
			if open := b.LastServed.IsZero(); open != (string(b.Body) == policyOf(t, w)) {
				t.Errorf("the ledger has %q as served until %s", b.Body, b.LastServed)
			}
		}
	})
}

// A domain that left before and is dropped now: that is told, once.
func TestDropOfAnOrphanIsTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		p := l.start(t, at(mtasts.ModeEnforce, 0))
		defer p.stop()
		settleFor(time.Minute)
		p.leave(t, false)
		l.tail()
		p.leave(t, true)
		l.told(t, "domain.left warning")
		p.leave(t, true)
		l.told(t)
	})
}

// An older store in which the domain is on its way out takes nothing away that was
// announced later. It asks, and does what it is told.
func TestOlderStoreDoesNotWithdraw(t *testing.T) {
	for name, c := range map[string]struct {
		since Wanted
		leave bool // the operator removes the record
	}{
		"a policy of the ledger":              {since: at(mtasts.ModeEnforce, day)},
		"a policy that is not known":          {since: at(mtasts.ModeEnforce, 4*day)},
		"a policy that the operator withdrew": {since: at(mtasts.ModeEnforce, day), leave: true},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLab()
				p := l.start(t, at(mtasts.ModeTesting, 0))
				defer func() { p.stop() }()
				leaving(t, l, p)
				l.change(func() { l.pushErr = errors.New("502") })
				p.Set(withdrawn())
				settleFor(time.Hour)
				restore := l.backUp()
				l.change(func() { l.pushErr = nil })
				p.Set(c.since)
				settleFor(20 * time.Minute)
				id := wantStage(t, p, c.since)
				p.stop()
				restore()
				p = l.start(t, withdrawn())
				settleFor(time.Hour)
				d := wantStep(t, p, state.Confirmed)
				if !strings.Contains(d.LastError, id) || d.Remedy == "" || live(t, l) != id || len(l.removals) != 0 {
					t.Fatalf("error %q, remedy %q, %d removals", d.LastError, d.Remedy, len(l.removals))
				}
				if c.leave {
					l.change(func() { l.txt[recordName] = nil })
					settleFor(15 * time.Minute)
					wantStep(t, p, state.Withdrawn)
				}
			})
		})
	}
}

// What was announced here under a policy that was found published is ours.
func TestWithdrawOfAnAdoptedPolicy(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		w := at(mtasts.ModeEnforce, 0)
		l.txt[recordName], l.elsewhere[example] = []string{"v=STSv1; id=1;"}, policyOf(t, w)
		l.leads = false // for a while
		p := l.start(t, want(example, "mx1.example.com"))
		defer p.stop()
		settleFor(5 * time.Minute)
		l.change(func() { l.leads = true })
		settleFor(10 * time.Minute)
		wantStage(t, p, w)
		l.change(func() {
			l.leads, l.problem = false, "the CA saw another server"
			l.certs[mtasts.PolicyHost(example)] = time.Now()
			delete(l.elsewhere, example)
		})
		p.Set(at(mtasts.ModeNone, NoneMaxAge)) // which cannot be proven, nor announced
		settleFor(30 * time.Hour)
		p.Set(withdrawn())
		settleFor(time.Hour)
		wantStep(t, p, state.Withdrawn)
		if len(l.txt[recordName]) != 0 || len(l.removals) != 1 {
			t.Errorf("withdrawn, and the DNS has our %q", l.txt[recordName])
		}
	})
}

// While an earlier host is led to, its policy is looked up again and again, and told
// of once.
func TestAdoptionIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		l.leads = false
		l.txt[recordName] = []string{"v=STSv1; id=1;"}
		l.elsewhere[example] = render(t, mtasts.Policy{Mode: mtasts.ModeEnforce, MX: []string{"mx1.example.com"}, MaxAge: 28 * day})
		l.takeNote(at(mtasts.ModeTesting, 0))
		p := l.start(t, at(mtasts.ModeTesting, 0))
		defer p.stop()
		settleFor(14 * time.Minute)
		if len(l.adopted) != 1 {
			t.Errorf("told %d times", len(l.adopted))
		}
	})
}
