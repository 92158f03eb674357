package acme

import (
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/stshost/stshost/internal/state"
)

// toldHosts bounds how many hosts' failures are remembered as told.
const toldHosts = 10_000

// told is what was said of a host's failures. A host alternates between two
// challenge types, and so between two problems: neither is news again.
type told struct {
	problems [2]string
	severity state.Severity
}

func newTold() (*lru.Cache[string, told], error) { return lru.New[string, told](toldHosts) }

// tellIssued tells of a new certificate.
func (i *Issuer) tellIssued(ca *authority, job state.CertJob, cert state.Certificate) {
	i.told.Remove(job.Host)
	i.cfg.Event(state.Event{
		Kind: state.KindCertificateIssued, Severity: state.SeverityInfo, Host: job.Host,
		Text: "a certificate was issued by " + ca.Directory + ", valid until " + stamp(cert.NotAfter),
		Evidence: map[string]string{
			"ca": ca.Directory, "challenge": job.Challenge, "not_after": stamp(cert.NotAfter),
		},
	})
}

// tellFailed tells of a failed attempt: the first of a row, one for another
// reason, and one that matters more than the last because the certificate is
// about to expire.
func (i *Issuer) tellFailed(ca *authority, out outcome, next state.CertJob, now time.Time) {
	before, known := i.told.Get(next.Host)
	severity := state.SeverityWarning
	if pressing(next, now) {
		severity = state.SeverityCritical
	}
	if known && before.severity.Rank() >= severity.Rank() && (before.problems[0] == next.Problem || before.problems[1] == next.Problem) {
		return
	}
	i.told.Add(next.Host, told{problems: [2]string{next.Problem, before.problems[0]}, severity: severity})
	evidence := map[string]string{"ca": ca.Directory, "challenge": next.Challenge, "next_try": stamp(next.Due)}
	if !next.NotAfter.IsZero() {
		evidence["not_after"] = stamp(next.NotAfter)
	}
	i.cfg.Event(state.Event{
		Kind: state.KindCertificateFailed, Severity: severity, Host: next.Host,
		Text: "no certificate yet: " + next.Problem, Remedy: i.remedy(out), Evidence: evidence,
	})
}

// tellRescheduled tells that a CA wants a certificate renewed at another time
// than it did, with its reason (RFC 9773 §4.2: the operator should see it).
func (i *Issuer) tellRescheduled(ca *authority, job state.CertJob) {
	i.log.Info("the CA asks for another time of renewal", "host", job.Host, "step", "renewal-info", "directory", ca.Directory,
		"renewal", job.Due, "window_start", job.WindowStart, "window_end", job.WindowEnd, "explanation", job.Explanation)
	e := state.Event{
		Kind: state.KindCertificateRescheduled, Severity: state.SeverityInfo, Host: job.Host,
		Text: ca.Directory + " asks for the renewal of this certificate between " +
			stamp(job.WindowStart) + " and " + stamp(job.WindowEnd),
		Evidence: map[string]string{"ca": ca.Directory, "renewal": stamp(job.Due)},
	}
	if job.Explanation != "" {
		e.Severity = state.SeverityWarning
		e.Remedy = "nothing, it is renewed by itself; the CA gives its reason at " + job.Explanation
		e.Evidence["explanation"] = job.Explanation
	}
	i.cfg.Event(e)
}

// remedy says what the operator can do about an outcome.
func (i *Issuer) remedy(out outcome) string {
	switch out.verdict {
	case refused:
		return "the host must lead to this server: the CA connects to its port 443 (tls-alpn-01) or 80 (http-01)"
	case limited, limitedHost:
		return "nothing: it is tried again when the CA's limit is over"
	case misset:
		return out.remedy
	case unavailable:
		if len(i.cas) == 1 {
			return "nothing, if the CA recovers; with a second CA in [acme.fallback] there is no need to wait for that"
		}
		return "nothing, if the CA recovers; if it does not, look at the reason"
	}
	return ""
}
