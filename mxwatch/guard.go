package mxwatch

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
)

// The guardian tells of an MX host that used to pass and fails as a whole in mode
// enforce, so that somebody decides whether the domain falls back to testing. It
// decides nothing itself: whoever sits between us and the host can make it fail,
// and must not switch enforcement off by that.
const (
	// guardGrace is for how long a host must have failed, and guardLooks at how
	// many looks, before that is told.
	guardGrace = 30 * time.Minute
	guardLooks = 3
)

// fate is what a look found of one MX host.
type fate int

const (
	fateUnknown fate = iota
	fatePassed       // at one of its addresses at least
	fateFailed       // at all of them, or as a whole
)

// guarded are the MX hosts that have passed at some look, after one more. Those
// that are none any more are forgotten.
func guarded(seen state.MXCheck, known []state.MXHostSeen) (all []state.MXHostSeen) {
	if slices.Contains(seen.Open, state.MXAnything) {
		return known
	}
	for _, host := range seen.Hosts {
		h := state.MXHostSeen{Host: host}
		if i := slices.IndexFunc(known, func(k state.MXHostSeen) bool { return k.Host == host }); i >= 0 {
			h = known[i]
		}
		switch fateOf(seen, host) {
		case fatePassed:
			h = state.MXHostSeen{Host: host, Passed: seen.Time}
		case fateFailed:
			if h.Failing.IsZero() || h.Failing.After(seen.Time) { // or the clock was set back
				h.Failing = seen.Time
			}
			h.Looks++
		}
		if !h.Passed.IsZero() {
			all = append(all, h)
		}
	}
	return all
}

func fateOf(seen state.MXCheck, host string) fate {
	faults := faultsAt(seen, host)
	if slices.ContainsFunc(faults, func(f state.Finding) bool { return f.Subject == host }) {
		return fateFailed
	}
	judged, failed := 0, 0
	for _, address := range seen.Judged {
		if !strings.HasPrefix(address, host+" (") {
			continue
		}
		judged++
		if slices.ContainsFunc(faults, func(f state.Finding) bool { return f.Subject == address }) {
			failed++
		}
	}
	switch {
	case failed < judged && !shortened(seen):
		return fatePassed
	case judged > 0 && failed == judged && !slices.Contains(seen.Open, host):
		return fateFailed
	}
	return fateUnknown
}

// faultsAt are the findings that an MX host, or an address of it, fails. DANE is
// not among them, as another mode of the policy changes nothing about it, and nor
// is what the policy does not name.
func faultsAt(seen state.MXCheck, host string) (all []state.Finding) {
	for _, f := range failing(seen) {
		about, _, _ := strings.Cut(f.Subject, " (")
		if about == host && !byName(f.Code) && !byDANE(f.Code) {
			all = append(all, f)
		}
	}
	return all
}

// shortened reports whether there was more to find than is told one by one: of an
// address without a finding it is not known then that it passes. The rest is told
// of the domain.
func shortened(seen state.MXCheck) bool {
	return slices.ContainsFunc(failing(seen), func(f state.Finding) bool { return f.Subject == seen.Domain && !byName(f.Code) })
}

// guard decides of which hosts the guardian tells. It returns what is known once
// it has.
func guard(seen state.MXCheck, next state.MXWatch, p mtasts.Policy) (state.MXWatch, []state.Event) {
	if p.Mode != mtasts.ModeEnforce {
		return next, nil
	}
	var events []state.Event
	for i, h := range next.Hosts {
		if !awaited(h) || h.Looks < guardLooks || seen.Time.Sub(h.Failing) < guardGrace || fateOf(seen, h.Host) != fateFailed {
			continue
		}
		if len(events) == 0 {
			next.Hosts = slices.Clone(next.Hosts)
		}
		next.Hosts[i].Told = seen.Time
		events = append(events, guardEvent(seen, h, p))
	}
	return next, events
}

// awaited reports whether a host fails and more looks are to tell whether that is
// to be told.
func awaited(h state.MXHostSeen) bool { return !h.Failing.IsZero() && h.Told.IsZero() }

func guardEvent(seen state.MXCheck, h state.MXHostSeen, p mtasts.Policy) state.Event {
	faults := faultsAt(seen, h.Host)
	f := worst(faults)
	e := state.Event{
		Time: seen.Time, Kind: state.KindMXGuard, Severity: severity(f.Harm, p.Mode), Domain: seen.Domain, Host: h.Host,
		Text: fmt.Sprintf("the MX host %s, which used to pass, has failed at all of its addresses since %s, at %d looks, and passed last at %s: %s: %s",
			h.Host, stamp(h.Failing), h.Looks, stamp(h.Passed), f.Subject, sentence(f.Text)),
		Remedy:   guardRemedy(seen.Domain, faults),
		Evidence: policyEvidence(p),
	}
	e.Evidence["reason"] = f.Subject + ": " + sentence(f.Text)
	e.Evidence["since"], e.Evidence["passed"], e.Evidence["looks"] = stamp(h.Failing), stamp(h.Passed), strconv.Itoa(h.Looks)
	addFindings(e.Evidence, faults, f)
	return e
}

// guardRemedy says how to fall back to testing. Where nobody can deliver under any
// policy it says that this gains nothing.
func guardRemedy(domain string, faults []state.Finding) string {
	command := "`stshost rollback " + domain + "`"
	if !slices.ContainsFunc(faults, func(f state.Finding) bool { return refusal(f.Code) }) {
		return "mend the host, or take it out of the MX records: as things stand nobody can deliver there under any policy, " +
			"so that to fall back to testing (" + command + ") gains nothing"
	}
	return "if the host cannot be mended soon, " + command + " falls back to testing; stshost never does that by itself, " +
		"because an attacker between us would make the host look just like this"
}

// refusal reports whether a finding has senders refuse a host by the policy, and
// not for want of a way there.
func refusal(code string) bool { return !byConnection(code) && code != "STS-MX-NO-ADDRESS" }

// guardDue is when a look is to confirm that a host fails; zero: no host is
// waiting for that alone.
func guardDue(hosts []state.MXHostSeen) (due time.Time) {
	for _, h := range hosts {
		if at := h.Failing.Add(guardGrace); awaited(h) && h.Looks >= guardLooks-1 && (due.IsZero() || at.Before(due)) {
			due = at
		}
	}
	return due
}

func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }
