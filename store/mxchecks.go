package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"

	"github.com/stshost/stshost/internal/state"
)

// MXChecks returns what was last seen of the MX hosts of every domain, ordered
// by domain.
func (s *Store) MXChecks(ctx context.Context) ([]state.MXWatch, error) {
	return list(ctx, s, "read what was seen of MX hosts", scanMXCheck, s.dialect.statements.mxChecks)
}

// SaveMXCheck replaces what was last seen of the MX hosts of a domain.
func (s *Store) SaveMXCheck(ctx context.Context, w state.MXWatch) error {
	what := "save what was seen of the MX hosts of " + w.Domain
	args, err := mxCheckArgs(w)
	if err != nil {
		return fmt.Errorf("%s: %w", what, err)
	}
	return s.exec(ctx, what, s.dialect.statements.saveMXCheck, args...)
}

// RemoveMXChecks forgets what was seen of the MX hosts of these domains, all or
// none.
func (s *Store) RemoveMXChecks(ctx context.Context, domains []string) error {
	if len(domains) == 0 {
		return nil
	}
	return s.update(ctx, "forget what was seen of MX hosts", func(tx *sql.Tx) error {
		remove, err := tx.PrepareContext(ctx, s.dialect.statements.removeMXCheck)
		if err != nil {
			return err
		}
		defer remove.Close()
		for _, domain := range domains {
			if _, err := remove.ExecContext(ctx, domain); err != nil {
				return err
			}
		}
		return nil
	})
}

func mxCheckArgs(w state.MXWatch) ([]any, error) {
	faults, err1 := toJSON(w.Faults, len(w.Faults) == 0)
	hosts, err2 := toJSON(w.Hosts, len(w.Hosts) == 0)
	drift, err3 := toJSON(w.Drift, len(w.Drift.Hosts) == 0)
	return []any{
		w.Domain, fromTime(w.Time), fromBool(w.Passed), fromBool(w.Unknown), w.Summary, w.Attempts,
		w.Trouble.Severity.Rank(), w.Trouble.Reason, w.Trouble.Remedy, faults,
		w.Told.Kind, fromTime(w.Told.Time), w.Told.Severity.Rank(), w.Told.Reason, fromBool(w.Told.Held),
		hosts, drift,
	}, errors.Join(err1, err2, err3)
}

func scanMXCheck(row scanner) (state.MXWatch, error) {
	var w state.MXWatch
	var at, toldAt int64
	var rank, toldRank int
	var faults, hosts, drift string
	err := row.Scan(&w.Domain, &at, &w.Passed, &w.Unknown, &w.Summary, &w.Attempts, &rank, &w.Trouble.Reason, &w.Trouble.Remedy, &faults,
		&w.Told.Kind, &toldAt, &toldRank, &w.Told.Reason, &w.Told.Held, &hosts, &drift)
	if err != nil {
		return w, err
	}
	w.Time, w.Told.Time = toTime(at), toTime(toldAt)
	if rank > 0 {
		w.Trouble.Severity = severityOf(rank)
	}
	if toldRank > 0 {
		w.Told.Severity = severityOf(toldRank)
	}
	if err := errors.Join(readJSON(faults, &w.Faults), readJSON(hosts, &w.Hosts), readJSON(drift, &w.Drift)); err != nil {
		return w, fmt.Errorf("what was seen of the MX hosts of %s is not readable: %w", w.Domain, err)
	}
	return w, nil
}
