package acme_test

import (
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stshost/stshost/acme"
	"github.com/stshost/stshost/internal/state"
)

const other = "mta-sts.example.org"

// A CA that is down is asked every few minutes, costs no host its patience,
// says so in the status, and is used again when it is back.
func TestCADown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, host, other)
		r.ca.down = true
		r.start()
		defer r.stop()
		r.request(host)
		r.request(other)
		after(3 * time.Hour)
		status := r.status(host)
		if !strings.Contains(status.Problem, "cannot be reached") || !strings.Contains(status.Problem, "connection reset by peer") ||
			!status.Pending || status.Attempts != 0 || !status.NextTry.After(time.Now()) {
			t.Errorf("status %+v", status)
		}
		if n := r.ca.requests; n < 15 || n > 60 {
			t.Errorf("%d requests in three hours", n)
		}
		r.ca.set(func() { r.ca.down = false })
		after(11 * time.Minute)
		for _, h := range []string{host, other} {
			if status := r.status(h); !status.Valid(time.Now()) {
				t.Errorf("%s: %+v", h, status)
			}
			r.wantOrders(h, 1)
		}
	})
}

// A CA that breaks down in the middle of an order may have opened it: the
// attempt counts, and there is never a second newOrder in it.
func TestCABreaksInOrder(t *testing.T) {
	for _, where := range []string{"order", "authz", "challenge", "finalize", "cert"} {
		t.Run(where, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, host)
				r.ca.reply = func(kind, _ string) *http.Response {
					if kind == where {
						return refuse(500, "serverInternal", "we are sorry", 0)
					}
					return nil
				}
				r.start()
				defer r.stop()
				r.request(host)
				after(50 * time.Second)
				if where != "order" {
					r.wantOrders(host, 1)
				}
				if job := r.store.job(host); job.Attempts != 1 || job.Problem != "serverInternal: we are sorry" {
					t.Errorf("job %+v", job)
				}
				if s := r.issuer.Stats(); s.Orders != 1 {
					t.Errorf("stats %+v", s)
				}
			})
		})
	}
}

// A hiccup does not cost the order.
func TestCAHiccups(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, host)
		hiccups := 0
		r.ca.reply = func(kind, _ string) *http.Response {
			if (kind == "authz" || kind == "cert") && hiccups < 3 {
				hiccups++
				return refuse(503, "serverInternal", "busy", time.Duration(hiccups)*time.Second)
			}
			if kind == "order" && hiccups < 5 {
				hiccups += 5
				return refuse(400, "badNonce", "stale", 0)
			}
			return nil
		}
		r.start()
		defer r.stop()
		r.request(host)
		after(time.Minute)
		if !r.status(host).Valid(time.Now()) || r.issuer.Stats().Orders != 1 {
			t.Errorf("status %+v, stats %+v", r.status(host), r.issuer.Stats())
		}
	})
}

// 429 with Retry-After holds back every order of the account, over a restart
// too, and does not count against the hosts.
func TestRetryAfter(t *testing.T) {
	for _, status := range []int{429, 503} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, host, other)
			limits := 1
			r.ca.reply = func(kind, _ string) *http.Response {
				if kind == "order" && limits > 0 {
					limits--
					return refuse(status, "rateLimited", "too many new orders (300) from this account", 2*time.Hour)
				}
				return nil
			}
			r.start()
			r.request(host)
			after(10 * time.Second)
			r.request(other)
			after(time.Hour)
			r.stop()
			r.start() // the pause is kept
			after(59*time.Minute - 10*time.Second)
			if n := r.ca.total(); n != 0 {
				t.Errorf("%d orders were opened before Retry-After", n)
			}
			for _, h := range []string{host, other} {
				status := r.status(h)
				if !strings.Contains(status.Problem, "too many new orders") || status.Attempts != 0 || time.Until(status.NextTry) > time.Minute+time.Second {
					t.Errorf("%s: %+v", h, status)
				}
			}
			after(2 * time.Minute)
			r.wantOrders(host, 1)
			r.wantOrders(other, 1)
			r.stop()
		})
	}
}

// A CA that goes on saying 429 with a short Retry-After is not asked at that
// pace: each time would cost budget.
func TestRetryAfterAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, host)
		limited := true
		r.ca.reply = func(kind, _ string) *http.Response {
			if kind == "order" && limited {
				return refuse(429, "rateLimited", "slow down", time.Second)
			}
			return nil
		}
		r.start()
		defer r.stop()
		r.request(host)
		after(time.Hour)
		if n := r.issuer.Stats().Orders; n < 5 || n > 10 {
			t.Errorf("%d newOrder requests in an hour", n)
		}
		r.ca.set(func() { limited = false })
		after(10 * time.Minute)
		r.wantOrders(host, 1)
	})
}

// A limit on one name is that host's alone, however the CA puts it.
func TestRetryAfterForName(t *testing.T) {
	for _, c := range []struct {
		detail string
		alone  bool
	}{
		{`too many failed authorizations (5) for "` + host + `" in the last 1h0m0s`, true},
		{"Error creating new order :: too many certificates already issued for: example.com: see https://ca.test/limits/", true},
		{"too many certificates already issued for exact set of domains", true},
		{"Limit for Example.COM.", true},
		{"too many new orders (300) from this account in the last 3h0m0s, see https://not-example.com/", false},
		{"too many requests", false},
	} {
		t.Run(c.detail, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, host, other)
				r.ca.reply = func(kind, h string) *http.Response {
					if kind == "order" && h == host {
						return refuse(429, "rateLimited", c.detail, time.Hour)
					}
					return nil
				}
				r.start()
				defer r.stop()
				r.request(host)
				after(10 * time.Second)
				r.request(other)
				after(time.Minute)
				if got := r.status(other); got.Valid(time.Now()) != c.alone {
					t.Errorf("%s: %+v", other, got)
				}
				if d := time.Until(r.status(host).NextTry); d < 55*time.Minute {
					t.Errorf("%s is tried again in %s", host, d)
				}
			})
		})
	}
}

// The budget is debited before newOrder, and waited for.
func TestBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var hosts []string
		for n := range 5 {
			hosts = append(hosts, fmt.Sprintf("mta-sts.h%d.example", n))
		}
		r := newRig(t, hosts...)
		r.cfg.CAs[0].OrdersPer3Hours = 2
		r.start()
		for _, h := range hosts {
			r.request(h)
		}
		after(2 * time.Hour)
		if n := r.ca.total(); n != 2 {
			t.Errorf("%d orders within the budget of 2", n)
		}
		waiting := 0
		for _, h := range hosts {
			if status := r.status(h); strings.Contains(status.Problem, "budget") && status.Attempts == 0 {
				waiting++
			}
		}
		if waiting != 3 {
			t.Errorf("%d hosts wait for the budget, want 3", waiting)
		}
		r.stop()
		r.start() // a restart brings no new budget
		after(30 * time.Minute)
		if n := r.ca.total(); n != 2 {
			t.Errorf("%d orders after a restart", n)
		}
		after(40 * time.Minute)
		if n := r.ca.total(); n != 4 {
			t.Errorf("%d orders after 3 hours, want 4", n)
		}
		after(4 * time.Hour)
		r.stop()
		if n := r.ca.total(); n != 5 {
			t.Errorf("%d orders in the end, want 5", n)
		}
	})
}

// The CA's certificate is looked at before it is stored.
func TestUnusableCertificate(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, host)
		r.ca.lifetime = -time.Second
		r.start()
		defer r.stop()
		r.request(host)
		after(30 * time.Second)
		if job := r.store.job(host); job.Attempts != 1 || !strings.Contains(job.Problem, "expired") {
			t.Errorf("job %+v", job)
		}
		r.wantOrders(host, 1)
	})
}

func TestChallengeNotOffered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, host)
		r.ca.reply = func(kind, _ string) *http.Response {
			if kind == "authz" {
				return object(200, map[string]any{
					"status": "pending", "identifier": map[string]string{"type": "dns", "value": host},
					"challenges": []any{map[string]string{"type": "dns-01", "token": "x", "url": caURL + "/challenge/0/dns-01"}},
				})
			}
			return nil
		}
		r.start()
		defer r.stop()
		r.request(host)
		after(30 * time.Second)
		if job := r.store.job(host); job.Problem != "the CA offers no tls-alpn-01 challenge for this name, only dns-01" {
			t.Errorf("job %+v", job)
		}
		r.wantOrders(host, 1)
	})
}

// What cannot be journalled is not started; what was paid for is not lost.
func TestStoreBreaks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, host, other)
		r.store.jobs[host] = state.CertJob{Host: host, Due: time.Now(), Challenge: acme.TLSALPN01}
		r.store.setBroken(true)
		r.start()
		defer r.stop()
		after(10 * time.Minute)
		r.wantOrders(host, 0)
		if s := r.issuer.Stats(); !strings.Contains(s.PauseReason, "disk full") {
			t.Errorf("stats %+v", s)
		}
		r.store.setBroken(false)
		after(2 * time.Minute)
		r.wantOrders(host, 1)

		// It breaks while an order is open.
		r.ca.set(func() {
			r.ca.reply = func(kind, _ string) *http.Response {
				if kind == "cert" {
					r.store.setBroken(true)
				}
				return nil
			}
		})
		r.request(other)
		after(10 * time.Minute)
		r.store.setBroken(false)
		after(2 * time.Minute)
		r.wantOrders(other, 1)
		if cert := r.store.certs[other]; cert.Host == "" {
			t.Errorf("the certificate is lost; job %+v", r.store.job(other))
		}
	})
}

// A directory URL that leads elsewhere is said so.
func TestWrongDirectory(t *testing.T) {
	for _, res := range []func() *http.Response{
		func() *http.Response { return answer(200, []byte("<html>")) },
		func() *http.Response { return answer(404, []byte("not found")) },
	} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, host)
			r.ca.reply = func(kind, _ string) *http.Response { return res() }
			r.start()
			defer r.stop()
			r.request(host)
			after(30 * time.Second)
			if p := r.status(host).Problem; !strings.Contains(p, "ACME directory") && !strings.Contains(p, "404") {
				t.Errorf("problem %q", p)
			}
		})
	}
}

// A CA that opens an order and then says that it was one too many is not given
// the next one as soon as it says, however well others fare: orders that
// nothing comes of are paid for.
func TestLimitedWithOrderOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, host)
		r.ca.reply = func(kind, _ string) *http.Response {
			if kind == "finalize" {
				return refuse(429, "rateLimited", "slow down", time.Second)
			}
			return nil
		}
		r.start()
		defer r.stop()
		r.request(host)
		after(24 * time.Hour)
		if n := r.ca.orders(host); n > 5 {
			t.Errorf("%d orders in a day", n)
		}
	})
}
