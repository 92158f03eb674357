package store

import (
	"context"
	"database/sql"
	"time"
)

// Validities hands f the host, the beginning and the end of every certificate,
// in no order. It reads no certificate itself, and makes nothing for each, so
// that 100,000 of them are counted soon.
func (s *Store) Validities(ctx context.Context, f func(host string, notBefore, notAfter time.Time)) error {
	return s.view(ctx, "read how long the certificates are valid", func(c *sql.Conn) error {
		rows, err := c.QueryContext(ctx, s.dialect.statements.validities)
		if err != nil {
			return err
		}
		defer rows.Close()
		var host string
		var notBefore, notAfter int64
		for rows.Next() {
			if err := rows.Scan(&host, &notBefore, &notAfter); err != nil {
				return err
			}
			f(host, toTime(notBefore), toTime(notAfter))
		}
		return rows.Err()
	})
}

// TroubledHosts returns the hosts whose last attempt at a certificate failed.
func (s *Store) TroubledHosts(ctx context.Context) ([]string, error) {
	return list(ctx, s, "read which certificates could not be had", func(row scanner) (host string, err error) {
		err = row.Scan(&host)
		return host, err
	}, s.dialect.statements.troubledHosts)
}
