package store_test

import (
	"context"
	"database/sql/driver"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"modernc.org/sqlite"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/store"
)

// faults has the pragma that each new connection for writing to a path gets.
// chmod does not stop root, and a full disk needs one of its own; SQLite can
// be told to behave as if.
var faults = sync.OnceValue(func() *sync.Map {
	var byPath sync.Map
	sqlite.RegisterConnectionHook(func(conn sqlite.ExecQuerierContext, dsn string) error {
		path, settings, _ := strings.Cut(strings.TrimPrefix(dsn, "file://"), "?")
		pragma, ok := byPath.Load(path)
		if !ok || !strings.Contains(settings, "mode=rw") {
			return nil
		}
		_, err := conn.ExecContext(context.Background(), pragma.(string), []driver.NamedValue{})
		return err
	})
	return &byPath
})

// operable checks that an error is one that an operator can act on.
func operable(t *testing.T, err error, path string, says ...string) {
	t.Helper()
	errorSays(t, err, append(says, path)...)
	var fault *store.Error
	if !errors.As(err, &fault) || fault.Remedy() == "" || fault.Store != path {
		t.Errorf("%v is not a store.Error with a remedy", err)
	}
}

func TestFullDisk(t *testing.T) {
	path := newPath(t)
	noError(t, open(t, path).Close())
	faults().Store(path, "PRAGMA max_page_count = 60")
	s := open(t, path)
	noError(t, s.ServeBody(t.Context(), serving("example.com", "aa"), body("example.com", "aa"), day(1)))

	var full error
	for i := 0; i < 100 && full == nil; i++ {
		host := fmt.Sprintf("host%d", i)
		full = s.FinishCertJob(t.Context(), certificate(host, day(1)), state.CertJob{Host: host})
	}
	operable(t, full, path, "no space left", "free space", "by itself")

	// What is there is served, and goes on being served.
	equal(t, len(get[[]state.Body](t)(s.CurrentBodies(t.Context()))), 1)
	get[state.Certificate](t)(s.Certificate(t.Context(), "host0"))
	operable(t, s.FinishCertJob(t.Context(), certificate("again", day(1)), state.CertJob{Host: "again"}), path, "no space left")
	if _, err := s.Certificate(t.Context(), "again"); !errors.Is(err, state.ErrNotFound) {
		t.Errorf("got %v, want %v", err, state.ErrNotFound)
	}

	faults().Delete(path)
	noError(t, s.FinishCertJob(t.Context(), certificate("again", day(1)), state.CertJob{Host: "again"}))
	get[state.Certificate](t)(s.Certificate(t.Context(), "again"))
}

func TestStoreThatCannotBeWritten(t *testing.T) {
	path := newPath(t)
	s := open(t, path)
	noError(t, s.ServeBody(t.Context(), serving("example.com", "aa"), body("example.com", "aa"), day(1)))
	secret := get[[]byte](t)(s.Secret(t.Context(), "probe"))
	noError(t, s.Close())

	// A start in this state serves what is there.
	faults().Store(path, "PRAGMA query_only = 1")
	s = open(t, path)
	equal(t, len(get[[]state.Body](t)(s.CurrentBodies(t.Context()))), 1)
	equal(t, get[[]byte](t)(s.Secret(t.Context(), "probe")), secret)
	for range 2 {
		operable(t, s.SaveDomain(t.Context(), fullDomain("example.net")), path, "cannot be written", "writable for the user", "by itself")
	}
	_, _, err := s.DebitOrder(t.Context(), "a", day(1), 1, time.Hour)
	operable(t, err, path, "cannot be written")

	faults().Delete(path)
	noError(t, s.SaveDomain(t.Context(), fullDomain("example.net")))
	equal(t, get[state.Domain](t)(s.Domain(t.Context(), "example.net")), fullDomain("example.net"))
}

func TestFileWithoutPermissions(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root may read and write everything")
	}
	path := newPath(t)
	noError(t, open(t, path).Close())
	noError(t, os.Chmod(path, 0o400))
	s := open(t, path) // ours, so its mode is set right
	noError(t, s.SaveDomain(t.Context(), fullDomain("example.net")))
	noError(t, s.Close())

	noError(t, os.Chmod(path, 0))
	_, err := store.OpenReadOnly(t.Context(), path)
	operable(t, err, path, "cannot be opened", "stshost serve")
	noError(t, os.Chmod(filepath.Dir(path), 0o500))
	noError(t, os.Chmod(path, 0o600))
	_, err = store.Open(t.Context(), path)
	operable(t, err, path, "cannot be written", "writable for the user")
	_, err = store.Open(t.Context(), path+"2")
	errorSays(t, err, "permission denied", "writable for the user")
	noError(t, os.Chmod(filepath.Dir(path), 0))
	_, err = store.OpenReadOnly(t.Context(), path)
	errorSays(t, err, "permission denied")
	noError(t, os.Chmod(filepath.Dir(path), 0o700))
}

func TestWaitForALockEndsWithItsContext(t *testing.T) {
	path := newPath(t)
	s := open(t, path)
	other := raw(t, path)
	mustExec(t, other, `BEGIN IMMEDIATE`)
	ctx, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
	defer cancel()
	if err := s.SaveDomain(ctx, fullDomain("example.com")); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("got %v, want %v", err, context.DeadlineExceeded)
	}
	// Readers do not wait for it.
	equal(t, len(get[[]state.Domain](t)(s.Domains(t.Context()))), 0)

	saved := make(chan error)
	go func() { saved <- s.SaveDomain(t.Context(), fullDomain("example.com")) }()
	mustExec(t, other, `COMMIT`)
	noError(t, <-saved)
}

// A fault at the last statement of a transaction undoes the others.
func TestWhatChangesTogetherFailsTogether(t *testing.T) {
	const host = "mta-sts.example.com"
	path := newPath(t)
	s := open(t, path)
	other := raw(t, path)
	ctx := t.Context()
	noError(t, s.ServeBody(ctx, serving("example.com", "aa"), body("example.com", "aa"), day(1)))
	first := certificate(host, day(20))
	noError(t, s.FinishCertJob(ctx, first, state.CertJob{Host: host, Due: day(10)}))

	mustExec(t, other, `CREATE TRIGGER no_domain BEFORE UPDATE ON domains BEGIN SELECT raise(FAIL, 'journal fault'); END`)
	mustExec(t, other, `CREATE TRIGGER no_job BEFORE UPDATE ON cert_jobs BEGIN SELECT raise(FAIL, 'queue fault'); END`)
	mustExec(t, other, `CREATE TRIGGER no_order BEFORE INSERT ON orders BEGIN SELECT raise(FAIL, 'budget fault'); END`)

	errorSays(t, s.ServeBody(ctx, serving("example.com", "bb"), body("example.com", "bb"), day(2)), "journal fault", "example.com")
	equal(t, entries(get[[]state.Body](t)(s.Bodies(ctx, "example.com"))), []entry{{SHA: "aa", First: day(1)}})
	equal(t, get[state.Domain](t)(s.Domain(ctx, "example.com")).BodySHA256, "aa")

	errorSays(t, s.FinishCertJob(ctx, certificate(host, day(28)), state.CertJob{Host: host, Due: day(20)}), "queue fault", host)
	equal(t, get[state.Certificate](t)(s.Certificate(ctx, host)), first)

	_, ok, err := s.DebitOrder(ctx, "a", day(1), 1, time.Hour)
	errorSays(t, err, "budget fault")
	if ok {
		t.Error("an order was granted that was not debited")
	}

	for _, trigger := range []string{"no_domain", "no_job", "no_order"} {
		mustExec(t, other, `DROP TRIGGER `+trigger)
	}
	noError(t, s.ServeBody(ctx, serving("example.com", "bb"), body("example.com", "bb"), day(2)))
	equal(t, len(get[[]state.Body](t)(s.Bodies(ctx, "example.com"))), 2)
}

func TestCancelledWriteChangesNothing(t *testing.T) {
	s := open(t, newPath(t))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := s.SaveDomain(ctx, fullDomain("example.com")); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
	if _, err := s.Domains(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
	equal(t, len(get[[]state.Domain](t)(s.Domains(t.Context()))), 0)
	if _, err := store.Open(ctx, newPath(t)); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v, want %v", err, context.Canceled)
	}
}
