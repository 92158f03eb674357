package rollout

import (
	"context"
	"errors"
	"slices"
	"time"

	"pgregory.net/rapid"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
)

// command has the operator give an order, if there is a process to give it to. It
// reports whether the order may be in force: it is not if nothing has changed by
// the error.
func (m *model) command(t *rapid.T, do func(ctx context.Context) error) (given bool) {
	m.bury()
	if m.mgr == nil {
		return false
	}
	err := do(context.Background())
	m.known(t, err)
	var refused *state.RefusedError
	var pinned *state.PinnedError
	var stage *state.StageError
	return !errors.As(err, &refused) && !errors.As(err, &pinned) && !errors.As(err, &stage) && !errors.Is(err, state.ErrNotFound)
}

func (m *model) rollout(t *rapid.T) {
	d, _ := m.domain(t)
	o := state.RolloutOrder{
		Now:             rapid.SampledFrom([]bool{false, false, true}).Draw(t, "now"),
		AcceptNoReports: rapid.Bool().Draw(t, "accept no reports"),
	}
	for _, gate := range rapid.SliceOfNDistinct(rapid.SampledFrom(state.Gates()), 0, 6, rapid.ID).Draw(t, "force") {
		o.Waive = append(o.Waive, state.Waiver{Gate: gate, Reason: "said so"})
	}
	if rapid.Bool().Draw(t, "with evidence") {
		o.Evidence = m.w.report(d, rapid.SampledFrom([]time.Duration{0, 5 * time.Hour, 30 * time.Hour, -5 * time.Hour}).Draw(t, "of"))
	}
	m.order(t, d, o)
}

// ascend is an order as most operators give it, for domains to come far, and a week
// or more.
func (m *model) ascend(t *rapid.T) {
	d, f := m.domain(t)
	if rapid.Bool().Draw(t, "all is well") {
		m.change(f, func() { f.wellMX() })
	}
	m.order(t, d, state.RolloutOrder{AcceptNoReports: true, Now: rapid.Bool().Draw(t, "now")})
	m.pass(rapid.SampledFrom([]time.Duration{time.Hour, 3 * day, 2 * week}).Draw(t, "pause"))
}

func (m *model) order(t *rapid.T, d string, o state.RolloutOrder) {
	w, f := m.w, m.w.fates[d]
	// What is ordered may hold from the moment that it is given.
	w.mu.Lock()
	before := *f
	if !f.climbs {
		f.hasty, f.noReports, f.evidence, f.waived = false, false, nil, map[string]bool{}
	}
	f.climbs, f.paused = true, false
	f.hasty, f.noReports = f.hasty || o.Now, f.noReports || o.AcceptNoReports
	waived := map[string]bool{}
	for gate := range f.waived {
		waived[gate] = true
	}
	for _, x := range o.Waive {
		waived[x.Gate] = true
	}
	f.waived = waived
	if o.Evidence != nil {
		if e, err := evidenceOf(*o.Evidence, d, time.Now()); err == nil {
			f.evidence = e
		}
	}
	w.mu.Unlock()
	sure := false
	given := m.command(t, func(ctx context.Context) error {
		_, err := m.mgr.StartRollout(ctx, d, o)
		sure = err == nil
		return err
	})
	w.mu.Lock()
	defer w.mu.Unlock()
	f.sure = sure || f.sure && !given
	if !given { // nothing has changed, so what was in force before is
		f.climbs, f.paused, f.hasty, f.noReports, f.evidence, f.waived = before.climbs, before.paused, before.hasty, before.noReports, before.evidence, before.waived
	} else {
		f.guard = f.guard && w.guarded(d, w.db)
	}
}

func (m *model) pause(t *rapid.T) {
	d, f := m.domain(t)
	if rapid.Bool().Draw(t, "resume") {
		was := f.paused
		m.w.mu.Lock()
		f.paused = false
		m.w.mu.Unlock()
		if !m.command(t, func(ctx context.Context) error { _, err := m.mgr.ResumeRollout(ctx, d); return err }) {
			m.w.mu.Lock()
			f.paused = was
			m.w.mu.Unlock()
		}
		return
	}
	var err error
	given := m.command(t, func(ctx context.Context) error { _, err = m.mgr.PauseRollout(ctx, d); return err })
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	f.paused = f.paused || given && err == nil
}

func (m *model) rollback(t *rapid.T) {
	d, f := m.domain(t)
	m.lower(t, f, func(ctx context.Context) error { _, err := m.mgr.Rollback(ctx, d); return err })
}

func (m *model) retire(t *rapid.T) {
	d, f := m.domain(t)
	m.lower(t, f, func(ctx context.Context) error { _, err := m.mgr.Retire(ctx, d); return err })
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	if r := m.w.db.rollouts[d]; r.Left && r.Back != nil { // it left, and may still return
		f.back = &place{r.Back.Stage, r.Back.MaxAge}
	}
}

// lower gives an order that ends all others.
func (m *model) lower(t *rapid.T, f *fate, do func(ctx context.Context) error) {
	var err error
	guard := f.guard
	m.w.mu.Lock()
	f.guard = false
	m.w.mu.Unlock()
	given := m.command(t, func(ctx context.Context) error { err = do(ctx); return err })
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	if !given {
		f.guard = guard
	}
	if given && err == nil {
		f.forgetOrders()
		f.back = nil
	}
}

func (m *model) acceptMX(t *rapid.T) {
	d, f := m.domain(t)
	m.command(t, func(ctx context.Context) error {
		change, err := m.mgr.AcceptMX(ctx, d)
		if err == nil && change.Text == "" {
			t.Fatal("nothing is said of what was done")
		}
		return err
	})
	m.change(f, func() { f.conf.edited = time.Now() })
}

// ask asks all that can be asked, and wants sensible answers.
func (m *model) ask(t *rapid.T) {
	d, f := m.domain(t)
	m.command(t, func(ctx context.Context) error { _, err := m.mgr.Rollouts(ctx); return err })
	m.command(t, func(ctx context.Context) error {
		s, err := m.mgr.Rollout(ctx, d)
		if err == nil && s.Refused && (s.Awaits == "" || s.Remedy == "") {
			t.Fatalf("%s is held up, and its status does not say why or what to do: %+v", d, s)
		}
		return err
	})
	m.command(t, func(ctx context.Context) error {
		_, err := m.mgr.PlanRollout(ctx, d, state.RolloutOrder{AcceptNoReports: true})
		return err
	})
	m.command(t, func(ctx context.Context) error {
		h, err := m.mgr.Horizon(ctx, d, "")
		if err == nil && !h.Open && h.Until.IsZero() && f.holds(saysMore) {
			t.Fatalf("%s can go now by its horizon, and senders may hold its policy", d)
		}
		for _, c := range f.held {
			if err == nil && !h.Open && !c.lost && saysMore(c.policy) && c.until.After(h.Until.Add(time.Minute)) && c.until.After(time.Now()) {
				t.Fatalf("%s: senders hold a policy until %v, the horizon is %v", d, c.until, h.Until)
			}
		}
		return err
	})
	mx := rapid.SampledFrom([]string{"mx1.example", "mx2.example", "in.mx.example"}).Draw(t, "mx")
	m.command(t, func(ctx context.Context) error {
		h, err := m.mgr.Horizon(ctx, d, mx)
		m.w.mu.Lock()
		defer m.w.mu.Unlock()
		if err != nil || h.Open {
			return err
		}
		// Without that host every policy that is held lets a sender through
		// wherever it comes.
		left := slices.DeleteFunc(slices.Clone(f.hosts), func(host string) bool { return host == mx })
		for _, c := range f.held {
			if c.lost || c.policy.Mode != mtasts.ModeEnforce || !c.until.After(time.Now()) || !c.until.After(h.Until.Add(time.Minute)) {
				continue
			}
			for _, host := range left {
				if !c.policy.Covers(host) {
					t.Fatalf("%s: %s may go from %v on, and a sender that refuses %s holds its policy until %v", d, mx, h.Until, host, c.until)
				}
			}
		}
		return nil
	})
}

func (f *fate) wellMX() {
	clear(f.ill)
	f.hosts = nil
	for _, name := range f.conf.mx {
		if name == "*.mx.example" {
			name = "in.mx.example"
		}
		f.hosts = append(f.hosts, name)
	}
}

func (m *model) mxIsWell(t *rapid.T) {
	_, f := m.domain(t)
	m.change(f, f.wellMX)
}

func (m *model) mxChange(t *rapid.T) {
	_, f := m.domain(t)
	m.change(f, func() {
		f.hosts = rapid.SampledFrom(modelHosts).Draw(t, "hosts")
		f.validated = rapid.Bool().Draw(t, "validated")
	})
}

func (m *model) mxHostIll(t *rapid.T) {
	_, f := m.domain(t)
	m.change(f, func() {
		host := rapid.SampledFrom(f.hosts).Draw(t, "host")
		f.ill[host] = rapid.SampledFrom([]string{"fails", "expires", ""}).Draw(t, "what")
	})
}

func (m *model) reportsCome(t *rapid.T) {
	_, f := m.domain(t)
	m.change(f, func() {
		for range rapid.IntRange(1, 3).Draw(t, "reports") {
			f.reports = append(f.reports, modelReport{
				at: time.Now(), who: rapid.SampledFrom([]string{"google", "microsoft", "comcast"}).Draw(t, "who"),
				failed: rapid.SampledFrom([]int64{0, 0, 0, 0, 0, 7}).Draw(t, "failed"),
			})
		}
	})
}

// watchLooks has the watch over the MX hosts look, and tell of drift.
func (m *model) watchLooks(t *rapid.T) {
	d, _ := m.domain(t)
	m.bury()
	if m.mgr == nil {
		return
	}
	m.w.mu.Lock()
	p, ok := m.w.policyOf(d)
	seen := m.w.look(d, p.MX, m.w.closed)
	m.w.fates[d].conf.edited = time.Now()
	m.w.mu.Unlock()
	if ok {
		m.mgr.Drift(d, seen)
	}
	synctestWait()
}

func (m *model) sendersLook(t *rapid.T) {
	d, f := m.domain(t)
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	m.w.sendersLook(d, rapid.IntRange(0, len(f.some)-1).Draw(t, "sender"))
}
