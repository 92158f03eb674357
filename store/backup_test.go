package store_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/store"
)

// names lists a directory.
func names(t *testing.T, dir string) []string {
	t.Helper()
	var all []string
	for _, e := range get[[]os.DirEntry](t)(os.ReadDir(dir)) {
		all = append(all, e.Name())
	}
	return all
}

// put fills the store with n domains with a certificate each.
func put(t testing.TB, s *store.Store, n int) {
	t.Helper()
	for i := range n {
		d := fullDomain(fmt.Sprintf("d%d.example", i))
		noError(t, s.SaveDomain(t.Context(), d))
		host := "mta-sts." + d.Name
		noError(t, s.FinishCertJob(t.Context(), certificate(host, day(30)), state.CertJob{Host: host, Due: day(20)}))
	}
}

func TestBackupOfARunningStore(t *testing.T) {
	path := newPath(t)
	s := open(t, path)
	put(t, s, 3)
	dir := t.TempDir()
	file := filepath.Join(dir, "a backup?x=1#.db")

	sum := get[store.Summary](t)(store.Backup(t.Context(), path, file, false))
	if sum.Path != file || sum.Domains != 3 || sum.Certificates != 3 || sum.SchemaVersion < 3 || !sum.LastRun.Equal(day(2)) {
		t.Errorf("summary %+v", sum)
	}
	if info := get[fs.FileInfo](t)(os.Stat(file)); info.Size() != sum.Size || info.Mode().Perm() != 0o600 {
		t.Errorf("%d bytes, mode %v; the summary says %d", info.Size(), info.Mode(), sum.Size)
	}
	equal(t, names(t, dir), []string{filepath.Base(file)})
	equal(t, get[store.Summary](t)(store.Inspect(t.Context(), file)), sum)

	// The copy is of that moment, and a store of its own.
	noError(t, s.RemoveDomain(t.Context(), "d0.example"))
	copied := open(t, file)
	equal(t, get[state.Domain](t)(copied.Domain(t.Context(), "d0.example")), fullDomain("d0.example"))
	equal(t, get[state.Certificate](t)(copied.Certificate(t.Context(), "mta-sts.d1.example")), certificate("mta-sts.d1.example", day(30)))
	equal(t, get[store.Summary](t)(store.Inspect(t.Context(), path)).Domains, int64(2))
}

// A backup is of one moment although the store is written to all the time, and
// the writers get on.
func TestBackupIsOfOneMoment(t *testing.T) {
	path := newPath(t)
	s := open(t, path)
	ctx, stop := context.WithCancel(t.Context())
	var writers sync.WaitGroup
	wrote := make(chan struct{}, 1)
	writers.Go(func() {
		for i := 0; ctx.Err() == nil; i++ {
			// The ledger and the journal change together, or not at all.
			sha := fmt.Sprintf("%04x", i)
			if err := s.ServeBody(ctx, serving("example.com", sha), body("example.com", sha), day(1)); err != nil && ctx.Err() == nil {
				t.Error(err)
				return
			}
			select {
			case wrote <- struct{}{}:
			default:
			}
		}
	})
	for i := range 10 {
		<-wrote // since the last backup
		file := filepath.Join(t.TempDir(), "backup.db")
		get[store.Summary](t)(store.Backup(t.Context(), path, file, false))
		b, err := store.OpenReadOnly(t.Context(), file)
		noError(t, err)
		row := get[state.Domain](t)(b.Domain(t.Context(), "example.com"))
		current := get[[]state.Body](t)(b.CurrentBodies(t.Context()))
		if len(current) != 1 || current[0].SHA256 != row.BodySHA256 {
			t.Errorf("backup %d: the journal serves %s, the ledger %v", i, row.BodySHA256, current)
		}
		noError(t, b.Close())
	}
	stop()
	writers.Wait()
}

func TestBackupOfAStoppedStore(t *testing.T) {
	path := newPath(t)
	s := open(t, path)
	put(t, s, 1)
	noError(t, s.Close())
	file := filepath.Join(t.TempDir(), "backup.db")
	equal(t, get[store.Summary](t)(store.Backup(t.Context(), path, file, false)).Domains, int64(1))
	equal(t, names(t, filepath.Dir(path)), []string{filepath.Base(path)})

	// A backup of a backup is one, too.
	second := filepath.Join(t.TempDir(), "second.db")
	equal(t, get[store.Summary](t)(store.Backup(t.Context(), file, second, false)).Domains, int64(1))
}

func TestBackupOverwritesNothingUnasked(t *testing.T) {
	path := newPath(t)
	s := open(t, path)
	put(t, s, 1)
	dir := t.TempDir()
	file := filepath.Join(dir, "backup.db")
	noError(t, os.WriteFile(file, []byte("precious"), 0o644))
	_, err := store.Backup(t.Context(), path, file, false)
	errorSays(t, err, file, "--force")
	if !errors.Is(err, os.ErrExist) {
		t.Errorf("%v is not os.ErrExist", err)
	}
	equal(t, string(get[[]byte](t)(os.ReadFile(file))), "precious")
	equal(t, get[store.Summary](t)(store.Backup(t.Context(), path, file, true)).Domains, int64(1))
	if got := mode(t, file); got != 0o600 {
		t.Errorf("mode %v", got)
	}
	equal(t, names(t, dir), []string{"backup.db"})

	link := filepath.Join(dir, "link.db")
	noError(t, os.Symlink(path, link))
	for _, own := range []string{path, path + "-wal", link, dir} {
		_, err := store.Backup(t.Context(), path, own, true)
		errorSays(t, err, own, "name a")
	}
	get[state.Domain](t)(s.Domain(t.Context(), "d0.example"))
	_, err = store.Backup(t.Context(), path, filepath.Join(dir, "no", "such"), false)
	errorSays(t, err, "no such file or directory")
	_, err = store.Backup(t.Context(), filepath.Join(dir, "none.db"), filepath.Join(dir, "new.db"), false)
	errorSays(t, err, "none.db", "no such file")

	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := store.Backup(cancelled, path, filepath.Join(dir, "new.db"), false); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
	equal(t, names(t, dir), []string{"backup.db", "link.db"})
}

// damaged makes a store at path with its rows damaged and its header whole.
func damaged(t *testing.T, path string) {
	t.Helper()
	s := open(t, path)
	put(t, s, 20)
	noError(t, s.Close())
	file := get[[]byte](t)(os.ReadFile(path))
	for i := 4096; i < len(file); i += 64 {
		file[i] ^= 0x5a
	}
	noError(t, os.WriteFile(path, file, 0o600))
}

func TestDamageIsNoBackup(t *testing.T) {
	path := newPath(t)
	damaged(t, path)
	_, err := store.Inspect(t.Context(), path)
	operable(t, err, path, "damaged", "stshost store restore")
	dir := t.TempDir()
	_, err = store.Backup(t.Context(), path, filepath.Join(dir, "backup.db"), false)
	errorSays(t, err, "damaged")
	equal(t, len(names(t, dir)), 0)
}

func TestRestore(t *testing.T) {
	path := newPath(t)
	dir := filepath.Dir(path)
	backup := filepath.Join(t.TempDir(), "backup.db")
	s := open(t, path)
	put(t, s, 2)
	get[store.Summary](t)(store.Backup(t.Context(), path, backup, false))
	noError(t, s.RemoveDomain(t.Context(), "d0.example"))
	put(t, s, 3)
	noError(t, s.Close())

	res := get[store.Restored](t)(store.Restore(t.Context(), backup, path, day(1)))
	kept := path + ".before-restore-20250101T123015Z"
	if res.Kept != kept || res.Store.Path != path || res.Store.Domains != 2 {
		t.Errorf("%+v", res)
	}
	equal(t, names(t, dir), []string{filepath.Base(path), filepath.Base(kept)})
	for _, file := range []string{path, kept} {
		if got := mode(t, file); got != 0o600 {
			t.Errorf("%s: mode %v", file, got)
		}
	}
	equal(t, get[store.Summary](t)(store.Inspect(t.Context(), kept)).Domains, int64(3))
	s = open(t, path)
	equal(t, len(get[[]state.Domain](t)(s.Domains(t.Context()))), 2)
	// Every domain is looked at soon; all else is as it was.
	due := fullDomain("d0.example")
	due.NextRun = time.Time{}
	equal(t, get[state.Domain](t)(s.Domain(t.Context(), "d0.example")), due)
	// The events say so.
	told := get[[]state.Event](t)(s.Events(t.Context(), state.EventQuery{Kind: state.KindStoreRestored}))
	if len(told) != 1 || !told[0].Time.Equal(day(1)) || told[0].Evidence["as_of"] == "" {
		t.Errorf("events of the restore: %+v", told)
	}
	noError(t, s.Close())

	// Twice within a second, and back again.
	again := get[store.Restored](t)(store.Restore(t.Context(), kept, path, day(1)))
	equal(t, again.Kept, kept+"-2")
	equal(t, again.Store.Domains, int64(3))

	// Where there was no store.
	fresh := newPath(t)
	res = get[store.Restored](t)(store.Restore(t.Context(), backup, fresh, day(1)))
	equal(t, res.Kept, "")
	equal(t, len(get[[]state.Domain](t)(open(t, fresh).Domains(t.Context()))), 2)
}

// A log that a killed server left belongs to the store that is put aside, and
// must not be played into the restored one.
func TestRestoreOverAKilledStore(t *testing.T) {
	path := newPath(t)
	backup := filepath.Join(t.TempDir(), "backup.db")
	s := open(t, path)
	put(t, s, 1)
	get[store.Summary](t)(store.Backup(t.Context(), path, backup, false))
	put(t, s, 2)
	// What a kill leaves is what stands there while the store is open.
	killed := newPath(t)
	noError(t, os.MkdirAll(filepath.Dir(killed), 0o700))
	for _, end := range []string{"", "-wal", "-shm"} {
		noError(t, os.WriteFile(killed+end, get[[]byte](t)(os.ReadFile(path+end)), 0o600))
	}
	res := get[store.Restored](t)(store.Restore(t.Context(), backup, killed, day(1)))
	for _, name := range names(t, filepath.Dir(killed)) {
		if strings.HasSuffix(name, "-wal") || strings.HasSuffix(name, "-shm") {
			t.Errorf("%s is left", name)
		}
	}
	equal(t, get[store.Summary](t)(store.Inspect(t.Context(), killed)).Domains, int64(1))
	equal(t, get[store.Summary](t)(store.Inspect(t.Context(), res.Kept)).Domains, int64(2))
}

// A damaged store is what one restores over.
func TestRestoreOverDamage(t *testing.T) {
	backup := filepath.Join(t.TempDir(), "backup.db")
	path := newPath(t)
	s := open(t, path)
	put(t, s, 1)
	noError(t, s.Close())
	get[store.Summary](t)(store.Backup(t.Context(), path, backup, false))
	for name, harm := range map[string]func(t *testing.T, path string){
		"rows": damaged,
		"all": func(t *testing.T, path string) {
			noError(t, os.WriteFile(path, bytes.Repeat([]byte("no"), 9000), 0o600))
		},
		"to nil": func(t *testing.T, path string) { noError(t, os.WriteFile(path, nil, 0o600)) },
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "stshost.db")
			harm(t, path)
			before := get[[]byte](t)(os.ReadFile(path))
			res := get[store.Restored](t)(store.Restore(t.Context(), backup, path, day(1)))
			if !bytes.Equal(get[[]byte](t)(os.ReadFile(res.Kept)), before) {
				t.Error("what was kept is not what stood there")
			}
			equal(t, len(get[[]state.Domain](t)(open(t, path).Domains(t.Context()))), 1)
		})
	}
}

func TestRestoreRefuses(t *testing.T) {
	path := newPath(t)
	s := open(t, path)
	put(t, s, 1)
	noError(t, s.Close())
	dir := t.TempDir()
	at := func(name string, make func(t *testing.T, path string)) string {
		file := filepath.Join(dir, name)
		make(t, file)
		return file
	}
	backupOf := func(t *testing.T, file string) {
		get[store.Summary](t)(store.Backup(t.Context(), path, file, false))
	}
	for name, c := range map[string]struct {
		file string
		says []string
	}{
		"missing": {filepath.Join(dir, "none.db"), []string{"none.db", "no such file"}},
		"damaged": {at("damaged.db", damaged), []string{"damaged.db", "is damaged", "use another backup"}},
		"cut short": {at("short.db", func(t *testing.T, file string) {
			backupOf(t, file)
			noError(t, os.Truncate(file, 3*4096))
		}), []string{"short.db", "damaged"}},
		"text": {at("text.db", func(t *testing.T, file string) {
			noError(t, os.WriteFile(file, []byte(strings.Repeat("some notes\n", 900)), 0o600))
		}), []string{"text.db", "not a database of stshost", "name a backup"}},
		"empty": {at("empty.db", func(t *testing.T, file string) {
			noError(t, os.WriteFile(file, nil, 0o600))
		}), []string{"empty.db", "is empty"}},
		"another program's": {at("other.db", func(t *testing.T, file string) {
			db := raw(t, file)
			mustExec(t, db, `CREATE TABLE notes (note TEXT)`)
			noError(t, db.Close())
		}), []string{"other.db", "another program", "name a backup"}},
		"newer": {at("newer.db", func(t *testing.T, file string) {
			backupOf(t, file)
			db := raw(t, file)
			mustExec(t, db, `INSERT INTO goose_db_version (version_id, is_applied) VALUES (99999, 1)`)
			noError(t, db.Close())
		}), []string{"newer.db", "newer stshost", "99999"}},
		"itself":    {path, []string{"the store itself"}},
		"directory": {dir, []string{"not a regular file"}},
	} {
		t.Run(name, func(t *testing.T) {
			before := get[[]byte](t)(os.ReadFile(path))
			_, err := store.Restore(t.Context(), c.file, path, day(1))
			errorSays(t, err, c.says...)
			equal(t, names(t, filepath.Dir(path)), []string{filepath.Base(path)})
			if !bytes.Equal(get[[]byte](t)(os.ReadFile(path)), before) {
				t.Error("the store was changed")
			}
		})
	}

	// A path that leads to another program's database is a mistake.
	good := at("good.db", backupOf)
	_, err := store.Restore(t.Context(), good, filepath.Join(dir, "other.db"), day(1))
	errorSays(t, err, "other.db", "another program", "[store] url")
	if all := names(t, dir); slices.ContainsFunc(all, func(n string) bool { return strings.Contains(n, "before-restore") }) {
		t.Errorf("it was put aside: %v", all)
	}
}

// A database shell, say, that keeps the store locked makes nobody lose it.
func TestRestoreOverALockedStore(t *testing.T) {
	path := newPath(t)
	backup := filepath.Join(t.TempDir(), "backup.db")
	s := open(t, path)
	put(t, s, 1)
	noError(t, s.Close())
	get[store.Summary](t)(store.Backup(t.Context(), path, backup, false))
	other := raw(t, path)
	mustExec(t, other, `PRAGMA locking_mode = exclusive`)
	mustExec(t, other, `DELETE FROM domains`)
	_, err := store.Restore(t.Context(), backup, path, day(1))
	errorSays(t, err, "another process has the store", "fuser")
	if all := names(t, filepath.Dir(path)); slices.ContainsFunc(all, func(n string) bool { return strings.Contains(n, "before-restore") }) {
		t.Errorf("it was put aside: %v", all)
	}
}

// What is said of a backup is about the backup, and of a folder about the
// folder.
func TestBackupAdvice(t *testing.T) {
	file := filepath.Join(t.TempDir(), "damaged.db")
	damaged(t, file)
	_, err := store.InspectBackup(t.Context(), file)
	errorSays(t, err, "damaged.db", "is damaged", "take a new one")
	if strings.Contains(err.Error(), "restore FILE") {
		t.Errorf("a backup is to be mended by itself: %v", err)
	}

	path := newPath(t)
	s := open(t, path)
	put(t, s, 1)
	noError(t, s.Close())
	file = filepath.Join(t.TempDir(), "none", "backup.db")
	_, err = store.Backup(t.Context(), path, file, false)
	errorSays(t, err, file+" cannot be written", "no such file", "make the folder")
	if strings.Contains(err.Error(), ".part") {
		t.Errorf("the temporary name is shown: %v", err)
	}
}

// A store from before an upgrade can be backed up and restored as it is; the
// next start brings it up to date.
func TestBackupOfAnOlderStore(t *testing.T) {
	for version := range int64(9) {
		t.Run(fmt.Sprint(version), func(t *testing.T) {
			path := newPath(t)
			makeVersion(t, path, version)
			file := filepath.Join(t.TempDir(), "backup.db")
			sum, err := store.Backup(t.Context(), path, file, false)
			if version == 0 {
				errorSays(t, err, "is empty")
				return
			}
			noError(t, err)
			equal(t, sum.SchemaVersion, version)
			equal(t, sum.Domains, int64(1))
			get[store.Restored](t)(store.Restore(t.Context(), file, path, day(1)))
			equal(t, len(get[[]state.Domain](t)(open(t, path).Domains(t.Context()))), 1)
		})
	}
}
