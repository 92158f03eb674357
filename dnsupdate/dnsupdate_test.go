package dnsupdate_test

import (
	"errors"
	"maps"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stshost/stshost/dnsupdate"
	"github.com/stshost/stshost/internal/cloudflaretest"
	"github.com/stshost/stshost/internal/dnstest"
	"github.com/stshost/stshost/internal/state"
)

// TestAccounts shows that every wrong account is named at once, with what to
// put right and without its secret.
func TestAccounts(t *testing.T) {
	update := map[string]string{"server": "ns1.example.com", "key_name": "k", "key": "c2VjcmV0"}
	with := func(key, value string) dnsupdate.Account {
		settings := maps.Clone(update)
		settings[key] = value
		return dnsupdate.Account{Provider: "rfc2136", Settings: settings}
	}
	bad := map[string]dnsupdate.Account{
		"a-unknown":  {Provider: "nosuch"},
		"b-missing":  {Provider: "rfc2136", Settings: map[string]string{"server": "x"}},
		"c-setting":  with("keyname", "x"),
		"d-base64":   with("key", "!!hunter2!!"),
		"e-alg":      with("key_alg", "hmac-md5"),
		"f-server":   with("server", "a:b:c"),
		"g-url":      {Provider: "powerdns", Settings: map[string]string{"url": "127.0.0.1:8081", "api_key": "hunter2"}},
		"h-token":    {Provider: "cloudflare", Settings: map[string]string{"api_token": "Bearer hunter2"}},
		"j-refused":  {Provider: "gandi", Settings: map[string]string{"api_token": "hunter2"}},
		"k-ionos":    {Provider: "ionos", Settings: map[string]string{"api_key": "hunter2"}},
		"l-netcup":   {Provider: "netcup", Settings: map[string]string{"customer_number": "me", "api_key": "hunter2", "api_password": "hunter2"}},
		"m-ovh":      {Provider: "ovh", Settings: map[string]string{"endpoint": "ovh-xx", "application_key": "hunter2", "application_secret": "hunter2", "consumer_key": "hunter2"}},
		"n-hetzner":  {Provider: "hetzner", Settings: map[string]string{"api_token": "Bearer hunter2"}},
		"o-route53":  {Provider: "route53", Settings: map[string]string{"access_key_id": "x"}},
		"i-userinfo": {Provider: "powerdns", Settings: map[string]string{"url": "http://u:hunter2@h:8081", "api_key": "hunter2"}},
	}
	want := map[string]string{
		"a-unknown": "cloudflare, desec, hetzner, ionos, netcup, ovh, powerdns, print, rfc2136, route53", "b-missing": "key_name is missing", "c-setting": "keyname is not known",
		"d-base64": "not base64", "e-alg": "hmac-sha256", "f-server": "host:port", "g-url": "http://127.0.0.1:8081", "h-token": "blanks", "i-userinfo": "url",
		"j-refused": "not offered: its libdns module adds", "k-ionos": "a dot", "l-netcup": "customer_number", "m-ovh": "ovh-ca, ovh-eu, ovh-us",
		"n-hetzner": "blanks", "o-route53": "secret_access_key is missing",
	}
	_, err := dnsupdate.New(dnsupdate.Config{Accounts: bad, Resolver: newResolver(t, "127.0.0.1:1", 1)})
	if err == nil {
		t.Fatal("all are taken")
	}
	for name, w := range want {
		found := false
		for line := range strings.SplitSeq(err.Error(), "dns account ") {
			found = found || strings.HasPrefix(line, name+":") && strings.Contains(line, w)
		}
		if !found {
			t.Errorf("%s: %q is not said in\n%v", name, w, err)
		}
	}
	if strings.Contains(err.Error(), "hunter2") {
		t.Errorf("a secret is shown: %v", err)
	}
	for _, alg := range []string{"", "hmac-sha512", "HMAC-SHA256."} {
		if _, err := dnsupdate.New(dnsupdate.Config{Accounts: map[string]dnsupdate.Account{"x": with("key_alg", alg)}, Resolver: newResolver(t, "127.0.0.1:1", 1)}); err != nil {
			t.Errorf("algorithm %q: %v", alg, err)
		}
	}
}

// TestProviders shows that every provider is offered and its secrets marked.
func TestProviders(t *testing.T) {
	got := map[string][]string{}
	for name, settings := range dnsupdate.Providers() {
		got[name] = []string{}
		for _, s := range settings {
			entry := s.Key
			if s.Required {
				entry += " required"
			}
			if s.Secret {
				entry += " secret"
			}
			if s.Doc == "" {
				t.Errorf("%s %s is not explained", name, s.Key)
			}
			got[name] = append(got[name], entry)
		}
	}
	want := map[string][]string{
		"cloudflare": {"api_token required secret", "zone_token secret"},
		"desec":      {"api_token required secret"},
		"hetzner":    {"api_token required secret"},
		"ionos":      {"api_key required secret"},
		"netcup":     {"customer_number required", "api_key required secret", "api_password required secret"},
		"ovh":        {"endpoint", "application_key required secret", "application_secret required secret", "consumer_key required secret"},
		"powerdns":   {"url required", "api_key required secret", "server_id"},
		"print":      {},
		"rfc2136":    {"server required", "key_name required", "key_alg", "key required secret"},
		"route53":    {"access_key_id required", "secret_access_key required secret", "hosted_zone_id"},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for name, why := range dnsupdate.RefusedProviders() {
		if _, offered := got[name]; offered || !strings.Contains(why, "CNAME") || !strings.Contains(why, "print") {
			t.Errorf("%s is refused because %q", name, why)
		}
	}
}

// TestSetAccounts shows that a reload keeps the client of an unchanged account
// (it remembers the zone), replaces a changed one, and changes nothing on error.
func TestSetAccounts(t *testing.T) {
	s := cloudflaretest.Start(t, zone)
	b := overCloudflare(t, s)
	push := func(txt string) (requests int, err error) {
		before := len(s.Requests())
		err = b.Push(t.Context(), target("x"), txt)
		return len(s.Requests()) - before, err
	}
	same := map[string]dnsupdate.Account{account: {Provider: "cloudflare", Settings: maps.Clone(b.settings)}}
	wrong := map[string]dnsupdate.Account{account: {Provider: "cloudflare", Settings: map[string]string{"api_token": "other"}}}
	if _, err := push(first); err != nil {
		t.Fatal(err)
	}
	if err := b.SetAccounts(same); err != nil {
		t.Fatal(err)
	}
	if n, err := push(first); n != 1 || err != nil {
		t.Errorf("an unchanged account needs %d requests: %v", n, err)
	}
	if err := b.SetAccounts(map[string]dnsupdate.Account{"new": {Provider: "nosuch"}}); err == nil {
		t.Error("an unknown provider is taken")
	}
	if n, err := push(first); n != 1 || err != nil {
		t.Errorf("after a refused reload: %d requests, %v", n, err)
	}
	if got := b.Stats()[account]; got.Pushes != 3 || got.Failures != 0 || got.TokensLeft <= 0 {
		t.Errorf("counted %+v", got)
	}
	if err := b.SetAccounts(wrong); err != nil {
		t.Fatal(err)
	}
	if _, err := push(first); err == nil {
		t.Error("the old token is still used")
	}
	if got := b.Stats()[account]; got.Pushes != 1 || got.Failures != 1 {
		t.Errorf("counted %+v", got)
	}
	if err := b.SetAccounts(nil); err != nil {
		t.Fatal(err)
	}
	if _, err := push(first); err == nil || !strings.Contains(err.Error(), `no dns account "main"`) {
		t.Errorf("without accounts: %v", err)
	}
}

// TestPrint shows that the record is asked of the operator until every server
// shows it alone.
func TestPrint(t *testing.T) {
	s := cloudflaretest.Start(t, zone)
	b := open(t, dnsupdate.Config{
		Accounts: map[string]dnsupdate.Account{account: {Provider: "print"}},
		Resolver: newResolver(t, s.DNSAddr, s.DNSPort),
	})
	at := target("x")
	waits := func(want string) {
		t.Helper()
		err := b.Push(t.Context(), at, first)
		if !errors.Is(err, state.ErrManual) || !strings.Contains(err.Error(), want) {
			t.Errorf("error %v does not ask the operator to %s", err, want)
		}
	}
	waits("add the TXT record")
	s.Add(t, "TXT", at.Name, `"`+stale+`"`)
	waits("the only v=STSv1 TXT record")
	s.Add(t, "TXT", at.Name, `"`+first+`"`)
	waits("the only v=STSv1 TXT record")
	s.Remove("TXT", at.Name)
	s.Add(t, "TXT", at.Name, `"`+first+`"`)
	s.Add(t, "TXT", at.Name, `"foreign"`)
	if err := b.Push(t.Context(), at, first); err != nil {
		t.Errorf("the record stands: %v", err)
	}
	if err := b.Withdraw(t.Context(), at); !errors.Is(err, state.ErrManual) || !strings.Contains(err.Error(), "remove the TXT record") {
		t.Errorf("removal: %v", err)
	}
	s.Remove("TXT", at.Name)
	if err := b.Withdraw(t.Context(), at); err != nil {
		t.Errorf("the record is gone: %v", err)
	}
}

// TestZone shows how the zone of a name is found and checked.
func TestZone(t *testing.T) {
	s := cloudflaretest.Start(t, zone, "sub."+zone)
	b := overCloudflare(t, s)
	for _, c := range []struct{ zone, name, want, err string }{
		{"", "_mta-sts." + zone, zone + ".", ""},
		{"", "_mta-sts.sub." + zone, "sub." + zone + ".", ""},
		{"Example.Test", "_mta-sts.sub." + zone, zone + ".", ""},
		{"other.test.", "_mta-sts." + zone, "", "does not lie in zone other.test."},
	} {
		got, err := b.Zone(t.Context(), state.Target{Account: account, Zone: c.zone, Name: c.name})
		if got != c.want || (err == nil) != (c.err == "") || err != nil && !strings.Contains(err.Error(), c.err) {
			t.Errorf("zone %q, name %s: %q, %v", c.zone, c.name, got, err)
		}
	}
}

// TestObserve shows that each server is asked for itself: one that is down or
// shows something else is not hidden by the others.
func TestObserve(t *testing.T) {
	s := dnstest.StartKnot(t, zone)
	b := overUpdate(t, s)
	at := target("x")
	if err := b.Push(t.Context(), at, first); err != nil {
		t.Fatal(err)
	}
	b.confirmed(t, at, first)

	// A second name server at an address where nothing listens.
	s.AddRecord(t, zone+". 60 IN NS down."+zone+".", "down."+zone+". 60 IN A 127.0.0.9")
	seen, err := b.Observe(t.Context(), at)
	if err != nil || len(seen) != 2 {
		t.Fatalf("%v, %v", seen, err)
	}
	var right, down int
	for _, server := range seen {
		switch {
		case server.Err == nil && cmp.Equal(server.TXT, []string{first}):
			right++
		case server.Err != nil && strings.Contains(server.Err.Error(), "down."+zone) && strings.Contains(server.Err.Error(), "127.0.0.9"):
			down++
		}
	}
	if right != 1 || down != 1 {
		t.Errorf("servers say %+v", seen)
	}

	s.Stop()
	if _, err := b.Observe(t.Context(), at); err == nil || !strings.Contains(err.Error(), s.Addr) {
		t.Errorf("without any server: %v", err)
	}
}

// TestObserveNoRoute shows that an address family this machine lacks is left
// out where another address answered.
func TestObserveNoRoute(t *testing.T) {
	s := dnstest.StartKnot(t, zone)
	b := overUpdate(t, s)
	// 2001:db8::/32 is for documentation; it is routed nowhere. A machine with
	// a default route for IPv6 gets no answer instead of no route.
	s.AddRecord(t, "ns1."+zone+". 60 IN AAAA 2001:db8::53")
	seen, err := b.Observe(t.Context(), target("x"))
	if err != nil {
		t.Fatal(err)
	}
	switch len(seen) {
	case 1:
	case 2:
		if seen[1].Err == nil {
			t.Errorf("somebody answers at 2001:db8::53: %+v", seen)
		}
	default:
		t.Errorf("servers say %+v", seen)
	}
}

// TestPushNeedsRecord shows that nothing but an MTA-STS record is pushed.
func TestPushNeedsRecord(t *testing.T) {
	s := cloudflaretest.Start(t, zone)
	b := overCloudflare(t, s)
	s.Fail(func(r *http.Request) *cloudflaretest.Failure { t.Errorf("request %s", r.URL); return nil })
	for _, txt := range []string{"", "hello", "v=STSv2; id=1;"} {
		if err := b.Push(t.Context(), target("x"), txt); err == nil {
			t.Errorf("%q is pushed", txt)
		}
	}
}
