package acme_test

import (
	"slices"
	"testing"
	"time"

	ari "github.com/mholt/acmez/v3/acme"

	"github.com/stshost/stshost/internal/lab"
)

// Pebble takes a renewal for one, and refuses a second one of the same
// certificate, as after a store was put back from a backup: the order then goes
// out once more without saying what it replaces.
func TestPebbleAlreadyReplaced(t *testing.T) {
	const host = "mta-sts.replaced.example"
	w := newWorld(t, host)
	w.start()
	w.request(host, "")
	w.next(1)
	old, err := w.store.Certificate(t.Context(), host)
	if err != nil {
		t.Fatal(err)
	}
	job, err := w.store.CertJob(t.Context(), host)
	if err != nil {
		t.Fatal(err)
	}
	job.Due, job.AskAt = time.Now(), time.Now().Add(24*time.Hour)
	leaf := leafOf(t, old.PEM)
	for range 2 {
		if err := w.store.FinishCertJob(t.Context(), old, job); err != nil {
			t.Fatal(err)
		}
		w.request(host, "") // wakes the queue
		w.next(1)
		if s := w.status(host); s.Problem != "" || s.Attempts != 0 {
			t.Fatalf("status %+v", s)
		}
		if err := w.ca.Replaced(t.Context(), leaf); err != nil {
			t.Fatal(err)
		}
	}
	id, err := ari.ARIUniqueIdentifier(leaf)
	if err != nil {
		t.Fatal(err)
	}
	want := []lab.OrderRequest{{}, {Replaces: id}, {Replaces: id}, {}}
	if got := w.ca.OrderRequests(host); !slices.Equal(got, want) || w.ca.Issued(host) != 3 {
		t.Errorf("orders %+v, want %+v; %d certificates", got, want, w.ca.Issued(host))
	}
	if s := w.issuer.Stats(); s.Orders != 3 || s.PerCA[0].Issued != 3 {
		t.Errorf("stats %+v", s)
	}
	if err := w.fetch(host); err != nil {
		t.Error(err)
	}
}
