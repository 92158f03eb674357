package main

import (
	"database/sql"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stshost/stshost/store"
)

// What a scrape costs with 100,000 domains: "counted" while the count of the
// certificates is good, "counting" when they are counted anew.
func BenchmarkScrape(b *testing.B) {
	const many = 100_000
	dir := b.TempDir()
	path := filepath.Join(dir, "stshost.db")
	empty, err := store.Open(b.Context(), path)
	if err != nil {
		b.Fatal(err)
	}
	if err := empty.Close(); err != nil {
		b.Fatal(err)
	}
	fillStore(b, path, many)
	var text strings.Builder
	fmt.Fprintf(&text, "[listen]\nhttps = \"127.0.0.1:0\"\nhttp = \"\"\nadmin = \"127.0.0.1:0\"\n[store]\nurl = \"sqlite:%s\"\n[acme]\naccept_terms = true\n", path)
	for i := range many {
		fmt.Fprintf(&text, "[[domain]]\nname = \"d%06d.test\"\nmx = [\"mx.d.test\"]\n", i)
	}
	file := filepath.Join(dir, "config.toml")
	if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
		b.Fatal(err)
	}
	cfg, err := loadConfig(file)
	if err != nil {
		b.Fatal(err)
	}
	ahead := time.Duration(0)
	s, err := newService(b.Context(), cfg, slog.New(slog.DiscardHandler), environment{now: func() time.Time { return time.Now().Add(ahead) }})
	if err != nil {
		b.Fatal(err)
	}
	defer s.close()
	registry := s.newRegistry()
	for name, step := range map[string]time.Duration{"counted": 0, "counting": 2 * countFor} {
		b.Run(name, func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				ahead += step
				if _, err := registry.Gather(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// fillStore puts in many domains, all confirmed, with their certificates and
// renewals.
func fillStore(b *testing.B, path string, many int) {
	b.Helper()
	db, err := sql.Open("sqlite", path)
	if err != nil {
		b.Fatal(err)
	}
	defer db.Close()
	tx, err := db.Begin()
	if err != nil {
		b.Fatal(err)
	}
	defer tx.Rollback()
	from, to := time.Now().AddDate(0, 0, -10).UnixMicro(), time.Now().AddDate(0, 0, 80).UnixMicro()
	for i := range many {
		name := fmt.Sprintf("d%06d.test", i)
		for _, q := range []struct {
			query string
			args  []any
		}{
			{`INSERT INTO certificates (host, not_before, not_after, pem) VALUES (?, ?, ?, randomblob(3000))`, []any{"mta-sts." + name, from, to}},
			{`INSERT INTO cert_jobs (host, due, not_after, attempts, challenge, problem, last_attempt, running)
				VALUES (?, ?, ?, 0, 'tls-alpn-01', '', 0, 0)`, []any{"mta-sts." + name, to, to}},
		} {
			if _, err := tx.Exec(q.query, q.args...); err != nil {
				b.Fatal(err)
			}
		}
	}
	if err := tx.Commit(); err != nil {
		b.Fatal(err)
	}
}
