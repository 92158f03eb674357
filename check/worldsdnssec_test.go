package check

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/stshost/stshost/internal/dnstest"
	"github.com/stshost/stshost/internal/resolver"
	"github.com/stshost/stshost/internal/state"
)

// tlsa is a TLSA record for a server's certificate.
func tlsa(t *testing.T, usage, selector uint8, cfg *tls.Config) string {
	t.Helper()
	leaf, err := x509.ParseCertificate(cfg.Certificates[0].Certificate[0])
	if err != nil {
		t.Fatal(err)
	}
	digest, err := dns.CertificateToDANE(selector, 1, leaf)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("_25._tcp.mx1 TLSA %d %d 1 %s", usage, selector, digest)
}

// Worlds whose DNS is real: Knot serves signed zones, Unbound validates them.
func TestWorldsDNSSEC(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first := w.certificate("mx1.example.test")
	w.mail(mx1, dialogue{tls: first})
	zone := func(more ...string) []string {
		return append([]string{
			fmt.Sprintf("_mta-sts TXT %q", announcement(w.body)),
			"_smtp._tls TXT \"v=TLSRPTv1; rua=mailto:tls@example.test\"",
			"mta-sts A " + web4, "mta-sts AAAA " + web6,
			"@ MX 10 mx1", "@ MX 20 mx2", "mx1 A " + mx1, "mx2 A " + mx2}, more...)
	}
	signed := dnstest.SignedWorld(t, dnstest.Zone{Name: "test"}, dnstest.Zone{Name: "example.test", Records: zone()})
	var err error
	w.cfg.Resolver, err = resolver.New(resolver.Config{Servers: []string{signed.ResolverAddr}, AuthPort: signed.AuthPort, Timeout: 3 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	found := make(map[string]bool)
	expect := func(what string, verdict state.Verdict, passes []string, codes ...string) {
		t.Helper()
		r := w.examine()
		for _, code := range problems(r) {
			found[code] = true
		}
		if got := problems(r); !slices.Equal(got, codes) || r.Verdict != verdict {
			t.Errorf("%s: verdict %s (%s), found %q; want %s, %q", what, r.Verdict, r.Summary, got, verdict, codes)
		}
		for _, code := range passes {
			if texts(r, code) == "" {
				t.Errorf("%s: %s is missing", what, code)
			}
		}
	}
	enforce := state.VerdictEnforce
	expect("signed", enforce, []string{RecordSigned, DANENone})

	signed.Set(t, "example.test", zone(tlsa(t, 3, 1, first))...)
	expect("DANE", enforce, []string{RecordSigned, DANEOK, DANEPrecedence})

	signed.Set(t, "example.test", zone(tlsa(t, 3, 1, w.certificate("mx1.example.test")))...)
	expect("DANE of another key", state.VerdictLoseMail, nil, DANEMismatch)

	w.policyOnly("testing")
	signed.Set(t, "example.test", zone(tlsa(t, 3, 1, w.certificate("mx1.example.test")))...)
	expect("DANE of another key, in testing", state.VerdictLoseMail, nil, DANEMismatch)
	w.policyOnly("enforce")

	signed.Set(t, "example.test", zone(tlsa(t, 1, 1, first))...)
	expect("DANE with a usage for the web", enforce, nil, DANEUnusable)

	w.mail(mx1, dialogue{ehlo: "250 mx1.example.test"})
	signed.Set(t, "example.test", zone(tlsa(t, 3, 1, first))...)
	expect("DANE without STARTTLS", state.VerdictLoseMail, nil, DANEMismatch, MXNoSTARTTLS)
	w.mail(mx1, dialogue{tls: first})

	signed.Set(t, "example.test", zone()...)
	signed.Forge(t, `_mta-sts.example.test. 60 IN TXT "v=STSv1; id=forged;"`)
	expect("forged record", state.VerdictIgnore, nil, RecordBogus)

	unsigned := dnstest.SignedWorld(t, dnstest.Zone{Name: "test"}, dnstest.Zone{Name: "example.test", Unsigned: true, Records: zone(tlsa(t, 3, 1, first))})
	w.cfg.Resolver, err = resolver.New(resolver.Config{Servers: []string{unsigned.ResolverAddr}, AuthPort: unsigned.AuthPort})
	if err != nil {
		t.Fatal(err)
	}
	expect("DANE without DNSSEC", enforce, []string{RecordUnsigned}, DANEUnsigned)
	for _, code := range dnssecCodes() {
		if !found[code] {
			t.Errorf("no world here has %s", code)
		}
	}
}

// dnssecCodes are found here and nowhere else.
func dnssecCodes() []string { return []string{RecordBogus, DANEMismatch, DANEUnusable, DANEUnsigned} }
