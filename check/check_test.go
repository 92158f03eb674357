package check

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stshost/stshost/internal/lab"
	"github.com/stshost/stshost/internal/resolver"
	"github.com/stshost/stshost/internal/state"
)

const (
	domain = "example.test"
	host   = "mta-sts.example.test"
	body   = "version: STSv1\r\nmode: testing\r\nmx: mx.example.test\r\nmax_age: 604800\r\n"
)

// setUp returns a Prober in a small world: DNS with a zone for the domain, and
// a root that issues.
func setUp(t *testing.T) (*lab.DNS, *lab.Root, Config) {
	t.Helper()
	dns, err := lab.StartDNS(lab.DNSConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { dns.Close() })
	if err := dns.AddZone(domain); err != nil {
		t.Fatal(err)
	}
	root, err := lab.NewRoot("Test Root")
	if err != nil {
		t.Fatal(err)
	}
	res, err := resolver.New(resolver.Config{Servers: []string{dns.Addr()}, Timeout: time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return dns, root, Config{Resolver: res, Roots: root.Pool()}
}

func set(t *testing.T, dns *lab.DNS, name, typ string, data ...string) {
	t.Helper()
	if err := dns.Set(name, typ, data...); err != nil {
		t.Fatal(err)
	}
}

// serveTLS serves h under a certificate for the given names and returns the
// port.
func serveTLS(t *testing.T, cert tls.Certificate, maxVersion uint16, h http.HandlerFunc) int {
	t.Helper()
	s := httptest.NewUnstartedServer(h)
	s.TLS = &tls.Config{Certificates: []tls.Certificate{cert}, MaxVersion: maxVersion, MinVersion: tls.VersionTLS10}
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.StartTLS()
	t.Cleanup(s.Close)
	return portNumber(t, s.Listener)
}

func portNumber(t *testing.T, ln net.Listener) int {
	t.Helper()
	return int(netip.MustParseAddrPort(ln.Addr().String()).Port())
}

func plain(w http.ResponseWriter, _ *http.Request) {
	w.Header().Set("Content-Type", "text/plain; charset=utf-8")
	io.WriteString(w, body)
}

// What a sender refuses is refused, and said (RFC 8461 §3.3).
func TestFetchPolicy(t *testing.T) {
	for name, c := range map[string]struct {
		names  []string  // of the certificate; nil: the policy host
		until  time.Time // its expiry; zero: far
		max    uint16    // highest TLS version
		handle http.HandlerFunc
		want   string // part of the error; "" is success
	}{
		"right":    {handle: plain},
		"wildcard": {names: []string{"*.example.test"}, handle: plain},
		"parameters": {handle: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "Text/Plain; x=y")
			io.WriteString(w, body)
		}},
		"redirect": {handle: func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "https://other.test/", http.StatusMovedPermanently)
		}, want: "redirect to https://other.test/"},
		"not found": {handle: http.NotFound, want: "404"},
		"created": {handle: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			w.WriteHeader(201)
		}, want: "201"},
		"html": {handle: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/html")
			io.WriteString(w, body)
		}, want: `"text/html"`},
		"no media type": {handle: func(w http.ResponseWriter, r *http.Request) {
			w.Header()["Content-Type"] = nil
			io.WriteString(w, body)
		}, want: "media type"},
		"too large": {handle: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			io.WriteString(w, strings.Repeat("x", 64<<10+1))
		}, want: "65536"},
		"as large as may be": {handle: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			io.WriteString(w, strings.Repeat("x", 64<<10))
		}},
		"other name": {names: []string{"www.example.test"}, handle: plain, want: "certificate is valid for www.example.test"},
		"two labels": {names: []string{"*.test"}, handle: plain, want: "certificate is valid for *.test"},
		"expired":    {until: time.Now().Add(-time.Hour), handle: plain, want: "expired"},
		"TLS 1.1":    {max: tls.VersionTLS11, handle: plain, want: "protocol version"},
		"broken off": {handle: func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Type", "text/plain")
			w.Header().Set("Content-Length", "1000")
			io.WriteString(w, body)
		}, want: "broke off"},
	} {
		t.Run(name, func(t *testing.T) {
			dns, root, cfg := setUp(t)
			set(t, dns, host, "A", "127.0.0.1")
			names := c.names
			if names == nil {
				names = []string{host}
			}
			cert, err := root.Issue(c.until, names...)
			if err != nil {
				t.Fatal(err)
			}
			cfg.HTTPSPort = serveTLS(t, cert, c.max, c.handle)
			fetches, err := New(cfg).FetchPolicy(t.Context(), domain)
			if err != nil || len(fetches) != 1 {
				t.Fatalf("%d fetches, %v", len(fetches), err)
			}
			f := fetches[0]
			switch {
			case c.want == "" && (f.Err != nil || len(f.Body) == 0 || f.Family != "IPv4"):
				t.Errorf("fetch = %+v, want success", f)
			case c.want != "" && (f.Err == nil || !strings.Contains(f.Err.Error(), c.want) || f.Body != nil):
				t.Errorf("error %v, body %q; want an error with %q", f.Err, f.Body, c.want)
			}
		})
	}
}

func TestFetchPolicyFromAnUntrustedCA(t *testing.T) {
	dns, _, cfg := setUp(t)
	set(t, dns, host, "A", "127.0.0.1")
	other, err := lab.NewRoot("Other Root")
	if err != nil {
		t.Fatal(err)
	}
	cert, err := other.Issue(time.Time{}, host)
	if err != nil {
		t.Fatal(err)
	}
	cfg.HTTPSPort = serveTLS(t, cert, 0, plain)
	fetches, err := New(cfg).FetchPolicy(t.Context(), domain)
	if err != nil || len(fetches) != 1 || fetches[0].Err == nil || !strings.Contains(fetches[0].Err.Error(), "unknown authority") {
		t.Errorf("fetches %+v, %v", fetches, err)
	}
}

// Each address counts: a good one does not hide a bad one.
func TestEachAddressApart(t *testing.T) {
	dns, root, cfg := setUp(t)
	set(t, dns, host, "A", "127.0.0.1", "127.0.0.9")
	set(t, dns, host, "AAAA", "2001:db8::1")
	cert, err := root.Issue(time.Time{}, host)
	if err != nil {
		t.Fatal(err)
	}
	cfg.HTTPSPort = serveTLS(t, cert, 0, plain) // on 127.0.0.1 alone
	// A network without IPv6, whatever this machine has.
	cfg.Route = func(a netip.Addr) error {
		if a.Is6() {
			return errors.New("no IPv6 route from this machine")
		}
		return nil
	}
	fetches, err := New(cfg).FetchPolicy(t.Context(), domain)
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]state.Fetch{}
	for _, f := range fetches {
		got[f.Address] = f
	}
	port := strconv.Itoa(cfg.HTTPSPort)
	if f := got["127.0.0.1:"+port]; f.Err != nil || string(f.Body) != body {
		t.Errorf("the good address: %+v", f)
	}
	if f := got["127.0.0.9:"+port]; f.Err == nil {
		t.Errorf("the bad address: %+v", f)
	}
	if f := got["[2001:db8::1]:"+port]; f.Skipped == "" || f.Err != nil || f.Family != "IPv6" {
		t.Errorf("the family without a route: %+v", f)
	}
}

func TestVia(t *testing.T) {
	dns, root, cfg := setUp(t)
	set(t, dns, host, "A", "192.0.2.1") // not reachable from here
	cert, err := root.Issue(time.Time{}, host)
	if err != nil {
		t.Fatal(err)
	}
	cfg.Via = net.JoinHostPort("127.0.0.1", strconv.Itoa(serveTLS(t, cert, 0, plain)))
	p := New(cfg)
	fetches, err := p.FetchBack(t.Context(), domain)
	if err != nil || len(fetches) != 1 || fetches[0].Err != nil || fetches[0].Family != "via "+cfg.Via {
		t.Errorf("fetches %+v, %v", fetches, err)
	}
	// Who else is out there is another question, which via does not answer.
	cfg.Route = func(netip.Addr) error { return errors.New("no route") }
	fetches, err = New(cfg).FetchPolicy(t.Context(), domain)
	if err != nil || len(fetches) != 1 || fetches[0].Skipped == "" || fetches[0].Body != nil {
		t.Errorf("fetches %+v, %v", fetches, err)
	}
}

func TestNoAddress(t *testing.T) {
	_, _, cfg := setUp(t)
	_, err := New(cfg).FetchPolicy(t.Context(), domain)
	var he *HostError
	if !errors.As(err, &he) || !he.NoAddress() || !strings.Contains(err.Error(), host) {
		t.Errorf("error %v", err)
	}
}

func TestReach(t *testing.T) {
	dns, _, cfg := setUp(t)
	set(t, dns, host, "A", "127.0.0.1")
	ours := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Host != host || r.URL.Path != "/probe" {
			http.NotFound(w, r)
			return
		}
		io.WriteString(w, "token\n")
	}))
	t.Cleanup(ours.Close)
	cfg.HTTPPort = portNumber(t, ours.Listener)
	for path, want := range map[string]string{"/probe": "", "/other": "another server (HTTP status 404)"} {
		fetches, err := New(cfg).Reach(t.Context(), host, path, "token")
		if err != nil || len(fetches) != 1 {
			t.Fatalf("%s: %d fetches, %v", path, len(fetches), err)
		}
		if err := fetches[0].Err; (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%s: error %v, want %q", path, err, want)
		}
	}
}

func TestRecord(t *testing.T) {
	dns, _, cfg := setUp(t)
	p := New(cfg)
	if txts, err := p.Record(t.Context(), domain); err != nil || len(txts) != 0 {
		t.Errorf("no record: %q, %v", txts, err)
	}
	if err := dns.SetTXT("_mta-sts."+domain, "v=STSv1; id=1;"); err != nil {
		t.Fatal(err)
	}
	if txts, err := p.Record(t.Context(), domain); err != nil || len(txts) != 1 || txts[0] != "v=STSv1; id=1;" {
		t.Errorf("one record: %q, %v", txts, err)
	}
	undo := dns.Fail(lab.DNSFault{Rcode: 2 /* SERVFAIL */})
	defer undo()
	if _, err := p.Record(t.Context(), domain); err == nil {
		t.Error("a server failure passes for no record")
	}
}

func TestCancelledAtOnce(t *testing.T) {
	dns, _, cfg := setUp(t)
	set(t, dns, host, "A", "127.0.0.1")
	ln, err := net.Listen("tcp", "127.0.0.1:0") // accepts, never answers
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	cfg.HTTPSPort = portNumber(t, ln)
	ctx, cancel := context.WithCancel(t.Context())
	connected := make(chan struct{})
	go func() {
		if conn, err := ln.Accept(); err == nil {
			defer conn.Close()
			close(connected)
			<-ctx.Done()
		}
	}()
	go func() { <-connected; cancel() }()
	fetches, err := New(cfg).FetchPolicy(ctx, domain)
	if err != nil || len(fetches) != 1 || !errors.Is(fetches[0].Err, context.Canceled) {
		t.Errorf("fetches %+v, %v", fetches, err)
	}
}
