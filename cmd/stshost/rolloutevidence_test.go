package main

import (
	"context"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stshost/stshost/check"
	"github.com/stshost/stshost/internal/state"
)

// elsewhere examines the domain as `stshost check --json` does on another machine,
// from which the host can be reached at ip.
func (h *mailHost) elsewhere(s *running, domain, ip string) state.Report {
	h.w.t.Helper()
	c, err := looking(s.config().Net)
	if err != nil {
		h.w.t.Fatal(err)
	}
	c.Dial = func(ctx context.Context, network, addr string) (net.Conn, error) {
		if host, port, err := net.SplitHostPort(addr); err == nil && host == unreachable {
			addr = net.JoinHostPort(ip, port)
		}
		return new(net.Dialer).DialContext(ctx, network, addr)
	}
	report, err := check.New(c).Examine(h.w.t.Context(), domain)
	if err != nil {
		h.w.t.Fatal(err)
	}
	return report
}

// Where this machine may not connect to port 25 it is not known how the MX hosts
// are, and a look that was made elsewhere counts: if it is fresh, and about this
// domain and the policy that it serves.
func TestEvidenceFromElsewhere(t *testing.T) {
	t.Parallel()
	const domain, other = "closed.test", "other.test"
	w := newStagedWorld(t, domain, other)
	h, o := w.mailHost(domain, 10), w.mailHost(other, 11)
	h.leadTo(unreachable)
	w.start()
	first := w.confirmed(domain)
	w.confirmed(other)

	_, err := w.client().StartRollout(t.Context(), domain, hasty())
	refused, ok := err.(*state.RefusedError)
	if !ok {
		t.Fatalf("without evidence: %v", err)
	}
	for _, g := range refused.Status.Gates {
		blind := g.Name == state.GateTLS || g.Name == state.GateCertificates
		if want := map[bool]state.GateState{true: state.GateUnknown, false: state.GateMet}[blind]; g.State != want && (blind || !g.Open()) {
			t.Errorf("from here: %+v", g)
		}
		if blind && (!strings.Contains(g.Remedy, "--evidence") || g.Value == "") {
			t.Errorf("from here: %+v", g)
		}
	}

	seen := h.elsewhere(w.s, domain, "127.0.0.10")
	if seen.Verdict != state.VerdictTest || !slices.Equal(seen.MX, []string{h.name}) {
		t.Fatalf("elsewhere: %s, %s", seen.Verdict, seen.Summary)
	}
	with := func(r state.Report) state.RolloutOrder {
		o := hasty()
		o.Evidence = &r
		return o
	}
	for name, c := range map[string]struct {
		report state.Report
		says   string
	}{
		"stale":             {func() state.Report { r := seen; r.Time = w.rolloutNow().Add(-oneDay - time.Second); return r }(), "more than a day ago"},
		"of tomorrow":       {func() state.Report { r := seen; r.Time = w.rolloutNow().Add(oneDay); return r }(), "in the future"},
		"of another domain": {o.elsewhere(w.s, other, "127.0.0.11"), "about " + other},
		"of another policy": {func() state.Report { r := seen; r.MX = []string{"mx.other.test"}; return r }(), "mx-tls is unknown"},
		"blind as well":     {h.elsewhere(w.s, domain, unreachable), "no MX host could be looked at there either"},
		"without a policy":  {func() state.Report { r := seen; r.MX = nil; return r }(), "policy could not be read"},
	} {
		if _, err := w.client().StartRollout(t.Context(), domain, with(c.report)); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("evidence %s: %v, want %q", name, err, c.says)
		}
	}
	if r := w.rollout(domain); r.Goal != state.GoalStay || len(w.news(domain)) > 0 {
		t.Errorf("after all refusals: %+v", r)
	}

	// What fails there counts as what fails here.
	h.offer(time.Time{})
	w.refusedBy(domain, state.GateTLS, with(h.elsewhere(w.s, domain, "127.0.0.10")))
	h.offer(time.Time{}, h.name)

	o2 := state.RolloutOrder{AcceptNoReports: true, Evidence: &seen}
	r := w.begin(domain, o2)
	due := r.Confirmed.Add(oneWeek)
	if !r.Next.Equal(due) {
		t.Errorf("with evidence: %+v", r)
	}

	// It does not count for longer than a day, however the wait was begun.
	w.set(due)
	stuck := w.awaitRollout(domain, "to be held up", func(r state.RolloutStatus) bool { return r.Refused })
	if !strings.Contains(stuck.Awaits, "mx-tls is unknown") || !strings.Contains(stuck.Remedy, "--evidence") {
		t.Errorf("with old evidence: %+v", stuck)
	}
	seen = h.elsewhere(w.s, domain, "127.0.0.10")
	seen.Time = w.rolloutNow() // which is weeks ahead of that machine's clock
	w.begin(domain, state.RolloutOrder{Evidence: &seen})
	w.at(domain, state.StageEnforce, oneDay)
	w.sees(w.confirmedAnew(first))
	news := w.news(domain)
	if e := news[len(news)-1]; e.Kind != state.KindRolloutStep || !strings.Contains(e.Evidence["gate.mx-tls"], "met: seen elsewhere at") {
		t.Errorf("the last event is %+v", e)
	}
}
