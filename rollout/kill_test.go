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

func mxHosts(hosts []string, wait time.Duration) deed {
	return deed{wait: wait, do: func(l *lives) error {
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

// edit changes the world or the config, and has that loaded. The next life finds it
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

func backAndLeave(l *lives) error {
	if err := edit(func(f *fate) { f.inUse = true }, 0).do(l); err != nil {
		return err
	}
	return edit(func(f *fate) { f.inUse = false }, 0).do(l)
}

func comeBack(wait time.Duration) deed { return edit(func(f *fate) { f.inUse = true }, wait) }

// restart stops the process as it should be, and starts it.
func restart(wait time.Duration) deed {
	return deed{
		wait: wait,
		do: func(l *lives) error {
			l.down()
			l.start()
			return nil
		},
	}
}

// killStory is what happens to a domain. There is no kill in what comes before.
type killStory struct {
	name   string
	before []deed
	deeds  []deed
	least  int // calls
}

var (
	order    = state.RolloutOrder{AcceptNoReports: true}
	at, full = ascend(order, 15*time.Hour), ascend(state.RolloutOrder{AcceptNoReports: true, Now: true}, day)
)

var killStories = []killStory{
	{
		name: "to enforce", before: nil, least: 60,
		deeds: []deed{ascend(order, 15*time.Hour), restart(2 * day), restart(day)},
	},
	{
		name: "back to testing and to enforce again", before: []deed{full}, least: 60,
		deeds: []deed{rollBack(time.Hour), restart(time.Hour), ascend(order, 2*day), restart(day)},
	},
	{
		name: "out of MTA-STS and back", before: []deed{full}, least: 40,
		deeds: []deed{retire(10 * day), restart(20 * day), restart(day), rollBack(day), restart(day)},
	},
	{
		name: "out of MTA-STS and back before it is", before: []deed{full}, least: 20,
		deeds: []deed{retire(10 * day), rollBack(day), restart(day)},
	},
	{
		name: "out of the config and back", before: []deed{full}, least: 40,
		deeds: []deed{leave(retireLeft, 3*day), restart(day), comeBack(day), restart(day)},
	},
	{
		name: "out of the config and back while it is on its way", before: []deed{at}, least: 40,
		deeds: []deed{leave(backAndLeave, day), comeBack(2 * day), restart(day)},
	},
	{
		name: "out of the config to the end, and back", least: 40,
		deeds: []deed{leave(retireLeft, 9*day), restart(day), comeBack(day), restart(day)},
	},
	{
		name: "an MX host is accepted", least: 60,
		deeds: []deed{mxHosts(modelHosts[2], 0), acceptMX(time.Hour), ascend(order, 2*day), edit(func(f *fate) { f.conf.mx = modelMX[2] }, day),
			mxHosts(modelHosts[4], 0), acceptMX(day), restart(day)},
	},
	{
		name: "paused", before: nil, least: 40,
		deeds: []deed{ascend(order, 5*time.Hour), pause(day), restart(3 * time.Hour), resume(3 * time.Hour), pause(day), resume(2 * day), restart(day)},
	},
}

// The process is killed before each of its calls in turn, while a domain is taken
// along its stages by the orders of a person, who gives again what was not answered.
// The next life goes on, and all ends as if nothing had happened.
func TestKilledAtEveryCall(t *testing.T) {
	for _, s := range killStories {
		t.Run(s.name, func(t *testing.T) {
			t.Parallel()
			var whole *lives
			synctest.Test(t, func(t *testing.T) { whole = s.tell(newLives(t, 0, 0)) })
			for kill, reached := 1, true; reached; kill++ {
				for _, outage := range []time.Duration{time.Minute, 2 * promptness} {
					var l *lives
					synctest.Test(t, func(t *testing.T) {
						l = s.tell(newLives(t, kill, outage))
						l.wantLike(whole)
					})
					for _, fault := range l.faults {
						t.Errorf("kill before call %d, nobody runs for %s: %s", kill, outage, fault)
					}
					reached = l.kills > 0
				}
				if !reached && kill < s.least {
					t.Fatalf("only %d calls were made, want %d: the kill point is not exercised", kill, s.least)
				}
			}
		})
	}
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
