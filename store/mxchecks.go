package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"fmt"

	"github.com/stshost/stshost/internal/state"
)

// MXChecks returns what was last seen of the MX hosts of every domain, ordered
// by domain.
func (s *Store) MXChecks(ctx context.Context) ([]state.MXWatch, error) {
	return list(ctx, s, "read what was seen of MX hosts", scanMXCheck, s.dialect.statements.mxChecks)
}

// MXCheck returns what was last seen of the MX hosts of one domain, or
// state.ErrNotFound.
func (s *Store) MXCheck(ctx context.Context, domain string) (state.MXWatch, error) {
	return one(ctx, s, "read what was seen of the MX hosts of "+domain, scanMXCheck, s.dialect.statements.mxCheck, domain)
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
	findings := ""
	if len(w.Findings) > 0 {
		text, err := json.Marshal(w.Findings)
		if err != nil {
			return nil, err
		}
		findings = string(text)
	}
	return []any{
		w.Domain, fromTime(w.Time), fromBool(w.Passed), fromBool(w.Unknown), w.Summary, findings, w.Attempts,
		w.Told.Severity.Rank(), w.Told.Reason, w.Told.Remedy,
	}, nil
}

func scanMXCheck(row scanner) (state.MXWatch, error) {
	var w state.MXWatch
	var at int64
	var rank int
	var findings string
	err := row.Scan(&w.Domain, &at, &w.Passed, &w.Unknown, &w.Summary, &findings, &w.Attempts, &rank, &w.Told.Reason, &w.Told.Remedy)
	if err != nil {
		return w, err
	}
	w.Time = toTime(at)
	if rank > 0 {
		w.Told.Severity = severityOf(rank)
	}
	if findings != "" {
		if err := json.Unmarshal([]byte(findings), &w.Findings); err != nil {
			return w, fmt.Errorf("the findings of %s are not readable: %w", w.Domain, err)
		}
	}
	return w, nil
}
