package acme_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stshost/stshost/acme"
	"github.com/stshost/stshost/internal/state"
)

const (
	day  = 24 * time.Hour
	own1 = "mta-sts.example.org"
)

// ownFiles is a folder with certificates of the operator's own.
type ownFiles struct {
	t   *testing.T
	dir string
}

func (f ownFiles) pair(name string) acme.OwnPair {
	return acme.OwnPair{CertFile: filepath.Join(f.dir, name+".pem"), KeyFile: filepath.Join(f.dir, name+".key")}
}

// write makes a pair of files with a new certificate that lives for 90 days.
func (f ownFiles) write(name string, notAfter time.Time, hosts ...string) acme.OwnPair {
	f.t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		f.t.Fatal(err)
	}
	return f.writeKey(name, notAfter, key, hosts...)
}

func (f ownFiles) writeKey(name string, notAfter time.Time, key crypto.Signer, hosts ...string) acme.OwnPair {
	f.t.Helper()
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), Subject: pkix.Name{CommonName: own1}, DNSNames: hosts,
		NotBefore: notAfter.Add(-90 * day), NotAfter: notAfter,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		f.t.Fatal(err)
	}
	pkcs8, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		f.t.Fatal(err)
	}
	p := f.pair(name)
	f.put(p.KeyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}))
	f.put(p.CertFile, block(der))
	return p
}

func (f ownFiles) put(path string, data []byte) {
	f.t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		f.t.Fatal(err)
	}
}

func (f ownFiles) read(path string) []byte {
	f.t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		f.t.Fatal(err)
	}
	return data
}

// notices collects events.
type notices struct{ eventLog }

// take returns the events so far as "severity text" and forgets them.
func (n *notices) take() (texts []string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	for _, e := range n.all {
		texts = append(texts, string(e.Severity)+" "+e.Text+"; "+e.Remedy)
	}
	n.all = nil
	return texts
}

// want takes the events and wants one that has all these parts, alone.
func (n *notices) want(t *testing.T, parts ...string) {
	t.Helper()
	got := n.take()
	ok := len(got) == 1
	for _, p := range parts {
		ok = ok && strings.Contains(got[0], p)
	}
	if !ok {
		t.Errorf("events %q, want one with %q", got, parts)
	}
}

// ownRig has an Own and the serving side on top of it.
type ownRig struct {
	*ownFiles
	notices
	own     *acme.Own
	store   *memStore
	certs   *acme.Certificates
	changed []string // of the hosts own1 and host
}

func newOwnRig(t *testing.T) *ownRig {
	t.Helper()
	r := &ownRig{ownFiles: &ownFiles{t: t, dir: t.TempDir()}, store: newMemStore()}
	r.own = acme.NewOwn(acme.OwnConfig{
		Logger: slog.New(slog.DiscardHandler), Event: r.add,
		OnChange: func(concerned func(string) bool) {
			for _, h := range []string{own1, host} {
				if concerned(h) {
					r.changed = append(r.changed, h)
				}
			}
		},
	})
	certs, err := acme.NewCertificates(acme.CertificatesConfig{Store: r.store, Own: r.own})
	if err != nil {
		t.Fatal(err)
	}
	r.certs = certs
	certs.SetHosts(map[string]struct{}{own1: {}, host: {}, "a.b.example.org": {}, "example.org": {}})
	return r
}

// served is the certificate that a client of host gets, nil if none.
func (r *ownRig) served(host string) *x509.Certificate {
	r.t.Helper()
	cert, err := r.certs.GetCertificate(&tls.ClientHelloInfo{ServerName: host})
	if err != nil {
		return nil
	}
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		r.t.Fatal(err)
	}
	return leaf
}

func (r *ownRig) wantServed(host string, notAfter time.Time) {
	r.t.Helper()
	leaf := r.served(host)
	if leaf == nil || !leaf.NotAfter.Equal(notAfter.UTC().Truncate(time.Second)) {
		r.t.Errorf("%s gets %+v, want the certificate until %s", host, leaf, notAfter)
	}
}

// Which of several certificates a host gets (RFC 9525 §6.3).
func TestOwnLookup(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newOwnRig(t)
		now := time.Now()
		wild := r.write("wild", now.Add(60*day), "*.Example.org")
		exact := r.write("exact", now.Add(30*day), own1, "other.test")
		later := r.write("later", now.Add(40*day), own1+".")
		r.own.Set([]acme.OwnPair{wild})
		r.wantServed("MTA-STS.example.org", now.Add(60*day))
		for _, name := range []string{"a.b.example.org", "example.org", host} {
			if got := r.served(name); got != nil || r.own.Covers(name) {
				t.Errorf("%s gets %v", name, got.DNSNames)
			}
		}
		if r.served("unknown.example.org") != nil {
			t.Error("a host that is not known was served")
		}
		r.own.Set([]acme.OwnPair{wild, exact})
		r.wantServed(own1, now.Add(30*day)) // the more specific
		r.own.Set([]acme.OwnPair{wild, exact, later})
		r.wantServed(own1, now.Add(40*day)) // the later
		after(50 * day)
		r.wantServed(own1, now.Add(60*day)) // the one that is valid
		after(50 * day)
		r.wantServed(own1, now.Add(40*day)) // none is; served all the same
	})
}

// statusOf asks an Issuer that never runs.
func (r *ownRig) statusOf(host string) (state.CertStatus, bool) {
	r.t.Helper()
	issuer, err := acme.NewIssuer(acme.IssuerConfig{Store: r.store, Certificates: r.certs, CAs: []acme.CA{{Directory: caURL}}})
	if err != nil {
		r.t.Fatal(err)
	}
	s, err := issuer.Status(r.t.Context(), host)
	if err != nil {
		r.t.Fatal(err)
	}
	return s, s.Own != ""
}

// A host with an own certificate is never ordered one, whatever waits for it;
// when the certificate goes away the CA takes over.
func TestOwnIsNotOrdered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, own1, host)
		r.ca.lifetime = 6 * time.Hour
		files := ownFiles{t, t.TempDir()}
		own := acme.NewOwn(acme.OwnConfig{Logger: slog.New(slog.DiscardHandler)})
		certs, err := acme.NewCertificates(acme.CertificatesConfig{Store: r.store, Own: own})
		if err != nil {
			t.Fatal(err)
		}
		r.certs, r.ca.certs = certs, certs
		r.know(own1, host)
		r.start()
		defer r.stop()
		pairs := []acme.OwnPair{files.write("wild", time.Now().Add(3*day), "*.example.org")}
		own.Set(pairs)
		r.request(own1)
		r.request(host)
		after(time.Minute)
		r.wantOrders(own1, 0)
		r.wantOrders(host, 1)
		if job := r.store.job(own1); job.Host != "" {
			t.Errorf("job %+v", job)
		}
		own.Set(nil)
		r.request(own1)
		after(time.Minute)
		r.wantOrders(own1, 1)
		own.Set(pairs) // its renewal is pending now
		after(12 * time.Hour)
		r.wantOrders(own1, 1)
		if job := r.store.job(own1); job.Host != "" {
			t.Errorf("job %+v", job)
		}
		after(4 * day) // expired, and still the operator's business
		r.request(own1)
		after(time.Hour)
		r.wantOrders(own1, 1)
		if s := r.status(own1); s.Pending || s.Problem == "" || s.Own == "" {
			t.Errorf("status %+v", s)
		}
	})
}
