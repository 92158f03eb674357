package config

import (
	"slices"
	"strings"
	"time"

	"github.com/stshost/stshost/mtasts"
)

// policySettings are the settings that a domain may have itself or take from
// its profile or from [defaults]. A setting that was reported counts as set,
// so that one fault is not reported twice.
type policySettings struct {
	at Pos

	account string // "" is not set
	zone    string // "" is not set

	mx              []string
	mxAt            Pos
	mxSet, mxFaulty bool

	maxAge    time.Duration
	maxAgeAt  Pos
	maxAgeSet bool

	mode       mtasts.Mode
	modeAt     Pos
	modeSet    bool
	modeFaulty bool

	rollout rolloutSettings
}

// over returns s with what it leaves out taken from below.
func (s policySettings) over(below policySettings) policySettings {
	if s.account == "" {
		s.account = below.account
	}
	if s.zone == "" {
		s.zone = below.zone
	}
	if !s.mxSet {
		s.mx, s.mxAt, s.mxSet, s.mxFaulty = below.mx, below.mxAt, below.mxSet, below.mxFaulty
	}
	if !s.maxAgeSet {
		s.maxAge, s.maxAgeAt, s.maxAgeSet = below.maxAge, below.maxAgeAt, below.maxAgeSet
	}
	if !s.modeSet {
		s.mode, s.modeAt, s.modeSet, s.modeFaulty = below.mode, below.modeAt, below.modeSet, below.modeFaulty
	}
	s.rollout = s.rollout.over(below.rollout)
	return s
}

// policySettings reads what t itself sets.
func (t table) policySettings() policySettings {
	s := policySettings{at: t.pos()}
	t.readAccountName(&s)
	t.readZone(&s)
	t.readMX(&s)
	if t.has("max_age") {
		s.maxAgeSet, s.maxAgeAt, s.maxAge = true, t.posOf("max_age"), defaultMaxAge
		if d, ok := t.duration("max_age", 0, mtasts.MaxMaxAge, `"7d"`, "RFC 8461 §3.2"); ok {
			s.maxAge = d
		}
	}
	t.readMode(&s)
	s.rollout = t.rolloutSettings()
	if s.modeSet && !s.modeFaulty {
		t.warnPinned()
	}
	return s
}

func (t table) readAccountName(s *policySettings) {
	name, ok := t.str("dns", `"main"`)
	if !ok {
		return
	}
	s.account = name
	if t.l.accounts[name] {
		return
	}
	s.account = PrintAccount
	remedy := didYouMean(name, few(t.l.accounts), "the accounts are")
	if len(t.l.accounts) == 1 {
		remedy = `add a section [dns.` + tomlName(name) + `], or write dns = "print"`
	}
	t.fail("dns", remedy, "dns in %s is %s, and there is no such account", t.name, show(name))
}

// tomlName is a name as it would stand in a section header, or NAME if it
// could not.
func tomlName(s string) string {
	if isName(s) && len(s) <= 63 {
		return s
	}
	return "NAME"
}

func (t table) readZone(s *policySettings) {
	zone, ok := t.str("zone", `"example.com"`)
	if !ok {
		return
	}
	// The record's own name may be a zone of its own, and that label has the
	// one underscore that no host name has.
	rest, own := strings.CutPrefix(zone, "_mta-sts.")
	name, problem, remedy := parseName(rest)
	if problem != "" {
		t.fail("zone", remedy, "zone in %s is %s: %s", t.name, show(zone), problem)
		return
	}
	if own {
		name = "_mta-sts." + name
	}
	s.zone = name + "."
}

func (t table) readMX(s *policySettings) {
	const example = `["mx1.example.com", "mx2.example.com"]`
	if !t.has("mx") {
		return
	}
	items, _, wrong := t.list("mx", example)
	s.mxSet, s.mxAt, s.mxFaulty = true, t.posOf("mx"), wrong
	seen := make(map[string]bool, len(items))
	for _, it := range items {
		pattern, err := mtasts.ParsePattern(it.s)
		if err != nil {
			problem, remedy := explain(err)
			if bare := strings.TrimSuffix(it.s, "."); bare != it.s && bare != "" {
				problem, remedy = "it ends in a dot", "write it without: "+show(bare)
			}
			t.l.fail(it.at, remedy, "mx in %s has %s: %s", t.name, show(it.s), problem)
			s.mxFaulty = true
			continue
		}
		if seen[pattern] {
			t.l.warn(it.at, "write it once", "mx in %s has %s twice", t.name, show(pattern))
			continue
		}
		seen[pattern] = true
		if parent, wild := strings.CutPrefix(pattern, "*."); wild {
			// RFC 8461 §3.2 allows it; whoever can name a host there can receive the mail.
			t.l.warn(it.at, "list the MX hosts by name unless their names change",
				"mx in %s has %s: every host directly under %s may take the mail", t.name, show(pattern), parent)
		}
		if !strings.Contains(pattern, ".") {
			t.l.warn(it.at, "write its whole name, e.g. "+pattern+".example.com",
				"mx in %s has %s: no MX host on the Internet has a name of one label, so it matches none", t.name, show(pattern))
		}
		s.mx = append(s.mx, pattern)
	}
}

func (t table) readMode(s *policySettings) {
	if !t.has("mode") {
		return
	}
	s.modeSet, s.modeAt, s.modeFaulty = true, t.posOf("mode"), true
	v, ok := t.str("mode", `"testing"`)
	if !ok {
		return
	}
	if m := mtasts.Mode(v); m.Valid() {
		s.mode, s.modeFaulty = m, false
		return
	}
	modes := []string{string(mtasts.ModeEnforce), string(mtasts.ModeTesting), string(mtasts.ModeNone)}
	remedy := `write "testing", "enforce" or "none", or leave mode out for a managed domain`
	if slices.Contains(modes, nearest(v, modes)) {
		remedy = didYouMean(v, modes, "")
	}
	t.fail("mode", remedy, "mode in %s is %s", t.name, show(v))
}
