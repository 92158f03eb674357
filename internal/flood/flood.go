// Package flood is what a public listener has to bear: clients that connect and
// are silent, slow, too loud, or break the protocol in ways that cost a server
// more than them. It is for tests only, and floods only what it is pointed at.
package flood

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"sync"
	"sync/atomic"
	"time"
)

// Target is a policy host and where it is served.
type Target struct {
	HTTPS string // host:port on loopback
	HTTP  string // host:port on loopback; "" if there is none
	Host  string // server name and Host, e.g. "mta-sts.example.com"
	Path  string // of the policy
	Roots *x509.CertPool
	// From chooses the address that a client connects from; nil: the system's.
	From func() netip.Addr
}

// Attack is the work of one client that means ill. It connects, does its worst
// until it is thrown out or ctx ends, and returns. It is called again and again,
// by many goroutines.
type Attack struct {
	Name string
	Run  func(ctx context.Context, t Target) error
}

// Attacks are all that there are.
func Attacks() []Attack {
	return []Attack{
		{"silent connections", Silent},
		{"half a handshake", HalfHandshake},
		{"ClientHello byte by byte", SlowHello},
		{"headers byte by byte, TLS", SlowHeaders},
		{"headers byte by byte, port 80", SlowPlainHeaders},
		{"headers without end, HTTP/1", BigHeaders},
		{"too many header fields, HTTP/1", ManyFields},
		{"headers without end, h2", BigHeadersH2},
		{"rapid reset, h2", RapidReset},
		{"SETTINGS flood, h2", SettingsFlood},
		{"PING flood, h2", PingFlood},
		{"CONTINUATION flood, h2", ContinuationFlood},
		{"streams that stay open, h2", OpenStreams},
		{"zero window, h2", ZeroWindow},
	}
}

// Outcome counts what happened during a flood.
type Outcome struct {
	Runs     int64 // attacks that ended: the client was thrown out, or was done
	Refused  int64 // of these, connections that could not be made
	Fetched  int64 // policies that the honest client got
	Failed   int64 // fetches of the honest client that failed
	Failures []error
}

// Run has n clients attack until ctx ends, while one honest client after the
// other fetches the policy, which must be body.
func Run(ctx context.Context, a Attack, n int, ill, honest Target, body string) Outcome {
	var out Outcome
	var runs, refused atomic.Int64
	var clients sync.WaitGroup
	for range n {
		clients.Go(func() {
			for ctx.Err() == nil {
				err := a.Run(ctx, ill)
				var op *net.OpError
				if errors.As(err, &op) && op.Op == "dial" {
					refused.Add(1)
					time.Sleep(time.Millisecond) // no ports, no descriptors: the flooder's own limit
				}
				runs.Add(1)
			}
		})
	}
	for ctx.Err() == nil {
		// A fetch that has begun may end.
		if err := Fetch(context.WithoutCancel(ctx), honest, body); err != nil {
			out.Failed++
			if len(out.Failures) < 5 {
				out.Failures = append(out.Failures, err)
			}
		} else {
			out.Fetched++
		}
	}
	clients.Wait()
	out.Runs, out.Refused = runs.Load(), refused.Load()
	return out
}

// Fetch gets the policy over a connection of its own, as a sender does, which
// waits for a minute at most (RFC 8461 §3.3).
func Fetch(ctx context.Context, t Target, body string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	tr := &http.Transport{
		DialContext:       func(ctx context.Context, _, _ string) (net.Conn, error) { return t.dial(ctx, t.HTTPS) },
		TLSClientConfig:   &tls.Config{RootCAs: t.Roots, ServerName: t.Host},
		DisableKeepAlives: true,
	}
	defer tr.CloseIdleConnections()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+t.Host+t.Path, nil)
	if err != nil {
		return err
	}
	res, err := tr.RoundTrip(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	got, err := io.ReadAll(io.LimitReader(res.Body, 64<<10))
	if err != nil {
		return err
	}
	if res.StatusCode != http.StatusOK || string(got) != body {
		return fmt.Errorf("status %d, %q", res.StatusCode, got)
	}
	return nil
}

// dial connects; the connection is closed when ctx ends.
func (t Target) dial(ctx context.Context, addr string) (net.Conn, error) {
	d := net.Dialer{Timeout: 30 * time.Second}
	if t.From != nil {
		d.LocalAddr = net.TCPAddrFromAddrPort(netip.AddrPortFrom(t.From(), 0))
	}
	c, err := d.DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	// A reset in place of a long goodbye: ports are few on one machine.
	c.(*net.TCPConn).SetLinger(0)
	return &tied{Conn: c, untie: context.AfterFunc(ctx, func() { c.Close() })}, nil
}

// tied is a connection that ends with a context.
type tied struct {
	net.Conn
	untie func() bool
}

func (c *tied) Close() error {
	c.untie()
	return c.Conn.Close()
}

// secure connects and makes the TLS handshake, with these protocols on offer.
func (t Target) secure(ctx context.Context, protos ...string) (*tls.Conn, error) {
	c, err := t.dial(ctx, t.HTTPS)
	if err != nil {
		return nil, err
	}
	s := tls.Client(c, &tls.Config{RootCAs: t.Roots, ServerName: t.Host, NextProtos: protos})
	if err := s.HandshakeContext(ctx); err != nil {
		c.Close()
		return nil, err
	}
	return s, nil
}
