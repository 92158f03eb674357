package reconcile

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/stshost/stshost/internal/state"
)

// The process is killed before each of its calls in turn, while a domain is
// new and again while its policy changes. The next life must end the work
// with no id ahead of its body, no second id for one body, no second order.
func TestKilledAtEveryStep(t *testing.T) {
	for kill := 1; ; kill++ {
		reached := false
		synctest.Test(t, func(t *testing.T) {
			l := newLab()
			l.kill = kill
			p := l.start(t, want(example, "mx1.example.com"))
			settleFor(time.Minute)
			p.set(t, want(example, "mx2.example.com"))
			settleFor(time.Minute)
			reached = l.dead
			p.stop()
			l.kill = 0
			p = l.start(t, want(example, "mx2.example.com"))
			settleFor(5 * time.Minute)
			wantStep(t, p, state.Confirmed)
			p.stop()

			ids := map[string]string{} // body → id
			for _, push := range l.pushes {
				if old, ok := ids[push.body]; ok && old != push.txt {
					t.Errorf("kill before call %d: one body has the ids %q and %q", kill, old, push.txt)
				}
				ids[push.body] = push.txt
			}
			told := map[string]int{}
			for _, e := range l.events {
				if e.Kind == state.KindDomainStep || e.Kind == state.KindPolicyServed {
					told[e.Evidence["step"]+" "+e.Evidence["sha256"]]++
				}
			}
			for step, n := range told {
				if n != 1 {
					t.Errorf("kill before call %d: %q was told %d times", kill, step, n)
				}
			}
			if last := l.rows[example]; told["confirmed "+last.BodySHA256] == 0 {
				t.Errorf("kill before call %d: told of %v", kill, told)
			}
			for _, fault := range l.faults {
				t.Errorf("kill before call %d: %s", kill, fault)
			}
			if n := l.ordered(); n != 1 {
				t.Errorf("kill before call %d: %d orders", kill, n)
			}
		})
		if !reached {
			if kill < 15 {
				t.Fatalf("only %d calls were made: the kill point is not exercised", kill)
			}
			return
		}
	}
}
