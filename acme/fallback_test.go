package acme_test

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stshost/stshost/acme"
	"github.com/stshost/stshost/internal/state"
)

// An outage of the first CA costs a host nothing where there is a second, and
// the first is used again when it is back.
func TestFallback(t *testing.T) {
	for name, fail := range map[string]func(ca *fakeCA){
		"down": func(ca *fakeCA) { ca.down = true },
		"broken": func(ca *fakeCA) {
			ca.reply = func(kind, _ string) *http.Response {
				if kind == "order" {
					return refuse(500, "serverInternal", "we are sorry", 0)
				}
				return nil
			}
		},
		"limited": func(ca *fakeCA) {
			ca.reply = func(kind, _ string) *http.Response {
				if kind == "order" {
					return refuse(429, "rateLimited", "too many new orders", time.Hour)
				}
				return nil
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, host, other)
				second := r.second()
				events := &eventLog{}
				r.cfg.Event = events.add
				fail(r.ca)
				r.start()
				defer r.stop()
				r.request(host)
				after(20 * time.Second)
				if s := r.status(host); !s.Valid(time.Now()) || s.Problem != "" || second.orders(host) != 1 {
					t.Errorf("status %+v, %d orders at the second CA", s, second.orders(host))
				}
				if job := r.store.job(host); job.CA != secondURL+"/directory" {
					t.Errorf("job %+v", job)
				}
				stats := r.issuer.Stats()
				if !stats.PausedUntil.IsZero() || len(stats.PerCA) != 2 || stats.PerCA[0].PausedUntil.IsZero() ||
					stats.PerCA[1].Issued != 1 || stats.Issued != 1 || !stats.PerCA[1].PausedUntil.IsZero() {
					t.Errorf("stats %+v", stats)
				}
				told := events.want(t, state.KindCertificateFallback, 1)
				if len(told) > 0 && (told[0].Severity != state.SeverityWarning || !strings.Contains(told[0].Text, secondURL)) {
					t.Errorf("event %+v", told[0])
				}
				events.want(t, state.KindCertificateIssued, 1)
				events.want(t, state.KindCertificateFailed, 1)

				r.ca.set(func() { r.ca.down, r.ca.reply = false, nil })
				after(2 * time.Hour)
				r.request(other)
				after(20 * time.Second)
				r.wantOrders(other, 1)
				if second.orders(other) != 0 || !r.status(other).Valid(time.Now()) {
					t.Errorf("%d orders at the second CA; %+v", second.orders(other), r.status(other))
				}
				events.want(t, state.KindCertificateFallback, 2)
			})
		})
	}
}

// What is the host's own fault, our budget, or a limit on the host's name goes
// to no other CA.
func TestNoFallback(t *testing.T) {
	for name, fail := range map[string]func(r *rig){
		"validation": func(r *rig) { r.ca.invalid[host] = []string{acme.TLSALPN01, acme.HTTP01} },
		"name": func(r *rig) {
			r.ca.reply = func(kind, _ string) *http.Response {
				if kind == "order" {
					return refuse(429, "rateLimited", "too many certificates already issued for: example.com", time.Hour)
				}
				return nil
			}
		},
		"refused": func(r *rig) {
			r.ca.reply = func(kind, _ string) *http.Response {
				if kind == "order" {
					return refuse(400, "rejectedIdentifier", "this name is forbidden by policy", 0)
				}
				return nil
			}
		},
		"budget": func(r *rig) {
			r.cfg.CAs[0].OrdersPer3Hours = 1
			r.store.debits[caURL+"/account/1"] = []time.Time{time.Now().Add(time.Hour)}
		},
		"permit": func(r *rig) {
			r.cfg.Permit = func(context.Context, string, acme.CAIdentity, string) error { return errors.New("CAA") }
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, host)
				second := r.second()
				fail(r)
				r.start()
				defer r.stop()
				r.request(host)
				after(2 * time.Hour)
				if second.total() != 0 || r.status(host).Problem == "" {
					t.Errorf("%d orders at the second CA; %+v", second.total(), r.status(host))
				}
			})
		})
	}
}

// When neither CA can be used both say why, and whichever is back first is
// used.
func TestBothDown(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, host)
		second := r.second()
		r.ca.down, second.down = true, true
		r.start()
		defer r.stop()
		r.request(host)
		after(time.Hour)
		status := r.status(host)
		if status.Attempts != 0 || !status.NextTry.After(time.Now()) || !strings.Contains(status.Problem, "cannot be reached") {
			t.Errorf("status %+v", status)
		}
		if s := r.issuer.Stats(); s.PausedUntil.IsZero() || !strings.Contains(s.PauseReason, caURL) || !strings.Contains(s.PauseReason, secondURL) {
			t.Errorf("stats %+v", s)
		}
		second.set(func() { second.down = false })
		after(11 * time.Minute)
		if !r.status(host).Valid(time.Now()) || second.orders(host) != 1 {
			t.Errorf("status %+v", r.status(host))
		}
	})
}

// A CA that breaks with the order open may go to the second CA once; after
// that the host waits.
func TestFallbackBreaksToo(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, host)
		second := r.second()
		for _, ca := range []*fakeCA{r.ca, second} {
			ca.reply = func(kind, _ string) *http.Response {
				if kind == "finalize" {
					return refuse(500, "serverInternal", "we are sorry", 0)
				}
				return nil
			}
		}
		r.start()
		defer r.stop()
		r.request(host)
		after(8 * time.Minute)
		if n := r.ca.total() + second.total(); n != 2 {
			t.Errorf("%d orders within minutes", n)
		}
		after(24 * time.Hour)
		if n := r.ca.total() + second.total(); n > 5 {
			t.Errorf("%d orders in a day", n)
		}
	})
}

// Two CAs that change their places: what either has issued is good.
func TestCAsChangePlaces(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, host)
		second := r.second()
		r.start()
		r.request(host)
		after(30 * time.Second)
		r.stop()
		slices.Reverse(r.cfg.CAs)
		r.start()
		after(time.Minute)
		r.stop()
		if second.total() != 0 || r.ca.total() != 1 {
			t.Errorf("%d and %d orders", r.ca.total(), second.total())
		}
		r.cfg.CAs = r.cfg.CAs[:1] // the one that issued is gone: it is the fall-back that is
		r.start()
		after(time.Minute)
		r.stop()
		if second.total() != 0 {
			t.Errorf("%d orders at the second CA", second.total())
		}
	})
}

// A second CA that may not issue for a host (CAA) is no fault of the host's:
// it waits for the first one and loses no patience.
func TestFallbackForbidden(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, host)
		second := r.second()
		r.cfg.Permit = func(_ context.Context, _ string, ca acme.CAIdentity, _ string) error {
			if ca.Directory == secondURL+"/directory" {
				return errors.New("CAA of example.com names another CA")
			}
			return nil
		}
		r.ca.down = true
		r.start()
		defer r.stop()
		r.request(host)
		after(3 * time.Hour)
		if s := r.status(host); s.Attempts != 0 || s.Problem == "" || time.Until(s.NextTry) > 11*time.Minute {
			t.Errorf("status %+v", s)
		}
		r.ca.set(func() { r.ca.down = false })
		after(12 * time.Minute)
		if second.total() != 0 || !r.status(host).Valid(time.Now()) {
			t.Errorf("%d orders at the second CA; %+v", second.total(), r.status(host))
		}
	})
}

// Orders that were open when the first CA limited us may end well. That is no
// sign that it takes new ones.
func TestFallbackWhileOrdersEnd(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, host, other)
		second := r.second()
		events := &eventLog{}
		r.cfg.Event = events.add
		r.ca.reply = func(kind, h string) *http.Response {
			switch {
			case kind == "order" && h == other:
				return refuse(429, "rateLimited", "too many new orders", time.Hour)
			case kind == "finalize":
				time.Sleep(10 * time.Second)
			}
			return nil
		}
		r.start()
		defer r.stop()
		r.request(host)
		after(time.Second)
		r.request(other)
		after(30 * time.Second)
		r.wantOrders(host, 1)
		if !r.status(host).Valid(time.Now()) || second.orders(other) != 1 {
			t.Errorf("%+v, %d orders at the second CA", r.status(host), second.orders(other))
		}
		events.want(t, state.KindCertificateFallback, 1)
	})
}

// A renewal that the first CA suggested needs none of its budget, whatever
// became of it at the second CA in the meantime.
func TestBudgetOfSecondCA(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, host)
		second := r.second()
		r.cfg.CAs[1].OrdersPer3Hours = 1
		at := time.Now().Add(20 * day)
		r.ca.renewalInfo = always(at, at.Add(time.Second))
		r.start()
		defer func() { r.stop() }()
		r.request(host)
		after(time.Hour)
		r.jump(time.Until(at) - time.Minute)
		r.store.debits[secondURL+"/account/1"] = []time.Time{time.Now()}
		r.store.debits[caURL+"/account/1"] = slices.Repeat([]time.Time{time.Now()}, 300)
		r.ca.set(func() { r.ca.down = true })
		after(2 * time.Minute)
		r.ca.set(func() { r.ca.down = false })
		after(15 * time.Minute)
		r.wantOrders(host, 2)
		if second.total() != 0 {
			t.Errorf("%d orders at the second CA", second.total())
		}
	})
}
