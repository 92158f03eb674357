package store_test

import (
	"bytes"
	"context"
	"database/sql"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"modernc.org/sqlite"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
	"github.com/stshost/stshost/store"
)

// day is a time with microseconds, which the store keeps.
func day(n int) time.Time {
	return time.Date(2025, 1, n, 12, 30, 15, 123456000, time.UTC)
}

// newPath is where a test's database will be.
func newPath(t testing.TB) string { return filepath.Join(t.TempDir(), "lib", "stshost.db") }

// open opens the store at path until the test ends.
func open(t testing.TB, path string) *store.Store {
	t.Helper()
	s, err := store.Open(t.Context(), path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

// raw opens the database at path past the store, as another process might.
func raw(t testing.TB, path string) *sql.DB {
	t.Helper()
	connector, err := sqlite.NewConnector("file:" + path + "?_pragma=busy_timeout(5000)")
	if err != nil {
		t.Fatal(err)
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(1)
	t.Cleanup(func() { db.Close() })
	return db
}

func mustExec(t testing.TB, db *sql.DB, query string, args ...any) {
	t.Helper()
	if _, err := db.ExecContext(context.Background(), query, args...); err != nil {
		t.Fatalf("%s: %v", query, err)
	}
}

func noError(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// get unwraps the answer of a method that must not fail.
func get[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func equal(t testing.TB, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Fatalf("-want +got:\n%s", diff)
	}
}

// errorSays checks that an error is there and has all these parts.
func errorSays(t testing.TB, err error, parts ...string) {
	t.Helper()
	if err == nil {
		t.Fatalf("no error; want one that says %q", parts)
	}
	for _, part := range parts {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("error %q does not say %q", err, part)
		}
	}
}

// fullDomain has every field set.
func fullDomain(name string) state.Domain {
	return state.Domain{
		Name: name, Step: state.Announced, Since: day(1),
		Mode: mtasts.ModeEnforce, MaxAge: 604800 * time.Second, ConfigMaxAge: 86400 * time.Second, Adopted: true,
		BodySHA256: "ab12", ID: "20250101T000000Z0123456789abcdef", FormerID: "20241231T000000Z0123456789abcdef", Proof: "IPv4 ok, IPv6 skipped: no route",
		LastError: "ns1.example.net does not answer", Remedy: "see whether it runs", Attempts: 3,
		LastRun: day(2), NextRun: day(3),
	}
}

func body(domain, sha string) state.Body {
	return state.Body{
		Domain: domain, SHA256: sha, Body: []byte("version: STSv1\r\n# " + sha), Mode: mtasts.ModeTesting,
		MaxAge: 86400 * time.Second, FirstServed: day(1),
	}
}

// serving is the journal of a domain that serves the body sha.
func serving(domain, sha string) state.Domain {
	return state.Domain{Name: domain, Step: state.Serving, Since: day(1), Mode: mtasts.ModeTesting, BodySHA256: sha}
}

func certificate(host string, notAfter time.Time) state.Certificate {
	return state.Certificate{
		Host: host, PEM: bytes.Repeat([]byte("PEM "+host+"\n"), 200),
		NotBefore: notAfter.AddDate(0, 0, -90), NotAfter: notAfter,
	}
}
