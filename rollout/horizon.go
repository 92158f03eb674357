package rollout

import (
	"slices"
	"strings"
	"time"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
)

// until is when the last sender drops b that fetched it at the last moment (RFC
// 8461 §3.2). One that is served is fetched now.
func until(b state.Body, now time.Time) time.Time {
	if b.LastServed.IsZero() {
		return now.Add(b.MaxAge)
	}
	return b.LastServed.Add(b.MaxAge)
}

// latest is the latest end of the bodies that matter and that a sender may hold at
// now; zero: there is none.
func latest(ledger []state.Body, now time.Time, matters func(state.Body) bool) (end time.Time) {
	for _, b := range ledger {
		if u := until(b, now); matters(b) && u.After(now) && u.After(end) {
			end = u
		}
	}
	return end
}

// horizon is when no sender holds a policy any more that says more than none: the
// longest max_age that was ever published has run out (RFC 8461 §8.3). open says
// that such a policy is still served.
func horizon(ledger []state.Body, now time.Time) (end time.Time, open bool) {
	more := func(b state.Body) bool { return b.Mode != mtasts.ModeNone }
	open = slices.ContainsFunc(ledger, func(b state.Body) bool { return more(b) && b.LastServed.IsZero() })
	return latest(ledger, now, more), open
}

// enforced reports whether senders who hold b refuse an MX host that it does not
// name.
func enforced(b state.Body) bool { return b.Mode == mtasts.ModeEnforce }

// names are the MX patterns of a body.
func names(b state.Body) []string {
	p, err := mtasts.ParsePolicy(b.Body)
	if err != nil {
		return nil
	}
	return p.MX
}

// covers reports whether patterns let every host pass that name stands for: a host,
// or a pattern itself.
func covers(patterns []string, name string) bool {
	return slices.ContainsFunc(patterns, func(p string) bool {
		return p == name || !strings.HasPrefix(name, "*.") && mtasts.MatchMX(p, name)
	})
}

// missing are those of the names that patterns do not cover.
func missing(patterns, of []string) (uncovered []string) {
	for _, name := range of {
		if !covers(patterns, name) {
			uncovered = append(uncovered, name)
		}
	}
	return uncovered
}

// kept is what a policy names beyond what is wanted.
type kept struct {
	names []string
	until time.Time // then it is to be seen whether they are MX hosts still
	told  bool      // that one is
	since time.Time // they are kept, where nobody holds an older policy; zero: somebody does
}

// due is when it is to be seen whether they can go. Where nobody holds an older
// policy a day is given to the TTL of the MX records.
func (k kept) due() time.Time { return later(k.until, k.since.Add(lookAgain)) }

// keep says which of the names in a policy that is served stay when mx is wanted
// instead. A sender that holds an enforce policy without one of the new names
// refuses that host, and needs the old ones: they stay beside the new until the
// last such policy has run out, and until somebody has seen that they are no MX
// hosts any more.
func keep(served mtasts.Policy, mx []string, ledger []state.Body, now time.Time) kept {
	old := missing(mx, served.MX)
	if served.Mode != mtasts.ModeEnforce || len(old) == 0 {
		return kept{}
	}
	end := latest(ledger, now, func(b state.Body) bool { return enforced(b) && len(missing(names(b), mx)) > 0 })
	if end.IsZero() {
		end = now
	}
	return kept{names: old, until: end}
}

// union is a with what b has beyond it.
func union(a, b []string) []string {
	all := slices.Clone(a)
	for _, name := range b {
		if !slices.Contains(all, name) {
			all = append(all, name)
		}
	}
	return all
}
