package store_test

import (
	"database/sql"
	"fmt"
	"path/filepath"
	"testing"
	"time"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/store"
)

const many = 100_000

// filled opens a store with many domains, each with a body, a certificate and
// a renewal. The renewals are due over 60 days from day(1) on.
func filled(b *testing.B) (s *store.Store, path string) {
	path = newPath(b)
	s = open(b, path)
	db := raw(b, path)
	tx := get[*sql.Tx](b)(db.Begin())
	defer tx.Rollback()
	insert := func(query string) func(args ...any) {
		stmt := get[*sql.Stmt](b)(tx.Prepare(query))
		return func(args ...any) {
			if _, err := stmt.Exec(args...); err != nil {
				b.Fatal(err)
			}
		}
	}
	domain := insert(`INSERT INTO domains (name, step, since, mode, max_age, config_max_age, adopted, body_sha256, record_id, proof, last_error, remedy, attempts, last_run, next_run) VALUES (?, 'confirmed', 1735734615123456, 'testing', 0, 0, 0, ?, '20250101T000000Z0123456789abcdef', 'IPv4 ok, IPv6 ok', '', '', 0, 1735734615123456, 1735734615123456)`)
	ledger := insert(`INSERT INTO bodies VALUES (?, ?, 'testing', 86400, 1735734615123456, 0, 0, randomblob(150))`)
	cert := insert(`INSERT INTO certificates VALUES (?, ?, ?, randomblob(3200))`)
	job := insert(`INSERT INTO cert_jobs (host, due, not_after, attempts, challenge, problem, last_attempt, running) VALUES (?, ?, ?, 0, 'tls-alpn-01', '', 0, 0)`)
	step := 60 * 24 * time.Hour / many
	for i := range many {
		name := fmt.Sprintf("domain%06d.example", i*7919%many)
		sha := fmt.Sprintf("%064x", i)
		due := day(1).Add(time.Duration(i) * step)
		domain(name, sha)
		ledger(name, sha)
		cert("mta-sts."+name, due.AddDate(0, 0, -60).UnixMicro(), due.AddDate(0, 0, 30).UnixMicro())
		job("mta-sts."+name, due.UnixMicro(), due.AddDate(0, 0, 30).UnixMicro())
	}
	noError(b, tx.Commit())
	noError(b, db.Close())
	return s, path
}

func BenchmarkManyDomains(b *testing.B) {
	s, path := filled(b)
	ctx := b.Context()
	bench := func(name string, f func(i int) (rows int, err error), want int) {
		b.Run(name, func(b *testing.B) {
			for i := range b.N {
				rows, err := f(i)
				if err != nil || rows != want {
					b.Fatalf("got %d rows, %v; want %d", rows, err, want)
				}
			}
		})
	}
	due := func(at time.Time) func(int) (int, error) {
		return func(int) (int, error) {
			jobs, err := s.DueCertJobs(ctx, at, 4)
			return len(jobs), err
		}
	}
	bench("DueCertJobs/none", due(day(1).Add(-time.Hour)), 0)
	bench("DueCertJobs/hour", due(day(1).Add(time.Hour)), 4)
	bench("DueCertJobs/all", due(day(1).AddDate(1, 0, 0)), 4)
	bench("Domains", func(int) (int, error) {
		all, err := s.Domains(ctx)
		return len(all), err
	}, many)
	bench("Domain", func(i int) (int, error) {
		_, err := s.Domain(ctx, fmt.Sprintf("domain%06d.example", i*7919%many))
		return 1, err
	}, 1)
	bench("Certificate", func(i int) (int, error) {
		_, err := s.Certificate(ctx, fmt.Sprintf("mta-sts.domain%06d.example", i*7919%many))
		return 1, err
	}, 1)
	bench("Validities", func(int) (int, error) {
		rows := 0
		err := s.Validities(ctx, func(string, time.Time, time.Time) { rows++ })
		return rows, err
	}, many)
	bench("CurrentBodies", func(int) (int, error) {
		all, err := s.CurrentBodies(ctx)
		return len(all), err
	}, many)
	bench("SaveDomain", func(i int) (int, error) {
		return 1, s.SaveDomain(ctx, state.Domain{Name: fmt.Sprintf("domain%06d.example", i*7919%many)})
	}, 1)
	bench("Open", func(int) (int, error) {
		again, err := store.Open(ctx, path)
		if err != nil {
			return 0, err
		}
		return 1, again.Close()
	}, 1)
}

// BenchmarkWrite saves the state of a domain, beside one row of the same size
// written by SQLite with the same settings and nothing else.
func BenchmarkWrite(b *testing.B) {
	b.Run("stshost", func(b *testing.B) {
		s := open(b, newPath(b))
		for i := 0; b.Loop(); i++ {
			noError(b, s.SaveDomain(b.Context(), fullDomain(fmt.Sprintf("domain%06d.example", i%1000))))
		}
	})
	b.Run("sqlite", func(b *testing.B) {
		db := raw(b, filepath.Join(b.TempDir(), "bare.db"))
		mustExec(b, db, "PRAGMA journal_mode = wal")
		mustExec(b, db, "PRAGMA synchronous = full")
		mustExec(b, db, "CREATE TABLE rows (name TEXT PRIMARY KEY, data BLOB)")
		data := make([]byte, 256)
		for i := 0; b.Loop(); i++ {
			mustExec(b, db, "INSERT OR REPLACE INTO rows VALUES (?, ?)", fmt.Sprintf("domain%06d.example", i%1000), data)
		}
	})
}
