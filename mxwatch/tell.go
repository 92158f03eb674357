package mxwatch

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
)

// tell decides whether what is known now is told. It returns what is known once
// it is, and the event; nil: nothing is to be told.
func tell(seen state.MXCheck, next state.MXWatch, p mtasts.Policy, confirm time.Duration) (state.MXWatch, *state.Event) {
	counting := failures(seen, next, confirm)
	fresh := slices.DeleteFunc(slices.Clone(counting), func(f state.Finding) bool { return faultOf(next, f).Told })
	standing := next.Told.Kind == state.KindMXFailed
	// A host that cannot be connected to makes the rest graver only once that
	// counts itself.
	worse := standing && len(counting) > 0 && len(counting) == len(failing(seen)) &&
		next.Trouble.Severity.Rank() > next.Told.Severity.Rank()
	switch {
	case len(fresh) > 0:
		return tellFailed(seen, next, worst(counting), worst(fresh), p)
	case worse:
		return tellFailed(seen, next, worst(counting), worst(counting), p)
	case standing && ended(next):
		return tellRecovered(next, p, "what was wrong with the MX hosts is over: "+next.Told.Reason)
	}
	return next, nil
}

// ended reports whether trouble that was told is over. Trouble that came back
// soon after its end is over once it has not been seen for long, so that a host
// that comes and goes is not told each time.
func ended(w state.MXWatch) bool {
	if w.Told.Held {
		return len(w.Faults) == 0
	}
	return !slices.ContainsFunc(w.Faults, func(f state.MXFault) bool { return f.Open })
}

// tellFailed tells of what is worst, and of what is new in particular.
func tellFailed(seen state.MXCheck, next state.MXWatch, worst, fresh state.Finding, p mtasts.Policy) (state.MXWatch, *state.Event) {
	text := "something is wrong with the MX hosts: " + reason(seen, fresh)
	if old := faultOf(next, worst); old.Told && reason(seen, fresh) != reason(seen, worst) {
		text = "something more is wrong with the MX hosts: " + reason(seen, fresh) + "; and as before: " + reason(seen, worst)
	}
	e := state.Event{
		Time: next.Time, Kind: state.KindMXFailed, Severity: next.Trouble.Severity, Domain: next.Domain,
		Text: text, Remedy: remedy(next.Domain, fresh), Evidence: policyEvidence(p),
	}
	e.Evidence["reason"] = reason(seen, fresh)
	addFindings(e.Evidence, failing(seen), fresh)

	told := state.MXTold{Kind: e.Kind, Time: e.Time, Severity: e.Severity, Reason: next.Trouble.Reason, Held: next.Told.Held}
	switch {
	case next.Told.Kind != state.KindMXFailed:
		told.Held = next.Told.Kind == state.KindMXRecovered && next.Time.Sub(next.Told.Time).Abs() < steady
	case next.Told.Severity.Rank() > e.Severity.Rank():
		told.Severity = next.Told.Severity
	}
	next.Told, next.Faults = told, slices.Clone(next.Faults)
	for _, f := range failing(seen) {
		faultOf(next, f).Told = true
	}
	return next, &e
}

func tellRecovered(next state.MXWatch, p mtasts.Policy, text string) (state.MXWatch, *state.Event) {
	e := state.Event{
		Time: next.Time, Kind: state.KindMXRecovered, Severity: state.SeverityInfo, Domain: next.Domain,
		Text: text, Evidence: policyEvidence(p),
	}
	e.Evidence["reason"] = next.Told.Reason
	next.Told.Kind, next.Told.Time, next.Told.Held = e.Kind, e.Time, false
	next.Faults = nil
	return next, &e
}

func policyEvidence(p mtasts.Policy) map[string]string {
	return map[string]string{"mode": string(p.Mode), "mx": strings.Join(p.MX, " ")}
}

// maxFindings is how many findings an event carries.
const maxFindings = 20

// addFindings adds what an event rests on: the finding f, and all that fail in
// short.
func addFindings(evidence map[string]string, failing []state.Finding, f state.Finding) {
	var lines []string
	for _, f := range failing[:min(len(failing), maxFindings)] {
		lines = append(lines, fmt.Sprintf("%s %s: %s", f.Code, f.Subject, f.Text))
	}
	evidence["findings"] = strings.Join(lines, "\n")
	evidence["code"], evidence["subject"] = f.Code, f.Subject
	for key, value := range f.Evidence {
		if _, taken := evidence[key]; !taken {
			evidence[key] = value
		}
	}
	maps.DeleteFunc(evidence, func(_, value string) bool { return value == "" })
}
