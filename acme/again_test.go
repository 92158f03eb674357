package acme_test

import (
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stshost/stshost/acme"
)

func (r *rig) tryAgain(want int) {
	r.t.Helper()
	n, err := r.issuer.TryAgain(r.t.Context())
	if err != nil || n != want {
		r.t.Errorf("TryAgain made %d due (%v), want %d", n, err, want)
	}
}

// Whoever has mended something need not wait out the backoff, and need not
// hold back either: a second word within five minutes is kept for their end.
func TestTryAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, host)
		r.ca.invalid[host] = []string{acme.TLSALPN01, acme.HTTP01}
		r.start()
		defer r.stop()
		r.request(host)
		after(15 * time.Minute) // three attempts have failed: the next is after 100 minutes
		r.wantOrders(host, 3)
		r.tryAgain(1)
		after(10 * time.Second)
		r.wantOrders(host, 4)
		r.ca.set(func() { delete(r.ca.invalid, host) })
		r.tryAgain(1)
		r.tryAgain(0) // it is to be already
		after(10 * time.Second)
		r.wantOrders(host, 4)
		after(5 * time.Minute)
		r.wantOrders(host, 5)
		if !r.status(host).Valid(time.Now()) {
			t.Errorf("status %+v", r.status(host))
		}
		r.tryAgain(0) // nothing is wrong any more
	})
}

// What the CA asked for holds, for a name and for the account, over a restart
// too.
func TestTryAgainHeedsCA(t *testing.T) {
	for detail, holds := range map[string]string{
		"too many failed authorizations recently for example.com": host,
		"too many new orders": other,
	} {
		synctest.Test(t, func(t *testing.T) {
			r := newRig(t, host, other)
			r.ca.reply = func(kind, h string) *http.Response {
				if kind == "order" && h == host {
					return refuse(429, "rateLimited", detail, 2*time.Hour)
				}
				return nil
			}
			r.start()
			defer func() { r.stop() }()
			r.request(host)
			after(time.Minute)
			if p := r.status(host).Problem; !strings.Contains(p, detail) {
				t.Errorf("problem %q", p)
			}
			r.request(other)
			r.tryAgain(0)
			r.stop()
			r.start()
			r.tryAgain(0)
			after(time.Hour)
			if n := r.ca.orders(other); holds == other && n != 0 || holds == host && n != 1 {
				t.Errorf("%q: %d orders for another host", detail, n)
			}
			if s := r.status(host); s.Valid(time.Now()) || time.Until(s.NextTry) < 50*time.Minute {
				t.Errorf("%q: status %+v", detail, s)
			}
		})
	}
}

// The time for which we leave a CA alone that is down is ours to end; that of
// one which limits us without a word of how long is not.
func TestTryAgainOutage(t *testing.T) {
	for name, limited := range map[string]bool{"down": false, "limited": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, host)
				r.ca.reply = func(kind, _ string) *http.Response {
					switch {
					case kind != "order":
						return nil
					case limited:
						return refuse(429, "rateLimited", "too many new orders", 0)
					}
					return refuse(400, "userActionRequired", "accept the terms", 0)
				}
				r.start()
				defer r.stop()
				r.request(host)
				after(8 * time.Minute)
				r.ca.set(func() { r.ca.reply = nil })
				before := r.ca.orders(host)
				if _, err := r.issuer.TryAgain(t.Context()); err != nil {
					t.Fatal(err)
				}
				after(20 * time.Second)
				if got := r.status(host).Valid(time.Now()); got == limited {
					t.Errorf("status %+v, %d orders before", r.status(host), before)
				}
			})
		})
	}
}

// Hosts that fail for good do not use up the orders of others, however often
// the config is reloaded.
func TestTryAgainLeavesBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hosts := []string{"mta-sts.a.example", "mta-sts.b.example", "mta-sts.c.example", "mta-sts.d.example"}
		r := newRig(t, hosts...)
		r.cfg.CAs[0].OrdersPer3Hours = 9
		for _, h := range hosts {
			r.ca.invalid[h] = []string{acme.TLSALPN01, acme.HTTP01}
		}
		r.start()
		defer r.stop()
		for _, h := range hosts {
			r.request(h)
		}
		after(30 * time.Second)
		r.tryAgain(3)
		r.tryAgain(0)
	})
}
