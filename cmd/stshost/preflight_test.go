package main

import (
	"net"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/server"
)

// Before the first order: does the host lead here? If not, explain says what
// DNS has and what it should have, and the CA hears nothing of it.
func TestHostWithoutAddress(t *testing.T) {
	w := newWorld(t, example)
	host := "mta-sts." + example
	if err := w.lab.DNS.Remove(host, "A"); err != nil {
		t.Fatal(err)
	}
	s := w.start()
	d := w.await(example, "what is missing", blockedBy("has no address in DNS"))
	if d.Step != state.WaitingDNS {
		t.Errorf("step %s", d.Step)
	}
	w.explains(example, host+" has no address in DNS", "add an A or AAAA record for "+host)

	// However long it takes: no CA could do anything with it.
	s.looksAfter(time.Hour)
	if n := w.lab.CA.TotalOrders(); n != 0 {
		t.Errorf("%d orders", n)
	}
	w.ahead.Store(0)
	if err := w.lab.DNS.Set(host, "A", "127.0.0.1"); err != nil {
		t.Fatal(err)
	}
	s.reconciler.Wake(example)
	w.sees(w.confirmed(example))
}

func TestHostLeadsToAnotherServer(t *testing.T) {
	w := newWorld(t, example)
	host := "mta-sts." + example
	w.otherHTTP(otherIP)
	if err := w.lab.DNS.Set(host, "A", otherIP); err != nil {
		t.Fatal(err)
	}
	s := w.start()
	w.await(example, "the other server", blockedBy("another server"))
	w.explains(example, host+" does not lead to this server", otherIP, "it is another server (HTTP status 200)",
		"let every A and AAAA record of "+host+" lead to this server")
	s.looksAfter(14 * time.Minute)
	if n := w.lab.CA.TotalOrders(); n != 0 {
		t.Errorf("%d orders before 15 minutes were over", n)
	}

	// Our view may be the odd one: then one order is tried all the same.
	s.pass(2*time.Minute, example)
	d := w.await(example, "the CA's view", func(d server.DomainStatus) bool { return d.CertificateProblem != "" })
	if n := w.lab.CA.TotalOrders(); n != 1 || !strings.Contains(d.CertificateProblem, otherIP) {
		t.Errorf("%d orders, and the CA says %q", n, d.CertificateProblem)
	}
}

// An AAAA record that leads elsewhere hides behind a good A record. It is
// named before the first order, and if it is made later, too.
func TestIPv6LeadsElsewhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t, example)
	host := "mta-sts." + example
	w.otherHTTP("::1")
	if err := w.lab.DNS.Set(host, "AAAA", "::1"); err != nil {
		t.Fatal(err)
	}
	s := w.start()
	d := w.await(example, "the other server", blockedBy("IPv6"))
	if d.Step != state.WaitingDNS || w.lab.CA.TotalOrders() != 0 {
		t.Errorf("step %s, %d orders", d.Step, w.lab.CA.TotalOrders())
	}
	w.explains(example, "IPv6 [::1]:", "it is another server", "AAAA")

	if err := w.lab.DNS.Remove(host, "AAAA"); err != nil {
		t.Fatal(err)
	}
	s.reconciler.Wake(example)
	before := w.confirmed(example)
	if before.Proof != "IPv4 ok" {
		t.Errorf("the proof is %q", before.Proof)
	}

	w.otherHTTPS(net.JoinHostPort("::1", strconv.Itoa(w.lab.HTTPSPort)), host, "version: STSv1\nmode: none\nmax_age: 86400\n")
	if err := w.lab.DNS.Set(host, "AAAA", "::1"); err != nil {
		t.Fatal(err)
	}
	s.reconciler.Wake(example)
	d = w.await(example, "the other policy", blockedBy("IPv6"))
	w.explains(example, "IPv6 [::1]:", "another policy")
	if d.ID != before.ID || d.Body != before.Body {
		t.Errorf("the id became %s", d.ID)
	}
}

// looksAfter lets d pass on stshost's clock and waits until it has looked at
// the example.
func (r *running) looksAfter(d time.Duration) {
	r.w.t.Helper()
	r.w.ahead.Add(int64(d))
	began := r.w.now()
	r.reconciler.Wake(example)
	r.w.await(example, "a look", func(d server.DomainStatus) bool { return d.LastRun.After(began) })
}

// otherHTTP answers everything on port 80 of another address, as the server
// of a hoster does.
func (w *world) otherHTTP(ip string) {
	w.t.Helper()
	ln, err := net.Listen("tcp", net.JoinHostPort(ip, strconv.Itoa(w.lab.HTTPPort)))
	if err != nil {
		w.t.Skipf("this machine does not have the address %s: %v", ip, err)
	}
	srv := &http.Server{Handler: http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Write([]byte("<h1>Welcome</h1>"))
	})}
	go srv.Serve(ln)
	w.t.Cleanup(func() { srv.Close() })
}
