package rollout

import (
	"errors"
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
	"github.com/stshost/stshost/reconcile"
)

// modelConf is the [[domain]] of a domain.
type modelConf struct {
	mx         []string
	maxAge     time.Duration // 0: not set
	ramp, stay []time.Duration
	reporters  int
	pin        mtasts.Mode // "": managed
	migrate    bool
	edited     time.Time
}

const (
	day  = 24 * time.Hour
	week = 7 * day
)

func usualConf() modelConf {
	return modelConf{mx: []string{"mx1.example"}, ramp: []time.Duration{day, week}, stay: []time.Duration{week, 2 * day, week}, reporters: 2}
}

// domain is what cmd/stshost makes of it.
func (c modelConf) domain(name string) Domain {
	d := Domain{
		Wanted:    reconcile.Wanted{Domain: name, MX: c.mx, MaxAge: week, Mode: c.pin, Target: modelTarget(name)},
		MaxAge:    4 * week,
		Reporters: c.reporters, Migrate: c.migrate,
	}
	if c.pin != "" {
		d.Wanted.Source = "config.toml:7"
	}
	if c.maxAge != 0 {
		d.Wanted.MaxAge, d.MaxAge = c.maxAge, c.maxAge
	}
	used, _ := slices.BinarySearch(c.ramp, d.MaxAge)
	d.Ramp, d.Stay = c.ramp[:used], c.stay[:used+1]
	return d
}

func modelTarget(name string) state.Target {
	return state.Target{Account: "main", Name: mtasts.RecordName(name), TTL: 5 * time.Minute}
}

var (
	modelMX    = [][]string{{"mx1.example"}, {"mx2.example"}, {"mx1.example", "mx2.example"}, {"mx1.example", "*.mx.example"}}
	modelHosts = [][]string{{"mx1.example"}, {"mx2.example"}, {"mx1.example", "mx2.example"}, {"mx1.example", "in.mx.example"}, {"mx1.example", "mx2.example", "mx3.example"}}
	modelRamps = []struct{ ramp, stay []time.Duration }{
		{[]time.Duration{day, week}, []time.Duration{week, 2 * day, week}},
		{[]time.Duration{day}, []time.Duration{day, 0}},
		{nil, []time.Duration{week}},
		{[]time.Duration{time.Hour, 2 * day, 3 * week}, []time.Duration{0, time.Hour, day, 3 * week}},
	}
	modelPauses = []time.Duration{time.Second, 30 * time.Second, 5 * time.Minute, 45 * time.Minute, 5 * time.Hour, 30 * time.Hour, 3 * day}
)

func (m *model) timePasses(t *rapid.T) { m.pass(rapid.SampledFrom(modelPauses).Draw(t, "pause")) }

func (m *model) weeksPass(t *rapid.T) {
	m.pass(time.Duration(rapid.IntRange(1, 5).Draw(t, "weeks")) * week)
}

func (m *model) domain(t *rapid.T) (string, *fate) {
	d := rapid.SampledFrom(modelDomains).Draw(t, "domain")
	return d, m.w.fates[d]
}

// change changes what the model knows of a domain.
func (m *model) change(f *fate, by func()) {
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	by()
	f.changed = time.Now()
}

// load reloads the config, and goes on until the process has taken it: as an
// operator does who is told that it failed.
func (m *model) load(t *rapid.T, abandon Abandon) {
	if err := m.reload(abandon); err != nil && !m.troubled() {
		t.Fatalf("a reload failed: %v", err)
	}
}

// troubled reports whether the store or the process may fail a call.
func (m *model) troubled() bool {
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	return m.w.dead || m.w.storeErr != nil || m.w.unsure || m.w.slow > 0 || m.w.strained
}

func (m *model) editConfig(t *rapid.T) {
	_, f := m.domain(t)
	c := f.conf
	switch rapid.SampledFrom([]string{"mx", "mx", "max_age", "ramp", "reporters", "pin", "unpin", "migrate"}).Draw(t, "edit") {
	case "mx":
		c.mx = rapid.SampledFrom(modelMX).Draw(t, "mx")
	case "max_age":
		c.maxAge = rapid.SampledFrom([]time.Duration{0, day, week, 6 * week}).Draw(t, "max_age")
	case "ramp":
		r := rapid.SampledFrom(modelRamps).Draw(t, "ramp")
		c.ramp, c.stay = r.ramp, r.stay
	case "reporters":
		c.reporters = rapid.IntRange(0, 2).Draw(t, "reporters")
	case "pin":
		c.pin = rapid.SampledFrom([]mtasts.Mode{mtasts.ModeTesting, mtasts.ModeEnforce, mtasts.ModeNone}).Draw(t, "mode")
	case "unpin":
		c.pin = ""
	case "migrate":
		c.migrate = !c.migrate
	}
	m.change(f, func() {
		f.conf = c
		f.conf.edited = time.Now()
		if c.pin != "" && f.inUse {
			f.guard, f.back = false, nil // the operator has decided
			f.forgetOrders()
		}
	})
	m.load(t, Abandon{})
}

// put takes a domain into the config, or out of it.
func (m *model) put(f *fate, inUse bool) {
	m.change(f, func() {
		f.inUse = inUse
		f.conf.edited = time.Now()
		f.guard = f.guard && inUse // the operator has decided
		if inUse {
			f.abandoned = false
		}
	})
}

func (m *model) addOrRemove(t *rapid.T) {
	d, f := m.domain(t)
	var abandon Abandon
	if f.inUse {
		switch rapid.SampledFrom([]string{"", "", "", "all", "by name"}).Draw(t, "abandon") {
		case "all":
			abandon.All = true
		case "by name":
			abandon.Domains = []string{d}
		}
	}
	m.put(f, !f.inUse)
	m.bury()
	switch {
	case m.mgr == nil: // nobody is there to take the order
	case abandon.All: // and one whose removal no reload has taken over yet
		for _, name := range modelDomains {
			if left := m.w.fates[name]; name == d || !left.inUse && left.live != nil {
				m.abandon(name, left)
			}
		}
	case abandon.Domains != nil:
		m.abandon(d, f)
	}
	m.load(t, abandon)
}

// abandon has the rules expect nothing more of a domain that is given up.
func (m *model) abandon(d string, f *fate) {
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	m.w.fetched(d)
	f.abandoned, f.asks = true, true
	for _, c := range f.held {
		c.lost = true
	}
	f.sure = false // and the rest once it is done
}

func (m *model) removeAndAdd(t *rapid.T) {
	_, f := m.domain(t)
	m.put(f, false)
	m.load(t, Abandon{})
	m.pass(rapid.SampledFrom(modelPauses[:5]).Draw(t, "pause"))
	m.put(f, true)
	m.load(t, Abandon{})
}

func (m *model) reloadAgain(t *rapid.T) {
	m.load(t, Abandon{})
	if m.mgr != nil {
		m.rec.WakeBlocked()
		m.mgr.WakeAll()
	}
}

// out is when a domain has left: if it returns, it begins anew.
func (f *fate) out() {
	f.forgetOrders()
	f.back = nil
}

// forgetOrders ends the orders about a climb.
func (f *fate) forgetOrders() {
	f.climbs, f.sure, f.paused, f.hasty, f.noReports, f.evidence, f.waived = false, false, false, false, false, nil, map[string]bool{}
}

// known wants an error of a command to be one that tells the operator what to do.
func (m *model) known(t *rapid.T, err error) {
	var refused *state.RefusedError
	var pinned *state.PinnedError
	var stage *state.StageError
	m.w.mu.Lock()
	unseen := m.w.resolver != nil
	m.w.mu.Unlock()
	switch {
	case err == nil, errors.As(err, &refused), errors.As(err, &pinned), errors.As(err, &stage), errors.Is(err, state.ErrNotFound), m.troubled(), unseen:
	default:
		t.Fatalf("a command failed: %v", err)
	}
}
