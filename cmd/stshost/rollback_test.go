package main

import (
	"context"
	"net/http"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
)

// A domain falls back to testing while many fetch its policy without pause. No
// request fails, nobody sees the new id with the old policy or the old policy once
// the new one was seen, and after the confirmation testing is all that there is.
func TestRollbackUnderLoad(t *testing.T) {
	t.Parallel()
	const clients, readers = 50, 2
	w := newStagedWorld(t, example)
	w.start()
	before := w.enforced(example)
	w.sees(before)

	ctx, end := context.WithCancel(t.Context())
	defer end()
	var wg sync.WaitGroup
	var fetches atomic.Int64
	begun := make(chan struct{}, clients)
	url := "https://" + before.Host + mtasts.PolicyPath
	visitors, seen := make([]*visitor, clients), make([]string, clients)
	for i := range visitors {
		visitors[i] = w.visitor("", []string{"h2", "http/1.1"}[i%2])
		wg.Go(func() {
			last := before.Body
			for n := 0; ctx.Err() == nil; n++ {
				resp, body, err := visitors[i].fetch(t.Context(), http.MethodGet, url)
				if n == 0 {
					begun <- struct{}{}
				}
				if err != nil || resp.StatusCode != http.StatusOK {
					t.Errorf("a client was not served: %v", err)
					return
				}
				if body != last && last != before.Body {
					t.Errorf("a client got this after the new policy: %q", body)
					return
				}
				last = body
				fetches.Add(1)
			}
			seen[i] = last
		})
	}
	for range clients {
		<-begun
	}
	var stops []func()
	for range readers {
		stops = append(stops, w.watchOrder(before))
	}
	began := fetches.Load()
	r, err := w.client().Rollback(t.Context(), example)
	if err != nil {
		t.Fatal(err)
	}
	if r.Stage != state.StageTesting || r.Goal != state.GoalStay || r.Mode != "testing" {
		t.Errorf("the answer is %+v", r)
	}
	after := w.confirmedAnew(before)
	for _, stop := range stops {
		stop()
	}
	end()
	wg.Wait()
	t.Logf("%d fetches until the confirmation", fetches.Load()-began)
	if p := w.policyOf(after); p.Mode != mtasts.ModeTesting || !slices.Equal(p.MX, w.domains[0].mx) {
		t.Errorf("after it: %+v", p)
	}
	for i, v := range visitors {
		if seen[i] != before.Body && seen[i] != after.Body {
			t.Errorf("a client got %q", seen[i])
		}
		if _, body, err := v.fetch(t.Context(), http.MethodGet, url); err != nil || body != after.Body {
			t.Fatalf("after the confirmation a client gets %q, %v", body, err)
		}
	}
	w.sees(after)

	news := w.news(example)
	if e := news[len(news)-1]; e.Kind != state.KindRolloutBack || e.Severity != state.SeverityWarning || e.Remedy == "" {
		t.Errorf("the last event is %+v", e)
	}
	if _, err := w.client().Rollback(t.Context(), example); err != nil || len(w.news(example)) != len(news) {
		t.Errorf("once more: %v, %d events", err, len(w.news(example))-len(news))
	}
}

// A rollback stays what it is over a restart, calls off what was on its way, and
// what was accepted before is asked for again.
func TestRollbackOnTheWay(t *testing.T) {
	t.Parallel()
	w := newStagedWorld(t, example)
	w.start()
	first := w.confirmed(example)
	r := w.begin(example, state.RolloutOrder{AcceptNoReports: true})
	if r, err := w.client().Rollback(t.Context(), example); err != nil || r.Goal != state.GoalStay || r.Stage != state.StageTesting {
		t.Errorf("called off in testing: %+v, %v", r, err)
	}
	w.set(r.Confirmed.Add(oneWeek))
	w.refusedBy(example, state.GateReports, state.RolloutOrder{})
	if d := w.confirmed(example); d.ID != first.ID {
		t.Errorf("in testing as before, with the id %s after %s", d.ID, first.ID)
	}

	// The DNS is down: testing is served all the same, and announced later.
	w.begin(example, state.RolloutOrder{AcceptNoReports: true})
	w.at(example, state.StageEnforce, oneDay)
	w.begin(example, state.RolloutOrder{Now: true})
	w.full(example)
	before := w.confirmedAnew(first)
	up := w.dnsDown(example)
	if _, err := w.client().Rollback(t.Context(), example); err != nil {
		t.Fatal(err)
	}
	w.await(example, "testing, and the DNS down", blockedBy("refuses the update"))
	if p := w.policyOf(w.status(example)); p.Mode != mtasts.ModeTesting {
		t.Errorf("with the DNS down %s is served", p.Mode)
	}
	if got := w.lab.DNS.TXT("_mta-sts." + example); !slices.Equal(got, []string{recordOf(before)}) {
		t.Errorf("with the DNS down it says %q", got)
	}
	w.restart()
	w.set(w.rolloutNow().Add(time.Hour))
	if r := w.rollout(example); r.Stage != state.StageTesting || r.Goal != state.GoalStay || !r.Confirmed.IsZero() {
		t.Errorf("after a restart: %+v", r)
	}
	up()
	w.s.reload()
	after := w.confirmedAnew(before)
	w.sees(after)
	w.awaitRollout(example, "testing that is confirmed", func(r state.RolloutStatus) bool { return !r.Confirmed.IsZero() })

	// From here it begins as any domain does.
	w.refusedBy(example, state.GateReports, state.RolloutOrder{Now: true})
	w.begin(example, hasty())
	w.full(example)
	w.sees(w.confirmedAnew(after))
}
