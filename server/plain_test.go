package server_test

import (
	"context"
	"net"
	"net/http"
	"strings"
	"testing"

	"github.com/stshost/stshost/mtasts"
	"github.com/stshost/stshost/server"
)

func TestPlainHTTP(t *testing.T) {
	w := start(t, func(c *server.Config) {
		c.HTTPSPort = 8443
		c.Probe = func(host, nonce string) string { return host + " " + nonce }
		c.HTTP01 = func(_ context.Context, host, token string) (string, bool) {
			return token + ".thumbprint of " + host, token == "live"
		}
	})
	c := w.client(t, w.http, "", false)
	for _, tc := range []struct {
		name, method, host, path string
		status                   int
		location, allow, body    string
	}{
		{name: "challenge", path: "/.well-known/acme-challenge/live", status: 200, body: "live.thumbprint of mta-sts.a.example"},
		{name: "challenge of a host without certificate", host: "mta-sts.nocert.example", path: "/.well-known/acme-challenge/live", status: 200, body: "live.thumbprint of mta-sts.nocert.example"},
		{name: "no such challenge", path: "/.well-known/acme-challenge/dead", status: 404},
		{name: "challenge that is a path", path: "/.well-known/acme-challenge/..%2flive", status: 404},
		{name: "challenge for a stranger", host: "www.example", path: "/.well-known/acme-challenge/live", status: 421},
		{name: "token", path: "/.well-known/stshost/n0nce", status: 200, body: "mta-sts.a.example n0nce"},
		{name: "token for a stranger", host: "www.example", path: "/.well-known/stshost/n0nce", status: 421},
		{name: "root", path: "/", status: 308, location: "https://mta-sts.a.example:8443/"},
		{name: "HEAD", method: "HEAD", path: "/x", status: 308, location: "https://mta-sts.a.example:8443/x"},
		{name: "path and query", path: "/a%20b?c=d&e", status: 308, location: "https://mta-sts.a.example:8443/a%20b?c=d&e"},
		{name: "path like a host", path: "//evil.example/", status: 308, location: "https://mta-sts.a.example:8443//evil.example/"},
		{name: "POST", method: "POST", path: "/x", status: 405, allow: "GET, HEAD"},
		{name: "stranger", host: "www.example", path: "/", status: 421},
		{name: "address", host: "192.0.2.1", path: "/", status: 421},
		{name: "policy", path: mtasts.PolicyPath, status: 404},
		{name: "policy by HEAD", method: "HEAD", path: mtasts.PolicyPath, status: 404},
		{name: "policy by POST", method: "POST", path: mtasts.PolicyPath, status: 404},
		{name: "policy with escapes", path: "/.well-known/mta%2Dsts.txt", status: 404},
		{name: "policy with query", path: mtasts.PolicyPath + "?x", status: 404},
	} {
		t.Run(tc.name, func(t *testing.T) {
			resp, body := do(t, c, or(tc.method, "GET"), "http://mta-sts.a.example"+tc.path, func(r *http.Request) { r.Host = tc.host })
			if resp.StatusCode != tc.status {
				t.Errorf("status %d, want %d: %q", resp.StatusCode, tc.status, body)
			}
			if got := resp.Header.Get("Location"); got != tc.location {
				t.Errorf("Location %q, want %q", got, tc.location)
			}
			if got := resp.Header.Get("Allow"); got != tc.allow {
				t.Errorf("Allow %q, want %q", got, tc.allow)
			}
			if tc.body != "" && body != tc.body {
				t.Errorf("body %q, want %q", body, tc.body)
			}
			if strings.Contains(body, "STSv1") {
				t.Errorf("a policy went over plain HTTP: %q", body)
			}
		})
	}
}

// A request line may name another scheme and host than the Host header does.
func TestRedirectLeadsNowhereElse(t *testing.T) {
	w := start(t, nil)
	for _, line := range []string{"GET a:.evil.example/ HTTP/1.1", "GET http:.evil.example HTTP/1.1", "GET * HTTP/1.1"} {
		resp := raw(t, w.http, line+"\r\nHost: mta-sts.a.example\r\n\r\n")
		if l := resp.Header.Get("Location"); l != "" && l != "https://mta-sts.a.example" {
			t.Errorf("%s: Location %q", line, l)
		}
	}
}

func TestPortOfRedirectIsLeftOutFor443(t *testing.T) {
	w := start(t, nil)
	resp, _ := do(t, w.client(t, w.http, "", false), "GET", "http://mta-sts.a.example/x")
	if l := resp.Header.Get("Location"); l != "https://mta-sts.a.example/x" {
		t.Errorf("Location %q", l)
	}
}

func listen(t *testing.T) net.Listener {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	return ln
}
