package mxwatch

import (
	"time"
	"unique"

	"github.com/stshost/stshost/internal/state"
)

// memory is a state.MXWatch in little room: nearly all of many thousands of
// domains have no trouble, and the same to be said of them.
type memory struct {
	time            time.Time
	attempts        int
	passed, unknown bool
	summary         unique.Handle[string]
	all             *state.MXWatch // of a domain with trouble, or that had some; nil: there is no more
}

func remember(w state.MXWatch) memory {
	if len(w.Faults) > 0 || w.Trouble != (state.Trouble{}) || w.Told != (state.MXTold{}) {
		return memory{time: w.Time, attempts: w.Attempts, unknown: w.Unknown, all: &w}
	}
	return memory{time: w.Time, attempts: w.Attempts, passed: w.Passed, unknown: w.Unknown, summary: unique.Make(w.Summary)}
}

// known is what is remembered of a domain. Its faults are not to be changed.
func (d *domain) known() state.MXWatch {
	m := d.last
	switch {
	case m.all != nil:
		return *m.all
	case m.time.IsZero():
		return state.MXWatch{}
	}
	return state.MXWatch{
		Domain: d.name, Time: m.time, Attempts: m.attempts, Passed: m.passed, Unknown: m.unknown, Summary: m.summary.Value(),
	}
}
