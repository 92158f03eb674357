package dnsupdate_test

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stshost/stshost/dnsupdate"
	"github.com/stshost/stshost/internal/dnstest"
	"github.com/stshost/stshost/internal/state"
)

// TestPowerDNSErrors shows what an operator reads when the API is set up wrong.
func TestPowerDNSErrors(t *testing.T) {
	s := dnstest.StartPowerDNS(t, zone)
	right := overPowerDNS(t, s)
	other := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Write([]byte("<html>welcome to nginx</html>"))
	}))
	defer other.Close()
	away := httptest.NewServer(http.RedirectHandler(other.URL, http.StatusFound))
	defer away.Close()

	for _, c := range []struct {
		name   string
		change map[string]string
		target state.Target
		want   []string
	}{
		{name: "key", change: map[string]string{"api_key": "wrong-key-8812"}, want: []string{"api_key", "401"}},
		{name: "server id", change: map[string]string{"server_id": "elsewhere"}, want: []string{"elsewhere", "server_id"}},
		{name: "zone", target: state.Target{Zone: "missing.test", Name: "_mta-sts.missing.test"}, want: []string{"no zone missing.test."}},
		{name: "not the API", change: map[string]string{"url": other.URL}, want: []string{"check url"}},
		{name: "redirect", change: map[string]string{"url": away.URL}, want: []string{"redirects", "url"}},
		{name: "no server", change: map[string]string{"url": "http://127.0.0.1:1"}, want: []string{"cannot be reached", "refused"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			settings := maps.Clone(right.settings)
			maps.Copy(settings, c.change)
			at := c.target
			if at.Name == "" {
				at = target("errors")
			}
			at.Account = account
			b := open(t, dnsupdate.Config{
				Accounts: map[string]dnsupdate.Account{account: {Provider: "powerdns", Settings: settings}},
				Resolver: newResolver(t, s.Addr, s.Port),
			})
			b.secrets = []string{s.APIKey, "wrong-key-8812"}
			err := b.Push(t.Context(), at, first)
			if err == nil {
				t.Fatal("no error")
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q is not in: %v", w, err)
				}
			}
			b.clean(t, err.Error())
		})
	}
}

// TestPowerDNSDisabled shows that a record which PowerDNS holds and does not
// show is left as it is.
func TestPowerDNSDisabled(t *testing.T) {
	s := dnstest.StartPowerDNS(t, zone)
	b := overPowerDNS(t, s)
	s.API(t, http.MethodPatch, "/zones/"+zone+".", map[string]any{"rrsets": []any{map[string]any{
		"name": "_mta-sts.off." + zone + ".", "type": "TXT", "ttl": 60, "changetype": "REPLACE",
		"records": []any{map[string]any{"content": `"` + stale + `"`, "disabled": true}},
	}}})
	if err := b.Push(t.Context(), target("off"), first); err != nil {
		t.Fatal(err)
	}
	b.confirmed(t, target("off"), first)
	if all := string(s.API(t, http.MethodGet, "/zones/"+zone+".", nil)); !strings.Contains(all, stale) {
		t.Error("the disabled record is gone")
	}
}

// before calls f before each request.
type before func(*http.Request)

func (f before) RoundTrip(req *http.Request) (*http.Response, error) {
	f(req)
	return http.DefaultTransport.RoundTrip(req)
}

// TestPowerDNSForeignMeanwhile shows that a record which somebody else adds
// while a change is under way is not lost to it.
func TestPowerDNSForeignMeanwhile(t *testing.T) {
	s := dnstest.StartPowerDNS(t, zone)
	b := overPowerDNS(t, s)
	if err := b.Push(t.Context(), target("meanwhile"), first); err != nil {
		t.Fatal(err)
	}
	reads := 0
	b = open(t, dnsupdate.Config{
		Accounts: map[string]dnsupdate.Account{account: {Provider: "powerdns", Settings: b.settings}},
		Resolver: newResolver(t, s.Addr, s.Port),
		Transport: before(func(req *http.Request) {
			if req.Method != http.MethodGet {
				return
			}
			if reads++; reads == 2 { // what is at the name was read once
				s.AddRecord(t, "_mta-sts.meanwhile."+zone+`. 60 IN TXT "foreign"`)
			}
		}),
	})
	if err := b.Push(t.Context(), target("meanwhile"), second); err != nil {
		t.Fatal(err)
	}
	want := [][]string{{"foreign"}, {second}}
	got := s.TXT(t, "_mta-sts.meanwhile."+zone)
	slices.SortFunc(got, slices.Compare)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
