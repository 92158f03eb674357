package store

import (
	"context"
	"database/sql"
	"fmt"

	"github.com/stshost/stshost/internal/state"
)

// ACMEData returns what the ACME engine keeps under a key, such as an account
// key, or state.ErrNotFound.
func (s *Store) ACMEData(ctx context.Context, key string) ([]byte, error) {
	return one(ctx, s, "read ACME data "+key, scanBytes, s.dialect.statements.acmeData, key)
}

// PutACMEData keeps data for the ACME engine, in place of what the key had.
func (s *Store) PutACMEData(ctx context.Context, key string, data []byte) error {
	return s.exec(ctx, "save ACME data "+key, s.dialect.statements.putACMEData, key, notNull(data))
}

// DeleteACMEData forgets a key; without it, it does nothing.
func (s *Store) DeleteACMEData(ctx context.Context, key string) error {
	return s.exec(ctx, "delete ACME data "+key, s.dialect.statements.deleteACMEData, key)
}

// Certificate returns a host's certificate with its key, or state.ErrNotFound.
func (s *Store) Certificate(ctx context.Context, host string) (state.Certificate, error) {
	scan := func(row scanner) (state.Certificate, error) {
		c := state.Certificate{Host: host}
		var notBefore, notAfter int64
		err := row.Scan(&c.PEM, &notBefore, &notAfter)
		c.NotBefore, c.NotAfter = toTime(notBefore), toTime(notAfter)
		return c, err
	}
	return one(ctx, s, "read the certificate of "+host, scan, s.dialect.statements.certificate, host)
}

// FinishCertJob keeps a new certificate and puts its renewal in the place of
// the job that got it, in one step: a kill in between would order it again.
func (s *Store) FinishCertJob(ctx context.Context, cert state.Certificate, renewal state.CertJob) error {
	what := "save the certificate of " + cert.Host
	if cert.Host != renewal.Host {
		return fmt.Errorf("%s: the renewal is one of %s", what, renewal.Host)
	}
	sq := s.dialect.statements
	return s.update(ctx, what, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, sq.saveCertificate,
			cert.Host, fromTime(cert.NotBefore), fromTime(cert.NotAfter), notNull(cert.PEM)); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, sq.putCertJob, certJobArgs(renewal)...)
		return err
	})
}

// RemoveCertificate forgets a host's certificate with its key, and takes the
// host out of the queue, in one step; without either it does nothing.
func (s *Store) RemoveCertificate(ctx context.Context, host string) error {
	sq := s.dialect.statements
	return s.update(ctx, "remove the certificate of "+host, func(tx *sql.Tx) error {
		if _, err := tx.ExecContext(ctx, sq.removeCertificate, host); err != nil {
			return err
		}
		_, err := tx.ExecContext(ctx, sq.deleteCertJob, host)
		return err
	})
}

func scanBytes(row scanner) ([]byte, error) {
	var data []byte
	err := row.Scan(&data)
	return data, err
}

// notNull makes of a nil slice an empty one, which the columns can hold.
func notNull(data []byte) []byte {
	if data == nil {
		return []byte{}
	}
	return data
}
