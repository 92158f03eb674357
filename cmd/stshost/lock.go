package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/stshost/stshost/store"
)

// storeLock keeps a second server off a store: two would each change what the
// other has announced. The lock is the kernel's, on a file beside the store,
// and ends with the process however that ends.
type storeLock struct{ f *os.File }

func lockPath(store string) string { return store + ".lock" }

// lockStore takes the lock of the store at path, or says who has it.
func lockStore(path string) (*storeLock, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, fmt.Errorf("cannot make the folder of the store: %w", err)
	}
	f, err := os.OpenFile(lockPath(path), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("cannot open the lock of the store: %w; %s", err, lockRemedy(lockPath(path)))
	}
	// Root locks it to restore, and the user that runs stshost comes after. Where
	// that cannot be done, lockRemedy tells that user.
	_ = store.GiveTo(f.Name(), path)
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB)
	if errors.Is(err, syscall.EWOULDBLOCK) {
		defer f.Close()
		return nil, fmt.Errorf("the store %s is in use by another stshost server%s; stop it first", path, holder(f))
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("cannot lock the store %s: %w", path, err)
	}
	if err := f.Truncate(0); err == nil {
		fmt.Fprintln(f, os.Getpid()) // for the message above; the lock holds without it
	}
	return &storeLock{f}, nil
}

// lockRemedy is what to do about a lock that cannot be opened.
func lockRemedy(lock string) string {
	if _, err := os.Stat(lock); err == nil {
		return "run this as the user that runs stshost; if this is that user, give it the file with `sudo chown USER " + lock + "`"
	}
	return "make its folder writable for the user that runs stshost, and run this as that user"
}

// release lets go of the lock. The file stays: to remove it would race with
// whoever takes it next. To close it is not enough: a child that was forked this
// moment may have a copy of it for a while.
func (l *storeLock) release() {
	_ = syscall.Flock(int(l.f.Fd()), syscall.LOCK_UN) // to close it does the same, later
	l.f.Close()
}

// serverOnStore reports whether some server has the store at path locked, and
// names its process if it can.
func serverOnStore(path string) (who string, running bool) {
	f, err := os.Open(lockPath(path))
	if err != nil {
		return "", false
	}
	defer f.Close()
	err = syscall.Flock(int(f.Fd()), syscall.LOCK_SH|syscall.LOCK_NB)
	return holder(f), errors.Is(err, syscall.EWOULDBLOCK)
}

func holder(f *os.File) string {
	data, err := io.ReadAll(io.LimitReader(f, 32))
	if err != nil {
		return ""
	}
	if pid, err := strconv.Atoi(strings.TrimSpace(string(data))); err == nil {
		return fmt.Sprintf(" (process %d)", pid)
	}
	return ""
}
