package acme

import (
	"context"
	"encoding/json"
	"errors"
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

// CABudget is what is left of the budget of orders at one CA.
type CABudget struct {
	Directory string
	Limit     int // orders in any 3 hours
	Left      int // that may be sent now
}

// Budget reads what is left of the budgets, in the order of the config.
func (i *Issuer) Budget(ctx context.Context) ([]CABudget, error) {
	var all []CABudget
	for _, c := range i.cas {
		b := CABudget{Directory: c.Directory, Limit: c.OrdersPer3Hours, Left: c.OrdersPer3Hours}
		var account storedAccount
		data, err := i.store.ACMEData(ctx, accountKey(c.Directory))
		if err != nil && !errors.Is(err, state.ErrNotFound) {
			return nil, &storeError{err}
		}
		if err == nil && json.Unmarshal(data, &account) == nil && account.KID != "" {
			spent, err := i.store.OrdersSince(ctx, account.KID, i.now().Add(-orderWindow))
			if err != nil {
				return nil, &storeError{err}
			}
			b.Left = max(0, b.Limit-spent)
		}
		all = append(all, b)
	}
	return all, nil
}

// Queue counts the jobs of the queue.
func (i *Issuer) Queue(ctx context.Context) (state.CertJobCounts, error) {
	counts, err := i.store.CountCertJobs(ctx, i.now())
	if err != nil {
		return counts, &storeError{err}
	}
	return counts, nil
}
