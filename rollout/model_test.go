package rollout

import (
	"bytes"
	"context"
	"flag"
	"reflect"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"
	"unsafe"

	"pgregory.net/rapid"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
	"github.com/stshost/stshost/reconcile"
)

// model drives rollouts, on the real reconciler, through a random story: orders,
// edits of the config, MX hosts that come, go and fail, reports, faults of the
// world, kills, lost and restored stores, weeks that pass. modelWorld holds each
// call against the rules (modelrules_test.go, modelsteps_test.go), check those of
// the moment, and heal those of the end:
//
//   - no step to enforce, nor to a longer max_age in enforce, while an MX host is
//     uncovered or fails, or nobody can tell, unless exactly that gate was waived
//     for this step; none that nobody ordered, none while it is paused, none that
//     leaves a stage out; each stage lasts for its minimum but with --now, or on the
//     return of a domain that left the config;
//   - a record names a body that is served when it is pushed, and no id names two;
//   - neither service nor record goes while a sender may hold a policy that says
//     more than none (RFC 8461 §8.3), nor an MX name while one may hold an enforce
//     policy that lacks a name of the new one;
//   - no sender that gets through is refused after a change that we made by
//     ourselves;
//   - each change of a stage is told in the same transaction, and none is told that
//     did not happen;
//   - a lost or an older store lowers no enforce that was announced;
//   - once the world is well, every domain comes to where it was ordered to, or is
//     held for a reason that its status shows with a remedy, and nothing is pushed
//     any more.
type model struct {
	w      *modelWorld
	mgr    *Manager // nil while the process is down
	rec    *reconcile.Reconciler
	stop   func()
	backup *database
}

// modelSteps counts the steps of all stories.
var modelSteps atomic.Int64

func TestModel(t *testing.T) {
	// Every day a few stories are told, always the same: they have some 200 steps each.
	// -rapid.checks=1000 is a campaign, of new ones.
	if f := flag.Lookup("rapid.checks"); f.Value.String() == f.DefValue {
		for name, value := range map[string]string{"rapid.checks": "20", "rapid.seed": "1"} {
			f := flag.Lookup(name)
			old := f.Value.String()
			if err := f.Value.Set(value); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = f.Value.Set(old) })
		}
	}
	begin := modelSteps.Load()
	defer func() { t.Logf("%d steps", modelSteps.Load()-begin) }()
	rapid.Check(t, func(rt *rapid.T) {
		var failure any
		synctest.Test(t, func(*testing.T) {
			m := newModel()
			// A panic would end the process instead of the check: it has to
			// leave the bubble first.
			defer func() { failure = recover() }()
			defer m.down()
			m.begin(rt)
			rt.Repeat(m.actions())
			m.heal(rt)
		})
		switch { // rapid tells failures apart by the place of the panic
		case failure == nil:
		case rt.Failed():
			panic(failure)
		default:
			panic(failure)
		}
	})
}

var modelDomains = []string{"a.example", "b.example"}

// actions are what can happen. Some are there twice, to happen more often.
func (m *model) actions() map[string]func(*rapid.T) {
	return map[string]func(*rapid.T){
		"":              m.check,
		"TimePasses":    m.timePasses,
		"WeeksPass":     m.weeksPass,
		"EditConfig":    m.editConfig,
		"AddOrRemove":   m.addOrRemove,
		"RemoveAndAdd":  m.removeAndAdd,
		"Reload":        m.reloadAgain,
		"Rollout":       m.rollout,
		"RolloutAgain":  m.rollout,
		"Ascend":        m.ascend,
		"Pause":         m.pause,
		"Rollback":      m.rollback,
		"Retire":        m.retire,
		"AcceptMX":      m.acceptMX,
		"Ask":           m.ask,
		"MXChange":      m.mxChange,
		"MXHostIll":     m.mxHostIll,
		"MXIsWell":      m.mxIsWell,
		"ReportsCome":   m.reportsCome,
		"WatchLooks":    m.watchLooks,
		"SendersLook":   m.sendersLook,
		"FaultBegins":   m.faultBegins,
		"FaultEnds":     m.faultEnds,
		"FaultsEnd":     m.faultsEnd,
		"PersonActs":    m.personActs,
		"Expire":        m.expire,
		"Kill":          m.kill,
		"Restart":       m.restart,
		"LoseStore":     m.loseStore,
		"Backup":        m.backUp,
		"RestoreBackup": m.restore,
	}
}

func newModel() *model {
	m := &model{w: &modelWorld{db: newDatabase(), served: map[string][]byte{}, txt: map[string][]string{}, fates: map[string]*fate{}, wake: func(string) {}}}
	for _, d := range modelDomains {
		m.w.fates[d] = &fate{conf: usualConf(), hosts: []string{"mx1.example"}, ill: map[string]string{}, waived: map[string]bool{},
			ids: map[string]string{}, some: make([]*fetch, 3), validated: true}
		m.w.txt[mtasts.RecordName(d)] = []string{"somebody else's note"}
	}
	return m
}

func (m *model) begin(t *rapid.T) {
	m.w.fates[modelDomains[0]].inUse = true
	m.w.fates[modelDomains[1]].inUse = rapid.Bool().Draw(t, "two domains")
	m.up(t)
	m.pass(time.Minute)
}

// up starts the process, if it is down.
func (m *model) up(t *rapid.T) {
	if m.mgr != nil {
		return
	}
	w := m.w
	w.mu.Lock()
	w.calls, w.kill, w.dead, w.served = 0, 0, false, map[string][]byte{}
	for _, f := range w.fates {
		f.live, f.unsure = nil, false
	}
	for host := range w.db.jobs {
		modelCerts{w}.attempt(host, w.db, caTakes)
	}
	w.mu.Unlock()
	var mgr *Manager
	rec, err := reconcile.New(context.Background(), reconcile.Config{
		Journal: w, Certificates: modelCerts{w}, Publisher: w, World: w, DNS: w,
		Probe: func(string) (string, string) { return "/probe", "token" },
		HTTP:  true, Interval: 12 * time.Hour, Workers: 2,
		Event:   w.event(func(name string) { mgr.Wake(name) }),
		Adopted: func(ctx context.Context, name string, p mtasts.Policy) error { return mgr.Adopted(ctx, name, p) },
	})
	switch {
	case err != nil && m.troubled():
		return // the start fails, and is tried again later
	case err != nil:
		t.Fatal(err)
	}
	steady(rec)
	mgr, err = New(context.Background(), Config{
		Store: w, Reconciler: rec, Prober: w, Reports: w.sums, Served: w.servedPolicy, Workers: 2, Now: w.now,
		Place: func(name string) (state.Target, error) { return modelTarget(name), nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	recDone, mgrDone := make(chan struct{}), make(chan struct{})
	m.mgr, m.rec = mgr, rec
	m.stop = func() { cancel(); <-recDone; <-mgrDone }
	w.mu.Lock()
	w.wake, w.halt = rec.WakeHost, cancel
	w.mu.Unlock()
	if err := m.reload(Abandon{}); err != nil {
		m.mgr = nil // the start fails, and is tried again later
		cancel()
		return
	}
	go func() { defer close(recDone); _ = rec.Run(ctx) }()
	go func() { defer close(mgrDone); _ = mgr.Run(ctx) }()
}

// steady takes the chance out of the reconciler: one draw, one story.
func steady(r *reconcile.Reconciler) {
	f := reflect.ValueOf(r).Elem().FieldByName("random")
	reflect.NewAt(f.Type(), unsafe.Pointer(f.UnsafeAddr())).Elem().Set(reflect.ValueOf(func(n int64) int64 { return n / 2 }))
}

// down ends the process, if it runs: with a clean stop unless it was killed.
func (m *model) down() {
	if m.mgr == nil {
		return
	}
	m.w.mu.Lock()
	m.w.wake = func(string) {}
	m.w.lastFetches()
	m.w.mu.Unlock()
	m.stop()
	m.mgr = nil
	m.w.mu.Lock()
	m.w.dead = true // nobody serves
	m.w.mu.Unlock()
}

// bury notices that the process was killed.
func (m *model) bury() {
	m.w.mu.Lock()
	dead := m.w.dead
	m.w.mu.Unlock()
	if m.mgr != nil && dead {
		m.down()
	}
}

// reload gives the config to the process.
func (m *model) reload(abandon Abandon) error {
	m.bury()
	if m.mgr == nil {
		return nil
	}
	var all []Domain
	for _, d := range modelDomains {
		if f := m.w.fates[d]; f.inUse {
			all = append(all, f.conf.domain(d))
		}
	}
	// The first step of one that returns may come before SetDomains does.
	var returning []*fate
	m.w.mu.Lock()
	for i := range all {
		if f := m.w.fates[all[i].Wanted.Domain]; f.live == nil {
			f.live, returning = &all[i], append(returning, f)
		}
	}
	m.w.mu.Unlock()
	_, err := m.mgr.SetDomains(context.Background(), all, abandon)
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	if err != nil {
		for _, f := range returning {
			f.live = nil
		}
		return err
	}
	for d, f := range m.w.fates {
		f.live = nil
		if _, left := m.w.db.rollouts[d]; !f.inUse && !left {
			f.out()
		}
	}
	for i := range all {
		m.w.fates[all[i].Wanted.Domain].live = &all[i]
	}
	return nil
}

func (m *model) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
	m.bury()
}

// check is about what must hold at any moment.
func (m *model) check(t *rapid.T) {
	modelSteps.Add(1)
	synctest.Wait()
	m.bury()
	w := m.w
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, b := range w.broken {
		what, detail, _ := strings.Cut(b, "\x00")
		t.Log(detail)
		t.Fatal(what)
	}
	for _, d := range modelDomains {
		f := w.fates[d]
		w.fetched(d)
		// What senders may hold goes on being served, or at least something.
		if m.mgr != nil && !f.abandoned && w.served[d] == nil && f.holds(saysMore) {
			t.Fatalf("%s: nothing is served although senders may hold its policy", d)
		}
		if notes := slices.DeleteFunc(slices.Clone(w.txt[mtasts.RecordName(d)]), mtasts.IsRecord); len(notes) != 1 {
			t.Fatalf("%s: foreign records were changed", d)
		}
		// No sender keeps an old body under the id of the new (A→B→A).
		rec, err := mtasts.FindRecord(w.txt[mtasts.RecordName(d)])
		row := w.db.rows[d]
		if err != nil || f.lost || row.Step != state.Confirmed || rec.ID != row.ID || !mtasts.Announces(rec.ID, w.served[d]) {
			continue
		}
		for _, c := range f.some {
			if c != nil && c.id == rec.ID && c.until.After(time.Now()) && !bytes.Equal(c.body, w.served[d]) {
				t.Fatalf("%s: a sender holds another body under the id that is announced", d)
			}
		}
	}
}
