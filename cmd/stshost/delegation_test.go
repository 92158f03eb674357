package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/stshost/stshost/internal/lab"
	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/server"
)

// offersNoRecord wants no TXT record to enter for the domain, and why.
func (w *world) offersNoRecord(domain, why string) {
	w.t.Helper()
	out := w.stshost("records", domain)
	for line := range strings.Lines(out) {
		if strings.Contains(line, "TXT") && (!strings.HasPrefix(line, "; no TXT record for _mta-sts."+domain) || !strings.Contains(line, why)) {
			w.t.Errorf("records offers\n%s", out)
		}
	}
	if !strings.Contains(out, "; no TXT record for") {
		w.t.Errorf("records does not say why there is no TXT record:\n%s", out)
	}
	if out := w.stshost("records", "--json", domain); strings.Contains(out, "TXT") {
		w.t.Errorf("records --json offers\n%s", out)
	}
}

// A customer's zone leads to ours by CNAME (RFC 8461 §8.2). The record is kept
// where the CNAME leads: one id for one policy, and what else stands there
// stays. Nobody else can lead there, and a CNAME that is moved is noticed.
func TestCNAMEDelegation(t *testing.T) {
	t.Parallel()
	const customer, second, hosting = "customer.test", "second.test", "hosting.test"
	const place = "customer._mta-sts." + hosting
	w := newWorld(t, customer, second)
	w.watch = "1s"
	dns := w.lab.DNS
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(dns.AddZone(hosting))
	must(dns.Set("_mta-sts."+customer, "CNAME", place+"."))
	must(dns.SetTXT(place, note))
	others := w.domains[1]
	w.domains = w.domains[:1]
	s := w.start()
	updates := func(name string) int {
		return len(slices.DeleteFunc(dns.Updates(), func(u lab.Update) bool { return !slices.Contains(u.Names, name+".") }))
	}

	first := w.confirmed(customer)
	if got := dns.TXT(place); !slices.Equal(got, []string{note, recordOf(first)}) {
		t.Errorf("at the target stands %q", got)
	}
	if out := w.stshost("records", customer); !strings.Contains(out, place+". 300 IN TXT") {
		t.Errorf("records does not show the place:\n%s", out)
	}

	w.domains[0].mx = []string{"mx1.mail.test", "mx2.mail.test"}
	s.reload()
	edited := w.confirmedAnew(first)
	if got := dns.TXT(place); !slices.Equal(got, []string{note, recordOf(edited)}) {
		t.Errorf("after the edit stands %q", got)
	}
	if n := updates(place); n != 2 {
		t.Errorf("the record was written %d times for two ids", n)
	}

	// Another domain with the very same policy leads to the same name.
	must(dns.Set("_mta-sts."+second, "CNAME", place+"."))
	others.mx = w.domains[0].mx
	w.domains = append(w.domains, others)
	s.reload()
	w.await(second, "a refusal", blockedBy("_mta-sts."+second+" is a CNAME to "+place))
	w.explains(second, customer, second, "a target of its own")
	w.offersNoRecord(second, customer)
	// That is so after a restart too.
	must(s.stop())
	s = w.start()
	w.looked(second)
	w.await(second, "a refusal", blockedBy(customer))
	if n := updates(place); n != 2 {
		t.Errorf("the record was written %d times", n)
	}
	w.confirmed(customer)

	// The CNAME is moved.
	must(dns.Set("_mta-sts."+customer, "CNAME", "moved."+hosting+"."))
	w.await(customer, "the record at the new place", func(d server.DomainStatus) bool {
		return d.Step == state.Confirmed && d.LastError == "" && len(dns.TXT("moved."+hosting)) == 1
	})
	if !strings.Contains(s.log.String(), "leads elsewhere than before") {
		t.Error("that the CNAME was moved is not in the log")
	}
	var out string
	eventually(t, func() error {
		out = w.stshost("events", customer)
		return saysAll(out, "the CNAME at _mta-sts."+customer+" leads to moved."+hosting+" now, and no longer to "+place,
			"remove the v=STSv1 TXT record at "+place)
	})
	if strings.Contains(out, "find out who else") {
		t.Errorf("a moved CNAME is told as tampering:\n%s", out)
	}
	must(dns.Set("_mta-sts."+customer, "CNAME", "_mta-sts.nowhere.invalid."))
	w.await(customer, "the complaint", blockedBy("is a CNAME to _mta-sts.nowhere.invalid"))
}
