package lab_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"

	"github.com/stshost/stshost/internal/lab"
)

// site is what stands on the two ports that the CA validates: autocert.
type site struct {
	*lab.Lab
	manager *autocert.Manager
}

// startSite starts a lab with a domain and autocert on the lab's ports. With
// http01 only port 80 answers.
func startSite(t *testing.T, http01 bool, cfg lab.Config) *site {
	t.Helper()
	cfg.Domains = append(cfg.Domains, "example.test")
	if cfg.PollInterval == 0 {
		cfg.PollInterval = 10 * time.Millisecond
	}
	l, err := lab.Start(t.Context(), cfg)
	must(t, err)
	s := &site{Lab: l, manager: &autocert.Manager{
		Prompt:     autocert.AcceptTOS,
		HostPolicy: func(context.Context, string) error { return nil },
		Client: &acme.Client{
			DirectoryURL: l.CA.DirectoryURL(),
			HTTPClient:   l.CA.HTTPClient(),
			RetryBackoff: func(int, *http.Request, *http.Response) time.Duration { return -1 },
		},
	}}
	if http01 {
		ln, err := net.Listen("tcp", l.HTTPAddr)
		must(t, err)
		srv := &http.Server{Handler: s.manager.HTTPHandler(nil)}
		go srv.Serve(ln)
		t.Cleanup(func() { srv.Close() })
	} else {
		ln, err := tls.Listen("tcp", l.HTTPSAddr, s.manager.TLSConfig())
		must(t, err)
		go func() {
			for {
				conn, err := ln.Accept()
				if err != nil {
					return
				}
				go func() { defer conn.Close(); _ = conn.(*tls.Conn).Handshake() }()
			}
		}()
		t.Cleanup(func() { ln.Close() })
	}
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return s
}

// issue asks autocert for a certificate, as a modern client's hello does.
func (s *site) issue(host string) (*tls.Certificate, error) {
	return s.manager.GetCertificate(&tls.ClientHelloInfo{
		ServerName:        host,
		CipherSuites:      []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256},
		SupportedCurves:   []tls.CurveID{tls.CurveP256},
		SignatureSchemes:  []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256},
		SupportedVersions: []uint16{tls.VersionTLS12},
	})
}

func TestIssue(t *testing.T) {
	const host = "mta-sts.example.test"
	for name, http01 := range map[string]bool{"tls-alpn-01": false, "http-01": true} {
		t.Run(name, func(t *testing.T) {
			s := startSite(t, http01, lab.Config{CertLifetime: 6 * 24 * time.Hour})
			if http01 {
				// autocert tries tls-alpn-01 first, and nothing listens there.
				defer s.CA.FailValidation(host, "tls-alpn-01")()
			}
			start := time.Now()
			cert, err := s.issue(host)
			if err != nil {
				t.Fatal(err)
			}
			t.Logf("issued in %v", time.Since(start))
			if _, err := cert.Leaf.Verify(x509.VerifyOptions{
				DNSName: host, Roots: s.CA.IssuerPool(), Intermediates: intermediates(t, cert),
			}); err != nil {
				t.Error(err)
			}
			if life := cert.Leaf.NotAfter.Sub(cert.Leaf.NotBefore).Round(time.Minute); life != 6*24*time.Hour {
				t.Errorf("certificate lives for %v, want 6 days", life)
			}
			want := 1
			if http01 {
				want = 2 // one for the type that fails
			}
			if got := s.CA.Orders(host); got != want || s.CA.TotalOrders() != want {
				t.Errorf("%d orders for the host, %d in all, want %d", got, s.CA.TotalOrders(), want)
			}
			if s.CA.Issued(host) != 1 || s.CA.OpenOrders() != 0 || s.CA.PeakOrders() != 1 {
				t.Errorf("issued %d, open %d, peak %d; want 1, 0, 1",
					s.CA.Issued(host), s.CA.OpenOrders(), s.CA.PeakOrders())
			}
		})
	}
}

func intermediates(t *testing.T, cert *tls.Certificate) *x509.CertPool {
	t.Helper()
	pool := x509.NewCertPool()
	for _, der := range cert.Certificate[1:] {
		c, err := x509.ParseCertificate(der)
		must(t, err)
		pool.AddCert(c)
	}
	return pool
}

func TestValidationIsReal(t *testing.T) {
	s := startSite(t, false, lab.Config{})
	must(t, s.DNS.Remove("mta-sts.example.test", "A"))
	if _, err := s.issue("mta-sts.example.test"); err == nil {
		t.Fatal("issued for a host without an address")
	}
	if got := s.CA.Issued("mta-sts.example.test"); got != 0 {
		t.Errorf("issued %d, want none", got)
	}
	// autocert opens one more order before it gives up, and deactivates its
	// authorization in the background.
	waitFor(t, func() bool { return s.CA.OpenOrders() == 0 })
}

// account is an ACME client with an account of its own.
func account(t *testing.T, ca *lab.CA) *acme.Client {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	must(t, err)
	c := &acme.Client{
		Key:          key,
		DirectoryURL: ca.DirectoryURL(),
		HTTPClient:   ca.HTTPClient(),
		RetryBackoff: func(int, *http.Request, *http.Response) time.Duration { return -1 },
	}
	_, err = c.Register(t.Context(), new(acme.Account), acme.AcceptTOS)
	must(t, err)
	return c
}

func startLab(t *testing.T, cfg lab.Config) *lab.Lab {
	t.Helper()
	l, err := lab.Start(t.Context(), cfg)
	must(t, err)
	t.Cleanup(func() {
		if err := l.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	return l
}

func TestCAFaults(t *testing.T) {
	l := startLab(t, lab.Config{Domains: []string{"example.test"}})
	c := account(t, l.CA)
	ctx := t.Context()
	const host = "mta-sts.example.test"
	order := func() error {
		_, err := c.AuthorizeOrder(ctx, acme.DomainIDs(host))
		return err
	}

	undo := l.CA.RateLimit(90 * time.Minute)
	err := order()
	if wait, ok := acme.RateLimit(err); !ok || wait != 90*time.Minute {
		t.Errorf("rate limit: %v (wait %v), want 90 m", err, wait)
	}
	var problem *acme.Error
	if !errors.As(err, &problem) || problem.StatusCode != 429 || !strings.Contains(problem.Detail, "too many new orders") {
		t.Errorf("rate limit: %#v", err)
	}
	undo()

	up := l.CA.Down()
	if err := order(); err == nil || errors.As(err, &problem) && problem.StatusCode == 200 {
		t.Errorf("while down: %v", err)
	}
	up()

	l.CA.Fail(lab.CAFault{Request: lab.NewOrder, Status: http.StatusServiceUnavailable, Detail: "maintenance", Times: 1})
	if err := order(); err == nil || !strings.Contains(err.Error(), "maintenance") {
		t.Errorf("503: %v", err)
	}
	undo = l.CA.Fail(lab.CAFault{Request: lab.NewOrder, Host: "other.example.test", Status: 500})
	if err := order(); err != nil {
		t.Errorf("after the faults, and with one for another host: %v", err)
	}
	undo()

	// A request that hangs goes on when the fault is undone.
	before := l.CA.TotalOrders()
	undo = l.CA.Fail(lab.CAFault{Request: lab.NewOrder, Hang: true})
	result := make(chan error, 1)
	go func() { result <- order() }()
	waitFor(t, func() bool { return l.CA.TotalOrders() == before+1 })
	if l.CA.OpenOrders() == 0 {
		t.Error("an order that hangs does not count as open")
	}
	select {
	case err := <-result:
		t.Errorf("order did not hang: %v", err)
	default:
	}
	undo()
	if err := <-result; err != nil {
		t.Errorf("after the hang: %v", err)
	}
}

// waitFor polls for something that the lab only counts.
func waitFor(t *testing.T, ok func() bool) {
	t.Helper()
	deadline := time.After(10 * time.Second)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatal("it did not happen within 10 s")
		}
	}
}

func TestFailValidation(t *testing.T) {
	s := startSite(t, false, lab.Config{})
	const host = "mta-sts.example.test"
	c := account(t, s.CA)
	try := func() error {
		o, err := c.AuthorizeOrder(t.Context(), acme.DomainIDs(host))
		must(t, err)
		z, err := c.GetAuthorization(t.Context(), o.AuthzURLs[0])
		must(t, err)
		for _, ch := range z.Challenges {
			if ch.Type == "http-01" {
				_, err := c.Accept(t.Context(), ch)
				must(t, err)
			}
		}
		_, err = c.WaitAuthorization(t.Context(), z.URI)
		return err
	}
	undo := s.CA.FailValidation(host)
	err := try()
	var authz *acme.AuthorizationError
	if !errors.As(err, &authz) {
		t.Fatalf("validation: %v, want an authorization error", err)
	}
	if !strings.Contains(err.Error(), "255.255.255.255") {
		t.Errorf("the CA's reason is %v", err)
	}
	if s.CA.OpenOrders() != 0 {
		t.Errorf("%d orders open after the failure", s.CA.OpenOrders())
	}
	undo()
	if _, err := s.issue(host); err != nil {
		t.Errorf("after undo: %v", err)
	}
}

func TestManyCertificates(t *testing.T) {
	s := startSite(t, false, lab.Config{})
	var wg sync.WaitGroup
	start := time.Now()
	slots := make(chan struct{}, 8)
	for i := range 40 {
		host := fmt.Sprintf("mta-sts%d.example.test", i)
		must(t, s.DNS.Set(host, "A", "127.0.0.1"))
		wg.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			if _, err := s.issue(host); err != nil {
				t.Errorf("%s: %v", host, err)
			}
		})
	}
	wg.Wait()
	t.Logf("40 certificates in %v", time.Since(start))
	if s.CA.TotalOrders() != 40 || s.CA.PeakOrders() > 8 || s.CA.OpenOrders() != 0 {
		t.Errorf("orders %d, peak %d, open %d; want 40, at most 8, 0",
			s.CA.TotalOrders(), s.CA.PeakOrders(), s.CA.OpenOrders())
	}
}

func TestPebbleEnvironmentIsPutBack(t *testing.T) {
	t.Setenv("PEBBLE_WFE_NONCEREJECT", "33")
	startLab(t, lab.Config{})
	if got := os.Getenv("PEBBLE_WFE_NONCEREJECT"); got != "33" {
		t.Errorf("PEBBLE_WFE_NONCEREJECT = %q after the start, want 33", got)
	}
	if got, ok := os.LookupEnv("PEBBLE_VA_NOSLEEP"); ok {
		t.Errorf("PEBBLE_VA_NOSLEEP = %q is left", got)
	}
}
