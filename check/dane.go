package check

import (
	"cmp"
	"crypto/sha256"
	"crypto/sha512"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Certificate usages of TLSA records that senders of mail use (RFC 7672 §3.1).
const (
	usageTA = 2 // DANE-TA: the record names a CA
	usageEE = 3 // DANE-EE: the record names the server's own certificate
)

// daneVerdict is what senders that do DANE make of a server.
type daneVerdict struct {
	// Usable counts the records that they go by. If there are records and none
	// is usable, they want TLS and authenticate nobody (RFC 7672 §2.2).
	Usable  int
	Matched bool   // a usable record authenticates the server
	Why     string // the reason, one clause
}

// judgeDANE holds the TLSA records of an MX host, which are validated, against
// what the server at one of its addresses showed. The TLSA base domain is host;
// with usage DANE-TA a certificate for one of others will do, too: the domain
// whose MX host it is, if its MX records are validated (RFC 7672 §3.2.2).
func judgeDANE(records []*dns.TLSA, look *TLSLook, host string, now time.Time, others ...string) daneVerdict {
	usable, passed, unusable := sortTLSA(records)
	v := daneVerdict{Usable: len(usable)}
	switch {
	case len(records) == 0:
		v.Why = "there are no TLSA records"
		return v
	case len(usable) == 0:
		v.Why = unusable.Error()
		if len(records) > 1 {
			v.Why = fmt.Sprintf("none of the %d TLSA records is usable, the first because %s", len(records), v.Why)
		}
		return v
	case look == nil || look.Err != nil || len(look.Chain) == 0:
		v.Why = "there was no TLS handshake that showed a certificate"
		return v
	}
	names := append([]string{host}, others...)
	var closest error
	for _, r := range usable {
		err := fitsTLSA(r, look.Chain, names, now)
		if err == nil {
			v.Matched = true
			v.Why = "the TLSA record " + nameTLSA(r) + " fits the certificate that the server shows"
			if r.Usage == usageTA {
				v.Why = "the TLSA record " + nameTLSA(r) + " fits a CA certificate that the server's own leads to"
			}
			return v
		}
		if !errors.Is(err, errNoFit) {
			closest = cmp.Or(closest, err)
		}
	}
	for _, r := range passed {
		if closest == nil && fitsTLSA(r, look.Chain, names, now) == nil {
			closest = fmt.Errorf("the TLSA record %s fits, but is passed over for the one beside it with a stronger digest, which does not (RFC 7671 §9)", nameTLSA(r))
		}
	}
	if closest == nil {
		closest = noTLSAFits(usable, look.Chain)
	}
	v.Why = closest.Error()
	return v
}

// sortTLSA tells the records that senders use from those that they pass over,
// because another of the same usage and selector has a stronger digest (RFC 7671
// §9, which RFC 7672 §5 makes binding). The error is what is wrong with the
// first record that nobody can use.
func sortTLSA(records []*dns.TLSA) (usable, passed []*dns.TLSA, unusable error) {
	type kind struct{ usage, selector uint8 }
	strongest := map[kind]uint8{}
	var sound []*dns.TLSA
	for _, r := range records {
		if err := checkTLSA(r); err != nil {
			unusable = cmp.Or(unusable, fmt.Errorf("the TLSA record %s is unusable: %w", nameTLSA(r), err))
			continue
		}
		sound = append(sound, r)
		k := kind{r.Usage, r.Selector}
		strongest[k] = max(strongest[k], r.MatchingType)
	}
	for _, r := range sound {
		// Matching type 0 is the thing itself and no digest.
		if r.MatchingType != 0 && r.MatchingType < strongest[kind{r.Usage, r.Selector}] {
			passed = append(passed, r)
			continue
		}
		usable = append(usable, r)
	}
	return usable, passed, unusable
}

// checkTLSA says why no sender can use a record: RFC 7672 §3.1.3 for the usages
// of the public PKI, RFC 6698 §4.1 for all else.
func checkTLSA(r *dns.TLSA) error {
	data, err := hex.DecodeString(r.Certificate)
	switch {
	case r.Usage < usageTA:
		return fmt.Errorf("usage %d is not for SMTP (RFC 7672 §3.1.3)", r.Usage)
	case r.Usage > usageEE:
		return fmt.Errorf("usage %d is unknown", r.Usage)
	case r.Selector > 1:
		return fmt.Errorf("selector %d is unknown", r.Selector)
	case r.MatchingType > 2:
		return fmt.Errorf("matching type %d is unknown", r.MatchingType)
	case err != nil:
		return errors.New("its data is not hexadecimal")
	case r.MatchingType == 1 && len(data) != sha256.Size:
		return fmt.Errorf("a SHA-256 digest has %d octets, and this one %d", sha256.Size, len(data))
	case r.MatchingType == 2 && len(data) != sha512.Size:
		return fmt.Errorf("a SHA-512 digest has %d octets, and this one %d", sha512.Size, len(data))
	}
	if r.MatchingType != 0 {
		return nil
	}
	if r.Selector == 0 {
		if _, err := x509.ParseCertificate(data); err != nil {
			return errors.New("its data is not a certificate")
		}
	} else if _, err := x509.ParsePKIXPublicKey(data); err != nil {
		return errors.New("its data is not a public key")
	}
	return nil
}

// errNoFit says that a record has nothing to do with what the server shows.
var errNoFit = errors.New("it does not fit")

// fitsTLSA says why a usable record does not authenticate a server that shows this
// chain; nil if it does.
func fitsTLSA(r *dns.TLSA, chain []*x509.Certificate, names []string, now time.Time) error {
	leaf := chain[0]
	var anchors []*x509.Certificate
	for _, cert := range chain[1:] {
		if matchesTLSA(r, cert) {
			anchors = append(anchors, cert)
		}
	}
	switch isLeaf := matchesTLSA(r, leaf); {
	case r.Usage == usageEE && isLeaf:
		return nil // neither name nor dates matter (RFC 7672 §3.1.1)
	case r.Usage == usageTA && len(anchors) > 0:
		return leadsTo(r, chain, anchors, names, now)
	case r.Usage == usageEE && len(anchors) > 0:
		return fmt.Errorf("the TLSA record %s is that of the CA certificate %q, which is for usage 2, not 3", nameTLSA(r), certName(anchors[0]))
	case r.Usage == usageTA && isLeaf:
		return fmt.Errorf("the TLSA record %s is that of the server's own certificate, which is for usage 3, not 2", nameTLSA(r))
	}
	return errNoFit
}

// leadsTo says why the server's certificate is not authenticated by anchors that
// it sends: chain, dates and name have to be right (RFC 7672 §3.1.2, §3.2.2).
func leadsTo(r *dns.TLSA, chain, anchors []*x509.Certificate, names []string, now time.Time) error {
	options := x509.VerifyOptions{Roots: x509.NewCertPool(), Intermediates: x509.NewCertPool(), CurrentTime: now}
	for _, cert := range anchors {
		options.Roots.AddCert(cert)
	}
	for _, cert := range chain[1:] {
		options.Intermediates.AddCert(cert)
	}
	but := fmt.Sprintf("the TLSA record %s fits the CA certificate %q, but the server's certificate", nameTLSA(r), certName(anchors[0]))
	_, err := chain[0].Verify(options)
	if _, ok := errors.AsType[x509.UnknownAuthorityError](err); ok {
		return fmt.Errorf("%s does not lead to it with the certificates that it sends", but)
	}
	if err != nil {
		return fmt.Errorf("%s is not valid under it: %s", but, strings.TrimPrefix(err.Error(), "x509: "))
	}
	for _, name := range names {
		if isFor(chain[0], name) {
			return nil
		}
	}
	return fmt.Errorf("%s is not for %s", but, strings.Join(names, " or "))
}

// isFor reports whether a certificate is for a name as senders that do DANE see
// it: the common name counts if there is no dNSName (RFC 7672 §3.2.3).
func isFor(cert *x509.Certificate, name string) bool {
	if len(cert.DNSNames) == 0 && cert.Subject.CommonName != "" {
		cert = &x509.Certificate{DNSNames: []string{cert.Subject.CommonName}}
	}
	return cert.VerifyHostname(strings.TrimSuffix(name, ".")) == nil
}

// matchesTLSA compares a record that has been checked with one certificate.
func matchesTLSA(r *dns.TLSA, cert *x509.Certificate) bool {
	// The library's own comparison minds the case of the digits.
	data, err := dns.CertificateToDANE(r.Selector, r.MatchingType, cert)
	return err == nil && strings.EqualFold(data, r.Certificate)
}

// noTLSAFits says what the server shows in place of what the records want.
func noTLSAFits(usable []*dns.TLSA, chain []*x509.Certificate) error {
	for _, r := range usable {
		if r.Usage == usageEE {
			spki := sha256.Sum256(chain[0].RawSubjectPublicKeyInfo)
			return fmt.Errorf("no TLSA record fits the certificate that the server shows; 3 1 1 %x would", spki)
		}
	}
	if len(chain) == 1 {
		return errors.New("the server sends its own certificate alone, and a TLSA record of usage 2 fits only a CA certificate that the server sends, even a root (RFC 7672 §3.1.2)")
	}
	return errors.New("no TLSA record fits a CA certificate that the server sends; with usage 2 it must send the one that the record names, even a root (RFC 7672 §3.1.2)")
}

// nameTLSA is a record in a message, its data cut short.
func nameTLSA(r *dns.TLSA) string {
	data := r.Certificate
	if len(data) > 8 {
		data = data[:8] + "…"
	}
	return fmt.Sprintf("%d %d %d %s", r.Usage, r.Selector, r.MatchingType, data)
}

// certName is what a certificate is called in messages.
func certName(cert *x509.Certificate) string {
	return cmp.Or(cert.Subject.CommonName, cert.Subject.String(), "without a name")
}
