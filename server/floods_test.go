package server_test

import (
	"context"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/stshost/stshost/internal/flood"
	"github.com/stshost/stshost/mtasts"
	"github.com/stshost/stshost/server"
)

// TestFloods is the small form of the campaign in cmd/stshost: with every place
// taken by clients that mean ill, four for each place, an honest one is served
// each time, and when they are gone nothing of them is left.
func TestFloods(t *testing.T) {
	w := start(t, func(c *server.Config) { c.MaxConnections = 8 })
	honest := flood.Target{HTTPS: w.https, HTTP: w.http, Host: "mta-sts.a.example", Path: mtasts.PolicyPath, Roots: w.ca.roots}
	ill := honest
	ill.From = func() netip.Addr { return netip.AddrFrom4([4]byte{127, 0, 0, 2}) }
	for _, a := range flood.Attacks() {
		t.Run(a.Name, func(t *testing.T) {
			if err := flood.Fetch(t.Context(), honest, policyA); err != nil {
				t.Fatal(err)
			}
			before := runtime.NumGoroutine()
			ctx, cancel := context.WithTimeout(t.Context(), 400*time.Millisecond)
			defer cancel()
			out := flood.Run(ctx, a, 32, ill, honest, policyA)
			if out.Failed > 0 || out.Fetched == 0 {
				t.Errorf("the honest client got %d policies and failed %d times: %v", out.Fetched, out.Failed, out.Failures)
			}
			// Nothing tells when the last of them has ended.
			tick := time.NewTicker(10 * time.Millisecond)
			defer tick.Stop()
			deadline := time.Now().Add(20 * time.Second)
			for runtime.NumGoroutine() > before && time.Now().Before(deadline) {
				<-tick.C
			}
			if n := runtime.NumGoroutine(); n > before {
				all := make([]byte, 1<<20)
				t.Errorf("%d goroutines are left of the flood:\n%s", n-before, all[:runtime.Stack(all, true)])
			}
		})
	}
}

// What is too large is refused before it is read.
func TestHeadersHaveALimit(t *testing.T) {
	w := start(t, nil)
	target := flood.Target{HTTPS: w.https, Host: "mta-sts.a.example", Path: mtasts.PolicyPath, Roots: w.ca.roots}
	for _, attack := range []func(context.Context, flood.Target) error{flood.BigHeaders, flood.ManyFields} {
		if err := attack(t.Context(), target); err == nil || strings.Contains(err.Error(), "64 MB") {
			t.Errorf("HTTP/1: %v", err)
		}
	}
	big := "GET " + mtasts.PolicyPath + " HTTP/1.1\r\nHost: mta-sts.a.example\r\nX: " + strings.Repeat("x", 20<<10) + "\r\n\r\n"
	if res := raw(t, w.http, big); res.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("port 80: %s", res.Status)
	}
	// In h2, too, headers that never end have one. It is not the clock's.
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	if err := flood.ContinuationFlood(ctx, target); err == nil || ctx.Err() != nil {
		t.Errorf("h2: %v", err)
	}
}

// dialFrom connects to addr from one of the addresses of loopback.
func dialFrom(t *testing.T, last byte, addr string) net.Conn {
	t.Helper()
	d := net.Dialer{LocalAddr: net.TCPAddrFromAddrPort(netip.AddrPortFrom(netip.AddrFrom4([4]byte{127, 0, 0, last}), 0))}
	c, err := d.DialContext(t.Context(), "tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { c.Close() })
	return c
}

// TestOneClientPaysForItsFlood: a client that has one connection, and says
// nothing for a while, keeps it while another takes all the places there are.
func TestOneClientPaysForItsFlood(t *testing.T) {
	w := start(t, func(c *server.Config) { c.MaxConnections = 8 })
	quiet := dialFrom(t, 3, w.http)
	for range 100 {
		dialFrom(t, 2, w.http)
	}
	// All of those have been accepted once this one is answered.
	if res := raw(t, w.http, "GET / HTTP/1.1\r\nHost: mta-sts.a.example\r\n\r\n"); res.StatusCode == 0 {
		t.Error("no answer")
	}
	if _, err := quiet.Write([]byte("GET / HTTP/1.0\r\nHost: mta-sts.a.example\r\n\r\n")); err != nil {
		t.Fatal(err)
	}
	if n, err := quiet.Read(make([]byte, 100)); n == 0 {
		t.Errorf("the client that was there first was thrown out: %v", err)
	}
}
