package main

import (
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/server"
)

// ownFiles are a certificate of the operator's own and its key.
type ownFiles struct {
	w         *world
	cert, key string
}

// bringCertificate puts a pair of files into the config, with a certificate
// for hosts that senders trust.
func (w *world) bringCertificate(notAfter time.Time, hosts ...string) ownFiles {
	w.t.Helper()
	f := ownFiles{w: w, cert: filepath.Join(w.dir, "own.pem"), key: filepath.Join(w.dir, "own.key")}
	f.write(notAfter, hosts...)
	w.extra += fmt.Sprintf("[[certificate]]\ncert_file = %q\nkey_file = %q\n", f.cert, f.key)
	return f
}

// write replaces the files as a certbot hook does, one after the other.
func (f ownFiles) write(notAfter time.Time, hosts ...string) {
	f.w.t.Helper()
	cert, err := f.w.lab.Mail.Issue(notAfter, hosts...)
	if err != nil {
		f.w.t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		f.w.t.Fatal(err)
	}
	f.put(f.cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]}))
	f.put(f.key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key}))
}

func (f ownFiles) put(path string, data []byte) {
	f.w.t.Helper()
	if err := os.WriteFile(path, data, 0o600); err != nil {
		f.w.t.Fatal(err)
	}
}

// awaitCertificate waits until host shows another certificate than before.
func (w *world) awaitCertificate(host, before string) string {
	w.t.Helper()
	now := before
	eventually(w.t, func() error {
		if now = w.certificate(host); now == before {
			return errors.New("the old certificate is served")
		}
		return nil
	})
	return now
}

// told wants an event of that severity about an own certificate.
func (w *world) told(severity state.Severity, text string) {
	w.t.Helper()
	eventually(w.t, func() error {
		all, err := w.client().Events(w.t.Context(), state.EventQuery{Kind: state.KindCertificateOwn, MinSeverity: severity}, 0)
		for _, e := range all {
			if e.Severity == severity && strings.Contains(e.Text, text) && e.Remedy != "" {
				return nil
			}
		}
		return errors.Join(fmt.Errorf("no %s event says %q: %+v", severity, text, all), err)
	})
}

// A wildcard that the operator brings along protects a domain without a single
// order, and is replaced when its files are.
func TestOwnCertificate(t *testing.T) {
	t.Parallel()
	w := newWorld(t, example)
	host := "mta-sts." + example
	until := time.Now().Add(60 * 24 * time.Hour).Truncate(time.Second)
	files := w.bringCertificate(until, "*."+example)
	s := w.start()
	d := w.confirmed(example)
	w.sees(d)
	if d.CertificateOwn != files.cert || !d.CertificateNotAfter.Equal(until) || d.CertificateProblem != "" {
		t.Errorf("status %+v", d)
	}
	first := w.certificate(host)

	files.write(time.Now().Add(80*24*time.Hour), "*."+example)
	second := w.awaitCertificate(host, first)

	// A copy that is cut off: what was there stays, and the log says so once.
	cert, err := os.ReadFile(files.cert)
	if err != nil {
		t.Fatal(err)
	}
	files.put(files.cert, cert[:len(cert)/2])
	d = w.await(example, "what is wrong with the file", func(d server.DomainStatus) bool {
		return strings.Contains(d.CertificateProblem, "half written")
	})
	if d.Step != state.Confirmed {
		t.Errorf("status %+v", d)
	}
	w.explains(example, "half written", files.cert, "write a renewed certificate")
	if now := w.certificate(host); now != second {
		t.Error("another certificate is served")
	}
	w.told(state.SeverityWarning, "half written")
	if n := w.metric("stshost_own_certificates_refused"); n != 1 {
		t.Errorf("%v own certificates are refused", n)
	}
	if n := strings.Count(s.log.String(), "half written"); n != 1 {
		t.Errorf("the log says it %d times", n)
	}
	// A reload does not take it either: it is a fault of the config now.
	w.writeConfig()
	var invalid *server.InvalidConfigError
	if _, err := w.client().Reload(t.Context(), server.ReloadOrder{}); !errors.As(err, &invalid) || !strings.Contains(err.Error(), "half written") {
		t.Errorf("the reload says %v", err)
	}
	if now := w.certificate(host); now != second {
		t.Error("another certificate is served after the reload")
	}
	files.write(time.Now().Add(85*24*time.Hour), "*."+example)
	w.awaitCertificate(host, second)
	w.await(example, "all well", func(d server.DomainStatus) bool { return d.CertificateProblem == "" })
	if n := w.metric("stshost_own_certificates_refused"); n != 0 {
		t.Errorf("%v own certificates are refused, all being well", n)
	}

	// The offline answer knows it, too.
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	if out := w.stshost("status", example); !strings.Contains(out, files.cert) {
		t.Errorf("status without a server:\n%s", out)
	}
	if n := w.lab.CA.TotalOrders(); n != 0 {
		t.Errorf("%d orders at the CA, want none", n)
	}
}

// An own certificate that runs out is served on and told of. The CA takes over
// when the config says so, and not before.
func TestOwnCertificateExpires(t *testing.T) {
	w := newWorld(t, example)
	w.bringCertificate(time.Now().Add(30*24*time.Hour), "mta-sts."+example)
	s := w.start()
	w.confirmed(example)
	s.pass(25*24*time.Hour, example)
	w.await(example, "a warning", func(d server.DomainStatus) bool {
		return strings.Contains(d.CertificateProblem, "nobody has renewed it")
	})
	s.pass(6*24*time.Hour, example)
	d := w.await(example, "that it expired", blockedBy("expired at"))
	if d.Step != state.Confirmed {
		t.Errorf("step %s", d.Step)
	}
	w.explains(example, "the own certificate", "expired at", "the CA takes over")
	w.told(state.SeverityCritical, "expired at")
	if n := w.lab.CA.TotalOrders(); n != 0 {
		t.Errorf("%d orders at the CA while the config has an own certificate", n)
	}

	w.ahead.Store(0) // the CA's certificates would be in the future
	w.extra = ""
	res := s.reload()
	if len(res.Settings) != 1 || res.Settings[0] != "certificate" {
		t.Errorf("the reload says %+v", res)
	}
	w.await(example, "a certificate of the CA", func(d server.DomainStatus) bool {
		return d.CertificateOwn == "" && d.CertificateNotAfter.After(time.Now()) && d.LastError == ""
	})
	w.sees(w.confirmed(example))
	if n := w.lab.CA.TotalOrders(); n != 1 {
		t.Errorf("%d orders, want 1", n)
	}
}

// A wildcard that leaves the config leaves nobody without a certificate: not an
// extra host, and not a domain that has left before and is served on.
func TestOwnCertificateLeaves(t *testing.T) {
	w := newWorld(t, example, "second.test")
	gone, central := w.domains[1].name, "sts."+example
	w.acme = fmt.Sprintf("extra_hosts = [%q]\n", central)
	if err := w.lab.DNS.Set(central, "A", "127.0.0.1"); err != nil {
		t.Fatal(err)
	}
	w.bringCertificate(time.Now().Add(60*24*time.Hour), "*."+example, "*."+gone)
	s := w.start()
	w.confirmed(example)
	w.confirmed(gone)
	own := w.certificate("mta-sts." + gone)
	w.domains = w.domains[:1]
	s.reload()
	if now := w.certificate("mta-sts." + gone); now != own || w.certificate(central) != own || w.lab.CA.TotalOrders() != 0 {
		t.Errorf("%d orders", w.lab.CA.TotalOrders())
	}

	w.extra = ""
	s.reload()
	for _, host := range []string{"mta-sts." + example, "mta-sts." + gone, central} {
		eventually(t, func() error {
			if n := w.lab.CA.Orders(host); n != 1 {
				return fmt.Errorf("%d orders for %s, want 1", n, host)
			}
			_, err := s.store.Certificate(t.Context(), host)
			return err
		})
		if now := w.certificate(host); now == own {
			t.Errorf("%s is served the certificate that left the config", host)
		}
	}
}

// Files that cannot be used are a fault of the config, with its line; but they
// keep a server that starts from nothing. Its hosts have the CA's certificate
// until the files are right.
func TestOwnCertificateFaulty(t *testing.T) {
	w := newWorld(t, example)
	files := w.bringCertificate(time.Now().Add(30*24*time.Hour), "*."+example)
	w.writeConfig()
	if err := os.Rename(files.key, files.key+".away"); err != nil {
		t.Fatal(err)
	}
	_, err := loadConfig(w.config())
	if err == nil || !strings.Contains(err.Error(), w.config()+":") || !strings.Contains(err.Error(), "cannot read "+files.key) {
		t.Errorf("got %v", err)
	}

	w.start()
	w.sees(w.confirmed(example))
	ofCA := w.certificate("mta-sts." + example)
	w.told(state.SeverityWarning, "cannot read")
	if n := w.metric("stshost_own_certificates_refused"); n != 1 {
		t.Errorf("%v own certificates are refused", n)
	}
	if err := os.Rename(files.key+".away", files.key); err != nil {
		t.Fatal(err)
	}
	w.awaitCertificate("mta-sts."+example, ofCA)
	w.await(example, "the own certificate", func(d server.DomainStatus) bool { return d.CertificateOwn == files.cert })
}

// The figures are those of the certificate that is served, though the store has
// another one still.
func TestOwnCertificateInFigures(t *testing.T) {
	w := newWorld(t, example)
	s := w.start()
	w.confirmed(example)
	before := w.certificate("mta-sts." + example)
	until := time.Now().Add(2 * time.Hour).Truncate(time.Second)
	w.bringCertificate(until, "*."+example)
	s.reload()
	w.awaitCertificate("mta-sts."+example, before)
	w.ahead.Add(int64(3 * time.Hour))
	for name, want := range map[string]float64{
		`stshost_certificates{status="valid"}`:                  0,
		`stshost_certificates{status="expired"}`:                1,
		`stshost_certificate_earliest_expiry_timestamp_seconds`: float64(until.Unix()),
		`stshost_domains_failing`:                               1,
	} {
		if got := w.metric(name); got != want {
			t.Errorf("%s is %v, want %v", name, got, want)
		}
	}
}
