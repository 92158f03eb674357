package mxwatch

import (
	"context"
	"slices"
	"time"

	"github.com/stshost/stshost/internal/state"
)

// An event is stored a moment after what is known says that it was told, and a
// crash may come between the two. So a start asks whether the events of the last
// day are there, and has told anew what is not.
const distrusted = 24 * time.Hour

// claim is an event that a row says was told.
type claim struct{ domain, kind, host string }

// claims are the events that a row says were told, each with its time.
func claims(row state.MXWatch) map[claim]time.Time {
	all := make(map[claim]time.Time)
	if row.Told.Kind != "" {
		all[claim{row.Domain, row.Told.Kind, ""}] = row.Told.Time
	}
	if !row.Drift.Time.IsZero() {
		all[claim{row.Domain, state.KindMXDrift, ""}] = row.Drift.Time
	}
	for _, h := range row.Hosts {
		if !h.Told.IsZero() {
			all[claim{row.Domain, state.KindMXGuard, h.Host}] = h.Told
		}
	}
	return all
}

// untell takes back in rows, by domain, what they say was told and was not. It
// returns whose rows these are.
func (w *Watch) untell(ctx context.Context, rows map[string]state.MXWatch) (lost map[string]bool, err error) {
	since := w.cfg.Now().Add(-distrusted)
	doubted := make(map[claim]time.Time)
	first := make(map[string]time.Time) // by kind
	for _, row := range rows {
		for c, at := range claims(row) {
			if at.Before(since) {
				continue
			}
			// An event is stored in microseconds.
			doubted[c] = at.Truncate(time.Microsecond)
			if before, ok := first[c.kind]; !ok || doubted[c].Before(before) {
				first[c.kind] = doubted[c]
			}
		}
	}
	for kind, at := range first {
		if err := w.found(ctx, state.EventQuery{Kind: kind, Since: at}, doubted); err != nil {
			return nil, err
		}
	}
	lost = make(map[string]bool)
	for c := range doubted {
		lost[c.domain] = true
		rows[c.domain] = untold(rows[c.domain], c)
	}
	return lost, nil
}

// found takes those out of doubted that are among the events of q.
func (w *Watch) found(ctx context.Context, q state.EventQuery, doubted map[claim]time.Time) error {
	const page = 1000
	for q.Limit = page; ; {
		events, err := w.cfg.Store.Events(ctx, q)
		if err != nil {
			return err
		}
		for _, e := range events {
			c := claim{e.Domain, e.Kind, e.Host}
			if at, ok := doubted[c]; ok && !e.Time.Before(at) {
				delete(doubted, c)
			}
			q.After = e.ID
		}
		if len(events) < page {
			return nil
		}
	}
}

// untold is a row as if an event had not been told.
func untold(row state.MXWatch, c claim) state.MXWatch {
	switch c.kind {
	case state.KindMXDrift:
		row.Drift = state.MXDrift{}
	case state.KindMXGuard:
		row.Hosts = slices.Clone(row.Hosts)
		for i := range row.Hosts {
			if row.Hosts[i].Host == c.host {
				row.Hosts[i].Told = time.Time{}
			}
		}
	case state.KindMXRecovered:
		row.Told.Kind = state.KindMXFailed // whose end is to be told
	default:
		row.Told = state.MXTold{}
		for i := range row.Faults {
			row.Faults[i].Told = false
		}
	}
	return row
}
