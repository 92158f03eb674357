package server_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
	"github.com/stshost/stshost/server"
)

// rollouts is a Rollouts that knows a.example, b.example, whose gate is closed,
// c.example, whose mode is pinned, d.example, at which no command means anything,
// and e.example, which fails.
type rollouts struct {
	now   time.Time
	asked []string // what was called with what
	look  func(context.Context) error
}

var (
	closedGate = state.Gate{Name: state.GateTLS, State: state.GateUnmet, Value: "mx2 offers <no> TLS", Wanted: "each passes", Remedy: "switch it on"}
	refused    = &state.RefusedError{Gate: closedGate, Status: state.RolloutStatus{
		Domain: "b.example", Stage: state.StageTesting, Refused: true, Gates: []state.Gate{
			{Name: state.GateTime, State: state.GateUnmet, Value: "2 days", Wanted: "14 days", Awaited: true, At: time.Date(2026, 1, 14, 0, 0, 0, 0, time.UTC)},
			closedGate,
		},
	}}
	pinned  = &state.PinnedError{Domain: "c.example", Mode: mtasts.ModeTesting, Source: "a.toml:7"}
	noStage = &state.StageError{Text: "d.example is retired; there is nothing to take back"}
)

func (r *rollouts) ask(what string, args ...any) error {
	r.asked = append(r.asked, strings.TrimSuffix(what+" "+fmt.Sprintln(args...), "\n"))
	switch args[0] {
	case "a.example":
		return nil
	case "b.example":
		return fmt.Errorf("inner: %w", refused)
	case "c.example":
		return fmt.Errorf("inner: %w", pinned)
	case "d.example":
		return fmt.Errorf("inner: %w", noStage)
	case "e.example":
		return errors.New("sqlite: password=hunter2")
	}
	return fmt.Errorf("domain %q: %w", args[0], state.ErrNotFound)
}

// aRollout has every field set.
func (r *rollouts) aRollout() state.RolloutStatus {
	return state.RolloutStatus{
		Domain: "a.example", Stage: state.StageTesting, Goal: state.GoalEnforce, Profile: "office", Pinned: "a.toml:1",
		Mode: "testing", MaxAge: 86400, Full: true, Entered: r.now, Confirmed: r.now, Paused: true, Left: true,
		Gates: []state.Gate{closedGate, {Name: state.GateTime, State: state.GateWaived, Value: "a", Wanted: "b", Awaited: true, At: r.now}}, Checked: r.now,
		Refused: true, Awaits: "mx2", Remedy: "switch it on", Next: r.now,
		Steps: []state.RolloutStep{{Stage: state.StageTesting, Mode: "testing", MaxAge: 86400, Since: r.now}, {Stage: state.StageEnforce, Mode: "enforce", MaxAge: 604800, From: r.now}},
		MX:    []string{"mx1.a.example"}, Kept: []string{"mx0.a.example"}, Until: r.now,
	}
}

func (r *rollouts) status(what, domain string) (state.RolloutStatus, error) {
	return r.aRollout(), r.ask(what, domain)
}

func (r *rollouts) Rollout(_ context.Context, domain string) (state.RolloutStatus, error) {
	return r.status("Rollout", domain)
}
func (r *rollouts) PauseRollout(_ context.Context, domain string) (state.RolloutStatus, error) {
	return r.status("PauseRollout", domain)
}
func (r *rollouts) ResumeRollout(_ context.Context, domain string) (state.RolloutStatus, error) {
	return r.status("ResumeRollout", domain)
}
func (r *rollouts) Rollback(_ context.Context, domain string) (state.RolloutStatus, error) {
	return r.status("Rollback", domain)
}
func (r *rollouts) Retire(_ context.Context, domain string) (state.RolloutStatus, error) {
	return r.status("Retire", domain)
}

func (r *rollouts) Rollouts(context.Context) ([]state.RolloutStatus, error) {
	return []state.RolloutStatus{{Domain: "a.example", Stage: state.StageTesting}, {Domain: "b.example"}}, nil
}

func (r *rollouts) order(ctx context.Context, what, domain string, o state.RolloutOrder) (state.RolloutStatus, error) {
	if r.look != nil {
		return r.aRollout(), r.look(ctx)
	}
	text, err := json.Marshal(o)
	if err != nil {
		return state.RolloutStatus{}, err
	}
	return r.aRollout(), r.ask(what, domain, string(text))
}

func (r *rollouts) StartRollout(ctx context.Context, domain string, o state.RolloutOrder) (state.RolloutStatus, error) {
	return r.order(ctx, "StartRollout", domain, o)
}
func (r *rollouts) PlanRollout(ctx context.Context, domain string, o state.RolloutOrder) (state.RolloutStatus, error) {
	return r.order(ctx, "PlanRollout", domain, o)
}

func (r *rollouts) Horizon(_ context.Context, domain, mx string) (state.Horizon, error) {
	h := state.Horizon{Domain: domain, MX: mx, Until: r.now, Open: true, Text: "not yet", Remedy: "wait"}
	if mx != "" {
		h.Bodies = []state.HorizonBody{{
			SHA256: "00ff", Mode: "enforce", MaxAge: 604800, MX: []string{mx}, First: r.now, Last: r.now, Until: r.now, Adopted: true, Matters: true, Why: "it names " + mx,
		}}
	}
	return h, r.ask("Horizon", domain, mx)
}

func (r *rollouts) AcceptMX(ctx context.Context, domain string, hosts ...string) (state.MXChange, error) {
	if r.look != nil {
		return state.MXChange{}, r.look(ctx)
	}
	return state.MXChange{Domain: domain, MX: []string{"mx1.a.example"}, Text: "nothing to accept"}, r.ask("AcceptMX", domain, strings.Join(hosts, " "))
}

var rolloutTime = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// startRollouts serves the admin interface over TCP, at rolloutTime.
func startRollouts(t *testing.T, b *backend) (addr string, r *rollouts) {
	t.Helper()
	r = &rollouts{now: rolloutTime}
	s := newServer(t, server.Config{Policies: server.NewPolicies(), Backend: b, Rollouts: r, Now: func() time.Time { return rolloutTime }})
	return serve(t, s.ServeAdmin), r
}
