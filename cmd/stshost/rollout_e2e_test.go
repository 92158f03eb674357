package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stshost/stshost/internal/dnstest"
	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
	"github.com/stshost/stshost/server"
)

// A domain goes from testing to enforce by the default stages: each is what a
// sender sees before the next begins, none begins a second early, and each costs
// one change of the zone.
func TestRollout(t *testing.T) {
	t.Parallel()
	w := newStagedWorld(t, example)
	knot := dnstest.StartKnot(t, example, "mail.test")
	zone := w.useRFC2136(knot)
	for i, mx := range w.domains[0].mx {
		knot.AddA(t, mx, w.lab.DNS.Records(mx, "A")[0])
		knot.AddRecord(t, fmt.Sprintf("%s. 60 IN MX %d %s.", example, i, mx))
	}
	changes := zone.changes()
	w.start()
	before := w.confirmed(example)
	w.sees(before)

	plan, err := w.client().PlanRollout(t.Context(), example, state.RolloutOrder{AcceptNoReports: true})
	if err != nil {
		t.Fatal(err)
	}
	var stages []string
	for _, s := range plan.Steps {
		stages = append(stages, fmt.Sprintf("%s %s %d", s.Stage, s.Mode, s.MaxAge))
	}
	want := []string{"testing testing 604800", "enforce enforce 86400", "enforce enforce 604800", "enforce enforce 2419200"}
	if !slices.Equal(stages, want) || w.rollout(example).Goal != state.GoalStay || len(w.news(example)) > 0 {
		t.Errorf("the plan is %q, want %q; then %+v", stages, want, w.rollout(example))
	}
	now := w.begin(example, state.RolloutOrder{AcceptNoReports: true})
	if now.Stage != state.StageTesting || now.Goal != state.GoalEnforce || now.Refused {
		t.Errorf("begun: %+v", now)
	}

	for i, next := range []struct{ stay, maxAge time.Duration }{{oneWeek, oneDay}, {2 * oneDay, oneWeek}, {oneWeek, 4 * oneWeek}} {
		due := now.Confirmed.Add(next.stay)
		if !plan.Steps[1].From.Equal(due) && i == 0 {
			t.Errorf("planned for %s, due at %s", plan.Steps[1].From, due)
		}
		w.stop(due.Add(-time.Second))
		early, err := w.client().PlanRollout(t.Context(), example, state.RolloutOrder{})
		if err != nil {
			t.Fatal(err)
		}
		for _, g := range early.Gates {
			if waits := g.Name == state.GateTime; waits == g.Open() || waits && (!g.Awaited || !g.At.Equal(due)) {
				t.Errorf("a second before %s: %+v", due, g)
			}
		}
		w.sees(before)
		stop := w.watchOrder(before)
		w.set(due)
		now = w.at(example, state.StageEnforce, next.maxAge)
		after := w.confirmedAnew(before)
		stop()
		w.sees(after)
		if now.Entered.Before(due) {
			t.Errorf("stage %d began at %s, before %s", i+1, now.Entered, due)
		}
		p := w.policyOf(after)
		if p.Mode != mtasts.ModeEnforce || p.MaxAge != next.maxAge || !slices.Equal(p.MX, w.domains[0].mx) {
			t.Errorf("stage %d has the policy %+v", i+1, p)
		}
		if n := zone.changes() - changes; n != i+2 {
			t.Errorf("the zone changed %d times until stage %d", n, i+1)
		}
		before = after
	}
	w.full(example)

	news := w.news(example)
	if got := kinds(news); !slices.Equal(got, []string{
		state.KindRolloutStarted, state.KindRolloutStep, state.KindRolloutStep, state.KindRolloutStep, state.KindRolloutDone,
	}) {
		t.Fatalf("told were %q", got)
	}
	for _, e := range news[:4] {
		w.gatesTold(e)
		if e.Severity != state.SeverityInfo || e.Text == "" {
			t.Errorf("event %+v", e)
		}
	}
	for i, to := range []string{"1 day", "1 week", "4 weeks"} {
		if e := news[1+i]; !strings.HasSuffix(e.Evidence["to"], to) || e.Evidence["mx"] != "mx1.mail.test mx2.mail.test" || !strings.HasPrefix(e.Evidence["gate.time"], "met: ") {
			t.Errorf("the step to %s: %+v", to, e)
		}
	}

	// Nothing is left to be done, and another command does nothing.
	if again := w.begin(example, state.RolloutOrder{}); again.Goal != state.GoalStay || len(w.news(example)) != len(news) {
		t.Errorf("once more: %+v", again)
	}
	w.set(now.Entered.Add(52 * oneWeek))
	w.sees(w.confirmed(example))
	if n := zone.changes() - changes; n != 4 {
		t.Errorf("the zone changed %d times for four ids", n)
	}
}

// gatesTold wants an event to say of every gate how it stood.
func (w *stagedWorld) gatesTold(e server.Event) {
	w.t.Helper()
	for _, gate := range state.Gates() {
		if !strings.Contains(e.Evidence["gate."+gate], "(wanted: ") {
			w.t.Errorf("%s says of the gate %s: %q", e.Kind, gate, e.Evidence["gate."+gate])
		}
	}
}

// --now waits for nothing but the probes: all stages pass at one moment of the
// clock, each confirmed before the next, and the MX hosts decide all the same.
func TestRolloutWithoutWaiting(t *testing.T) {
	t.Parallel()
	w := newStagedWorld(t, "good.test", "bad.test", "pinned.test")
	w.domains[2].lines = "mode = \"testing\"\n"
	w.mailHost("bad.test", 10).offer(time.Time{})
	w.start()
	w.confirmed("bad.test")
	first := w.confirmed("good.test")
	w.refusedBy("bad.test", state.GateTLS, hasty())

	began := w.rolloutNow()
	w.begin("good.test", hasty())
	done := w.full("good.test")
	w.sees(w.confirmedAnew(first))
	news := w.news("good.test")
	if got := kinds(news); !slices.Equal(got, []string{
		state.KindRolloutStarted, state.KindRolloutStep, state.KindRolloutStep, state.KindRolloutStep, state.KindRolloutDone,
	}) {
		t.Fatalf("told were %q", got)
	}
	for _, e := range news[1:4] {
		if !strings.HasPrefix(e.Evidence["gate.time"], "waived: ") || !strings.HasPrefix(e.Evidence["gate.policy"], "met: ") || !strings.HasPrefix(e.Evidence["gate.mx-tls"], "met: ") {
			t.Errorf("step %+v", e)
		}
	}
	if lasted := done.Entered.Sub(began); lasted > time.Hour {
		t.Errorf("it took %s", lasted)
	}
	if n := len(w.updates("good.test")); n != 4 {
		t.Errorf("%d updates of the DNS for four stages", n)
	}

	// Where the config has decided nothing here does.
	pinned := w.confirmed("pinned.test")
	for name, command := range map[string]func() error{
		"rollout":  func() error { _, err := w.client().StartRollout(t.Context(), "pinned.test", hasty()); return err },
		"rollback": func() error { _, err := w.client().Rollback(t.Context(), "pinned.test"); return err },
		"retire":   func() error { _, err := w.client().Retire(t.Context(), "pinned.test"); return err },
	} {
		var by *state.PinnedError
		if err := command(); !errors.As(err, &by) || by.Mode != mtasts.ModeTesting || !strings.HasPrefix(by.Source, w.config()+":") {
			t.Errorf("%s of a domain that is pinned: %v", name, err)
		}
	}
	w.sees(pinned)
}
