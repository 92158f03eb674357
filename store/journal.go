package store

import (
	"context"
	"database/sql"

	"github.com/stshost/stshost/internal/state"
)

// Domains returns the journals of all domains, ordered by name.
func (s *Store) Domains(ctx context.Context) ([]state.Domain, error) {
	return list(ctx, s, "read the journal", scanDomain, s.dialect.statements.domains)
}

// Domain returns the journal of one policy domain, or state.ErrNotFound.
func (s *Store) Domain(ctx context.Context, name string) (state.Domain, error) {
	return one(ctx, s, "read the journal of "+name, scanDomain, s.dialect.statements.domain, name)
}

// SaveDomain writes the journal of a domain, new or not.
func (s *Store) SaveDomain(ctx context.Context, d state.Domain) error {
	return s.exec(ctx, "save the journal of "+d.Name, s.dialect.statements.saveDomain, domainArgs(d)...)
}

// RemoveDomain forgets the journal of a domain, and what was seen of its MX
// hosts; without one it does nothing. The domain's bodies stay in the ledger,
// the one that is served stays open until CloseBody, and its rollout stays
// until RemoveRollout.
func (s *Store) RemoveDomain(ctx context.Context, name string) error {
	return s.update(ctx, "remove the journal of "+name, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, s.dialect.statements.removeMXCheck, name); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, s.dialect.statements.removeDomain, name)
		return err
	})
}

func domainArgs(d state.Domain) []any {
	return []any{
		d.Name, string(d.Step), fromTime(d.Since), string(d.Mode), fromSeconds(d.MaxAge), fromSeconds(d.ConfigMaxAge),
		fromBool(d.Adopted), d.BodySHA256, d.ID, d.FormerID, d.Proof, d.LastError, d.Remedy, d.Attempts,
		fromTime(d.LastRun), fromTime(d.NextRun),
	}
}

func scanDomain(row scanner) (state.Domain, error) {
	var d state.Domain
	var since, maxAge, configMaxAge, lastRun, nextRun int64
	err := row.Scan(
		&d.Name, &d.Step, &since, &d.Mode, &maxAge, &configMaxAge,
		&d.Adopted, &d.BodySHA256, &d.ID, &d.FormerID, &d.Proof, &d.LastError, &d.Remedy, &d.Attempts,
		&lastRun, &nextRun,
	)
	d.Since, d.LastRun, d.NextRun = toTime(since), toTime(lastRun), toTime(nextRun)
	d.MaxAge, d.ConfigMaxAge = toSeconds(maxAge), toSeconds(configMaxAge)
	return d, err
}
