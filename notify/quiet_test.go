package notify

import (
	"testing"
	"time"
)

func TestQuietHoursOnTheWall(t *testing.T) {
	loc := berlin(t)
	night := quietHours{from: 22 * time.Hour, to: 7 * time.Hour, loc: loc}
	noon := quietHours{from: 12 * time.Hour, to: 13*time.Hour + 30*time.Minute, loc: loc}
	early := quietHours{from: time.Hour, to: 2*time.Hour + 30*time.Minute, loc: loc}
	for _, c := range []struct {
		q     quietHours
		at    string // RFC 3339
		until string // on the wall; "": not quiet
	}{
		{night, "2026-07-01T21:59:59+02:00", ""},
		{night, "2026-07-01T22:00:00+02:00", "2026-07-02T07:00"},
		{night, "2026-07-02T06:59:59+02:00", "2026-07-02T07:00"},
		{night, "2026-07-02T07:00:00+02:00", ""},
		{night, "2026-12-31T23:00:00+01:00", "2027-01-01T07:00"},
		{noon, "2026-07-01T12:00:00+02:00", "2026-07-01T13:30"},
		{noon, "2026-07-01T13:30:00+02:00", ""},
		// The night in which the clock goes forward: an hour shorter.
		{night, "2026-03-28T22:00:00+01:00", "2026-03-29T07:00"},
		{night, "2026-03-29T03:00:00+02:00", "2026-03-29T07:00"},
		// The night in which it goes back: an hour longer.
		{night, "2026-10-24T22:00:00+02:00", "2026-10-25T07:00"},
		// An end that the clock does not show that day: 02:30.
		{early, "2026-03-29T01:59:00+01:00", "2026-03-29T03:30"},
		// One that it shows twice, before, between and after.
		{early, "2026-10-25T01:00:00+02:00", "2026-10-25T02:30"},
		{early, "2026-10-25T02:45:00+02:00", ""},
		{early, "2026-10-25T02:40:00+01:00", ""},
		{quietHours{}, "2026-07-01T22:00:00+02:00", ""},
	} {
		at, err := time.Parse(time.RFC3339, c.at)
		if err != nil {
			t.Fatal(err)
		}
		quiet, until := c.q.at(at)
		got := ""
		if quiet {
			got = until.In(loc).Format("2006-01-02T15:04")
			if !until.After(at) {
				t.Errorf("at %s quiet until %s, which is past", c.at, until)
			}
		}
		if got != c.until {
			t.Errorf("at %s quiet until %q, want %q", c.at, got, c.until)
		}
	}
	// The second showing of 02:00 to 02:30 is quiet again; it is asked again soon.
	at, _ := time.Parse(time.RFC3339, "2026-10-25T02:10:00+01:00")
	if quiet, until := early.at(at); !quiet || !until.After(at) || until.After(at.Add(20*time.Minute)) {
		t.Errorf("in the hour shown twice: %t until %s", quiet, until)
	}
}
