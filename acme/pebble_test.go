package acme_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/tls"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stshost/stshost/acme"
	"github.com/stshost/stshost/internal/lab"
	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/store"
)

// world is the real thing on loopback: Pebble, DNS, SQLite, listeners for the
// validations, and an Issuer.
type world struct {
	t       *testing.T
	ca      *lab.CA
	dns     *lab.DNS
	path    string // of the store
	store   *store.Store
	certs   *acme.Certificates
	issuer  *acme.Issuer
	cfg     acme.IssuerConfig
	tlsAddr string
	hosts   map[string]struct{}
	ahead   atomic.Int64 // of the clock, in ns
	changed chan string  // hosts as OnChange names them
	stop    func()       // ends Run and closes the store
	current atomic.Pointer[acme.Certificates]
}

func newWorld(t *testing.T, hosts ...string) *world {
	t.Helper()
	w := &world{t: t, hosts: map[string]struct{}{}, changed: make(chan string, 1000), path: filepath.Join(t.TempDir(), "state", "stshost.db")}
	dns, err := lab.StartDNS(lab.DNSConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dns.Close() })
	w.dns = dns
	if err := dns.AddZone("example."); err != nil {
		t.Fatal(err)
	}
	for _, h := range hosts {
		w.hosts[h] = struct{}{}
		if err := dns.Set(h+".", "A", "127.0.0.1"); err != nil {
			t.Fatal(err)
		}
	}
	tlsPort, httpPort := w.listen()
	w.ca, err = lab.StartCA(lab.CAConfig{DNS: dns, TLSPort: tlsPort, HTTPPort: httpPort})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.ca.Close() })
	client := w.ca.HTTPClient()
	t.Cleanup(client.CloseIdleConnections)
	w.cfg = acme.IssuerConfig{
		CAs: []acme.CA{{Directory: w.ca.DirectoryURL(), HTTPClient: client}}, HTTP01: true, Workers: 4,
		PollInterval: 20 * time.Millisecond, Logger: slog.New(slog.DiscardHandler), Now: w.now,
		OnChange: func(host string) { w.changed <- host },
	}
	return w
}

func (w *world) now() time.Time { return time.Now().Add(time.Duration(w.ahead.Load())) }

// listen serves what a CA and a sender would ask a policy host.
func (w *world) listen() (tlsPort, httpPort int) {
	w.t.Helper()
	tlsServer := &http.Server{
		Handler:  http.NotFoundHandler(),
		ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
		TLSConfig: &tls.Config{NextProtos: []string{"h2", "http/1.1", acme.ALPNProto}, GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
			return w.current.Load().GetCertificate(h)
		}},
	}
	httpServer := &http.Server{Handler: http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		host, _, err := net.SplitHostPort(r.Host)
		if err != nil {
			host = r.Host
		}
		keyAuth, ok := w.current.Load().HTTP01(r.Context(), host, strings.TrimPrefix(r.URL.Path, "/.well-known/acme-challenge/"))
		if !ok {
			http.NotFound(rw, r)
			return
		}
		_, _ = rw.Write([]byte(keyAuth))
	})}
	port := func(server *http.Server, serve func(net.Listener) error) int {
		ln, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			w.t.Fatal(err)
		}
		var serving sync.WaitGroup
		serving.Go(func() { _ = serve(ln) })
		w.t.Cleanup(func() {
			server.Close()
			serving.Wait()
		})
		w.tlsAddr = ln.Addr().String()
		return ln.Addr().(*net.TCPAddr).Port
	}
	httpPort = port(httpServer, httpServer.Serve)
	tlsPort = port(tlsServer, func(ln net.Listener) error { return tlsServer.ServeTLS(ln, "", "") })
	return tlsPort, httpPort
}

// start opens the store and runs an Issuer on it, as a new process does.
func (w *world) start() {
	w.t.Helper()
	var err error
	if w.store, err = store.Open(w.t.Context(), w.path); err != nil {
		w.t.Fatal(err)
	}
	w.certs, err = acme.NewCertificates(acme.CertificatesConfig{Store: w.store, Timeout: 5 * time.Second, Now: w.now})
	if err != nil {
		w.t.Fatal(err)
	}
	w.certs.SetHosts(w.hosts)
	w.current.Store(w.certs)
	w.cfg.Store, w.cfg.Certificates = w.store, w.certs
	if w.issuer, err = acme.NewIssuer(w.cfg); err != nil {
		w.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	issuer := w.issuer
	go func() {
		defer close(done)
		_ = issuer.Run(ctx)
	}()
	st := w.store
	w.stop = sync.OnceFunc(func() {
		cancel()
		<-done
		if err := st.Close(); err != nil {
			w.t.Error(err)
		}
	})
	w.t.Cleanup(w.stop)
}

func (w *world) request(host, challenge string) {
	w.t.Helper()
	if err := w.issuer.Request(w.t.Context(), host, challenge); err != nil {
		w.t.Fatal(err)
	}
}

// next waits for the end of n attempts.
func (w *world) next(n int) {
	w.t.Helper()
	timeout := time.After(time.Minute)
	for range n {
		select {
		case <-w.changed:
		case <-timeout:
			w.t.Fatalf("attempts do not end; %d orders, %+v", w.ca.TotalOrders(), w.issuer.Stats())
		}
	}
}

func (w *world) status(host string) state.CertStatus {
	w.t.Helper()
	status, err := w.issuer.Status(w.t.Context(), host)
	if err != nil {
		w.t.Fatal(err)
	}
	return status
}

// fetch connects as a sender does and checks the certificate.
func (w *world) fetch(host string) error {
	conn, err := tls.Dial("tcp", w.tlsAddr, &tls.Config{ServerName: host, RootCAs: w.ca.IssuerPool()})
	if err != nil {
		return err
	}
	defer conn.Close()
	leaf := conn.ConnectionState().PeerCertificates[0]
	if _, ok := leaf.PublicKey.(*ecdsa.PublicKey); !ok {
		return fmt.Errorf("the certificate's key is a %T", leaf.PublicKey)
	}
	return nil
}

func TestPebbleChallenges(t *testing.T) {
	const viaTLS, viaHTTP = "mta-sts.tls.example", "mta-sts.http.example"
	w := newWorld(t, viaTLS, viaHTTP)
	w.start()
	// Each can be reached by one type only.
	w.ca.FailValidation(viaTLS, acme.HTTP01)
	w.ca.FailValidation(viaHTTP, acme.TLSALPN01)
	w.request(viaTLS, acme.TLSALPN01)
	w.request(viaHTTP, acme.HTTP01)
	w.next(2)
	for _, h := range []string{viaTLS, viaHTTP} {
		if n := w.ca.Orders(h); n != 1 {
			t.Errorf("%d orders for %s", n, h)
		}
		if err := w.fetch(h); err != nil {
			t.Errorf("%s: %v; %+v", h, err, w.status(h))
		}
	}
	if err := w.fetch("mta-sts.stranger.example"); err == nil {
		t.Error("a stranger was served")
	}
	// A second process on the same store has them, and orders nothing.
	w.stop()
	w.start()
	w.request(viaTLS, acme.TLSALPN01)
	w.request(viaHTTP, acme.HTTP01)
	if err := w.fetch(viaHTTP); err != nil {
		t.Error(err)
	}
	if n := w.ca.TotalOrders(); n != 2 {
		t.Errorf("%d orders in all", n)
	}
}

func TestPebbleValidationFails(t *testing.T) {
	const host = "mta-sts.broken.example"
	w := newWorld(t, host)
	undo := w.ca.FailValidation(host)
	w.start()
	challenge := acme.TLSALPN01
	for n, wait := range []time.Duration{time.Minute, 10 * time.Minute} {
		w.request(host, "")
		w.next(1)
		job, err := w.store.CertJob(t.Context(), host)
		if err != nil {
			t.Fatal(err)
		}
		if job.Attempts != n+1 || job.Challenge == challenge || job.Running || job.Problem == "" {
			t.Errorf("after attempt %d: %+v", n+1, job)
		}
		if !strings.Contains(job.Problem, "255.255.255.255") { // where the lab's DNS sends the CA
			t.Errorf("problem %q", job.Problem)
		}
		if got := w.ca.Orders(host); got != n+1 {
			t.Errorf("%d orders in %d attempts", got, n+1)
		}
		if d := job.Due.Sub(job.LastAttempt); d < wait || d > wait+10*time.Second {
			t.Errorf("attempt %d waits %s", n+2, d)
		}
		// A restart forgets nothing.
		w.stop()
		w.start()
		w.request(host, "")
		if again, err := w.store.CertJob(t.Context(), host); err != nil || !again.Due.Equal(job.Due) || again.Attempts != job.Attempts {
			t.Errorf("after a restart: %+v, was %+v; %v", again, job, err)
		}
		challenge = job.Challenge
		w.ahead.Add(int64(wait))
	}
	undo()
	w.request(host, "")
	w.next(1)
	if err := w.fetch(host); err != nil || w.ca.Orders(host) != 3 {
		t.Errorf("%v after %d orders; %+v", err, w.ca.Orders(host), w.status(host))
	}
}

func TestPebbleRateLimitAndOutage(t *testing.T) {
	const host = "mta-sts.limited.example"
	w := newWorld(t, host)
	w.start()
	up := w.ca.Down()
	w.request(host, "")
	w.next(1)
	if s := w.status(host); !strings.Contains(s.Problem, "cannot be reached") || s.Attempts != 0 {
		t.Errorf("status %+v", s)
	}
	up()
	undo := w.ca.RateLimit(time.Hour)
	w.ahead.Add(int64(time.Minute))
	w.request(host, "")
	w.next(1)
	if s := w.status(host); !strings.Contains(s.Problem, "too many new orders") || s.NextTry.Sub(w.now()) < 59*time.Minute {
		t.Errorf("status %+v", s)
	}
	undo()
	w.ahead.Add(int64(time.Hour))
	w.request(host, "")
	w.next(1)
	if err := w.fetch(host); err != nil {
		t.Errorf("%v; %+v", err, w.status(host))
	}
	if n := w.ca.Orders(host); n != 2 { // one refused, one good
		t.Errorf("%d orders", n)
	}
}

// Renewal by the CA's own certificate, two months ahead.
func TestPebbleRenewal(t *testing.T) {
	const host = "mta-sts.renewed.example"
	w := newWorld(t, host)
	w.start()
	w.request(host, "")
	w.next(1)
	first := w.status(host)
	old, err := w.store.Certificate(t.Context(), host)
	if err != nil {
		t.Fatal(err)
	}
	w.ahead.Store(int64(time.Until(first.NextTry) - time.Hour))
	w.request(host, "")
	w.ahead.Add(int64(time.Hour))
	w.request(host, "")
	w.next(1)
	renewed, err := w.store.Certificate(t.Context(), host)
	if err != nil || w.ca.Orders(host) != 2 || bytes.Equal(renewed.PEM, old.PEM) {
		t.Errorf("%d orders; %+v; %v", w.ca.Orders(host), w.status(host), err)
	}
	if err := w.fetch(host); err != nil {
		t.Error(err)
	}
}

// 200 certificates: one newOrder each, no more open than there are workers.
func TestPebbleMany(t *testing.T) {
	n, workers := 200, 16
	if testing.Short() {
		n = 40
	}
	var hosts []string
	for k := range n {
		hosts = append(hosts, fmt.Sprintf("mta-sts.h%03d.example", k))
	}
	w := newWorld(t, hosts...)
	w.cfg.Workers = workers
	w.start()
	began := time.Now()
	for k, h := range hosts {
		w.request(h, []string{acme.TLSALPN01, acme.HTTP01}[k%2])
	}
	w.next(n)
	t.Logf("%d certificates in %s", n, time.Since(began))
	for _, h := range hosts {
		if w.ca.Orders(h) != 1 || w.ca.Issued(h) != 1 {
			t.Errorf("%s: %d orders, %d issued; %+v", h, w.ca.Orders(h), w.ca.Issued(h), w.status(h))
		}
	}
	if peak := w.ca.PeakOrders(); peak > workers {
		t.Errorf("%d orders open at once with %d workers", peak, workers)
	}
	if err := w.fetch(hosts[n-1]); err != nil {
		t.Error(err)
	}
}
