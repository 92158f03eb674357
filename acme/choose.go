package acme

import (
	"strings"
	"time"

	"github.com/stshost/stshost/internal/state"
)

// choose returns the CA for a job's next attempt: the first in the order of
// the config that is fit. A CA that is out of order or limits our account is
// passed over for as long as that holds; after it every attempt goes to it
// again, so that its recovery is seen by the first. Our own budget being used
// up is no fault of the CA: the job waits, because an operator who set a
// budget for the first CA did not ask for the rest to come from another.
//
// Nor is it one if the config does not fit the CA: a typing error must not
// order the certificates of a whole fleet elsewhere. Then only those go on to
// the next CA that are about to expire (see pressing).
//
// Where no CA is fit, ca is nil, and an attempt is possible at until.
func (i *Issuer) choose(job state.CertJob, now time.Time) (ca *authority, until time.Time, reason string) {
	var reasons []string
	for _, c := range i.cas {
		at, why, held := c.pause.get(now)
		_, last := c.pause.fault(now)
		last = last && !pressing(job, now)
		if !held && !exempt(job, c) {
			at, why, held = c.spent.get(now)
			last = held
		}
		if !held {
			return c, time.Time{}, ""
		}
		if until.IsZero() || at.Before(until) {
			until = at
		}
		reasons = append(reasons, why)
		if last {
			break
		}
	}
	return nil, until, strings.Join(reasons, "; ")
}

// pressing reports whether the job's certificate expires within a day, or has
// expired.
func pressing(job state.CertJob, now time.Time) bool {
	return !job.NotAfter.IsZero() && job.NotAfter.Sub(now) < lastDay
}

// lastDay is how long before its expiry a certificate that is not renewed
// becomes an emergency.
const lastDay = 24 * time.Hour

// exempt reports whether an attempt at this CA needs nothing of our budget of
// orders there: the CA has said when it wants the certificate renewed (RFC
// 9773), and the order will name it. Let's Encrypt, whose limits the budget
// stands for, counts such orders for none of them, and a CA that asks for the
// renewal of all its certificates within a day, before it revokes them, must
// not be answered at the pace of 300 in three hours. A CA that does count them
// answers 429, and is heeded.
func exempt(job state.CertJob, c *authority) bool {
	return !job.WindowEnd.IsZero() && job.CA == c.Directory
}

// fallback returns the CA to which a job goes on now that ca has failed it, or
// nil.
func (i *Issuer) fallback(job state.CertJob, ca *authority, now time.Time) *authority {
	next, _, _ := i.choose(job, now)
	if next == ca {
		return nil
	}
	return next
}

// held says until when and why an attempt of the job cannot start.
func (i *Issuer) held(job state.CertJob, now time.Time) (until time.Time, reason string, ok bool) {
	if until, reason, ok := i.stalled.get(now); ok {
		return until, reason, true
	}
	ca, until, reason := i.choose(job, now)
	return until, reason, ca == nil
}

// begins is called when an attempt begins at ca. It tells once that another CA
// than the first is used.
func (i *Issuer) begins(ca *authority, now time.Time) {
	i.usingMu.Lock()
	before := i.using
	if ca != i.cas[0] {
		i.using = ca
	}
	i.usingMu.Unlock()
	if ca == i.cas[0] || ca == before {
		return
	}
	_, why, _ := i.cas[0].pause.get(now)
	what, remedy := "certificates", "nothing, if the CA recovers: it is used again as soon as it works; if it does not, look at the reason"
	if correct, ok := i.cas[0].pause.fault(now); ok {
		what, remedy = "certificates that expire within a day", correct
	}
	i.log.Warn("certificates are ordered from another CA for now", "step", "certificate",
		"directory", ca.Directory, "instead_of", i.cas[0].Directory, "problem", why)
	i.cfg.Event(state.Event{
		Kind: state.KindCertificateFallback, Severity: state.SeverityWarning,
		Text:     what + " are ordered from " + ca.Directory + " while " + i.cas[0].Directory + " cannot be used: " + why,
		Remedy:   remedy,
		Evidence: map[string]string{"ca": ca.Directory, "instead_of": i.cas[0].Directory},
	})
}

// works notes that the CA does what CAs do. Attempts that were under way when
// it limited us may yet end well: that is no sign that it can be used again.
func (i *Issuer) works(ca *authority) {
	ca.pause.over()
	if _, _, held := ca.pause.get(i.now()); held || ca != i.cas[0] {
		return
	}
	i.usingMu.Lock()
	before := i.using
	i.using = ca
	i.usingMu.Unlock()
	if before == ca {
		return
	}
	i.log.Info("certificates are ordered from the first CA again", "step", "certificate", "directory", ca.Directory)
	i.cfg.Event(state.Event{
		Kind: state.KindCertificateFallback, Severity: state.SeverityInfo,
		Text:     ca.Directory + " works again; certificates are ordered there",
		Evidence: map[string]string{"ca": ca.Directory, "instead_of": before.Directory},
	})
}
