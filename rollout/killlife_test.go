package rollout

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
	"github.com/stshost/stshost/reconcile"
)

// victim is the domain of the stories, in the world of the model.
const victim = "a.example"

// lives are those of a process that is killed, and of the ones after it on the same
// store.
type lives struct {
	*model
	t       *testing.T
	f       *fate
	kill    int           // the call before which it is killed; 0: it is not
	second  int           // the call of the next life before which that is killed too; 0: it is not
	outage  time.Duration // between a kill and the next start
	away    time.Duration // how long nobody ran
	kills   int
	died    chan struct{} // has something soon after a kill
	history []change
	told    []string // what the reconciler told
	places  []standing
	faults  []string
}

// change is one of the rollout, as the store took it.
type change struct {
	at     time.Time
	row    *state.Rollout // nil: it was removed
	events []state.Event
}

func newLives(t *testing.T, kill int, outage time.Duration) *lives {
	l := &lives{model: newModel(), t: t, kill: kill, outage: outage, died: make(chan struct{}, 1)}
	l.f = l.w.fates[victim]
	l.f.inUse = true
	l.f.conf.stay = []time.Duration{12 * time.Hour, 6 * time.Hour, 12 * time.Hour}
	return l
}

// noting is the store, with a note of what it took. The process can be killed when a
// write is done, too, and nobody was told.
type noting struct {
	*modelWorld
	l *lives
}

func (n noting) SaveRollout(ctx context.Context, r state.Rollout, events ...state.Event) error {
	if err := n.modelWorld.SaveRollout(ctx, r, events...); err != nil {
		return err
	}
	return n.note(change{time.Now(), &r, events})
}

func (n noting) RemoveRollout(ctx context.Context, domain string, events ...state.Event) error {
	if err := n.modelWorld.RemoveRollout(ctx, domain, events...); err != nil {
		return err
	}
	return n.note(change{time.Now(), nil, events})
}

func (n noting) note(c change) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.l.history = append(n.l.history, c)
	return n.step()
}

// dead reports whether the process was killed.
func (l *lives) dead() bool {
	l.w.mu.Lock()
	defer l.w.mu.Unlock()
	return l.w.dead
}

// now is the clock of the process. Whatever ends, by a kill too, is followed by a
// look at it.
func (l *lives) now() time.Time {
	if l.dead() {
		select {
		case l.died <- struct{}{}:
		default:
		}
	}
	return l.w.now()
}

// tell takes what the reconciler tells of a domain's way. A process that was killed
// tells nothing.
func (l *lives) tell(e state.Event) {
	switch e.Kind {
	case state.KindDomainAdded, state.KindDomainChanged, state.KindDomainLeft:
		return // of the config, and so of each life
	}
	l.w.mu.Lock()
	defer l.w.mu.Unlock()
	if !l.w.dead {
		l.told = append(l.told, strings.Join([]string{e.Kind, e.Evidence["step"], fmt.Sprintf("%.4s", e.Evidence["sha256"])}, " "))
	}
}

// start begins a life, and reports whether it outlived that.
func (l *lives) start() bool {
	w := l.w
	w.mu.Lock()
	w.dead, w.served = false, map[string][]byte{}
	l.f.live = nil
	for host := range w.db.jobs {
		modelCerts{w}.attempt(host, w.db, caTakes)
	}
	w.mu.Unlock()
	select {
	case <-l.died:
	default:
	}
	var mgr *Manager
	wake := w.event(func(name string) { mgr.Wake(name) })
	rec, err := reconcile.New(context.Background(), reconcile.Config{
		Journal: w, Certificates: modelCerts{w}, Publisher: w, World: w, DNS: w,
		Probe: func(string) (string, string) { return "/probe", "token" },
		HTTP:  true, Interval: 5 * day, Workers: 2, Now: l.now,
		Event:   func(e state.Event) { l.tell(e); wake(e) },
		Adopted: func(ctx context.Context, name string, p mtasts.Policy) error { return mgr.Adopted(ctx, name, p) },
	})
	if err != nil {
		return l.stillborn(err)
	}
	steady(rec)
	mgr, err = New(context.Background(), Config{
		Store: noting{w, l}, Reconciler: rec, Prober: w, Reports: w.sums, Served: w.servedPolicy, Workers: 2, Now: l.now,
		Place: func(name string) (state.Target, error) { return modelTarget(name), nil },
	})
	if err != nil {
		return l.stillborn(err)
	}
	l.mgr, l.rec = mgr, rec
	if err := l.reload(Abandon{}); err != nil {
		l.mgr = nil
		return l.stillborn(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	recDone, mgrDone := make(chan struct{}), make(chan struct{})
	l.stop = func() { cancel(); <-recDone; <-mgrDone }
	w.mu.Lock()
	w.wake, w.halt = rec.WakeHost, cancel
	w.mu.Unlock()
	go func() { defer close(recDone); _ = rec.Run(ctx) }()
	go func() { defer close(mgrDone); _ = mgr.Run(ctx) }()
	return true
}

// stillborn is for a life that ended with err before it had begun.
func (l *lives) stillborn(err error) bool {
	if !l.dead() {
		l.t.Fatalf("kill before call %d: a start failed: %v", l.kill, err)
	}
	return false
}

// revive begins the next life, if the process was killed.
func (l *lives) revive() bool {
	if !l.dead() {
		return false
	}
	for alive := false; !alive; alive = l.start() {
		l.kills++
		l.down()
		if l.kills == 1 && l.second > 0 {
			l.w.mu.Lock()
			l.w.kill = l.w.calls + l.second
			l.w.mu.Unlock()
		}
		l.away += l.outage
		time.Sleep(l.outage)
	}
	return true
}

// wait has the time pass, over whatever kills come. The life at the end of it has come
// to rest.
func (l *lives) wait(until time.Time) {
	for {
		select {
		case <-l.died:
		case <-time.After(time.Until(until)):
			synctest.Wait()
			if !l.dead() {
				return
			}
		}
		if l.revive() && time.Until(until) < toRest {
			until = time.Now().Add(toRest)
		}
	}
}

const (
	// toRest is in what time a life comes to rest after its start.
	toRest = 10 * time.Minute
	// toAnswer is after what time a person gives an order again.
	toAnswer = time.Minute
)

// give has a person give an order, and give it again if a kill came before the answer.
func (l *lives) give(d deed) {
	err := d.do(l)
	for do := d.do; l.revive(); {
		if err == nil {
			continue
		}
		l.wait(time.Now().Add(toAnswer))
		if d.again != nil {
			do = d.again
		}
		err = do(l)
	}
	if err != nil {
		l.t.Fatalf("kill before call %d: an order failed: %v", l.kill, err)
	}
	if d.done != nil {
		l.w.mu.Lock()
		d.done(l.f)
		l.w.mu.Unlock()
	}
}
