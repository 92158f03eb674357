package dnsupdate_test

import (
	"context"
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stshost/stshost/dnsupdate"
	"github.com/stshost/stshost/internal/cloudflaretest"
	"github.com/stshost/stshost/internal/state"
)

// TestCloudflareErrors shows what an operator reads, that nothing has changed,
// and that the next push succeeds once the cause is gone.
func TestCloudflareErrors(t *testing.T) {
	on := func(method string, f *cloudflaretest.Failure) func(*http.Request) *cloudflaretest.Failure {
		return func(r *http.Request) *cloudflaretest.Failure {
			if method != "" && r.Method != method {
				return nil
			}
			return f
		}
	}
	echo := &cloudflaretest.Failure{Status: 400, Body: `{"success":false,"errors":[{"code":9207,"message":"bad header Bearer cf-test-token-4Xk29"}]}`}
	for _, c := range []struct {
		name string
		fail func(*http.Request) *cloudflaretest.Failure
		want []string
	}{
		{"bad gateway on read", on("GET", cloudflaretest.BadGateway()), []string{"502", "502 Bad Gateway"}},
		{"bad gateway on write", on("POST", cloudflaretest.BadGateway()), []string{"502", "in trouble"}},
		{"no reason on read", on("GET", cloudflaretest.FailureWithoutReason()), []string{"no reason"}},
		{"no reason on write", on("POST", cloudflaretest.FailureWithoutReason()), []string{"failure", "no reason"}},
		{"page instead of JSON", on("", &cloudflaretest.Failure{Status: 200, Body: "<html>captive portal</html>"}), []string{"without JSON", "captive portal"}},
		{"token expired", on("", &cloudflaretest.Failure{Status: 401, Body: `{"success":false,"errors":[{"code":1000,"message":"Invalid API Token"}]}`}), []string{"Invalid API Token", "api_token", "expired"}},
		{"token echoed", on("POST", echo), []string{"9207", "[redacted]"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			s := cloudflaretest.Start(t, zone)
			b := overCloudflare(t, s)
			b.add(t, "errors", `"foreign"`)
			s.Fail(c.fail)
			err := b.Push(t.Context(), target("errors"), first)
			if err == nil {
				t.Fatal("no error")
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q is not in: %v", w, err)
				}
			}
			b.clean(t, err.Error())
			s.Fail(nil)
			if err := b.Push(t.Context(), target("errors"), first); err != nil {
				t.Fatalf("after the failure: %v", err)
			}
			if diff := cmp.Diff([]string{`"foreign"`, `"` + first + `"`}, b.show(t, "errors")); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// TestCloudflareAccess shows the messages for tokens and zones that do not fit.
func TestCloudflareAccess(t *testing.T) {
	s := cloudflaretest.Start(t, zone)
	s.AddReadOnlyZone("readonly.test")
	for _, c := range []struct {
		name     string
		settings map[string]string
		target   state.Target
		want     []string
	}{
		{"wrong token", map[string]string{"api_token": "wrong-token-991"}, target("x"), []string{"does not accept the token", "api_token"}},
		{"token for zones only", map[string]string{"api_token": s.ZoneToken}, target("x"), []string{"DNS:Edit"}},
		{"read-only zone", map[string]string{"api_token": s.Token}, state.Target{Zone: "readonly.test", Name: "_mta-sts.readonly.test"}, []string{"DNS:Edit"}},
		{"missing zone", map[string]string{"api_token": s.Token}, state.Target{Zone: "missing.test", Name: "_mta-sts.missing.test"}, []string{"0 zones named missing.test", "Zone:Read"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			b := open(t, dnsupdate.Config{
				Accounts:  map[string]dnsupdate.Account{account: {Provider: "cloudflare", Settings: c.settings}},
				Resolver:  newResolver(t, s.DNSAddr, s.DNSPort),
				Transport: s.Transport(),
			})
			b.secrets = []string{s.Token, s.ZoneToken, "wrong-token-991"}
			c.target.Account = account
			err := b.Push(t.Context(), c.target, first)
			if err == nil {
				t.Fatal("no error")
			}
			for _, w := range c.want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q is not in: %v", w, err)
				}
			}
			b.clean(t, err.Error())
		})
	}
}

// TestCloudflareRateLimit shows that after a 429 no request goes out before
// its Retry-After has passed, and that the caller learns when that is.
func TestCloudflareRateLimit(t *testing.T) {
	s := cloudflaretest.Start(t, zone)
	var clock atomic.Int64
	now := func() time.Time { return time.Unix(1_700_000_000+clock.Load(), 0) }
	b := open(t, dnsupdate.Config{
		Accounts:  map[string]dnsupdate.Account{account: {Provider: "cloudflare", Settings: map[string]string{"api_token": s.Token}}},
		Resolver:  newResolver(t, s.DNSAddr, s.DNSPort),
		Transport: s.Transport(),
		Now:       now,
	})
	s.Fail(func(*http.Request) *cloudflaretest.Failure { return cloudflaretest.TooManyRequests("120") })
	err := b.Push(t.Context(), target("x"), first)
	var limit *dnsupdate.RateLimitError
	if !errors.As(err, &limit) || !limit.RetryAt().Equal(now().Add(2*time.Minute)) {
		t.Fatalf("error %v does not say to try again after two minutes", err)
	}
	s.Fail(nil)
	before := len(s.Requests())
	clock.Store(119)
	if err := b.Push(t.Context(), target("x"), first); err == nil {
		t.Error("a push before Retry-After had passed succeeded")
	}
	if got := len(s.Requests()); got != before {
		t.Errorf("%d requests were sent before Retry-After had passed", got-before)
	}
	clock.Store(120)
	if err := b.Push(t.Context(), target("x"), first); err != nil {
		t.Error(err)
	}

	// A date counts too, within reason.
	for _, c := range []struct {
		text string        // Retry-After, or
		date time.Duration // from now
		want time.Duration
	}{
		{date: 10 * time.Minute, want: 10 * time.Minute},
		{date: 1000 * time.Hour, want: 24 * time.Hour},
		{date: -time.Hour, want: 5 * time.Minute},
		{text: "999999999999", want: 24 * time.Hour},
		{text: "soon", want: 5 * time.Minute},
		{want: 5 * time.Minute},
	} {
		clock.Add(100 * 3600) // the last pause is over
		if c.date != 0 {
			c.text = now().Add(c.date).UTC().Format(http.TimeFormat)
		}
		s.Fail(func(*http.Request) *cloudflaretest.Failure { return cloudflaretest.TooManyRequests(c.text) })
		err := b.Push(t.Context(), target("x"), first)
		if !errors.As(err, &limit) || !limit.RetryAt().Equal(now().Add(c.want)) {
			t.Errorf("Retry-After %q: %v; want a try after %s", c.text, err, c.want)
		}
	}

	// What was learnt about zones is not asked again, just when requests are dear.
	clock.Add(100 * 3600)
	s.Fail(nil)
	before = len(s.Requests())
	if err := b.Push(t.Context(), target("x"), first); err != nil {
		t.Error(err)
	}
	if got := s.Requests()[before:]; len(got) != 1 {
		t.Errorf("an unchanged push after a 429 made these requests: %q", got)
	}
}

// TestCloudflareRequests counts what a push costs.
func TestCloudflareRequests(t *testing.T) {
	s := cloudflaretest.Start(t, zone)
	b := overCloudflare(t, s)
	cost := func(txt string) int {
		t.Helper()
		before := len(s.Requests())
		if err := b.Push(t.Context(), target("x"), txt); err != nil {
			t.Fatal(err)
		}
		return len(s.Requests()) - before
	}
	got := []int{cost(first), cost(first), cost(second)}
	if diff := cmp.Diff([]int{4, 1, 3}, got); diff != "" {
		t.Errorf("requests of a first push, an unchanged one and a change:\n%s", diff)
	}
}

// TestCloudflareZoneMadeAgain shows that a zone which was deleted and made
// again, and so has another id, is found.
func TestCloudflareZoneMadeAgain(t *testing.T) {
	s := cloudflaretest.Start(t, zone)
	b := overCloudflare(t, s)
	if err := b.Push(t.Context(), target("x"), first); err != nil {
		t.Fatal(err)
	}
	s.RemoveZone(zone)
	s.AddZone(zone)
	if err := b.Push(t.Context(), target("x"), first); err == nil {
		t.Log("the first push after it succeeds already")
	}
	if err := b.Push(t.Context(), target("x"), first); err != nil {
		t.Error(err)
	}
	b.confirmed(t, target("x"), first)
}

// hangs is a transport whose requests never end and that ignores contexts.
type hangs struct{ release chan struct{} }

func (h hangs) RoundTrip(*http.Request) (*http.Response, error) {
	<-h.release
	return nil, errors.New("released")
}

// TestHardTimeout shows that a push ends at its timeout although the provider
// ignores its context, and that the name stays locked until the provider is
// really done.
func TestHardTimeout(t *testing.T) {
	s := cloudflaretest.Start(t, zone)
	res := newResolver(t, s.DNSAddr, s.DNSPort)
	synctest.Test(t, func(t *testing.T) {
		h := hangs{make(chan struct{})}
		u, err := dnsupdate.New(dnsupdate.Config{
			Accounts:  map[string]dnsupdate.Account{account: {Provider: "cloudflare", Settings: map[string]string{"api_token": "token"}}},
			Resolver:  res,
			Transport: h,
			Timeout:   5 * time.Second,
		})
		if err != nil {
			t.Fatal(err)
		}
		at := target("x")
		at.Zone = zone
		start := time.Now()
		err = u.Push(context.Background(), at, first)
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v is no timeout", err)
		}
		if d := time.Since(start); d > 10*time.Second {
			t.Errorf("it took %s", d)
		}
		limited, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if err := u.Push(limited, at, first); err == nil || !strings.Contains(err.Error(), "another change") {
			t.Errorf("a second push did not wait for the first: %v", err)
		}
		close(h.release)
		synctest.Wait()
	})
}
