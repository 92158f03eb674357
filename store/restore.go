package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"syscall"
	"time"

	"github.com/stshost/stshost/internal/state"
)

// Restored says what Restore did.
type Restored struct {
	Store Summary // as it is now
	Kept  string  // where the store that stood there is; "" if there was none
}

// Restore puts a copy of the backup in file in the place of the store at path,
// and keeps what stood there as "<path>.before-restore-<stamp>", stamp being
// now. It refuses, changing nothing, a file that is not ours, that is damaged,
// or that a newer stshost has written, and to put it in the place of another
// program's file. Nobody may have the store open: the caller holds its lock.
func Restore(ctx context.Context, file, path string, now time.Time) (Restored, error) {
	fail := func(err error) (Restored, error) { return Restored{}, fmt.Errorf("restore the store: %w", err) }
	s, err := newSQLite(path)
	if err != nil {
		return fail(err)
	}
	if from, err := newSQLite(file); err == nil && from.name == s.name {
		return fail(fmt.Errorf("%s is the store itself; name a backup", file))
	}
	if err := os.MkdirAll(filepath.Dir(s.name), 0o700); err != nil {
		return fail(err)
	}
	tmp, sum, err := copyStore(ctx, file, s.name)
	if err != nil {
		return fail(ofBackup(err, file))
	}
	defer os.Remove(tmp) // does nothing once it has its name
	if err := noteRestore(ctx, tmp, sum, now); err != nil {
		return fail(err)
	}
	if err := s.settle(ctx); err != nil {
		return fail(err)
	}
	if err := GiveTo(tmp, s.name); err != nil {
		return fail(err)
	}
	kept, err := s.putAside(now)
	if err != nil {
		return fail(err)
	}
	if err := os.Rename(tmp, s.name); err != nil {
		return fail(err)
	}
	if err := syncDir(filepath.Dir(s.name)); err != nil {
		return fail(err)
	}
	sum.Path = s.name
	return Restored{Store: sum, Kept: kept}, nil
}

// noteRestore has the copy know that it is one: every domain is looked at soon
// after the start, for much may have been announced that it knows nothing of,
// and an event tells why a server that it saw start never stopped.
func noteRestore(ctx context.Context, file string, sum Summary, now time.Time) error {
	s, err := newSQLite(file)
	if err != nil {
		return err
	}
	if s.writer, err = s.connect(1, url.Values{"mode": {"rw"}, "_pragma": {busyTimeout, synchronous}}); err != nil {
		return err
	}
	err = s.exec(ctx, "make every domain due", s.dialect.statements.makeDue)
	if err == nil && sum.SchemaVersion >= eventsSince {
		_, err = s.AddEvents(ctx, []state.Event{restored(sum, now)})
	}
	return errors.Join(err, s.writer.Close())
}

// eventsSince is the version of the schema that brought their table.
const eventsSince = 4

// restored is the event of a restore.
func restored(sum Summary, now time.Time) state.Event {
	e := state.Event{
		Time: now, Kind: state.KindStoreRestored, Severity: state.SeverityInfo,
		Text: "the store was restored from a backup; what happened after the backup was made is not in it",
	}
	if !sum.LastRun.IsZero() {
		asOf := sum.LastRun.UTC().Format(time.RFC3339)
		e.Text = "the store was restored from a backup, as of " + asOf + "; what happened after that is not in it"
		e.Evidence = map[string]string{"as_of": asOf}
	}
	return e
}

// settle moves the write-ahead log of the present store into its file, if it is
// healthy enough, so that one file is all there is to keep. It refuses a file
// of another program.
func (s *Store) settle(ctx context.Context) error {
	if !exists(s.name) {
		return nil
	}
	db, err := s.connect(1, url.Values{"mode": {"rw"}, "_pragma": {busyTimeout}})
	if err != nil {
		return err
	}
	defer db.Close()
	inUse := fmt.Errorf("another process has the store %s open; end it first (`fuser` shows it)", s.name)
	conn, err := db.Conn(ctx)
	switch {
	case isBusy(err):
		return inUse
	case err != nil:
		return nil // that it is no good may be why it is restored
	}
	defer conn.Close()
	h, err := readHeader(ctx, conn)
	if isBusy(err) {
		return inUse
	}
	if err == nil {
		var foreign *Error
		if err := s.check(h, h.version); errors.As(err, &foreign) {
			return foreign
		}
	}
	var busy, log, moved sql.NullInt64
	err = conn.QueryRowContext(ctx, `PRAGMA wal_checkpoint(truncate)`).Scan(&busy, &log, &moved)
	if isBusy(err) || err == nil && busy.Int64 != 0 {
		return inUse
	}
	return ctx.Err()
}

// putAside gives the present store, with the log that a damaged one still has,
// a second name, and removes the log. The store's own name is left to be
// replaced in one step. A log that stayed would be played into the new file.
func (s *Store) putAside(now time.Time) (kept string, err error) {
	if !exists(s.name) {
		return "", s.dropLog()
	}
	stamp := now.UTC().Format("20060102T150405Z")
	for n := 1; ; n++ {
		kept = fmt.Sprintf("%s.before-restore-%s", s.name, stamp)
		if n > 1 {
			kept = fmt.Sprintf("%s-%d", kept, n)
		}
		if err = os.Link(s.name, kept); !errors.Is(err, os.ErrExist) {
			break
		}
	}
	if err != nil {
		// A file system without hard links.
		if err := os.Rename(s.name, kept); err != nil {
			return "", err
		}
	}
	if exists(s.name + "-wal") {
		if err := os.Rename(s.name+"-wal", kept+"-wal"); err != nil {
			return "", err
		}
	}
	return kept, errors.Join(s.dropLog(), syncDir(filepath.Dir(s.name)))
}

// dropLog removes SQLite's files beside the store.
func (s *Store) dropLog() error {
	for _, end := range []string{"-wal", "-shm", "-journal"} {
		if err := os.Remove(s.name + end); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	return nil
}

// GiveTo gives file, if root made it, the owner of the store at path, or of its
// directory: root restores for the user that runs stshost.
func GiveTo(file, path string) error {
	if os.Geteuid() != 0 {
		return nil
	}
	info, err := os.Stat(path)
	if errors.Is(err, os.ErrNotExist) {
		info, err = os.Stat(filepath.Dir(path))
	}
	if err != nil {
		return err
	}
	owner, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return nil
	}
	return os.Chown(file, int(owner.Uid), int(owner.Gid))
}
