package main

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/server"
)

// cli runs a command line on the world's config in a process of its own.
func (w *world) cli(args ...string) (string, error) {
	w.t.Helper()
	out, err := exec.Command("stshost", append(args, "--config", w.config())...).CombinedOutput()
	return string(out), err
}

// must is cli for a command that has to succeed.
func (w *world) must(args ...string) string {
	w.t.Helper()
	out, err := w.cli(args...)
	if err != nil {
		w.t.Fatalf("stshost %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// refuses wants a command to fail with one sentence that says all of texts.
func (w *world) refuses(args []string, texts ...string) {
	w.t.Helper()
	out, err := w.cli(args...)
	if err == nil || strings.Count(strings.TrimSpace(out), "\n") != 0 {
		w.t.Errorf("stshost %s: %v, want one sentence of refusal:\n%s", strings.Join(args, " "), err, out)
	}
	for _, text := range texts {
		if !strings.Contains(out, text) {
			w.t.Errorf("stshost %s does not say %q:\n%s", strings.Join(args, " "), text, out)
		}
	}
}

// inStore changes the store of a stopped server.
func (w *world) inStore(query string) {
	w.t.Helper()
	db, err := sql.Open("sqlite", w.storePath())
	if err != nil {
		w.t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.ExecContext(w.t.Context(), query); err != nil {
		w.t.Fatal(err)
	}
}

// backup makes a backup and returns its file.
func (w *world) backup() string {
	w.t.Helper()
	file := filepath.Join(w.t.TempDir(), "backup.db")
	w.must("store", "backup", file)
	return file
}

func TestStoreCommands(t *testing.T) {
	t.Parallel()
	w := newWorld(t, example)
	s := w.start()
	before := w.confirmed(example)

	file := filepath.Join(t.TempDir(), "backup.db")
	if out := w.must("store", "backup", file); !strings.Contains(out, "1 domain, 1 certificate,") {
		t.Errorf("it says %q", out)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("mode %v, %v", info.Mode(), err)
	}
	w.refuses([]string{"store", "backup", file}, file, "--force")
	var sum struct {
		Path                                        string
		Bytes, SchemaVersion, Domains, Certificates int64
		LastRun                                     time.Time `json:"last_run"`
	}
	if err := json.Unmarshal([]byte(w.must("store", "backup", "--force", "--json", file)), &sum); err != nil ||
		sum.Path != file || sum.Bytes == 0 || sum.Domains != 1 || sum.Certificates != 1 || sum.LastRun.IsZero() {
		t.Errorf("%+v, %v", sum, err)
	}
	for _, args := range [][]string{{"store", "check"}, {"store", "check", file}} {
		if out := w.must(args...); !strings.Contains(out, "is whole: 1 domain, ") {
			t.Errorf("%v: %s", args, out)
		}
	}
	// A config that is being edited keeps nobody from a backup.
	w.domains[0].lines = `dns = "typo"`
	w.writeConfig()
	for _, args := range [][]string{{"store", "backup", "--force", file}, {"store", "check"}} {
		w.must(args...)
	}
	w.domains[0].lines = ""
	w.writeConfig()
	w.refuses([]string{"store", "restore", file}, "in use by another stshost server", "stop it first")
	w.serves(before)

	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	out := w.must("store", "restore", file)
	for _, text := range []string{"restored " + w.storePath(), "before-restore-", "stshost serve --config " + w.config()} {
		if !strings.Contains(out, text) {
			t.Errorf("restore does not say %q:\n%s", text, out)
		}
	}
	pushes := len(w.lab.DNS.Updates())
	w.start()
	after := w.confirmed(example)
	w.sees(after)
	if after.ID != before.ID || w.lab.CA.TotalOrders() != 1 || len(w.lab.DNS.Updates()) != pushes {
		t.Errorf("a restore of what was there made the id %s of %s, %d orders, %d pushes more",
			after.ID, before.ID, w.lab.CA.TotalOrders(), len(w.lab.DNS.Updates())-pushes)
	}
	// Its server was backed up while it ran, and never crashed.
	events := w.must("events", "-n", "1000")
	if err := saysAll(events, "the store was restored from a backup, as of 20"); err != nil || strings.Contains(events, "without stopping") {
		t.Errorf("events after a restore (%v):\n%s", err, events)
	}
}

// harmPage writes over a page in the middle of the store, as a disk does.
func (w *world) harmPage() {
	w.t.Helper()
	data, err := os.ReadFile(w.storePath())
	if err != nil {
		w.t.Fatal(err)
	}
	const page = 4096
	for at := len(data) / page / 2 * page; at < len(data)-page; at += page {
		for i := range page {
			data[at+i] = 0xa5
		}
	}
	if err := os.WriteFile(w.storePath(), data, 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// A damaged store is found at the start, before anything is served from it,
// and a backup mends it.
func TestDamagedStore(t *testing.T) {
	t.Parallel()
	w := newWorld(t, example)
	s := w.start()
	before := w.confirmed(example)
	file := w.backup()
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	w.harmPage()
	if err := os.Chmod(w.config(), 0o600); err != nil { // else a line of its own says that others can read it
		t.Fatal(err)
	}
	w.refuses([]string{"serve"}, w.storePath(), "damaged", "stshost store restore FILE", "without a backup")
	w.refuses([]string{"store", "check"}, "damaged")
	w.refuses([]string{"store", "backup", filepath.Join(w.dir, "no.db")}, "damaged")

	w.must("store", "restore", file)
	w.start()
	after := w.confirmed(example)
	w.sees(after)
	if after.ID != before.ID || w.lab.CA.TotalOrders() != 1 {
		t.Errorf("id %s, want %s; %d orders", after.ID, before.ID, w.lab.CA.TotalOrders())
	}
}

// neitherOf waits until the domain is confirmed with an id that none of these
// states had.
func (w *world) neitherOf(states ...server.DomainStatus) server.DomainStatus {
	w.t.Helper()
	return w.await(states[0].Domain, "confirmed with a new id", func(d server.DomainStatus) bool {
		return d.Step == state.Confirmed && d.LastError == "" && d.ID != "" &&
			!slices.ContainsFunc(states, func(old server.DomainStatus) bool { return old.ID == d.ID })
	})
}

// An older backup comes back: what was announced since gets a new id, a domain
// that the backup does not know is taken over as it is published, and nobody is
// ever shown an id that stands for another policy.
func TestOlderBackup(t *testing.T) {
	t.Parallel()
	w := newWorld(t, example, "second.test")
	second := w.domains[1]
	w.domains = w.domains[:1]
	s := w.start()
	first := w.confirmed(example)
	file := w.backup()
	w.domains[0].mx = []string{"mx2.mail.test"}
	w.domains = append(w.domains, second)
	s.reload()
	changed, added := w.confirmedAnew(first), w.confirmed(second.name)
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}

	w.must("store", "restore", file)
	orders := w.lab.CA.TotalOrders()
	s = w.start()
	s.reconciler.Wake(example) // else within minutes
	after := w.neitherOf(first, changed)
	w.sees(after)
	if after.ID == first.ID || after.Body != changed.Body {
		t.Errorf("id %s with %q, want a new id with %q", after.ID, after.Body, changed.Body)
	}
	again := w.confirmed(second.name)
	w.sees(again)
	if again.ID != added.ID || again.Body != added.Body {
		t.Errorf("id %s with %q, want %s with %q", again.ID, again.Body, added.ID, added.Body)
	}
	if n := w.lab.CA.TotalOrders() - orders; n != 1 {
		t.Errorf("%d orders, want one, for the domain that the backup does not know", n)
	}
	bodies := map[string]string{} // by id
	for _, d := range []server.DomainStatus{first, changed, added, after} {
		if other, ok := bodies[d.ID]; ok && other != d.Body {
			t.Errorf("%s stood for %q and for %q", d.ID, other, d.Body)
		}
		bodies[d.ID] = d.Body
	}
}

// The backup has the certificate from before the last renewal, and the domain
// still in the policy that was enforced meanwhile.
func TestBackupFromBeforeARenewalAndAPin(t *testing.T) {
	t.Parallel()
	w := newWorld(t, example)
	s := w.start()
	first := w.confirmed(example)
	file := w.backup()
	w.domains[0].lines = `mode = "enforce"`
	s.reload()
	pinned := w.confirmedAnew(first)
	w.domains[0].lines = "" // it stays in enforce
	s.reload()
	if d := w.confirmed(example); d.Mode != "enforce" || d.ID != pinned.ID {
		t.Fatalf("mode %s, id %s", d.Mode, d.ID)
	}
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	w.must("store", "restore", file)
	w.inStore(`UPDATE cert_jobs SET due = 1`) // as if it was long ago
	orders := w.lab.CA.TotalOrders()
	s = w.start()
	s.reconciler.Wake(example)
	after := w.neitherOf(first, pinned)
	w.sees(after)
	if after.Mode != "enforce" || after.Body != pinned.Body {
		t.Errorf("the old store lowered it to %q", after.Body)
	}
	eventually(t, func() error {
		if st := s.issuer.Stats(); st.Issued != 1 {
			return fmt.Errorf("the certificate is not renewed: %+v", st)
		}
		return nil
	})
	if n := w.lab.CA.TotalOrders() - orders; n != 1 {
		t.Errorf("%d orders for one renewal", n)
	}
}
