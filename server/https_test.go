package server_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"

	"github.com/stshost/stshost/mtasts"
	"github.com/stshost/stshost/server"
)

func TestPolicyIsServed(t *testing.T) {
	w := start(t, nil)
	for _, h2 := range []bool{false, true} {
		for host, want := range map[string]string{"a.example": policyA, "b.example": policyB} {
			for _, method := range []string{"GET", "HEAD"} {
				t.Run(fmt.Sprintf("%s %s h2=%v", method, host, h2), func(t *testing.T) {
					c := w.client(t, w.https, "mta-sts."+host, h2)
					resp, body := do(t, c, method, "https://mta-sts."+host+mtasts.PolicyPath)
					if resp.StatusCode != 200 || (resp.ProtoMajor == 2) != h2 {
						t.Errorf("status %d over %s", resp.StatusCode, resp.Proto)
					}
					if method == "HEAD" {
						if body != "" {
							t.Errorf("HEAD has a body: %q", body)
						}
					} else if body != want {
						t.Errorf("body %q, want %q", body, want)
					}
					for key, value := range map[string]string{
						"Content-Type":              "text/plain; charset=utf-8",
						"Content-Length":            strconv.Itoa(len(want)),
						"Cache-Control":             "no-cache, max-age=0",
						"X-Content-Type-Options":    "nosniff",
						"Strict-Transport-Security": "",
						"Location":                  "",
					} {
						if got := resp.Header.Get(key); got != value {
							t.Errorf("%s is %q, want %q", key, got, value)
						}
					}
				})
			}
		}
	}
}

func TestHTTPSStatus(t *testing.T) {
	w := start(t, func(c *server.Config) {
		c.Probe = func(host, nonce string) string { return host + " " + nonce }
	})
	for _, tc := range []struct {
		name, sni, method, path, host string
		status                        int
		allow, body                   string
	}{
		{name: "host in capitals, with port and dot", host: "MTA-STS.A.Example.:8443", status: 200, body: policyA},
		{name: "a query changes nothing", path: mtasts.PolicyPath + "?x=1", status: 200, body: policyA},
		{name: "another host of ours", host: "mta-sts.b.example", status: 421},
		{name: "a host that is not ours", host: "www.example", status: 421},
		{name: "an address as host", host: "127.0.0.1", status: 421},
		{name: "no policy yet", sni: "mta-sts.new.example", status: 404, body: "There is no policy for new.example yet.\n"},
		{name: "unknown path", path: "/robots.txt", status: 404},
		{name: "policy below", path: mtasts.PolicyPath + "/", status: 404},
		{name: "policy above", path: "/" + mtasts.PolicyPath, status: 404},
		{name: "policy in capitals", path: strings.ToUpper(mtasts.PolicyPath), status: 404},
		{name: "POST", method: "POST", status: 405, allow: "GET, HEAD"},
		{name: "DELETE", method: "DELETE", status: 405, allow: "GET, HEAD"},
		{name: "OPTIONS", method: "OPTIONS", status: 405, allow: "GET, HEAD"},
		{name: "unheard-of method", method: "BREW", status: 405, allow: "GET, HEAD"},
		{name: "POST to the page", method: "POST", path: "/", status: 405, allow: "GET, HEAD"},
		{name: "token", path: "/.well-known/stshost/abc-123_X", status: 200, body: "mta-sts.a.example abc-123_X"},
		{name: "token with odd letters", path: "/.well-known/stshost/a%20b", status: 404},
		{name: "no token", path: "/.well-known/stshost/", status: 404},
		{name: "no http-01 here", path: "/.well-known/acme-challenge/x", status: 404},
	} {
		for _, h2 := range []bool{false, true} {
			t.Run(fmt.Sprintf("%s h2=%v", tc.name, h2), func(t *testing.T) {
				sni, method, path := or(tc.sni, "mta-sts.a.example"), or(tc.method, "GET"), or(tc.path, mtasts.PolicyPath)
				c := w.client(t, w.https, sni, h2)
				resp, body := do(t, c, method, "https://"+sni+path, func(r *http.Request) { r.Host = tc.host })
				if resp.StatusCode != tc.status {
					t.Errorf("status %d, want %d; body %q", resp.StatusCode, tc.status, body)
				}
				if got := resp.Header.Get("Allow"); got != tc.allow {
					t.Errorf("Allow %q, want %q", got, tc.allow)
				}
				if tc.body != "" && body != tc.body {
					t.Errorf("body %q, want %q", body, tc.body)
				}
				if resp.Header.Get("X-Content-Type-Options") != "nosniff" || strings.HasPrefix(body, "<") {
					t.Errorf("answer may be taken for HTML: %v %q", resp.Header, body)
				}
			})
		}
	}
}

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

func TestHostThatLeftIsRefusedOnAnOpenConnection(t *testing.T) {
	w := start(t, nil)
	c := w.client(t, w.https, "mta-sts.a.example", true)
	url := "https://mta-sts.a.example" + mtasts.PolicyPath
	if resp, _ := do(t, c, "GET", url); resp.StatusCode != 200 {
		t.Fatalf("status %d", resp.StatusCode)
	}
	w.policies.Remove("a.example")
	if resp, _ := do(t, c, "GET", url); resp.StatusCode != 421 {
		t.Errorf("status %d after the host was removed, want 421", resp.StatusCode)
	}
}

func TestUnknownServerNameGetsAnAlert(t *testing.T) {
	asked := make(chan string, 10)
	w := start(t, func(c *server.Config) {
		get := c.GetCertificate
		c.GetCertificate = func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
			asked <- h.ServerName
			return get(h)
		}
	})
	for _, sni := range []string{"mta-sts.stranger.example", ""} {
		conn, err := tls.Dial("tcp", w.https, &tls.Config{ServerName: sni, InsecureSkipVerify: true})
		if err == nil {
			conn.Close()
			t.Fatalf("server name %q got a connection", sni)
		}
		if !strings.Contains(err.Error(), "unrecognized name") {
			t.Errorf("server name %q: %v, want the alert unrecognized_name", sni, err)
		}
	}
	if len(asked) != 0 {
		t.Errorf("a certificate was asked for %q", <-asked)
	}
}

func TestTLSVersions(t *testing.T) {
	w := start(t, nil)
	for version, ok := range map[uint16]bool{tls.VersionTLS11: false, tls.VersionTLS12: true, tls.VersionTLS13: true} {
		conn, err := tls.Dial("tcp", w.https, &tls.Config{
			ServerName: "mta-sts.a.example", RootCAs: w.ca.roots, MinVersion: version, MaxVersion: version,
		})
		if (err == nil) != ok {
			t.Errorf("%s: %v", tls.VersionName(version), err)
		}
		if err == nil {
			conn.Close()
		}
	}
}

func TestChallengeConnectionEndsAfterTheHandshake(t *testing.T) {
	w := start(t, nil)
	conn, err := tls.Dial("tcp", w.https, &tls.Config{
		ServerName: "mta-sts.a.example", RootCAs: w.ca.roots, NextProtos: []string{"acme-tls/1"},
	})
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if got := conn.ConnectionState().NegotiatedProtocol; got != "acme-tls/1" {
		t.Errorf("protocol %q", got)
	}
	if n, err := conn.Read(make([]byte, 1)); err == nil {
		t.Errorf("read %d bytes, want the end", n)
	}
}

func TestPlainHTTPOnHTTPSPortIsTold(t *testing.T) {
	w := start(t, nil)
	resp, body := do(t, http.DefaultClient, "GET", "http://"+w.https+"/")
	if resp.StatusCode != 400 || !strings.Contains(body, "HTTPS") {
		t.Errorf("%d %q", resp.StatusCode, body)
	}
}

func TestPolicyHostPage(t *testing.T) {
	w := start(t, nil)
	c := w.client(t, w.https, "mta-sts.a.example", false)
	resp, body := do(t, c, "GET", "https://mta-sts.a.example/")
	if resp.StatusCode != 200 || resp.Header.Get("Content-Type") != "text/html; charset=utf-8" {
		t.Errorf("%d %q", resp.StatusCode, resp.Header.Get("Content-Type"))
	}
	if !strings.Contains(body, "policy of a.example") || !strings.Contains(body, `href="`+mtasts.PolicyPath+`"`) {
		t.Errorf("the page does not say whose policy this is, or does not link it:\n%s", body)
	}
	if csp := resp.Header.Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") {
		t.Errorf("CSP %q", csp)
	}
	_, body = do(t, w.client(t, w.https, "mta-sts.new.example", false), "GET", "https://mta-sts.new.example/")
	if !strings.Contains(body, "no policy yet") || strings.Contains(body, mtasts.PolicyPath) {
		t.Errorf("page of a host without policy:\n%s", body)
	}
}

// TestOldAndOddRequests speaks HTTP/1 by hand.
func TestOldAndOddRequests(t *testing.T) {
	w := start(t, nil)
	for _, tc := range []struct {
		name, request string
		status        int
		closes        bool
	}{
		{"HTTP/1.0 with host", "GET %s HTTP/1.0\r\nHost: mta-sts.a.example\r\n\r\n", 200, true},
		{"HTTP/1.0 without host", "GET %s HTTP/1.0\r\n\r\n", 421, true},
		{"HTTP/1.1 without host", "GET %s HTTP/1.1\r\n\r\n", 400, true},
		{"absolute form", "GET https://mta-sts.a.example%s HTTP/1.1\r\nHost: other.example\r\n\r\n", 200, false},
		{"absolute form of another", "GET https://other.example%s HTTP/1.1\r\nHost: mta-sts.a.example\r\n\r\n", 421, false},
		{"with a body", "GET %s HTTP/1.1\r\nHost: mta-sts.a.example\r\nContent-Length: 1000000\r\n\r\n", 200, true},
		{"headers of 64 KB", "GET %s HTTP/1.1\r\nHost: mta-sts.a.example\r\nX: " + strings.Repeat("x", 64<<10) + "\r\n\r\n", 431, true},
	} {
		t.Run(tc.name, func(t *testing.T) {
			conn, err := tls.Dial("tcp", w.https, &tls.Config{ServerName: "mta-sts.a.example", RootCAs: w.ca.roots})
			if err != nil {
				t.Fatal(err)
			}
			defer conn.Close()
			fmt.Fprint(conn, strings.Replace(tc.request, "%s", mtasts.PolicyPath, 1))
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			if resp.StatusCode != tc.status || resp.Close != tc.closes {
				t.Errorf("status %d, closes %v; want %d, %v", resp.StatusCode, resp.Close, tc.status, tc.closes)
			}
		})
	}
}

func TestServeHTTPSNeedsCertificates(t *testing.T) {
	s := newServer(t, server.Config{Policies: server.NewPolicies()})
	ln := listen(t)
	if err := s.ServeHTTPS(context.Background(), ln); err == nil {
		t.Error("no error without GetCertificate")
	}
}
