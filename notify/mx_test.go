package notify

import (
	"testing"
	"time"

	"github.com/stshost/stshost/internal/state"
)

// MX hosts that fail are a trouble of their own: said again while it lasts, and
// over when they pass, not when the domain itself recovers.
func TestMXHostsThatFail(t *testing.T) {
	inOffice(t, Target{Repeat: 24 * time.Hour}, func(o *office) {
		failed := state.Event{Kind: state.KindMXFailed, Severity: state.SeverityWarning, Domain: "a.test", Text: "The host offers no TLS."}
		o.log.add(failed, blocked("a.test", "The name server refuses."))
		o.pass(time.Minute)
		o.wants(one("The host offers no TLS.", "The name server refuses."))
		o.log.add(recovered("a.test"))
		o.pass(time.Minute)
		o.wants(one("all is well again"))
		o.pass(24 * time.Hour)
		o.wants(one("still warning, mx.failed, a.test: The host offers no TLS."))

		// It gets worse, and the worse is what is said again.
		failed.Severity = state.SeverityCritical
		o.log.add(failed)
		o.pass(time.Minute)
		o.wants(one("critical, mx.failed, a.test"))
		o.pass(25 * time.Hour)
		o.wants(one("still critical, mx.failed, a.test"))
		o.log.add(state.Event{Kind: state.KindMXRecovered, Severity: state.SeverityInfo, Domain: "a.test", Text: "All pass."})
		o.pass(time.Minute)
		o.wants(one("All pass."))
		o.pass(100 * time.Hour)
		o.wants()
	})
}

// Two MX hosts whose names differ in a digit are two troubles, and each is told.
func TestAnotherMXHostIsToldToo(t *testing.T) {
	inOffice(t, Target{Repeat: 24 * time.Hour}, func(o *office) {
		failed := func(host string) state.Event {
			return state.Event{
				Kind: state.KindMXFailed, Severity: state.SeverityWarning, Domain: "a.test", Text: host + " offers no TLS.",
				Evidence: map[string]string{"code": "STS-MX-NO-STARTTLS", "subject": host},
			}
		}
		o.log.add(failed("mx1.a.test"))
		o.pass(time.Minute)
		o.wants(one("mx1.a.test offers no TLS."))
		o.log.add(failed("mx2.a.test"))
		o.pass(time.Minute)
		o.wants(one("mx2.a.test offers no TLS."))
		o.log.add(failed("mx2.a.test")) // as after a crash
		o.pass(time.Minute)
		o.wants()
		o.pass(24 * time.Hour)
		o.wants(one("still warning, mx.failed, a.test: mx2.a.test offers no TLS."))
		o.log.add(state.Event{Kind: state.KindMXRecovered, Severity: state.SeverityInfo, Domain: "a.test", Text: "All pass."})
		o.pass(time.Minute)
		o.wants(one("All pass."))
	})
}
