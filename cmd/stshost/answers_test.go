package main

import (
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"

	"github.com/stshost/stshost/mtasts"
)

// What the public ports answer, in the running service under the certificate
// that the CA issued.
func TestAnswersOverHTTPS(t *testing.T) {
	w := newWorld(t, example, "second.test")
	w.start()
	d, second := w.confirmed(example), w.confirmed("second.test")
	before, err := w.client().Fetches(t.Context(), example)
	if err != nil {
		t.Fatal(err)
	}
	for _, proto := range []string{"http/1.1", "h2"} {
		for _, c := range []struct {
			method, sni, host, path string
			status                  int
			header                  map[string]string
			body                    string // a part of it
		}{
			{"GET", d.Host, d.Host, mtasts.PolicyPath, 200, map[string]string{
				"Content-Type": "text/plain; charset=utf-8", "Content-Length": fmt.Sprint(len(d.Body)), "X-Content-Type-Options": "nosniff",
			}, d.Body},
			{"HEAD", d.Host, d.Host, mtasts.PolicyPath, 200, map[string]string{"Content-Length": fmt.Sprint(len(d.Body))}, ""},
			{"GET", d.Host, strings.ToUpper(d.Host), mtasts.PolicyPath, 200, nil, d.Body},
			{"GET", d.Host, d.Host, "/", 200, map[string]string{"Content-Type": "text/html; charset=utf-8"}, `href="` + mtasts.PolicyPath + `"`},
			{"GET", d.Host, d.Host, "/", 200, nil, example},
			{"GET", d.Host, d.Host, "/robots.txt", 404, nil, ""},
			{"GET", d.Host, d.Host, mtasts.PolicyPath + "/", 404, nil, ""},
			{"GET", d.Host, d.Host, "/.well-known/acme-challenge/x", 404, nil, ""},
			{"POST", d.Host, d.Host, mtasts.PolicyPath, 405, map[string]string{"Allow": "GET, HEAD"}, ""},
			{"DELETE", d.Host, d.Host, "/", 405, map[string]string{"Allow": "GET, HEAD"}, ""},
			{"GET", d.Host, second.Host, mtasts.PolicyPath, 421, nil, ""},
			{"GET", d.Host, "unknown.test", mtasts.PolicyPath, 421, nil, ""},
			{"GET", d.Host, example, mtasts.PolicyPath, 421, nil, ""},
		} {
			t.Run(proto+" "+c.method+" "+c.host+c.path, func(t *testing.T) {
				resp, body, err := w.visitor(c.sni, proto).fetch(t.Context(), c.method, "https://"+c.host+c.path)
				if err != nil {
					t.Fatal(err)
				}
				if want := map[string]string{"http/1.1": "HTTP/1.1", "h2": "HTTP/2.0"}[proto]; resp.Proto != want {
					t.Errorf("spoke %s", resp.Proto)
				}
				if resp.StatusCode != c.status || !strings.Contains(body, c.body) {
					t.Errorf("status %d with %q, want %d with %q", resp.StatusCode, body, c.status, c.body)
				}
				if c.status != 200 && strings.Contains(body, "STSv1") || c.method == "HEAD" && body != "" {
					t.Errorf("a body that should not be there: %q", body)
				}
				for k, v := range c.header {
					if got := resp.Header.Get(k); got != v {
						t.Errorf("%s: %q, want %q", k, got, v)
					}
				}
			})
		}
	}
	after, err := w.client().Fetches(t.Context(), example)
	if n := after.Served - before.Served; err != nil || n != 6 {
		t.Errorf("%d fetches were counted (%v), want 6", n, err)
	}
	if n := after.Refused - before.Refused; n != 8 {
		t.Errorf("%d refusals were counted, want 8", n)
	}
}

// Senders must not fetch over TLS that RFC 9325 forbids.
func TestOldTLSIsRefused(t *testing.T) {
	w := newWorld(t, example)
	w.start()
	d := w.confirmed(example)
	_, err := tls.Dial("tcp", w.https, &tls.Config{RootCAs: w.lab.Roots(), ServerName: d.Host, MaxVersion: tls.VersionTLS11, MinVersion: tls.VersionTLS10})
	if err == nil || !strings.Contains(err.Error(), "protocol version") {
		t.Errorf("TLS 1.1: %v", err)
	}
}

// Port 80 redirects people, and never gives a policy.
func TestAnswersOverHTTP(t *testing.T) {
	w := newWorld(t, example)
	w.start()
	d := w.confirmed(example)
	client := &http.Client{CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
	for _, c := range []struct {
		method, host, path string
		status             int
		location           string
	}{
		{"GET", d.Host, mtasts.PolicyPath, 404, ""},
		{"GET", d.Host, "/", 308, "https://" + d.Host + ":" + fmt.Sprint(w.lab.HTTPSPort) + "/"},
		{"POST", d.Host, "/", 405, ""},
		{"GET", d.Host, "/.well-known/acme-challenge/unknown", 404, ""},
		{"GET", "unknown.test", "/", 421, ""},
	} {
		req, err := http.NewRequestWithContext(t.Context(), c.method, "http://"+w.http+c.path, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Host = c.host
		resp, err := client.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		body, _ := io.ReadAll(resp.Body)
		resp.Body.Close()
		if resp.StatusCode != c.status || resp.Header.Get("Location") != c.location || strings.Contains(string(body), "STSv1") {
			t.Errorf("%s %s%s: status %d, location %q, %q", c.method, c.host, c.path, resp.StatusCode, resp.Header.Get("Location"), body)
		}
	}
}
