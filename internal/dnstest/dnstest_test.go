package dnstest_test

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stshost/stshost/internal/dnstest"
)

// TestServers shows that each server starts, takes records and lets them go.
func TestServers(t *testing.T) {
	for name, start := range map[string]func(testing.TB, ...string) *dnstest.Server{
		"knot": dnstest.StartKnot, "bind": dnstest.StartBIND, "powerdns": dnstest.StartPowerDNS,
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, "example.test", "example.org.")
			s.AddRecord(t, `x.example.test. 60 IN TXT "one" "two"`)
			if diff := cmp.Diff([][]string{{"one", "two"}}, s.TXT(t, "x.example.test")); diff != "" {
				t.Error(diff)
			}
			s.RemoveRecord(t, `x.example.test. 60 IN TXT "one" "two"`)
			if got := s.TXT(t, "x.example.test"); len(got) != 0 {
				t.Errorf("still there: %q", got)
			}
		})
	}
}
