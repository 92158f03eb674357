package store

import (
	"context"
	"database/sql"
	"fmt"
	"time"

	"github.com/stshost/stshost/internal/state"
)

// ServeBody journals in one step that the domain serves the body b from the
// time at on. b enters the ledger, first served at b.FirstServed (zero: at), or
// its entry is re-opened and keeps its FirstServed; any other open body of the
// domain is closed with LastServed = at; and d, whose Name and BodySHA256 must
// be those of b, is saved.
func (s *Store) ServeBody(ctx context.Context, d state.Domain, b state.Body, at time.Time) error {
	what := "journal the new body of " + d.Name
	switch {
	case d.Name != b.Domain:
		return fmt.Errorf("%s: it is a body of %s", what, b.Domain)
	case d.BodySHA256 != b.SHA256 || b.SHA256 == "":
		return fmt.Errorf("%s: the journal names body %q, the ledger %q", what, d.BodySHA256, b.SHA256)
	case at.IsZero():
		return fmt.Errorf("%s: no time was given", what)
	}
	b.LastServed = time.Time{}
	if b.FirstServed.IsZero() {
		b.FirstServed = at
	}
	sq := s.dialect.statements
	return s.update(ctx, what, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, sq.closeOther, fromTime(at), d.Name, b.SHA256); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, sq.openBody, bodyArgs(b)...); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, sq.saveDomain, domainArgs(d)...)
		return err
	})
}

// AddBody notes a body that senders may have cached although the domain does
// not serve it: b.LastServed must be set. If the ledger has the body already,
// its entry then spans both times, and one that is served stays open.
func (s *Store) AddBody(ctx context.Context, b state.Body) error {
	what := "note a body of " + b.Domain
	if b.LastServed.IsZero() || b.FirstServed.IsZero() {
		return fmt.Errorf("%s: the times it was served are not given", what)
	}
	return s.exec(ctx, what, s.dialect.statements.addBody, bodyArgs(b)...)
}

// CloseBody notes that the domain serves no body from the time at on; without
// an open body it does nothing.
func (s *Store) CloseBody(ctx context.Context, domain string, at time.Time) error {
	what := "close the body of " + domain
	if at.IsZero() {
		return fmt.Errorf("%s: no time was given", what)
	}
	return s.exec(ctx, what, s.dialect.statements.closeBody, fromTime(at), domain)
}

// Bodies returns the ledger of a domain: the body that is served first, then
// the others, the last served one first. It is empty for an unknown domain.
func (s *Store) Bodies(ctx context.Context, domain string) ([]state.Body, error) {
	return list(ctx, s, "read the bodies of "+domain, scanBody, s.dialect.statements.bodies, domain)
}

// CurrentBodies returns the bodies that are served, ordered by domain: what a
// starting server serves before anything else.
func (s *Store) CurrentBodies(ctx context.Context) ([]state.Body, error) {
	return list(ctx, s, "read the bodies to serve", scanBody, s.dialect.statements.served)
}

func bodyArgs(b state.Body) []any {
	return []any{
		b.Domain, b.SHA256, string(b.Mode), fromSeconds(b.MaxAge),
		fromTime(b.FirstServed), fromTime(b.LastServed), fromBool(b.Adopted), b.Body,
	}
}

func scanBody(row scanner) (state.Body, error) {
	var b state.Body
	var maxAge, firstServed, lastServed int64
	err := row.Scan(&b.Domain, &b.SHA256, &b.Mode, &maxAge, &firstServed, &lastServed, &b.Adopted, &b.Body)
	b.MaxAge = toSeconds(maxAge)
	b.FirstServed, b.LastServed = toTime(firstServed), toTime(lastServed)
	return b, err
}
