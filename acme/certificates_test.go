package acme_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net"
	"runtime"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stshost/stshost/acme"
	"github.com/stshost/stshost/internal/state"
)

// certificate makes a certificate for name with one intermediate, as the store
// would have it.
func certificate(t testing.TB, name string, notAfter time.Time) state.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(time.Now().UnixNano()), DNSNames: []string{name},
		NotBefore: notAfter.Add(-90 * 24 * time.Hour), NotAfter: notAfter,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	sec1, err := x509.MarshalECPrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	data := pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: sec1})
	data = append(append(data, block(der)...), block(der)...)
	return state.Certificate{Host: name, PEM: data, NotBefore: template.NotBefore, NotAfter: notAfter}
}

func newCertificates(t testing.TB, store *memStore, cacheSize int, hosts ...string) *acme.Certificates {
	t.Helper()
	certs, err := acme.NewCertificates(acme.CertificatesConfig{Store: store, CacheSize: cacheSize})
	if err != nil {
		t.Fatal(err)
	}
	set := map[string]struct{}{}
	for _, h := range hosts {
		set[h] = struct{}{}
	}
	certs.SetHosts(set)
	return certs
}

func ask(certs *acme.Certificates, name string, protos ...string) (*tls.Certificate, error) {
	return certs.GetCertificate(&tls.ClientHelloInfo{ServerName: name, SupportedProtos: protos})
}

// handshake does a real TLS handshake against certs and returns the client's
// view of it.
func handshake(t *testing.T, certs *acme.Certificates, cfg *tls.Config) (tls.ConnectionState, error) {
	t.Helper()
	client, server := net.Pipe()
	defer client.Close()
	go func() {
		defer server.Close()
		conn := tls.Server(server, &tls.Config{GetCertificate: certs.GetCertificate, NextProtos: []string{"h2", "http/1.1", acme.ALPNProto}})
		if conn.Handshake() == nil {
			_, _ = conn.Write([]byte("x"))
		}
	}()
	conn := tls.Client(client, cfg)
	if err := conn.Handshake(); err != nil {
		return tls.ConnectionState{}, err
	}
	_, _ = io.ReadFull(conn, make([]byte, 1))
	return conn.ConnectionState(), nil
}

func TestServe(t *testing.T) {
	store := newMemStore()
	certs := newCertificates(t, store, 0, host)
	store.certs[host] = certificate(t, host, time.Now().Add(24*time.Hour))
	for _, version := range []uint16{tls.VersionTLS12, tls.VersionTLS13} {
		for _, name := range []string{host, "MTA-STS.example.COM"} {
			got, err := handshake(t, certs, &tls.Config{ServerName: name, InsecureSkipVerify: true, MaxVersion: version, NextProtos: []string{"h2"}})
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if err := got.PeerCertificates[0].VerifyHostname(host); err != nil || len(got.PeerCertificates) != 2 {
				t.Errorf("%s: %d certificates, %v", name, len(got.PeerCertificates), err)
			}
		}
	}
	if n := store.readCount(); n != 1 {
		t.Errorf("%d store reads for four handshakes", n)
	}
	for _, name := range []string{"", "mta-sts.example.net", "example.com", "x." + host} {
		if _, err := handshake(t, certs, &tls.Config{ServerName: name, InsecureSkipVerify: true}); err == nil {
			t.Errorf("a handshake with %q succeeded", name)
		}
	}
	if n := store.readCount(); n != 1 {
		t.Errorf("names that are not ours caused %d store reads", n-1)
	}
}

func TestServeErrors(t *testing.T) {
	certs := newCertificates(t, newMemStore(), 0, host)
	for name, want := range map[string]error{
		"": acme.ErrNoServerName, "example.net": acme.ErrUnknownHost, host: acme.ErrNoCertificate,
	} {
		if _, err := ask(certs, name, "h2"); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", name, err, want)
		}
	}
	if _, err := ask(certs, host, acme.ALPNProto); !errors.Is(err, acme.ErrNoChallenge) {
		t.Errorf("validation without a challenge: %v", err)
	}
	if _, err := ask(certs, "example.net", acme.ALPNProto); !errors.Is(err, acme.ErrUnknownHost) {
		t.Errorf("validation of an unknown host: %v", err)
	}
	if _, ok := certs.HTTP01(t.Context(), host, "token"); ok {
		t.Error("http-01 without a challenge was answered")
	}
}

// A scan of names that are not ours reads nothing, orders nothing, keeps
// nothing.
func TestScan(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, host)
		r.start()
		defer r.stop()
		r.request(host)
		after(time.Minute)
		if _, err := ask(r.certs, host, "h2"); err != nil {
			t.Fatal(err)
		}
		reads, requests := r.store.readCount(), r.ca.requests
		names := make([]string, 10_000)
		for n := range names {
			names[n] = fmt.Sprintf("mta-sts.scan%05d.example", n)
		}
		before := heap()
		for _, name := range names {
			for _, proto := range []string{"h2", acme.ALPNProto} {
				if _, err := ask(r.certs, name, proto); !errors.Is(err, acme.ErrUnknownHost) {
					t.Fatalf("%s: %v", name, err)
				}
			}
			if _, ok := r.certs.HTTP01(t.Context(), name, "token"); ok {
				t.Fatalf("%s has a challenge", name)
			}
		}
		grown := int64(heap()) - int64(before)
		runtime.KeepAlive(names)
		after(time.Hour)
		if n := r.store.readCount() - reads; n != 0 {
			t.Errorf("%d store reads", n)
		}
		if n := r.ca.requests - requests; n != 0 {
			t.Errorf("%d requests to the CA", n)
		}
		if grown > 200_000 {
			t.Errorf("the heap grew by %d bytes", grown)
		}
	})
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var m runtime.MemStats
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// Handshakes for a host without a certificate ask the store now and then, not
// each time; the first one after issuance gets it.
func TestNoCertificateYet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemStore()
		certs := newCertificates(t, store, 0, host)
		for range 1000 {
			if _, err := ask(certs, host, "h2"); !errors.Is(err, acme.ErrNoCertificate) {
				t.Fatal(err)
			}
			if _, err := ask(certs, host, acme.ALPNProto); !errors.Is(err, acme.ErrNoChallenge) {
				t.Fatal(err)
			}
			time.Sleep(10 * time.Millisecond)
		}
		if n := store.readCount(); n > 50 {
			t.Errorf("%d store reads in 10 s", n)
		}
		store.certs[host] = certificate(t, host, time.Now().Add(time.Hour))
		certs.Forget(host)
		if _, err := ask(certs, host, "h2"); err != nil {
			t.Errorf("after Forget: %v", err)
		}
	})
}

// A stalled store delays only the handshakes that need it, and those together
// need it once.
func TestStalledStore(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemStore()
		certs := newCertificates(t, store, 0, host, other)
		store.certs[host] = certificate(t, host, time.Now().Add(time.Hour))
		if _, err := ask(certs, host, "h2"); err != nil {
			t.Fatal(err)
		}
		store.stall = make(chan struct{})
		reads, began := store.readCount(), time.Now()
		var cold sync.WaitGroup
		for range 32 {
			cold.Go(func() {
				if _, err := ask(certs, other, "h2"); !errors.Is(err, context.DeadlineExceeded) {
					t.Errorf("cold name: %v", err)
				}
			})
		}
		synctest.Wait()
		if _, err := ask(certs, host, "h2"); err != nil || time.Since(began) != 0 {
			t.Errorf("a loaded name took %s: %v", time.Since(began), err)
		}
		cold.Wait()
		if d := time.Since(began); d > time.Second {
			t.Errorf("a cold name waited for %s", d)
		}
		if n := store.readCount() - reads; n != 1 {
			t.Errorf("%d store reads for 32 handshakes", n)
		}
		// When it is time to look again, what is loaded goes on being served.
		time.Sleep(2 * time.Hour)
		began = time.Now()
		if _, err := ask(certs, host, "h2"); err != nil || time.Since(began) != 0 {
			t.Errorf("a loaded name took %s later: %v", time.Since(began), err)
		}
		time.Sleep(time.Minute)
		if _, err := ask(certs, host, "h2"); err != nil {
			t.Errorf("a loaded name after the store failed: %v", err)
		}
		time.Sleep(time.Minute)
	})
}

// Another node's renewal is noticed.
func TestRefresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		store := newMemStore()
		certs := newCertificates(t, store, 0, host)
		store.certs[host] = certificate(t, host, time.Now().Add(time.Hour))
		old, err := ask(certs, host, "h2")
		if err != nil {
			t.Fatal(err)
		}
		store.certs[host] = certificate(t, host, time.Now().Add(48*time.Hour))
		time.Sleep(2 * time.Hour)
		for range 2 {
			if _, err := ask(certs, host, "h2"); err != nil {
				t.Fatal(err)
			}
			synctest.Wait()
		}
		if renewed, _ := ask(certs, host, "h2"); renewed == old {
			t.Error("the old certificate is still served")
		}
	})
}

func TestRemovedHostIsNotServed(t *testing.T) {
	store := newMemStore()
	certs := newCertificates(t, store, 0, host, other)
	store.certs[host] = certificate(t, host, time.Now().Add(time.Hour))
	if _, err := ask(certs, host, "h2"); err != nil {
		t.Fatal(err)
	}
	certs.SetHosts(map[string]struct{}{other: {}})
	if _, err := ask(certs, host, "h2"); !errors.Is(err, acme.ErrUnknownHost) {
		t.Errorf("removed host: %v", err)
	}
}

func TestStoredCertificateIsChecked(t *testing.T) {
	good := certificate(t, host, time.Now().Add(time.Hour))
	foreign := certificate(t, other, time.Now().Add(time.Hour))
	key, _ := pem.Decode(good.PEM)
	_, chain := pem.Decode(foreign.PEM)
	for name, data := range map[string][]byte{
		"other host": foreign.PEM,
		"other key":  append(pem.EncodeToMemory(key), chain...),
		"no chain":   pem.EncodeToMemory(key),
		"no key":     chain,
		"empty":      nil,
	} {
		store := newMemStore()
		certs := newCertificates(t, store, 0, host)
		store.certs[host] = state.Certificate{Host: host, PEM: data}
		if cert, err := ask(certs, host, "h2"); err == nil {
			t.Errorf("%s: %v was served", name, cert)
		}
	}
}

// The cache is bounded and its entries are small.
func TestCacheMemory(t *testing.T) {
	const n = 200
	var hosts []string
	store := newMemStore()
	for k := range n {
		h := fmt.Sprintf("mta-sts.h%03d.example", k)
		hosts = append(hosts, h)
		store.certs[h] = certificate(t, h, time.Now().Add(time.Hour))
	}
	_, rest := pem.Decode(store.certs[hosts[0]].PEM)
	_, intermediate := pem.Decode(rest)
	for _, h := range hosts { // the same intermediate everywhere
		c := store.certs[h]
		key, rest := pem.Decode(c.PEM)
		leaf, _ := pem.Decode(rest)
		c.PEM = append(append(pem.EncodeToMemory(key), pem.EncodeToMemory(leaf)...), intermediate...)
		store.certs[h] = c
	}
	certs := newCertificates(t, store, n/2, hosts...)
	load := func() {
		for _, h := range hosts {
			if _, err := ask(certs, h, "h2"); err != nil {
				t.Fatal(err)
			}
		}
	}
	before := heap()
	load()
	each := (heap() - before) / (n / 2)
	t.Logf("%d bytes a certificate", each)
	if each > 2500 {
		t.Errorf("%d bytes a certificate", each)
	}
	full := heap()
	load()
	if grown := int64(heap()) - int64(full); grown > 20_000 {
		t.Errorf("the full cache grew by %d bytes", grown)
	}
	runtime.KeepAlive(certs)
}
