package config

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/stshost/stshost/mtasts"
)

// Rollout is how `stshost rollout` takes a managed domain from testing to
// enforce with the full max_age. Its slices are shared by the domains that have
// the same values, and never changed.
type Rollout struct {
	MaxAge    time.Duration   // of the last stage: max_age as set; default 4 w
	Ramp      []time.Duration // max_age of enforce in the stages before, ascending, each below MaxAge; default 1 d, 1 w
	Stay      []time.Duration // the least time in testing, then in each stage of Ramp; default 7 d, 2 d, 7 d
	Reporters int             // organizations that must have reported success, where there are reports; default 2
	Migrate   bool            // MX hosts that DNSSEC vouches for enter the policy by themselves
}

const (
	defaultFullMaxAge = 4 * 7 * 24 * time.Hour
	defaultReporters  = 2

	maxRamp = 8
	maxStay = 52 * 7 * 24 * time.Hour

	rampExample = `["1d", "1w"]`
)

var rolloutKeys = []string{"ramp", "stay", "reporters", "mx_migration"}

func defaultRamp() []time.Duration { return []time.Duration{24 * time.Hour, 7 * 24 * time.Hour} }

// defaultStay goes with a ramp of n values: a week shows senders' reports, and
// two days of a max_age of a day show what breaks, when little is at stake.
func defaultStay(n int) []time.Duration {
	stay := slices.Repeat([]time.Duration{7 * 24 * time.Hour}, n+1)
	if n > 0 {
		stay[1] = 2 * 24 * time.Hour
	}
	return stay
}

// rolloutSettings are the part of policySettings that a rollout goes by.
type rolloutSettings struct {
	ramp, stay durationsSetting
	stayBelow  bool // ramp is set nearer to the domain than stay

	reporters    int
	reportersSet bool

	migrate, migrateSet bool
}

type durationsSetting struct {
	list        []time.Duration
	in          string // "ramp in [[domain]]", for messages
	at          Pos
	set, faulty bool
}

// over returns s with what it leaves out taken from below.
func (s rolloutSettings) over(below rolloutSettings) rolloutSettings {
	if !s.stay.set {
		s.stay, s.stayBelow = below.stay, s.ramp.set
	}
	if !s.ramp.set {
		s.ramp = below.ramp
	}
	if !s.reportersSet {
		s.reporters, s.reportersSet = below.reporters, below.reportersSet
	}
	if !s.migrateSet {
		s.migrate, s.migrateSet = below.migrate, below.migrateSet
	}
	return s
}

// rolloutSettings reads what t itself sets.
func (t table) rolloutSettings() rolloutSettings {
	var s rolloutSettings
	s.ramp = t.durations("ramp", rampExample, durationRule{lo: time.Second, hi: mtasts.MaxMaxAge, because: "RFC 8461 §3.2"})
	s.stay = t.durations("stay", `["7d", "2d", "7d"]`, durationRule{hi: maxStay})
	t.checkRamp(&s.ramp)
	if s.ramp.set && s.stay.set && !s.ramp.faulty && !s.stay.faulty && !s.fit() {
		t.l.failFit(s)
		s.ramp.faulty, s.stay.faulty = true, true
	}
	if t.has("reporters") {
		s.reportersSet, s.reporters = true, t.integer("reporters", 0, 1000, defaultReporters)
	}
	t.readMigration(&s)
	return s
}

// durations reads a list of durations.
func (t table) durations(key, example string, rule durationRule) durationsSetting {
	v, there := t.vals[key]
	if !there {
		return durationsSetting{}
	}
	s := durationsSetting{in: t.in(key), at: t.posOf(key), set: true}
	rule.what, rule.want = "an element of "+s.in, "a list of durations"
	rule.example = example + ", each " + durationForms
	list, isList := v.([]any)
	if !isList {
		t.wrongType(s.at, key, rule.want, v, rule.example)
		s.faulty = true
		return s
	}
	n := t.at.key(key)
	for i, v := range list {
		d, ok := t.readDuration(key, v, Pos{t.file, n.elem(i).line}, rule)
		s.faulty = s.faulty || !ok
		s.list = append(s.list, d)
	}
	return s
}

func (t table) checkRamp(s *durationsSetting) {
	if s.faulty {
		return
	}
	if len(s.list) > maxRamp {
		t.fail("ramp", fmt.Sprintf("write %d at most", maxRamp), "%s has %d durations", s.in, len(s.list))
		s.faulty = true
		return
	}
	for i := 1; i < len(s.list); i++ {
		if s.list[i] <= s.list[i-1] {
			t.l.fail(Pos{t.file, t.at.key("ramp").elem(i).line}, "write each once, the shortest first, e.g. ramp = "+rampExample,
				"%s does not ascend: %s stands behind %s", s.in, formatDuration(s.list[i]), formatDuration(s.list[i-1]))
			s.faulty = true
			return
		}
	}
}

func (t table) readMigration(s *rolloutSettings) {
	if !t.has("mx_migration") {
		return
	}
	s.migrateSet = true
	v, ok := t.str("mx_migration", `"ask"`)
	if !ok {
		return
	}
	switch v {
	case "ask":
	case "auto":
		s.migrate = true
	default:
		t.fail("mx_migration", `write "ask" or "auto"`, "%s is %s", t.in("mx_migration"), show(v))
	}
}

// warnPinned says that a mode beside them leaves the settings of a rollout
// without effect.
func (t table) warnPinned() {
	var idle []string
	for _, key := range rolloutKeys {
		if t.has(key) {
			idle = append(idle, key)
		}
	}
	if len(idle) > 0 {
		t.l.warn(t.posOf(idle[0]), "remove what is not meant: without mode, `stshost rollout` takes the domain to enforce",
			"mode in %s is pinned, which leaves without effect what stands beside it: %s", t.name, strings.Join(idle, ", "))
	}
}

// fit reports whether there is a stay for testing and one for each of ramp.
func (s rolloutSettings) fit() bool { return len(s.stay.list) == len(s.ramp.list)+1 }

// failFit reports that ramp and stay do not fit, where the one nearer to the
// domain stands.
func (l *loader) failFit(s rolloutSettings) {
	near, far, remedy := s.stay, s.ramp, "write "
	if s.stayBelow {
		near, far, remedy = s.ramp, s.stay, "write stay beside it, with "
	}
	other := "the default ramp = " + rampExample
	if far.set {
		other = fmt.Sprintf("%s (%s)", far.in, far.at)
	}
	var example []string
	for _, d := range defaultStay(len(s.ramp.list)) {
		example = append(example, formatDuration(d))
	}
	l.fail(near.at, fmt.Sprintf("%s%s, e.g. stay = [%s]", remedy, durationCount(len(example)), strings.Join(example, ", ")),
		"%s has %s and %s has %s, but stay needs one for testing and one for each of ramp",
		near.in, durationCount(len(near.list)), other, durationCount(len(far.list)))
}

func durationCount(n int) string {
	switch n {
	case 0:
		return "no duration"
	case 1:
		return "1 duration"
	}
	return fmt.Sprintf("%d durations", n)
}

// misfit is where a ramp and a stay stand that do not fit.
type misfit struct{ ramp, stay Pos }

// rollout resolves the rollout of a domain. It is empty if that was reported.
func (r *domainReader) rollout(all policySettings) Rollout {
	s := all.rollout
	if s.ramp.faulty || s.stay.faulty {
		return Rollout{}
	}
	if !s.ramp.set {
		s.ramp.list = defaultRamp()
	}
	if !s.stay.set {
		s.stay.list = defaultStay(len(s.ramp.list))
	}
	if !s.fit() {
		if pair := (misfit{s.ramp.at, s.stay.at}); !r.misfits[pair] {
			r.misfits[pair] = true
			r.l.failFit(s)
		}
		return Rollout{}
	}
	out := Rollout{MaxAge: defaultFullMaxAge, Reporters: defaultReporters, Migrate: s.migrate}
	if all.maxAgeSet {
		out.MaxAge = all.maxAge
	}
	if s.reportersSet {
		out.Reporters = s.reporters
	}
	used, _ := slices.BinarySearch(s.ramp.list, out.MaxAge)
	out.Ramp, out.Stay = r.shared(s.ramp.list[:used]), r.shared(s.stay.list[:used+1])
	return out
}

// durations are the values of a ramp or of a stay, as a key.
type durations struct {
	n int
	d [maxRamp + 1]time.Duration
}

// shared returns a list that equals list, the same for each that does.
func (r *domainReader) shared(list []time.Duration) []time.Duration {
	if len(list) == 0 {
		return nil
	}
	key := durations{n: len(list)}
	copy(key.d[:], list)
	out, ok := r.lists[key]
	if !ok {
		out = slices.Clone(list)
		r.lists[key] = out
	}
	return out
}
