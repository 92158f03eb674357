package lab_test

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/stshost/stshost/internal/lab"
)

const goodPolicy = "version: STSv1\r\nmode: testing\r\nmx: mx1.example.test\r\nmax_age: 604800\r\n"

func TestReader(t *testing.T) {
	d := startDNS(t)
	must(t, d.Set("mta-sts.example.test", "A", "127.0.0.1"))
	root, err := lab.NewRoot("Test Root")
	must(t, err)
	cert, err := root.Issue(time.Time{}, "mta-sts.example.test")
	must(t, err)
	var answer http.HandlerFunc
	srv := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.Host != "mta-sts.example.test" || r.URL.Path != "/.well-known/mta-sts.txt" || r.TLS.ServerName != r.Host {
			t.Errorf("asked for %s%s with SNI %q", r.Host, r.URL.Path, r.TLS.ServerName)
		}
		answer(w, r)
	}))
	srv.TLS = &tls.Config{Certificates: []tls.Certificate{cert}}
	srv.StartTLS()
	defer srv.Close()
	port := netip.MustParseAddrPort(srv.Listener.Addr().String()).Port()
	r := &lab.Reader{DNS: d.Addr(), HTTPSPort: int(port), Roots: root.Pool()}

	policy := func(body, contentType string, status int) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Type", contentType)
			w.WriteHeader(status)
			fmt.Fprint(w, body)
		}
	}
	const record, text = "v=STSv1; id=20260102T030405Z;", "text/plain; charset=utf-8"
	tests := []struct {
		what    string
		records []string
		answer  http.HandlerFunc
		err     string
	}{
		{"good", []string{record}, policy(goodPolicy, text, 200), ""},
		{"mode none", []string{record}, policy("version: STSv1\nmode: none\nmax_age: 1\n", text, 200), ""},
		{"no record", nil, policy(goodPolicy, text, 200), "no such host"},
		{"two records", []string{record, "v=STSv1; id=2;"}, policy(goodPolicy, text, 200), "2 TXT records"},
		{"bad record", []string{"v=STSv1;"}, policy(goodPolicy, text, 200), "not valid"},
		{"missing", []string{record}, policy("", text, 404), "404"},
		{"html", []string{record}, policy(goodPolicy, "text/html", 200), "text/html"},
		{"redirect", []string{record}, http.RedirectHandler("/other", http.StatusFound).ServeHTTP, "redirect"},
		{"no mx", []string{record}, policy("version: STSv1\nmode: testing\nmax_age: 1\n", text, 200), "no mx"},
		{"no version", []string{record}, policy("mode: none\nmax_age: 1\n", text, 200), "version"},
		{"bad mode", []string{record}, policy("version: STSv1\nmode: x\nmax_age: 1\n", text, 200), "mode"},
		{"bad max_age", []string{record}, policy("version: STSv1\nmode: none\nmax_age: -1\n", text, 200), "max_age"},
		{"no colon", []string{record}, policy("version: STSv1\nnonsense\n", text, 200), "colon"},
		{"too long", []string{record}, policy(goodPolicy+strings.Repeat("x: y\n", 20000), text, 200), "longer"},
	}
	for _, tt := range tests {
		must(t, d.SetTXT("_mta-sts.example.test", tt.records...))
		answer = tt.answer
		id, body, err := r.Fetch(t.Context(), "example.test")
		switch {
		case tt.err == "" && (err != nil || id != "20260102T030405Z" || !strings.HasPrefix(body, "version: STSv1")):
			t.Errorf("%s: %q, %q, %v", tt.what, id, body, err)
		case tt.err != "" && (err == nil || !strings.Contains(err.Error(), tt.err)):
			t.Errorf("%s: error %v, want one with %q", tt.what, err, tt.err)
		}
	}

	must(t, d.SetTXT("_mta-sts.example.test", record))
	answer = policy(goodPolicy, text, 200)
	r.Roots = nil // the system's
	if _, _, err := r.Fetch(t.Context(), "example.test"); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("untrusted root: %v", err)
	}
	must(t, d.Remove("mta-sts.example.test", "A"))
	if _, _, err := r.Fetch(t.Context(), "example.test"); err == nil || !strings.Contains(err.Error(), "no such host") {
		t.Errorf("no address: %v", err)
	}
}
