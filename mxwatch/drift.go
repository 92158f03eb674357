package mxwatch

import (
	"fmt"
	"slices"
	"strings"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
)

// uncovered are the MX hosts that the policy does not name (RFC 8461 §4.1) and
// could: whoever makes MX records may write what is no host's name there, such as
// a wildcard.
func uncovered(seen state.MXCheck, p mtasts.Policy) (hosts []string) {
	for _, host := range seen.Hosts {
		name, err := mtasts.ParseDomain(host)
		if err == nil && !slices.ContainsFunc(p.MX, func(pattern string) bool { return mtasts.MatchMX(pattern, name) }) {
			hosts = append(hosts, name)
		}
	}
	return hosts
}

// drift decides whether the hosts that the policy does not name are told, with the
// policy that would. It is told once for each set of them. failed is what this look
// tells of what fails; where that is of such a host, too, the drift is no second
// alarm.
func drift(seen state.MXCheck, next state.MXWatch, p mtasts.Policy, failed *state.Event) (state.MXWatch, *state.Event) {
	hosts := uncovered(seen, p)
	set := slices.Sorted(slices.Values(hosts))
	switch {
	case len(set) == 0:
		// What is back within a day is the same, as it is for faults.
		if !slices.ContainsFunc(next.Faults, func(f state.MXFault) bool { return f.Code == uncoveredCode }) {
			next.Drift = state.MXDrift{}
		}
		return next, nil
	case slices.Equal(set, next.Drift.Hosts):
		return next, nil
	}
	next.Drift = state.MXDrift{Hosts: set, Time: seen.Time}
	e := state.Event{
		Time: seen.Time, Kind: state.KindMXDrift, Severity: state.SeverityInfo, Domain: seen.Domain,
		Text: "the MX records name what the policy does not: " + some(hosts),
		Remedy: "`" + acceptCommand(seen.Domain, hosts) + "` takes them into the policy, which goes on naming the old ones; " +
			"if you do not know them, somebody may be forging the MX records: look at who can change the zone",
		Evidence: policyEvidence(p),
	}
	if failed != nil && failed.Evidence["code"] != uncoveredCode {
		e.Severity = state.SeverityWarning
	}
	e.Evidence["new_mx"] = strings.Join(hosts, " ")
	e.Evidence["proposed_mx"] = strings.Join(slices.Concat(p.MX, hosts), " ")
	e.Evidence["validated"] = "no"
	if seen.Validated {
		e.Evidence["validated"] = "yes"
	}
	return next, &e
}

// mostTold is how many of many names are told.
const mostTold = 5

// acceptCommand is the command that takes hosts into the policy: by their names, that
// no other gets in, as long as that is readable.
func acceptCommand(domain string, hosts []string) string {
	command := "stshost mx accept " + domain
	if len(hosts) <= mostTold {
		command += " " + strings.Join(hosts, " ")
	}
	return command
}

// some are the first of many names.
func some(names []string) string {
	if more := len(names) - mostTold; more > 0 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:mostTold], ", "), more)
	}
	return strings.Join(names, ", ")
}
