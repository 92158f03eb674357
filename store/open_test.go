package store_test

import (
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/store"
)

func mode(t *testing.T, path string) fs.FileMode {
	t.Helper()
	info, err := os.Stat(path)
	noError(t, err)
	return info.Mode().Perm()
}

func TestFilesAreForTheirOwnerOnly(t *testing.T) {
	path := filepath.Join(t.TempDir(), "var", "lib", "stshost.db")
	s := open(t, path)
	noError(t, s.SaveDomain(t.Context(), state.Domain{Name: "example.com"}))
	for name, want := range map[string]fs.FileMode{
		filepath.Dir(filepath.Dir(path)): 0o700, filepath.Dir(path): 0o700,
		path: 0o600, path + "-wal": 0o600, path + "-shm": 0o600,
	} {
		if got := mode(t, name); got != want {
			t.Errorf("%s has mode %v, want %v", name, got, want)
		}
	}
}

func TestFilesThatOthersMayReadAreClosedToThem(t *testing.T) {
	dir := t.TempDir()
	noError(t, os.Chmod(dir, 0o755))
	path := filepath.Join(dir, "stshost.db")
	noError(t, open(t, path).Close())
	noError(t, os.Chmod(path, 0o644))
	s := open(t, path)
	noError(t, s.SaveDomain(t.Context(), state.Domain{Name: "example.com"}))
	for _, name := range []string{path, path + "-wal", path + "-shm"} {
		if got := mode(t, name); got != 0o600 {
			t.Errorf("%s has mode %v", name, got)
		}
	}
	// An existing directory may have other uses; its mode is its owner's matter.
	if got := mode(t, dir); got != 0o755 {
		t.Errorf("the directory got mode %v", got)
	}
}

func TestPathsAreTakenLiterally(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "a b?mode=memory#c%41")
	s := open(t, filepath.Join(dir, "x?y.db"))
	noError(t, s.SaveDomain(t.Context(), state.Domain{Name: "example.com"}))
	if _, err := os.Stat(filepath.Join(dir, "x?y.db-wal")); err != nil {
		t.Error(err)
	}
	t.Chdir(dir)
	relative, err := store.OpenReadOnly(t.Context(), "x?y.db")
	noError(t, err)
	defer relative.Close()
	equal(t, len(get[[]state.Domain](t)(relative.Domains(t.Context()))), 1)
}

func TestOpenRefusesWhatIsNotAStore(t *testing.T) {
	for name, c := range map[string]struct {
		make func(t *testing.T, path string)
		says []string
	}{
		"text": {func(t *testing.T, path string) {
			noError(t, os.WriteFile(path, []byte(strings.Repeat("some notes of mine\n", 100)), 0o600))
		}, []string{"not a database of stshost", "[store] url"}},
		"another program's": {func(t *testing.T, path string) {
			db := raw(t, path)
			mustExec(t, db, `CREATE TABLE notes (note TEXT)`)
			noError(t, db.Close())
			noError(t, os.Chmod(path, 0o600))
		}, []string{"another program", "[store] url"}},
		"another program's, marked": {func(t *testing.T, path string) {
			db := raw(t, path)
			mustExec(t, db, `PRAGMA application_id = 7`)
			noError(t, db.Close())
			noError(t, os.Chmod(path, 0o600))
		}, []string{"another program", "[store] url"}},
		"damaged": {func(t *testing.T, path string) {
			s := open(t, path)
			for _, host := range []string{"a", "b", "c", "d", "e", "f", "g", "h"} {
				noError(t, s.FinishCertJob(t.Context(), certificate(host, day(1)), state.CertJob{Host: host}))
			}
			noError(t, s.Close())
			file := get[[]byte](t)(os.ReadFile(path))
			// The header and the schema on the first page stay whole.
			for i := 4096; i < len(file); i += 64 {
				file[i] ^= 0x5a
			}
			noError(t, os.WriteFile(path, file, 0o600))
		}, []string{"damaged", "backup"}},
		"cut short": {func(t *testing.T, path string) {
			noError(t, open(t, path).Close())
			noError(t, os.Truncate(path, 3*4096))
		}, []string{"damaged", "backup"}},
		"directory": {func(t *testing.T, path string) {
			noError(t, os.Mkdir(path, 0o700))
		}, []string{"not a regular file", "[store] url"}},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "stshost.db")
			c.make(t, path)
			before, _ := os.ReadFile(path)
			s, err := store.Open(t.Context(), path)
			if err == nil {
				s.Close()
			}
			errorSays(t, err, append(c.says, path)...)
			if after, _ := os.ReadFile(path); !bytes.Equal(before, after) {
				t.Error("the file was changed")
			}
			if leftover, _ := filepath.Glob(path + "-*"); len(leftover) > 0 {
				t.Errorf("files were made: %v", leftover)
			}
		})
	}
}

func TestOpenNeedsAPathItCanWrite(t *testing.T) {
	_, err := store.Open(t.Context(), "")
	errorSays(t, err, "[store] url")
	file := filepath.Join(t.TempDir(), "file")
	noError(t, os.WriteFile(file, nil, 0o600))
	_, err = store.Open(t.Context(), filepath.Join(file, "stshost.db"))
	errorSays(t, err, "make its directory", file)
}

func TestReadOnlyMakesNothing(t *testing.T) {
	path := newPath(t)
	_, err := store.OpenReadOnly(t.Context(), path)
	errorSays(t, err, path, "there is none yet", "stshost serve")
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v is not fs.ErrNotExist", err)
	}
	if _, err := os.Stat(filepath.Dir(path)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("the directory was made: %v", err)
	}

	s := open(t, path)
	noError(t, s.SaveDomain(t.Context(), fullDomain("example.com")))
	noError(t, s.Close())
	before := get[[]byte](t)(os.ReadFile(path))
	readOnly, err := store.OpenReadOnly(t.Context(), path)
	noError(t, err)
	equal(t, get[state.Domain](t)(readOnly.Domain(t.Context(), "example.com")), fullDomain("example.com"))
	for _, err := range []error{
		readOnly.SaveDomain(t.Context(), state.Domain{Name: "example.net"}),
		readOnly.RemoveDomain(t.Context(), "example.com"),
		readOnly.ServeBody(t.Context(), serving("example.com", "aa"), body("example.com", "aa"), day(1)),
		readOnly.FinishCertJob(t.Context(), certificate("a", day(1)), state.CertJob{Host: "a"}),
	} {
		errorSays(t, err, path, "reading only", "stshost serve")
	}
	_, err = readOnly.Secret(t.Context(), "probe")
	errorSays(t, err, "reading only")
	noError(t, readOnly.Close())

	// An empty file is what a first start leaves that was killed at once.
	empty := filepath.Join(t.TempDir(), "empty.db")
	noError(t, os.WriteFile(empty, nil, 0o600))
	_, err = store.OpenReadOnly(t.Context(), empty)
	errorSays(t, err, "version 0", "stshost serve")

	if !bytes.Equal(before, get[[]byte](t)(os.ReadFile(path))) {
		t.Error("the file was changed")
	}
	for _, p := range []string{path, empty} {
		if made, _ := filepath.Glob(p + "-*"); len(made) > 0 {
			t.Errorf("files were made: %v", made)
		}
	}
}

func TestReadOnlyBesideARunningServer(t *testing.T) {
	path := newPath(t)
	server := open(t, path)
	noError(t, server.SaveDomain(t.Context(), state.Domain{Name: "a.example"}))
	readOnly, err := store.OpenReadOnly(t.Context(), path)
	noError(t, err)
	defer readOnly.Close()
	for i, name := range []string{"a.example", "b.example", "c.example"} {
		noError(t, server.SaveDomain(t.Context(), state.Domain{Name: name}))
		equal(t, len(get[[]state.Domain](t)(readOnly.Domains(t.Context()))), i+1)
	}
	errorSays(t, readOnly.SaveDomain(t.Context(), state.Domain{Name: "d.example"}), "reading only")
}
