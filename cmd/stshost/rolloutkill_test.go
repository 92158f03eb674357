package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stshost/stshost/internal/lab"
	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
	"github.com/stshost/stshost/server"
	"github.com/stshost/stshost/store"
)

// aSecondEach is how long a rollout stays at a stage of enforce where a test cannot set
// the clock, that of a process of its own.
const aSecondEach = "stay = [\"0s\", \"1s\", \"1s\"]\n"

// end ends the process as an operator does.
func (p *process) end() {
	p.w.t.Helper()
	p.w.noError(p.signal(syscall.SIGTERM))
}

// stored is the store after the last process has ended.
func (w *world) stored() *store.Store {
	w.t.Helper()
	s, err := store.Open(w.t.Context(), w.storePath())
	w.noError(err)
	w.t.Cleanup(func() { s.Close() })
	return s
}

// sight is what a sender found: the record, and the policy after it.
type sight struct{ id, policy string }

// onlooker has a sender look at the domain a hundred times a second, over all lives of
// stshost, until stop, which returns what it found, each change once.
func (w *world) onlooker(domain string) (stop func() []sight) {
	w.t.Helper()
	ctx, end := context.WithCancel(w.t.Context())
	var found []sight
	var wg sync.WaitGroup
	tick := time.NewTicker(10 * time.Millisecond)
	wg.Go(func() {
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
			case <-ctx.Done():
				return
			}
			id, policy, err := w.reader().Fetch(ctx, domain)
			if now := (sight{id, policy}); err == nil && (len(found) == 0 || found[len(found)-1] != now) {
				found = append(found, now)
			}
		}
	})
	w.t.Cleanup(wg.Wait)
	w.t.Cleanup(end)
	return func() []sight {
		end()
		wg.Wait()
		return found
	}
}

// pushed are the ids that the domain's record has had, in their order; "" where it was
// removed.
func (w *world) pushed(domain string) (ids []string) {
	w.t.Helper()
	for _, u := range w.updates(domain) {
		for _, c := range u.Changes {
			id := ""
			if txt := mtasts.Records(c.After); len(txt) > 0 {
				rec, err := mtasts.FindRecord(txt)
				if err != nil {
					w.t.Errorf("pushed was %q: %v", txt, err)
				}
				id = rec.ID
			}
			ids = append(ids, id)
		}
	}
	return ids
}

// inOrder wants the domain to have gone through bodies of these kinds ("enforce
// 86400"), by one id each and one change of the DNS each, and a sender never to have
// seen a policy older than its record, or one step back.
func (w *world) inOrder(ledger []state.Body, ids []string, seen []sight, want ...string) {
	w.t.Helper()
	slices.SortFunc(ledger, func(a, b state.Body) int { return a.FirstServed.Compare(b.FirstServed) })
	var bodies []string
	for i, b := range ledger {
		bodies = append(bodies, fmt.Sprintf("%s %d", b.Mode, int64(b.MaxAge/time.Second)))
		if i < len(ids) && !mtasts.Announces(ids[i], b.Body) {
			w.t.Errorf("the id %s came with %q", ids[i], b.Body)
		}
	}
	if !slices.Equal(bodies, want) || len(ids) != len(want) {
		w.t.Fatalf("served were %q with the ids %q, want %q", bodies, ids, want)
	}
	lastID, lastBody := 0, 0
	for _, s := range seen {
		id := slices.Index(ids, s.id)
		body := slices.IndexFunc(ledger, func(b state.Body) bool { return string(b.Body) == s.policy })
		if id < lastID || body < lastBody || body < id {
			w.t.Errorf("a sender saw the id number %d with the policy number %d, after %d and %d", id+1, body+1, lastID+1, lastBody+1)
		}
		lastID, lastBody = id, body
	}
	if len(seen) == 0 {
		w.t.Error("a sender who looked again and again saw nothing")
	}
}

// unseen wants the domain to be in enforce, and nobody to know of it by the DNS.
func (w *stagedWorld) unseen(before server.DomainStatus) {
	w.t.Helper()
	if r := w.rollout(example); r.Stage != state.StageEnforce || r.MaxAge != int64(oneDay/time.Second) || !r.Confirmed.IsZero() || r.Goal != state.GoalEnforce {
		w.t.Errorf("while the DNS does not answer: %+v", r)
	}
	if txt := w.lab.DNS.TXT("_mta-sts." + example); !slices.Equal(txt, []string{recordOf(before)}) {
		w.t.Errorf("while it does not answer the DNS has %q", txt)
	}
}

// A server that is killed at each stage of a rollout goes on by itself, wherever it
// was: no command is given twice, each stage is told once and announced once, and its
// time is counted as if nothing had happened.
func TestSIGKILLInARollout(t *testing.T) {
	t.Parallel()
	const taken, served, proven, pushed, confirmed = "rollout goes on", "policy served", "policy fetched back", "record pushed", "record confirmed"
	for name, c := range map[string]struct {
		lines  string
		order  state.RolloutOrder
		silent bool     // the DNS does not answer before the first kill
		kills  []string // what the process says when it is killed, life by life
	}{
		"after the decision": {aSecondEach, state.RolloutOrder{AcceptNoReports: true}, false, []string{taken, proven, confirmed}},
		"while it is served": {aSecondEach, state.RolloutOrder{AcceptNoReports: true}, false, []string{served, pushed}},
		"before it is seen":  {"", hasty(), true, []string{proven, taken}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newStagedWorld(t, example)
			w.domains[0].lines = c.lines
			w.writeConfig()
			p := w.spawn()
			first := w.confirmed(example)
			p.saw(confirmed)
			stop := w.onlooker(example)
			up := func() {}
			if c.silent {
				up = w.lab.DNS.Fail(lab.DNSFault{Updates: true, Name: "_mta-sts." + example, Silent: true})
			}
			w.begin(example, c.order)
			for i, kill := range c.kills {
				p.saw(kill)
				if c.silent && i == 0 {
					w.unseen(first)
				}
				p.kill()
				up()
				p = w.spawn()
			}
			w.full(example)
			w.sees(w.confirmed(example))
			seen := stop()

			news := w.news(example)
			if got := kinds(news); !slices.Equal(got, []string{
				state.KindRolloutStarted, state.KindRolloutStep, state.KindRolloutStep, state.KindRolloutStep, state.KindRolloutDone,
			}) {
				t.Fatalf("told were %q", got)
			}
			for i, to := range []string{"1 day", "1 week", "4 weeks"} {
				if e := news[1+i]; !strings.HasSuffix(e.Evidence["to"], to) {
					t.Errorf("step %d leads to %s, want %s", i+1, e.Evidence["to"], to)
				}
				if since := w.updates(example)[i].Time; i > 0 && c.lines != "" && news[1+i].Time.Sub(since) < time.Second {
					t.Errorf("step %d at %s, although the stage before was announced at %s", i+1, news[1+i].Time, since)
				}
			}
			p.end()
			ledger, err := w.stored().Bodies(t.Context(), example)
			w.noError(err)
			w.inOrder(ledger, w.pushed(example), seen, "testing 604800", "enforce 86400", "enforce 604800", "enforce 2419200")
		})
	}
}

// A server that is killed in the middle of a retirement goes on by itself: mode none,
// the time that senders hold an earlier policy, then the record, then all the rest.
func TestSIGKILLInARetirement(t *testing.T) {
	t.Parallel()
	const commanded, heldUp, unseen = "the command is answered", "the DNS takes no update", "one name server shows the record still"
	const served, pushed, removed = "policy served", "record pushed", "record removed"
	for name, kills := range map[string][]string{
		"at once":            {commanded, pushed, heldUp},
		"while it says none": {served, unseen, removed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := staged(newWorld(t, example))
			w.domains[0].mx, w.domains[0].lines = []string{"mx1.mail.test", "mx2.mail.test"}, "max_age = \"2s\"\n"
			w.writeConfig()
			p := w.spawn()
			w.enforced(example)
			before := w.confirmed(example)
			for range 2 { // testing and enforce
				p.saw("record confirmed")
			}
			stop := w.onlooker(example)
			mend := func() {}
			if kills[0] == commanded {
				mend = w.dnsDown(example)
			}
			withdrawing := func(why string) {
				t.Helper()
				w.awaitRollout(example, "a record that stays", func(r state.RolloutStatus) bool {
					return r.Stage == state.StageWithdrawing && strings.Contains(r.Awaits, why)
				})
			}
			if _, err := w.client().Retire(t.Context(), example); err != nil {
				t.Fatal(err)
			}
			for _, kill := range kills {
				switch kill {
				case commanded:
				case heldUp:
					withdrawing("refuses the update")
				case unseen:
					withdrawing("still shows")
				default:
					p.saw(kill)
				}
				p.kill()
				mend()
				mend = func() {}
				switch kill {
				case pushed:
					mend = w.dnsDown(example)
				case served:
					second := w.secondServer(example) // which is told of no change
					mend = func() { w.noError(second.Remove("_mta-sts."+example, "TXT")) }
				}
				p = w.spawn()
			}
			awaitRetired(w, before.Host)
			seen := stop()

			news := w.news(example)
			if got := kinds(news[len(news)-3:]); len(news) != 6 || slices.ContainsFunc(got, func(kind string) bool { return kind != state.KindRolloutRetired }) {
				t.Errorf("told were %q", kinds(news))
			}
			p.end()
			s := w.stored()
			ledger, err := s.Bodies(t.Context(), example)
			w.noError(err)
			ids := w.pushed(example)
			if n := len(ids) - 1; n < 0 || ids[n] != "" {
				t.Fatalf("the record had the ids %q, and was not removed", ids)
			}
			w.inOrder(ledger, ids[:len(ids)-1], seen, "testing 2", "enforce 2", "none 86400")
			updates := w.updates(example)
			for _, b := range ledger[:2] {
				if held := b.LastServed.Add(b.MaxAge); b.LastServed.IsZero() || updates[len(updates)-1].Time.Before(held) {
					t.Errorf("the record went at %s, when a sender could hold until %s: %q", updates[len(updates)-1].Time, held, b.Body)
				}
			}
			if _, err := s.Certificate(t.Context(), before.Host); !errors.Is(err, state.ErrNotFound) {
				t.Errorf("the certificate is there: %v", err)
			}
			if n := w.lab.CA.TotalOrders(); n != 1 {
				t.Errorf("%d orders, want 1", n)
			}
		})
	}
}

// awaitRetired waits until nothing is left of the domain outside.
func awaitRetired(w *stagedWorld, host string) {
	w.t.Helper()
	eventually(w.t, func() error {
		r, err := w.client().Rollout(w.t.Context(), example)
		if !isRetired(r, err) {
			return fmt.Errorf("%+v, %v", r, err)
		}
		return w.refused(&tls.Config{RootCAs: w.lab.Roots(), ServerName: host})
	})
	if txt := w.lab.DNS.TXT("_mta-sts." + example); len(mtasts.Records(txt)) > 0 {
		w.t.Errorf("the DNS still says %q", txt)
	}
}
