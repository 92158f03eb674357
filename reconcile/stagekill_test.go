package reconcile

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
)

// story takes example.com from wish to wish, each of which is reached before the
// next comes, and has it leave in the end.
type story struct {
	wishes []Wanted
	leave  bool
	drop   bool
}

// wantReached wants what w asks for, and no trouble.
func wantReached(t *testing.T, p *process, w Wanted, kill int) {
	t.Helper()
	d := p.state(t, example)
	step, records := state.Confirmed, 1
	if w.Withdraw {
		step, records = state.Withdrawn, 0
	}
	p.lab.mu.Lock()
	txts := mtasts.Records(p.lab.txt[recordName])
	body := string(p.lab.served[example])
	p.lab.mu.Unlock()
	if d.Step != step || d.LastError != "" || len(txts) != records || body != policyOf(t, w) {
		t.Fatalf("kill before call %d: step %s (%s), want %s of %s; the DNS has %q, served is %q",
			kill, d.Step, d.LastError, step, w.Stage.Mode, txts, body)
	}
	if records == 1 && txts[0] != txtOf(d.ID) {
		t.Fatalf("kill before call %d: the DNS has %q, the journal %s", kill, txts[0], d.ID)
	}
}

// wantToldOnce wants nothing told a second time that happens once.
func wantToldOnce(t *testing.T, l *lab, kill int) {
	t.Helper()
	last := ""
	for _, e := range l.events {
		if e.Kind != state.KindDomainStep && e.Kind != state.KindPolicyServed {
			continue
		}
		// What comes back is told again, but not twice in a row.
		is := fmt.Sprint(e.Evidence["step"], " ", e.Evidence["sha256"])
		if is == last {
			t.Errorf("kill before call %d: %q was told twice", kill, is)
		}
		last = is
	}
}

// wantOneID wants one id for each time that a body was served, and never an old one
// again after another body.
func wantOneID(t *testing.T, l *lab, kill int) {
	t.Helper()
	used := map[string]bool{}
	last := push{}
	for _, push := range l.pushes {
		switch {
		case push.body == last.body && push.txt != last.txt:
			t.Errorf("kill before call %d: one body has the ids %q and %q", kill, last.txt, push.txt)
		case push.body != last.body && used[push.txt]:
			t.Errorf("kill before call %d: %q stands for another body again", kill, push.txt)
		}
		used[push.txt], last = true, push
	}
	for _, fault := range l.faults {
		t.Errorf("kill before call %d: %s", kill, fault)
	}
	if n := l.ordered(); n != 1 {
		t.Errorf("kill before call %d: %d orders", kill, n)
	}
}

// The process is killed before each of its calls in turn, while a domain is taken
// from stage to stage and out of MTA-STS. The next life is begun with the wish of
// the one that was killed, and all ends as if nothing had happened.
func TestStagesKilledAtEveryStep(t *testing.T) {
	testing1, enforce, none := at(mtasts.ModeTesting, 0), at(mtasts.ModeEnforce, day), at(mtasts.ModeNone, NoneMaxAge)
	for name, s := range map[string]story{
		"to enforce":                 {wishes: []Wanted{testing1, enforce, at(mtasts.ModeEnforce, 0)}},
		"back to testing":            {wishes: []Wanted{enforce, testing1, enforce}},
		"out of MTA-STS":             {wishes: []Wanted{enforce, none, withdrawn()}, leave: true},
		"out of MTA-STS and back":    {wishes: []Wanted{testing1, none, withdrawn(), testing1, enforce}},
		"dropped":                    {wishes: []Wanted{testing1, enforce}, leave: true, drop: true},
		"out, and back before it is": {wishes: []Wanted{testing1, none, withdrawn(), none}},
	} {
		t.Run(name, func(t *testing.T) {
			for kill := 1; ; kill++ {
				reached := false
				synctest.Test(t, func(t *testing.T) { reached = s.tell(t, kill) })
				if !reached {
					if least := 8 * len(s.wishes); kill < least {
						t.Fatalf("only %d calls were made, want %d: the kill point is not exercised", kill, least)
					}
					return
				}
			}
		})
	}
}

// tell lives through s, killed before the given call, and reports whether it came
// to that.
func (s story) tell(t *testing.T, kill int) (reached bool) {
	l := newLab()
	l.kill = kill
	p := l.start(t, s.wishes[0])
	defer func() { p.stop() }()
	revive := func(wanted ...Wanted) {
		if !l.dead {
			return
		}
		reached, l.kill = true, 0
		p.stop()
		ledger := slices.Clone(l.ledger[example])
		_, known := l.rows[example] // without it the kill came in the midst of forgetting
		p = l.start(t, wanted...)
		for _, b := range ledger {
			if known && b.LastServed.IsZero() && string(p.first[example]) != string(b.Body) {
				t.Errorf("kill before call %d: the next life begins with %q, the ledger has %q", kill, p.first[example], b.Body)
			}
		}
		settleFor(5 * time.Minute)
	}
	for i, w := range s.wishes {
		if i > 0 {
			p.Set(w)
		}
		settleFor(time.Minute)
		revive(w)
		wantReached(t, p, w, kill)
	}
	wantToldOnce(t, l, kill)
	wantOneID(t, l, kill)
	if !s.leave {
		return reached
	}

	still := s.wishes[len(s.wishes)-1:]
	if s.drop {
		still = nil // the config does not name it any more
	}
	pushes := len(l.pushes)
	err := p.Leave(t.Context(), example, s.drop)
	settleFor(time.Minute)
	if (err != nil) != l.dead {
		t.Errorf("kill before call %d: leaving: %v", kill, err)
	}
	if l.dead {
		revive(still...)
		p.leave(t, s.drop)
		settleFor(time.Minute)
	}
	wantGone(t, p)
	if len(l.pushes) != pushes || len(l.removals) > 1 {
		t.Errorf("kill before call %d: %d pushes while it left, %d removals", kill, len(l.pushes)-pushes, len(l.removals))
	}
	// Nothing of it is back in the next life.
	p.stop()
	p = l.start(t)
	settleFor(2 * time.Hour)
	wantGone(t, p)
	return reached
}
