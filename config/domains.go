package config

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/stshost/stshost/mtasts"
)

// domainReader resolves [[domain]] tables against profiles and defaults.
type domainReader struct {
	l              *loader
	defaults       policySettings
	defaultProfile string
	seen           map[string]Pos
	shortWarned    map[Pos]bool                  // a profile's max_age is warned of once
	misfits        map[misfit]bool               // reported, and not again for each domain
	lists          map[durations][]time.Duration // what the domains share
	undecided      []Domain                      // several accounts exist and nothing chose one
}

// readDomains reads [profile.*], [[certificate]] and [[domain]] of every file, and [defaults].
// The first table is that of the main file.
func (l *loader) readDomains(tops []table) {
	profileAt := map[string]Pos{}
	for i, top := range tops {
		if i > 0 {
			top.onlyIncluded()
		}
		l.readCertificates(top)
		profiles := top.sub("profile")
		for _, name := range profiles.names("profile") {
			l.readProfile(profiles, name, profileAt)
		}
	}
	r := &domainReader{
		l: l, seen: map[string]Pos{}, shortWarned: map[Pos]bool{}, misfits: map[misfit]bool{}, lists: map[durations][]time.Duration{},
	}
	defaults := tops[0].sub("defaults")
	defaults.only(defaultsKeys)
	// What [defaults] may not set was reported and does not count.
	set := defaults.policySettings()
	r.defaults = policySettings{
		account: set.account, maxAge: set.maxAge, maxAgeAt: set.maxAgeAt, maxAgeSet: set.maxAgeSet,
		mx: set.mx, mxAt: set.mxAt, mxSet: set.mxSet, mxFaulty: set.mxFaulty,
		rollout: set.rollout,
	}
	r.defaultProfile, _ = r.profileName(defaults)
	for _, top := range tops {
		for _, t := range top.subs("domain") {
			r.read(t)
		}
	}
	r.finish()
}

// onlyIncluded reports what an included file may not hold.
func (t table) onlyIncluded() {
	for _, key := range slices.Sorted(maps.Keys(t.vals)) {
		switch {
		case slices.Contains(includedKeys, key):
		case slices.Contains(mainKeys, key):
			t.fail(key, "move it to "+t.l.cfg.File, "%s may stand in the main file only; an included file holds [[domain]], [profile.NAME] and [[certificate]]", showKey(key))
		default:
			t.fail(key, didYouMean(key, includedKeys, "an included file holds"), "unknown key %s at the top of an included file", showKey(key))
		}
	}
}

func (l *loader) readProfile(profiles table, name string, at map[string]Pos) {
	if _, ok := profiles.vals[name].(map[string]any); !ok {
		profiles.fail(name, "write a section such as [profile."+tomlName(name)+"] and put it there",
			"%s in [profile] is %s, and [profile] holds only profiles", showKey(name), typeName(profiles.vals[name]))
		return
	}
	t := profiles.sub(name)
	if first, ok := at[name]; ok {
		l.fail(t.pos(), "give one of the two another name", "profile %s is already defined at %s", name, first)
		return
	}
	at[name] = t.pos()
	t.only(profileKeys)
	l.profiles[name] = t.policySettings()
}

// profileName reads `profile`. known is false if it names none that exists.
func (r *domainReader) profileName(t table) (name string, known bool) {
	name, ok := t.str("profile", `"office"`)
	if !ok {
		return "", !t.has("profile")
	}
	if name == "" {
		return "", true
	}
	if _, ok := r.l.profiles[name]; ok {
		return name, true
	}
	if !r.l.partial {
		all := few(r.l.profiles)
		remedy := didYouMean(name, all, "the profiles are")
		if len(r.l.profiles) == 0 {
			remedy = "add a section [profile." + tomlName(name) + "]"
		}
		t.fail("profile", remedy, "profile in %s is %s, and there is no such profile", t.name, show(name))
	}
	return "", false
}

// read adds one domain, or reports what is wrong with it.
func (r *domainReader) read(t table) {
	faults := len(r.l.errs)
	t.only(domainKeys)
	name := r.name(t)
	s := t.policySettings()
	profile, known := r.defaultProfile, true
	if t.has("profile") {
		profile, known = r.profileName(t)
	}
	if profile != "" {
		s = s.over(r.l.profiles[profile])
	}
	s = s.over(r.defaults)
	if !s.maxAgeSet {
		s.maxAge = defaultMaxAge
	}
	d := Domain{
		Name: name, Zone: s.zone, MX: slices.Clone(s.mx), MaxAge: s.maxAge,
		Mode: s.mode, ModeAt: s.modeAt, Profile: profile, At: t.pos(),
	}
	d.Account = r.account(s)
	if known {
		d.Rollout = r.rollout(s)
		r.check(t, d, s)
	}
	if name == "" {
		return
	}
	if !r.unique(t, name) {
		return
	}
	if s.account == "" && r.l.declared > 1 {
		r.undecided = append(r.undecided, d)
	}
	if len(r.l.errs) == faults {
		r.l.cfg.Domains = append(r.l.cfg.Domains, d)
	}
}

// name reads the policy domain; "" if it was reported.
func (r *domainReader) name(t table) string {
	const remedy = `write the part of the mail addresses after the @, e.g. name = "example.com"`
	s, ok := t.str("name", `"example.com"`)
	if !ok {
		if !t.has("name") {
			t.l.fail(t.pos(), remedy, "[[domain]] has no name")
		}
		return ""
	}
	name, err := mtasts.ParseDomain(s)
	if err != nil {
		problem, _ := explain(err)
		t.fail("name", remedy, "name in [[domain]] is %s: %s", show(s), problem)
		return ""
	}
	// The DNS allows 253 characters (RFC 1035 §2.3.4); the record's name is the longer one.
	if n := len(mtasts.RecordName(name)); n > 253 {
		t.fail("name", "such a domain cannot have MTA-STS", "name in [[domain]] is too long: %s has %d characters, and the DNS allows 253", show(mtasts.RecordName(name)), n)
		return ""
	}
	if !strings.Contains(name, ".") {
		t.l.warn(t.posOf("name"), remedy, "name in [[domain]] is %s, a name of one label", show(name))
	}
	if rest, ok := mtasts.PolicyDomain(name); ok && strings.Contains(rest, ".") {
		t.l.warn(t.posOf("name"), fmt.Sprintf("write name = %q unless mail addresses end in %s", rest, name),
			"%s looks like the policy host of %s rather than a mail domain", name, rest)
	}
	return name
}

func (r *domainReader) unique(t table, name string) bool {
	at := t.posOf("name")
	first, ok := r.seen[name]
	if !ok {
		r.seen[name] = at
		return true
	}
	what := name
	if s, _ := t.str("name", ""); s != name {
		what = fmt.Sprintf("%s (%s)", show(s), name)
	}
	t.l.fail(at, "remove one of the two", "domain %s is already defined at %s", what, first)
	return false
}

// account chooses the DNS account: the domain's, the profile's, the default
// one, the only one, or else the one that is entered by hand.
func (r *domainReader) account(s policySettings) string {
	if s.account != "" {
		return s.account
	}
	if r.l.declared == 1 {
		for name := range r.l.cfg.DNS {
			if name != PrintAccount {
				return name
			}
		}
	}
	return PrintAccount
}

// check reports what the parts of a domain make wrong together.
func (r *domainReader) check(t table, d Domain, s policySettings) {
	label := "[[domain]]"
	if d.Name != "" {
		label = d.Name
	}
	if len(s.mx) == 0 && !s.mxFaulty && !s.modeFaulty && s.mode != mtasts.ModeNone {
		at, what := t.pos(), "has no mx"
		if s.mxSet {
			at, what = s.mxAt, "has an empty list of mx"
		}
		if d.Managed() {
			what += ", and a managed domain's mode needs one (RFC 8461 §3.2)"
		} else {
			what += fmt.Sprintf(", and mode %s needs one (RFC 8461 §3.2)", s.mode)
		}
		r.l.fail(at, `write the names of its MX hosts, e.g. mx = ["mx1.example.com"]`, "%s %s", label, what)
		return
	}
	if d.Name == "" || s.mxFaulty || s.modeFaulty {
		return
	}
	if record := mtasts.RecordName(d.Name) + "."; s.zone != "" && record != s.zone && !strings.HasSuffix(record, "."+s.zone) {
		at := t.pos()
		if t.has("zone") {
			at = t.posOf("zone")
		}
		r.l.fail(at, "write the zone that holds the record, or leave zone out to have it found by SOA",
			"zone %s does not hold %s", show(s.zone), strings.TrimSuffix(record, "."))
	}
	p := mtasts.Policy{Mode: s.mode, MX: s.mx, MaxAge: s.maxAge}
	if d.Managed() {
		p.Mode = mtasts.ModeTesting
	}
	if _, err := p.Render(); err != nil {
		what := err.Error()
		if pe := (*mtasts.PolicyError)(nil); errors.As(err, &pe) {
			what = fmt.Sprintf("%s (%s)", pe.Problem, pe.Rule)
		}
		r.l.fail(t.pos(), "list fewer or shorter mx", "%s: its policy cannot be served: %s", label, what)
	}
	if (d.Managed() || s.mode == mtasts.ModeEnforce) && s.maxAge < 24*time.Hour && !r.shortWarned[s.maxAgeAt] {
		r.shortWarned[s.maxAgeAt] = true
		does := "enforces"
		if d.Managed() {
			does = "ends its rollout"
		}
		// RFC 8461 §10.2: while a sender's copy is expired, an attacker can make
		// the domain look as if it had no policy.
		r.l.warn(s.maxAgeAt, `write max_age = "1w" or more`, "%s %s with a max_age of less than a day, which protects little", label, does)
	}
}

// finish reports what only all domains together show.
func (r *domainReader) finish() {
	if n := len(r.undecided); n > 0 {
		names := r.undecided[0].Name
		if n > 1 {
			names = fmt.Sprintf("%s and %d more", names, n-1)
		}
		r.l.warn(r.undecided[0].At, `write dns = "NAME" there or in [defaults]`,
			`there are several DNS accounts and none is chosen for %s: the records are to be entered by hand ("%s")`, names, PrintAccount)
	}
	if len(r.seen) == 0 && len(r.l.errs) == 0 {
		r.l.warn(Pos{r.l.cfg.File, 1}, "add a section [[domain]] with its name and mx", "there is no domain yet, so there is nothing to serve")
	}
}
