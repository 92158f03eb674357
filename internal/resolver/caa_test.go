package resolver_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/miekg/dns"

	"github.com/stshost/stshost/internal/caa"
	"github.com/stshost/stshost/internal/resolver"
)

var caaRecords = []string{
	`test. 60 IN CAA 0 issue "top.example"`,
	`example.test. 60 IN CAA 0 issue "ca.example; a=b"`,
	`example.test. 60 IN CAA 128 iodef "mailto:x@example.test"`,
	`mta-sts.example.test. 60 IN A 127.0.0.1`,
	`own.example.test. 60 IN CAA 0 issue ";"`,
	`mta-sts.none.test. 60 IN A 127.0.0.1`,
	// An alias to a name with records, to one without, and above the host.
	`alias.none.test. 60 IN CNAME sts.host.test.`,
	`sts.host.test. 60 IN CNAME deep.host.test.`,
	`deep.host.test. 60 IN CAA 0 issue "host.example"`,
	`bare.example.test. 60 IN CNAME bare.host.test.`,
	`host.test. 60 IN CAA 0 issue "above.example"`,
	`bare.host.test. 60 IN A 127.0.0.1`,
	`zone.none.test. 60 IN CNAME deep.host.test.`,
	`loop.none.test. 60 IN CNAME loop.none.test.`,
}

// RFC 8659 §3: the closest name that has any, aliases followed at each.
func TestCAA(t *testing.T) {
	s := startServer(t, []string{"test."}, caaRecords...)
	r, ctx := resolverOf(t, s), t.Context()
	top := caa.Set{Owner: "test", Records: []caa.Record{{Tag: "issue", Value: "top.example"}}}
	example := caa.Set{Owner: "example.test", Records: []caa.Record{
		{Tag: "issue", Value: "ca.example; a=b"}, {Flags: 128, Tag: "iodef", Value: "mailto:x@example.test"}}}
	host := caa.Set{Owner: "deep.host.test", Records: []caa.Record{{Tag: "issue", Value: "host.example"}}}
	for name, want := range map[string]caa.Set{
		"mta-sts.example.test":  example,
		"MTA-STS.Example.test.": example,
		"own.example.test":      {Owner: "own.example.test", Records: []caa.Record{{Tag: "issue", Value: ";"}}},
		"gone.example.test":     example,
		"mta-sts.none.test":     top,
		// The walk goes up from the alias, not from its target (unlike RFC 6844).
		"bare.example.test": example,
	} {
		got, err := r.CAA(ctx, name)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v\n%s", name, err, diff)
		}
	}
	for name, alias := range map[string]string{"alias.none.test": "alias.none.test", "mta-sts.zone.none.test": "zone.none.test"} {
		want := host
		want.Alias = alias
		got, err := r.CAA(ctx, name)
		if diff := cmp.Diff(want, got); diff != "" || err != nil {
			t.Errorf("%s: %v\n%s", name, err, diff)
		}
	}
	if _, err := r.CAA(ctx, "loop.none.test"); err == nil || errors.Is(err, resolver.ErrNotFound) {
		t.Errorf("a loop: %v", err)
	}
	if got, err := r.CAA(ctx, "mta-sts.none.invalid"); err == nil {
		t.Errorf("a refused look-up gave %v", got) // the server is not authoritative for it
	}
	// A name server in place of a resolver refuses what is above its zone.
	s = startServer(t, []string{"example.test."}, "mta-sts.example.test. 60 IN A 127.0.0.1")
	if got, err := resolverOf(t, s).CAA(ctx, "mta-sts.example.test"); err != nil || len(got.Records) > 0 {
		t.Errorf("at a name server: %v, %v", got, err)
	}
}

// A server that fails is not one that has no record: a CA refuses then, too.
func TestCAAFails(t *testing.T) {
	s := startServer(t, []string{"test."}, caaRecords...)
	s.misbehave(func(_ string, q, m *dns.Msg) *dns.Msg {
		if q.Question[0].Name == "example.test." {
			m.Rcode, m.Answer = dns.RcodeServerFailure, nil
		}
		return m
	})
	_, err := resolverOf(t, s).CAA(t.Context(), "mta-sts.example.test")
	if err == nil || !strings.Contains(err.Error(), "SERVFAIL") || !strings.Contains(err.Error(), "CAA example.test") {
		t.Errorf("got %v", err)
	}
	for _, q := range s.questions() {
		if strings.HasSuffix(q, " test.") {
			t.Error("the walk went on past a failure")
		}
	}
}
