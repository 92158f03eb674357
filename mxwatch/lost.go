package mxwatch

import (
	"context"
	"time"

	"github.com/stshost/stshost/internal/state"
)

// An event is stored a moment after what is known says that it was told, and a
// crash may come between the two. So a start asks whether the events of the last
// day are there, and has told anew what is not.
const distrusted = 24 * time.Hour

// untell takes back in rows, by domain, what they say was told and was not. It
// returns whose rows these are.
func (w *Watch) untell(ctx context.Context, rows map[string]state.MXWatch) (lost map[string]bool, err error) {
	since := w.cfg.Now().Add(-distrusted)
	var first time.Time
	lost = make(map[string]bool)
	for name, row := range rows {
		if row.Told.Kind == "" || row.Told.Time.Before(since) {
			continue
		}
		lost[name] = true
		if first.IsZero() || row.Told.Time.Before(first) {
			first = row.Told.Time
		}
	}
	if len(lost) == 0 {
		return nil, nil
	}
	for _, kind := range []string{state.KindMXFailed, state.KindMXRecovered} {
		if err := w.found(ctx, state.EventQuery{Kind: kind, Since: first}, rows, lost); err != nil {
			return nil, err
		}
	}
	for name := range lost {
		rows[name] = untold(rows[name])
	}
	return lost, nil
}

// found takes those out of lost whose last event is among those of q.
func (w *Watch) found(ctx context.Context, q state.EventQuery, rows map[string]state.MXWatch, lost map[string]bool) error {
	const page = 1000
	for q.Limit = page; ; {
		events, err := w.cfg.Store.Events(ctx, q)
		if err != nil {
			return err
		}
		for _, e := range events {
			if told := rows[e.Domain].Told; told.Kind == e.Kind && !e.Time.Before(told.Time) {
				delete(lost, e.Domain)
			}
			q.After = e.ID
		}
		if len(events) < page {
			return nil
		}
	}
}

// untold is a row as if its last event had not been told.
func untold(row state.MXWatch) state.MXWatch {
	if row.Told.Kind == state.KindMXRecovered {
		row.Told.Kind = state.KindMXFailed // whose end is to be told
		return row
	}
	row.Told = state.MXTold{}
	for i := range row.Faults {
		row.Faults[i].Told = false
	}
	return row
}
