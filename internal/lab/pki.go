package lab

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"time"
)

// Root is a certification authority for what ACME does not issue: the TLS
// certificates of the ACME directory and of the mail hosts.
type Root struct {
	cert *x509.Certificate
	key  *ecdsa.PrivateKey
}

// NewRoot makes a root valid for ten years.
func NewRoot(name string) (*Root, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return nil, fmt.Errorf("make root %q: %w", name, err)
	}
	template := &x509.Certificate{
		Subject:               pkix.Name{CommonName: name},
		SerialNumber:          serial(),
		NotBefore:             time.Now().Add(-time.Hour),
		NotAfter:              time.Now().AddDate(10, 0, 0),
		KeyUsage:              x509.KeyUsageCertSign | x509.KeyUsageCRLSign,
		BasicConstraintsValid: true,
		IsCA:                  true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		return nil, fmt.Errorf("make root %q: %w", name, err)
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		return nil, fmt.Errorf("make root %q: %w", name, err)
	}
	return &Root{cert: cert, key: key}, nil
}

// PEM is the root's certificate.
func (r *Root) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: r.cert.Raw})
}

// Pool has only this root in it.
func (r *Root) Pool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AddCert(r.cert)
	return pool
}

// Issue makes a server certificate with a new key for host names and IP
// addresses. It is valid from an hour ago until notAfter; the zero time means
// 90 days, and a time in the past makes an expired certificate.
func (r *Root) Issue(notAfter time.Time, hosts ...string) (tls.Certificate, error) {
	template := &x509.Certificate{NotAfter: notAfter}
	for _, host := range hosts {
		if ip := net.ParseIP(host); ip != nil {
			template.IPAddresses = append(template.IPAddresses, ip)
		} else {
			template.DNSNames = append(template.DNSNames, host)
		}
	}
	return r.IssueAs(template)
}

// IssueAs makes a server certificate with a new key, and with the names and the
// expiry of template: for those that no CA should issue. A zero NotAfter means 90
// days.
func (r *Root) IssueAs(template *x509.Certificate) (tls.Certificate, error) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("issue a certificate for %v: %w", template.DNSNames, err)
	}
	cert := &x509.Certificate{
		SerialNumber: serial(),
		Subject:      template.Subject,
		DNSNames:     template.DNSNames,
		IPAddresses:  template.IPAddresses,
		NotBefore:    time.Now().Add(-time.Hour),
		NotAfter:     template.NotAfter,
		KeyUsage:     x509.KeyUsageDigitalSignature,
		ExtKeyUsage:  []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth},
	}
	if cert.NotAfter.IsZero() {
		cert.NotAfter = time.Now().AddDate(0, 0, 90)
	}
	if cert.NotAfter.Before(cert.NotBefore) {
		cert.NotBefore = cert.NotAfter.AddDate(0, 0, -90)
	}
	der, err := x509.CreateCertificate(rand.Reader, cert, r.cert, key.Public(), r.key)
	if err != nil {
		return tls.Certificate{}, fmt.Errorf("issue a certificate for %v: %w", template.DNSNames, err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, nil
}

func serial() *big.Int {
	var b [16]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return new(big.Int).SetBytes(b[:])
}
