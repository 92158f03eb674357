package main

import (
	"strings"
	"testing"
	"time"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
	"github.com/stshost/stshost/server"
)

// lookAtMX has the MX hosts of a domain looked at when this much more time has
// passed, and waits until that is done.
func (w *stagedWorld) lookAtMX(domain string, later time.Duration) server.DomainStatus {
	w.t.Helper()
	before := w.status(domain).MXChecked
	w.ahead.Add(int64(later))
	w.s.forgetBadLooks()
	w.s.mx.Look(domain)
	return w.await(domain, "a look at its MX hosts", func(d server.DomainStatus) bool { return d.MXChecked.After(before) })
}

// An MX host that used to pass offers STARTTLS no longer. After half an hour one
// critical event says how to fall back to testing; stshost does not do so itself,
// as an attacker on the way to the host would look just like this.
func TestGuardian(t *testing.T) {
	t.Parallel()
	w := newStagedWorld(t, example)
	w.mxWatch = "6h"
	h := w.mailHost(example, 10)
	w.start()
	before := w.enforced(example)
	w.awaitMX(example, false)
	w.lookAtMX(example, time.Minute)

	h.offer(time.Time{})
	for _, later := range []time.Duration{time.Minute, 10 * time.Minute, 10 * time.Minute, 9 * time.Minute} {
		if d := w.lookAtMX(example, later); !d.MXTrouble {
			t.Errorf("a look does not find that it fails: %+v", d)
		}
	}
	guards := func() []server.Event {
		t.Helper()
		all, err := w.client().Events(t.Context(), state.EventQuery{Domain: example, Kind: state.KindMXGuard}, 0)
		if err != nil {
			t.Fatal(err)
		}
		return all
	}
	w.event(state.KindMXFailed, 1)
	if all := guards(); len(all) > 0 {
		t.Errorf("told before its time: %+v", all)
	}
	w.lookAtMX(example, 2*time.Minute)
	e := w.event(state.KindMXGuard, 1)
	if e.Severity != state.SeverityCritical || e.Domain != example || e.Host != h.name ||
		!strings.Contains(e.Text, "STARTTLS") || !strings.Contains(e.Remedy, "`stshost rollback "+example+"`") || e.Evidence["mode"] != "enforce" {
		t.Errorf("told was %+v", e)
	}

	// Once, and over a restart, too; and nothing else happens.
	w.lookAtMX(example, time.Hour)
	w.restart()
	w.lookAtMX(example, time.Hour)
	if all := guards(); len(all) != 1 {
		t.Errorf("told were %+v", all)
	}
	d := w.confirmed(example)
	if d.ID != before.ID || w.policyOf(d).Mode != mtasts.ModeEnforce {
		t.Errorf("it changed the policy: %+v", d)
	}
	w.sees(before)
}
