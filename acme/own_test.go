package acme_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
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
type notices struct {
	mu  sync.Mutex
	all []state.Event
}

func (n *notices) add(e state.Event) {
	n.mu.Lock()
	defer n.mu.Unlock()
	n.all = append(n.all, e)
}

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

// The files are looked at every 30 s. What cannot be used is said once, and
// what was there before stays.
func TestOwnFilesChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newOwnRig(t)
		now := time.Now()
		first, second := now.Add(60*day), now.Add(80*day)
		p := r.write("wild", first, "*.example.org")
		r.own.Set([]acme.OwnPair{p})
		r.want(t, "info", "loaded")
		if !slices.Equal(r.changed, []string{own1}) {
			t.Errorf("%v were said to have changed", r.changed)
		}
		go r.own.Run(t.Context())
		stays := func(parts ...string) {
			t.Helper()
			after(31 * time.Second)
			r.want(t, append(parts, "warning", "stays")...)
			after(5 * time.Minute)
			if again := r.take(); again != nil {
				t.Errorf("said again: %q", again)
			}
			r.wantServed(own1, first)
		}
		goodCert, goodKey := r.read(p.CertFile), r.read(p.KeyFile)

		r.put(p.CertFile, goodCert[:len(goodCert)/2])
		stays("half written")
		if s, ok := r.statusOf(own1); !ok || !strings.Contains(s.Problem, "half written") || s.Own != p.CertFile || !s.NotAfter.Equal(first) {
			t.Errorf("status %+v", s)
		}
		r.put(p.CertFile, append(slices.Clone(goodCert), "-----BEGIN CERTIFICATE-----\nMIIC"...)) // the intermediate is cut off
		stays("2 PEM blocks of which 1")
		other := r.write("other", second, "*.example.org")
		r.put(p.CertFile, r.read(other.CertFile)) // and the key is still to come
		stays("not that of the first certificate")
		if err := os.Remove(p.KeyFile); err != nil {
			t.Fatal(err)
		}
		stays("cannot read "+p.KeyFile, "no such file")
		r.write("wild", now.Add(-day), "*.example.org")
		stays("expired at")
		sooner := now.Add(20 * day)
		r.write("wild", sooner, "*.example.org")
		stays("sooner than the one in use", "stshost reload")

		r.put(p.KeyFile, goodKey)
		r.put(p.CertFile, goodCert)
		after(31 * time.Second)
		r.want(t, "info", "in order again")

		r.changed = nil
		r.write("wild", second, "*.example.org")
		after(31 * time.Second)
		r.want(t, "info", "replaced")
		r.wantServed(own1, second)
		if !slices.Equal(r.changed, []string{own1}) {
			t.Errorf("%v were said to have changed", r.changed)
		}
		// A reload is deliberate.
		r.write("wild", sooner, "*.example.org")
		r.own.Set([]acme.OwnPair{p})
		r.wantServed(own1, sooner)
		r.own.Set(nil)
		if r.own.Covers(own1) || r.served(own1) != nil {
			t.Error("what has left the config is served")
		}
	})
}

// Files that are links, as certbot and Kubernetes make them: the links are set
// to other files, which may be as long and as old as those of before.
func TestOwnFilesAreLinks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newOwnRig(t)
		now := time.Now()
		first, second := r.write("first", now.Add(60*day), own1), r.write("second", now.Add(61*day), own1)
		for _, file := range []string{first.CertFile, first.KeyFile, second.CertFile, second.KeyFile} {
			if err := os.Chtimes(file, now, now); err != nil {
				t.Fatal(err)
			}
		}
		live := r.pair("live")
		point := func(to acme.OwnPair) {
			t.Helper()
			for link, target := range map[string]string{live.CertFile: to.CertFile, live.KeyFile: to.KeyFile} {
				if err := os.Symlink(target, link+".new"); err != nil {
					t.Fatal(err)
				}
				if err := os.Rename(link+".new", link); err != nil {
					t.Fatal(err)
				}
			}
		}
		point(first)
		r.own.Set([]acme.OwnPair{live})
		go r.own.Run(t.Context())
		r.wantServed(own1, now.Add(60*day))
		point(second)
		after(31 * time.Second)
		r.wantServed(own1, now.Add(61*day))
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

// A certificate that runs out is told of once a day, critically.
func TestOwnRunsOut(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newOwnRig(t)
		now := time.Now()
		p := r.write("wild", now.Add(10*day), "*.example.org")
		unused := r.write("unused", now.Add(5*day), "*.example.org")
		r.own.Set([]acme.OwnPair{p, unused})
		r.take()
		go r.own.Run(t.Context())
		after(3*day - time.Hour)
		if s, _ := r.statusOf(own1); s.Problem != "" || r.take() != nil {
			t.Errorf("too early: %+v", s)
		}
		after(2 * time.Hour)
		r.want(t, "critical", "expires at", "the CA takes over")
		after(6 * time.Hour)
		if again := r.take(); again != nil {
			t.Errorf("said again: %q", again)
		}
		if s, _ := r.statusOf(own1); !strings.Contains(s.Problem, "nobody has renewed it") {
			t.Errorf("status %+v", s)
		}
		after(day)
		r.want(t, "critical", "expires at")
		after(7 * day)
		if got := r.take(); len(got) != 7 || !strings.Contains(got[6], "expired at") {
			t.Errorf("after a week more: %q", got)
		}
		if s, _ := r.statusOf(own1); s.Valid(time.Now()) || !strings.Contains(s.Problem, "expired at") {
			t.Errorf("status %+v", s)
		}
		r.wantServed(own1, now.Add(10*day))
		r.write("wild", now.Add(90*day), "*.example.org")
		after(31 * time.Second)
		r.want(t, "info", "replaced")
		if s, _ := r.statusOf(own1); s.Problem != "" || !s.Valid(time.Now()) {
			t.Errorf("status %+v", s)
		}
	})
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

func TestCheckOwn(t *testing.T) {
	f := ownFiles{t, t.TempDir()}
	until := time.Now().Add(30 * day)
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	ec := f.write("ec", until, own1)
	both := acme.OwnPair{CertFile: filepath.Join(f.dir, "both.pem"), KeyFile: filepath.Join(f.dir, "both.pem")}
	f.put(both.CertFile, append(f.read(ec.KeyFile), f.read(ec.CertFile)...))
	pkcs1 := f.writeKey("pkcs1", until, rsaKey, own1)
	f.put(pkcs1.KeyFile, pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(rsaKey)}))
	for name, p := range map[string]acme.OwnPair{
		"ECDSA": ec, "RSA": f.writeKey("rsa", until, rsaKey, own1), "PKCS 1": pkcs1, "Ed25519": f.writeKey("ed", until, edKey, own1),
		"one file": both, "expired": f.write("expired", time.Now().Add(-day), own1),
	} {
		if err := acme.CheckOwn(p.CertFile, p.KeyFile); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}

	other := f.write("other", until, own1)
	file := func(name, text string) string {
		path := filepath.Join(f.dir, name)
		f.put(path, []byte(text))
		return path
	}
	wrongOrder := file("order.pem", string(f.read(ec.CertFile))+string(f.read(other.CertFile)))
	for name, c := range map[string]struct {
		cert, key string
		want      string
	}{
		"no file":           {filepath.Join(f.dir, "none.pem"), ec.KeyFile, "none.pem: no such file"},
		"no key file":       {ec.CertFile, filepath.Join(f.dir, "none.key"), "none.key: no such file"},
		"a folder":          {f.dir, ec.KeyFile, "is a directory"},
		"another key":       {ec.CertFile, other.KeyFile, "is not that of the first certificate"},
		"the files swapped": {ec.KeyFile, ec.CertFile, "holds no PEM certificate"},
		"no PEM":            {file("text", "hello"), ec.KeyFile, "holds no PEM certificate"},
		"no key":            {ec.CertFile, ec.CertFile, "holds no private key"},
		"a passphrase":      {ec.CertFile, file("enc", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n"), "has a passphrase"},
		"a damaged key":     {ec.CertFile, file("bad", "-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"), "is damaged"},
		"no dNSName":        {f.write("cn", until).CertFile, f.pair("cn").KeyFile, "names no host"},
		"the wrong order":   {wrongOrder, ec.KeyFile, "did not sign the first"},
	} {
		err := acme.CheckOwn(c.cert, c.key)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
			continue
		}
		if what, remedy, ok := strings.Cut(err.Error(), "; "); !ok || what == "" || remedy == "" || strings.Contains(remedy, "; ") {
			t.Errorf("%s: %q is not of the form what; remedy", name, err)
		}
	}
}
