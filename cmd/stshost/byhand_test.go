package main

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
	"github.com/stshost/stshost/server"
)

func recordOf(d server.DomainStatus) string { return mtasts.Record{ID: d.ID}.String() }

// stshost runs a command on the world's config and returns what it printed.
func (w *world) stshost(args ...string) string {
	w.t.Helper()
	out, err := exec.Command("stshost", append(args, "--config", w.config())...).Output()
	if err != nil {
		w.t.Fatalf("stshost %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return string(out)
}

// Without a DNS provider stshost says what to enter and waits until it sees it.
func TestRecordByHand(t *testing.T) {
	t.Parallel()
	w := newWorld(t, example)
	w.account = "provider = \"print\"\n"
	s := w.start()
	first := w.byHand(s, "")
	if err := w.lab.DNS.AddTXT("_mta-sts."+example, "v=STSv1; id=20200101T000000;"); err != nil {
		t.Fatal(err)
	}
	s.reconciler.Wake(example)
	w.await(example, "the record that must go", blockedBy("20200101T000000"))
	w.explains(example, recordOf(first), "20200101T000000")
	if err := w.lab.DNS.SetTXT("_mta-sts."+example, note, recordOf(first)); err != nil {
		t.Fatal(err)
	}
	s.reconciler.Wake(example)
	if d := w.confirmed(example); d.ID != first.ID {
		t.Errorf("confirmed the id %s, and asked to enter %s", d.ID, first.ID)
	}

	w.domains[0].mx = []string{"mx2.mail.test"}
	s.reload()
	second := w.byHand(s, first.ID)
	if err := w.lab.DNS.SetTXT("_mta-sts."+example, recordOf(second)); err != nil {
		t.Fatal(err)
	}
	s.reconciler.Wake(example)
	w.sees(w.confirmedAnew(first))
	if n := len(w.lab.DNS.Updates()); n > 0 {
		t.Errorf("%d updates were sent", n)
	}
	if strings.Contains(s.log.String(), "level=WARN msg=blocked") {
		t.Error("waiting for the operator was logged as a failure")
	}
}

// byHand waits until the operator has to enter another id than before, and
// wants each command to say which.
func (w *world) byHand(s *running, before string) server.DomainStatus {
	w.t.Helper()
	d := w.await(example, "the record by hand", func(d server.DomainStatus) bool {
		return d.Step == state.Proven && d.ID != "" && d.ID != before && d.LastError != ""
	})
	w.explains(example, "entered by hand", "_mta-sts."+example, recordOf(d))
	out := w.stshost("records", example)
	if want := "_mta-sts." + example + `. 300 IN TXT "` + recordOf(d) + `"`; !strings.Contains(out, want) ||
		!strings.Contains(out, "(entered by hand)") || strings.Contains(out, "kept by stshost") {
		w.t.Errorf("records does not show %s, entered by hand:\n%s", want, out)
	}
	if out := w.stshost("records", example, "--json"); !strings.Contains(out, `"managed": false`) || !strings.Contains(out, d.ID) {
		w.t.Errorf("records --json:\n%s", out)
	}
	return d
}
