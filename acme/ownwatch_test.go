package acme_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"encoding/pem"
	"os"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stshost/stshost/acme"
)

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

// Another intermediate under the same certificate is another chain to serve.
func TestOwnIntermediateChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newOwnRig(t)
		key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		// Cross-signed: two certificates of the one key that signed the first.
		cross := r.read(r.writeKey("cross", time.Now().Add(80*day), key, "ca.test").CertFile)
		root := r.read(r.writeKey("root", time.Now().Add(90*day), key, "ca.test").CertFile)
		p := r.writeKey("live", time.Now().Add(60*day), key, own1)
		leaf := r.read(p.CertFile)
		r.put(p.CertFile, slices.Concat(leaf, cross))
		r.own.Set([]acme.OwnPair{p})
		r.take()
		go r.own.Run(t.Context())

		r.put(p.CertFile, slices.Concat(leaf, root))
		after(31 * time.Second)
		r.want(t, "info", "replaced")
		cert, err := r.certs.GetCertificate(&tls.ClientHelloInfo{ServerName: own1})
		if err != nil {
			t.Fatal(err)
		}
		if want, _ := pem.Decode(root); len(cert.Certificate) != 2 || !slices.Equal(cert.Certificate[1], want.Bytes) {
			t.Error("the intermediate of before is served")
		}
	})
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
