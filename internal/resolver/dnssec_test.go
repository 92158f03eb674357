package resolver_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/stshost/stshost/internal/dnstest"
	"github.com/stshost/stshost/internal/resolver"
)

const tlsaData = "0000000000000000000000000000000000000000000000000000000000000001"

func signedWorld(t *testing.T) (*dnstest.Signed, *resolver.Resolver) {
	t.Helper()
	w := dnstest.SignedWorld(t,
		dnstest.Zone{Name: "example.test", Records: []string{
			`_mta-sts IN TXT "v=STSv1; " "id=1;"`,
			`hosted IN CNAME one.provider.test.`,
			`astray IN CNAME one.plain.test.`,
			`back IN CNAME back.plain.test.`,
			`nowhere IN CNAME nothing.provider.test.`,
			`@ IN MX 10 mx`,
			`mx IN A 127.0.0.1`,
			`_25._tcp.mx IN TLSA 3 1 1 ` + tlsaData,
			`*.any IN TXT wild`,
		}},
		dnstest.Zone{Name: "provider.test", Records: []string{`one IN TXT "v=STSv1; id=2;"`}},
		dnstest.Zone{Name: "plain.test", Unsigned: true, Records: []string{
			`one IN TXT "v=STSv1; id=3;"`,
			`back IN CNAME one.provider.test.`,
			`_25._tcp.mx IN TLSA 3 1 1 ` + tlsaData,
		}},
		dnstest.Zone{Name: "island.plain.test", Records: []string{`x IN TXT island`}},
	)
	r, err := resolver.New(resolver.Config{Servers: []string{w.ResolverAddr}, Timeout: 5 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return w, r
}

// TestDNSSEC shows what is said of answers through a resolver that validates.
func TestDNSSEC(t *testing.T) {
	_, r := signedWorld(t)
	for _, c := range []struct {
		name    string
		qtype   uint16
		records int
		aliases int
		secure  bool
	}{
		{"_mta-sts.example.test", dns.TypeTXT, 1, 0, true},
		{"example.test", dns.TypeMX, 1, 0, true},
		{"mx.example.test", dns.TypeA, 1, 0, true},
		{"_25._tcp.mx.example.test", dns.TypeTLSA, 1, 0, true},
		{"x.any.example.test", dns.TypeTXT, 1, 0, true},
		// That there is nothing is vouched for, too.
		{"mx.example.test", dns.TypeAAAA, 0, 0, true},
		{"missing.example.test", dns.TypeTXT, 0, 0, true},
		{"one.plain.test", dns.TypeTXT, 1, 0, false},
		{"_25._tcp.mx.plain.test", dns.TypeTLSA, 1, 0, false},
		{"missing.plain.test", dns.TypeTXT, 0, 0, false},
		// Signed, but the chain of trust ends above it.
		{"x.island.plain.test", dns.TypeTXT, 1, 0, false},
		// An alias is as good as the worst zone on the way.
		{"hosted.example.test", dns.TypeTXT, 1, 1, true},
		{"nowhere.example.test", dns.TypeTXT, 0, 1, true},
		{"astray.example.test", dns.TypeTXT, 1, 1, false},
		{"back.example.test", dns.TypeTXT, 1, 2, false},
	} {
		a, err := r.Look(t.Context(), c.name, c.qtype)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		if len(a.Records) != c.records || len(a.Aliases) != c.aliases || !a.Judged || a.Authenticated != c.secure {
			t.Errorf("%s: %d records over %d aliases, judged %v, authenticated %v; want %d over %d, authenticated %v",
				c.name, len(a.Records), len(a.Aliases), a.Judged, a.Authenticated, c.records, c.aliases, c.secure)
		}
	}
	if a, err := r.Look(t.Context(), "missing.example.test", dns.TypeTXT); err != nil || !a.Missing {
		t.Errorf("a name that does not exist: %+v, %v", a, err)
	}
}

// TestBogus shows an answer that fails validation, and its way past it.
func TestBogus(t *testing.T) {
	w, r := signedWorld(t)
	w.Forge(t, `_mta-sts.example.test. 60 IN TXT "v=STSv1; id=forged;"`, `one.provider.test. 60 IN TXT forged`)
	for _, name := range []string{"_mta-sts.example.test", "hosted.example.test"} {
		if a, err := r.Look(t.Context(), name, dns.TypeTXT); !errors.Is(err, resolver.ErrServerFailure) || a.Judged || a.Authenticated {
			t.Errorf("%s: %+v, %v", name, a, err)
		}
		if txts, err := r.TXT(t.Context(), name); !errors.Is(err, resolver.ErrServerFailure) {
			t.Errorf("%s as senders look: %q, %v", name, txts, err)
		}
		a, err := r.LookUnchecked(t.Context(), name, dns.TypeTXT)
		if err != nil || len(a.TXT()) != 1 || !strings.Contains(a.TXT()[0], "forged") || a.Judged || a.Authenticated {
			t.Errorf("%s unchecked: %+v, %v", name, a, err)
		}
	}
	if a, err := r.Look(t.Context(), "example.test", dns.TypeMX); err != nil || !a.Authenticated {
		t.Errorf("what nobody forged: %+v, %v", a, err)
	}
	// Unchecked, what is sound answers as well, and is not judged: it would say nothing.
	if a, err := r.LookUnchecked(t.Context(), "example.test", dns.TypeMX); err != nil || len(a.MX()) != 1 || a.Judged || a.Authenticated {
		t.Errorf("unchecked and sound: %+v, %v", a, err)
	}
}

// TestResolverThatDoesNotValidate shows that its silence about DNSSEC is not
// taken for a zone without signatures.
func TestResolverThatDoesNotValidate(t *testing.T) {
	w, _ := signedWorld(t)
	s := startServer(t, []string{"."}, zoneRecords...)
	a, err := resolverOf(t, s).Look(t.Context(), "_mta-sts.example.test", dns.TypeTXT)
	if err != nil || len(a.Records) == 0 || a.Judged || a.Authenticated {
		t.Errorf("%+v, %v", a, err)
	}
	// A signed zone at its authoritative server: nobody has validated that.
	auth, err := resolver.New(resolver.Config{Servers: []string{w.AuthAddr}})
	if err != nil {
		t.Fatal(err)
	}
	if a, err := auth.Look(t.Context(), "_mta-sts.example.test", dns.TypeTXT); err != nil || len(a.Records) == 0 || a.Judged || a.Authenticated {
		t.Errorf("an authoritative server: %+v, %v", a, err)
	}
}

// TestQuestionBits shows what each kind of question asks: DO beside AD, without
// which some resolvers do not set AD, and no DNSSEC where nothing is made of it.
func TestQuestionBits(t *testing.T) {
	for _, c := range []struct {
		name       string
		ask        func(*resolver.Resolver) error
		ad, do, cd bool
	}{
		{"Look", func(r *resolver.Resolver) error {
			_, err := r.Look(t.Context(), "_mta-sts.example.test", dns.TypeTXT)
			return err
		}, true, true, false},
		{"LookUnchecked", func(r *resolver.Resolver) error {
			_, err := r.LookUnchecked(t.Context(), "_mta-sts.example.test", dns.TypeTXT)
			return err
		}, false, false, true},
		{"TXT", func(r *resolver.Resolver) error {
			_, err := r.TXT(t.Context(), "_mta-sts.example.test")
			return err
		}, false, false, false},
	} {
		s := startServer(t, []string{"example.test."}, zoneRecords...)
		questions := make(chan *dns.Msg, 2) // Look asks about the root besides
		s.misbehave(func(_ string, q, m *dns.Msg) *dns.Msg {
			questions <- q.Copy()
			return m
		})
		if err := c.ask(resolverOf(t, s)); err != nil {
			t.Fatalf("%s: %v", c.name, err)
		}
		asked := <-questions
		opt := asked.IsEdns0()
		if opt == nil || asked.AuthenticatedData != c.ad || opt.Do() != c.do || asked.CheckingDisabled != c.cd {
			t.Errorf("%s asks\n%s", c.name, asked)
		}
	}
}
