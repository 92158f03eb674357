package server

import (
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/stshost/stshost/mtasts"
)

// FuzzForwarded has a trusted proxy pass on whatever a client may write into the
// headers of proxies: the policy is given only where one says https and none
// anything else, and the fetch log has an address.
func FuzzForwarded(f *testing.F) {
	f.Add("https", "203.0.113.7", "")
	f.Add("", "", `for="[2001:db8::7]:1";proto=https, for=unknown;proto="https"`)
	f.Add("httpſ", "", "")
	f.Add("https, http", "a, ::1, 127.0.0.1:80", `proto="ht\"tps`)
	policies := NewPolicies()
	policies.Set("a.example", []byte("version: STSv1\r\n"))
	s, err := New(Config{Policies: policies, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	if err != nil {
		f.Fatal(err)
	}
	h := s.proxiedHandler()
	f.Fuzz(func(t *testing.T, proto, for_, forwarded string) {
		r := httptest.NewRequest("GET", "http://mta-sts.a.example"+mtasts.PolicyPath, nil)
		r.RemoteAddr = "127.0.0.1:4711"
		r.Header = http.Header{"X-Forwarded-Proto": {proto}, "X-Forwarded-For": {for_}, "Forwarded": {forwarded}}
		w := httptest.NewRecorder()
		h.ServeHTTP(w, r)
		said := strings.ToLower(proto + " " + forwarded)
		switch w.Code {
		case http.StatusOK:
			if !strings.Contains(said, "https") {
				t.Errorf("a policy was given over %q", said)
			}
			remote := s.Fetches("mta-sts.a.example").Recent[0].Remote
			if !addrOf(remote).IsValid() {
				t.Errorf("the fetch log has %q", remote)
			}
		case http.StatusBadRequest, http.StatusForbidden:
		default:
			t.Errorf("status %d", w.Code)
		}
		if p := strings.TrimSpace(strings.ToLower(proto)); p != "" && p != "https" && !strings.ContainsAny(p, ",\"\\") && w.Code == http.StatusOK {
			t.Errorf("a policy was given although the proxy says %q", proto)
		}
	})
}
