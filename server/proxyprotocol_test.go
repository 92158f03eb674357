package server_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/pires/go-proxyproto"

	"github.com/stshost/stshost/mtasts"
	"github.com/stshost/stshost/server"
)

// header is a PROXY protocol header for a client.
func header(t *testing.T, version byte, client string) []byte {
	t.Helper()
	src := net.TCPAddrFromAddrPort(netip.MustParseAddrPort(client))
	dst := &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 443}
	if src.IP.To4() == nil {
		dst.IP = net.IPv6loopback
	}
	b, err := proxyproto.HeaderProxyFromAddrs(version, src, dst).Format()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// say connects to addr, begins with preface, and makes a request over TLS or
// without.
func (w *world) say(t *testing.T, addr string, preface []byte, secure bool) (*http.Response, error) {
	t.Helper()
	c, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.SetDeadline(time.Now().Add(20 * time.Second))
	if _, err := c.Write(preface); err != nil {
		return nil, err
	}
	path := "/.well-known/stshost/x"
	if secure {
		tc := tls.Client(c, &tls.Config{RootCAs: w.ca.roots, ServerName: "mta-sts.a.example"})
		if err := tc.Handshake(); err != nil {
			return nil, err
		}
		c, path = tc, mtasts.PolicyPath
	}
	if _, err := io.WriteString(c, "GET "+path+" HTTP/1.1\r\nHost: mta-sts.a.example\r\nConnection: close\r\n\r\n"); err != nil {
		return nil, err
	}
	return http.ReadResponse(bufio.NewReader(c), nil)
}

func TestProxyProtocol(t *testing.T) {
	w := start(t, func(c *server.Config) {
		c.ProxyProtocol = loopback
		c.Probe = func(string, string) string { return "token" }
	})
	local := []byte(string(proxyproto.SIGV2) + "\x20\x00\x00\x00")
	for _, tc := range []struct {
		name    string
		preface []byte
		remote  string // in the fetch log; "" if the connection is to be closed
	}{
		{"version 1", header(t, 1, "203.0.113.7:4711"), "203.0.113.7:4711"},
		{"version 1, IPv6", header(t, 1, "[2001:db8::7]:4711"), "[2001:db8::7]:4711"},
		{"version 2", header(t, 2, "203.0.113.7:4711"), "203.0.113.7:4711"},
		{"version 2, IPv6", header(t, 2, "[2001:db8::7]:4711"), "[2001:db8::7]:4711"},
		{"UNKNOWN", []byte("PROXY UNKNOWN\r\n"), "127.0.0.1:"},
		{"LOCAL", local, "127.0.0.1:"},
		{"none", nil, ""},
		{"broken", []byte("PROXY TCP4 nonsense\r\n"), ""},
		{"too long", []byte("PROXY " + strings.Repeat("x", 300)), ""},
		{"two", append(header(t, 1, "203.0.113.7:4711"), header(t, 1, "203.0.113.8:4711")...), ""},
	} {
		for _, secure := range []bool{true, false} {
			t.Run(tc.name+map[bool]string{true: " https", false: " http"}[secure], func(t *testing.T) {
				addr := w.http
				if secure {
					addr = w.https
				}
				resp, err := w.say(t, addr, tc.preface, secure)
				if ok := err == nil && resp.StatusCode == 200; ok != (tc.remote != "") {
					t.Fatalf("answer %v, error %v", resp, err)
				}
				if tc.remote != "" && secure {
					if got := w.Fetches("mta-sts.a.example").Recent[0].Remote; !strings.HasPrefix(got, tc.remote) {
						t.Errorf("the fetch log has %s, want %s", got, tc.remote)
					}
				}
			})
		}
	}
}

// Whoever is not listed is a client: its header is not believed.
func TestProxyProtocolOfStrangers(t *testing.T) {
	w := start(t, func(c *server.Config) { c.ProxyProtocol = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")} })
	if _, err := w.say(t, w.https, header(t, 2, "203.0.113.7:4711"), true); err == nil {
		t.Error("a stranger's header was taken")
	}
	resp, err := w.say(t, w.https, nil, true)
	if err != nil || resp.StatusCode != 200 {
		t.Fatalf("a client without header: %v, %v", resp, err)
	}
	if got := w.Fetches("mta-sts.a.example").Recent[0].Remote; !strings.HasPrefix(got, "127.0.0.1:") {
		t.Errorf("the fetch log has %s", got)
	}
}

// A failed handshake is told with the client's address, not the balancer's.
func TestFailedHandshakeBehindBalancer(t *testing.T) {
	w := start(t, func(c *server.Config) { c.ProxyProtocol = loopback })
	c, err := net.Dial("tcp", w.https)
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	c.Write(header(t, 2, "203.0.113.7:4711"))
	if err := tls.Client(c, &tls.Config{ServerName: "mta-sts.a.example"}).Handshake(); err == nil { // knows no such root
		t.Fatal("the handshake succeeded")
	}
	for deadline := time.Now().Add(20 * time.Second); ; {
		if f := w.Fetches("mta-sts.a.example").RecentFailures; len(f) > 0 {
			if f[0].Remote != "203.0.113.7:4711" {
				t.Errorf("the fetch log has %s", f[0].Remote)
			}
			return
		}
		if time.Now().After(deadline) {
			t.Fatal("no failed handshake was noted")
		}
	}
}

// lockedBuffer is a log for many goroutines.
type lockedBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *lockedBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *lockedBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}

// from is a connection with a peer that is an IP address, in memory.
type from struct {
	net.Conn
	peer net.Addr
}

func (f from) RemoteAddr() net.Addr { return f.peer }

// fromListener gives every connection the same peer.
type fromListener struct {
	*pipes
	peer net.Addr
}

func (l fromListener) Accept() (net.Conn, error) {
	c, err := l.pipes.Accept()
	if err != nil {
		return nil, err
	}
	return from{c, l.peer}, nil
}

// TestSilentBalancer: connections of a balancer that say nothing are closed after
// 5 seconds, and hold up nobody; one that hangs up at once is a health check, and
// no news. In fake time.
func TestSilentBalancer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log lockedBuffer
		policies := server.NewPolicies()
		policies.Set("a.example", []byte(policyA))
		s := newServer(t, server.Config{Policies: policies, ProxyProtocol: loopback,
			Probe:  func(string, string) string { return "token" },
			Logger: slog.New(slog.NewTextHandler(&log, nil))})
		ln := fromListener{newPipes(), &net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: 1000}}
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.ServeHTTP(ctx, ln) }()
		begun := time.Now()

		ln.dial().Close() // a health check
		silent := ln.dial()
		half := ln.dial()
		half.Write(proxyproto.SIGV2[:7])
		c := ln.dial()
		c.Write(header(t, 1, "203.0.113.7:4711"))
		io.WriteString(c, "GET /.well-known/stshost/x HTTP/1.1\r\nHost: mta-sts.a.example\r\n\r\n")
		resp, err := http.ReadResponse(bufio.NewReader(c), nil)
		if err != nil || resp.StatusCode != 200 {
			t.Fatalf("answer %v, error %v", resp, err)
		}
		if took := time.Since(begun); took > 0 {
			t.Errorf("the silent ones held it up for %s", took)
		}
		synctest.Wait()
		if log.String() != "" {
			t.Errorf("a health check was news:\n%s", log.String())
		}
		for _, c := range []net.Conn{silent, half} {
			if _, err := c.Read(make([]byte, 1)); !errors.Is(err, io.EOF) {
				t.Errorf("a silent connection ended with %v", err)
			}
		}
		synctest.Wait()
		if took := time.Since(begun); took != 5*time.Second {
			t.Errorf("the silent ones were closed after %s", took)
		}
		if n := strings.Count(log.String(), "proxy_protocol"); n != 1 {
			t.Errorf("logged %d times, want once:\n%s", n, log.String())
		}
		// A stop does not wait for one that is silent.
		ln.dial()
		synctest.Wait()
		begun = time.Now()
		cancel()
		if err := <-done; err != nil || time.Since(begun) > time.Second {
			t.Errorf("stopped after %s with %v", time.Since(begun), err)
		}
	})
}
