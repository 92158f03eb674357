package reconcile

import (
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
)

// doings counts what was done so far.
func (l *lab) doings() (orders, pushes, looks int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.orders[mtasts.PolicyHost(example)], len(l.pushes), l.lookups
}

// The wall clock jumps by a day: each domain is looked at about as often as
// before, nothing is pushed or ordered for it, and ids go on rising.
func TestClockJumps(t *testing.T) {
	const day = 24 * time.Hour
	for name, jumps := range map[string][]time.Duration{
		"forward":          {day},
		"back":             {-day},
		"forward and back": {day, -day},
		"back and forward": {-day, day},
		"by a year":        {-365 * day, 365 * day},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLab()
				domains := []Wanted{want(example, "mx1.example.com"), want("b.example", "mx1.example.com"), want("c.example", "mx1.example.com")}
				p := l.start(t, domains...)
				defer func() { p.stop() }()
				settleFor(time.Minute)
				last := live(t, l)
				for n, by := range jumps {
					orders, pushes, looks := l.doings()
					l.jump(by)
					settleFor(4 * time.Hour)
					orders2, pushes2, looks2 := l.doings()
					looks = looks2 - looks
					if most, least := 3*6, 3*2; looks > most || looks < least {
						t.Errorf("jump %d: %d looks in four hours at three domains with an interval of an hour", n, looks)
					}
					if orders2 != orders || pushes2 != pushes {
						t.Errorf("jump %d: %d orders and %d pushes", n, orders2-orders, pushes2-pushes)
					}
					domains[0] = want(example, []string{"mx2.example.com", "mx1.example.com"}[n%2])
					p.set(t, domains...)
					settleFor(time.Minute)
					wantStep(t, p, state.Confirmed)
					id := live(t, l)
					made, _ := mtasts.IDTime(id)
					if before, ours := mtasts.IDTime(last); !ours || !made.After(before) {
						t.Errorf("jump %d: the id %s came after %s", n, id, last)
					}
					last = id

					// So it is after a start with what the journal kept.
					p.stop()
					p = l.start(t, domains...)
					_, _, looks = l.doings()
					settleFor(4 * time.Hour)
					_, _, looks2 = l.doings()
					if looks = looks2 - looks; looks > 3*6 || looks < 3*2 {
						t.Errorf("jump %d, and a start: %d looks", n, looks)
					}
				}
				if len(l.faults) > 0 {
					t.Error(l.faults)
				}
			})
		})
	}
}

// What waits for another try does not wait for a day when the clock goes back.
func TestClockGoesBackDuringABackoff(t *testing.T) {
	for _, restart := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			l := newLab()
			l.jump(24 * time.Hour)
			l.pushErr = errors.New("refused") // nobody runs yet
			w := want(example, "mx1.example.com")
			p := l.start(t, w)
			defer func() { p.stop() }()
			settleFor(time.Hour)
			if s := p.state(t, example); s.Attempts < 5 {
				t.Fatalf("%d attempts", s.Attempts)
			}
			l.mu.Lock()
			l.pushErr = nil
			l.mu.Unlock()
			l.jump(-24 * time.Hour)
			if restart {
				p.stop()
				p = l.start(t, w)
			}
			settleFor(25 * time.Minute) // twice the longest backoff
			wantStep(t, p, state.Confirmed)
		})
	}
}
