package main

import (
	"crypto/tls"
	"io"
	"log"
	"net"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
	"github.com/stshost/stshost/server"
)

// otherIP is an address of this machine that is not stshost's.
const otherIP = "127.0.0.9"

// otherHTTPS serves a policy as some other HTTPS server would, under a good
// certificate, and returns its address.
func (w *world) otherHTTPS(addr, host, policy string) string {
	w.t.Helper()
	cert, err := w.lab.Mail.Issue(time.Time{}, host)
	if err != nil {
		w.t.Fatal(err)
	}
	ln, err := net.Listen("tcp", addr)
	if err != nil {
		w.t.Skipf("this machine does not have the address: %v", err)
	}
	srv := &http.Server{ErrorLog: log.New(io.Discard, "", 0), TLSConfig: &tls.Config{Certificates: []tls.Certificate{cert}}, Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path != mtasts.PolicyPath {
			http.NotFound(rw, r)
			return
		}
		rw.Header().Set("Content-Type", "text/plain")
		rw.Write([]byte(policy))
	})}
	go srv.ServeTLS(ln, "", "")
	w.t.Cleanup(func() { srv.Close() })
	return ln.Addr().String()
}

// A domain that is in enforce at another host moves here: senders must never
// see a weaker mode, and max_age stays.
func TestTakeOverFromAnotherHost(t *testing.T) {
	w := newWorld(t, example)
	host := "mta-sts." + example
	policy := "version: STSv1\r\nmode: enforce\r\nmx: *.mail.test\r\nmax_age: 2419200\r\n"
	w.otherHTTPS(net.JoinHostPort(otherIP, strconv.Itoa(w.lab.HTTPSPort)), host, policy)
	if err := w.lab.DNS.Set(host, "A", otherIP); err != nil {
		t.Fatal(err)
	}
	if err := w.lab.DNS.SetTXT("_mta-sts."+example, "v=STSv1; id=other1;"); err != nil {
		t.Fatal(err)
	}
	if id, got, err := w.reader().Fetch(t.Context(), example); err != nil || id != "other1" || got != policy {
		t.Fatalf("before the move senders see %s, %q, %v", id, got, err)
	}

	s := w.start()
	d := w.await(example, "the other host found", func(d server.DomainStatus) bool { return d.Step == state.WaitingDNS && d.LastError != "" })
	if d.Mode != "enforce" || d.ModeSource != "adopted" {
		t.Errorf("waits in mode %s (%s)", d.Mode, d.ModeSource)
	}
	if n := w.lab.CA.TotalOrders(); n != 0 {
		t.Errorf("%d orders before the host leads here", n)
	}

	if err := w.lab.DNS.Set(host, "A", "127.0.0.1"); err != nil {
		t.Fatal(err)
	}
	s.reconciler.Wake(example)
	d = w.confirmed(example)
	w.sees(d)
	if d.Mode != "enforce" || d.ModeSource != "adopted" || d.MaxAge != 2419200 {
		t.Errorf("took over as mode %s (%s), max_age %d", d.Mode, d.ModeSource, d.MaxAge)
	}

	// It is this installation's now: a change of the MX hosts keeps the mode,
	// a restart too.
	w.domains[0].mx = []string{"mx2.mail.test"}
	s.reload()
	second := w.confirmedAnew(d)
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	w.start()
	for _, d := range []server.DomainStatus{second, w.confirmed(example)} {
		if d.Mode != "enforce" || d.MaxAge != 2419200 || d.ID != second.ID {
			t.Errorf("later: mode %s, max_age %d, id %s", d.Mode, d.MaxAge, d.ID)
		}
	}
}
