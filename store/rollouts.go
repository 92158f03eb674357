package store

import (
	"context"
	"errors"
	"fmt"

	"github.com/stshost/stshost/internal/state"
)

// Rollouts returns how far every domain that was ever taken anywhere has been
// taken, ordered by domain.
func (s *Store) Rollouts(ctx context.Context) ([]state.Rollout, error) {
	return list(ctx, s, "read the rollouts", scanRollout, s.dialect.statements.rollouts)
}

// SaveRollout writes the rollout of a domain, new or not, and stores the events
// that tell what changed in it, all in one step: a stage is never entered
// untold, and none is told that was not entered. It returns the events' ids, as
// AddEvents does.
func (s *Store) SaveRollout(ctx context.Context, r state.Rollout, events ...state.Event) (ids []int64, err error) {
	what := "save the rollout of " + r.Domain
	args, err := rolloutArgs(r)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", what, err)
	}
	return s.execTold(ctx, what, events, s.dialect.statements.saveRollout, args...)
}

// RemoveRollout forgets the rollout of a domain, if it has one, and stores the
// events that tell of it, all in one step.
func (s *Store) RemoveRollout(ctx context.Context, domain string, events ...state.Event) (ids []int64, err error) {
	return s.execTold(ctx, "remove the rollout of "+domain, events, s.dialect.statements.removeRollout, domain)
}

// back is state.Back as it is stored.
type back struct {
	Stage  state.Stage `json:"stage"`
	MaxAge int64       `json:"max_age"` // seconds
	Goal   state.Goal  `json:"goal"`
}

func rolloutArgs(r state.Rollout) ([]any, error) {
	var was back
	if r.Back != nil {
		was = back{r.Back.Stage, fromSeconds(r.Back.MaxAge), r.Back.Goal}
	}
	waivers, err1 := toJSON(r.Waivers, len(r.Waivers) == 0)
	evidence, err2 := toJSON(r.Evidence, r.Evidence == nil)
	mx, err3 := toJSON(r.MX, len(r.MX) == 0)
	before, err4 := toJSON(was, r.Back == nil)
	return []any{
		r.Domain, string(r.Stage), fromSeconds(r.MaxAge), fromTime(r.Entered), fromTime(r.Confirmed), string(r.Goal),
		fromBool(r.Paused), fromBool(r.Hasty), fromBool(r.NoReports), waivers, evidence, mx,
		fromBool(r.Left), r.Target.Account, r.Target.Zone, r.Target.Name, fromSeconds(r.Target.TTL), before, r.Held,
	}, errors.Join(err1, err2, err3, err4)
}

func scanRollout(row scanner) (state.Rollout, error) {
	var r state.Rollout
	var maxAge, entered, confirmed, ttl int64
	var waivers, evidence, mx, before string
	err := row.Scan(
		&r.Domain, &r.Stage, &maxAge, &entered, &confirmed, &r.Goal,
		&r.Paused, &r.Hasty, &r.NoReports, &waivers, &evidence, &mx,
		&r.Left, &r.Target.Account, &r.Target.Zone, &r.Target.Name, &ttl, &before, &r.Held,
	)
	if err != nil {
		return r, err
	}
	r.Entered, r.Confirmed = toTime(entered), toTime(confirmed)
	r.MaxAge, r.Target.TTL = toSeconds(maxAge), toSeconds(ttl)
	var was *back
	if err := errors.Join(
		readJSON(waivers, &r.Waivers), readJSON(evidence, &r.Evidence), readJSON(mx, &r.MX), readJSON(before, &was),
	); err != nil {
		return r, fmt.Errorf("the rollout of %s is not readable: %w", r.Domain, err)
	}
	for i, w := range r.Waivers {
		r.Waivers[i].Time = toTime(fromTime(w.Time)) // as all times of the store
	}
	if r.Evidence != nil {
		r.Evidence.Time = toTime(fromTime(r.Evidence.Time))
	}
	if was != nil {
		r.Back = &state.Back{Stage: was.Stage, MaxAge: toSeconds(was.MaxAge), Goal: was.Goal}
	}
	return r, nil
}
