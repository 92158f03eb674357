package config

import (
	"fmt"
	"strconv"
	"time"
)

const durationForms = `an integer of seconds or a string such as "7d" (units: s, m, h, d, w)`

// parseDuration reads "90s", "30m", "12h", "7d" or "4w".
func parseDuration(s string) (time.Duration, error) {
	if len(s) < 2 {
		return 0, fmt.Errorf("%s is no duration", show(s))
	}
	var unit time.Duration
	switch s[len(s)-1] {
	case 's':
		unit = time.Second
	case 'm':
		unit = time.Minute
	case 'h':
		unit = time.Hour
	case 'd':
		unit = 24 * time.Hour
	case 'w':
		unit = 7 * 24 * time.Hour
	default:
		return 0, fmt.Errorf("%s is no duration", show(s))
	}
	n, err := strconv.ParseInt(s[:len(s)-1], 10, 64)
	if err != nil || s[0] == '+' {
		return 0, fmt.Errorf("%s is no duration", show(s))
	}
	return times(n, unit), nil
}

// times is n units, held to ±100 years so that it cannot overflow; every
// bound of ours is far inside.
func times(n int64, unit time.Duration) time.Duration {
	const most = 100 * 365 * 24 * time.Hour
	switch limit := int64(most / unit); {
	case n > limit:
		return most
	case n < -limit:
		return -most
	}
	return time.Duration(n) * unit
}

// formatDuration writes d as a config would: in the largest unit that gives a
// handy number, else in seconds.
func formatDuration(d time.Duration) string {
	for _, u := range []struct {
		d time.Duration
		s string
	}{{7 * 24 * time.Hour, "w"}, {24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "m"}} {
		if d != 0 && d%u.d == 0 && d/u.d < 1000 {
			return fmt.Sprintf("%q", strconv.FormatInt(int64(d/u.d), 10)+u.s)
		}
	}
	return strconv.FormatInt(int64(d/time.Second), 10)
}

// duration reads a duration in whole seconds between lo and hi. ok is false
// if it is missing or was reported. because, if not "", says where a bound
// comes from.
func (t table) duration(key string, lo, hi time.Duration, example, because string) (d time.Duration, ok bool) {
	v, there := t.vals[key]
	if !there {
		return 0, false
	}
	return t.readDuration(key, v, t.posOf(key), durationRule{
		what: t.in(key), want: "a duration", example: example + ": " + durationForms, lo: lo, hi: hi, because: because,
	})
}

// durationRule is what a duration has to be, and how to say that it is not.
type durationRule struct {
	what    string // what it is
	want    string // the type of the key
	example string // what to write for the key
	lo, hi  time.Duration
	because string // where a bound comes from; may be ""
}

// readDuration reads v, which stands at key or is an element there. ok is false
// if it was reported.
func (t table) readDuration(key string, v any, at Pos, rule durationRule) (d time.Duration, ok bool) {
	switch v := v.(type) {
	case int64:
		d = times(v, time.Second)
	case string:
		var err error
		if d, err = parseDuration(v); err != nil {
			t.l.fail(at, fmt.Sprintf("write %s = %s", key, rule.example), "%s: %v", rule.what, err)
			return 0, false
		}
	default:
		t.wrongType(at, key, rule.want, v, rule.example)
		return 0, false
	}
	if d < rule.lo || d > rule.hi {
		problem := "is longer than " + formatDuration(rule.hi)
		if d < rule.lo {
			problem = "is shorter than " + formatDuration(rule.lo)
			if d < 0 {
				problem = "is negative"
			}
		}
		if rule.because != "" {
			problem += " (" + rule.because + ")"
		}
		t.l.fail(at, fmt.Sprintf("write a duration from %s to %s", formatDuration(rule.lo), formatDuration(rule.hi)), "%s %s", rule.what, problem)
		return 0, false
	}
	return d, true
}
