package dnsupdate_test

import (
	"context"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stshost/stshost/dnsupdate"
	"github.com/stshost/stshost/internal/cloudflaretest"
	"github.com/stshost/stshost/internal/dnstest"
)

// TestTry shows that every kind of provider passes, and that nothing is left.
func TestTry(t *testing.T) {
	backends(t, func(t *testing.T, b *backend) {
		var steps []string
		name := ""
		err := b.Try(t.Context(), account, zone, func(s dnsupdate.Step) {
			steps = append(steps, s.Name)
			if s.Name == "add" {
				name = s.Text[strings.Index(s.Text, "_stshost-test-"):]
			}
			if s.Err != nil {
				t.Errorf("%s: %v", s.Text, s.Err)
			}
		})
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff([]string{"find", "add", "see", "replace", "see", "remove", "see"}, steps); diff != "" {
			t.Error(diff)
		}
		if !strings.HasSuffix(name, "."+zone) {
			t.Errorf("the name is %q", name)
		}
		b.confirmed(t, at(name), "")
		b.clean(t)
	})
}

// TestTryFails shows that one sentence says why, and that what was planted is
// removed also when the operator has enough.
func TestTryFails(t *testing.T) {
	quiet := func(dnsupdate.Step) {}
	t.Run("print", func(t *testing.T) {
		b := open(t, dnsupdate.Config{Accounts: map[string]dnsupdate.Account{account: {Provider: "print"}}, Resolver: newResolver(t, "127.0.0.1:1", 1)})
		if err := b.Try(t.Context(), account, zone, quiet); err == nil || !strings.Contains(err.Error(), "nothing to test") {
			t.Error(err)
		}
		if err := b.Try(t.Context(), "other", zone, quiet); err == nil || !strings.Contains(err.Error(), `"other"`) {
			t.Error(err)
		}
	})
	t.Run("not granted", func(t *testing.T) {
		s := dnstest.StartBIND(t, zone)
		b := overServer(t, s, dnsupdate.Account{Provider: "rfc2136", Settings: map[string]string{
			"server": s.Addr, "key_name": s.IdleName, "key_alg": s.TSIGAlgorithm, "key": s.IdleSecret,
		}}, s.IdleSecret)
		err := b.Try(t.Context(), account, zone, quiet)
		if err == nil || !strings.Contains(err.Error(), "refuses the update") || strings.Contains(err.Error(), "by hand") {
			t.Error(err)
		}
	})
	// What never got as far as a change leaves nothing to be removed.
	t.Run("nothing written", func(t *testing.T) {
		s := dnstest.StartKnot(t, zone)
		for name, c := range map[string]struct{ server, key, secret, want string }{
			"BADKEY":  {s.Addr, "nobody", s.TSIGSecret, "BADKEY"},
			"BADSIG":  {s.Addr, s.TSIGName, s.IdleSecret, "BADSIG"},
			"refused": {"127.0.0.1:1", s.TSIGName, s.TSIGSecret, "cannot be reached over TCP"},
		} {
			t.Run(name, func(t *testing.T) {
				b := overServer(t, s, dnsupdate.Account{Provider: "rfc2136", Settings: map[string]string{
					"server": c.server, "key_name": c.key, "key_alg": s.TSIGAlgorithm, "key": c.secret,
				}}, c.secret)
				var last string
				err := b.Try(t.Context(), account, zone, func(s dnsupdate.Step) { last = s.Name })
				if err == nil || strings.Count(err.Error(), c.want) != 1 || strings.Contains(err.Error(), "by hand") || last != "add" {
					t.Errorf("last step %q: %v", last, err)
				}
			})
		}
	})
	// A provider that takes changes and does not show them.
	stuck := func(t *testing.T) (*cloudflaretest.Server, *backend) {
		s := cloudflaretest.Start(t, zone)
		dns := dnstest.StartKnot(t, zone)
		return s, open(t, dnsupdate.Config{
			Accounts:  map[string]dnsupdate.Account{account: {Provider: "cloudflare", Settings: map[string]string{"api_token": s.Token}}},
			Resolver:  newResolver(t, dns.Addr, dns.Port),
			Transport: s.Transport(),
		})
	}
	// One that broke off in the middle of a change may have carried it out.
	t.Run("may be left", func(t *testing.T) {
		s, b := stuck(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := b.Try(ctx, account, zone, func(step dnsupdate.Step) {
			if step.Name == "add" {
				s.Fail(func(*http.Request) *cloudflaretest.Failure { return &cloudflaretest.Failure{Status: 500} })
			}
		})
		if err == nil || !strings.Contains(err.Error(), "may be left at _stshost-test-") {
			t.Error(err)
		}
	})
	t.Run("never shown", func(t *testing.T) {
		s, b := stuck(t)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		err := b.Try(ctx, account, zone, quiet)
		if err == nil || !strings.Contains(err.Error(), "shows no record there") {
			t.Error(err)
		}
		wrote(t, s, http.MethodPost, http.MethodDelete)
	})
	t.Run("interrupted", func(t *testing.T) {
		s, b := stuck(t)
		ctx, cancel := context.WithCancel(t.Context())
		var last dnsupdate.Step
		err := b.Try(ctx, account, zone, func(step dnsupdate.Step) {
			if last = step; step.Name == "add" {
				cancel()
			}
		})
		if err == nil || last.Name != "clean" || last.Err != nil {
			t.Errorf("%v, last step %+v", err, last)
		}
		wrote(t, s, http.MethodPost, http.MethodDelete)
	})
}

// wrote wants exactly these kinds of changes to have been asked for.
func wrote(t *testing.T, s *cloudflaretest.Server, want ...string) {
	t.Helper()
	var got []string
	for _, w := range s.Writes() {
		method, _, _ := strings.Cut(w, " ")
		got = append(got, method)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
