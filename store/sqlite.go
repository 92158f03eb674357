package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"runtime"

	"github.com/pressly/goose/v3"
	"modernc.org/sqlite"
)

// How the connections are set up; https://www.sqlite.org/pragma.html.
const (
	// busyTimeout, in milliseconds, is how long a statement waits while another
	// process holds the lock. Within a process nobody waits for it.
	busyTimeout = "busy_timeout(5000)"

	// In WAL mode SQLite's usual NORMAL does not sync the log at a commit: a
	// power loss takes back what was committed last. Then a journalled record id
	// would be made a second time with another time stamp, and an order that was
	// debited would be sent again. FULL syncs at each commit.
	synchronous = "synchronous(full)"

	// journalSizeLimit, in bytes, is what the log is cut back to after a burst.
	journalSizeLimit = "journal_size_limit(16777216)"

	// applicationID marks our databases in their header ("STSH"), so that a
	// path to another program's database is noticed before it is written to.
	applicationID = 0x53545348
)

// Open opens the SQLite database at path for reading and writing, makes it if
// there is none, and brings its schema up to date. The file, and those that
// SQLite puts beside it, are readable by their owner only, as they hold private
// keys; directories that are made get mode 0700, existing ones keep theirs.
//
// It refuses, changing nothing, a file that is not ours, that is damaged, or
// that a newer stshost has written. While nothing can be written to the file it
// is opened all the same if its schema is up to date; only its directory must
// take the log's files, without which SQLite does not even read.
func Open(ctx context.Context, path string) (_ *Store, err error) {
	s, err := newSQLite(path)
	if err != nil {
		return nil, err
	}
	if err := prepareFiles(s.name); err != nil {
		return nil, err
	}
	if s.writer, err = s.connect(1, url.Values{
		"mode":    {"rw"},
		"_txlock": {"immediate"}, // a transaction that will write gets the lock first, or waits for it
		"_pragma": {busyTimeout, synchronous, journalSizeLimit},
	}); err != nil {
		return nil, err
	}
	if s.reader, err = s.connect(max(4, runtime.GOMAXPROCS(0)), url.Values{
		"mode":    {"ro"},
		"_pragma": {busyTimeout},
	}); err != nil {
		return nil, errors.Join(err, s.writer.Close())
	}
	if err := s.begin(ctx); err != nil {
		return nil, errors.Join(s.fail("open the store", err), s.reader.Close(), s.writer.Close())
	}
	return s, nil
}

// OpenReadOnly opens an existing database for reading, whether or not a server
// has it open. It makes and migrates nothing. It is meant for one short
// command: without a running server it shows the state at the time of the call.
func OpenReadOnly(ctx context.Context, path string) (_ *Store, err error) {
	s, err := newSQLite(path)
	if err != nil {
		return nil, err
	}
	switch _, err := os.Stat(s.name); {
	case errors.Is(err, os.ErrNotExist):
		return nil, fmt.Errorf("open the store: %w", &Error{
			Store: s.name, Problem: "there is none yet", Err: os.ErrNotExist,
			Advice: "start the server with `stshost serve`, or correct the path in [store] url",
		})
	case err != nil:
		return nil, fmt.Errorf("open the store: %w", err)
	}
	settings := url.Values{"mode": {"ro"}, "_pragma": {busyTimeout}}
	if _, err := os.Stat(s.name + "-wal"); errors.Is(err, os.ErrNotExist) {
		// Nobody has it open. SQLite would make the log's files even for a
		// reader, in a directory where we make nothing; as an immutable file it
		// is read as it is. If a server starts meanwhile, it writes to the log
		// and only much later to this file.
		settings.Set("immutable", "1")
	}
	if s.reader, err = s.connect(2, settings); err != nil {
		return nil, err
	}
	if err := s.checkReadable(ctx); err != nil {
		return nil, errors.Join(s.fail("open the store", err), s.reader.Close())
	}
	return s, nil
}

func newSQLite(path string) (*Store, error) {
	if path == "" {
		return nil, errors.New("open the store: no path was given; write [store] url as \"sqlite:/path\"")
	}
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, fmt.Errorf("open the store: %w", err)
	}
	// SQLite puts its files beside the real one.
	if real, err := filepath.EvalSymlinks(abs); err == nil {
		abs = real
	}
	return &Store{
		name: abs,
		dialect: &dialect{
			statements: sqliteStatements(),
			goose:      goose.DialectSQLite3,
			migrations: sqliteMigrations(),
			explain:    explainSQLite,
		},
	}, nil
}

// prepareFiles makes the database's file, empty, if there is none, and sees
// that its owner, and nobody else, may read and write it and its companions.
//
// It opens no file that exists: to close it again would drop SQLite's locks on
// it in this whole process (POSIX record locks).
func prepareFiles(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return fmt.Errorf("open the store: make its directory: %w", err)
	}
	// SQLite itself would give the file the mode 0644; its companions get the
	// mode of the file.
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE|os.O_EXCL, 0o600)
	switch {
	case err == nil:
		if err := f.Close(); err != nil {
			return fmt.Errorf("open the store: %w", err)
		}
		return nil
	case !errors.Is(err, os.ErrExist):
		return fmt.Errorf("open the store: %w; make the directory writable for the user that runs stshost", err)
	}
	for _, name := range []string{path, path + "-wal", path + "-shm"} {
		info, err := os.Stat(name)
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return fmt.Errorf("open the store: %w", err)
		}
		if !info.Mode().IsRegular() {
			return fmt.Errorf("open the store: %s is not a regular file; correct the path in [store] url", name)
		}
		if info.Mode().Perm() == 0o600 {
			continue
		}
		// Writable as well: beside a file that is read-only SQLite makes a log
		// that is, which stays so when the file is made writable.
		if err := os.Chmod(name, 0o600); err != nil {
			return fmt.Errorf("open the store: it holds private keys and must have mode 0600: %w; "+
				"run `chown` on it for the user that runs stshost", err)
		}
	}
	return nil
}

// connect prepares a pool of at most n connections. It does not connect yet.
func (s *Store) connect(n int, settings url.Values) (*sql.DB, error) {
	dsn := url.URL{Scheme: "file", Path: s.name, RawQuery: settings.Encode()}
	connector, err := sqlite.NewConnector(dsn.String())
	if err != nil {
		return nil, fmt.Errorf("open the store: %w", err)
	}
	db := sql.OpenDB(connector)
	db.SetMaxOpenConns(n)
	db.SetMaxIdleConns(n)
	return db, nil
}
