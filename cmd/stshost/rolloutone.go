package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
	"github.com/stshost/stshost/server"
)

// roller takes domains to enforce, or says how that would go.
type roller struct {
	client server.Rollouts
	rolloutSettings
	order state.RolloutOrder
	screen
}

// one starts the rollout of one domain and follows it.
func (r *roller) one(ctx context.Context, domain string) error {
	if _, host := mtasts.PolicyDomain(domain); host { // before there is an order for either
		s, err := askDomain(ctx, domain, r.client.Rollout)
		if err != nil {
			return err
		}
		domain = s.Domain
	}
	do := r.client.StartRollout
	if r.plan {
		do = r.client.PlanRollout
	}
	if terminal(r.errOut) && !r.json { // it takes a minute, perhaps
		fmt.Fprintf(r.errOut, "the gates of %s are being looked at …\n", domain)
	}
	s, err := do(ctx, domain, r.order)
	var refused *state.RefusedError
	switch {
	case errors.As(err, &refused):
		return r.refused(refused)
	case err != nil && ctx.Err() != nil && r.plan:
		return errors.New("interrupted before the server had answered")
	case err != nil && ctx.Err() != nil:
		return fmt.Errorf("interrupted before the server had answered; `stshost status %s` says whether the rollout was started", domain)
	case err != nil:
		return err
	case r.plan:
		return r.answer(s, func(st style) string { return st.rolloutPlan(s) })
	case arrived(s):
		return r.answer(s, func(st style) string { return st.wrapped(escaped(nothingLeft(s))) + "\n" })
	case r.detach:
		return r.answer(s, func(st style) string { return st.rollout(s) + "\n" + st.wrapped(goesOn(s.Domain)) + "\n" })
	}
	return r.follow(ctx, s.Domain)
}

// refused says why a rollout does not begin.
func (r *roller) refused(e *state.RefusedError) error {
	if err := r.answer(e.Status, func(st style) string { return st.gates(e.Status.Gates) + "\n" }); err != nil {
		return err
	}
	fmt.Fprintln(r.errOut, styleOf(r.errOut).wrapped(refusal(e)))
	return exitError(1)
}

// goesOn says what becomes of a rollout that nobody watches.
func goesOn(domain string) string {
	return fmt.Sprintf("The server goes on with %s by itself; `stshost status %s` shows how far it is, and `stshost rollout %s` follows it.", domain, domain, domain)
}

// follow shows a rollout until the domain has arrived, or goes on no longer.
func (r *roller) follow(ctx context.Context, domain string) error {
	var last state.RolloutStatus
	err := follow(ctx, r.screen, watched[state.RolloutStatus]{
		ask:    func(ctx context.Context) (state.RolloutStatus, error) { return r.client.Rollout(ctx, domain) },
		every:  followEvery,
		text:   func(st style, s state.RolloutStatus) string { return st.rollout(s) + st.footer() },
		brief:  func(st style, s state.RolloutStatus) string { return st.rolloutBrief(s) + st.footer() },
		line:   rolloutLine,
		value:  func(s state.RolloutStatus) any { return s },
		key:    rolloutKey,
		over:   func(s state.RolloutStatus) (bool, error) { last = s; return rolloutOver(s) },
		goesOn: goesOn(domain),
	})
	if err = stalled(r.screen, err); err != nil || !arrived(last) || r.json {
		return err
	}
	_, err = fmt.Fprintln(r.out, styleOf(r.out).wrapped("done: "+escaped(nothingLeft(last))))
	return err
}

// footer is below what somebody watches.
func (st style) footer() string {
	return "\n" + st.wrapped("The server goes on by itself; Ctrl-C ends this view alone.") + "\n"
}

// rolloutOver says whether a rollout has come to its end, and if it does not go on,
// why.
func rolloutOver(s state.RolloutStatus) (bool, error) {
	switch {
	case arrived(s):
		return true, nil
	case s.Pinned != "", s.Goal != state.GoalEnforce:
		return true, &stalledError{"called off: " + headline(s), s.Remedy}
	case s.Paused:
		return true, &stalledError{"paused: " + headline(s), s.Remedy}
	case s.Refused:
		return true, &stalledError{"held up: " + s.Domain + " stays in " + placeText(s.Stage, s.MaxAge) + ": " + s.Awaits, s.Remedy}
	}
	return false, nil
}
