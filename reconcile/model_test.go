package reconcile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
)

// model drives a reconciler through a random story: config edits, faults of
// the world, kills, time. modelWorld checks the promises at each call, check
// those of the moment, and heal those of the end:
//
//   - an id is pushed only while its body is served, and was fetched back since
//     it began to be: in this life, or as the journal says;
//   - a body that is served all the time has one id, and no id of before
//     another body was served comes back, unless the store was lost;
//   - foreign TXT records stay, and there is one MTA-STS record after a push;
//   - a lost store lowers no enforce that was announced;
//   - what is served goes on being served;
//   - no run of a domain overlaps another, nothing is done for a domain that
//     left the config, no certificate is asked for while one is valid;
//   - once the world is well again, every domain is confirmed within two
//     hours, and then nothing is pushed or ordered any more.
type model struct {
	w    *modelWorld
	p    *Reconciler // nil while the process is down
	stop func()
}

func TestModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		var failure any
		synctest.Test(t, func(*testing.T) {
			m := newModel()
			// A panic would end the process instead of the check: it has to
			// leave the bubble first.
			defer func() { failure = recover() }()
			defer m.down()
			m.begin(rt)
			rt.Repeat(map[string]func(*rapid.T){
				"":                m.check,
				"TimePasses":      m.timePasses,
				"EditDomain":      m.editDomain,
				"ChangeAndBack":   m.changeAndBack,
				"AddOrRemove":     m.addOrRemove,
				"RemoveAndAdd":    m.removeAndAdd,
				"Reload":          m.reload,
				"WakeBlocked":     m.wakeBlocked,
				"Kill":            m.kill,
				"Restart":         m.restart,
				"FaultBegins":     m.faultBegins,
				"FaultEnds":       m.faultEnds,
				"Tamper":          m.tamper,
				"LoseCertificate": m.loseCertificate,
				"LoseStore":       m.loseStore,
				"Heal":            m.heal,
			})
			m.heal(rt)
			m.check(rt)
		})
		switch {
		case failure == nil:
		case rt.Failed():
			panic(failure)
		default:
			panic(failure) // rapid's own; it tells them apart by their place
		}
	})
}

var (
	modelDomains = []string{"a.example", "b.example", "c.example"}
	modelMX      = [][]string{{"mx1.example"}, {"mx2.example"}, {"mx1.example", "*.mx.example"}}
	modelMaxAges = []time.Duration{24 * time.Hour, 7 * 24 * time.Hour, 10 * 24 * time.Hour}
	modelModes   = []mtasts.Mode{"", "", mtasts.ModeTesting, mtasts.ModeEnforce}

	pauses = []time.Duration{0, 150 * time.Millisecond, time.Second, 3 * time.Second, 20 * time.Second, 90 * time.Second,
		20 * time.Minute, 2 * time.Hour, 30 * time.Hour}
)

func newModel() *model {
	m := &model{w: newModelWorld()}
	for _, d := range modelDomains {
		m.w.fates[d] = &fate{wanted: want(d, modelMX[0]...), seen: map[string]bool{}, next: map[string]bool{}, foreign: []string{"somebody else's note"}}
		m.w.txt[mtasts.RecordName(d)] = []string{"somebody else's note"}
	}
	return m
}

// begin draws the world before the first start: which domains are wanted, and
// whether an earlier host holds a policy for them.
func (m *model) begin(t *rapid.T) {
	earlier := rapid.SampledFrom([]string{"", "", "testing", "enforce"}).Draw(t, "earlier host")
	m.elsewhere(mtasts.Mode(earlier))
	if earlier != "" {
		for _, d := range modelDomains {
			name := mtasts.RecordName(d)
			m.w.txt[name] = append(m.w.txt[name], "v=STSv1; id=1;")
		}
	}
	m.w.fates[modelDomains[0]].inUse = true
	m.w.fates[modelDomains[1]].inUse = rapid.Bool().Draw(t, "two domains")
	m.up(t)
}

// elsewhere has another host hold policies of the given mode.
func (m *model) elsewhere(mode mtasts.Mode) {
	clear(m.w.lab.elsewhere)
	for _, d := range modelDomains {
		if mode == "" {
			return
		}
		body, err := mtasts.Policy{Mode: mode, MX: []string{"mx1.example"}, MaxAge: 5 * 24 * time.Hour}.Render()
		if err != nil {
			panic(err)
		}
		m.w.lab.elsewhere[d] = string(body)
	}
}

// up starts the process, if it is down.
func (m *model) up(t *rapid.T) {
	if m.p != nil {
		return
	}
	w := m.w
	w.lab.mu.Lock()
	w.calls, w.kill, w.dead, w.served = 0, 0, false, map[string][]byte{}
	w.lab.mu.Unlock()
	r, err := New(context.Background(), Config{
		Journal: w, Certificates: modelCerts{w}, Publisher: w, World: w, DNS: w,
		Probe: func(string) (string, string) { return "/probe", "token" },
		HTTP:  true, Interval: time.Hour, Workers: 2, Event: w.event,
	})
	if err != nil {
		t.Fatal(err)
	}
	r.random = func(n int64) int64 { return n / 2 } // one draw, one story
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	m.p, m.stop = r, func() { cancel(); <-done }
	w.watch.Lock()
	w.wake = r.WakeHost
	w.watch.Unlock()
	m.reload(t)
	go func() {
		defer close(done)
		_ = r.Run(ctx)
	}()
}

// down ends the process, if it runs: with a clean stop unless it was killed.
func (m *model) down() {
	if m.p == nil {
		return
	}
	m.w.watch.Lock()
	m.w.wake = func(string) {}
	m.w.watch.Unlock()
	m.stop()
	m.p = nil
}

// bury notices that the process was killed.
func (m *model) bury() {
	if m.p != nil && m.w.isDead() {
		m.down()
	}
}

// reload gives the config to the process, changed or not.
func (m *model) reload(t *rapid.T) {
	m.bury()
	if m.p == nil {
		return
	}
	var all []Wanted
	for _, d := range modelDomains {
		if f := m.w.fates[d]; f.inUse {
			all = append(all, f.wanted)
		}
	}
	if _, err := m.p.SetDomains(context.Background(), all); err != nil {
		t.Fatal(err)
	}
}

func (m *model) pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
	m.bury()
}

func (m *model) timePasses(t *rapid.T) { m.pass(rapid.SampledFrom(pauses).Draw(t, "pause")) }

func (m *model) domain(t *rapid.T) (string, *fate) {
	d := rapid.SampledFrom(modelDomains).Draw(t, "domain")
	return d, m.w.fates[d]
}

func (m *model) editDomain(t *rapid.T) {
	_, f := m.domain(t)
	switch rapid.SampledFrom([]string{"mx", "mode", "max_age"}).Draw(t, "edit") {
	case "mx":
		f.wanted.MX = rapid.SampledFrom(modelMX).Draw(t, "mx")
	case "mode":
		f.wanted.Mode = rapid.SampledFrom(modelModes).Draw(t, "mode")
	case "max_age":
		f.wanted.MaxAge = rapid.SampledFrom(modelMaxAges).Draw(t, "max_age")
	}
	m.set(f, f.inUse)
	m.reload(t)
}

// changeAndBack edits the mx of a domain a few times, so that bodies return.
func (m *model) changeAndBack(t *rapid.T) {
	_, f := m.domain(t)
	old := f.wanted.MX
	pause := rapid.SampledFrom(pauses[:6]).Draw(t, "pause")
	for range rapid.IntRange(1, 3).Draw(t, "times") {
		for _, mx := range [][]string{rapid.SampledFrom(modelMX).Draw(t, "mx"), old} {
			f.wanted.MX = mx
			m.reload(t)
			m.pass(pause)
		}
	}
}

// set says whether the domain is in the config.
func (m *model) set(f *fate, inUse bool) {
	m.w.watch.Lock()
	defer m.w.watch.Unlock()
	if f.inUse && !inUse {
		f.removed = time.Now()
	}
	f.inUse = inUse
	if f.wanted.Mode != "" && inUse {
		f.guard = false // the operator has decided
	}
}

func (m *model) addOrRemove(t *rapid.T) {
	_, f := m.domain(t)
	m.set(f, !f.inUse)
	m.reload(t)
}

func (m *model) removeAndAdd(t *rapid.T) {
	_, f := m.domain(t)
	m.set(f, false)
	m.reload(t)
	m.pass(rapid.SampledFrom(pauses[:4]).Draw(t, "pause"))
	if rapid.Bool().Draw(t, "with another mx") {
		f.wanted.MX = rapid.SampledFrom(modelMX).Draw(t, "mx")
	}
	m.set(f, true)
	m.reload(t)
}

func (m *model) wakeBlocked(*rapid.T) {
	m.bury()
	if m.p != nil {
		m.p.WakeBlocked()
	}
}

// kill has the process die before one of its next calls.
func (m *model) kill(t *rapid.T) {
	n := rapid.IntRange(1, 20).Draw(t, "call")
	m.w.lab.mu.Lock()
	m.w.lab.kill = m.w.calls + n
	m.w.lab.mu.Unlock()
}

// restart starts the process again, after a clean stop if it was not killed.
func (m *model) restart(t *rapid.T) {
	m.bury()
	m.down()
	m.pass(rapid.SampledFrom(pauses).Draw(t, "down time"))
	m.up(t)
}

// fault is something that can be wrong with the world for a while.
type fault struct {
	name string
	set  func(w *modelWorld, on error)
}

var faults = []fault{
	{"the DNS provider is down", func(w *modelWorld, on error) { w.pushErr = on }},
	{"the DNS provider reports failure for what it did", func(w *modelWorld, on error) { w.lies = on != nil }},
	{"the DNS provider is a person", func(w *modelWorld, on error) { w.manual = on != nil }},
	{"one name server is silent", func(w *modelWorld, on error) { w.silent = on != nil }},
	{"the recursor fails", func(w *modelWorld, on error) { w.recordErr = on }},
	{"the policy host leads elsewhere", func(w *modelWorld, on error) {
		if w.leads = on == nil; w.leads {
			clear(w.elsewhere)
		}
	}},
	{"fetches fail", func(w *modelWorld, on error) { w.fetchErr = on }},
	{"the CA refuses", func(w *modelWorld, on error) { w.refuses = on != nil }},
	{"the store reports failure for what it did", func(w *modelWorld, on error) { w.unsure = on != nil }},
	{"the store refuses writes", func(w *modelWorld, on error) { w.journal = on }},
	{"calls take a second", func(w *modelWorld, on error) { w.slow(on, time.Second) }},
	{"calls take half a minute", func(w *modelWorld, on error) { w.slow(on, 30*time.Second) }},
}

func (w *modelWorld) slow(on error, d time.Duration) {
	w.delay = 0
	if on != nil {
		w.delay = d
	}
}

func (m *model) setFault(f fault, on bool) {
	m.w.watch.Lock()
	defer m.w.watch.Unlock()
	m.w.lab.mu.Lock()
	defer m.w.lab.mu.Unlock()
	var err error
	if on {
		err = errors.New(f.name)
	}
	f.set(m.w, err)
}

func drawFault(t *rapid.T) fault {
	i := rapid.IntRange(0, len(faults)-1).Draw(t, "fault")
	t.Log(faults[i].name)
	return faults[i]
}

func (m *model) faultBegins(t *rapid.T) {
	f := drawFault(t)
	m.setFault(f, true)
	if strings.HasSuffix(f.name, "elsewhere") {
		m.w.lab.mu.Lock()
		m.elsewhere(mtasts.Mode(rapid.SampledFrom([]string{"", "testing", "enforce"}).Draw(t, "policy there")))
		m.w.lab.mu.Unlock()
	}
	if rapid.Bool().Draw(t, "and lasts") {
		m.timePasses(t)
	}
}

func (m *model) faultEnds(t *rapid.T) { m.setFault(drawFault(t), false) }

// tamper changes the record behind our back, though not within seconds of
// several edits: the next id looks in DNS for what stamps there were.
func (m *model) tamper(t *rapid.T) {
	m.pass(10 * time.Second)
	d, f := m.domain(t)
	w := m.w
	w.watch.Lock()
	defer w.watch.Unlock()
	name := mtasts.RecordName(d)
	w.lab.mu.Lock()
	now := announcements(w.txt[name])
	w.lab.mu.Unlock()
	switch rapid.SampledFrom([]string{"remove", "change", "double", "break", "restore", "note"}).Draw(t, "tamper") {
	case "remove":
		now = nil
	case "change":
		now = []string{"v=STSv1; id=20200101T000000;"}
	case "double":
		now = append(now, "v=STSv1; id=2;")
	case "break":
		now = []string{"v=STSv1;"}
	case "restore": // as from an old backup of the zone
		ids := slices.Sorted(maps.Keys(f.seen))
		if f.lost {
			// One from before the store was lost looks as an older store does:
			// what it stands for is not known, and the domain asks.
			ids = f.ids
		}
		if len(ids) == 0 {
			return
		}
		now = []string{mtasts.Record{ID: ids[rapid.IntRange(0, len(ids)-1).Draw(t, "id")]}.String()}
	case "note":
		f.foreign = append(slices.Clone(f.foreign), fmt.Sprintf("note %d", len(f.foreign)))
	}
	w.lab.mu.Lock()
	w.txt[name] = slices.Concat(f.foreign, now)
	w.lab.mu.Unlock()
	w.look(d)
	f.guard = false
}

func (m *model) loseCertificate(t *rapid.T) {
	d, _ := m.domain(t)
	m.w.lab.mu.Lock()
	defer m.w.lab.mu.Unlock()
	host := mtasts.PolicyHost(d)
	switch rapid.SampledFrom([]string{"lost", "expired", "renewal lost"}).Draw(t, "how") {
	case "lost":
		delete(m.w.certs, host)
	case "expired":
		if !m.w.certs[host].IsZero() {
			m.w.certs[host] = time.Now()
		}
	case "renewal lost":
		m.w.left[host] = true
	}
}

// loseStore has the process start with an empty store.
func (m *model) loseStore(t *rapid.T) {
	m.bury()
	m.down()
	w := m.w
	w.watch.Lock()
	for d, f := range w.fates {
		if f.body == nil {
			continue
		}
		p, err := mtasts.ParsePolicy(f.body)
		if err != nil {
			t.Fatal(err)
		}
		f.guard = false
		w.lab.mu.Lock()
		for _, txt := range announcements(w.txt[mtasts.RecordName(d)]) {
			if rec, err := mtasts.ParseRecord(txt); err == nil && mtasts.Announces(rec.ID, f.body) && p.Mode == mtasts.ModeEnforce {
				f.guard = !f.inUse || f.wanted.Mode == ""
			}
		}
		w.lab.mu.Unlock()
		f.body, f.ids, f.proven, f.noted, f.lost = nil, nil, false, false, true
	}
	w.lab.mu.Lock()
	clear(w.rows)
	clear(w.ledger)
	clear(w.certs)
	clear(w.jobs)
	w.lab.mu.Unlock()
	w.watch.Unlock()
	if rapid.Bool().Draw(t, "and the config is edited") {
		m.editDomain(t)
	}
	if rapid.Bool().Draw(t, "and something is wrong") {
		m.setFault(drawFault(t), true)
	}
	m.up(t)
}

// heal ends all faults and expects what the package promises for then.
func (m *model) heal(t *rapid.T) {
	for _, f := range faults {
		m.setFault(f, false)
	}
	m.w.lab.mu.Lock()
	m.w.lab.kill = 0
	m.w.lab.mu.Unlock()
	m.bury()
	m.up(t)
	m.pass(2 * time.Hour)
	m.check(t)
	for _, d := range modelDomains {
		if m.w.fates[d].inUse {
			m.wantWell(t, d)
		}
	}
	pushes, orders := m.doings()
	m.pass(26 * time.Hour)
	m.check(t)
	if p, o := m.doings(); p != pushes || !maps.Equal(o, orders) {
		t.Fatalf("pushes or orders although nothing has changed")
	}
}

func (m *model) doings() (pushes int, orders map[string]int) {
	m.w.lab.mu.Lock()
	defer m.w.lab.mu.Unlock()
	return len(m.w.pushes), maps.Clone(m.w.orders)
}

// wantWell wants the domain confirmed, or waiting for the operator's word.
func (m *model) wantWell(t *rapid.T, domain string) {
	t.Helper()
	f := m.w.fates[domain]
	s, ok := m.p.Snapshot(domain)
	if !ok || s.Orphan {
		t.Fatalf("%s: in the config and not worked on", domain)
	}
	if f.lost && f.wanted.Mode == "" && strings.Contains(s.State.Remedy, `mode = "enforce"`) {
		return
	}
	if s.State.Step != state.Confirmed || s.State.LastError != "" {
		t.Fatalf("%s: %s (%s) two hours after all faults have ended", domain, s.State.Step, s.State.LastError)
	}
	if !s.Waits.IsZero() {
		t.Fatalf("%s: a change of the config still waits", domain)
	}
	if m.w.left[mtasts.PolicyHost(domain)] {
		t.Fatalf("%s: nobody looks after the renewal of its certificate", domain)
	}
	body := m.w.serving(domain)
	p, err := mtasts.ParsePolicy(body)
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(p.MX, f.wanted.MX) || f.wanted.Mode != "" && p.Mode != f.wanted.Mode ||
		p.MaxAge != f.wanted.MaxAge && (f.wanted.Mode != "" || p.MaxAge != s.State.MaxAge) {
		t.Fatalf("%s: confirmed with %+v, the config wants %+v", domain, p, f.wanted)
	}
	m.w.lab.mu.Lock()
	defer m.w.lab.mu.Unlock()
	rec, err := mtasts.FindRecord(m.w.txt[mtasts.RecordName(domain)])
	if err != nil || rec.ID != s.State.ID || !mtasts.Announces(rec.ID, body) {
		t.Fatalf("%s: confirmed, and DNS shows otherwise", domain)
	}
}

// check is about what must hold at any moment.
func (m *model) check(t *rapid.T) {
	synctest.Wait()
	m.bury()
	w := m.w
	w.watch.Lock()
	defer w.watch.Unlock()
	for _, b := range w.broken {
		what, detail, _ := strings.Cut(b, "\x00")
		t.Log(detail)
		t.Fatal(what)
	}
	w.lab.mu.Lock()
	defer w.lab.mu.Unlock()
	if len(w.lab.faults) > 0 {
		t.Log(w.lab.faults)
		t.Fatal("pushed an id of another body")
	}
	for _, d := range modelDomains {
		f := w.fates[d]
		if m.p != nil && !f.lost && !bytes.Equal(w.served[d], f.body) {
			t.Fatalf("%s: its body is not served any more", d)
		}
		txts := w.txt[mtasts.RecordName(d)]
		notes := slices.DeleteFunc(slices.Clone(txts), mtasts.IsRecord)
		if !slices.Equal(notes, f.foreign) {
			t.Fatalf("%s: foreign records were changed", d)
		}
	}
}
