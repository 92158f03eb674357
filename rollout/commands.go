package rollout

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
)

// managed returns a domain whose mode the config leaves to us.
func (m *Manager) managed(name string) (domain, error) {
	d, ok := m.get(name)
	switch {
	case !ok:
		return d, errNotHosted(name)
	case d.conf != nil && d.conf.pinned():
		return d, &state.PinnedError{Domain: name, Mode: d.conf.Wanted.Mode, Source: d.conf.Wanted.Source}
	case d.conf == nil && d.row != nil && d.row.Left:
		return d, &state.StageError{Text: fmt.Sprintf("%s is no longer in the config and is being retired; put its [[domain]] back and reload", name)}
	case d.conf == nil:
		return d, errNotHosted(name)
	}
	return d, nil
}

// begin is what a rollout of the domain would begin with.
func (m *Manager) begin(ctx context.Context, name string, o state.RolloutOrder) (d domain, row state.Rollout, err error) {
	if d, err = m.managed(name); err != nil {
		return d, row, err
	}
	if row, err = m.rowOf(ctx, &d); err != nil {
		return d, row, err
	}
	switch {
	case row.Stage == state.StageRetired:
		return d, row, &state.StageError{Text: fmt.Sprintf("%s has left MTA-STS; `stshost rollback %s` takes it back to testing", name, name)}
	case row.Goal == state.GoalRetire:
		return d, row, &state.StageError{Text: fmt.Sprintf("%s is being retired; `stshost rollback %s` takes it back to testing", name, name)}
	}
	if err := m.give(&row, o); err != nil {
		return d, row, err
	}
	return d, row, nil
}

// give puts the order of the operator into a row.
func (m *Manager) give(row *state.Rollout, o state.RolloutOrder) error {
	now := m.cfg.Now()
	if row.Goal != state.GoalEnforce { // what was given to an earlier walk is over
		callOff(row)
	}
	row.Goal = state.GoalEnforce
	row.Hasty = row.Hasty || o.Now
	row.NoReports = row.NoReports || o.AcceptNoReports
	row.Waivers = slices.Clone(row.Waivers)
	for _, w := range o.Waive {
		if !slices.Contains(state.Gates(), w.Gate) {
			return &state.StageError{Text: fmt.Sprintf("there is no gate %q; the gates are %v", w.Gate, state.Gates())}
		}
		w.Time = now
		row.Waivers = slices.DeleteFunc(row.Waivers, func(o state.Waiver) bool { return o.Gate == w.Gate })
		row.Waivers = append(row.Waivers, w)
	}
	if o.Evidence == nil {
		return nil
	}
	e, err := evidenceOf(*o.Evidence, row.Domain, now)
	if err != nil {
		return err
	}
	row.Evidence = e
	return nil
}

// callOff ends the way of a domain, with all that was ordered for it.
func callOff(row *state.Rollout) {
	row.Goal, row.Back, row.Paused, row.Held = state.GoalStay, nil, false, ""
	row.Hasty, row.NoReports, row.Waivers, row.Evidence = false, false, nil, nil
}

// StartRollout has a domain taken to enforce, unless a gate is closed that will not
// be met by itself: then it returns a *state.RefusedError, and nothing has changed.
func (m *Manager) StartRollout(ctx context.Context, name string, o state.RolloutOrder) (status state.RolloutStatus, err error) {
	for range 3 {
		var changed bool
		if status, changed, err = m.start(ctx, name, o); !changed {
			return status, err
		}
	}
	return status, &state.StageError{Text: fmt.Sprintf("%s changed while its gates were looked at; try again", name)}
}

// start is one try of StartRollout; changed says that something happened to the
// domain meanwhile.
func (m *Manager) start(ctx context.Context, name string, o state.RolloutOrder) (status state.RolloutStatus, changed bool, err error) {
	status, d, row, err := m.plan(ctx, name, o)
	if err != nil || d.arrivedAlready(row) {
		return status, false, err
	}
	if row.Paused {
		return status, false, &state.StageError{Text: fmt.Sprintf("the rollout of %s is paused; `stshost rollout resume %s` has it go on", name, name)}
	}
	if g, held := state.ClosedGate(status.Gates); held && !g.Awaited {
		return status, false, &state.RefusedError{Status: status, Gate: g}
	}
	m.change.Lock()
	defer m.change.Unlock()
	now, ok := m.get(name)
	if !ok || now.row != d.row || now.conf != d.conf {
		return status, true, nil
	}
	if there, err := m.rowOf(ctx, &now); err != nil || placeOf(there) != placeOf(row) { // it may have been adopted
		return status, true, err
	}
	var events []state.Event
	if now.row == nil || now.row.Goal != state.GoalEnforce || o.Now || len(o.Waive) > 0 || o.Evidence != nil {
		e := event(state.KindRolloutStarted, state.SeverityInfo, name,
			fmt.Sprintf("the domain is taken from %s to %s", d.conf.name(placeOf(row)), d.conf.name(inFull)))
		e.Evidence = gateEvidence(status.Gates)
		orderEvidence(row, e.Evidence)
		events = append(events, e)
	}
	m.noteLook(name, look{at: status.Checked, gates: status.Gates})
	if err := m.put(ctx, d, row, events...); err != nil {
		return status, false, err
	}
	status, err = m.Rollout(ctx, name)
	return status, false, err
}

// arrivedAlready reports whether there is nothing left to be done for row.
func (d *domain) arrivedAlready(row state.Rollout) bool {
	return row.Back == nil && d.conf.full(placeOf(row)) && !row.Confirmed.IsZero()
}

// PlanRollout says what StartRollout would do, and when, and changes nothing.
func (m *Manager) PlanRollout(ctx context.Context, name string, o state.RolloutOrder) (state.RolloutStatus, error) {
	status, d, _, err := m.plan(ctx, name, o)
	if err == nil && d.row != nil && d.row.Paused {
		status.Refused = true // until it is resumed
	}
	return status, err
}

// plan looks at the gates of a domain as a rollout with this order would.
func (m *Manager) plan(ctx context.Context, name string, o state.RolloutOrder) (status state.RolloutStatus, d domain, row state.Rollout, err error) {
	if d, row, err = m.begin(ctx, name, o); err != nil {
		return status, d, row, err
	}
	if d.arrivedAlready(row) {
		status, err = m.Rollout(ctx, name)
		return status, d, row, err
	}
	would := d
	would.row = &row
	to, _ := would.onward()
	_, gates, err := m.lookAt(ctx, d, row, to)
	if err != nil {
		return status, d, row, fmt.Errorf("the gates of %s could not be looked at in time: %w", name, err)
	}
	if g, closed := state.ClosedGate(gates); closed && !g.Awaited && d.row != nil && d.row.Goal == state.GoalEnforce {
		m.noteLook(name, look{}) // what is under way looks, too, and tells of it
		m.Wake(name)
	}
	would.seen = look{at: m.cfg.Now(), gates: gates}
	return m.status(would), d, row, nil
}

// PauseRollout has no step made until ResumeRollout.
func (m *Manager) PauseRollout(ctx context.Context, name string) (state.RolloutStatus, error) {
	return m.setPaused(ctx, name, true, "the rollout is paused: no step is made; what is served goes on being kept right")
}

// ResumeRollout ends a pause.
func (m *Manager) ResumeRollout(ctx context.Context, name string) (state.RolloutStatus, error) {
	return m.setPaused(ctx, name, false, "the rollout goes on")
}

func (m *Manager) setPaused(ctx context.Context, name string, paused bool, text string) (state.RolloutStatus, error) {
	m.change.Lock()
	defer m.change.Unlock()
	d, err := m.managed(name)
	switch {
	case err != nil:
		return state.RolloutStatus{}, err
	case d.row == nil || d.row.Goal != state.GoalEnforce:
		return state.RolloutStatus{}, &state.StageError{Text: fmt.Sprintf("%s is not on its way to enforce; `stshost rollout %s` begins", name, name)}
	case d.row.Paused == paused:
		return m.Rollout(ctx, name)
	}
	row := *d.row
	row.Paused = paused
	if err := m.put(ctx, d, row, event(state.KindRolloutPaused, state.SeverityInfo, name, text)); err != nil {
		return state.RolloutStatus{}, err
	}
	return m.Rollout(ctx, name)
}

// Rollback takes a domain back to testing: from enforce, on its way out of MTA-STS,
// or after it has left.
func (m *Manager) Rollback(ctx context.Context, name string) (state.RolloutStatus, error) {
	m.change.Lock()
	defer m.change.Unlock()
	d, err := m.managed(name)
	if err != nil {
		return state.RolloutStatus{}, err
	}
	row, err := m.rowOf(ctx, &d)
	if err != nil {
		return state.RolloutStatus{}, err
	}
	from := d.conf.name(placeOf(row))
	_, served := m.cfg.Served(name)
	switch {
	case !served && row.Stage == state.StageEnforce:
		return state.RolloutStatus{}, &state.StageError{Text: fmt.Sprintf("%s is published in enforce elsewhere and not served here yet: take it back there; or write mode = \"testing\" for it in the config, and reload", name)}
	case row.Stage == state.StageTesting && row.Goal == state.GoalStay:
		return m.Rollout(ctx, name) // it is there
	case row.Stage == state.StageTesting:
		callOff(&row)
		err = m.put(ctx, d, row, event(state.KindRolloutBack, state.SeverityInfo, name, "the domain stays in testing; its rollout is called off"))
		return m.after(ctx, name, err)
	case row.Stage == state.StageRetired:
		err = m.anew(ctx, d)
		return m.after(ctx, name, err)
	}
	row = m.enter(row, inTesting)
	callOff(&row)
	e := event(state.KindRolloutBack, state.SeverityWarning, name,
		fmt.Sprintf("the domain falls back from %s to testing; senders deliver again whatever the MX hosts offer, as soon as they see the new id", from))
	e.Remedy = "`stshost rollout " + name + "` begins anew"
	m.noteLook(name, look{})
	return m.after(ctx, name, m.put(ctx, d, row, e))
}

// after is the status after a change, unless that failed.
func (m *Manager) after(ctx context.Context, name string, err error) (state.RolloutStatus, error) {
	if err != nil {
		return state.RolloutStatus{}, err
	}
	return m.Rollout(ctx, name)
}

// anew has a domain begin from nothing that has left MTA-STS. The caller holds
// m.change.
func (m *Manager) anew(ctx context.Context, d domain) error {
	// What fails after this is tried again by the same command.
	if err := m.cfg.Reconciler.Add(ctx, d.conf.Wanted); err != nil {
		return err
	}
	e := event(state.KindRolloutBack, state.SeverityInfo, d.name, "the domain, which had left MTA-STS, begins anew in testing")
	if err := m.store(ctx, nil, d.name, e); err != nil {
		return err
	}
	m.set(d.name, nil)
	return nil
}

// Retire takes a domain out of MTA-STS: mode none, until no sender can hold an
// earlier policy, then no record, no policy and no certificate (RFC 8461 §8.3).
func (m *Manager) Retire(ctx context.Context, name string) (state.RolloutStatus, error) {
	m.change.Lock()
	defer m.change.Unlock()
	d, err := m.managed(name)
	if errors.Is(err, state.ErrNotFound) {
		return m.retireLeft(ctx, name)
	}
	if err != nil {
		return state.RolloutStatus{}, err
	}
	row, err := m.rowOf(ctx, &d)
	switch known, knownErr := m.known(ctx, name); {
	case err != nil || knownErr != nil:
		return state.RolloutStatus{}, errors.Join(err, knownErr)
	case row.Goal == state.GoalRetire || row.Stage == state.StageRetired:
		return m.Rollout(ctx, name)
	case !known:
		return state.RolloutStatus{}, &state.StageError{Text: fmt.Sprintf("%s has announced no policy yet, so that nothing is to be retired: remove its [[domain]] from the config and reload", name)}
	}
	row.Target = d.conf.Wanted.Target
	return m.out(ctx, d, row)
}

// retireLeft retires a domain that left the config while no server ran, and has been
// served as before since.
func (m *Manager) retireLeft(ctx context.Context, name string) (state.RolloutStatus, error) {
	s, ok := m.cfg.Reconciler.Snapshot(name)
	if !ok || !s.Orphan {
		return state.RolloutStatus{}, errNotHosted(name)
	}
	target, err := m.cfg.Place(name)
	if err != nil {
		return state.RolloutStatus{}, &state.StageError{Text: err.Error()}
	}
	row := state.Rollout{Domain: name}
	if d, known := m.get(name); known && d.row != nil {
		row = *d.row
	}
	row.Left, row.Target = true, target
	if row.Back == nil && row.Stage != "" {
		row.Back = &state.Back{Stage: row.Stage, MaxAge: row.MaxAge}
	}
	m.mu.Lock()
	if m.domains[name] == nil {
		m.domains[name] = &domain{name: name, index: -1}
	}
	m.mu.Unlock()
	status, err := m.out(ctx, domain{name: name}, row)
	m.mu.Lock()
	defer m.mu.Unlock()
	m.forgetUnknown(m.domains[name])
	return status, err
}

// out puts a domain on its way out. The caller holds m.change.
func (m *Manager) out(ctx context.Context, d domain, row state.Rollout) (state.RolloutStatus, error) {
	row = m.enter(row, place{stage: state.StageRetiring})
	back := row.Back
	callOff(&row)
	row.Goal = state.GoalRetire
	if row.Left {
		row.Back = back
	}
	m.noteLook(d.name, look{})
	e := event(state.KindRolloutRetired, state.SeverityWarning, d.name,
		"the domain leaves MTA-STS: its policy says none until no sender can hold an earlier one, then record, policy and certificate go")
	e.Remedy = "if that was not intended, `stshost rollback " + d.name + "` takes it back to testing"
	if row.Left {
		e.Remedy = "if that was not intended, put its [[domain]] back into the config and reload"
	}
	return m.after(ctx, d.name, m.put(ctx, d, row, e))
}

// evidenceOf is what counts of a report that was made elsewhere.
func evidenceOf(r state.Report, name string, now time.Time) (*state.Evidence, error) {
	fault := func(format string, args ...any) error {
		return &state.StageError{Text: "the evidence does not count: " + fmt.Sprintf(format, args...)}
	}
	e := &state.Evidence{Time: r.Time, MX: r.MX}
	for _, f := range r.Findings {
		if aboutMX(f.Code) {
			e.Findings = append(e.Findings, f)
		}
	}
	switch domain, err := mtasts.ParseDomain(r.Domain); {
	case err != nil || domain != name:
		return nil, fault("it is about %q; run `stshost check %s --json` there", r.Domain, name)
	case r.Time.After(now.Add(time.Hour)):
		return nil, fault("it is of %s, which is in the future; set the clock of one of the two machines right", stamp(r.Time))
	case now.Sub(r.Time) > freshness:
		return nil, fault("it is of %s, more than a day ago; run `stshost check %s --json` there again", stamp(r.Time), name)
	case len(r.MX) == 0:
		return nil, fault("the policy could not be read there, so that the MX hosts were not held against it")
	case !slices.ContainsFunc(e.Findings, judgedAddress):
		return nil, fault("no MX host could be looked at there either")
	}
	return e, nil
}
