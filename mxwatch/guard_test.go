package mxwatch_test

import (
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stshost/stshost/check"
	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
)

const (
	toldGuard = "mx.guard critical"
	mxOne     = "mx1.example.com "
	mxTwo     = "mx2.example.com "
)

// guarding begins with MX hosts that have passed.
func guarding(t *testing.T, mode mtasts.Mode, all ...string) (*lab, process) {
	t.Helper()
	l := newLab()
	l.policies[example] = mtasts.Policy{Mode: mode, MX: []string{"mx1.example.com", "mx2.example.com"}, MaxAge: time.Hour}
	l.finds(example, hosts(all...))
	w := l.start(t, interval, example)
	pass(0)
	same(t, "at first", l.told(), []string(nil))
	return l, w
}

// sees has the next look, which is at once, find this.
func (l *lab) sees(w process, c state.MXCheck) {
	l.finds(example, c)
	w.Look(example)
	pass(0)
}

// guards returns how many of the events since the last call are the guardian's.
func (l *lab) guards() (n int) {
	for _, told := range l.told() {
		if strings.HasPrefix(told, state.KindMXGuard) {
			n++
		}
	}
	return n
}

// A host that used to pass and goes on failing is told of once, with the way back
// to testing.
func TestGuardian(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, w := guarding(t, mtasts.ModeEnforce, mxOne+"ok", mxTwo+"ok ok")
		defer func() { w.stop() }()
		passed := time.Now()
		pass(2 * time.Hour)
		began := time.Now()
		l.sees(w, hosts(mxOne+"ok", mxTwo+check.MXNoSTARTTLS+" "+check.MXCertName))
		same(t, "at once", l.told(), []string{toldCritical})
		for range 29 { // whatever is restarted meanwhile
			w.stop()
			w = l.start(t, interval, example)
			pass(time.Minute)
		}
		same(t, "within the grace time", l.told(), []string(nil))
		pass(4 * time.Minute)
		same(t, "events", len(l.events), 1)
		e := l.events[0]
		if late := e.Time.Sub(began); late < 30*time.Minute || late > 33*time.Minute {
			t.Errorf("told after %s", late)
		}
		stamp := func(at time.Time) string { return at.UTC().Format(time.RFC3339) }
		same(t, "event", e, state.Event{
			Time: e.Time, Kind: "mx.guard", Severity: state.SeverityCritical, Domain: example, Host: "mx2.example.com",
			Text: "the MX host mx2.example.com, which used to pass, has failed at all of its addresses since " + stamp(began) + ", at 3 looks, " +
				"and passed last at " + stamp(passed) + ": mx2.example.com (192.0.1.0:25): It fails",
			Remedy: "if the host cannot be mended soon, `stshost rollback example.com` falls back to testing; stshost never does that by itself, " +
				"because an attacker between us would make the host look just like this",
			Evidence: map[string]string{
				"mode": "enforce", "mx": "mx1.example.com mx2.example.com", "since": stamp(began), "passed": stamp(passed), "looks": "3",
				"code": check.MXNoSTARTTLS, "subject": "mx2.example.com (192.0.1.0:25)", "reason": "mx2.example.com (192.0.1.0:25): It fails", "reply": "454",
				"findings": check.MXNoSTARTTLS + " mx2.example.com (192.0.1.0:25): It fails.\n" + check.MXCertName + " mx2.example.com (192.0.1.1:25): It fails.",
			},
		})
		l.told()
		pass(5 * 24 * time.Hour)
		same(t, "told again", l.told(), []string(nil))

		// One address that passes ends the outage, and the next is another.
		l.sees(w, hosts(mxOne+"ok", mxTwo+check.MXNoSTARTTLS+" ok"))
		l.sees(w, hosts(mxOne+"ok", mxTwo+check.MXNoSTARTTLS+" "+check.MXNoSTARTTLS))
		pass(2 * time.Hour)
		same(t, "another outage", l.guards(), 1)
		l.sees(w, hosts(mxOne+"ok", mxTwo+"ok ok"))
		same(t, "the end", l.told(), []string{toldOver})
	})
}

// What comes of days in which looks find this.
func TestWhatTheGuardianTellsOf(t *testing.T) {
	const bad = check.MXNoSTARTTLS
	good := hosts(mxOne+"ok ok", mxTwo+"ok")
	for name, tc := range map[string]struct {
		mode  mtasts.Mode
		finds []state.MXCheck // each for 40 minutes, the last for days
		told  int
	}{
		"a host":                          {mtasts.ModeEnforce, []state.MXCheck{good, hosts(mxOne+bad+" "+bad, mxTwo+"ok")}, 1},
		"both hosts":                      {mtasts.ModeEnforce, []state.MXCheck{good, hosts(mxOne+bad+" "+bad, mxTwo+check.MXConnect)}, 2},
		"a host without address":          {mtasts.ModeEnforce, []state.MXCheck{good, hosts(mxOne+"!"+check.MXNoAddress, mxTwo+"ok")}, 1},
		"in testing":                      {mtasts.ModeTesting, []state.MXCheck{good, hosts(mxOne+bad+" "+bad, mxTwo+"ok")}, 0},
		"one address only":                {mtasts.ModeEnforce, []state.MXCheck{good, hosts(mxOne+"ok "+bad, mxTwo+"ok")}, 0},
		"another address is not known":    {mtasts.ModeEnforce, []state.MXCheck{good, hosts(mxOne+"? "+bad, mxTwo+"ok")}, 0},
		"a host that never passed":        {mtasts.ModeEnforce, []state.MXCheck{hosts(mxOne+bad, mxTwo+"ok")}, 0},
		"a host that was not known":       {mtasts.ModeEnforce, []state.MXCheck{hosts(mxOne+"?", mxTwo+"ok"), hosts(mxOne+bad, mxTwo+"ok")}, 0},
		"nothing is known from then on":   {mtasts.ModeEnforce, []state.MXCheck{good, hosts(mxOne+"?", mxTwo+"ok"), unknown()}, 0},
		"it has left the MX records":      {mtasts.ModeEnforce, []state.MXCheck{good, hosts(mxTwo + "ok")}, 0},
		"DANE, which no mode changes":     {mtasts.ModeEnforce, []state.MXCheck{good, hosts(mxOne+check.DANEMismatch+" "+check.DANEMismatch, mxTwo+"ok")}, 0},
		"a name that is not covered":      {mtasts.ModeEnforce, []state.MXCheck{good, hosts(mxOne+"ok !"+check.MXUncovered, mxTwo+"ok")}, 0},
		"more than is told one by one":    {mtasts.ModeEnforce, []state.MXCheck{more(good), more(hosts(mxOne+"ok "+bad, mxTwo+"ok")), hosts(mxOne+bad, mxTwo+"ok")}, 0},
		"a host beside one known no more": {mtasts.ModeEnforce, []state.MXCheck{good, hosts(mxOne+bad+" "+bad, mxTwo+"?")}, 1},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLab()
				l.policies[example] = mtasts.Policy{Mode: tc.mode, MX: []string{"mx1.example.com", "mx2.example.com"}}
				l.finds(example, tc.finds[0])
				w := l.start(t, interval, example)
				defer w.stop()
				for _, c := range tc.finds {
					l.sees(w, c)
					pass(40 * time.Minute)
				}
				pass(5 * 24 * time.Hour)
				same(t, "told", l.guards(), tc.told)
			})
		})
	}
}

// more adds to what a look found that there is more than is told one by one.
func more(c state.MXCheck) state.MXCheck {
	c.Findings = append(c.Findings, state.Finding{Code: check.MXNoSTARTTLS, Status: state.CheckFail, Harm: state.HarmLoss, Subject: example, Text: "3 more of the same"})
	c.Passed = false
	return c
}

// Looks that tell nothing neither confirm that a host fails nor end it.
func TestUnknownLooksAreNothingToTheGuardian(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, w := guarding(t, mtasts.ModeEnforce, mxOne+"ok")
		defer w.stop()
		bad := hosts(mxOne + check.MXNoSTARTTLS)
		nothing := func() {
			t.Helper()
			l.finds(example, hosts(mxOne+"?"))
			pass(12 * time.Hour)
			l.finds(example, unknown())
			pass(12 * time.Hour)
			same(t, "while nothing is known", l.guards(), 0)
		}
		l.sees(w, bad)
		nothing()
		l.sees(w, bad)
		same(t, "confirmed once", l.guards(), 0)
		nothing()
		l.sees(w, bad)
		same(t, "confirmed twice", l.told(), []string{toldGuard})

		l.sees(w, hosts(mxOne+"ok"))
		for range 3 {
			l.sees(w, bad)
		}
		l.guards()
		nothing()
		l.sees(w, bad)
		same(t, "after the grace time", l.guards(), 1)
	})
}

// However often it is looked at in the first minutes, the grace time is kept, and
// not for long beyond its end.
func TestTheGraceTimeIsKept(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, w := guarding(t, mtasts.ModeEnforce, mxOne+"ok")
		defer w.stop()
		for range 5 {
			l.sees(w, hosts(mxOne+check.MXNoSTARTTLS))
			pass(time.Minute)
		}
		pass(24 * time.Minute)
		same(t, "before its end", l.guards(), 0)
		pass(4 * time.Minute)
		same(t, "after it", l.guards(), 1)

		l.sees(w, hosts(mxOne+"ok"))
		l.sees(w, hosts(mxOne+check.MXNoSTARTTLS))
		pass(25 * time.Minute)
		l.sees(w, hosts(mxOne+"ok"))
		pass(24 * time.Hour)
		same(t, "of what ended before", l.guards(), 0)
	})
}

// Other trouble that has stood for long, so that looks are rare, delays nothing.
func TestTheGuardianBesideOldTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, w := guarding(t, mtasts.ModeEnforce, mxOne+"ok", mxTwo+"ok")
		defer w.stop()
		l.finds(example, hosts(mxOne+"ok", mxTwo+"ok "+check.MXNoSTARTTLS))
		pass(7 * 24 * time.Hour)
		l.finds(example, hosts(mxOne+check.MXNoSTARTTLS, mxTwo+"ok "+check.MXNoSTARTTLS))
		l.told()
		l.looked()
		for len(l.looked()) == 0 {
			pass(time.Minute)
		}
		pass(35 * time.Minute)
		same(t, "told", l.told(), []string{toldCritical, toldGuard})
	})
}

// Where nobody can connect, another mode gains nothing, and that is said; nor is
// mail lost while another host is there.
func TestAHostThatIsAway(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, w := guarding(t, mtasts.ModeEnforce, mxOne+"ok", mxTwo+"ok")
		defer w.stop()
		away := hosts(mxOne+"ok", mxTwo+check.MXConnect)
		away.Findings[0].Harm = state.HarmPartial
		l.sees(w, away)
		pass(35 * time.Minute)
		last := l.events[len(l.events)-1]
		same(t, "told", l.told(), []string{"mx.failed warning", "mx.guard warning"})
		for _, want := range []string{"`stshost rollback example.com`", "gains nothing"} {
			if !strings.Contains(last.Remedy, want) {
				t.Errorf("the remedy does not say %q: %s", want, last.Remedy)
			}
		}
	})
}

// A host that has failed for long when the policy comes to enforce is told at once.
func TestTheGuardianBeginsWithEnforce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, w := guarding(t, mtasts.ModeTesting, mxOne+"ok")
		defer w.stop()
		l.sees(w, hosts(mxOne+check.MXNoSTARTTLS))
		pass(24 * time.Hour)
		same(t, "in testing", l.told(), []string{"mx.failed warning"})
		l.serve(mtasts.ModeEnforce, example)
		w.Look(example)
		pass(0)
		same(t, "in enforce", l.told(), []string{toldCritical, toldGuard})
		l.serve(mtasts.ModeTesting, example) // as the remedy says
		w.Look(example)
		pass(24 * time.Hour)
		same(t, "back in testing", l.told(), []string(nil))
	})
}

// A clock that is set back does not keep the guardian from telling.
func TestTheGuardianByAClockThatWasSetBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		l.serve(mtasts.ModeEnforce, example)
		ahead := time.Now().Add(365 * 24 * time.Hour)
		l.rows[example] = state.MXWatch{Domain: example, Time: ahead, Attempts: 2, Hosts: []state.MXHostSeen{
			{Host: "mx1.example.com", Passed: ahead.Add(-time.Hour), Failing: ahead, Looks: 2},
		}}
		l.finds(example, hosts(mxOne+check.MXNoSTARTTLS))
		w := l.start(t, interval, example)
		defer w.stop()
		pass(3 * time.Hour)
		same(t, "told", l.told(), []string{toldCritical, toldGuard})
	})
}
