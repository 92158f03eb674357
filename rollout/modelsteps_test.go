package rollout

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/stshost/stshost/internal/state"
)

// tells says of which changes of a row an event of some kind tells.
var tells = map[string]func(a, b *state.Rollout) bool{
	state.KindRolloutStarted: func(_, b *state.Rollout) bool { return b != nil && b.Goal == state.GoalEnforce },
	state.KindRolloutStep: func(a, b *state.Rollout) bool {
		return b != nil && (a == nil || placeOf(*a) != placeOf(*b) || !a.Entered.Equal(b.Entered))
	},
	state.KindRolloutHeld: func(a, b *state.Rollout) bool { return a != nil && b != nil && a.Held != b.Held },
	state.KindRolloutDone: func(a, b *state.Rollout) bool {
		return a != nil && b != nil && a.Goal == state.GoalEnforce && b.Goal == state.GoalStay
	},
	state.KindRolloutPaused: func(a, b *state.Rollout) bool { return a != nil && (b == nil || a.Paused != b.Paused) },
	state.KindRolloutBack:   func(a, b *state.Rollout) bool { return a == nil || b == nil || a.Stage != b.Stage || a.Goal != b.Goal },
	state.KindRolloutRetired: func(a, b *state.Rollout) bool {
		return a == nil || b == nil || a.Stage != b.Stage || a.Goal != b.Goal || !a.Entered.Equal(b.Entered)
	},
	state.KindDomainLeft: func(a, b *state.Rollout) bool { return b != nil && b.Left && (a == nil || !a.Left) },
	state.KindMXAccepted: func(a, b *state.Rollout) bool { return b != nil && (a == nil || !slices.Equal(a.MX, b.MX)) },
	state.KindMXDrift:    func(_, _ *state.Rollout) bool { return true }, // of a name that stays, whatever the row
}

// decided holds a change of a rollout, as the store gets it, against the rules. The
// caller holds w.mu.
func (w *modelWorld) decided(domain string, before, next *state.Rollout, events []state.Event) {
	f := w.fates[domain]
	f.evened(events)
	if f.unsure { // the process does not know what the store has
		f.unsure = false
		switch {
		case next == nil || before != nil && placeOf(*before) == placeOf(*next):
		case f.knows != nil && placeOf(*f.knows) == placeOf(*next):
			f.shown, f.wasShown = f.knowsShown, f.knowsWas
		default:
			f.entered()
		}
		return
	}
	// No event is without its change, and no change of the stage without an event,
	// in one transaction.
	told := map[string]bool{}
	for _, e := range events {
		told[e.Kind] = true
		if found(e) {
			continue // as the row said already, it may be
		}
		if tell := tells[e.Kind]; tell == nil || e.Domain != domain || !tell(before, next) {
			w.fault(domain, "an event tells of what did not happen: "+e.Kind, e.Text, before, next)
		}
	}
	moved := before != nil && next != nil && placeOf(*before) != placeOf(*next) ||
		before == nil && next != nil && next.Stage != state.StageTesting && !w.is(f, domain, *next)
	if !moved {
		again := next != nil && next.Stage == state.StageEnforce && slices.ContainsFunc(events, func(e state.Event) bool { return e.Kind == state.KindRolloutStep && !found(e) })
		if again && f.live != nil && f.steady() { // one that was not served in time, after another look
			f.stepWaived, f.waived = f.waived, map[string]bool{}
			p, _ := w.policyOf(domain)
			if reason := w.unfit(f, p.MX, f.stepWaived); reason != "" {
				w.fault(domain, "a step is made again although "+reason, f.hosts, f.ill)
			}
		}
		if next == nil && before != nil && !told[state.KindRolloutPaused] && !told[state.KindRolloutBack] && !told[state.KindRolloutRetired] &&
			!f.abandoned && f.holds(saysMore) && before.Stage != state.StageRetired {
			w.fault(domain, "a rollout vanished untold", before)
		}
		return
	}
	if !told[state.KindRolloutStep] && !told[state.KindRolloutBack] && !told[state.KindRolloutRetired] && !told[state.KindDomainLeft] {
		w.fault(domain, "a stage was entered untold", before, next)
	}
	f.entered()
	if told[state.KindDomainLeft] && f.back == nil {
		f.back = w.placeNow(f, domain, before)
	}
	f.sure = f.sure && !(told[state.KindDomainLeft] && f.paused) // it returns, and goes no further
	if told[state.KindRolloutBack] && f.back != nil && *f.back == placeOf(*next) {
		f.back = nil
	}
	conf := f.conf.domain(domain)
	p, _ := w.policyOf(domain)
	stays := before != nil && before.Left && told[state.KindRolloutBack] && conf.is(p, placeOf(*next)) // back before its policy changed
	if before != nil && next.Stage == state.StageEnforce && !stays {
		w.stepped(domain, f, *before, *next, events)
	}
	f.waived = map[string]bool{}
	w.noteShown(domain)
}

// placeNow is where a domain is that leaves the config; nil: on its way out.
func (w *modelWorld) placeNow(f *fate, domain string, row *state.Rollout) *place {
	switch p, ok := w.policyOf(domain); {
	case row != nil && row.Stage != state.StageTesting && row.Stage != state.StageEnforce:
		return nil
	case row != nil:
		p := placeOf(*row)
		return &p
	case ok && f.live != nil:
		p, _ := f.live.found(p, nil)
		return &p
	}
	return &place{stage: state.StageTesting}
}

// is reports whether a first row says where the domain is by what it serves, or is to
// serve as it was found published.
func (w *modelWorld) is(f *fate, domain string, r state.Rollout) bool {
	p, ok := w.policyOf(domain)
	if row := w.db.rows[domain]; !ok && row.Adopted {
		p.Mode, ok = row.Mode, true
	}
	return ok && f.live != nil && p.Mode == f.live.policy(placeOf(r)).Mode
}

// entered begins the time of a stage.
func (f *fate) entered() {
	f.shown, f.wasShown = time.Time{}, f.shown
	f.stepWaived, f.stepping = maps.Clone(f.waived), true
}

// evened has the orders of the operator end that an event says are over.
func (f *fate) evened(events []state.Event) {
	for _, e := range events {
		if e.Kind == state.KindRolloutDone || strings.Contains(e.Text, "an older store was restored") {
			f.climbs, f.sure, f.hasty, f.noReports, f.waived, f.evidence = false, false, false, false, map[string]bool{}, nil
		}
	}
}

// found reports whether an event is about a policy that was found published, and
// about no step.
func found(e state.Event) bool {
	return strings.Contains(e.Text, "was found published") || strings.Contains(e.Text, "an older store was restored")
}

// stepped holds a step to enforce, or on the way to the full max_age, against the
// rules.
func (w *modelWorld) stepped(domain string, f *fate, before, next state.Rollout, events []state.Event) {
	if slices.ContainsFunc(events, found) {
		return // it is there already
	}
	if f.live == nil || f.live.pinned() {
		w.fault(domain, "a step of a domain that is none of ours to take")
		return
	}
	detail := fmt.Sprint(before, next, f.hosts, f.ill)
	back := f.back != nil && *f.back == placeOf(next) && before.Stage == state.StageTesting
	// Nobody is taken further than was ordered, or than he was before he left.
	switch {
	case back:
		f.back = nil
	case !f.climbs:
		w.fault(domain, "a step that nobody ordered", detail)
	case f.paused:
		w.fault(domain, "a step although it is paused", detail)
	}
	// Stages come one by one.
	if want, more := f.live.next(placeOf(before)); !back && (!more || want != placeOf(next)) {
		w.fault(domain, "a stage is left out", detail)
	}
	// Each lasts for its minimum, counted from when it was announced.
	if stay := f.live.stay(placeOf(before)); !back && !f.hasty && !f.waived[state.GateTime] && (f.wasShown.IsZero() || time.Since(f.wasShown)+slack < stay) {
		w.fault(domain, "a stage did not last", stay, f.wasShown, detail)
	}
	if f.wasShown.IsZero() && !f.waived[state.GatePolicy] {
		w.fault(domain, "a step from a policy that was never announced", detail)
	}
	if !f.steady() {
		return
	}
	p, _ := w.policyOf(domain)
	// None is made while an MX host is uncovered or fails, or nobody can tell.
	if reason := w.unfit(f, p.MX, f.waived); reason != "" {
		w.fault(domain, "a step although "+reason, detail)
	}
	// None is made while senders report failures, or fewer report than are wanted.
	since := before.Confirmed
	if since.IsZero() {
		since = before.Entered
	}
	sums := f.sums(since)
	switch {
	case f.waived[state.GateReports], w.reportErr == nil && sums == nil && f.live.Reporters == 0:
	case w.reportErr != nil:
		w.fault(domain, "a step although the reports could not be read", detail)
	case sums != nil && sums.Failed > 0:
		w.fault(domain, "a step although senders report failures", detail)
	case (sums == nil || sums.Reporters < f.live.Reporters) && !f.noReports && !back:
		w.fault(domain, "a step on fewer reports than are wanted", detail)
	}
}
