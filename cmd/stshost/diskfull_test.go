package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stshost/stshost/server"
)

// smallDisk puts the world's store on a file system of its own that holds a few
// megabytes.
func (w *world) smallDisk() {
	w.t.Helper()
	dir := filepath.Join(w.dir, "disk")
	if err := os.Mkdir(dir, 0o700); err != nil {
		w.t.Fatal(err)
	}
	if err := syscall.Mount("tmpfs", dir, "tmpfs", 0, "size=4m,mode=0700"); err != nil {
		w.t.Skipf("a file system of a few megabytes cannot be mounted by this user: %v", err)
	}
	w.t.Cleanup(func() {
		if err := syscall.Unmount(dir, syscall.MNT_DETACH); err != nil {
			w.t.Error(err)
		}
	})
	w.storeDir = dir
}

// fill fills the disk until free is called.
func (w *world) fill() (free func()) {
	w.t.Helper()
	name := filepath.Join(w.storeDir, "ballast")
	f, err := os.Create(name)
	if err != nil {
		w.t.Fatal(err)
	}
	defer f.Close()
	for chunk := make([]byte, 4096); ; {
		if _, err := f.Write(chunk); errors.Is(err, syscall.ENOSPC) {
			break
		} else if err != nil {
			w.t.Fatal(err)
		}
	}
	return func() {
		w.t.Helper()
		if err := os.Remove(name); err != nil {
			w.t.Fatal(err)
		}
	}
}

// A store whose disk is full takes nothing more: what is served goes on being
// served, no id is announced that is not journalled, the status says what is
// wrong; and all goes on by itself once there is space. So it is over a kill
// and a start as well.
func TestFullDisk(t *testing.T) {
	w := newWorld(t, example, "late.test")
	w.smallDisk()
	w.domains[1].mx = []string{"mx1.late.test"} // a policy of its own
	late := w.domains[1]
	w.domains = w.domains[:1]
	w.writeConfig()
	p := w.spawn()
	before := w.confirmed(example)
	file := filepath.Join(w.dir, "backup.db")
	free := w.fill()

	// The log of the store may still have room for a change or two.
	orders, pushes := w.lab.CA.TotalOrders(), 0
	for i := 0; ; i++ {
		if i == 100 {
			t.Fatal("the disk is full and a hundred changes were made")
		}
		pushes = len(w.lab.DNS.Updates())
		w.domains[0].mx = []string{fmt.Sprintf("mx%d.mail.test", i+2)}
		w.writeConfig()
		w.must("reload")
		d := w.await(example, "an end of the change", func(d server.DomainStatus) bool {
			return d.LastError != "" || d.ID != before.ID && d.Step == "confirmed"
		})
		if d.LastError != "" {
			break
		}
		before = d
	}
	w.await(example, "what is wrong with the disk", blockedBy("no space left"))
	w.explains(example, "no space left", "free space")
	if out, err := w.cli("store", "backup", file); err != nil { // to another disk
		t.Errorf("%v: %s", err, out)
	}
	if out, err := w.cli("store", "backup", filepath.Join(w.storeDir, "backup.db")); err == nil || !strings.Contains(out, "space") {
		t.Errorf("a backup to the full disk: %v: %s", err, out)
	}

	stays := func() {
		t.Helper()
		id, policy, err := w.reader().Fetch(t.Context(), example)
		if err != nil || id == "" || policy != before.Body {
			t.Errorf("a sender sees %s with %q (%v), want %q", id, policy, err, before.Body)
		}
		// One push may have been journalled and under way when the disk was full.
		if n := len(w.lab.DNS.Updates()) - pushes; n > 0 {
			t.Errorf("%d ids were announced with a full disk", n)
		}
	}
	stays()

	// A new domain cannot be kept, nor can an order be journalled: none is made.
	w.domains = append(w.domains, late)
	w.writeConfig()
	w.must("reload")
	w.await(late.name, "why it does not begin", func(d server.DomainStatus) bool { return d.LastError != "" })
	if n := w.lab.CA.TotalOrders() - orders; n != 0 {
		t.Errorf("%d orders that no journal knows", n)
	}

	// A start with the disk still full serves what is there.
	p.kill()
	w.spawn()
	w.await(example, "the same after a start", blockedBy("no space left"))
	stays()

	free()
	started := time.Now()
	w.sees(w.confirmedAnew(before))
	w.sees(w.confirmed(late.name))
	t.Logf("all was well %s after there was space", time.Since(started).Round(time.Second))
	w.oneIDForEachBody()
}
