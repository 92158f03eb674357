package acme

import (
	"time"

	"github.com/stshost/stshost/internal/state"
)

// Stats counts what an Issuer has done since it was made.
type Stats struct {
	Orders  uint64 // newOrder requests sent to the CAs
	Issued  uint64 // certificates stored
	Failed  uint64 // attempts that ended without one
	Running int    // attempts running now

	// PausedUntil is until when no attempt starts, and PauseReason why: the
	// CA's Retry-After, the order budget, an outage. Zero when none holds.
	// Renewals that a CA has suggested may start in spite of the budget.
	PausedUntil time.Time
	PauseReason string

	PerCA []CAStats // in the order of the config
}

// CAStats is what Stats says of one CA.
type CAStats struct {
	Directory              string
	Orders, Issued, Failed uint64

	// PausedUntil is until when no attempt starts at this CA, and PauseReason
	// why. Zero when none holds.
	PausedUntil time.Time
	PauseReason string
}

// Stats returns the present counts.
func (i *Issuer) Stats() Stats {
	now := i.now()
	s := Stats{Running: int(i.running.Load())}
	for _, c := range i.cas {
		ca := CAStats{Directory: c.Directory, Orders: c.orders.Load(), Issued: c.issued.Load(), Failed: c.failed.Load()}
		for _, p := range []*pause{&c.pause, &c.spent} {
			if until, reason, ok := p.get(now); ok && until.After(ca.PausedUntil) {
				ca.PausedUntil, ca.PauseReason = until, reason
			}
		}
		s.Orders, s.Issued, s.Failed = s.Orders+ca.Orders, s.Issued+ca.Issued, s.Failed+ca.Failed
		s.PerCA = append(s.PerCA, ca)
	}
	if until, reason, ok := i.held(state.CertJob{}, now); ok {
		s.PausedUntil, s.PauseReason = until, reason
	}
	return s
}
