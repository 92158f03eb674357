// Package store keeps what stshost must not forget: the journal of each policy
// domain, the ledger of the bodies it has served, how far it has been taken and
// what was seen of its MX hosts; certificates with the queue that issues them,
// and the budget of orders at the CA; and what happened, and who was told of it.
//
// A change that a method reports as made survives a kill and a power loss, and
// facts that must change together change in one transaction. All methods may
// be called concurrently, also from several processes.
//
// Times are kept to the microsecond and come back in UTC; the zero time.Time
// comes back as such. Durations are kept in whole seconds.
package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io/fs"
	"time"

	"github.com/pressly/goose/v3"

	"github.com/stshost/stshost/internal/state"
)

// Store is an open store. The database underneath is a dialect: the methods
// are the same for each, the SQL is written out for each.
type Store struct {
	name    string // how messages call it: the path
	dialect *dialect

	// SQLite takes one writer at a time. With one connection for writing,
	// writers queue up here, fairly and with their contexts respected, and not
	// in SQLite's polling for its lock. Readers never wait for the writer (WAL).
	writer *sql.DB // nil: opened read-only
	reader *sql.DB

	observe func(op string, took time.Duration, fault error) // see Observe; may be nil
}

// Observe has f told of each operation from now on: "read" or "write", how long
// it took, waiting included, and the fault of the database that ended it, nil
// if there was none. f must return at once. Observe is called before the store
// is shared.
func (s *Store) Observe(f func(op string, took time.Duration, fault error)) { s.observe = f }

// observed reports an operation that began at start and ended with err.
func (s *Store) observed(op string, start time.Time, err *error) {
	if s.observe == nil {
		return
	}
	var fault *Error
	if !errors.As(*err, &fault) {
		s.observe(op, time.Since(start), nil) // not found, or cancelled
		return
	}
	s.observe(op, time.Since(start), fault)
}

// dialect is what differs between databases.
type dialect struct {
	statements *statements
	goose      goose.Dialect
	migrations fs.FS // versioned, in the root of the file system

	// explain turns a fault of the database into one that an operator can act
	// on. It returns nil for errors that are not of the database's making.
	explain func(name string, err error) *Error
}

// Close closes the store. No method may be called afterwards.
func (s *Store) Close() error {
	// The last connection to close moves the write-ahead log into the database
	// file, and only the writer may do that.
	err := s.reader.Close()
	if s.writer != nil {
		err = errors.Join(err, s.writer.Close())
	}
	if err != nil {
		return s.fail("close", err)
	}
	return nil
}

// update runs f in a transaction. What f did is durable when update returns
// nil, and undone when it returns an error.
func (s *Store) update(ctx context.Context, what string, f func(*sql.Tx) error) (err error) {
	defer s.observed("write", time.Now(), &err)
	if s.writer == nil {
		return fmt.Errorf("%s: %w", what, &Error{
			Store:   s.name,
			Problem: "opened for reading only",
			Advice:  "leave changes to the running server, or start it with `stshost serve`",
		})
	}
	conn, err := s.writer.Conn(ctx)
	if err != nil {
		return s.fail(what, err)
	}
	defer conn.Close()
	if err := transact(ctx, conn, f); err != nil {
		err = s.fail(what, err)
		s.discardAfter(conn, err)
		return err
	}
	return nil
}

// transact runs f in a transaction on conn.
func transact(ctx context.Context, conn *sql.Conn, f func(*sql.Tx) error) error {
	tx, err := conn.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	defer tx.Rollback() // after Commit it does nothing
	if err := f(tx); err != nil {
		return err
	}
	return tx.Commit()
}

// view runs f, which only reads.
func (s *Store) view(ctx context.Context, what string, f func(*sql.Conn) error) (err error) {
	defer s.observed("read", time.Now(), &err)
	conn, err := s.reader.Conn(ctx)
	if err != nil {
		return s.fail(what, err)
	}
	defer conn.Close()
	if err := f(conn); err != nil {
		err = s.fail(what, err)
		s.discardAfter(conn, err)
		return err
	}
	return nil
}

// discardAfter drops a connection on which the database itself failed. A
// connection that was opened while the file was read-only stays read-only for
// good, and one to a file system that went away never comes back: only a new
// connection lets the store recover by itself.
func (s *Store) discardAfter(conn *sql.Conn, err error) {
	var fault *Error
	if errors.As(err, &fault) {
		// database/sql closes the connection when it hears ErrBadConn, and
		// returns that same error.
		_ = conn.Raw(func(any) error { return driver.ErrBadConn })
	}
}

// fail gives an error its context: what was attempted, and, when the database
// itself is at fault, what the operator can do.
func (s *Store) fail(what string, err error) error {
	if errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("%s: %w", what, state.ErrNotFound)
	}
	if fault := s.dialect.explain(s.name, err); fault != nil {
		return fmt.Errorf("%s: %w", what, fault)
	}
	return fmt.Errorf("%s: %w", what, err)
}
