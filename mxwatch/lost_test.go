package mxwatch_test

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stshost/stshost/check"
	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
	"github.com/stshost/stshost/mxwatch"
)

// An event that a crash has lost is told at the next start.
func TestACrashLosesNoEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		l.serve(mtasts.ModeEnforce, example)
		l.finds(example, fails(noTLS1))
		l.loses = true
		w := l.start(t, interval, example)
		pass(0)
		w.stop()
		same(t, "lost", l.told(), []string{toldCritical})
		l.loses = false
		w = l.start(t, interval, example)
		pass(0)
		same(t, "told", l.told(), []string{toldCritical})
		w.stop()
		w = l.start(t, interval, example)
		pass(time.Hour)
		same(t, "told again", l.told(), []string(nil))

		l.loses = true
		l.finds(example, fails())
		w.Look(example)
		pass(0)
		same(t, "lost", l.told(), []string{toldOver})
		w.stop()
		l.loses = false
		w = l.start(t, interval, example)
		pass(0)
		same(t, "told", l.told(), []string{toldOver})
		w.stop()
		w = l.start(t, interval, example)
		defer w.stop()
		pass(2 * interval)
		same(t, "told again", l.told(), []string(nil))
	})
}

// Of many events some are lost.
func TestACrashLosesSomeOfManyEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		var domains []string
		for i := range 2500 {
			name := fmt.Sprintf("d%d.example", i)
			domains = append(domains, name)
			l.finds(name, fails(noTLS1))
		}
		l.serve(mtasts.ModeEnforce, domains...)
		w := l.start(t, interval, domains...)
		pass(0)
		w.stop()
		same(t, "told", len(l.told()), 2500)
		l.kept = append(l.kept[:100], l.kept[103:]...)
		w = l.start(t, interval, domains...)
		defer w.stop()
		pass(0)
		same(t, "told", len(l.told()), 3)
	})
}

// A start that cannot ask whether events are lost fails.
func TestEventsThatCannotBeAsked(t *testing.T) {
	l := newLab()
	l.rows[example] = state.MXWatch{Domain: example, Told: state.MXTold{Kind: state.KindMXFailed, Time: time.Now()}}
	_, err := mxwatch.New(t.Context(), mxwatch.Config{Prober: l, Store: deaf{l}, Policy: l.policy})
	if err == nil {
		t.Error("no error")
	}
}

type deaf struct{ *lab }

func (deaf) Events(context.Context, state.EventQuery) ([]state.Event, error) {
	return nil, errors.New("disk full")
}

// What the guardian and the drift were about to tell when a crash came is told at
// the next start.
func TestACrashLosesNoGuardAndNoDrift(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, w := guarding(t, mtasts.ModeEnforce, mxOne+"ok", mxTwo+"ok")
		bad := hosts(mxOne+check.MXNoSTARTTLS, mxTwo+"ok", "mx3.example.com ok !"+check.MXUncovered)
		l.sees(w, bad)
		same(t, "at first", l.told(), []string{toldCritical, toldDrift + " warning"})
		pass(35 * time.Minute)
		same(t, "and then", l.told(), []string{toldGuard})
		again := func(what string, kinds ...string) {
			t.Helper()
			w.stop()
			w = l.start(t, interval, example)
			pass(0)
			same(t, what, l.told(), kinds)
		}
		again("a stop in order")
		kept := l.kept
		l.kept = kept[:2]
		again("without the guard", toldGuard)
		l.kept = append(kept[:1:1], l.kept[2:]...)
		again("without the drift", toldDrift+" info")
		again("a stop in order")
		l.kept = nil
		again("without all", toldCritical, toldDrift+" warning", toldGuard)
		again("a stop in order")
		w.stop()
	})
}
