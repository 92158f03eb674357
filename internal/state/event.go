package state

import "time"

// Severity is how much an event matters to whoever runs the server.
type Severity string

// The severities, from the least.
const (
	// SeverityInfo: something went as it should. Nothing is to be done.
	SeverityInfo Severity = "info"
	// SeverityWarning: something is not as it should be and mail still flows
	// as announced. Somebody should look at it in the next days.
	SeverityWarning Severity = "warning"
	// SeverityCritical: mail may be lost, or soon will be. Somebody should
	// look at it now.
	SeverityCritical Severity = "critical"
)

// Rank orders severities: 1 for info, 2 for warning, 3 for critical, and 0
// for what is none of them.
func (s Severity) Rank() int {
	switch s {
	case SeverityInfo:
		return 1
	case SeverityWarning:
		return 2
	case SeverityCritical:
		return 3
	}
	return 0
}

// Event is something that happened, as it is told to people: what, when, why,
// and by what evidence.
type Event struct {
	ID       int64     // rises with the order of storing; 0 before it is stored
	Time     time.Time // when it happened; the sink fills it in where it is zero
	Kind     string    // one of the Kind constants
	Severity Severity
	Domain   string            // policy domain in A-labels, or ""
	Host     string            // host the event is about, or ""
	Text     string            // what happened and why, one sentence, written as errors are: no capital, no full stop
	Remedy   string            // what the operator can do about it, or ""
	Evidence map[string]string // what the text rests on, by short keys; never a secret
}

// EventQuery chooses events. Fields that are zero leave all.
type EventQuery struct {
	Domain      string // policy domain in A-labels
	Host        string
	Kind        string
	MinSeverity Severity  // and whatever is graver
	Since       time.Time // events of this time or later
	After       int64     // events with a higher ID
	Limit       int       // at most so many; 0: DefaultEvents
	// Newest takes the newest of them where Limit cuts, in place of the
	// oldest. The answer begins with the oldest either way.
	Newest bool
}

// DefaultEvents is how many events a question without a limit gets.
const DefaultEvents = 100

// The kinds of events. The part before the dot is what the event is about.
const (
	// KindDomainStep: a policy domain reached a step on its way.
	KindDomainStep = "domain.step"
	// KindDomainBlocked: a policy domain cannot go on, for a new reason.
	KindDomainBlocked = "domain.blocked"
	// KindDomainRecovered: what blocked a policy domain is over.
	KindDomainRecovered = "domain.recovered"
	// KindDomainAdded: the config names a policy domain that it did not name before.
	KindDomainAdded = "domain.added"
	// KindDomainChanged: the config wants something else for a policy domain.
	KindDomainChanged = "domain.changed"
	// KindDomainLeft: the config names a policy domain no longer.
	KindDomainLeft = "domain.left"

	// KindRecordRepaired: the announced record was not in DNS as it should be
	// and was put back.
	KindRecordRepaired = "record.repaired"
	// KindRecordMoved: the CNAME at a record's name leads elsewhere than before.
	KindRecordMoved = "record.moved"
	// KindPolicyServed: another policy body is served.
	KindPolicyServed = "policy.served"

	// KindCertificateIssued: a CA issued a certificate.
	KindCertificateIssued = "certificate.issued"
	// KindCertificateFailed: an attempt at a certificate failed.
	KindCertificateFailed = "certificate.failed"
	// KindCertificateFallback: certificates are ordered from the other CA.
	KindCertificateFallback = "certificate.fallback"
	// KindCertificateRescheduled: the CA asked for another time of renewal
	// (ACME Renewal Information, RFC 9773).
	KindCertificateRescheduled = "certificate.rescheduled"
	// KindCertificateOwn: a certificate of the operator's own was loaded,
	// changed or refused.
	KindCertificateOwn = "certificate.own"

	// KindHostBlocked: a host beside the policy hosts has no certificate, for a
	// new reason.
	KindHostBlocked = "host.blocked"
	// KindHostRecovered: what blocked such a host is over.
	KindHostRecovered = "host.recovered"

	// KindMXFailed: senders that honour the policy would refuse an MX host.
	KindMXFailed = "mx.failed"
	// KindMXRecovered: they would refuse none any more.
	KindMXRecovered = "mx.recovered"

	// KindMXGuard: in enforce, every address of an MX host that used to pass fails.
	KindMXGuard = "mx.guard"
	// KindMXDrift: the MX records name a host that the policy does not.
	KindMXDrift = "mx.drift"
	// KindMXAccepted: the policy names further MX hosts from now on.
	KindMXAccepted = "mx.accepted"

	// KindRolloutStarted: a domain is taken to enforce.
	KindRolloutStarted = "rollout.started"
	// KindRolloutStep: a domain goes on to another stage.
	KindRolloutStep = "rollout.step"
	// KindRolloutHeld: a gate is closed that will not open by itself.
	KindRolloutHeld = "rollout.held"
	// KindRolloutDone: the last stage is reached and confirmed.
	KindRolloutDone = "rollout.done"
	// KindRolloutPaused: the way is paused, or goes on.
	KindRolloutPaused = "rollout.paused"
	// KindRolloutBack: a domain falls back to testing.
	KindRolloutBack = "rollout.back"
	// KindRolloutRetired: a domain leaves MTA-STS, or has left it.
	KindRolloutRetired = "rollout.retired"

	// KindServerStarted: the server serves.
	KindServerStarted = "server.started"
	// KindServerStopped: the server was asked to stop and did.
	KindServerStopped = "server.stopped"
	// KindConfigReloaded: the running server took over a changed config.
	KindConfigReloaded = "config.reloaded"
	// KindConfigRefused: a changed config has faults; the old one stays.
	KindConfigRefused = "config.refused"

	// KindStoreLost: events were not kept, because the store could not be
	// written for too long.
	KindStoreLost = "store.lost"
	// KindStoreRestored: a backup was put in the place of the store. What
	// happened between the two is in no event.
	KindStoreRestored = "store.restored"
)

// EventKinds returns the kinds of events, sorted.
func EventKinds() []string {
	return []string{
		KindCertificateFailed, KindCertificateFallback, KindCertificateIssued, KindCertificateOwn, KindCertificateRescheduled,
		KindConfigRefused, KindConfigReloaded,
		KindDomainAdded, KindDomainBlocked, KindDomainChanged, KindDomainLeft, KindDomainRecovered, KindDomainStep,
		KindHostBlocked, KindHostRecovered,
		KindMXAccepted, KindMXDrift, KindMXFailed, KindMXGuard, KindMXRecovered,
		KindPolicyServed, KindRecordMoved, KindRecordRepaired,
		KindRolloutBack, KindRolloutDone, KindRolloutHeld, KindRolloutPaused, KindRolloutRetired, KindRolloutStarted, KindRolloutStep,
		KindServerStarted, KindServerStopped, KindStoreLost, KindStoreRestored,
	}
}
