package resolver_test

import (
	"context"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/stshost/stshost/internal/resolver"
)

var zoneRecords = []string{
	"example.test. 60 IN SOA ns1.example.test. h.example.test. 1 1 1 1 1",
	"example.test. 60 IN NS ns1.example.test.",
	"example.test. 60 IN NS ns2.example.test.",
	"example.test. 60 IN NS gone.example.test.",
	"example.test. 60 IN MX 10 mx1.example.test.",
	"example.test. 60 IN MX 20 mx2.example.test.",
	"null.example.test. 60 IN MX 0 .",
	"ns1.example.test. 60 IN A 127.0.0.1",
	"ns2.example.test. 60 IN A 127.0.0.1",
	"ns2.example.test. 60 IN AAAA ::1",
	`_mta-sts.example.test. 60 IN TXT "v=STSv1; " "id=1;"`,
	`_mta-sts.example.test. 60 IN TXT "quote \" slash \\ \195\164\000"`,
	"alias.example.test. 60 IN CNAME other.example.test.",
	"other.example.test. 60 IN CNAME _mta-sts.example.test.",
	"loop.example.test. 60 IN CNAME loop.example.test.",
	"_mta-sts.away.example.test. 60 IN CNAME x.sub.example.test.",
	"sub.example.test. 60 IN SOA ns1.example.test. h.example.test. 1 1 1 1 1",
	"x.sub.example.test. 60 IN TXT x",
}

var wantTXT = []string{"v=STSv1; id=1;", "quote \" slash \\ ä\x00"}

func TestLookups(t *testing.T) {
	s := startServer(t, []string{"example.test."}, zoneRecords...)
	r, ctx := resolverOf(t, s), t.Context()

	for _, name := range []string{"_mta-sts.example.test", "_MTA-STS.example.test.", "alias.example.test"} {
		got, err := r.TXT(ctx, name)
		if err != nil {
			t.Errorf("TXT %s: %v", name, err)
		}
		if diff := cmp.Diff(wantTXT, got); diff != "" {
			t.Errorf("TXT %s:\n%s", name, diff)
		}
	}
	for name, what := range map[string]string{"nothing.example.test": "NXDOMAIN", "ns1.example.test": "NODATA", "loop.example.test": "a loop"} {
		_, err := r.TXT(ctx, name)
		var e *resolver.Error
		if !errors.As(err, &e) || e.NotFound() != (what != "a loop") || errors.Is(err, resolver.ErrNotFound) != e.NotFound() {
			t.Errorf("TXT of %s: %v", what, err)
		}
	}
	mx, err := r.MX(ctx, "example.test")
	if diff := cmp.Diff([]resolver.MX{{Host: "mx1.example.test", Preference: 10}, {Host: "mx2.example.test", Preference: 20}}, mx); diff != "" || err != nil {
		t.Errorf("MX: %v\n%s", err, diff)
	}
	if mx, err := r.MX(ctx, "null.example.test"); err != nil || len(mx) != 1 || mx[0].Host != "." {
		t.Errorf("null MX: %v, %v", mx, err)
	}
	if a, err := r.Addrs(ctx, "ip6", "ns2.example.test"); err != nil || len(a) != 1 || a[0] != netip.MustParseAddr("::1") {
		t.Errorf("AAAA: %v, %v", a, err)
	}
	if a, err := r.Addrs(ctx, "ip4", "ns2.example.test"); err != nil || len(a) != 1 || a[0] != netip.MustParseAddr("127.0.0.1") {
		t.Errorf("A: %v, %v", a, err)
	}
}

func TestZones(t *testing.T) {
	s := startServer(t, []string{"example.test."}, zoneRecords...)
	r, ctx := resolverOf(t, s), t.Context()

	for name, want := range map[string]string{
		"_mta-sts.example.test":      "example.test.",
		"example.test.":              "example.test.",
		"a.b.c.example.test":         "example.test.",
		"x.sub.example.test":         "sub.example.test.",
		"_mta-sts.away.example.test": "example.test.", // a CNAME into the other zone does not move the name there
	} {
		if got, err := r.FindZone(ctx, name); err != nil || got != want {
			t.Errorf("FindZone(%s) = %q, %v; want %q", name, got, err, want)
		}
	}
	registry := startServer(t, []string{"."}, "test. 60 IN SOA a.nic.test. h.nic.test. 1 1 1 1 1", "co.uk. 60 IN SOA a.nic.uk. h.nic.uk. 1 1 1 1 1",
		"mta-sts.mail.test. 60 IN A 127.0.0.1")
	all := resolverOf(t, registry)
	for name, missing := range map[string]string{
		"_mta-sts.unregistered.test":  "unregistered.test",
		"_mta-sts.unregistered.co.uk": "unregistered.co.uk",
		"_mta-sts.example.nonsense":   "nonsense",
	} {
		if zone, err := all.FindZone(ctx, name); !errors.Is(err, resolver.ErrNotFound) || !strings.Contains(err.Error(), ": "+missing+" does not exist") {
			t.Errorf("FindZone(%s), a domain that nobody registered: %q, %v", name, zone, err)
		}
	}
	if zone, err := all.FindZone(ctx, "_mta-sts.mail.test"); err != nil || zone != "test." {
		t.Errorf("FindZone of a name in a private top-level zone: %q, %v", zone, err)
	}

	servers, err := r.AuthServers(ctx, "example.test.")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, a := range servers {
		got = append(got, a.Name+" "+a.Addr.Addr().String())
	}
	want := []string{"ns1.example.test 127.0.0.1", "ns2.example.test 127.0.0.1", "ns2.example.test ::1"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("AuthServers:\n%s", diff)
	}
	txt, err := r.AuthTXT(ctx, servers[0], "_mta-sts.example.test")
	if diff := cmp.Diff(wantTXT, txt); diff != "" || err != nil {
		t.Errorf("AuthTXT: %v\n%s", err, diff)
	}
	if txt, err := r.AuthTXT(ctx, servers[0], "nothing.example.test"); err != nil || len(txt) != 0 {
		t.Errorf("AuthTXT of nothing: %q, %v", txt, err)
	}
	var alias *resolver.AliasError
	if _, err := r.AuthTXT(ctx, servers[0], "alias.example.test"); !errors.As(err, &alias) || alias.Target != "other.example.test" {
		t.Errorf("AuthTXT of an alias: %v", err)
	}
	s.misbehave(func(_ string, _, m *dns.Msg) *dns.Msg { m.Authoritative = false; return m })
	if _, err := r.AuthTXT(ctx, servers[0], "_mta-sts.example.test"); err == nil || !strings.Contains(err.Error(), "authoritative") {
		t.Errorf("AuthTXT from a server that is not authoritative: %v", err)
	}
	s.misbehave(func(_ string, _, m *dns.Msg) *dns.Msg {
		m.Authoritative, m.Answer = false, nil
		m.Ns = []dns.RR{&dns.NS{Hdr: dns.RR_Header{Name: "sub.example.test.", Rrtype: dns.TypeNS, Class: dns.ClassINET}, Ns: "ns1.example.test."}}
		return m
	})
	if _, err := r.AuthTXT(ctx, servers[0], "_mta-sts.sub.example.test"); err == nil || !strings.Contains(err.Error(), "name servers of sub.example.test:") {
		t.Errorf("AuthTXT from a server that has delegated the name: %v", err)
	}
}

// TestServersThatMisbehave shows which answers are got in spite of it.
func TestServersThatMisbehave(t *testing.T) {
	for _, c := range []struct {
		name  string
		twist func(network string, q, m *dns.Msg) *dns.Msg
		want  string // in the error; "" is success
	}{
		{name: "truncation", twist: func(network string, _, m *dns.Msg) *dns.Msg {
			if network == "udp" {
				m.Truncated, m.Answer = true, nil
			}
			return m
		}},
		{name: "no EDNS", twist: func(_ string, q, m *dns.Msg) *dns.Msg {
			if q.IsEdns0() != nil {
				m.Rcode, m.Answer, m.Extra = dns.RcodeFormatError, nil, nil
			}
			return m
		}},
		{name: "SERVFAIL", want: "SERVFAIL", twist: func(_ string, _, m *dns.Msg) *dns.Msg { m.Rcode = dns.RcodeServerFailure; return m }},
		{name: "REFUSED", want: "REFUSED", twist: func(_ string, _, m *dns.Msg) *dns.Msg { m.Rcode = dns.RcodeRefused; return m }},
		{name: "silence", want: "did not answer within 300ms", twist: func(string, *dns.Msg, *dns.Msg) *dns.Msg { return nil }},
		{name: "another question", want: "another question", twist: func(_ string, _, m *dns.Msg) *dns.Msg { m.Question[0].Name = "evil.test."; return m }},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := startServer(t, []string{"example.test."}, zoneRecords...)
			s.misbehave(c.twist)
			r := resolverOf(t, s)
			got, err := r.TXT(t.Context(), "_mta-sts.example.test")
			if c.want == "" {
				if diff := cmp.Diff(wantTXT, got); diff != "" || err != nil {
					t.Errorf("%v\n%s", err, diff)
				}
				return
			}
			if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), s.addr) || errors.Is(err, resolver.ErrNotFound) {
				t.Fatalf("error %v does not say %q about %s", err, c.want, s.addr)
			}
			// A second resolver that works makes up for the first.
			r = resolverOf(t, s, startServer(t, []string{"example.test."}, zoneRecords...))
			if _, err := r.TXT(t.Context(), "_mta-sts.example.test"); err != nil {
				t.Errorf("with a second resolver: %v", err)
			}
		})
	}
}

// TestCancel shows that the end of the context ends a question at once.
func TestCancel(t *testing.T) {
	s := startServer(t, []string{"example.test."})
	ctx, cancel := context.WithCancel(t.Context())
	s.misbehave(func(string, *dns.Msg, *dns.Msg) *dns.Msg { cancel(); return nil })
	r, err := resolver.New(resolver.Config{Servers: []string{s.addr}, Timeout: time.Minute})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.TXT(ctx, "_mta-sts.example.test"); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v is not the context's", err)
	}
	if n := len(s.questions()); n != 1 {
		t.Errorf("%d questions were asked", n)
	}
}

func TestNew(t *testing.T) {
	for _, good := range []string{"127.0.0.1:53", "127.0.0.1", "::1", "[::1]", "[::1]:5353", "localhost:53", "localhost"} {
		if _, err := resolver.New(resolver.Config{Servers: []string{good}}); err != nil {
			t.Errorf("%q: %v", good, err)
		}
	}
	for _, bad := range []string{"", ":53", "a:b:c", "127.0.0.1:"} {
		if _, err := resolver.New(resolver.Config{Servers: []string{bad}}); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
	if _, err := resolver.New(resolver.Config{Servers: []string{"127.0.0.1"}, AuthPort: 70000}); err == nil {
		t.Error("port 70000 is taken")
	}
}
