package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stshost/stshost/internal/lab"
	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/server"
)

// Each gate that is closed refuses a rollout, alone and with a remedy, and nothing
// has changed. --now does not help. Once the fault is mended the same command goes.
func TestRolloutGates(t *testing.T) {
	t.Parallel()
	type breaker func(w *stagedWorld, h *mailHost, domain string) (mend func())
	cases := []struct {
		domain, gate, says string // says: in the value of the gate; of the policy's, why it is not announced
		breaks             breaker
	}{
		{"down.test", state.GatePolicy, "", func(w *stagedWorld, _ *mailHost, domain string) func() {
			return w.dnsDown(domain)
		}},
		{"heldback.test", state.GatePolicy, "", func(w *stagedWorld, _ *mailHost, domain string) func() {
			return w.lab.DNS.Fail(lab.DNSFault{Updates: true, Name: "_mta-sts." + domain, Ignore: true})
		}},
		{"uncovered.test", state.GateCovered, "mx1.mail.test", func(w *stagedWorld, h *mailHost, domain string) func() {
			own := w.lab.DNS.Records(domain, "MX")
			w.noError(w.lab.DNS.Add(domain, "MX", "20 mx1.mail.test."))
			return func() { w.noError(w.lab.DNS.Set(domain, "MX", own...)) }
		}},
		{"name.test", state.GateTLS, "mx.name.test", func(_ *stagedWorld, h *mailHost, _ string) func() {
			h.offer(time.Time{}, "mx.other.test")
			return func() { h.offer(time.Time{}, h.name) }
		}},
		{"starttls.test", state.GateTLS, "STARTTLS", func(_ *stagedWorld, h *mailHost, _ string) func() {
			h.offer(time.Time{})
			return func() { h.offer(time.Time{}, h.name) }
		}},
		{"expires.test", state.GateCertificates, "mx.expires.test", func(_ *stagedWorld, h *mailHost, _ string) func() {
			h.offer(time.Now().Add(10*oneDay), h.name)
			return func() { h.offer(time.Now().Add(15*oneDay), h.name) }
		}},
	}
	var domains []string
	for _, c := range cases {
		domains = append(domains, c.domain)
	}
	w := newStagedWorld(t, append(domains, "reports.test", "early.test")...)
	var mends []func()
	for i, c := range cases {
		mends = append(mends, c.breaks(w, w.mailHost(c.domain, 10+i), c.domain))
	}
	w.start()
	for _, c := range cases {
		if c.gate == state.GatePolicy {
			c.says = w.await(c.domain, "that its record cannot be announced", func(d server.DomainStatus) bool {
				return d.LastError != "" && d.Attempts > 0
			}).LastError
		} else {
			w.confirmed(c.domain)
		}
		if g := w.refusedBy(c.domain, c.gate, hasty()); !strings.Contains(g.Value, c.says) || g.State != state.GateUnmet {
			t.Errorf("%s: the gate says %+v", c.domain, g)
		}
	}
	for _, d := range []string{"reports.test", "early.test"} {
		w.confirmed(d)
	}
	if g := w.refusedBy("reports.test", state.GateReports, state.RolloutOrder{Now: true}); !strings.Contains(g.Remedy, "--accept-no-reports") {
		t.Errorf("without reports: %+v", g)
	}

	for _, mend := range mends {
		mend()
	}
	w.s.reload() // what was seen a moment ago counts no longer
	for _, d := range append(domains, "reports.test") {
		w.confirmed(d)
		w.begin(d, hasty())
	}
	for _, d := range append(domains, "reports.test") {
		w.full(d)
		w.sees(w.confirmed(d))
	}

	// That it is too early is no refusal: the time comes by itself.
	r := w.begin("early.test", state.RolloutOrder{AcceptNoReports: true})
	for _, g := range r.Gates {
		if early := g.Name == state.GateTime; early == g.Open() || early && !g.Awaited {
			t.Errorf("too early: %+v", g)
		}
	}
	due := r.Confirmed.Add(oneWeek)
	if r.Refused || r.Stage != state.StageTesting || r.Goal != state.GoalEnforce || !r.Next.Equal(due) || !strings.Contains(r.Awaits, "gate time") {
		t.Errorf("too early: %+v", r)
	}
	w.set(due)
	w.at("early.test", state.StageEnforce, oneDay)
	if news := w.news("early.test"); slices.Contains(kinds(news), state.KindRolloutHeld) {
		t.Errorf("waiting was told as an obstacle: %+v", news)
	}
}

// held wants that a gate holds the domain up to have been told n times, and returns
// what was told.
func (w *stagedWorld) held(domain string, n int) (all []string) {
	w.t.Helper()
	eventually(w.t, func() error {
		all = nil
		for _, e := range w.news(domain) {
			if e.Kind == state.KindRolloutHeld {
				all = append(all, fmt.Sprintf("%s %s: %s", e.Severity, e.Text, e.Remedy))
			}
		}
		if len(all) < n {
			return fmt.Errorf("told %d times: %q", len(all), all)
		}
		return nil
	})
	if len(all) > n {
		w.t.Errorf("told %d times, want %d: %q", len(all), n, all)
	}
	return all
}

// looksAt has the gates of a domain looked at by the server itself, without what
// was seen a moment ago, and waits until that is done.
func (w *stagedWorld) looksAt(domain string) state.RolloutStatus {
	w.t.Helper()
	w.s.forgetBadLooks()
	now := w.rolloutNow()
	w.s.rollouts.Wake(domain)
	return w.awaitRollout(domain, "a look", func(r state.RolloutStatus) bool { return r.Checked.After(now) })
}

// A gate that closes on the way holds the domain where it is, which is told once;
// once it is open the domain goes on by itself.
func TestGateClosesOnTheWay(t *testing.T) {
	t.Parallel()
	const domain = "way.test"
	w := newStagedWorld(t, domain)
	h := w.mailHost(domain, 10)
	w.start()
	first := w.confirmed(domain)
	r := w.begin(domain, state.RolloutOrder{AcceptNoReports: true})
	w.set(r.Confirmed.Add(oneWeek))
	r = w.at(domain, state.StageEnforce, oneDay)
	before := w.confirmedAnew(first)
	due := r.Confirmed.Add(2 * oneDay)
	w.awaitRollout(domain, "to wait for the time", func(r state.RolloutStatus) bool { return r.Next.Equal(due) })

	h.offer(time.Time{})
	w.s.forgetBadLooks()
	w.set(due)
	stuck := w.awaitRollout(domain, "to be held up", func(r state.RolloutStatus) bool { return r.Refused && r.Next.After(due) })
	if !strings.Contains(stuck.Awaits, "mx-tls") || stuck.Remedy == "" {
		t.Errorf("held up: %+v", stuck)
	}
	for range 3 {
		if r := w.looksAt(domain); r.Stage != state.StageEnforce || r.MaxAge != int64(oneDay/time.Second) {
			t.Errorf("held up, and now %+v", r)
		}
	}
	if held := w.held(domain, 1)[0]; !strings.HasPrefix(held, "warning ") || !strings.Contains(held, "STARTTLS") {
		t.Errorf("told was %q", held)
	}
	w.sees(before)
	if d := w.status(domain); d.ID != before.ID || !strings.Contains(d.RolloutNews, "mx-tls") || d.RolloutRemedy == "" {
		t.Errorf("the status is %+v", d)
	}

	// Another gate is told, too, and this one again if it closes again.
	h.offer(time.Now().Add(10*oneDay), h.name)
	w.looksAt(domain)
	h.offer(time.Time{})
	w.looksAt(domain)
	if held := w.held(domain, 3); !strings.Contains(held[1], "mx-certificates") || !strings.Contains(held[2], "mx-tls") {
		t.Errorf("told were %q", held)
	}

	h.offer(time.Time{}, h.name)
	w.s.forgetBadLooks()
	w.set(w.rollout(domain).Next) // it is looked at again by itself
	r = w.at(domain, state.StageEnforce, oneWeek)
	before = w.confirmedAnew(before)
	w.sees(before)
}

// A gate that closes, opens while there is nothing but time to wait for, and closes
// again is told twice. A restart looks anew and tells nothing anew.
func TestGateClosesTwice(t *testing.T) {
	t.Parallel()
	const domain = "twice.test"
	w := newStagedWorld(t, domain)
	h := w.mailHost(domain, 10)
	w.start()
	w.confirmed(domain)
	r := w.begin(domain, state.RolloutOrder{AcceptNoReports: true})
	refused := func(r state.RolloutStatus) bool { return r.Refused }
	h.offer(time.Time{})
	for range 2 {
		w.restart()
		w.awaitRollout(domain, "to be held up", refused)
	}
	w.held(domain, 1)
	h.offer(time.Time{}, h.name)
	w.restart()
	due := r.Confirmed.Add(oneWeek)
	w.awaitRollout(domain, "to wait for the time", func(r state.RolloutStatus) bool { return !r.Refused && r.Next.Equal(due) })
	h.offer(time.Time{})
	w.s.forgetBadLooks()
	w.set(due)
	w.awaitRollout(domain, "to be held up", refused)
	w.held(domain, 2)
}

// A stage that the DNS does not show is not confirmed: nothing is built on it, over a
// restart, too, and its time begins when it is seen everywhere.
func TestStageIsHeldBack(t *testing.T) {
	t.Parallel()
	const domain = "late.test"
	w := newStagedWorld(t, domain)
	w.start()
	first := w.confirmed(domain)
	r := w.begin(domain, state.RolloutOrder{AcceptNoReports: true})
	mend := w.lab.DNS.Fail(lab.DNSFault{Updates: true, Name: "_mta-sts." + domain, Ignore: true})
	w.set(r.Confirmed.Add(oneWeek))
	late := func() {
		t.Helper()
		d := w.await(domain, "a record that does not appear", func(d server.DomainStatus) bool { return d.Mode == "enforce" && d.LastError != "" })
		r := w.rollout(domain)
		if r.Stage != state.StageEnforce || r.MaxAge != int64(oneDay/time.Second) || !r.Confirmed.IsZero() {
			t.Errorf("while the DNS shows the old id: %+v", r)
		}
		if id, body, err := w.reader().Fetch(t.Context(), domain); err != nil || id != first.ID || body != d.Body {
			t.Errorf("a sender sees the id %s with %q, %v", id, body, err)
		}
	}
	late()
	w.restart()
	w.set(w.rolloutNow().Add(4 * oneWeek))
	late()

	mend()
	w.s.reload()
	r = w.at(domain, state.StageEnforce, oneDay)
	before := w.confirmedAnew(first)
	w.sees(before)
	due := r.Confirmed.Add(2 * oneDay)
	if w.rolloutNow().Sub(r.Confirmed) > time.Hour {
		t.Errorf("confirmed at %s, and it is %s", r.Confirmed, w.rolloutNow())
	}
	w.awaitRollout(domain, "to wait for the time", func(r state.RolloutStatus) bool { return r.Next.Equal(due) })

	// Somebody takes the record away. It is put back, and that is no step back.
	w.noError(w.lab.DNS.Remove("_mta-sts."+domain, "TXT"))
	w.s.reconciler.Wake(domain)
	w.event(state.KindRecordRepaired, 1)
	w.sees(before)
	w.set(due)
	w.at(domain, state.StageEnforce, oneWeek)
	w.sees(w.confirmedAnew(before))
}

// A gate that the operator waives is passed once, and the next step asks again.
func TestWaivedGate(t *testing.T) {
	t.Parallel()
	const domain, why = "waived.test", "the new certificate comes tomorrow"
	w := newStagedWorld(t, domain)
	w.mailHost(domain, 10).offer(time.Now().Add(10*oneDay), "mx."+domain)
	w.start()
	first := w.confirmed(domain)
	w.refusedBy(domain, state.GateCertificates, hasty())
	if _, err := w.client().StartRollout(t.Context(), domain, state.RolloutOrder{Waive: []state.Waiver{{Gate: state.GateCertificates}}}); err == nil {
		t.Error("a gate was waived without a reason")
	}
	o := hasty()
	o.Waive = []state.Waiver{{Gate: state.GateCertificates, Reason: why}}
	w.begin(domain, o)
	w.at(domain, state.StageEnforce, oneDay)
	w.sees(w.confirmedAnew(first))
	stuck := w.awaitRollout(domain, "to be held up", func(r state.RolloutStatus) bool { return r.Refused })
	if stuck.MaxAge != int64(oneDay/time.Second) || !strings.Contains(stuck.Awaits, state.GateCertificates) {
		t.Errorf("after the one step: %+v", stuck)
	}
	w.held(domain, 1)
	news := w.news(domain)
	if got := kinds(news); !slices.Equal(got, []string{state.KindRolloutStarted, state.KindRolloutStep, state.KindRolloutHeld}) {
		t.Fatalf("told were %q", got)
	}
	if e := news[0]; e.Evidence["waived."+state.GateCertificates] != why || !strings.Contains(e.Evidence["gate."+state.GateCertificates], why) {
		t.Errorf("the order: %+v", e)
	}
	if e := news[1]; !strings.Contains(e.Text, "waived ("+state.GateCertificates) || !strings.Contains(e.Evidence["gate."+state.GateCertificates], why) {
		t.Errorf("the step: %+v", e)
	}
	if e := news[2]; strings.Contains(e.Evidence["gate."+state.GateCertificates], why) {
		t.Errorf("held up: %+v", e)
	}
}
