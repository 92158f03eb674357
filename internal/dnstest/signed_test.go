package dnstest_test

import (
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/stshost/stshost/internal/dnstest"
)

// ask asks a resolver for TXT and tells the answer in one word and its text.
func ask(t *testing.T, addr, name string, unchecked bool) (state, txt string) {
	t.Helper()
	m := new(dns.Msg).SetQuestion(dns.Fqdn(name), dns.TypeTXT)
	m.AuthenticatedData, m.CheckingDisabled = true, unchecked
	r, _, err := (&dns.Client{Net: "tcp", Timeout: 5 * time.Second}).Exchange(m, addr)
	if err != nil {
		t.Fatal(err)
	}
	for _, rr := range r.Answer {
		if rr, ok := rr.(*dns.TXT); ok {
			txt += strings.Join(rr.Txt, "")
		}
	}
	switch {
	case r.Rcode != dns.RcodeSuccess:
		return dns.RcodeToString[r.Rcode], txt
	case r.AuthenticatedData:
		return "secure", txt
	}
	return "insecure", txt
}

// TestSignedWorld shows a chain of trust, where it ends, and what breaks it.
func TestSignedWorld(t *testing.T) {
	record := []string{`x IN TXT good`}
	w := dnstest.SignedWorld(t,
		dnstest.Zone{Name: "signed.test", Records: record},
		dnstest.Zone{Name: "below.signed.test", Records: record},
		dnstest.Zone{Name: "plain.signed.test", Records: record, Unsigned: true},
		dnstest.Zone{Name: "plain.test", Records: record, Unsigned: true},
		dnstest.Zone{Name: "below.plain.test", Records: record},
	)
	expect := func(name, want, text string) {
		t.Helper()
		if state, txt := ask(t, w.ResolverAddr, name, false); state != want || txt != text {
			t.Errorf("%s: %s %q, want %s %q", name, state, txt, want, text)
		}
	}
	expect("x.signed.test", "secure", "good")
	expect("x.below.signed.test", "secure", "good")
	expect("x.plain.signed.test", "insecure", "good")
	expect("x.plain.test", "insecure", "good")
	expect("x.below.plain.test", "insecure", "good")

	w.Forge(t, "x.signed.test. 60 IN TXT forged", "x.plain.test. 60 IN TXT forged")
	expect("x.signed.test", "SERVFAIL", "")
	if state, txt := ask(t, w.ResolverAddr, "x.signed.test", true); state != "insecure" || txt != "forged" {
		t.Errorf("without validation: %s %q", state, txt)
	}
	expect("x.below.signed.test", "secure", "good")
	expect("x.plain.test", "insecure", "forged")

	w.Set(t, "signed.test", `x IN TXT new`)
	expect("x.signed.test", "secure", "new")
	if state, txt := ask(t, w.AuthAddr, "x.signed.test", false); state != "insecure" || txt != "new" {
		t.Errorf("the authoritative server: %s %q", state, txt)
	}
}
