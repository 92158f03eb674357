package rollout

import (
	"context"
	"maps"
	"slices"
	"strings"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
)

func synctestWait() { synctest.Wait() }

func drawFault(t *rapid.T) modelFault {
	i := rapid.IntRange(0, len(modelFaults)-1).Draw(t, "fault")
	t.Log(modelFaults[i].name)
	return modelFaults[i]
}

func (m *model) fault(f modelFault, on bool) {
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	m.w.setFault(f, on)
	m.w.strained = m.w.strained || on
}

func (m *model) faultBegins(t *rapid.T) {
	m.fault(drawFault(t), true)
	if rapid.Bool().Draw(t, "and lasts") {
		m.timePasses(t)
	}
}

func (m *model) faultEnds(t *rapid.T) { m.fault(drawFault(t), false) }

func (m *model) faultsEnd(*rapid.T) {
	for _, f := range modelFaults {
		m.fault(f, false)
	}
	m.pass(time.Minute)
	m.w.mu.Lock()
	m.w.strained = false
	m.w.mu.Unlock()
}

// personActs has the person who enters records by hand do what is asked for.
func (m *model) personActs(*rapid.T) {
	m.bury()
	if m.mgr == nil {
		return
	}
	for _, d := range modelDomains {
		s, ok := m.rec.Snapshot(d)
		if !ok || s.Orphan || !strings.Contains(s.State.LastError, state.ErrManual.Error()) {
			continue
		}
		m.w.mu.Lock()
		switch {
		case s.Wanted.Withdraw:
			m.w.withdrawn(d)
			m.w.setRecords(d)
		case s.State.ID != "":
			m.w.fetched(d)
			m.w.setRecords(d, mtasts.Record{ID: s.State.ID}.String())
		}
		m.w.mu.Unlock()
	}
}

func (m *model) expire(t *rapid.T) {
	d, f := m.domain(t)
	m.w.mu.Lock()
	m.w.fetched(d)
	m.w.mu.Unlock()
	m.w.expire(d)
	m.change(f, func() {})
}

// kill has the process die before one of its next calls.
func (m *model) kill(t *rapid.T) {
	n := rapid.IntRange(1, 30).Draw(t, "call")
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	m.w.kill = m.w.calls + n
	m.w.strained = true
}

// restart starts the process again, after a clean stop if it was not killed.
func (m *model) restart(t *rapid.T) {
	m.bury()
	m.down()
	m.pass(rapid.SampledFrom(modelPauses).Draw(t, "down time"))
	if rapid.SampledFrom([]bool{false, false, true}).Draw(t, "and the config is edited") {
		_, f := m.domain(t)
		if rapid.Bool().Draw(t, "mx") {
			mx := rapid.SampledFrom(modelMX).Draw(t, "mx")
			m.change(f, func() { f.conf.mx, f.conf.edited = mx, time.Now() })
		} else {
			m.put(f, !f.inUse)
		}
	}
	m.up(t)
}

// guarded reports whether the record of a domain announces an enforce policy, and db
// knows of nothing that was served or ordered after it. The caller holds w.mu.
func (w *modelWorld) guarded(domain string, db *database) bool {
	f := w.fates[domain]
	rec, err := mtasts.FindRecord(w.txt[mtasts.RecordName(domain)])
	if err != nil || !f.inUse || f.conf.pin != "" {
		return false
	}
	made, _ := mtasts.IDTime(rec.ID)
	if row := db.rows[domain]; row.BodySHA256 != "" && row.Since.After(made) {
		return false // it was lowered, and not announced yet
	}
	if r, known := db.rollouts[domain]; known && r.Stage != state.StageEnforce && r.Entered.After(made) {
		return false // its operator had ordered it down, and nothing came of it yet
	}
	p, err := mtasts.ParsePolicy([]byte(f.ids[rec.ID]))
	return err == nil && p.Mode == mtasts.ModeEnforce
}

// replaceStore has the process start with another store. What was ordered and
// learnt since is not in it.
func (m *model) replaceStore(t *rapid.T, db *database, older bool) {
	m.bury()
	m.down()
	w := m.w
	w.mu.Lock()
	for d, f := range w.fates {
		f.guard = w.guarded(d, db)
		f.lost, f.asks, f.restored = true, true, f.restored || older
		for _, c := range f.held {
			c.lost = true
		}
		f.stepping, f.stepWaived = false, nil
		if !older {
			f.shown, f.back = time.Time{}, nil
			f.forgetOrders()
		}
	}
	w.db = db
	w.mu.Unlock()
	m.up(t)
}

func (m *model) loseStore(t *rapid.T) { m.replaceStore(t, newDatabase(), false) }

func (m *model) backUp(*rapid.T) {
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	m.backup = m.w.db.clone()
	m.backup.orders = map[string]fate{}
	for d, f := range m.w.fates {
		c := *f
		c.waived = maps.Clone(f.waived)
		m.backup.orders[d] = c
	}
}

// restore puts the backup in the place of the store. The orders are those of then.
func (m *model) restore(t *rapid.T) {
	if m.backup == nil {
		t.Skip("there is no backup")
	}
	m.bury()
	m.down()
	db := m.backup.clone()
	m.w.mu.Lock()
	for d, f := range m.w.fates {
		b := m.backup.orders[d]
		f.climbs, f.paused, f.hasty, f.noReports, f.evidence, f.waived = b.climbs, b.paused, b.hasty, b.noReports, b.evidence, maps.Clone(b.waived)
		f.shown, f.back, f.sure = b.shown, b.back, false
	}
	m.w.mu.Unlock()
	m.replaceStore(t, db, true)
}

// heal ends all that is wrong, and expects what the rules promise for then.
func (m *model) heal(t *rapid.T) {
	m.faultsEnd(t)
	m.w.mu.Lock()
	m.w.kill = 0
	for _, f := range m.w.fates {
		f.wellMX()
		f.changed = time.Now()
	}
	m.w.mu.Unlock()
	m.bury()
	m.up(t)
	m.load(t, Abandon{})
	m.pass(3 * time.Hour)
	m.faultsEnd(t) // the process that began amid a kill has come to rest
	m.check(t)
	for range 10 {
		m.pass(week)
		m.check(t)
	}
	for _, d := range modelDomains {
		m.wantWell(t, d)
	}
	before := m.doings()
	m.pass(40 * time.Hour)
	m.check(t)
	if after := m.doings(); !slices.Equal(before, after) {
		t.Fatalf("pushes, orders or events although nothing has changed: %v, then %v", before, after)
	}
}

func (m *model) doings() []int {
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	return []int{m.w.pushes, m.w.orders, len(m.w.db.events)}
}

// wantWell wants the domain where it was ordered to, or held for a reason that its
// status shows with a remedy.
func (m *model) wantWell(t *rapid.T, d string) {
	f := m.w.fates[d]
	s, known := m.rec.Snapshot(d)
	r, err := m.mgr.Rollout(context.Background(), d)
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	row, has := m.w.db.rollouts[d]
	if f.asks && strings.Contains(s.State.LastError, " announces") && s.State.Remedy != "" {
		return // it waits for the operator's word
	}
	if !f.inUse {
		if has && (row.Left || row.Goal == state.GoalRetire) {
			t.Fatalf("%s left the config 10 weeks ago and is not out: %+v (%s: %s)", d, row, s.State.Step, s.State.LastError)
		}
		return
	}
	if err != nil {
		t.Fatalf("%s: %v", d, err)
	}
	if r.Stage == state.StageRetired {
		if known || m.w.served[d] != nil {
			t.Fatalf("%s is retired, and something is served", d)
		}
		return
	}
	switch {
	case !known || s.Orphan:
		t.Fatalf("%s: in the config and not worked on (%+v)", d, r)
	case s.State.Step != state.Confirmed || s.State.LastError != "" || !s.Waits.IsZero():
		t.Fatalf("%s: %s (%s) although all is well", d, s.State.Step, s.State.LastError)
	case r.Goal == state.GoalRetire:
		t.Fatalf("%s was to be retired and is not (%+v)", d, r)
	case r.Goal == state.GoalEnforce && !r.Paused && (!r.Refused || r.Remedy == "" || r.Awaits == ""):
		t.Fatalf("%s was to be taken to enforce, and is neither there nor held (%+v)", d, r)
	case f.sure && !f.lost && !r.Full && r.Goal != state.GoalEnforce && f.conf.pin == "":
		t.Fatalf("%s was ordered to enforce, and is not on the way (%+v)", d, r)
	}
	rec, err := mtasts.FindRecord(m.w.txt[mtasts.RecordName(d)])
	p, ok := m.w.policyOf(d)
	if err != nil || !ok || !mtasts.Announces(rec.ID, m.w.served[d]) {
		t.Fatalf("%s: confirmed, and DNS shows otherwise", d)
	}
	want := f.live.policy(placeOf(row))
	if f.conf.pin != "" {
		want.Mode, want.MaxAge = f.conf.pin, f.live.Wanted.MaxAge
	}
	if f.unsure {
		return // the process does not know what the store has
	}
	if (has || f.conf.pin != "") && (p.Mode != want.Mode || want.MaxAge != 0 && p.MaxAge != want.MaxAge) {
		t.Logf("%+v %+v %+v", row, r, s)
		t.Fatalf("%s: serves %+v, and should %+v", d, p, want)
	}
	for _, name := range p.MX {
		if !slices.Contains(f.conf.mx, name) && !slices.Contains(row.MX, name) {
			t.Fatalf("%s: the policy still names %s, which nobody wants: %v", d, name, p.MX)
		}
	}
}
