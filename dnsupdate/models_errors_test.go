package dnsupdate_test

import (
	"errors"
	"maps"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stshost/stshost/dnsupdate"
	"github.com/stshost/stshost/internal/state"
)

// TestModelErrors shows what an operator reads when something between us and a
// provider is set up wrong, or the provider is in trouble, and that no secret is
// shown; once the cause is gone a push succeeds.
func TestModelErrors(t *testing.T) {
	html := func(status int, header string) func(*http.Request) (int, string, string) {
		return func(req *http.Request) (int, string, string) {
			return status, header, "<html>oh, and your key is " + req.Header.Get("X-API-Key") + "</html>"
		}
	}
	wrong := map[string]map[string]string{ // a setting that the provider does not accept
		"desec": {"api_token": "else"}, "hetzner": {"api_token": "else"}, "ionos": {"api_key": "else.else"},
		"netcup": {"api_password": "else"}, "ovh": {"application_secret": "else"}, "route53": {"access_key_id": "else"},
	}
	said := map[string]string{
		"desec": "api_token", "hetzner": "api_token", "ionos": "api_key", "netcup": "api_password", "ovh": "Invalid signature", "route53": "access_key_id",
	}
	for name, start := range models() {
		t.Run(name, func(t *testing.T) {
			m := start()
			b := startModel(t, m)
			fails := func(at state.Target, want ...string) error {
				t.Helper()
				err := b.Push(t.Context(), at, first)
				if err == nil {
					t.Fatal("no error")
				}
				for _, w := range want {
					if !strings.Contains(err.Error(), w) {
						t.Errorf("%q is not in: %v", w, err)
					}
				}
				b.clean(t, err.Error())
				return err
			}
			fails(state.Target{Account: account, Zone: "missing.test", Name: "_mta-sts.missing.test"}, "zone", "missing.test")

			settings := maps.Clone(b.settings)
			maps.Copy(settings, wrong[name])
			b.use(t, dnsupdate.Account{Provider: name, Settings: settings})
			fails(target("x"), said[name])
			b.use(t, m.account)

			if name != "route53" && name != "hetzner" { // whose modules try again by themselves, for a while
				m.failing(html(502, ""))
				fails(target("x"), "502", "in trouble")
				m.failing(html(429, "Retry-After: 7200"))
				var paused *dnsupdate.RateLimitError
				if err := fails(target("x"), "429"); !errors.As(err, &paused) || paused.RetryAt().Before(time.Now().Add(time.Hour)) {
					t.Errorf("the pause is lost in %v", err)
				}
				m.failing(nil)
				before := m.asked()
				fails(target("x"), "429")
				if m.asked() != before {
					t.Error("a request was sent during the pause")
				}
				b.SetAccounts(nil)
				b.use(t, m.account)
			}
			if err := b.Push(t.Context(), target("x"), first); err != nil {
				t.Fatal(err)
			}
			b.confirmed(t, target("x"), first)
			b.clean(t)
		})
	}
}

// TestOVHRefresh shows that a change which OVH has taken and not published, since
// the refresh failed or we were killed before it, is published by the next push.
func TestOVHRefresh(t *testing.T) {
	m := ovhModel()
	b := startModel(t, m)
	refresh := func(req *http.Request) bool { return strings.HasSuffix(req.URL.Path, "/refresh") }
	if err := b.Push(t.Context(), target("x"), first); err != nil {
		t.Fatal(err)
	}
	m.failing(func(req *http.Request) (int, string, string) {
		if refresh(req) {
			return 500, "", "{}"
		}
		return 0, "", ""
	})
	if err := b.Push(t.Context(), target("x"), second); err == nil || !strings.Contains(err.Error(), "publish the zone") {
		t.Fatalf("error %v", err)
	}
	b.confirmed(t, target("x"), first)
	m.failing(nil)
	if err := b.Push(t.Context(), target("x"), second); err != nil {
		t.Fatal(err)
	}
	b.confirmed(t, target("x"), second)

	// The same after a start anew.
	m.mu.Lock()
	m.records[0].value = `"` + first + `"`
	m.mu.Unlock()
	again := open(t, dnsupdate.Config{Accounts: map[string]dnsupdate.Account{account: m.account}, Resolver: b.resolver, Transport: b.transport})
	if err := again.Push(t.Context(), target("x"), first); err != nil {
		t.Fatal(err)
	}
	b.confirmed(t, target("x"), first)
}

// TestOVHRefreshOfAnother shows that a change which OVH did not publish is known
// to wait, though the zone was published for another name meanwhile.
func TestOVHRefreshOfAnother(t *testing.T) {
	m := ovhModel()
	b := startModel(t, m)
	if err := b.Push(t.Context(), target("x"), first); err != nil {
		t.Fatal(err)
	}
	meanwhile := sync.OnceFunc(func() {
		if err := b.Push(t.Context(), target("y"), first); err != nil {
			t.Error(err)
		}
		m.failing(func(req *http.Request) (int, string, string) {
			if strings.HasSuffix(req.URL.Path, "/refresh") {
				return 500, "", "{}"
			}
			return 0, "", ""
		})
	})
	m.before(func(req *http.Request) {
		if req.Method == http.MethodPut {
			meanwhile()
		}
	})
	if err := b.Push(t.Context(), target("x"), second); err == nil || !strings.Contains(err.Error(), "publish the zone") {
		t.Fatalf("error %v", err)
	}
	m.failing(nil)
	if err := b.Push(t.Context(), target("x"), second); err != nil {
		t.Fatal(err)
	}
	b.confirmed(t, target("x"), second)
}

// TestOVHClock shows that a clock which was set while we ran, as NTP does at a
// start, costs one push and no more.
func TestOVHClock(t *testing.T) {
	m := ovhModel()
	b := startModel(t, m)
	ahead := time.Duration(0)
	b = open(t, dnsupdate.Config{
		Accounts: map[string]dnsupdate.Account{account: m.account}, Resolver: b.resolver, Transport: b.transport,
		Now: func() time.Time { return time.Now().Add(ahead) },
	})
	if err := b.Push(t.Context(), target("x"), first); err != nil {
		t.Fatal(err)
	}
	ahead = time.Hour
	if err := b.Push(t.Context(), target("x"), second); err == nil {
		t.Error("the signature is still right")
	}
	if err := b.Push(t.Context(), target("x"), second); err != nil {
		t.Error(err)
	}
	b.confirmed(t, target("x"), second)
}

// TestHetznerPause shows that a project whose requests are used up is left alone
// for a while.
func TestHetznerPause(t *testing.T) {
	m := hetznerModel()
	b := startModel(t, m)
	m.failing(func(*http.Request) (int, string, string) {
		return 429, "Content-Type: application/json", `{"error":{"code":"rate_limit_exceeded","message":"limit of 3600 requests per hour reached"}}`
	})
	var paused *dnsupdate.RateLimitError
	if err := b.Push(t.Context(), target("x"), first); !errors.As(err, &paused) {
		t.Fatalf("error %v", err)
	}
	m.failing(nil)
	before := m.asked()
	if err := b.Push(t.Context(), target("x"), first); !errors.As(err, &paused) || m.asked() != before {
		t.Errorf("in the pause: %v, after %d requests", err, m.asked()-before)
	}
}

// TestForeignMeanwhile shows that a record which somebody else adds between our
// look and our change stays, where a whole set is replaced.
func TestForeignMeanwhile(t *testing.T) {
	for name, start := range map[string]func() *model{"desec": desecModel, "hetzner": hetznerModel, "route53": route53Model} {
		t.Run(name, func(t *testing.T) {
			m := start()
			b := startModel(t, m)
			b.add(t, "x", `"`+stale+`"`)
			looks := 0
			m.before(func(req *http.Request) {
				if req.Method == http.MethodGet && strings.Contains(req.URL.Path, "rrset") {
					looks++
				}
				if looks == 2 {
					looks++
					b.add(t, "x", `"just \"now\"" "made"`)
				}
			})
			if err := b.Push(t.Context(), target("x"), first); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{`"just \"now\"" "made"`, `"` + first + `"`}, b.show(t, "x")); diff != "" {
				t.Error(diff)
			}
		})
	}
}
