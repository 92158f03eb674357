package server_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stshost/stshost/mtasts"
	"github.com/stshost/stshost/server"
)

func TestFetchesAreCounted(t *testing.T) {
	w := start(t, nil)
	c := w.client(t, w.https, "mta-sts.a.example", true)
	url := "https://mta-sts.a.example" + mtasts.PolicyPath
	agent := func(r *http.Request) { r.Header.Set("User-Agent", "sender/1.0 "+strings.Repeat("x", 500)) }
	for range 30 {
		do(t, c, "GET", url, agent)
	}
	do(t, c, "HEAD", url)
	do(t, c, "POST", url)
	do(t, c, "GET", url, func(r *http.Request) { r.Host = "other.example" })
	do(t, c, "GET", "https://mta-sts.a.example/favicon.ico") // not a fetch

	f := w.Fetches("mta-sts.a.example")
	if f.Domain != "a.example" || f.Served != 31 || f.Refused != 2 || f.FailedHandshakes != 0 || f.LastServed.IsZero() {
		t.Errorf("counts: %+v", f)
	}
	if len(f.Recent) != 20 {
		t.Fatalf("%d events are kept, want 20", len(f.Recent))
	}
	if e := f.Recent[0]; e.Status != 421 || !strings.Contains(e.Reason, "other.example") {
		t.Errorf("newest event: %+v", e)
	}
	if e := f.Recent[1]; e.Status != 405 || e.Reason != "method POST" {
		t.Errorf("second event: %+v", e)
	}
	e := f.Recent[19]
	if e.Status != 200 || e.Protocol != "h2, TLS 1.3" || len(e.UserAgent) != 128 || e.Remote == "" || e.Time.IsZero() {
		t.Errorf("oldest event kept: %+v", e)
	}
	if f := w.Fetches("mta-sts.b.example"); f.Served != 0 || f.Recent == nil || f.Domain != "b.example" {
		t.Errorf("a host without fetches: %+v", f)
	}
}

// TestFailedHandshakes: a failure is kept for the host that was asked for, and
// logged once a minute; strangers leave no trace but a number.
func TestFailedHandshakes(t *testing.T) {
	authority := newCA(t)
	cert := authority.issue(t, "mta-sts.a.example")
	synctest.Test(t, func(t *testing.T) {
		var logged bytes.Buffer
		ours := false
		policies := server.NewPolicies()
		policies.Set("a.example", []byte(policyA))
		policies.Set("nocert.example", []byte(policyA))
		s := newServer(t, server.Config{
			Policies: policies,
			Logger:   slog.New(slog.NewTextHandler(&logged, nil)),
			OwnConn:  func(net.Addr) bool { return ours },
			GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
				if h.ServerName == "mta-sts.nocert.example" {
					return nil, errors.New("no certificate yet")
				}
				return cert, nil
			},
		})
		ln := newPipes()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.ServeHTTPS(ctx, ln) }()
		fail := func(c *tls.Config) {
			t.Helper()
			conn := tls.Client(ln.dialEager(), c)
			if err := conn.Handshake(); err == nil {
				conn.Read(make([]byte, 1)) // TLS 1.3: the refusal of the server comes after our part
			}
			conn.NetConn().Close()
			synctest.Wait()
		}

		fail(&tls.Config{ServerName: "MTA-STS.a.example"}) // does not trust the root
		fail(&tls.Config{ServerName: "mta-sts.a.example", MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10})
		fail(&tls.Config{ServerName: "mta-sts.nocert.example", RootCAs: authority.roots})
		c := ln.dialEager() // says hello and goes
		tls.Client(&deaf{Conn: c}, &tls.Config{ServerName: "mta-sts.a.example"}).Handshake()
		c.Close()
		synctest.Wait()

		f := s.Fetches("mta-sts.a.example")
		if f.FailedHandshakes != 3 || len(f.RecentFailures) != 3 {
			t.Fatalf("failures: %+v", f)
		}
		for i, want := range []string{"closed the connection", "unsupported versions", "bad certificate"} {
			if got := f.RecentFailures[i].Reason; !strings.Contains(got, want) {
				t.Errorf("failure %d: %q, want %q in it", i, got, want)
			}
		}
		if f := s.Fetches("mta-sts.nocert.example"); f.FailedHandshakes != 1 || f.RecentFailures[0].Reason != "no certificate yet" {
			t.Errorf("host without certificate: %+v", f)
		}
		if n := strings.Count(logged.String(), "host=mta-sts.a.example"); n != 1 {
			t.Errorf("%d lines in a minute, want 1:\n%s", n, logged.String())
		}
		time.Sleep(time.Minute) // fake time
		fail(&tls.Config{ServerName: "mta-sts.a.example"})
		if n := strings.Count(logged.String(), "host=mta-sts.a.example"); n != 2 {
			t.Errorf("%d lines after a minute, want 2:\n%s", n, logged.String())
		}

		// Our own looks are no clients.
		logged.Reset()
		ours = true
		time.Sleep(time.Minute)
		fail(&tls.Config{ServerName: "mta-sts.a.example"})
		ours = false
		if f := s.Fetches("mta-sts.a.example"); f.FailedHandshakes != 4 || logged.Len() != 0 {
			t.Errorf("our own look is counted: %+v\n%s", f, logged.String())
		}

		// Scanners.
		logged.Reset()
		for i := range 200 {
			fail(&tls.Config{ServerName: fmt.Sprintf("scan%d.example", i), InsecureSkipVerify: true})
		}
		fail(&tls.Config{InsecureSkipVerify: true})
		if logged.Len() != 0 {
			t.Errorf("scanners are logged:\n%s", logged.String())
		}
		if f := s.Fetches("scan7.example"); f.FailedHandshakes != 0 {
			t.Errorf("a scanner's name is kept: %+v", f)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// deaf is a connection that can only be written to.
type deaf struct {
	net.Conn
}

func (d *deaf) Read([]byte) (int, error) { return 0, io.EOF }

func TestFetchesOfHostsThatLeftAreDropped(t *testing.T) {
	policies := server.NewPolicies()
	gone := map[string]bool{}
	authority := newCA(t)
	s := newServer(t, server.Config{
		Policies:       policies,
		Known:          func(h string) bool { return !gone[h] },
		GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) { return authority.issue(t, h.ServerName), nil },
	})
	addr := serve(t, s.ServeHTTPS)
	w := &world{Server: s, ca: authority}
	fetch := func(i int) string {
		host := fmt.Sprintf("mta-sts.d%d.example", i)
		resp, _ := do(t, w.client(t, addr, host, false), "GET", "https://"+host+mtasts.PolicyPath)
		if resp.StatusCode != 404 {
			t.Fatalf("status %d", resp.StatusCode)
		}
		return host
	}
	first := fetch(0)
	for i := range 63 {
		fetch(i + 1)
	}
	gone[first] = true
	fetch(64) // the host that makes the log look who is still there
	if f := s.Fetches(first); f.Refused != 0 {
		t.Errorf("a host that left is still kept: %+v", f)
	}
	if f := s.Fetches("mta-sts.d1.example"); f.Refused != 1 {
		t.Errorf("a host that stayed was dropped: %+v", f)
	}
}
