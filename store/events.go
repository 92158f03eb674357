package store

import (
	"cmp"
	"context"
	"database/sql"
	"fmt"
	"slices"
	"time"

	"github.com/stshost/stshost/internal/state"
)

// AddEvents stores events, all or none, in their order, and returns the ids
// they got. Ids rise, and none is given a second time. An event that has no
// time or no known severity is refused.
func (s *Store) AddEvents(ctx context.Context, events []state.Event) (ids []int64, err error) {
	if len(events) == 0 {
		return nil, nil
	}
	return s.updateTold(ctx, "store events", events, func(*sql.Tx) error { return nil })
}

// execTold makes one change, in one transaction with the events that tell of it.
func (s *Store) execTold(ctx context.Context, what string, events []state.Event, query string, args ...any) (ids []int64, err error) {
	return s.updateTold(ctx, what, events, func(tx *sql.Tx) error {
		_, err := tx.ExecContext(ctx, query, args...)
		return err
	})
}

// updateTold runs f in a transaction that stores the events as well, and
// returns the ids they got. One transaction writes at a time, so that ids rise
// in the order in which they become visible: a reader who has seen one has seen
// all that are lower.
func (s *Store) updateTold(ctx context.Context, what string, events []state.Event, f func(*sql.Tx) error) (ids []int64, err error) {
	rows := make([][]any, len(events))
	for i, e := range events {
		if rows[i], err = eventArgs(e); err != nil {
			return nil, fmt.Errorf("%s: %w", what, err)
		}
	}
	err = s.update(ctx, what, func(tx *sql.Tx) error {
		if err := f(tx); err != nil || len(rows) == 0 {
			return err
		}
		ids, err = s.addEvents(ctx, tx, rows)
		return err
	})
	if err != nil {
		return nil, err
	}
	return ids, nil
}

// addEvents stores events, as eventArgs has them.
func (s *Store) addEvents(ctx context.Context, tx *sql.Tx, rows [][]any) (ids []int64, err error) {
	add, err := tx.PrepareContext(ctx, s.dialect.statements.addEvent)
	if err != nil {
		return nil, err
	}
	defer add.Close()
	ids = make([]int64, len(rows))
	for i, args := range rows {
		res, err := add.ExecContext(ctx, args...)
		if err != nil {
			return nil, err
		}
		if ids[i], err = res.LastInsertId(); err != nil {
			return nil, err
		}
	}
	return ids, nil
}

// Events returns the events that q chooses, the oldest first.
func (s *Store) Events(ctx context.Context, q state.EventQuery) ([]state.Event, error) {
	const what = "read events"
	if q.MinSeverity != "" && q.MinSeverity.Rank() == 0 {
		return nil, fmt.Errorf("%s: there is no severity %q", what, q.MinSeverity)
	}
	if !q.Since.IsZero() {
		// Times rise nearly as ids do, so that the first id since then keeps
		// the search away from all that is older.
		first, err := one(ctx, s, what, scanInt, s.dialect.statements.firstEventAt, fromTime(q.Since))
		if err != nil || first == 0 {
			return nil, err
		}
		q.After = max(q.After, first-1)
	}
	query, args := s.dialect.statements.events.question(q)
	all, err := list(ctx, s, what, scanEvent, query, args...)
	if q.Newest {
		slices.Reverse(all)
	}
	return all, err
}

// question puts together the way to the fewest rows, the filters that are left
// and the order.
func (p eventStatements) question(q state.EventQuery) (query string, args []any) {
	filters := []struct {
		set         bool
		value       any
		way, filter string
	}{
		{q.Domain != "", q.Domain, p.byDomain, p.domain},
		{q.Host != "", q.Host, p.byHost, p.host},
		{q.Kind != "", q.Kind, p.byKind, p.kind},
	}
	severity := q.MinSeverity.Rank()
	for _, f := range filters {
		switch {
		case !f.set:
		case query == "":
			query, args = f.way, append(args, f.value, q.After)
		default:
			query, args = query+f.filter, append(args, f.value)
		}
	}
	if query == "" {
		query, args = p.all, append(args, q.After)
		if severity > state.SeverityInfo.Rank() {
			query = p.notable
		}
	}
	if severity > state.SeverityInfo.Rank() {
		query, args = query+p.severity, append(args, severity)
	}
	if !q.Since.IsZero() {
		query, args = query+p.since, append(args, fromTime(q.Since))
	}
	order := p.oldest
	if q.Newest {
		order = p.newest
	}
	return query + order, append(args, cmp.Or(q.Limit, state.DefaultEvents))
}

// pruneAtATime is how many events are removed in one transaction: nobody waits
// long for the writer meanwhile.
const pruneAtATime = 2000

// PruneEvents removes the events of before the given time (zero: none), and
// the oldest until keepAtMost are left (0: any number). It returns how many it
// removed; after an error these stay removed.
func (s *Store) PruneEvents(ctx context.Context, before time.Time, keepAtMost int) (removed int64, err error) {
	const what = "prune events"
	sq := s.dialect.statements
	if !before.IsZero() {
		if removed, err = s.removeEvents(ctx, what, sq.oldEvents, fromTime(before)); err != nil {
			return removed, err
		}
	}
	if keepAtMost <= 0 {
		return removed, nil
	}
	newest, err := one(ctx, s, what, scanInt, sq.newestEvent)
	if err != nil {
		return removed, err
	}
	// Ids have no gaps but those that pruning left.
	more, err := s.removeEvents(ctx, what, sq.lowEvents, newest-int64(keepAtMost))
	return removed + more, err
}

func (s *Store) removeEvents(ctx context.Context, what, query string, until int64) (removed int64, err error) {
	for {
		var n int64
		err := s.update(ctx, what, func(tx *sql.Tx) error {
			res, err := tx.ExecContext(ctx, query, until, pruneAtATime)
			if err != nil {
				return err
			}
			n, err = res.RowsAffected()
			return err
		})
		if err != nil {
			return removed, err
		}
		if removed += n; n < pruneAtATime {
			return removed, nil
		}
	}
}

func eventArgs(e state.Event) ([]any, error) {
	if e.Time.IsZero() || e.Kind == "" || e.Severity.Rank() == 0 {
		return nil, fmt.Errorf("event %q of severity %q: kind, severity or time is missing", e.Kind, e.Severity)
	}
	evidence, err := toJSON(e.Evidence, len(e.Evidence) == 0)
	if err != nil {
		return nil, fmt.Errorf("event %q: %w", e.Kind, err)
	}
	return []any{fromTime(e.Time), e.Kind, e.Severity.Rank(), e.Domain, e.Host, e.Text, e.Remedy, evidence}, nil
}

func scanEvent(row scanner) (state.Event, error) {
	var e state.Event
	var at int64
	var severity int
	var evidence string
	if err := row.Scan(&e.ID, &at, &e.Kind, &severity, &e.Domain, &e.Host, &e.Text, &e.Remedy, &evidence); err != nil {
		return e, err
	}
	e.Time, e.Severity = toTime(at), severityOf(severity)
	if err := readJSON(evidence, &e.Evidence); err != nil {
		return e, fmt.Errorf("evidence of event %d: %w", e.ID, err)
	}
	return e, nil
}

func severityOf(rank int) state.Severity {
	switch rank {
	case 2:
		return state.SeverityWarning
	case 3:
		return state.SeverityCritical
	}
	return state.SeverityInfo
}

func scanInt(row scanner) (n int64, err error) {
	err = row.Scan(&n)
	return n, err
}
