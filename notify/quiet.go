package notify

import "time"

// quietHours are the hours of the day in which only what is critical is told.
type quietHours struct {
	from, to time.Duration // since midnight, as the clock on the wall shows it; equal: none
	loc      *time.Location
}

// at reports whether t lies in them, and if so when to look again: at their
// end, or sooner where the clock is changed in between.
func (q quietHours) at(t time.Time) (quiet bool, until time.Time) {
	if q.from == q.to || q.loc == nil {
		return false, time.Time{}
	}
	local := t.In(q.loc)
	h, m, s := local.Clock()
	wall := time.Duration(h)*time.Hour + time.Duration(m)*time.Minute + time.Duration(s)*time.Second
	tomorrow := 0
	switch {
	case q.from < q.to: // within a day
		quiet = q.from <= wall && wall < q.to
	case wall >= q.from: // over midnight, before it
		quiet, tomorrow = true, 1
	default:
		quiet = wall < q.to
	}
	if !quiet {
		return false, time.Time{}
	}
	y, month, day := local.Date()
	until = time.Date(y, month, day+tomorrow, 0, 0, int(q.to/time.Second), 0, q.loc)
	if !until.After(t) {
		// The hour that the clock shows twice, in autumn: the end was its
		// first showing.
		until = t.Add(time.Minute)
	}
	return true, until
}
