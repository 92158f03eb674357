package server_test

import (
	"log/slog"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/stshost/stshost/mtasts"
	"github.com/stshost/stshost/server"
)

var loopback = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8"), netip.MustParsePrefix("::1/128")}

func TestBehindProxy(t *testing.T) {
	w := start(t, func(c *server.Config) {
		c.TrustedProxies = loopback
		c.Probe = func(host, nonce string) string { return host + " " + nonce }
	})
	c := w.client(t, serve(t, w.ServeProxied), "", false)
	https := []string{"X-Forwarded-Proto", "https"}
	for _, tc := range []struct {
		name, method, host, path string
		header                   []string // names and values
		status                   int
		body, allow              string
	}{
		{name: "policy", header: https, status: 200, body: policyA},
		{name: "policy by HEAD", method: "HEAD", header: https, status: 200},
		{name: "another host", host: "mta-sts.b.example", header: https, status: 200, body: policyB},
		{name: "host in capitals with port and dot", host: "MTA-STS.A.example.:443", header: https, status: 200, body: policyA},
		{name: "RFC 7239", header: []string{"Forwarded", `for="[2001:db8::1]:1234";proto=https;by=_x`}, status: 200, body: policyA},
		{name: "RFC 7239 quoted, two hops", header: []string{"Forwarded", `for=192.0.2.1;Proto="https", for=192.0.2.2;proto=HTTPS`}, status: 200, body: policyA},
		{name: "host kept in X-Forwarded-Host", host: "127.0.0.1:8460", header: append(https, "X-Forwarded-Host", "mta-sts.b.example"), status: 200, body: policyB},
		{name: "host kept, behind one that the client made up", host: "stshost", header: append(https, "X-Forwarded-Host", "mta-sts.a.example, mta-sts.b.example"), status: 200, body: policyB},
		{name: "a host of ours goes before X-Forwarded-Host", header: append(https, "X-Forwarded-Host", "mta-sts.b.example"), status: 200, body: policyA},
		{name: "no policy yet", host: "mta-sts.new.example", header: https, status: 404, body: "There is no policy for new.example yet.\n"},
		{name: "token", path: "/.well-known/stshost/n0nce", header: https, status: 200, body: "mta-sts.a.example n0nce"},
		{name: "page", path: "/", header: https, status: 200},
		{name: "unknown path", path: "/robots.txt", header: https, status: 404},
		{name: "POST", method: "POST", header: https, status: 405, allow: "GET, HEAD"},
		{name: "no http-01", path: "/.well-known/acme-challenge/x", header: https, status: 404},
		{name: "stranger", host: "www.example", header: https, status: 421},
		{name: "stranger by X-Forwarded-Host", host: "www.example", header: append(https, "X-Forwarded-Host", "evil.example"), status: 421},
		{name: "no scheme", status: 400, body: "X-Forwarded-Proto"},
		{name: "no scheme in the last hop", header: []string{"Forwarded", "for=192.0.2.1;proto=https, for=192.0.2.2"}, status: 400, body: "X-Forwarded-Proto"},
		{name: "plain HTTP", header: []string{"X-Forwarded-Proto", "http"}, status: 403, body: "HTTPS only"},
		{name: "plain HTTP on one hop", header: []string{"X-Forwarded-Proto", "http, https"}, status: 403, body: "HTTPS only"},
		{name: "plain HTTP behind a quote that the client opened", header: []string{"Forwarded", `proto=https;for=", for=192.0.2.1;proto=http`}, status: 403, body: "HTTPS only"},
		{name: "the same, with quotes of the proxy's", header: []string{"Forwarded", `proto=https;for=", for="[2001:db8::1]";proto=http`}, status: 403, body: "HTTPS only"},
		{name: "two headers that differ", header: append(https, "Forwarded", "proto=http"), status: 403, body: "HTTPS only"},
		{name: "ask for a host of ours", path: "/ask?domain=mta-sts.new.example", host: "127.0.0.1:8460", status: 200},
		{name: "ask for a stranger", path: "/ask?domain=www.example", host: "127.0.0.1:8460", status: 404},
		{name: "ask for nothing", path: "/ask", host: "127.0.0.1:8460", status: 404},
		{name: "ask by a client", path: "/ask?domain=mta-sts.a.example", header: https, status: 404, body: "There is nothing here"},
		{name: "ask by POST", method: "POST", path: "/ask?domain=mta-sts.a.example", status: 405, allow: "GET, HEAD"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			resp, body := do(t, c, or(tc.method, "GET"), "http://mta-sts.a.example"+or(tc.path, mtasts.PolicyPath), func(r *http.Request) {
				r.Host = tc.host
				for i := 0; i < len(tc.header); i += 2 {
					r.Header.Add(tc.header[i], tc.header[i+1])
				}
			})
			if resp.StatusCode != tc.status {
				t.Errorf("status %d, want %d: %q", resp.StatusCode, tc.status, body)
			}
			if !strings.Contains(body, tc.body) {
				t.Errorf("body %q, want %q", body, tc.body)
			}
			if got := resp.Header.Get("Allow"); got != tc.allow {
				t.Errorf("Allow %q, want %q", got, tc.allow)
			}
			if tc.status >= 400 && strings.Contains(body, "STSv1") {
				t.Errorf("a policy was given: %q", body)
			}
			if resp.Header.Get("X-Content-Type-Options") != "nosniff" {
				t.Errorf("headers %v", resp.Header)
			}
		})
	}
}

// A peer that is not listed is no proxy, whatever it says.
func TestUntrustedProxyIsRefused(t *testing.T) {
	var log lockedBuffer
	w := start(t, func(c *server.Config) {
		c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}
		c.Logger = slog.New(slog.NewTextHandler(&log, nil))
	})
	c := w.client(t, serve(t, w.ServeProxied), "", false)
	for _, path := range []string{mtasts.PolicyPath, "/ask?domain=mta-sts.a.example", "/"} {
		resp, body := do(t, c, "GET", "http://mta-sts.a.example"+path, func(r *http.Request) {
			if path != "/ask?domain=mta-sts.a.example" {
				r.Header.Set("X-Forwarded-Proto", "https")
			}
			r.Header.Set("X-Forwarded-For", "192.0.2.1")
		})
		if resp.StatusCode != 403 || !strings.Contains(body, "127.0.0.1 is not in trusted_proxies") {
			t.Errorf("%s: %d %q", path, resp.StatusCode, body)
		}
	}
	if n := strings.Count(log.String(), "trusted_proxies"); n != 1 {
		t.Errorf("logged %d times, want once:\n%s", n, log.String())
	}
}

func TestClientBehindProxy(t *testing.T) {
	w := start(t, func(c *server.Config) {
		c.TrustedProxies = append(loopback, netip.MustParsePrefix("10.0.0.0/8"))
	})
	c := w.client(t, serve(t, w.ServeProxied), "", false)
	for _, tc := range []struct {
		name   string
		header []string
		want   string
	}{
		{"one hop", []string{"X-Forwarded-For", "203.0.113.7"}, "203.0.113.7"},
		{"with a port", []string{"X-Forwarded-For", "203.0.113.7:4711"}, "203.0.113.7"},
		{"IPv6", []string{"X-Forwarded-For", "2001:db8::7"}, "2001:db8::7"},
		{"made up by the client", []string{"X-Forwarded-For", "198.51.100.1, 203.0.113.7"}, "203.0.113.7"},
		{"through two proxies of ours", []string{"X-Forwarded-For", "198.51.100.1, 203.0.113.7, 10.1.2.3"}, "203.0.113.7"},
		{"in two lines", []string{"X-Forwarded-For", "198.51.100.1", "X-Forwarded-For", "203.0.113.7"}, "203.0.113.7"},
		{"a client of our own", []string{"X-Forwarded-For", "10.9.9.9, 10.1.2.3"}, "10.9.9.9"},
		{"nonsense ends it", []string{"X-Forwarded-For", "203.0.113.7, unknown, 10.1.2.3"}, "10.1.2.3"},
		{"mapped IPv4", []string{"X-Forwarded-For", "203.0.113.7, ::ffff:10.1.2.3"}, "203.0.113.7"},
		{"RFC 7239", []string{"Forwarded", `for=198.51.100.1;proto=https, for="[2001:db8::7]:4711";proto=https`}, "2001:db8::7"},
		{"nothing said", nil, "127.0.0.1:"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			do(t, c, "GET", "http://mta-sts.a.example"+mtasts.PolicyPath, func(r *http.Request) {
				r.Header.Set("X-Forwarded-Proto", "https")
				for i := 0; i < len(tc.header); i += 2 {
					r.Header.Add(tc.header[i], tc.header[i+1])
				}
			})
			e := w.Fetches("mta-sts.a.example").Recent[0]
			if !strings.HasPrefix(e.Remote, tc.want) || e.Status != 200 || e.Protocol != "by a proxy" {
				t.Errorf("the fetch log has %+v, want remote %s", e, tc.want)
			}
		})
	}
}
