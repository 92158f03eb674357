package rollout

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stshost/stshost/internal/state"
)

// deed is what a person does, and for how long nothing else happens then.
type deed struct {
	do    func(l *lives) error
	again func(l *lives) error // after a kill that left it unanswered; nil: do
	done  func(f *fate)        // what the model knows once it is answered
	wait  time.Duration
}

// An order to enforce holds from the moment that it is given.
func ascend(o state.RolloutOrder, wait time.Duration) deed {
	return deed{wait: wait, do: func(l *lives) error {
		l.change(l.f, func() { l.f.climbs, l.f.hasty, l.f.noReports = true, o.Now, o.AcceptNoReports })
		_, err := l.mgr.StartRollout(context.Background(), victim, o)
		return err
	}}
}

func rollBack(wait time.Duration) deed {
	return deed{wait: wait, done: (*fate).forgetOrders, do: func(l *lives) error {
		_, err := l.mgr.Rollback(context.Background(), victim)
		return err
	}}
}

func retire(wait time.Duration) deed {
	return deed{wait: wait, done: (*fate).forgetOrders, do: func(l *lives) error {
		_, err := l.mgr.Retire(context.Background(), victim)
		return err
	}}
}

func pause(wait time.Duration) deed {
	return deed{wait: wait, done: func(f *fate) { f.paused = true }, do: func(l *lives) error {
		_, err := l.mgr.PauseRollout(context.Background(), victim)
		return err
	}}
}

func resume(wait time.Duration) deed {
	return deed{wait: wait, do: func(l *lives) error {
		l.change(l.f, func() { l.f.paused = false })
		_, err := l.mgr.ResumeRollout(context.Background(), victim)
		return err
	}}
}

// mxHosts has the DNS name these MX hosts from now on.
func mxHosts(hosts []string) deed {
	return deed{do: func(l *lives) error {
		l.change(l.f, func() { l.f.hosts = hosts })
		return nil
	}}
}

func acceptMX(wait time.Duration) deed {
	return deed{wait: wait, do: func(l *lives) error {
		_, err := l.mgr.AcceptMX(context.Background(), victim)
		return err
	}}
}

// edit changes the config, and has that loaded. The next life finds it
// in the config.
func edit(by func(f *fate), wait time.Duration) deed {
	return deed{wait: wait, do: func(l *lives) error {
		l.change(l.f, func() {
			by(l.f)
			l.f.conf.edited = time.Now()
			if l.f.inUse { // it goes on before the reload has an answer
				d := l.f.conf.domain(victim)
				l.f.live = &d
			}
		})
		return l.reload(Abandon{})
	}}
}

// leave takes the domain out of the config. To the next life it may be one that left
// while no server ran, and instead does what its status says then.
func leave(instead func(l *lives) error, wait time.Duration) deed {
	d := edit(func(f *fate) { f.inUse = false }, wait)
	d.again = func(l *lives) error {
		s, err := l.mgr.Rollout(context.Background(), victim)
		if err != nil || s.Goal == state.GoalRetire {
			return err
		}
		return instead(l)
	}
	return d
}

// retireLeft retires the domain by hand, and it returns to where it was if it comes
// back, but goes no further.
func retireLeft(l *lives) error {
	l.w.mu.Lock()
	if row, ok := l.w.db.rollouts[victim]; ok {
		at := placeOf(row)
		l.f.back = &at
	}
	l.w.mu.Unlock()
	_, err := l.mgr.Retire(context.Background(), victim)
	return err
}

// backAndLeave puts the domain back into the config, to take it out once more.
func backAndLeave(l *lives) error {
	if err := edit(func(f *fate) { f.inUse = true }, 0).do(l); err != nil {
		return err
	}
	return edit(func(f *fate) { f.inUse = false }, 0).do(l)
}

func comeBack(wait time.Duration) deed { return edit(func(f *fate) { f.inUse = true }, wait) }

// restart stops the process as it should be, and starts it.
func restart(wait time.Duration) deed {
	return deed{wait: wait, do: func(l *lives) error {
		l.down()
		l.start()
		return nil
	}}
}

// killStory is what happens to a domain. There is no kill in what comes before.
type killStory struct {
	name   string
	before []deed
	deeds  []deed
	way    string // that it takes, by the stages
	least  int    // calls
	steps  bool   // with steps to enforce, to which it matters for how long nobody runs
}

// killStories take the domain to every stage, by every order.
func killStories() []killStory {
	order := state.RolloutOrder{AcceptNoReports: true}
	hasty := state.RolloutOrder{AcceptNoReports: true, Now: true}
	aDay := ascend(order, 15*time.Hour) // to enforce for a day
	all := ascend(order, 33*time.Hour)  // to enforce in full
	full := ascend(hasty, time.Hour)
	rest := restart(3 * time.Hour)
	return []killStory{
		{
			name:  "to enforce",
			way:   "testing, enforce for a day, enforce for a week, enforce",
			steps: true, least: 90,
			deeds: []deed{aDay, restart(20 * time.Hour), rest},
		},
		{
			name:  "back to testing, and to enforce again",
			way:   "testing, enforce for a day, enforce for a week, enforce, testing, enforce for a day, enforce for a week, enforce",
			steps: true, before: []deed{full}, least: 80,
			deeds: []deed{rollBack(time.Hour), rest, all, rest},
		},
		{
			name:   "out of MTA-STS, and back",
			way:    "testing, enforce for a day, retiring, withdrawing, retired, gone",
			before: []deed{aDay}, least: 70,
			deeds: []deed{retire(4 * day), restart(4 * day), rest, rollBack(time.Hour), rest},
		},
		{
			name:   "out of MTA-STS, and back before it is",
			way:    "testing, enforce for a day, enforce for a week, enforce, retiring, testing",
			before: []deed{full}, least: 30,
			deeds: []deed{retire(time.Hour), rest, rollBack(time.Hour), rest},
		},
		{
			name:   "out of the config, and back",
			way:    "testing, enforce for a day, enforce for a week, enforce, retiring, testing, enforce",
			before: []deed{full}, least: 50,
			deeds: []deed{leave(retireLeft, time.Hour), rest, comeBack(time.Hour), rest},
		},
		{
			name:  "out of the config, and back on its way",
			way:   "testing, enforce for a day, retiring, testing, enforce for a day, enforce for a week, enforce",
			steps: true, before: []deed{aDay}, least: 70,
			deeds: []deed{leave(backAndLeave, time.Hour), comeBack(24 * time.Hour), rest},
		},
		{
			name:  "out of the config to the end, and back",
			way:   "retiring, withdrawing, gone",
			least: 60,
			deeds: []deed{leave(retireLeft, 8*day), rest, comeBack(time.Hour), rest},
		},
		{
			name:  "an MX host is accepted",
			way:   "testing, enforce for a day, enforce for a week, enforce",
			steps: true, least: 80,
			deeds: []deed{mxHosts(modelHosts[2]), acceptMX(time.Hour), all, edit(func(f *fate) { f.conf.mx = modelMX[2] }, time.Hour),
				mxHosts(modelHosts[4]), acceptMX(time.Hour), rest},
		},
		{
			name:  "paused",
			way:   "testing, enforce for a day, enforce for a week, enforce",
			steps: true, least: 80,
			deeds: []deed{ascend(order, 5*time.Hour), pause(9 * time.Hour), rest, resume(3 * time.Hour), pause(8 * time.Hour), resume(16 * time.Hour), rest},
		},
	}
}

// The process is killed before each of its calls in turn, while a domain is taken
// along its stages by the orders of a person, who gives again what was not answered.
// The next life goes on, and all ends as if nothing had happened.
func TestKilledAtEveryCall(t *testing.T) {
	for _, s := range killStories() {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			var whole *lives
			synctest.Test(t, func(t *testing.T) { whole = s.tell(newLives(t, 0, 0)) })
			if way := whole.way(); way != s.way || len(whole.w.broken) > 0 {
				t.Fatalf("without a kill it went %s, want %s; broken: %q", way, s.way, whole.w.broken)
			}
			for i, p := range whole.places {
				if p.trouble != "" {
					t.Fatalf("without a kill there is trouble after deed %d: %s", i+1, p.trouble)
				}
			}
			for kill, reached := 1, true; reached; kill++ {
				reached = s.killed(t, whole, kill, 0, time.Minute)
				if s.steps { // and again amid the start
					s.killed(t, whole, kill, kill%12+1, 2*promptness)
				}
				if !reached && kill < s.least {
					t.Fatalf("only %d calls were made, want %d: the kill point is not exercised", kill, s.least)
				}
			}
		})
	}
}

// killed lives through s, killed before the given call, and reports whether it came to
// that.
func (s killStory) killed(t *testing.T, whole *lives, kill, second int, outage time.Duration) bool {
	var l *lives
	synctest.Test(t, func(t *testing.T) {
		l = newLives(t, kill, outage)
		l.second = second
		s.tell(l)
		l.wantLike(whole)
	})
	for _, fault := range l.faults {
		t.Errorf("kill before call %d, nobody runs for %s: %s", kill, outage, fault)
	}
	return l.kills > 0
}

// tell has l live through s.
func (s killStory) tell(l *lives) *lives {
	defer l.model.down()
	if len(s.before) > 0 {
		l.start()
		l.wait(time.Now().Add(time.Hour))
		for _, d := range s.before {
			l.give(d)
			l.wait(time.Now().Add(d.wait))
		}
	}
	l.w.mu.Lock()
	if l.kill > 0 {
		l.w.kill = l.w.calls + l.kill
	}
	l.w.mu.Unlock()
	end := time.Now()
	if len(s.before) == 0 {
		l.give(deed{do: func(l *lives) error { l.start(); return nil }})
		end = end.Add(time.Hour)
		l.wait(end)
	}
	for _, d := range s.deeds {
		l.give(d)
		end = end.Add(d.wait)
		l.wait(end)
		l.places = append(l.places, l.standing())
	}
	return l
}
