package rollout

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
)

// standing is how a domain stands when it has come to rest, without times and ids.
type standing struct {
	row     string
	served  string
	record  string // what the DNS has, by what it announces
	step    state.Step
	trouble string
	secure  bool // there is a certificate
}

func (l *lives) standing() standing {
	s, ok := l.rec.Snapshot(victim)
	l.w.mu.Lock()
	defer l.w.mu.Unlock()
	is := standing{served: string(l.w.served[victim]), step: s.State.Step, trouble: s.State.LastError, record: "none"}
	if !ok {
		is.step = "not known"
	}
	if !s.Waits.IsZero() {
		is.trouble = "it waits"
	}
	if _, known := l.w.db.rows[victim]; known != ok {
		is.trouble = "the journal and the process differ"
	}
	if row, ok := l.w.db.rollouts[victim]; ok {
		is.row = fmt.Sprintf("%+v goal %q confirmed %t paused %t left %t mx %v held %q", placeOf(row), row.Goal, !row.Confirmed.IsZero(), row.Paused, row.Left, row.MX, row.Held)
		if row.Goal == state.GoalEnforce {
			is.row += fmt.Sprintf(" hasty %t no reports %t waived %v evidence %t", row.Hasty, row.NoReports, row.Waivers, row.Evidence != nil)
		}
		if row.Back != nil {
			is.row += fmt.Sprintf(" back to %+v", *row.Back)
		}
	}
	switch records := mtasts.Records(l.w.txt[mtasts.RecordName(victim)]); len(records) {
	case 0:
	case 1:
		is.record = "of another body"
		if rec, err := mtasts.ParseRecord(records[0]); err == nil && mtasts.Announces(rec.ID, l.w.served[victim]) && rec.ID == s.State.ID {
			is.record = "of what is served"
		}
	default:
		is.record = "several"
	}
	is.secure = time.Now().Before(l.w.db.certs[mtasts.PolicyHost(victim)])
	return is
}

// moves are the changes of the place among those of the rollout.
func (l *lives) moves() (all []change) {
	last := place{}
	for _, c := range l.history {
		if p := c.place(); p != last {
			all, last = append(all, c), p
		}
	}
	return all
}

// way is where the domain was taken, as a story says it.
func (l *lives) way() string {
	var all []string
	for _, c := range l.moves() {
		switch p := c.place(); {
		case p == place{}:
			all = append(all, "gone")
		case p.maxAge > 0:
			all = append(all, "enforce for a "+strings.TrimPrefix(span(p.maxAge), "1 "))
		default:
			all = append(all, string(p.stage))
		}
	}
	return strings.Join(all, ", ")
}

// place is the one that c leads to; zero: to none.
func (c change) place() place {
	if c.row == nil {
		return place{}
	}
	return placeOf(*c.row)
}

// kinds are those of the events that tell of c.
func (c change) kinds() string {
	var all []string
	for _, e := range c.events {
		kind := e.Kind
		if kind == state.KindDomainLeft { // or it was retired after the kill, by hand
			kind = state.KindRolloutRetired
		}
		all = append(all, kind)
	}
	return strings.Join(all, " ")
}

// wantLike wants all to have gone as in whole, where there was no kill.
func (l *lives) wantLike(whole *lives) {
	for _, b := range l.w.broken {
		what, detail, _ := strings.Cut(b, "\x00")
		l.errorf("%s: %s", what, detail)
	}
	for i, is := range l.places {
		if want := whole.places[i]; is != want {
			l.errorf("after deed %d:\n%+v\nwant\n%+v", i+1, is, want)
		}
	}
	l.wantMoves(whole)
	l.wantTold(whole)
	// No body has more ids than without a kill, and nothing is pushed once more.
	if l.w.pushes != whole.w.pushes || len(l.f.ids) != len(whole.f.ids) {
		l.errorf("%d pushes of %d ids, want %d of %d", l.w.pushes, len(l.f.ids), whole.w.pushes, len(whole.f.ids))
	}
}

// wantMoves wants each change of the stage once, told once, and not before its time
// nor long after it.
func (l *lives) wantMoves(whole *lives) {
	is, want := l.moves(), whole.moves()
	if l.way() != whole.way() {
		l.errorf("it went %s\nwant %s", l.way(), whole.way())
		return
	}
	for i, c := range is {
		late := c.at.Sub(want[i].at)
		if late < 0 || late > l.away+toRest {
			l.errorf("%+v was entered %s after its time, and nobody ran for %s", c.place(), late, l.away)
		}
	}
	events := func(history []change) (all []string) {
		last := place{}
		for _, c := range history {
			k, stays := c.kinds(), c.place() == last
			last = c.place()
			if k == "" || stays && k == state.KindRolloutStep && l.outage > promptness {
				continue // it was not served in time, and made again after another look
			}
			all = append(all, k)
		}
		return all
	}
	if is, want := events(l.history), events(whole.history); !slices.Equal(is, want) {
		l.errorf("told %v\nwant %v", is, want)
	}
	// A stage lasts for its minimum from when it was seen everywhere.
	for i, c := range l.history[1:] {
		before := l.history[i].row
		if c.kinds() != state.KindRolloutStep || before == nil || placeOf(*before) == c.place() || before.Back != nil || before.Hasty {
			continue
		}
		d := l.f.conf.domain(victim)
		if lasted := c.at.Sub(before.Confirmed); before.Confirmed.IsZero() || lasted < d.stay(placeOf(*before)) {
			l.errorf("%+v lasted for %s", placeOf(*before), lasted)
		}
	}
}

// wantTold wants what the reconciler told to be what it tells without a kill. A kill
// loses one event at most.
func (l *lives) wantTold(whole *lives) {
	is, lost := l.told, 0
	for _, told := range whole.told {
		if len(is) > 0 && is[0] == told {
			is = is[1:]
		} else {
			lost++
		}
	}
	if lost > l.kills || len(is) > 0 {
		l.errorf("the reconciler told %s\nwant %s", strings.Join(l.told, ", "), strings.Join(whole.told, ", "))
	}
}

// errorf notes what is wrong: outside of the bubble it ends no other test.
func (l *lives) errorf(format string, args ...any) {
	l.faults = append(l.faults, fmt.Sprintf(format, args...))
}
