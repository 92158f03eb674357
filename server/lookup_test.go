package server_test

import (
	"fmt"
	"testing"

	"github.com/stshost/stshost/mtasts"
	"github.com/stshost/stshost/server"
)

// BenchmarkLookup finds a policy host among many, as each request does, beside
// a plain map.
func BenchmarkLookup(b *testing.B) {
	const many = 100_000
	hosts := make([]string, many)
	domains := make(map[string][]byte, many)
	plain := make(map[string][]byte, many)
	for i := range hosts {
		domain := fmt.Sprintf("domain%06d.example", i*7919%many) // neighbours lie apart
		hosts[i] = mtasts.PolicyHost(domain)
		domains[domain] = []byte(policyA)
		plain[hosts[i]] = domains[domain]
	}
	policies := server.NewPolicies()
	policies.SetAll(domains)
	bench := func(name string, find func(host string) []byte) {
		b.Run(name, func(b *testing.B) {
			i := 0
			for b.Loop() {
				if find(hosts[i%many]) == nil {
					b.Fatal(hosts[i%many])
				}
				i++
			}
		})
	}
	bench("stshost", func(host string) []byte {
		_, body, _ := policies.Lookup(host)
		return body
	})
	bench("map", func(host string) []byte { return plain[host] })
}
