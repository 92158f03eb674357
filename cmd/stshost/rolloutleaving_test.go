package main

import (
	"context"
	"crypto/tls"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
	"github.com/stshost/stshost/server"
)

// alwaysServed fetches the policies of hosts over and over until stop, over one
// connection and over a new one each time, and wants a policy every time.
func (w *world) alwaysServed(hosts ...string) (stop func()) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	var wg sync.WaitGroup
	for _, host := range hosts {
		for _, again := range []bool{false, true} {
			v := w.visitor("", "h2")
			v.Transport.(*http.Transport).DisableKeepAlives = again
			wg.Go(func() {
				tick := time.NewTicker(20 * time.Millisecond)
				defer tick.Stop()
				for ctx.Err() == nil {
					resp, body, err := v.fetch(w.t.Context(), http.MethodGet, "https://"+host+mtasts.PolicyPath)
					if err != nil || resp.StatusCode != http.StatusOK {
						w.t.Errorf("%s was not served: %v", host, err)
						return
					}
					if _, err := mtasts.ParsePolicy([]byte(body)); err != nil {
						w.t.Errorf("%s served %q: %v", host, body, err)
					}
					<-tick.C
				}
			})
		}
	}
	return func() { cancel(); wg.Wait() }
}

// without takes domains out of the config.
func (w *world) without(domains ...string) (left []entry) {
	w.domains = slices.DeleteFunc(slices.Clone(w.domains), func(e entry) bool {
		gone := slices.Contains(domains, e.name)
		if gone {
			left = append(left, e)
		}
		return gone
	})
	return left
}

// Domains that the config names no longer are retired by the running server, and
// served until the end. One that comes back before that goes on in testing, and
// returns to enforce at once when its gates are open.
func TestLeavingIsRetiring(t *testing.T) {
	t.Parallel()
	const leaving, pinned, back = "leaving.test", "pinned.test", "back.test"
	w := newStagedWorld(t, example, leaving, pinned, back)
	w.domains[2].lines = `mode = "enforce"`
	h := w.mailHost(back, 10)
	w.start()
	stays := w.confirmed(example)
	before := map[string]server.DomainStatus{pinned: w.confirmed(pinned), leaving: w.enforced(leaving), back: w.enforced(back)}
	stop := w.alwaysServed(before[leaving].Host, before[pinned].Host, before[back].Host)

	left := w.without(leaving, pinned, back)
	res := w.s.reload()
	all := []string{back, leaving, pinned}
	if !slices.Equal(res.Removed, all) || !slices.Equal(res.Retiring, all) || len(res.Abandoned) > 0 || len(res.Added)+len(res.Changed) > 0 {
		t.Errorf("the reload: %+v", res)
	}
	none := make(map[string]server.DomainStatus)
	for _, d := range all {
		none[d] = w.none(before[d])
		if none[d].InConfig || none[d].Stage != string(state.StageRetiring) {
			t.Errorf("status %+v", none[d])
		}
		events, err := w.client().Events(t.Context(), state.EventQuery{Domain: d, Kind: state.KindDomainLeft}, 0)
		if err != nil || len(events) != 1 || events[0].Severity != state.SeverityWarning || !strings.Contains(events[0].Remedy, "reload") {
			t.Errorf("told were %+v, %v", events, err)
		}
	}
	if res := w.s.reload(); !res.Empty() || len(res.Retiring) > 0 {
		t.Errorf("a reload without a change: %+v", res)
	}
	var stage *state.StageError
	if _, err := w.client().Rollback(t.Context(), leaving); !errors.As(err, &stage) || !strings.Contains(err.Error(), "config") {
		t.Errorf("a rollback of what the config does not name: %v", err)
	}

	// It comes back while its MX host offers no TLS.
	h.offer(time.Time{})
	w.s.forgetBadLooks()
	i := slices.IndexFunc(left, func(e entry) bool { return e.name == back })
	w.domains = append(w.domains, left[i])
	if res := w.s.reload(); !slices.Equal(res.Added, []string{back}) {
		t.Errorf("the reload: %+v", res)
	}
	inTesting := w.confirmedAnew(none[back])
	if p := w.policyOf(inTesting); p.Mode != mtasts.ModeTesting || !inTesting.InConfig {
		t.Errorf("back with %+v", inTesting)
	}
	w.sees(inTesting)
	w.awaitRollout(back, "to be held up", func(r state.RolloutStatus) bool { return r.Refused && r.Stage == state.StageTesting })
	h.offer(time.Time{}, h.name)
	w.s.reload()
	w.full(back)
	again := w.confirmedAnew(inTesting)
	w.sees(again)
	if again.Body != before[back].Body || again.ID == before[back].ID {
		t.Errorf("back with the id %s and\n%s", again.ID, again.Body)
	}
	if n := len(w.updates(back)); n != 4+1+2 {
		t.Errorf("%d updates of the DNS, want 4 until enforce, 1 to leave and 2 to return", n)
	}

	// The others go, each at its own time.
	stop()
	w.restart()
	stop = w.alwaysServed(again.Host)
	for _, d := range []string{pinned, leaving} {
		w.set(w.until(d))
		w.gone(none[d], func(_ state.RolloutStatus, err error) bool { return errors.Is(err, state.ErrNotFound) })
		if d == pinned {
			w.sees(none[leaving])
		}
	}
	stop()
	w.sees(stays)
	if all, err := w.client().Domains(t.Context()); err != nil || len(all) != 2 {
		t.Errorf("%d domains are left (%v), want 2", len(all), err)
	}
}

// Whoever abandons a domain wants it gone at once, whatever senders hold.
func TestAbandonedDomains(t *testing.T) {
	t.Parallel()
	w := newStagedWorld(t, example, "one.test", "two.test", "kept.test")
	w.start()
	stays := w.confirmed(example)
	one, two, kept := w.confirmed("one.test"), w.confirmed("two.test"), w.confirmed("kept.test")
	reload := func(o server.ReloadOrder) server.ReloadResult {
		t.Helper()
		w.writeConfig()
		res, err := w.client().Reload(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		return res
	}
	w.writeConfig()
	var stage *state.StageError
	if _, err := w.client().Reload(t.Context(), server.ReloadOrder{Abandon: []string{example}}); !errors.As(err, &stage) {
		t.Errorf("abandoned although the config names it: %v", err)
	}
	w.sees(stays)

	dropped := func(d server.DomainStatus) {
		t.Helper()
		w.noError(w.refused(&tls.Config{RootCAs: w.lab.Roots(), ServerName: d.Host}))
		if _, err := w.client().Domain(t.Context(), d.Domain); !errors.Is(err, state.ErrNotFound) {
			t.Errorf("%s is known: %v", d.Domain, err)
		}
	}
	w.without("one.test", "kept.test")
	if res := reload(server.ReloadOrder{Abandon: []string{"one.test"}}); !slices.Equal(res.Abandoned, []string{"one.test"}) || !slices.Equal(res.Retiring, []string{"kept.test"}) {
		t.Errorf("the reload: %+v", res)
	}
	dropped(one)
	kept = w.none(kept)
	w.without("two.test")
	if res := reload(server.ReloadOrder{AbandonAll: true}); !slices.Equal(res.Abandoned, []string{"two.test"}) || len(res.Retiring) > 0 {
		t.Errorf("the reload: %+v", res)
	}
	dropped(two)
	w.sees(kept) // it left before

	// One that retires can be abandoned, too, when somebody cannot wait.
	if res := reload(server.ReloadOrder{Abandon: []string{"kept.test"}}); !slices.Equal(res.Abandoned, []string{"kept.test"}) {
		t.Errorf("the reload: %+v", res)
	}
	dropped(kept)
	w.restart()
	w.sees(stays)
	if all, err := w.client().Domains(t.Context()); err != nil || len(all) != 1 {
		t.Errorf("%d domains are left (%v), want 1", len(all), err)
	}
}

// A domain that left the config while no server ran may be missing by mistake: it
// is served as before, until somebody says that it is to be retired. One that was
// being retired anyway goes on with that.
func TestLeftWhileNoServerRan(t *testing.T) {
	t.Parallel()
	const leaving, going = "leaving.test", "going.test"
	w := newStagedWorld(t, example, leaving, going)
	w.start()
	w.confirmed(example)
	gone := w.retire(w.confirmed(going))
	before := w.enforced(leaving)
	w.without(going)
	left := w.without(leaving)
	account := "[dns.other]\n" + w.account
	w.extra += account
	w.restart()
	w.sees(before)
	w.sees(gone)
	forgotten := func(_ state.RolloutStatus, err error) bool { return errors.Is(err, state.ErrNotFound) }
	if r := w.rollout(leaving); !r.Left || r.Goal != state.GoalStay || r.Mode != "enforce" || !strings.Contains(r.Remedy, "stshost retire "+leaving) {
		t.Errorf("it left: %+v", r)
	}
	w.set(w.until(going))
	w.gone(gone, forgotten)
	w.set(w.rolloutNow().Add(10 * oneWeek))
	w.sees(before)

	// Put back, all is as it was.
	w.domains = append(w.domains, left...)
	w.s.reload()
	d := w.confirmed(leaving)
	if r := w.rollout(leaving); d.ID != before.ID || !r.Full || r.Stage != state.StageEnforce || r.Goal != state.GoalStay {
		t.Errorf("put back: %+v", r)
	}

	w.noError(w.s.stop())
	w.without(leaving)
	w.start()
	w.sees(before)
	var stage *state.StageError
	if _, err := w.client().Retire(t.Context(), leaving); !errors.As(err, &stage) || !strings.Contains(err.Error(), "several DNS accounts") {
		t.Errorf("where its record is cannot be known: %v", err)
	}
	w.extra = strings.ReplaceAll(w.extra, account, "")
	w.s.reload()
	none := w.retire(before)
	w.set(w.until(leaving))
	w.gone(none, forgotten)
}
