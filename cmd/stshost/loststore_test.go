package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// loseStore deletes the store, as a disk does.
func (w *world) loseStore() {
	w.t.Helper()
	files, err := filepath.Glob(filepath.Join(w.dir, "stshost.db*"))
	if err != nil || len(files) == 0 {
		w.t.Fatalf("there is no store to lose: %v", err)
	}
	for _, f := range files {
		if err := os.Remove(f); err != nil {
			w.t.Fatal(err)
		}
	}
}

// After the store is lost the record in DNS tells what was served: the same
// policy goes on under the same id, and in the same mode, though the config
// does not name it any more.
func TestLostStore(t *testing.T) {
	t.Parallel()
	for _, mode := range []string{"testing", "enforce", "none"} {
		t.Run(mode, func(t *testing.T) {
			w := newWorld(t, example)
			w.domains[0].lines = "mode = \"" + mode + "\""
			s := w.start()
			before := w.confirmed(example)
			w.sees(before)
			if err := s.stop(); err != nil {
				t.Fatal(err)
			}
			w.loseStore()
			w.domains[0].lines = ""
			pushes := len(w.lab.DNS.Updates())

			s = w.start()
			after := w.confirmed(example)
			w.sees(after)
			if after.ID != before.ID || after.Body != before.Body {
				t.Errorf("id %s with %q, want %s with %q", after.ID, after.Body, before.ID, before.Body)
			}
			if after.Mode != mode || after.ModeSource != "adopted" {
				t.Errorf("mode %s (%s), want %s adopted", after.Mode, after.ModeSource, mode)
			}
			if n := len(w.lab.DNS.Updates()) - pushes; n != 0 {
				t.Errorf("%d more pushes", n)
			}
			// It looked at itself while it had no certificate.
			if n := w.metric(`stshost_tls_handshakes_failed_total{known="true",reason="no_certificate"}`); n != 0 || strings.Contains(s.log.String(), "a client failed") {
				t.Errorf("%v of its own looks are counted as clients'", n)
			}
		})
	}
}

// If the record does not tell (the MX hosts were edited too), stshost asks
// rather than guess, and takes the operator's word.
func TestLostStoreAndEditedConfig(t *testing.T) {
	t.Parallel()
	w := newWorld(t, example)
	w.domains[0].lines = `mode = "enforce"`
	s := w.start()
	before := w.confirmed(example)
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	w.loseStore()
	w.domains[0].lines, w.domains[0].mx = "", []string{"mx2.mail.test"}
	s = w.start()
	w.await(example, "a question", blockedBy("not known whether that was enforce"))
	w.explains(example, "restore the store", `mode = "enforce"`)
	if txt := w.lab.DNS.TXT("_mta-sts." + example); len(txt) != 1 || txt[0] != recordOf(before) {
		t.Errorf("the record became %q", txt)
	}
	w.domains[0].lines = `mode = "enforce"`
	s.reload()
	after := w.confirmedAnew(before)
	w.sees(after)
	if after.Mode != "enforce" {
		t.Errorf("mode %s", after.Mode)
	}
}
