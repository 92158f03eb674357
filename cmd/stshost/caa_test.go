package main

import (
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/stshost/stshost/acme"
	"github.com/stshost/stshost/internal/lab"
	"github.com/stshost/stshost/server"
)

// labCA is what the lab's CA calls itself in CAA records.
const labCA = "ca.lab.test"

func (w *world) setCAA(name string, data ...string) {
	w.t.Helper()
	if err := w.lab.DNS.Set(name, "CAA", data...); err != nil {
		w.t.Fatal(err)
	}
}

// forbidden waits until the status says that CAA is in the way, and wants all
// the parts to be in the explanation, and no order at the CA.
func (w *world) forbidden(parts ...string) server.DomainStatus {
	w.t.Helper()
	d := w.await(example, "the CAA record", blockedBy(parts[0]))
	w.explains(example, parts...)
	if n := w.lab.CA.TotalOrders(); n != 0 {
		w.t.Errorf("%d orders although CAA forbids it", n)
	}
	return d
}

// A CAA record that names another CA is told before any order; when it is
// mended all goes on.
func TestCAAForbids(t *testing.T) {
	w := newWorld(t, example)
	w.setCAA(example, `0 issue "other-ca.test"`)
	s := w.start()
	w.forbidden("the CAA record at "+example+` (0 issue "other-ca.test") forbids `+labCA+" to issue",
		"add "+example+`. CAA 0 issue "`+labCA+`"`)
	w.setCAA(example, `0 issue "other-ca.test"`, `0 issue "`+labCA+`"`)
	s.pass(2*time.Minute, example)
	w.sees(w.confirmed(example))
	if n := w.lab.CA.TotalOrders(); n != 1 {
		t.Errorf("%d orders, want 1", n)
	}
}

// Records at the target of a CNAME count (RFC 8659 §3), those above it do not.
func TestCAAAtTheTargetOfACNAME(t *testing.T) {
	w := newWorld(t, example)
	host, target := "mta-sts."+example, "sts.hoster.test"
	if err := w.lab.DNS.AddZone("hoster.test"); err != nil {
		t.Fatal(err)
	}
	if err := w.lab.DNS.Set(target, "A", "127.0.0.1"); err != nil {
		t.Fatal(err)
	}
	if err := w.lab.DNS.Remove(host, "A"); err != nil {
		t.Fatal(err)
	}
	if err := w.lab.DNS.Set(host, "CNAME", target+"."); err != nil {
		t.Fatal(err)
	}
	w.setCAA(target, `0 issue ";"`)
	w.setCAA(example, `0 issue "`+labCA+`"`)
	w.setCAA("hoster.test", `0 issue "other-ca.test"`)
	s := w.start()
	w.forbidden("the CAA record at "+target+", to which "+host+" is a CNAME,", "add "+target+`. CAA 0 issue "`+labCA+`"`)
	w.setCAA(target)
	s.pass(2*time.Minute, example)
	w.sees(w.confirmed(example))
}

// A record that permits http-01 only has the order made that way, at once
// (RFC 8657 §4).
func TestCAAChoosesTheChallenge(t *testing.T) {
	w := newWorld(t, example)
	w.setCAA(example, `0 issue "`+labCA+`; validationmethods=http-01"`)
	s := w.start()
	d := w.confirmed(example)
	w.sees(d)
	s.issuedBy(d.Host, acme.HTTP01)
	if n := w.lab.CA.TotalOrders(); n != 1 {
		t.Errorf("%d orders, want 1", n)
	}
}

// As long as the look-up fails the CA would refuse; after 15 minutes our view
// may be the odd one, and it is asked.
func TestCAALookUpFails(t *testing.T) {
	w := newWorld(t, example)
	w.lab.DNS.Fail(lab.DNSFault{Name: example, Type: dns.TypeCAA, Rcode: dns.RcodeServerFailure})
	s := w.start()
	w.forbidden("the CAA records of mta-sts."+example+" cannot be looked up", "SERVFAIL", "DNSSEC")
	s.pass(20*time.Minute, example)
	w.await(example, "a certificate", func(d server.DomainStatus) bool { return !d.CertificateNotAfter.IsZero() }) // the lab's CA does not look
	if !strings.Contains(s.log.String(), "trying an order although the CAA records cannot be looked up") {
		t.Error("the log does not say that it was tried all the same")
	}
}
