package store

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"

	"modernc.org/sqlite"
	sqlite3 "modernc.org/sqlite/lib"
)

// Error is a fault of the database itself, not of the question that was asked:
// its disk is full, its file is damaged. Nothing was changed. Callers go on
// with what they have and ask again later; the store recovers by itself once
// the cause is gone.
type Error struct {
	Store   string // path of the database
	Problem string // what is wrong
	Advice  string // what the operator can do about it
	Err     error  // what the database said; nil if the store itself refused
}

// Error says what is wrong, what the database said, and what to do.
func (e *Error) Error() string {
	said := ""
	if e.Err != nil {
		said = fmt.Sprintf(" (%v)", e.Err)
	}
	return fmt.Sprintf("store %s: %s%s; %s", e.Store, e.Problem, said, e.Advice)
}

// Unwrap returns what the database said.
func (e *Error) Unwrap() error { return e.Err }

// Remedy says what the operator can do about it.
func (e *Error) Remedy() string { return e.Advice }

// Advice that more than one fault shares.
const (
	adviceDamaged = "stop the server and put a backup in its place with `stshost store restore FILE`, which keeps this file; without a backup move it, " +
		"and those beside it that end in -wal and -shm, away and start: stshost then takes over the policies that are published and gets new certificates"
	advicePath     = "correct the path in [store] url"
	adviceWritable = "make the file and its directory writable for the user that runs stshost; it goes on by itself then"
)

// problemOpen is that of a file which SQLite cannot open for no reason that can
// be told.
const problemOpen = "it cannot be opened"

// explainSQLite finds the operator's words for SQLite's result codes
// (https://www.sqlite.org/rescode.html).
func explainSQLite(name string, err error) *Error {
	var own *Error
	if errors.As(err, &own) {
		return own
	}
	var said *sqlite.Error
	if !errors.As(err, &said) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return nil
	}
	e := &Error{Store: name, Err: err}
	switch said.Code() & 0xff { // the primary code
	case sqlite3.SQLITE_FULL:
		e.Problem = "there is no space left to write"
		e.Advice = "free space on its file system; stshost goes on by itself then"
	case sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM:
		e.Problem = "it cannot be written"
		e.Advice = adviceWritable
	case sqlite3.SQLITE_IOERR:
		e.Problem = "its file system does not read or write"
		e.Advice = "see the system's log whether the disk is full, read-only or failing; stshost goes on by itself once it works again"
	case sqlite3.SQLITE_CANTOPEN:
		e.Problem, e.Advice = cannotOpen(name)
	case sqlite3.SQLITE_NOTADB:
		e.Problem = "the file is not a database of stshost"
		e.Advice = advicePath + "; or, if it was one, " + adviceDamaged
	case sqlite3.SQLITE_CORRUPT:
		e.Problem = "the database is damaged"
		e.Advice = adviceDamaged
	case sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED, sqlite3.SQLITE_PROTOCOL:
		e.Problem = "another process keeps it locked"
		e.Advice = "see with `fuser` who has it open: a second stshost, a backup, a database shell; stshost goes on by itself once the lock is gone"
	case sqlite3.SQLITE_NOMEM:
		e.Problem = "there is not enough memory"
		e.Advice = "give stshost more memory; it goes on by itself then"
	default:
		return nil // a mistake of ours in the SQL or the values
	}
	return e
}

// ofBackup gives a fault of the database at path, which is a backup, the advice
// that suits one: of the store it would be to put a backup in its place.
func ofBackup(err error, path string) error {
	e, ok := errors.AsType[*Error](err)
	if !ok {
		return err
	}
	s, newErr := newSQLite(path)
	if newErr != nil || e.Store != s.name {
		return err
	}
	backup := *e
	switch {
	case strings.HasPrefix(e.Advice, advicePath):
		backup.Advice = "name a backup that `stshost store backup` has made, or take another"
	case e.Advice == adviceDamaged:
		backup.Advice = "use another backup, or take a new one with `stshost store backup`"
	case e.Problem == problemOpen:
		backup.Advice = "see that this user may read the file and its folder, e.g. run this as the owner of the file"
	}
	return &backup
}

// isBusy reports whether err is that another process keeps the database locked.
func isBusy(err error) bool {
	var said *sqlite.Error
	if !errors.As(err, &said) {
		return false
	}
	code := said.Code() & 0xff
	return code == sqlite3.SQLITE_BUSY || code == sqlite3.SQLITE_LOCKED
}

// cannotOpen looks for the reason why SQLite could not open the file; SQLite
// itself does not tell it.
func cannotOpen(path string) (problem, advice string) {
	switch info, err := os.Stat(path); {
	case errors.Is(err, fs.ErrNotExist):
		return "the file is gone", "put it back, or restart the server to begin with an empty store"
	case errors.Is(err, fs.ErrPermission):
		return "its directory may not be read by this user", "run this as the user that runs `stshost serve`"
	case err == nil && !info.Mode().IsRegular():
		return "it is not a regular file", advicePath
	}
	return problemOpen, "run this as the user that runs `stshost serve`, and see that this user may write the file and its directory, that their file system is not read-only, and that it has space left"
}
