package mxwatch

import (
	"slices"
	"strings"
	"time"
	"unique"

	"github.com/stshost/stshost/internal/state"
)

// memory is a state.MXWatch in little room: nearly all of many thousands of
// domains have no trouble, the same to be said of them, and MX hosts in common.
type memory struct {
	time            time.Time
	attempts        int
	passed, unknown bool
	summary         unique.Handle[string]
	hosts           unique.Handle[string] // those that have passed, as pack has them
	behind          time.Duration         // how long before time they last did
	all             *state.MXWatch        // of a domain with trouble, or that had some; nil: there is no more
}

func remember(w state.MXWatch) memory {
	if len(w.Faults) > 0 || w.Trouble != (state.Trouble{}) || w.Told != (state.MXTold{}) || len(w.Drift.Hosts) > 0 || !alike(w.Hosts) {
		return memory{time: w.Time, attempts: w.Attempts, unknown: w.Unknown, all: &w}
	}
	m := memory{time: w.Time, attempts: w.Attempts, passed: w.Passed, unknown: w.Unknown, summary: unique.Make(w.Summary)}
	names := make([]string, len(w.Hosts))
	for i, h := range w.Hosts {
		names[i], m.behind = h.Host, w.Time.Sub(h.Passed)
	}
	m.hosts = unique.Make(pack(names, w.Domain))
	return m
}

// In the text form of DNS names there is no control character. One stands between
// two names, and two others for the domain in them, as it is and as Microsoft has
// it in a label: so domains have in common what is named after each.
const (
	between = "\n"
	itself  = "\x00"
	inLabel = "\x01"
)

func pack(names []string, domain string) string {
	if len(names) == 0 {
		return ""
	}
	text := strings.ReplaceAll(strings.Join(names, between), domain, itself)
	return strings.ReplaceAll(text, strings.ReplaceAll(domain, ".", "-"), inLabel)
}

func unpack(text, domain string) []string {
	if text == "" {
		return nil
	}
	text = strings.ReplaceAll(text, inLabel, strings.ReplaceAll(domain, ".", "-"))
	return strings.Split(strings.ReplaceAll(text, itself, domain), between)
}

// alike reports whether no host fails and all passed last at the same look.
func alike(hosts []state.MXHostSeen) bool {
	return !slices.ContainsFunc(hosts, func(h state.MXHostSeen) bool { return !h.Failing.IsZero() || !h.Passed.Equal(hosts[0].Passed) })
}

// known is what is remembered of a domain. Its faults and hosts are not to be
// changed.
func (d *domain) known() state.MXWatch {
	m := d.last
	switch {
	case m.all != nil:
		return *m.all
	case m.time.IsZero():
		return state.MXWatch{}
	}
	w := state.MXWatch{
		Domain: d.name, Time: m.time, Attempts: m.attempts, Passed: m.passed, Unknown: m.unknown, Summary: m.summary.Value(),
	}
	for _, host := range unpack(m.hosts.Value(), d.name) {
		w.Hosts = append(w.Hosts, state.MXHostSeen{Host: host, Passed: m.time.Add(-m.behind)})
	}
	return w
}
