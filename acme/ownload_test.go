package acme_test

import (
	"crypto/ed25519"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stshost/stshost/acme"
)

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
		if _, err := acme.CheckOwn(p.CertFile, p.KeyFile); err != nil {
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
		_, err := acme.CheckOwn(c.cert, c.key)
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: got %v, want %q", name, err, c.want)
			continue
		}
		if what, remedy, ok := strings.Cut(err.Error(), "; "); !ok || what == "" || remedy == "" || strings.Contains(remedy, "; ") {
			t.Errorf("%s: %q is not of the form what; remedy", name, err)
		}
	}
}
