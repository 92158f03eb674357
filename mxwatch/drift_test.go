package mxwatch_test

import (
	"fmt"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stshost/stshost/check"
	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
	"github.com/stshost/stshost/mxwatch"
)

const toldDrift = "mx.drift"

// strange is what a look finds at hosts that the policy does not name.
func strange(names ...string) state.MXCheck {
	all := []string{mxOne + "ok", mxTwo + "ok"}
	for _, name := range names {
		all = append(all, name+" ok !"+check.MXUncovered)
	}
	return hosts(all...)
}

func TestWhatADriftSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, w := guarding(t, mtasts.ModeEnforce, mxOne+"ok", mxTwo+"ok")
		defer w.stop()
		c := strange("mx9.example.net", "mx8.example.net")
		c.Validated = true
		l.sees(w, c)
		same(t, "events", len(l.events), 2)
		e := l.events[1]
		same(t, "event", e, state.Event{
			Time: time.Now(), Kind: "mx.drift", Severity: state.SeverityInfo, Domain: example,
			Text: "the MX records name what the policy does not: mx9.example.net, mx8.example.net",
			Remedy: "`stshost mx accept example.com mx9.example.net mx8.example.net` takes them into the policy, which goes on naming the old ones; " +
				"if you do not know them, somebody may be forging the MX records: look at who can change the zone",
			Evidence: map[string]string{
				"mode": "enforce", "mx": "mx1.example.com mx2.example.com", "new_mx": "mx9.example.net mx8.example.net",
				"proposed_mx": "mx1.example.com mx2.example.com mx9.example.net mx8.example.net", "validated": "yes",
			},
		})
		// The alarm is the failure of the same hosts, which nothing has to be reloaded for.
		same(t, "told", l.told(), []string{toldCritical, toldDrift + " info"})
		l.sees(w, strange("mx7.example.net"))
		same(t, "not validated", l.events[1].Evidence["validated"], "no")
		if r := l.events[0].Remedy; strings.Contains(r, "stshost reload") || !strings.Contains(r, "`stshost check example.com`") {
			t.Errorf("the remedy of mx.failed: %s", r)
		}
	})
}

// A set of hosts is told once, whatever its order, and another one again.
func TestEachDriftIsToldOnce(t *testing.T) {
	const a, b = "a.example.net", "b.example.net"
	synctest.Test(t, func(t *testing.T) {
		l, w := guarding(t, mtasts.ModeTesting, mxOne+"ok", mxTwo+"ok")
		defer func() { w.stop() }()
		const failed, drifted = "mx.failed warning", toldDrift + " info"
		for i, s := range []struct {
			finds state.MXCheck
			told  []string
		}{
			{strange(a), []string{failed, drifted}},
			{strange(a), nil},
			{unknown(), nil},
			{strange(a, b), []string{failed, drifted}},
			{strange(b, a), nil},
			{strange(b), []string{drifted}}, // which is less than before
			{hosts(mxOne+"ok", mxTwo+"ok"), []string{toldOver}},
			{strange(b), []string{failed, drifted}},
			{hosts(mxOne+"ok", mxTwo+"ok"), nil}, // it comes and goes
			{strange(b), nil},
		} {
			l.sees(w, s.finds)
			same(t, fmt.Sprintf("step %d", i+1), l.told(), s.told)
			w.stop()
			w = l.start(t, interval, example)
			pass(time.Minute)
		}
		l.sees(w, hosts(mxOne+"ok "+check.MXNoSTARTTLS, mxTwo+"ok")) // so that trouble stands
		pass(3 * 24 * time.Hour)
		l.told()
		l.sees(w, strange(b))
		same(t, "back after days", l.told(), []string{failed, drifted})
	})
}

// Where what is told to fail is something else, the drift is told by itself.
func TestADriftBesideOtherTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, w := guarding(t, mtasts.ModeEnforce, mxOne+"ok", mxTwo+"ok")
		defer w.stop()
		l.sees(w, hosts(mxOne+check.MXNoSTARTTLS, mxTwo+"ok", "mx3.example.net ok !"+check.MXUncovered))
		same(t, "told", l.told(), []string{toldCritical, toldDrift + " warning"})
	})
}

// What cannot be the name of a host is proposed to nobody.
func TestOnlyNamesOfHostsAreProposed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, w := guarding(t, mtasts.ModeEnforce, mxOne+"ok", mxTwo+"ok")
		defer w.stop()
		l.sees(w, strange("*.example.net", "_mx.example.net", `a\032b.example.net`))
		same(t, "nothing to propose", l.told(), []string{toldCritical})
		same(t, "nothing to accept", l.drifts, []string(nil))
		l.sees(w, strange("*.example.net", "a.example.net", "b.example.net", "c.example.net", "d.example.net", "e.example.net", "f.example.net"))
		e := l.events[len(l.events)-1]
		same(t, "text", e.Text, "the MX records name what the policy does not: a.example.net, b.example.net, c.example.net, d.example.net, e.example.net and 1 more")
		same(t, "new", len(strings.Fields(e.Evidence["new_mx"])), 6)
		same(t, "proposed", strings.Contains(e.Evidence["proposed_mx"], "*"), false)
	})
}

// Whoever takes new hosts into the policy hears of each look that finds some, when
// nothing of ours is held.
func TestEachLookThatFindsADriftIsPassedOn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		l.serve(mtasts.ModeTesting, example)
		l.finds(example, hosts(mxOne+"ok", mxTwo+"ok !"+check.MXUncovered))
		var w *mxwatch.Watch
		w, err := mxwatch.New(t.Context(), mxwatch.Config{
			Prober: l, Store: l, Policy: l.policy, Event: l.event, Interval: interval,
			Drift: func(domain string, seen state.MXCheck) {
				l.drift(domain, seen)
				if _, stored := l.rows[domain]; !stored {
					t.Error("it is not stored")
				}
				if len(l.drifts) == 1 { // as a policy does that names them
					w.Look(domain)
				}
				w.Last(domain)
				if err := w.SetDomains(t.Context(), []string{example, "other.example"}); err != nil {
					t.Error(err)
				}
			},
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := w.SetDomains(t.Context(), []string{example}); err != nil {
			t.Fatal(err)
		}
		p := run(t, w)
		defer p.stop()
		pass(0)
		same(t, "passed on", l.drifts, []string{example + ": mx1.example.com mx2.example.com", example + ": mx1.example.com mx2.example.com"})
		l.finds(example, hosts(mxOne+"ok"))
		w.Look(example)
		pass(0)
		same(t, "passed on without a drift", len(l.drifts), 2)
	})
}
