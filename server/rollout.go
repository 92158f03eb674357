package server

import (
	"context"

	"github.com/stshost/stshost/internal/state"
)

// Rollouts takes domains from testing to enforce, back, and out of MTA-STS.
// Domains are given in lower-case A-labels. An error wraps state.ErrNotFound if
// the domain is neither configured nor known, is a *state.PinnedError if the
// config decides its mode, and a *state.StageError if the command means nothing
// at the stage that the domain has.
type Rollouts interface {
	// Rollout returns how a domain stands, by the last look at its gates.
	Rollout(ctx context.Context, domain string) (state.RolloutStatus, error)
	// Rollouts is Rollout for all domains, sorted by name, without gates and steps.
	Rollouts(ctx context.Context) ([]state.RolloutStatus, error)
	// StartRollout looks at the gates and has the domain taken to enforce, or
	// returns a *state.RefusedError and changes nothing. It may take a minute. A
	// domain that is on its way already takes the order over.
	StartRollout(ctx context.Context, domain string, o state.RolloutOrder) (state.RolloutStatus, error)
	// PlanRollout says what StartRollout would do, and when, and changes nothing.
	PlanRollout(ctx context.Context, domain string, o state.RolloutOrder) (state.RolloutStatus, error)
	// PauseRollout has no step made until ResumeRollout.
	PauseRollout(ctx context.Context, domain string) (state.RolloutStatus, error)
	ResumeRollout(ctx context.Context, domain string) (state.RolloutStatus, error)
	// Rollback takes a domain back to testing, from enforce or while it retires.
	Rollback(ctx context.Context, domain string) (state.RolloutStatus, error)
	// Retire takes a domain out of MTA-STS (RFC 8461 §8.3).
	Retire(ctx context.Context, domain string) (state.RolloutStatus, error)
	// Horizon says when an MX host, or with mx "" the domain as a whole, can go
	// without loss of mail.
	Horizon(ctx context.Context, domain, mx string) (state.Horizon, error)
	// AcceptMX has the policy name the MX hosts that the DNS has and it does not; with
	// hosts: these of them.
	AcceptMX(ctx context.Context, domain string, hosts ...string) (state.MXChange, error)
}
