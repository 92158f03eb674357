package mxwatch

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
)

// lookTimeout bounds one look: a few hosts with a few addresses each fit in
// well, and a host that never answers holds up one worker for no longer.
const lookTimeout = 2 * time.Minute

// look looks at one domain, of which last is known, and returns what is known
// then. idle says that there is nothing to look at before the domain serves
// another policy.
func (w *Watch) look(ctx context.Context, name string, last state.MXWatch) (next state.MXWatch, idle bool) {
	p, ok := w.cfg.Policy(name)
	switch {
	case !ok:
		return last, true
	case p.Mode == mtasts.ModeNone: // senders do as without a policy (RFC 8461 §5)
		return w.drop(ctx, name, last, p)
	}
	seen, err := w.cfg.Prober.CheckMX(ctx, name, p.MX, p.Mode)
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return last, false // a stop, or the domain left: nothing is known of the hosts
	case err != nil:
		seen = state.MXCheck{Unknown: true, Summary: "the MX hosts could not be looked at: " + err.Error()}
	}
	seen.Domain, seen.Time = name, w.cfg.Now()
	return w.conclude(context.WithoutCancel(ctx), last, judge(seen, last, p.Mode), p), false
}

// judge is what is known after a look: what could not be told leaves the
// trouble that was told as it is.
func judge(seen state.MXCheck, last state.MXWatch, mode mtasts.Mode) state.MXWatch {
	next := state.MXWatch{MXCheck: seen, Attempts: last.Attempts + 1, Told: last.Told}
	switch {
	case fails(seen):
		f := worst(seen.Findings)
		next.Told = state.Trouble{Severity: state.SeverityWarning, Reason: sentence(seen.Summary), Remedy: sentence(f.Remedy)}
		// An address that takes no connection costs mail under no policy.
		if mode == mtasts.ModeEnforce && (f.Harm == state.HarmLoss || f.Harm == state.HarmNone) {
			next.Told.Severity = state.SeverityCritical
		}
	case !seen.Unknown:
		next.Attempts, next.Told = 0, state.Trouble{}
	}
	return next
}

// fails reports whether an MX host would be refused. Of some hosts that may be
// known while of others nothing can be told.
func fails(seen state.MXCheck) bool {
	if seen.Passed || !seen.Unknown {
		return !seen.Passed
	}
	return slices.ContainsFunc(seen.Findings, func(f state.Finding) bool { return f.Status == state.CheckFail })
}

// conclude stores what a look saw, and tells what is new in it.
func (w *Watch) conclude(ctx context.Context, last, next state.MXWatch, p mtasts.Policy) state.MXWatch {
	if err := w.cfg.Store.SaveMXCheck(ctx, next); err != nil {
		// What the store does not have is not told: the next look, which comes
		// soon, finds it once more.
		w.log.Error("what was seen of MX hosts cannot be stored", "domain", next.Domain, "error", err)
		next.Told, next.Attempts = last.Told, max(next.Attempts, 1)
		return next
	}
	e := state.Event{Domain: next.Domain, Evidence: map[string]string{"mode": string(p.Mode), "mx": strings.Join(p.MX, " ")}}
	switch {
	case next.Told.Severity.Rank() > last.Told.Severity.Rank():
		e.Kind, e.Severity, e.Remedy = state.KindMXFailed, next.Told.Severity, next.Told.Remedy
		e.Text = "something is wrong with the MX hosts: " + next.Told.Reason
		e.Evidence["reason"] = next.Told.Reason
		addFindings(e.Evidence, next.Findings)
		w.log.Warn("something is wrong with the MX hosts", "domain", next.Domain, "reason", next.Told.Reason, "remedy", next.Told.Remedy)
	case next.Told.Severity == "" && last.Told.Severity != "":
		e.Kind, e.Severity = state.KindMXRecovered, state.SeverityInfo
		e.Text = "what was wrong with the MX hosts is over: " + last.Told.Reason
		e.Evidence["reason"] = last.Told.Reason
		w.log.Info("all is well again with the MX hosts", "domain", next.Domain)
	default:
		return next
	}
	e.Time = next.Time
	w.cfg.Event(e)
	return next
}

// drop forgets what was seen of a domain whose MX hosts matter no longer.
func (w *Watch) drop(ctx context.Context, name string, last state.MXWatch, p mtasts.Policy) (next state.MXWatch, idle bool) {
	if last.Time.IsZero() {
		return last, true
	}
	if err := w.cfg.Store.RemoveMXChecks(ctx, []string{name}); err != nil {
		w.log.Error("what was seen of MX hosts cannot be forgotten", "domain", name, "error", err)
		last.Attempts = max(last.Attempts, 1)
		last.Time = w.cfg.Now() // it is tried again in a while
		return last, false
	}
	if last.Told.Severity != "" {
		w.cfg.Event(state.Event{
			Time: w.cfg.Now(), Kind: state.KindMXRecovered, Severity: state.SeverityInfo, Domain: name,
			Text:     "the policy is in mode none, so that senders accept any MX host; before that: " + last.Told.Reason,
			Evidence: map[string]string{"mode": string(p.Mode), "reason": last.Told.Reason},
		})
	}
	return state.MXWatch{}, true
}

// maxFindings is how many findings an event carries.
const maxFindings = 20

// addFindings adds what an event rests on: the worst finding, and all that fail
// in short.
func addFindings(evidence map[string]string, findings []state.Finding) {
	var lines []string
	for _, f := range findings {
		if f.Status == state.CheckFail {
			lines = append(lines, fmt.Sprintf("%s %s: %s", f.Code, f.Subject, f.Text))
		}
	}
	evidence["findings"] = strings.Join(lines[:min(len(lines), maxFindings)], "\n")
	f := worst(findings)
	evidence["code"], evidence["subject"] = f.Code, f.Subject
	for key, value := range f.Evidence {
		if _, taken := evidence[key]; !taken {
			evidence[key] = value
		}
	}
	maps.DeleteFunc(evidence, func(_, value string) bool { return value == "" })
}

// worst is the finding that does most harm, of those that fail; the zero one if
// none does.
func worst(findings []state.Finding) (found state.Finding) {
	for _, f := range findings {
		if f.Status == state.CheckFail && (found.Code == "" || f.Harm.Rank() > found.Harm.Rank()) {
			found = f
		}
	}
	return found
}

// sentence is a sentence as errors are written, without full stop.
func sentence(s string) string { return strings.TrimSuffix(strings.TrimSpace(s), ".") }
