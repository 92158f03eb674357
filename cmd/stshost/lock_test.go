package main

import (
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// What root locks to restore into a folder of the service's user is that
// user's.
func TestLockMadeByRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("only root can give files away")
	}
	dir := t.TempDir()
	if err := os.Chown(dir, 65534, 65534); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "stshost.db")
	lock, err := lockStore(path)
	if err != nil {
		t.Fatal(err)
	}
	defer lock.release()
	info, err := os.Stat(lockPath(path))
	if err != nil {
		t.Fatal(err)
	}
	if owner := info.Sys().(*syscall.Stat_t); owner.Uid != 65534 || owner.Gid != 65534 {
		t.Errorf("the lock belongs to %d:%d", owner.Uid, owner.Gid)
	}
}

// A lock that cannot be opened is told apart from a folder that takes none.
func TestLockThatCannotBeOpened(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stshost.db")
	if err := os.Mkdir(lockPath(path), 0o700); err != nil {
		t.Fatal(err)
	}
	_, err := lockStore(path)
	if err == nil || !strings.Contains(err.Error(), "chown USER "+lockPath(path)) {
		t.Errorf("lockStore: %v", err)
	}
}
