package store

import (
	"context"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/pressly/goose/v3"
)

//go:embed migrations/sqlite/*.sql
var migrationFiles embed.FS

func sqliteMigrations() fs.FS {
	sub, err := fs.Sub(migrationFiles, "migrations/sqlite")
	if err != nil {
		panic(err) // the embedded folder has another name
	}
	return sub
}

// header is what a database says of itself before anything else is read.
type header struct {
	application int64 // whose it is
	tables      int64 // 0: it is new
	version     int64 // of its schema; 0: none yet
}

// readHeader reads it all at one point in time: another process may be making
// the database just now.
func readHeader(ctx context.Context, c *sql.Conn) (h header, err error) {
	tx, err := c.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return h, err
	}
	defer tx.Rollback()
	if err := tx.QueryRowContext(ctx, `PRAGMA application_id`).Scan(&h.application); err != nil {
		return h, err
	}
	var versioned bool
	if err := tx.QueryRowContext(ctx, `SELECT count(*), count(*) FILTER (WHERE name = ?) FROM sqlite_schema`,
		goose.DefaultTablename).Scan(&h.tables, &versioned); err != nil || !versioned {
		return h, err
	}
	err = tx.QueryRowContext(ctx, `SELECT coalesce(max(version_id), 0) FROM `+goose.DefaultTablename).Scan(&h.version)
	return h, err
}

// check refuses a database that is not ours or is newer than newest.
func (s *Store) check(h header, newest int64) error {
	switch {
	case h.application != applicationID && (h.application != 0 || h.tables != 0):
		return &Error{
			Store: s.name, Problem: "the file is a database of another program",
			Advice: advicePath,
		}
	case h.version > newest:
		return &Error{
			Store:   s.name,
			Problem: fmt.Sprintf("a newer stshost wrote it: its schema has version %d, this one knows versions up to %d", h.version, newest),
			Advice:  "install that stshost or a newer one, or restore a backup from before the upgrade",
		}
	}
	return nil
}

// begin makes a database that was just opened for writing fit for use.
func (s *Store) begin(ctx context.Context) error {
	migrations, err := goose.NewProvider(s.dialect.goose, s.writer, s.dialect.migrations, goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return fmt.Errorf("read the embedded migrations: %w", err)
	}

	newest, err := newestVersion(s.dialect.migrations)
	if err != nil {
		return err
	}

	version, err := s.identify(ctx, newest)
	if err != nil {
		return err
	}
	if version == newest {
		// Nothing is written: a store on a disk that is full or read-only at
		// this time can be opened, and what it holds be served.
		return nil
	}
	return s.migrate(ctx, migrations, version)
}

// identify checks whose database it is and that it is whole, marks it as ours
// if it is new, and returns the version of its schema.
func (s *Store) identify(ctx context.Context, newest int64) (version int64, err error) {
	conn, err := s.writer.Conn(ctx)
	if err != nil {
		return 0, err
	}
	defer conn.Close()
	h, err := readHeader(ctx, conn)
	if err != nil {
		return 0, err
	}
	if err := s.check(h, newest); err != nil {
		return 0, err
	}
	if err := s.checkWhole(ctx, conn); err != nil {
		return 0, err
	}
	// The mode is kept in the file; to set it again does nothing.
	var mode string
	if err := conn.QueryRowContext(ctx, `PRAGMA journal_mode = wal`).Scan(&mode); err != nil {
		return 0, err
	}
	if mode != "wal" {
		return 0, &Error{
			Store: s.name, Problem: "its file system cannot share memory between processes, as SQLite's write-ahead log needs",
			Advice: "put it on a local disk, not on a network file system",
		}
	}
	if h.application == applicationID {
		return h.version, nil
	}
	_, err = conn.ExecContext(ctx, fmt.Sprintf(`PRAGMA application_id = %d`, applicationID))
	return h.version, err
}

// checkWhole looks through the database for damage. Every start does it,
// although it reads the whole file (about a second for 100,000 domains):
// damage that no query meets for months is in every backup by then, while a
// store that was found damaged early is replaced at little cost.
func (s *Store) checkWhole(ctx context.Context, conn *sql.Conn) error {
	var found string
	if err := conn.QueryRowContext(ctx, `PRAGMA quick_check(1)`).Scan(&found); err != nil {
		return err
	}
	if found != "ok" {
		// SQLite says in a line of its own which database it means.
		found = strings.Join(strings.Fields(strings.TrimPrefix(found, "*** in database main ***")), " ")
		return &Error{Store: s.name, Problem: "the database is damaged", Advice: adviceDamaged, Err: errors.New(found)}
	}
	return nil
}

// migrate brings the schema from version to the newest. Each step is one
// transaction; a kill in between leaves it at an older version, from which the
// next start goes on.
func (s *Store) migrate(ctx context.Context, migrations *goose.Provider, version int64) error {
	for {
		_, err := migrations.Up(ctx)
		if err == nil {
			return nil
		}
		// Another process may have started at the same time and have taken the
		// same step first; then there is less to do or nothing.
		reached, versionErr := migrations.GetDBVersion(ctx)
		if versionErr != nil || reached <= version {
			return fmt.Errorf("upgrade the schema from version %d: %w", version, err)
		}
		version = reached
	}
}

// checkReadable refuses what a reader cannot use as it is.
func (s *Store) checkReadable(ctx context.Context) error {
	newest, err := newestVersion(s.dialect.migrations)
	if err != nil {
		return err
	}
	conn, err := s.reader.Conn(ctx)
	if err != nil {
		return err
	}
	defer conn.Close()
	h, err := readHeader(ctx, conn)
	if err != nil {
		return err
	}
	if err := s.check(h, newest); err != nil {
		return err
	}
	if h.version < newest {
		return &Error{
			Store:   s.name,
			Problem: fmt.Sprintf("an older stshost wrote it: its schema has version %d, this one needs version %d", h.version, newest),
			Advice:  "start the server once with `stshost serve`, which upgrades it",
		}
	}
	return nil
}

// newestVersion returns the version of the last migration.
func newestVersion(migrations fs.FS) (int64, error) {
	names, err := fs.Glob(migrations, "*.sql") // in lexical order: the names begin with five digits
	if err != nil {
		return 0, err
	}
	return goose.NumericComponent(names[len(names)-1])
}
