package dnsupdate_test

import (
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/stshost/stshost/dnsupdate"
	"github.com/stshost/stshost/internal/dnstest"
	"github.com/stshost/stshost/internal/state"
)

// TestUpdateErrors shows what an operator reads when something between us and
// the primary server is set up wrong, for each server's way of refusing.
func TestUpdateErrors(t *testing.T) {
	servers := map[string]func(testing.TB, ...string) *dnstest.Server{
		"knot": dnstest.StartKnot, "bind": dnstest.StartBIND, "powerdns": dnstest.StartPowerDNS,
	}
	// PowerDNS answers every bad signature alike and keeps the reason to its log.
	vague := map[string][]string{"powerdns": {"NOTAUTH", "key_name", "key_alg", "secret", "clocks"}}
	for name, start := range servers {
		t.Run(name, func(t *testing.T) {
			s := start(t, zone)
			right := overUpdate(t, s)
			cases := []struct {
				name   string
				change map[string]string
				clock  time.Duration
				target state.Target
				want   []string            // each must be in the message
				differ map[string][]string // what a server that says something else leads to
			}{
				{name: "secret", change: map[string]string{"key": s.IdleSecret}, want: []string{"BADSIG", "secret"}, differ: vague},
				{name: "key name", change: map[string]string{"key_name": "nobody"}, want: []string{"does not know key nobody", "key_name"}, differ: vague},
				{name: "algorithm", change: map[string]string{"key_alg": "hmac-sha512"}, want: []string{"hmac-sha512", "key_alg"}, differ: vague},
				{name: "clock", clock: -time.Hour, want: []string{"BADTIME", "clock", "NTP"}, differ: vague},
				{name: "not granted", change: map[string]string{"key_name": s.IdleName, "key": s.IdleSecret}, want: []string{"refuses the update", "idle-test", "grant"},
					differ: map[string][]string{"knot": {"idle-test", "grants it nothing", "access list"}}},
				{name: "zone", target: state.Target{Zone: "missing.test", Name: "_mta-sts.missing.test"}, want: []string{"missing.test."}},
				{name: "no server", change: map[string]string{"server": "127.0.0.1:1"}, want: []string{"127.0.0.1:1", "cannot be reached", "refused"}},
			}
			for _, c := range cases {
				t.Run(c.name, func(t *testing.T) {
					settings := maps.Clone(right.settings)
					maps.Copy(settings, c.change)
					at := c.target
					if at.Name == "" {
						at = target("errors")
					}
					at.Account = account
					b := open(t, dnsupdate.Config{
						Accounts: map[string]dnsupdate.Account{account: {Provider: "rfc2136", Settings: settings}},
						Resolver: newResolver(t, s.Addr, s.Port),
						Now:      func() time.Time { return time.Now().Add(c.clock) },
					})
					b.secrets = []string{s.TSIGSecret, s.IdleSecret}
					err := b.Push(t.Context(), at, first)
					if err == nil {
						t.Fatal("no error")
					}
					want := c.want
					if d, ok := c.differ[name]; ok {
						want = d
					}
					for _, w := range want {
						if !strings.Contains(err.Error(), w) {
							t.Errorf("%q is not in: %v", w, err)
						}
					}
					b.clean(t, err.Error())
				})
			}
		})
	}
}
