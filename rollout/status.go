package rollout

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
)

// aboutMX reports whether a finding is about MX hosts.
func aboutMX(code string) bool {
	return strings.HasPrefix(code, "STS-MX-") || strings.HasPrefix(code, "STS-DANE-")
}

// Rollout returns how a domain stands, by the last look at its gates.
func (m *Manager) Rollout(ctx context.Context, name string) (state.RolloutStatus, error) {
	d, ok := m.get(name)
	if !ok {
		if s, hosted := m.cfg.Reconciler.Snapshot(name); hosted && s.Orphan {
			return m.leftUnseen(name), nil
		}
		return state.RolloutStatus{}, errNotHosted(name)
	}
	if d.dormant() {
		return m.leftUnseen(name), nil
	}
	row, err := m.rowOf(ctx, &d)
	if err != nil {
		return state.RolloutStatus{}, err
	}
	known := d.row != nil
	d.row = &row
	s := m.status(d)
	if _, served := m.cfg.Served(name); !served && !known {
		s.Stage, s.Mode, s.MaxAge, s.Entered, s.Confirmed = "", "", 0, time.Time{}, time.Time{}
		s.Awaits = "no policy is served yet"
	}
	return s, m.addUntil(ctx, &s)
}

// dormant reports whether the domain left the config while no server ran, so that
// it is served as before. If it comes back, all is as it was.
func (d *domain) dormant() bool { return d.conf == nil && (d.row == nil || !d.row.Left) }

// leftUnseen is the status of such a domain.
func (m *Manager) leftUnseen(name string) state.RolloutStatus {
	served, _ := m.cfg.Served(name)
	return state.RolloutStatus{
		Domain: name, Left: true, Mode: string(served.Mode), MaxAge: seconds(served.MaxAge),
		Awaits: "the domain left the config while no server ran, and is served as before",
		Remedy: "`stshost retire " + name + "` takes it out of MTA-STS; or put it back into the config and reload",
	}
}

// Rollouts is Rollout for all domains, sorted by name, without gates and steps.
func (m *Manager) Rollouts(ctx context.Context) ([]state.RolloutStatus, error) {
	all := make([]state.RolloutStatus, 0)
	for _, name := range m.names() {
		d, ok := m.get(name)
		if !ok {
			continue
		}
		if d.dormant() {
			all = append(all, m.leftUnseen(name))
			continue
		}
		row, err := m.rowOf(ctx, &d)
		if err != nil {
			return nil, err
		}
		d.row = &row
		s := m.status(d)
		s.Gates, s.Steps = nil, nil
		all = append(all, s)
	}
	return all, nil
}

// Left are the domains that the config names no longer and that retire, sorted.
func (m *Manager) Left() (all []string) {
	for _, name := range m.names() {
		if d, ok := m.get(name); ok && d.row != nil && d.row.Left {
			all = append(all, name)
		}
	}
	return all
}

// Counts is how many domains are on their way, and how.
type Counts struct {
	Going    int // to enforce
	Held     int // the same, but a gate is closed that somebody has to open
	Paused   int
	Retiring int
}

// Counts counts the domains.
func (m *Manager) Counts() (c Counts) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, d := range m.domains {
		switch r := d.row; {
		case r == nil, r.Goal == state.GoalStay:
		case r.Goal == state.GoalRetire:
			c.Retiring++
		case r.Paused:
			c.Paused++
		case r.Held != "":
			c.Held++
		default:
			c.Going++
		}
	}
	return c
}

// Stage is the short of Rollout for a table: where a domain is, and where it goes.
// It asks no store.
func (m *Manager) Stage(name string) (s state.RolloutStatus, ok bool) {
	d, ok := m.get(name)
	if ok && d.row == nil && len(d.kept.names) > 0 {
		return state.RolloutStatus{Domain: name, Kept: d.kept.names, Until: d.keptDue()}, true
	}
	if !ok || d.row == nil || d.dormant() {
		return state.RolloutStatus{}, false
	}
	return m.status(d), true
}

// status is what can be said of a domain, whose row is the real one or what a
// rollout would begin with.
func (m *Manager) status(d domain) state.RolloutStatus {
	row := *d.row
	s := state.RolloutStatus{
		Domain: d.name, Stage: row.Stage, Goal: row.Goal, Entered: row.Entered, Confirmed: row.Confirmed,
		Paused: row.Paused, Left: row.Left, MX: row.MX, Kept: d.kept.names, Until: d.keptDue(),
		Gates: d.seen.gates, Checked: d.seen.at,
	}
	if d.conf == nil {
		s.Mode, s.MaxAge = string(mtasts.ModeNone), seconds(noneMaxAge)
	} else {
		s.Profile = d.conf.Profile
		p := placeOf(row)
		s.Mode, s.MaxAge, s.Full = string(d.conf.policy(p).Mode), seconds(d.conf.maxAge(p)), d.conf.full(p)
		if d.conf.pinned() {
			s.Pinned, s.Mode, s.MaxAge = d.conf.Wanted.Source, string(d.conf.Wanted.Mode), seconds(d.conf.Wanted.MaxAge)
			s.Stage, s.Full, s.Entered, s.Confirmed = "", false, time.Time{}, time.Time{}
			return s
		}
	}
	if row.Stage == state.StageRetired {
		s.Mode, s.MaxAge = "", 0
		s.Awaits, s.Remedy = "the domain has left MTA-STS", fmt.Sprintf("remove its [[domain]] from the config, or take it back to testing with `stshost rollback %s`", d.name)
		return s
	}
	if row.Stage == state.StageRetiring && row.Goal != state.GoalRetire { // found so, and going nowhere
		s.Stage, s.Awaits = "", "the policy says none"
		s.Remedy = fmt.Sprintf("`stshost rollout %s` takes it to testing and on; `stshost retire %s` out of MTA-STS", d.name, d.name)
	}
	m.addAwaited(d, &s)
	if d.conf != nil && row.Goal != state.GoalRetire {
		s.Steps = m.steps(d)
	}
	return s
}

// addAwaited says what a domain on its way waits for.
func (m *Manager) addAwaited(d domain, s *state.RolloutStatus) {
	g, held := state.ClosedGate(s.Gates)
	switch {
	case d.row.Goal == state.GoalRetire && d.row.Stage == state.StageRetiring:
		s.Awaits = "the policy says none; the record goes once no sender can hold an earlier policy"
	case d.row.Goal == state.GoalRetire:
		s.Awaits = "the record is being removed"
		if snapshot, ok := m.cfg.Reconciler.Snapshot(d.name); ok && snapshot.State.LastError != "" {
			s.Awaits, s.Remedy = snapshot.State.LastError, snapshot.State.Remedy
		}
	case d.row.Goal != state.GoalEnforce:
	case d.row.Paused:
		s.Awaits, s.Remedy = "the rollout is paused", "`stshost rollout resume "+d.name+"` has it go on"
	case d.conf != nil && d.conf.full(placeOf(*d.row)) && d.row.Back == nil && d.row.Confirmed.IsZero():
		s.Awaits = "the last policy is being announced"
	case d.row.Confirmed.IsZero() && len(s.Gates) == 0:
		s.Awaits = "the policy of this stage is being announced"
	case held:
		s.Awaits, s.Remedy, s.Next = fmt.Sprintf("the gate %s is %s: %s (wanted: %s)", g.Name, g.State, g.Value, g.Wanted), g.Remedy, g.At
		s.Refused = !g.Awaited
	case len(s.Gates) > 0:
		s.Awaits = "every gate is open"
	default:
		s.Awaits = "the gates are being looked at"
	}
	if due := d.due; s.Next.IsZero() && d.index >= 0 && !d.row.Paused && due.After(m.cfg.Now()) {
		s.Next = due
	}
}

// steps are the stages from the present one on, and when each can be reached at the
// earliest.
func (m *Manager) steps(d domain) []state.RolloutStep {
	p := placeOf(*d.row)
	now := m.cfg.Now()
	step := func(p place) state.RolloutStep {
		return state.RolloutStep{Stage: p.stage, Mode: string(d.conf.policy(p).Mode), MaxAge: seconds(d.conf.maxAge(p))}
	}
	first := step(p)
	first.Since = d.row.Confirmed
	all := []state.RolloutStep{first}
	from := d.row.Confirmed
	if from.IsZero() {
		from = now
	}
	back := d.row.Back
	for range len(d.conf.Ramp) + 3 {
		next, more := d.conf.next(p)
		if back != nil && back.Stage == state.StageEnforce {
			next, more = place{back.Stage, back.MaxAge}, true
		}
		if !more {
			break
		}
		if wait := d.conf.stay(p); p.stage == state.StageTesting || p.stage == state.StageEnforce {
			if d.row.Hasty || back != nil {
				wait = 0
			}
			from = from.Add(wait)
		}
		if from.Before(now) {
			from = now
		}
		back = nil
		s := step(next)
		s.From = from
		all = append(all, s)
		p = next
	}
	return all
}

// addUntil says until when the policy of a domain that retires is served.
func (m *Manager) addUntil(ctx context.Context, s *state.RolloutStatus) error {
	if s.Stage != state.StageRetiring || s.Goal != state.GoalRetire {
		return nil
	}
	ledger, err := m.cfg.Store.Bodies(ctx, s.Domain)
	if err != nil {
		return err
	}
	end, _ := horizon(ledger, m.cfg.Now())
	s.Until = end
	if !end.IsZero() {
		s.Awaits = fmt.Sprintf("the policy says none; senders may hold an earlier policy until %s, then the record goes", stamp(end))
	}
	return nil
}

func seconds(d time.Duration) int64 { return int64(d / time.Second) }
