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

// A CA that knows of another order in the place of the certificate gets the
// order once more without saying what it replaces: one order, one debit.
func TestAlreadyReplaced(t *testing.T) {
	for _, c := range []struct {
		status int
		kind   string
	}{{409, "alreadyReplaced"}, {403, "unauthorized"}, {404, "notFound"}, {400, "malformed"}} {
		for _, suggested := range []bool{false, true} {
			t.Run(fmt.Sprint(c.kind, suggested), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r := newRig(t, host)
					refused := 0
					r.ca.renewalInfo = func(string) *http.Response { return refuse(404, "notFound", "gone", 0) }
					if suggested {
						r.ca.renewalInfo = always(time.Now().Add(20*day), time.Now().Add(21*day))
					}
					r.ca.reply = func(kind, h string) *http.Response {
						if kind == "order" && strings.Contains(r.ca.lastOrder(h), "replaces") {
							refused++
							return refuse(c.status, c.kind, "a replacement exists", 0)
						}
						return nil
					}
					r.start()
					r.request(host)
					after(time.Hour)
					r.jump(time.Until(r.store.job(host).Due) + time.Minute)
					r.stop()
					if refused != 1 || r.ca.orders(host) != 2 || len(r.ca.payloads) != 3 {
						t.Errorf("%d refusals, %d orders, %q", refused, r.ca.orders(host), r.ca.payloads)
					}
					if n := len(r.store.debits[caURL+"/account/1"]); n != 1 { // the first one's is pruned
						t.Errorf("%d orders debited", n)
					}
					if s := r.status(host); !s.Valid(time.Now()) || s.Problem != "" || s.Attempts != 0 {
						t.Errorf("status %+v", s)
					}
				})
			})
		}
	}
}

// Renewals that the CA has suggested do not wait for our budget and take
// nothing of it; others wait. One that the CA then does not take for a renewal
// waits with them.
func TestSuggestedNeedsNoBudget(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const waiting = "mta-sts.waiting.example"
		r := newRig(t, host, other, waiting)
		r.cfg.CAs[0].OrdersPer3Hours = 2
		start := time.Now().Add(20 * day)
		r.ca.renewalInfo = always(start, start.Add(time.Second))
		r.start()
		defer func() { r.stop() }()
		r.request(host)
		r.request(other)
		after(time.Hour)
		budget, err := r.issuer.Budget(t.Context())
		if err != nil || len(budget) != 1 || budget[0].Left != 0 || budget[0].Limit != 2 {
			t.Errorf("budget %+v, %v", budget, err)
		}
		// Spent by others when the window comes.
		r.jump(time.Until(start) - time.Minute)
		r.store.debits[caURL+"/account/1"] = []time.Time{time.Now(), time.Now()}
		r.request(waiting)
		refuseOther := true
		r.ca.set(func() {
			r.ca.reply = func(kind, h string) *http.Response {
				if kind == "order" && h == other && refuseOther && strings.Contains(r.ca.lastOrder(h), "replaces") {
					return refuse(409, "alreadyReplaced", "it was", 0)
				}
				return nil
			}
		})
		after(2 * time.Hour)
		r.wantOrders(host, 2)
		r.wantOrders(other, 1)
		r.wantOrders(waiting, 0)
		if n := len(r.ca.payloads); n > 6 {
			t.Errorf("%d newOrder requests", n)
		}
		for _, h := range []string{other, waiting} {
			if s := r.status(h); !strings.Contains(s.Problem, "budget") {
				t.Errorf("%s: %+v", h, s)
			}
		}
		queue, err := r.issuer.Queue(t.Context())
		if err != nil || queue != (state.CertJobCounts{Due: 2, Scheduled: 1}) {
			t.Errorf("queue %+v, %v", queue, err)
		}
		after(2 * time.Hour)
		r.wantOrders(other, 2)
		r.wantOrders(waiting, 1)
	})
}

// A certificate of the second CA is asked about there, renewed at the first,
// which is not told that it replaces another's.
func TestSuggestionOfIssuer(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, host)
		second := r.second()
		at := time.Now().Add(10 * day)
		second.renewalInfo = always(at, at.Add(time.Minute))
		r.ca.renewalInfo = always(time.Now().Add(50*day), time.Now().Add(51*day))
		r.ca.down = true
		r.start()
		defer func() { r.stop() }()
		r.request(host)
		after(time.Hour)
		if len(r.ca.questions) != 0 || len(second.questions) == 0 {
			t.Errorf("%d and %d questions", len(r.ca.questions), len(second.questions))
		}
		if due := r.store.job(host).Due; due.Before(at) || due.After(at.Add(time.Minute)) {
			t.Errorf("renewal at %s, want %s", due, at)
		}
		r.ca.set(func() { r.ca.down = false })
		r.jump(time.Until(at) + 2*time.Minute)
		r.wantOrders(host, 1)
		if got := r.ca.replaced(); second.orders(host) != 1 || len(got) != 1 || got[0] != "" {
			t.Errorf("the orders at the first CA replace %q", got)
		}
		after(time.Hour)
		if len(r.ca.questions) == 0 {
			t.Error("the first CA is not asked about its certificate")
		}
	})
}

// Certificates that live from 6 hours to 90 days are renewed in time, with and
// without the CA's suggestions, and over trouble of a third of what is left.
func TestLifetimes(t *testing.T) {
	for _, lifetime := range []time.Duration{6 * day, 45 * day, 64 * day, 90 * day} {
		for _, suggests := range []bool{false, true} {
			t.Run(fmt.Sprint(lifetime, suggests), func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					r := newRig(t, host)
					r.ca.lifetime = lifetime
					if suggests {
						// As Let's Encrypt: about the middle for short-lived ones,
						// the last third for others.
						at := lifetime / 3 * 2
						if lifetime < 10*day {
							at = lifetime / 2
						}
						issued := map[string]time.Time{}
						r.ca.renewalInfo = func(id string) *http.Response {
							if issued[id].IsZero() {
								issued[id] = time.Now()
							}
							return window(issued[id].Add(at), issued[id].Add(at+lifetime/45), "", "21600")
						}
					}
					r.start()
					defer func() { r.stop() }()
					r.request(host)
					for range 8 {
						after(15 * time.Minute)
						first := r.status(host)
						if !first.Valid(time.Now()) || first.Problem != "" {
							t.Fatalf("at %s: %+v", time.Now(), first)
						}
						r.jump(time.Until(first.NextTry) + time.Minute)
						second := r.status(host)
						if !second.NotAfter.After(first.NotAfter) {
							t.Fatalf("not renewed: %+v", second)
						}
						if left := time.Until(first.NotAfter); left < lifetime/5 || left > lifetime*6/10 {
							t.Fatalf("renewed with %s of %s left", left, lifetime)
						}
					}
				})
			})
		}
	}
}

// A short-lived certificate survives validations that fail for a day when its
// renewal is due.
func TestSixDaysWithTrouble(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, host)
		r.ca.lifetime = 6 * day
		r.start()
		defer func() { r.stop() }()
		r.request(host)
		after(10 * time.Minute)
		r.ca.set(func() { r.ca.invalid[host] = []string{acme.TLSALPN01, acme.HTTP01} })
		after(time.Until(r.status(host).NextTry) + day)
		s := r.status(host)
		if s.Attempts < 4 || s.Attempts > 12 || !s.Valid(time.Now()) {
			t.Errorf("status %+v", s)
		}
		if wait := time.Until(s.NextTry); wait > 6*time.Hour {
			t.Errorf("tried again in %s", wait)
		}
		r.ca.set(func() { r.ca.invalid = map[string][]string{} })
		after(6 * time.Hour)
		if s := r.status(host); s.Problem != "" || s.NotAfter.Before(time.Now().Add(5*day)) {
			t.Errorf("status %+v", s)
		}
	})
}

// Jobs from before issuers were kept are asked about at the first CA, and keep
// it once it has answered.
func TestJobsOfOlderVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, host)
		r.start()
		r.request(host)
		after(time.Minute)
		r.stop()
		job := r.store.job(host)
		job.CA, job.AskAt = "", time.Time{}
		r.store.jobs[host] = job
		at := time.Now().Add(20 * day)
		r.ca.renewalInfo = always(at, at.Add(time.Hour))
		r.start()
		defer r.stop()
		after(10 * time.Second)
		if job := r.store.job(host); job.CA != caURL+"/directory" || job.Due.Before(at) || job.Due.After(at.Add(time.Hour)) {
			t.Errorf("job %+v", job)
		}
	})
}

// A CA that breaks at orders which say what they replace is soon sent one that
// does not: the certificate must not run out for that.
func TestReplacesBreaksCA(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, host)
		start := time.Now().Add(20 * day)
		r.ca.renewalInfo = always(start, start.Add(time.Second))
		r.ca.reply = func(kind, h string) *http.Response {
			if kind == "order" && strings.Contains(r.ca.lastOrder(h), "replaces") {
				return refuse(500, "serverInternal", "we are sorry", 0)
			}
			return nil
		}
		r.start()
		defer func() { r.stop() }()
		r.request(host)
		after(time.Hour)
		first := r.status(host)
		r.jump(time.Until(start))
		after(time.Hour)
		if s := r.status(host); !s.NotAfter.After(first.NotAfter) || s.Problem != "" || len(r.ca.payloads) != 4 {
			t.Errorf("status %+v, orders %q", s, r.ca.payloads)
		}
	})
}
