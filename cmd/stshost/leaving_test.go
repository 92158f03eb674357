package main

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stshost/stshost/server"
)

// A domain that is taken out of the config while no server runs goes on being
// served under its certificate, which is renewed, over restarts too: senders hold
// its policy (RFC 8461 §8.3), and the config may be the wrong one. Its record stays
// as it is.
func TestDomainLeavesWhileNoServerRuns(t *testing.T) {
	t.Parallel()
	w := newWorld(t, example, "leaving.test")
	leaving := w.domains[1]
	s := w.start()
	w.confirmed(example)
	before := w.confirmed(leaving.name)
	serial := w.certificate(before.Host)

	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	w.domains = w.domains[:1]
	s = w.start()
	if res := s.reload(); !res.Empty() {
		t.Errorf("reload: %+v", res)
	}
	served := func() server.DomainStatus {
		t.Helper()
		d, err := w.client().Domain(t.Context(), leaving.name)
		if err != nil || d.InConfig || d.Body != before.Body || d.ID != before.ID {
			t.Errorf("status: %+v, %v", d, err)
		}
		w.sees(before)
		return d
	}
	served()
	if got := w.certificate(before.Host); got != serial {
		t.Errorf("certificate %s, want to keep %s", got, serial)
	}
	if out := w.stshost("status"); !strings.Contains(out, "no longer in the config") {
		t.Errorf("status does not say that it left:\n%s", out)
	}
	if out := w.stshost("explain", leaving.name); !strings.Contains(out, "no longer in the config") {
		t.Errorf("explain does not say that it left:\n%s", out)
	}

	// After a restart, at the time of the renewals.
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	w.ahead.Store(int64(80 * 24 * time.Hour))
	s = w.start()
	served()
	d := w.await(leaving.name, "a renewal", func(d server.DomainStatus) bool {
		return w.certificate(before.Host) != serial
	})
	if d.InConfig || w.lab.CA.Issued(before.Host) != 2 {
		t.Errorf("in config: %t, %d certificates", d.InConfig, w.lab.CA.Issued(before.Host))
	}

	// It comes back: nothing new is needed.
	updates := len(w.lab.DNS.Updates())
	w.domains = append(w.domains, leaving)
	if res := s.reload(); !slices.Equal(res.Added, []string{leaving.name}) {
		t.Errorf("reload: %+v", res)
	}
	if d := w.confirmed(leaving.name); d.ID != before.ID || !d.InConfig {
		t.Errorf("came back with the id %s, want %s", d.ID, before.ID)
	}
	if n := len(w.lab.DNS.Updates()) - updates; n != 0 {
		t.Errorf("%d DNS updates when it came back", n)
	}
}

// A domain that leaves before it was ever served is forgotten.
func TestDomainLeavesBeforeItWasServed(t *testing.T) {
	w := newWorld(t, example, "never.test")
	if err := w.lab.DNS.Remove("mta-sts.never.test", "A"); err != nil {
		t.Fatal(err)
	}
	s := w.start()
	w.confirmed(example)
	w.await("never.test", "what is missing", blockedBy("no address"))
	w.domains = w.domains[:1]
	s.reload()
	if all, err := w.client().Domains(t.Context()); err != nil || len(all) != 1 {
		t.Errorf("%d domains are left (%v), want 1", len(all), err)
	}
	if n := w.lab.CA.TotalOrders(); n != 1 {
		t.Errorf("%d orders, want 1", n)
	}
}

// certificate is the serial number of the certificate that host shows.
func (w *world) certificate(host string) string {
	w.t.Helper()
	conn := w.dialTLS(host, "http/1.1")
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0].SerialNumber.Text(16)
}
