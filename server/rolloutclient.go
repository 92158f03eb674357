package server

import (
	"context"
	"encoding/json"
	"net/http"
	"net/url"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
)

var _ Rollouts = (*Client)(nil)

// Rollout returns how a domain stands, by the last look at its gates.
func (c *Client) Rollout(ctx context.Context, domain string) (state.RolloutStatus, error) {
	var r state.RolloutStatus
	err := c.do(ctx, http.MethodGet, &r, "domains", domain, "rollout")
	return r, err
}

// Rollouts is Rollout for all domains, sorted by name, without gates and steps.
func (c *Client) Rollouts(ctx context.Context) ([]state.RolloutStatus, error) {
	var r rolloutList
	err := c.do(ctx, http.MethodGet, &r, "rollouts")
	return r.Rollouts, err
}

// StartRollout has the gates looked at and the domain taken to enforce, or
// returns a *state.RefusedError, and nothing has changed. It may take 90 seconds.
func (c *Client) StartRollout(ctx context.Context, domain string, o state.RolloutOrder) (state.RolloutStatus, error) {
	var r state.RolloutStatus
	err := c.ask(ctx, http.MethodPost, o, &r, "domains/"+url.PathEscape(domain)+"/rollout")
	return r, err
}

// PlanRollout says what StartRollout would do, and when. It takes as long.
func (c *Client) PlanRollout(ctx context.Context, domain string, o state.RolloutOrder) (state.RolloutStatus, error) {
	var r state.RolloutStatus
	err := c.ask(ctx, http.MethodPost, o, &r, "domains/"+url.PathEscape(domain)+"/rollout/plan")
	return r, err
}

// PauseRollout has no step made until ResumeRollout.
func (c *Client) PauseRollout(ctx context.Context, domain string) (state.RolloutStatus, error) {
	return c.command(ctx, domain, "rollout", "pause")
}

// ResumeRollout ends what PauseRollout began.
func (c *Client) ResumeRollout(ctx context.Context, domain string) (state.RolloutStatus, error) {
	return c.command(ctx, domain, "rollout", "resume")
}

// Rollback takes a domain back to testing.
func (c *Client) Rollback(ctx context.Context, domain string) (state.RolloutStatus, error) {
	return c.command(ctx, domain, "rollback")
}

// Retire takes a domain out of MTA-STS (RFC 8461 §8.3).
func (c *Client) Retire(ctx context.Context, domain string) (state.RolloutStatus, error) {
	return c.command(ctx, domain, "retire")
}

// Horizon says when an MX host, or with mx "" the domain as a whole, can go
// without loss of mail.
func (c *Client) Horizon(ctx context.Context, domain, mx string) (state.Horizon, error) {
	target := "domains/" + url.PathEscape(domain) + "/horizon"
	if mx != "" {
		target += "?" + url.Values{"mx": {mx}}.Encode()
	}
	var r state.Horizon
	err := c.ask(ctx, http.MethodGet, nil, &r, target)
	return r, err
}

// AcceptMX has the policy name the MX hosts that the DNS has and it does not; with
// hosts: these of them.
func (c *Client) AcceptMX(ctx context.Context, domain string, hosts ...string) (state.MXChange, error) {
	var r state.MXChange
	err := c.ask(ctx, http.MethodPost, mxOrder{hosts}, &r, "domains/"+url.PathEscape(domain)+"/mx/accept")
	return r, err
}

// command gives a command that needs no more than the domain.
func (c *Client) command(ctx context.Context, domain string, path ...string) (state.RolloutStatus, error) {
	var r state.RolloutStatus
	err := c.do(ctx, http.MethodPost, &r, append([]string{"domains", domain}, path...)...)
	return r, err
}

// conflictError is conflict's way back.
func conflictError(body []byte, detail string) error {
	var p conflictProblem
	switch err := json.Unmarshal(body, &p); {
	case err == nil && p.Rollout != nil && p.Gate != nil:
		return &state.RefusedError{Status: *p.Rollout, Gate: *p.Gate}
	case err == nil && p.Pinned != nil:
		return &state.PinnedError{Domain: p.Pinned.Domain, Mode: mtasts.Mode(p.Pinned.Mode), Source: p.Pinned.Source}
	}
	return &state.StageError{Text: detail}
}
