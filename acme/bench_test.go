package acme_test

import (
	"crypto/tls"
	"fmt"
	"testing"
	"time"

	"github.com/stshost/stshost/internal/state"
)

func BenchmarkGetCertificate(b *testing.B) {
	store := newMemStore()
	certs := newCertificates(b, store, 0, host)
	store.certs[host] = certificate(b, host, time.Now().Add(time.Hour))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := ask(certs, host, "h2"); err != nil {
			b.Fatal(err)
		}
	}
}

// BenchmarkGetCertificateOfMany asks for hosts in turn whose certificates are
// all in memory, beside a plain map.
func BenchmarkGetCertificateOfMany(b *testing.B) {
	for _, many := range []int{10_000, 100_000} {
		b.Run(fmt.Sprintf("hosts=%d", many), func(b *testing.B) {
			store := newMemStore()
			wildcard := certificate(b, "*.example", time.Now().Add(time.Hour))
			hosts := make([]string, many)
			for i := range hosts {
				hosts[i] = fmt.Sprintf("mta-sts%06d.example", i*7919%many) // neighbours lie apart
				store.certs[hosts[i]] = state.Certificate{Host: hosts[i], PEM: wildcard.PEM}
			}
			certs := newCertificates(b, store, many, hosts...)
			plain := make(map[string]*tls.Certificate, many)
			for _, host := range hosts { // from now on it is in memory
				cert, err := ask(certs, host, "h2")
				if err != nil {
					b.Fatal(err)
				}
				plain[host] = cert
			}
			bench := func(name string, get func(*tls.ClientHelloInfo) (*tls.Certificate, error)) {
				b.Run(name, func(b *testing.B) {
					hello := &tls.ClientHelloInfo{SupportedProtos: []string{"h2"}}
					i := 0
					for b.Loop() {
						hello.ServerName = hosts[i%many]
						if cert, err := get(hello); err != nil || cert == nil {
							b.Fatal(err)
						}
						i++
					}
				})
			}
			bench("stshost", certs.GetCertificate)
			bench("map", func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) { return plain[hello.ServerName], nil })
		})
	}
}
