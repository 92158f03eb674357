package check

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"math/big"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/stshost/stshost/internal/dnstest"
)

// daneNow is within the time of every certificate of the tests that is not
// expired on purpose.
var daneNow = time.Date(2031, 5, 1, 12, 0, 0, 0, time.UTC)

const daneHost = "mx.example.test"

// daneCert is a certificate with its key.
type daneCert struct {
	*x509.Certificate
	key *ecdsa.PrivateKey
}

// issue makes a certificate that parent signs; nil makes it sign itself.
func (parent *daneCert) issue(t *testing.T, edit func(*x509.Certificate)) *daneCert {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	serial, err := rand.Int(rand.Reader, big.NewInt(1<<62))
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: serial, BasicConstraintsValid: true,
		NotBefore: daneNow.AddDate(0, -1, 0), NotAfter: daneNow.AddDate(0, 1, 0),
	}
	edit(template)
	signer, signerKey := template, key
	if parent != nil {
		signer, signerKey = parent.Certificate, parent.key
	}
	der, err := x509.CreateCertificate(rand.Reader, template, signer, key.Public(), signerKey)
	if err != nil {
		t.Fatal(err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return &daneCert{cert, key}
}

func daneCA(name string) func(*x509.Certificate) {
	return func(c *x509.Certificate) {
		c.Subject, c.IsCA, c.KeyUsage = pkix.Name{CommonName: name}, true, x509.KeyUsageCertSign
	}
}

func daneLeaf(names ...string) func(*x509.Certificate) {
	return func(c *x509.Certificate) { c.DNSNames, c.KeyUsage = names, x509.KeyUsageDigitalSignature }
}

// tlsaOf is the record of these parameters that names a certificate.
func tlsaOf(usage, selector, matching int, cert *daneCert) *dns.TLSA {
	r := new(dns.TLSA)
	if err := r.Sign(usage, selector, matching, cert.Certificate); err != nil {
		panic(err)
	}
	return r
}

// daneChain is a chain as a server sends it.
func daneChain(certs ...*daneCert) []*daneCert { return certs }

// daneCase is one server with its TLSA records.
type daneCase struct {
	name    string
	records []*dns.TLSA
	chain   []*daneCert
	others  []string // names beside daneHost

	usable  int
	matched bool
	why     string // within Why
	// ours: OpenSSL takes another view by its own lights, or cannot be told.
	ours bool
}

func daneCases(t *testing.T) []daneCase {
	var self *daneCert
	root := self.issue(t, daneCA("Root"))
	inter := root.issue(t, daneCA("Intermediate"))
	leaf := inter.issue(t, daneLeaf(daneHost))
	next := inter.issue(t, daneLeaf(daneHost))
	other := inter.issue(t, daneLeaf("other.example.test"))
	wild := inter.issue(t, daneLeaf("*.example.test"))
	common := inter.issue(t, func(c *x509.Certificate) { c.Subject.CommonName = daneHost })
	domainOnly := inter.issue(t, daneLeaf("example.test"))
	expired := inter.issue(t, func(c *x509.Certificate) {
		daneLeaf(daneHost)(c)
		c.NotBefore, c.NotAfter = daneNow.AddDate(0, 0, -20), daneNow.AddDate(0, 0, -1)
	})
	stranger := self.issue(t, daneLeaf("elsewhere.test"))
	late := root.issue(t, func(c *x509.Certificate) {
		daneCA("Expired")(c)
		c.NotAfter = daneNow.AddDate(0, 0, -1)
	})
	underLate := late.issue(t, daneLeaf(daneHost))
	lateRoot := self.issue(t, func(c *x509.Certificate) {
		daneCA("Expired Root")(c)
		c.NotAfter = daneNow.AddDate(0, 0, -1)
	})
	underLateRoot := lateRoot.issue(t, daneLeaf(daneHost))

	full := daneChain(leaf, inter, root)
	upper := tlsaOf(3, 1, 1, leaf)
	upper.Certificate = strings.ToUpper(upper.Certificate)
	raw := func(usage, selector, matching uint8, data string) *dns.TLSA {
		return &dns.TLSA{Usage: usage, Selector: selector, MatchingType: matching, Certificate: data}
	}
	all := func(rs ...*dns.TLSA) []*dns.TLSA { return rs }

	return []daneCase{
		{name: "3 1 1", records: all(tlsaOf(3, 1, 1, leaf)), chain: full, usable: 1, matched: true, why: "3 1 1 "},
		{name: "3 0 1", records: all(tlsaOf(3, 0, 1, leaf)), chain: daneChain(leaf), usable: 1, matched: true},
		{name: "3 1 2", records: all(tlsaOf(3, 1, 2, leaf)), chain: daneChain(leaf), usable: 1, matched: true},
		{name: "3 0 0", records: all(tlsaOf(3, 0, 0, leaf)), chain: daneChain(leaf), usable: 1, matched: true},
		{name: "3 1 0", records: all(tlsaOf(3, 1, 0, leaf)), chain: daneChain(leaf), usable: 1, matched: true},
		{name: "upper case", records: all(upper), chain: daneChain(leaf), usable: 1, matched: true},
		{name: "3 1 1 of another", records: all(tlsaOf(3, 1, 1, next)), chain: full, usable: 1,
			why: "3 1 1 " + tlsaOf(3, 1, 1, leaf).Certificate + " would"},
		{name: "3 1 1 of the CA", records: all(tlsaOf(3, 1, 1, inter)), chain: full, usable: 1, why: `"Intermediate", which is for usage 2, not 3`},
		{name: "another name under EE", records: all(tlsaOf(3, 1, 1, stranger)), chain: daneChain(stranger), usable: 1, matched: true},
		{name: "expired under EE", records: all(tlsaOf(3, 1, 1, expired)), chain: daneChain(expired, inter), usable: 1, matched: true},

		{name: "2 0 1, root sent", records: all(tlsaOf(2, 0, 1, root)), chain: full, usable: 1, matched: true, why: "CA certificate"},
		{name: "2 0 1, root not sent", records: all(tlsaOf(2, 0, 1, root)), chain: daneChain(leaf, inter), usable: 1, why: "even a root (RFC 7672 §3.1.2)"},
		{name: "2 0 1, leaf alone", records: all(tlsaOf(2, 0, 1, root)), chain: daneChain(leaf), usable: 1, why: "sends its own certificate alone"},
		{name: "2 0 0, root not sent", records: all(tlsaOf(2, 0, 0, root)), chain: daneChain(leaf, inter), usable: 1, why: "must send the one", ours: true},
		{name: "2 1 1, intermediate", records: all(tlsaOf(2, 1, 1, inter)), chain: daneChain(leaf, inter), usable: 1, matched: true},
		{name: "2 1 1, intermediate missing", records: all(tlsaOf(2, 1, 1, root)), chain: daneChain(leaf, root), usable: 1, why: "does not lead to it"},
		{name: "2 1 1 of the leaf", records: all(tlsaOf(2, 1, 1, leaf)), chain: full, usable: 1, why: "which is for usage 3, not 2"},
		{name: "wildcard under TA", records: all(tlsaOf(2, 0, 1, inter)), chain: daneChain(wild, inter), usable: 1, matched: true},
		{name: "common name under TA", records: all(tlsaOf(2, 0, 1, inter)), chain: daneChain(common, inter), usable: 1, matched: true},
		{name: "another name under TA", records: all(tlsaOf(2, 0, 1, inter)), chain: daneChain(other, inter), usable: 1, why: "is not for mx.example.test"},
		{name: "the domain's name under TA", records: all(tlsaOf(2, 0, 1, inter)), chain: daneChain(domainOnly, inter), others: []string{"example.test"},
			usable: 1, matched: true, ours: true},
		{name: "expired under TA", records: all(tlsaOf(2, 0, 1, inter)), chain: daneChain(expired, inter), usable: 1, why: "is not valid under it: certificate has expired"},
		{name: "expired root", records: all(tlsaOf(2, 0, 1, lateRoot)), chain: daneChain(underLateRoot, lateRoot), usable: 1, why: "certificate has expired"},
		// OpenSSL minds the dates of an anchor only if it has signed itself.
		{name: "expired intermediate", records: all(tlsaOf(2, 0, 1, late)), chain: daneChain(underLate, late), usable: 1, why: "certificate has expired", ours: true},

		{name: "roll-over", records: all(tlsaOf(3, 1, 1, next), tlsaOf(3, 1, 1, leaf)), chain: full, usable: 2, matched: true},
		{name: "EE wrong, TA right", records: all(tlsaOf(3, 1, 1, next), tlsaOf(2, 1, 1, inter)), chain: full, usable: 2, matched: true},
		{name: "both digests", records: all(tlsaOf(3, 1, 1, leaf), tlsaOf(3, 1, 2, leaf)), chain: full, usable: 1, matched: true, why: "3 1 2 "},
		{name: "stronger digest is stale", records: all(tlsaOf(3, 1, 1, leaf), tlsaOf(3, 1, 2, next)), chain: full, usable: 1, why: "RFC 7671 §9"},
		{name: "stronger digest of another selector", records: all(tlsaOf(3, 1, 1, leaf), tlsaOf(3, 0, 2, next)), chain: full, usable: 2, matched: true},
		{name: "full beside a digest", records: all(tlsaOf(3, 1, 0, leaf), tlsaOf(3, 1, 1, next)), chain: full, usable: 2, matched: true},

		{name: "no records", chain: full, why: "no TLSA records", ours: true},
		{name: "PKIX only", records: all(tlsaOf(0, 0, 1, root), tlsaOf(1, 1, 1, leaf)), chain: full, ours: true,
			why: "none of the 2 TLSA records is usable, the first because the TLSA record 0 0 1 "},
		{name: "PKIX beside EE", records: all(tlsaOf(1, 1, 1, next), tlsaOf(3, 1, 1, leaf)), chain: full, usable: 1, matched: true, ours: true},
		{name: "usage 4", records: all(raw(4, 1, 1, tlsaOf(3, 1, 1, leaf).Certificate)), chain: full, why: "usage 4 is unknown", ours: true},
		{name: "selector 2", records: all(raw(3, 2, 1, tlsaOf(3, 1, 1, leaf).Certificate)), chain: full, why: "selector 2 is unknown", ours: true},
		{name: "matching type 3", records: all(raw(3, 1, 3, "00")), chain: full, why: "matching type 3 is unknown", ours: true},
		{name: "no hexadecimal", records: all(raw(3, 1, 1, "xyz")), chain: full, why: "not hexadecimal", ours: true},
		{name: "short digest", records: all(raw(3, 1, 1, "abcd")), chain: full, why: "a SHA-256 digest has 32 octets, and this one 2", ours: true},
		{name: "SHA-256 as SHA-512", records: all(raw(3, 1, 2, tlsaOf(3, 1, 1, leaf).Certificate)), chain: full, why: "a SHA-512 digest has 64 octets", ours: true},
		{name: "no certificate", records: all(raw(3, 0, 0, "abcd")), chain: full, why: "not a certificate", ours: true},
		{name: "no key", records: all(raw(3, 1, 0, "")), chain: full, why: "not a public key", ours: true},
		{name: "no handshake", records: all(tlsaOf(3, 1, 1, leaf)), usable: 1, why: "no TLS handshake", ours: true},
	}
}

func TestJudgeDANE(t *testing.T) {
	for _, c := range daneCases(t) {
		t.Run(c.name, func(t *testing.T) {
			look := &TLSLook{Err: errors.New("closed")}
			if c.chain != nil {
				look.Err = nil
			}
			for _, cert := range c.chain {
				look.Chain = append(look.Chain, cert.Certificate)
			}
			v := judgeDANE(c.records, look, daneHost, daneNow, c.others...)
			if v.Usable != c.usable || v.Matched != c.matched || !strings.Contains(v.Why, c.why) {
				t.Errorf("%+v; want %d usable, matched %v, because of %q", v, c.usable, c.matched, c.why)
			}
		})
	}
	if v := judgeDANE([]*dns.TLSA{tlsaOf(3, 1, 1, (*daneCert)(nil).issue(t, daneLeaf(daneHost)))}, nil, daneHost, daneNow); v.Matched || v.Usable != 1 {
		t.Errorf("without any look: %+v", v)
	}
}

// TestDANELikeOpenSSL holds the same cases against OpenSSL, which Postfix and
// Exim leave this to.
func TestDANELikeOpenSSL(t *testing.T) {
	binary := dnstest.RequireServer(t, "openssl", "openssl")
	for _, c := range daneCases(t) {
		if c.ours {
			continue
		}
		t.Run(c.name, func(t *testing.T) {
			args := []string{"s_client", "-connect", showChain(t, c.chain), "-servername", daneHost, "-brief",
				"-attime", strconv.FormatInt(daneNow.Unix(), 10), "-verify_return_error", "-verify", "9",
				"-dane_tlsa_domain", daneHost, "-dane_ee_no_namechecks"}
			for _, r := range c.records {
				args = append(args, "-dane_tlsa_rrdata", fmt.Sprintf("%d %d %d %s", r.Usage, r.Selector, r.MatchingType, r.Certificate))
			}
			out, err := exec.CommandContext(t.Context(), binary, args...).CombinedOutput()
			if _, ran := errors.AsType[*exec.ExitError](err); err != nil && !ran {
				t.Fatal(err)
			}
			if verified := bytes.Contains(out, []byte("Verification: OK")); verified != (err == nil) || verified != c.matched {
				t.Errorf("OpenSSL verifies it: %v (%v), want %v\n%s", verified, err, c.matched, out)
			}
		})
	}
}

// showChain shows a chain to whoever connects.
func showChain(t *testing.T, chain []*daneCert) string {
	t.Helper()
	cert := tls.Certificate{PrivateKey: chain[0].key}
	for _, c := range chain {
		cert.Certificate = append(cert.Certificate, c.Raw)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			server := tls.Server(conn, &tls.Config{Certificates: []tls.Certificate{cert}})
			server.SetDeadline(time.Now().Add(20 * time.Second))
			if server.Handshake() == nil {
				server.Read(make([]byte, 1)) // until the client closes
			}
			server.Close()
		}
	}()
	t.Cleanup(func() {
		l.Close()
		<-done
	})
	return l.Addr().String()
}
