package mxwatch

import (
	"slices"
	"strings"
	"time"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
)

// steady is how long MX hosts must not fail before that is history: a fault that
// comes back sooner is the same one, and trouble that does is unsteady.
const steady = 24 * time.Hour

// judge is what is known after a look, with nothing told of it yet. What could
// not be told leaves the trouble that there was as it is. A connection that fails
// is trouble once it has failed for as long as confirm.
func judge(seen state.MXCheck, last state.MXWatch, mode mtasts.Mode, confirm time.Duration) state.MXWatch {
	next := state.MXWatch{
		Domain: seen.Domain, Time: seen.Time, Passed: seen.Passed, Unknown: seen.Unknown, Summary: seen.Summary,
		Attempts: last.Attempts + 1, Faults: faults(seen, last.Faults), Told: last.Told,
		Hosts: guarded(seen, last.Hosts), Drift: last.Drift,
	}
	next.Trouble = trouble(seen, &next, last.Trouble, mode, confirm)
	if seen.Passed && !slices.ContainsFunc(next.Faults, func(f state.MXFault) bool { return f.Open }) {
		next.Attempts = 0
	} else if slices.ContainsFunc(next.Hosts, func(h state.MXHostSeen) bool { return h.Looks == 1 && h.Failing.Equal(seen.Time) }) {
		next.Attempts = 1 // what else fails must not keep us from seeing soon whether this goes on
	}
	return next
}

// trouble is what is wrong after a look, by what fails, or by what did and is not
// known to be over. It notes in next whose the reason is.
func trouble(seen state.MXCheck, next *state.MXWatch, last state.Trouble, mode mtasts.Mode, confirm time.Duration) state.Trouble {
	var lead *state.MXFault
	led := false
	for i := range next.Faults {
		f := &next.Faults[i]
		leads := f.Leads && f.Open
		f.Leads = false
		if !f.Open || !f.Told && byConnection(f.Code) {
			continue
		}
		if lead == nil || leads || !led && f.Harm.Rank() > lead.Harm.Rank() {
			lead, led = f, led || leads
		}
	}
	if counting := failures(seen, *next, confirm); len(counting) > 0 {
		f := worst(counting)
		faultOf(*next, f).Leads = true
		return state.Trouble{Severity: severity(f.Harm, mode), Reason: reason(seen, f), Remedy: remedy(seen.Domain, f)}
	}
	switch {
	case lead == nil:
		return state.Trouble{}
	case !led:
		last = state.Trouble{Reason: lead.Subject + ": " + lead.Code, Remedy: remedy(seen.Domain, state.Finding{})}
	}
	lead.Leads = true
	last.Severity = severity(lead.Harm, mode)
	return last
}

// faults are what fails now, what may still fail because nothing is known of it,
// and what was told and ended not long ago.
func faults(seen state.MXCheck, known []state.MXFault) (all []state.MXFault) {
	type key struct{ code, subject string }
	harms := make(map[key]state.Harm)
	for _, f := range failing(seen) {
		harms[key{f.Code, f.Subject}] = f.Harm
	}
	for _, f := range known {
		harm, fails := harms[key{f.Code, f.Subject}]
		switch {
		case fails, f.Open && mayStand(seen, f):
			if !f.Open {
				f.Since = seen.Time
			}
			if fails {
				f.Harm = harm
			}
			f.Open, f.Seen = true, seen.Time
		case f.Told && seen.Time.Sub(f.Seen).Abs() < steady:
			f.Open = false
		default:
			continue
		}
		delete(harms, key{f.Code, f.Subject})
		all = append(all, f)
	}
	for _, f := range failing(seen) {
		if _, unknown := harms[key{f.Code, f.Subject}]; unknown {
			delete(harms, key{f.Code, f.Subject})
			all = append(all, state.MXFault{Code: f.Code, Subject: f.Subject, Harm: f.Harm, Since: seen.Time, Seen: seen.Time, Open: true})
		}
	}
	return all
}

// mayStand reports whether a look that did not find a fault leaves it open
// whether it is over. That of a host which is none any more is.
func mayStand(seen state.MXCheck, f state.MXFault) bool {
	host, _, _ := strings.Cut(f.Subject, " (")
	switch {
	case slices.Contains(seen.Open, state.MXAnything):
		return true
	case byName(f.Code):
		return false
	case byDANE(f.Code) && slices.Contains(seen.Open, "_25._tcp."+host):
		return true
	case slices.Contains(seen.Judged, f.Subject):
		return false
	}
	return slices.Contains(seen.Open, host)
}

// uncoveredCode is the code of an MX host that the policy does not name. Codes are
// stable.
const uncoveredCode = "STS-MX-UNCOVERED"

// byName reports whether a finding rests on the MX records alone: it is known
// whenever they are.
func byName(code string) bool {
	return code == uncoveredCode || code == "STS-MX-LITERAL"
}

// byDANE reports whether a finding is about DANE, which senders that honour it go
// by whatever the policy says (RFC 8461 §2).
func byDANE(code string) bool { return strings.HasPrefix(code, "STS-DANE-") }

// byConnection reports whether a finding is of a connection that fails, which
// happens to hosts in order, too, and is not about TLS.
func byConnection(code string) bool {
	return code == "STS-MX-CONNECT" || code == "STS-MX-SESSION"
}

// counts reports whether a fault is trouble.
func counts(f state.MXFault, now time.Time, confirm time.Duration) bool {
	return f.Told || !byConnection(f.Code) || now.Sub(f.Since) >= confirm
}

// failures are the findings that fail and count.
func failures(seen state.MXCheck, next state.MXWatch, confirm time.Duration) (counting []state.Finding) {
	for _, f := range failing(seen) {
		if counts(*faultOf(next, f), next.Time, confirm) {
			counting = append(counting, f)
		}
	}
	return counting
}

// faultOf is the fault that a finding of the last look says: there is one.
func faultOf(w state.MXWatch, f state.Finding) *state.MXFault {
	return &w.Faults[slices.IndexFunc(w.Faults, func(o state.MXFault) bool { return o.Code == f.Code && o.Subject == f.Subject })]
}

// severity is how grave a harm is: an MX host that is refused costs mail in
// mode enforce, and one that cannot be reached under no policy.
func severity(h state.Harm, mode mtasts.Mode) state.Severity {
	if mode == mtasts.ModeEnforce && h == state.HarmLoss {
		return state.SeverityCritical
	}
	return state.SeverityWarning
}

// worst is the finding that does most harm.
func worst(findings []state.Finding) (found state.Finding) {
	for i, f := range findings {
		if i == 0 || f.Harm.Rank() > found.Harm.Rank() {
			found = f
		}
	}
	return found
}

// reason says what a finding found.
func reason(seen state.MXCheck, f state.Finding) string {
	if g := worst(failing(seen)); g.Code == f.Code && g.Subject == f.Subject {
		return sentence(seen.Summary)
	}
	return f.Subject + ": " + sentence(f.Text)
}

// remedy says what to do about a finding.
func remedy(domain string, f state.Finding) string {
	all := "`stshost check " + domain + "` tells it all"
	again := "then `stshost reload` has it looked at at once; " + all
	switch {
	case f.Remedy == "":
		return again
	case f.Code == uncoveredCode: // another policy has it looked at
		return sentence(f.Remedy) + "; " + all
	}
	return sentence(f.Remedy) + "; " + again
}

// failing are the findings that fail.
func failing(seen state.MXCheck) (all []state.Finding) {
	for _, f := range seen.Findings {
		if f.Status == state.CheckFail {
			all = append(all, f)
		}
	}
	return all
}

// sentence is a sentence as errors are written, without full stop.
func sentence(s string) string { return strings.TrimSuffix(strings.TrimSpace(s), ".") }
