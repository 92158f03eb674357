package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"time"

	sqlite3 "modernc.org/sqlite/lib"

	"modernc.org/sqlite"
)

// Summary is what can be said of a store, or a backup of one, as a whole.
type Summary struct {
	Path          string
	Size          int64     // bytes
	SchemaVersion int64     // as of the migrations
	Domains       int64     // with a journal
	Certificates  int64     // with their keys
	LastRun       time.Time // when it last noted the look at a domain; zero: never
}

// Inspect looks through the whole store or backup at path for damage and sums
// up what is in it. It changes nothing, and a server may have it open. A store
// of an older stshost is fine, one of a newer is not.
func Inspect(ctx context.Context, path string) (Summary, error) {
	var sum Summary
	err := readStill(path, func(s *Store) (err error) {
		sum, err = s.inspect(ctx, true)
		return err
	})
	if err != nil {
		return Summary{}, fmt.Errorf("check the store: %w", err)
	}
	return sum, nil
}

// InspectBackup is Inspect with advice for a file that is a backup.
func InspectBackup(ctx context.Context, file string) (Summary, error) {
	sum, err := Inspect(ctx, file)
	return sum, ofBackup(err, file)
}

// Backup writes a copy of the store at path, as it stands at one moment, to
// file: whole, verified, synced to disk, with mode 0600, under a temporary name
// until then. A server may have the store open, and goes on reading and writing
// meanwhile. A file that exists is left as it is, with an error that is
// [os.ErrExist], unless replace is set.
func Backup(ctx context.Context, path, file string, replace bool) (Summary, error) {
	fail := func(err error) (Summary, error) { return Summary{}, fmt.Errorf("back up the store: %w", err) }
	if err := checkTarget(path, file, replace); err != nil {
		return fail(err)
	}
	tmp, sum, err := copyStore(ctx, path, file)
	if err != nil {
		return fail(err)
	}
	defer os.Remove(tmp) // does nothing once it has its name
	if replace {
		err = os.Rename(tmp, file)
	} else {
		err = renameNew(tmp, file)
	}
	if err != nil {
		return fail(err)
	}
	if err := syncDir(filepath.Dir(file)); err != nil {
		return fail(err)
	}
	sum.Path = file
	return sum, nil
}

// checkTarget refuses, before any work, a file that a backup must not go to.
func checkTarget(path, file string, replace bool) error {
	target, err := os.Lstat(file)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	for _, own := range []string{path, path + "-wal", path + "-shm", path + ".lock"} {
		if info, err := os.Stat(own); err == nil && (os.SameFile(info, target) || sameTarget(file, info)) {
			return fmt.Errorf("%s belongs to the store itself; name another file", file)
		}
	}
	switch {
	case target.IsDir():
		return fmt.Errorf("%s is a directory; name a file in it", file)
	case !replace:
		return fmt.Errorf("%s: %w; name another file, or replace it with --force", file, os.ErrExist)
	case !target.Mode().IsRegular() && target.Mode().Type() != os.ModeSymlink:
		return fmt.Errorf("%s is not a regular file; name another", file)
	}
	return nil
}

// sameTarget reports whether file, through whatever links, is the file of info.
func sameTarget(file string, info os.FileInfo) bool {
	there, err := os.Stat(file)
	return err == nil && os.SameFile(there, info)
}

// copyStore makes a verified copy of the store at path beside file, synced and
// under a temporary name, which the caller renames or removes.
func copyStore(ctx context.Context, path, file string) (_ string, sum Summary, err error) {
	f, err := os.CreateTemp(filepath.Dir(file), "."+filepath.Base(file)+".*.part") // mode 0600
	if err != nil {
		return "", sum, noCopy(file, err)
	}
	tmp := f.Name()
	defer func() {
		err = errors.Join(err, f.Close())
		if err != nil {
			os.Remove(tmp)
		}
	}()
	err = readStill(path, func(s *Store) error {
		if err := f.Truncate(0); err != nil { // of an earlier try
			return err
		}
		// The whole store is not looked through here: the copy is, next.
		if _, err := s.inspect(ctx, false); err != nil {
			return err
		}
		return s.vacuumInto(ctx, tmp)
	})
	if err != nil {
		return "", sum, err
	}
	if err := f.Sync(); err != nil {
		return "", sum, err
	}
	err = readStill(tmp, func(s *Store) (err error) {
		sum, err = s.inspect(ctx, true)
		return err
	})
	if err != nil {
		return "", sum, fmt.Errorf("the copy is not right: %w", err)
	}
	return tmp, sum, nil
}

// noCopy says why there can be no copy beside file. The name that it was to
// have until it was whole tells nobody anything.
func noCopy(file string, err error) error {
	dir := filepath.Dir(file)
	if pathErr, ok := errors.AsType[*os.PathError](err); ok {
		err = pathErr.Err
	}
	remedy := "name a file in a folder that this user may write to, e.g. one made with `sudo install -d -o USER -m 700 FOLDER`"
	if errors.Is(err, os.ErrNotExist) {
		remedy = "make the folder, or name a file in another"
	}
	return fmt.Errorf("%s cannot be written: the folder %s: %w; %s", file, dir, err, remedy)
}

// vacuumInto writes the store to file, which exists and is empty. It is one
// long read: with the write-ahead log, writers do not wait for it. Indexes are
// built anew, so the copy's agree with its rows.
func (s *Store) vacuumInto(ctx context.Context, file string) error {
	abs, err := filepath.Abs(file)
	if err != nil {
		return err
	}
	_, err = s.reader.ExecContext(ctx, `VACUUM INTO ?`, abs)
	var said *sqlite.Error
	if errors.As(err, &said) {
		switch said.Code() & 0xff {
		case sqlite3.SQLITE_FULL, sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_READONLY, sqlite3.SQLITE_PERM:
			// What was written to is the copy.
			return explainSQLite(abs, err)
		}
	}
	if err != nil {
		return s.fail("copy", err)
	}
	return nil
}

// readStill has f read the database at path. Where nobody has it open it is
// read as a file that nobody changes; if someone did after all, f is called
// again.
func readStill(path string, f func(*Store) error) error {
	for {
		s, err := newSQLite(path)
		if err != nil {
			return err
		}
		before, err := os.Stat(s.name)
		if errors.Is(err, os.ErrNotExist) {
			return &Error{Store: s.name, Problem: "there is no such file", Advice: "correct the path", Err: os.ErrNotExist}
		}
		if err != nil {
			return err
		}
		if !before.Mode().IsRegular() {
			return fmt.Errorf("%s is not a regular file; correct the path", s.name)
		}
		settings := url.Values{"mode": {"ro"}, "_pragma": {busyTimeout}}
		immutable := !exists(s.name + "-wal")
		if immutable {
			settings.Set("immutable", "1")
		}
		if s.reader, err = s.connect(1, settings); err != nil {
			return err
		}
		err = errors.Join(f(s), s.reader.Close())
		if !immutable {
			return err
		}
		after, statErr := os.Stat(s.name)
		if statErr != nil {
			return errors.Join(err, statErr)
		}
		if !exists(s.name+"-wal") && os.SameFile(before, after) &&
			after.Size() == before.Size() && after.ModTime().Equal(before.ModTime()) {
			return err
		}
	}
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// inspect sums the database up. It refuses what no stshost, or a newer one, has
// written, and, if whole is asked for, what is damaged.
func (s *Store) inspect(ctx context.Context, whole bool) (sum Summary, err error) {
	newest, err := newestVersion(s.dialect.migrations)
	if err != nil {
		return sum, err
	}
	err = s.view(ctx, "read the store", func(conn *sql.Conn) error {
		h, err := readHeader(ctx, conn)
		if err != nil {
			return err
		}
		if err := s.check(h, newest); err != nil {
			return err
		}
		if h.version == 0 {
			return &Error{Store: s.name, Problem: "the store is empty: nothing was ever kept in it", Advice: "correct the path"}
		}
		if whole {
			if err := s.checkWhole(ctx, conn); err != nil {
				return err
			}
		}
		sum.SchemaVersion = h.version
		return s.count(ctx, conn, &sum)
	})
	if err != nil {
		return Summary{}, err
	}
	sum.Path = s.name
	return sum, nil
}

// count fills in what the database holds.
func (s *Store) count(ctx context.Context, conn *sql.Conn, sum *Summary) error {
	info, err := os.Stat(s.name)
	if err != nil {
		return err
	}
	sum.Size = info.Size()
	if log, err := os.Stat(s.name + "-wal"); err == nil {
		sum.Size += log.Size()
	}
	var lastRun int64
	if err := conn.QueryRowContext(ctx, s.dialect.statements.countDomains).Scan(&sum.Domains, &lastRun); err != nil {
		return err
	}
	sum.LastRun = toTime(lastRun)
	if sum.SchemaVersion < certificatesSince {
		return nil
	}
	return conn.QueryRowContext(ctx, s.dialect.statements.countCertificates).Scan(&sum.Certificates)
}

// certificatesSince is the version of the schema that brought their table.
const certificatesSince = 2

// renameNew gives tmp the name file, unless there is such a file.
func renameNew(tmp, file string) error {
	err := os.Link(tmp, file)
	switch {
	case err == nil:
		return os.Remove(tmp)
	case errors.Is(err, os.ErrExist):
		return fmt.Errorf("%s: %w; name another file, or replace it with --force", file, os.ErrExist)
	}
	// A file system without hard links.
	if exists(file) {
		return fmt.Errorf("%s: %w; name another file, or replace it with --force", file, os.ErrExist)
	}
	return os.Rename(tmp, file)
}

// syncDir makes a rename in dir survive a power loss.
func syncDir(dir string) error {
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
