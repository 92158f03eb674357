package mxwatch_test

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
	"github.com/stshost/stshost/mxwatch"
)

func TestChangesAreTold(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		l.serve(mtasts.ModeEnforce, example)
		w := l.start(t, interval, example)
		defer func() { w.stop() }()
		pass(0)
		same(t, "at first", l.told(), []string(nil))
		for _, step := range []struct {
			what  string
			finds state.MXCheck
			told  []string
		}{
			{"unknown", unknown(), nil},
			{"bad after unknown", failed(), []string{"mx.failed critical"}},
			{"bad after bad", failed(), nil},
			{"unknown after bad", unknown(), nil},
			{"bad again", failed(), nil},
			{"unknown once more", unknown(), nil},
			{"good", passed(), []string{"mx.recovered info"}},
			{"unknown after good", unknown(), nil},
			{"good again", passed(), nil},
			{"bad", failed(), []string{"mx.failed critical"}},
		} {
			l.finds(example, step.finds)
			pass(2 * interval)
			same(t, step.what, l.told(), step.told)
			w.stop() // which no restart changes
			w = l.start(t, interval, example)
		}
		same(t, "counts", w.Counts(), mxwatch.Counts{Failing: 1})
	})
}

func TestWhatAnEventSays(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		l.serve(mtasts.ModeTesting, example)
		l.finds(example, failed())
		w := l.start(t, interval, example)
		defer w.stop()
		pass(0)
		same(t, "the first look", l.events, []state.Event{{
			Time: time.Now(), Kind: state.KindMXFailed, Severity: state.SeverityWarning, Domain: example,
			Text: "something is wrong with the MX hosts: mx1.example.com offers no STARTTLS", Remedy: "Switch STARTTLS on; then `stshost reload` has it looked at at once; `stshost check example.com` tells it all",
			Evidence: map[string]string{
				"mode": "testing", "mx": "mx1.example.com", "reason": "mx1.example.com offers no STARTTLS",
				"code": "STS-MX-STARTTLS", "subject": "mx1.example.com", "address": "192.0.2.1",
				"findings": "STS-MX-ADDRESS mx2.example.com: It has no address.\nSTS-MX-STARTTLS mx1.example.com: It offers no STARTTLS.",
			},
		}})
		l.told()

		// In enforce it is worse.
		l.serve(mtasts.ModeEnforce, example)
		w.Look(example)
		pass(0)
		same(t, "in enforce", l.told(), []string{"mx.failed critical"})

		// In mode none MX hosts do not matter.
		l.serve(mtasts.ModeNone, example)
		w.Look(example)
		pass(0)
		same(t, "reason", strings.Contains(l.events[0].Text, "mode none"), true)
		same(t, "in none", l.told(), []string{"mx.recovered info"})
		pass(15 * time.Minute)
		same(t, "stored", len(l.rows), 0)
		l.looked()
		pass(10 * interval)
		same(t, "looks in none", len(l.looked()), 0)
		same(t, "counts", w.Counts(), mxwatch.Counts{})
	})
}

// An address that cannot be reached is worse under no policy than without one.
func TestOnlyWhatLosesMailIsCritical(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		l.serve(mtasts.ModeEnforce, example)
		partly := failed()
		partly.Findings = partly.Findings[:1]
		l.finds(example, partly)
		w := l.start(t, interval, example)
		defer w.stop()
		pass(0)
		same(t, "told", l.told(), []string{"mx.failed warning"})
		l.finds(example, failed()) // and then it gets worse
		pass(interval)
		same(t, "told", l.told(), []string{"mx.failed critical"})
		l.finds(example, partly)
		pass(2 * interval)
		same(t, "told", l.told(), []string(nil))
	})
}

// What can be known is told, whatever cannot.
func TestSomeUnknownAndSomeFailing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		l.serve(mtasts.ModeEnforce, example)
		both := failed()
		both.Unknown = true
		l.finds(example, both)
		w := l.start(t, interval, example)
		defer w.stop()
		pass(0)
		same(t, "told", l.told(), []string{"mx.failed critical"})
	})
}

// What the store does not have is not told, but once it has.
func TestAStoreThatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		l.serve(mtasts.ModeEnforce, example)
		l.finds(example, failed())
		l.fails(errors.New("disk full"))
		w := l.start(t, interval, example)
		defer w.stop()
		pass(0)
		same(t, "told", l.told(), []string(nil))
		l.fails(nil)
		pass(15 * time.Minute)
		same(t, "told", l.told(), []string{"mx.failed critical"})

		l.fails(errors.New("disk full"))
		l.serve(mtasts.ModeNone, example)
		w.Look(example)
		pass(0)
		same(t, "told", l.told(), []string(nil))
		l.fails(nil)
		pass(time.Hour)
		same(t, "told", l.told(), []string{"mx.recovered info"})
	})
}
