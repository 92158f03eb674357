package mxwatch_test

import (
	"context"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stshost/stshost/check"
	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
	"github.com/stshost/stshost/mxwatch"
)

// fails is what a look finds in which these fail, each a code and a subject.
func fails(faults ...string) state.MXCheck {
	c := state.MXCheck{Summary: "All is well.", Passed: true}
	for i, f := range faults {
		code, subject, _ := strings.Cut(f, " ")
		c.Findings = append(c.Findings, state.Finding{
			Code: code, Status: state.CheckFail, Harm: state.HarmLoss, Subject: subject, Text: "It fails.", Remedy: "Mend it.",
		})
		if c.Passed = false; i == 0 {
			c.Summary = subject + " fails by " + code + "."
		}
	}
	return c
}

// but adds of what nothing is known.
func but(c state.MXCheck, open ...string) state.MXCheck {
	c.Unknown, c.Passed, c.Open = c.Passed, false, open
	return c
}

const (
	noTLS1  = check.MXNoSTARTTLS + " mx1.example.com (192.0.2.1:25)"
	noTLS2  = check.MXNoSTARTTLS + " mx2.example.com (192.0.2.2:25)"
	cert1   = check.MXCertName + " mx1.example.com (192.0.2.1:25)"
	noWay1  = check.MXConnect + " mx1.example.com (192.0.2.1:25)"
	noMail1 = check.MXSession + " mx1.example.com (192.0.2.1:25)"
	unnamed = check.MXUncovered + " mx2.example.com"
	dane1   = check.DANEMismatch + " mx1.example.com (192.0.2.1:25)"
)

const (
	toldCritical = "mx.failed critical"
	toldOver     = "mx.recovered info"
)

// step is a look, some time after the one before.
type step struct {
	after time.Duration
	finds state.MXCheck
	told  []string
}

// walk has looks find what the steps say, and nothing else; a restart before each
// changes nothing.
func walk(t *testing.T, steps ...step) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		t.Helper()
		l := newLab()
		l.serve(mtasts.ModeEnforce, example)
		w := l.start(t, 28*24*time.Hour, example)
		pass(0)
		for i, s := range steps {
			w.stop()
			w = l.start(t, 28*24*time.Hour, example)
			pass(s.after)
			same(t, fmt.Sprintf("before step %d", i+1), l.told(), []string(nil))
			l.finds(example, s.finds)
			w.Look(example)
			pass(0)
			same(t, fmt.Sprintf("step %d", i+1), l.told(), s.told)
		}
		w.stop()
	})
}

// One host that always refuses us keeps no other's trouble from being over.
func TestTroubleIsOverThoughAHostStaysUnknown(t *testing.T) {
	closed := "mx3.example.com"
	walk(t,
		step{0, but(fails(noTLS1), closed), []string{toldCritical}},
		step{time.Minute, but(fails(), closed), []string{toldOver}},
	)
}

func TestTroubleStandsWhileItIsUnknown(t *testing.T) {
	for name, tc := range map[string]struct {
		fault string
		then  state.MXCheck
		over  bool
	}{
		"the host":                 {noTLS1, but(fails(), "mx1.example.com"), false},
		"another host":             {noTLS1, but(fails(), "mx2.example.com"), true},
		"everything":               {unnamed, but(fails(), state.MXAnything), false},
		"the TLSA records":         {dane1, but(fails(), "_25._tcp.mx1.example.com"), false},
		"the TLSA records only":    {noTLS1, but(fails(), "_25._tcp.mx1.example.com"), true},
		"the host, but covered":    {unnamed, but(fails(), "mx2.example.com"), true},
		"it has left the MX set":   {noTLS1, but(fails(), "mx7.example.com"), true},
		"another address":          {noTLS1, state.MXCheck{Passed: true, Open: []string{"mx1.example.com"}, Judged: []string{"mx1.example.com (192.0.2.1:25)"}}, true},
		"this address":             {noTLS1, state.MXCheck{Passed: true, Open: []string{"mx1.example.com"}, Judged: []string{"mx1.example.com (192.0.2.9:25)"}}, false},
		"this address, and others": {noTLS1, but(fails(noTLS2), "mx1.example.com"), false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLab()
				l.serve(mtasts.ModeEnforce, example)
				l.finds(example, fails(tc.fault))
				w := l.start(t, interval, example)
				defer w.stop()
				pass(0)
				first, _ := w.Last(example)
				l.finds(example, tc.then)
				w.Look(example)
				pass(0)
				last, _ := w.Last(example)
				same(t, "over", last.Trouble.Severity == "", tc.over)
				same(t, "counted", w.Counts().Failing == 0, tc.over)
				if !tc.over && last.Trouble.Reason != first.Trouble.Reason && len(tc.then.Findings) == 0 {
					t.Errorf("the reason was %q and is %q", first.Trouble.Reason, last.Trouble.Reason)
				}
				if tc.over {
					same(t, "told", l.told(), []string{toldCritical, toldOver})
				}
			})
		})
	}
}

// What the reason was of may be over while more stands of which nothing is known.
func TestTheReasonIsOfWhatStands(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		l.serve(mtasts.ModeEnforce, example)
		l.finds(example, fails(noTLS1, noTLS2))
		w := l.start(t, interval, example)
		defer w.stop()
		pass(0)
		l.finds(example, but(fails(), "mx2.example.com"))
		w.Look(example)
		pass(0)
		last, _ := w.Last(example)
		if !strings.Contains(last.Trouble.Reason, "mx2") || strings.Contains(last.Trouble.Reason, "mx1") || last.Trouble.Severity != state.SeverityCritical {
			t.Errorf("%+v", last.Trouble)
		}
		same(t, "told", l.told(), []string{toldCritical})
	})
}

func TestEachFaultIsToldOnce(t *testing.T) {
	const day = 24 * time.Hour
	for name, steps := range map[string][]step{
		"another appears": {
			{0, fails(noTLS1), []string{toldCritical}}, {time.Hour, fails(noTLS1), nil}, {time.Hour, fails(noTLS1, noTLS2), []string{toldCritical}},
			{time.Hour, fails(noTLS1, noTLS2), nil}, {time.Hour, fails(noTLS2), nil}, {time.Hour, fails(), []string{toldOver}},
		},
		"another in place of the first": {
			{0, fails(noTLS1), []string{toldCritical}}, {time.Hour, fails(cert1), []string{toldCritical}}, {time.Hour, fails(), []string{toldOver}},
		},
		"one comes and goes while another stands": {
			{0, fails(noTLS1), []string{toldCritical}}, {time.Hour, fails(noTLS1, noTLS2), []string{toldCritical}},
			{time.Hour, fails(noTLS1), nil}, {time.Hour, fails(noTLS1, noTLS2), nil}, {time.Hour, fails(noTLS1), nil},
			{2 * day, fails(noTLS1), nil}, {time.Hour, fails(noTLS1, noTLS2), []string{toldCritical}},
		},
		"trouble that comes back soon is over late": {
			{0, fails(noTLS1), []string{toldCritical}}, {time.Hour, fails(), []string{toldOver}},
			{time.Hour, fails(noTLS1), []string{toldCritical}}, {time.Hour, fails(), nil},
			{time.Hour, fails(noTLS1), nil}, {time.Hour, fails(), nil}, {time.Hour, fails(noTLS2), []string{toldCritical}}, {time.Hour, fails(), nil},
			{25 * time.Hour, fails(), []string{toldOver}}, {day * 2, fails(noTLS1), []string{toldCritical}}, {time.Hour, fails(), []string{toldOver}},
		},
		"a connection that fails once": {
			{0, fails(noWay1), nil}, {10 * time.Minute, fails(), nil}, {time.Hour, fails(noMail1), nil}, {5 * time.Minute, fails(), nil},
		},
		"a connection that fails on": {
			{0, fails(noWay1), nil}, {time.Minute, fails(noWay1), nil}, {9 * time.Minute, fails(noWay1), []string{toldCritical}},
			{time.Hour, fails(noWay1), nil}, {time.Hour, fails(), []string{toldOver}},
		},
		"a connection beside what is told": {
			{0, fails(noTLS2), []string{toldCritical}}, {time.Hour, fails(noTLS2, noWay1), nil}, {10 * time.Minute, fails(noTLS2, noWay1), []string{toldCritical}},
		},
		"a connection and another at once": {
			{0, fails(noWay1, noTLS2), []string{toldCritical}}, {10 * time.Minute, fails(noWay1, noTLS2), nil}, {time.Hour, fails(), []string{toldOver}},
		},
		"a connection that was seen once, and then not": {
			{0, fails(noWay1), nil}, {5 * time.Minute, but(fails(), "mx1.example.com"), nil}, {time.Hour, fails(), nil},
		},
	} {
		t.Run(name, func(t *testing.T) { walk(t, steps...) })
	}
}

// That more is wrong says what is new, and what was before.
func TestWhatIsSaidOfMore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		l.serve(mtasts.ModeEnforce, example)
		l.finds(example, fails(noTLS1))
		w := l.start(t, interval, example)
		defer w.stop()
		pass(0)
		l.finds(example, fails(noTLS1, noTLS2))
		w.Look(example)
		pass(0)
		e := l.events[len(l.events)-1]
		same(t, "text", e.Text, "something more is wrong with the MX hosts: mx2.example.com (192.0.2.2:25): It fails; and as before: "+
			"mx1.example.com (192.0.2.1:25) fails by STS-MX-NO-STARTTLS")
		same(t, "subject", e.Evidence["subject"], "mx2.example.com (192.0.2.2:25)")
		same(t, "findings", strings.Count(e.Evidence["findings"], "\n"), 1)
	})
}

// A domain that leaves when a look at it has come to its end is neither stored nor
// told afterwards.
func TestADomainThatLeavesAtTheEndOfALook(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		for _, mode := range []mtasts.Mode{mtasts.ModeEnforce, mtasts.ModeNone} {
			l := newLab()
			l.serve(mode, example)
			l.finds(example, fails(noTLS1))
			l.rows[example] = state.MXWatch{Domain: example, Time: time.Now(), Told: state.MXTold{Kind: state.KindMXFailed}}
			var w *mxwatch.Watch
			var leaves atomic.Bool // with the next question for the time, which is when what was seen is put together
			w, err := mxwatch.New(t.Context(), mxwatch.Config{
				Prober: arming{l, &leaves}, Store: l, Event: l.event, Interval: interval,
				Policy: func(domain string) (mtasts.Policy, bool) {
					time.Sleep(time.Second) // all others are at rest
					leaves.Store(mode == mtasts.ModeNone)
					return l.policy(domain)
				},
				Now: func() time.Time {
					if leaves.CompareAndSwap(true, false) {
						if err := w.SetDomains(t.Context(), nil); err != nil {
							t.Error(err)
						}
					}
					return time.Now()
				},
			})
			if err != nil {
				t.Fatal(err)
			}
			if err := w.SetDomains(t.Context(), []string{example}); err != nil {
				t.Fatal(err)
			}
			ctx, cancel := context.WithCancel(t.Context())
			done := make(chan error, 1)
			go func() { done <- w.Run(ctx) }()
			w.Look(example)
			pass(time.Minute)
			cancel()
			if err := <-done; err != nil {
				t.Error(err)
			}
			same(t, "told", l.told(), []string(nil))
			same(t, "stored", len(l.rows), 0)
		}
	})
}

type arming struct {
	*lab
	armed *atomic.Bool
}

func (a arming) CheckMX(ctx context.Context, domain string, patterns []string, mode mtasts.Mode) (state.MXCheck, error) {
	time.Sleep(time.Second)
	seen, err := a.lab.CheckMX(ctx, domain, patterns, mode)
	a.armed.Store(true)
	return seen, err
}

// Findings are for the event, and are not kept.
func TestOnlyTheKeysAreKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		l.serve(mtasts.ModeEnforce, example)
		l.finds(example, failed())
		w := l.start(t, interval, example)
		defer w.stop()
		pass(0)
		last, _ := w.Last(example)
		if text := fmt.Sprintf("%+v", last); strings.Contains(text, "192.0.2.1") || strings.Contains(text, "It has no address") {
			t.Error(text)
		}
		same(t, "faults", len(last.Faults), 2)
	})
}

func TestAnotherInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		var domains []string
		for i := range 600 {
			domains = append(domains, fmt.Sprintf("d%d.example", i))
		}
		l.serve(mtasts.ModeEnforce, domains...)
		w := l.start(t, 28*24*time.Hour, domains...)
		defer w.stop()
		pass(2 * time.Hour)
		l.looked()
		w.SetInterval(time.Hour)
		pass(time.Minute)
		if n := len(l.looked()); n > 150 {
			t.Errorf("%d looks at once", n)
		}
		pass(119 * time.Minute)
		if n := len(l.looked()); n < 600 {
			t.Errorf("%d looks at 600 domains in two intervals", n)
		}
		w.SetInterval(0)
		if err := w.SetDomains(t.Context(), domains); err != nil {
			t.Fatal(err)
		}
		pass(24 * time.Hour)
		same(t, "looks", len(l.looked()), 0)
		same(t, "stored", len(l.rows), 0)
		w.SetInterval(time.Hour)
		if err := w.SetDomains(t.Context(), domains); err != nil {
			t.Fatal(err)
		}
		pass(0)
		same(t, "looks", len(l.looked()), 600)
	})
}

// A reload has looked at what may be trouble and is not yet.
func TestAReloadLooksAtAConnectionThatFailed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		l.serve(mtasts.ModeEnforce, example)
		l.finds(example, fails(noWay1))
		w := l.start(t, interval, example)
		defer w.stop()
		pass(0)
		same(t, "counts", w.Counts(), mxwatch.Counts{})
		l.looked()
		w.LookAtFailing()
		pass(0)
		same(t, "looks", len(l.looked()), 1)
	})
}
