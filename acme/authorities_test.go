package acme_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stshost/stshost/acme"
	"github.com/stshost/stshost/internal/state"
)

const secondURL = "https://second.test"

// second adds a CA to fall back on.
func (r *rig) second() *fakeCA {
	r.t.Helper()
	ca := newFakeCA(r.t, r.certs)
	ca.url = secondURL
	r.cfg.CAs = append(r.cfg.CAs, acme.CA{Directory: secondURL + "/directory", HTTPClient: &http.Client{Transport: ca}})
	return ca
}

// eventLog keeps events.
type eventLog struct {
	mu  sync.Mutex
	all []state.Event
}

func (l *eventLog) add(e state.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.all = append(l.all, e)
}

func (l *eventLog) of(kind string) []state.Event {
	l.mu.Lock()
	defer l.mu.Unlock()
	var found []state.Event
	for _, e := range l.all {
		if e.Kind == kind {
			found = append(found, e)
		}
	}
	return found
}

func (l *eventLog) want(t *testing.T, kind string, n int) []state.Event {
	t.Helper()
	found := l.of(kind)
	if len(found) != n {
		t.Errorf("%d events %s, want %d: %+v", len(found), kind, n, found)
	}
	return found
}

// The order asks for the profile of the config, and one that the CA does not
// have costs no order.
func TestProfile(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, host)
		r.ca.meta["profiles"] = map[string]string{"classic": "90 days", "shortlived": "6 days"}
		r.cfg.CAs[0].Profile = "shortlved"
		r.start()
		r.request(host)
		after(30 * time.Second)
		r.stop()
		want := "the CA at https://ca.test/directory has no certificate profile \"shortlved\"; " +
			"write one of these as profile in [acme]: classic, shortlived"
		if got := r.status(host); got.Problem != want || got.Attempts != 0 {
			t.Errorf("status %+v, want %q", got, want)
		}
		r.wantOrders(host, 0)
		if n := len(r.ca.payloads) + r.ca.accounts; n != 0 {
			t.Errorf("%d requests that cost", n)
		}

		r.cfg.CAs[0].Profile = "shortlived"
		r.start()
		defer r.stop()
		after(2 * time.Minute)
		if len(r.ca.payloads) != 1 || !strings.Contains(r.ca.payloads[0], `"profile":"shortlived"`) || !r.status(host).Valid(time.Now()) {
			t.Errorf("orders %q; status %+v", r.ca.payloads, r.status(host))
		}
	})
}

func TestNoProfiles(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, host)
		r.cfg.CAs[0].Profile = "classic"
		r.start()
		defer r.stop()
		r.request(host)
		after(30 * time.Second)
		if p := r.status(host).Problem; !strings.HasSuffix(p, "it offers none: remove profile from [acme]") {
			t.Errorf("problem %q", p)
		}
	})
}

// A CA that wants external account binding and gets none is no riddle.
func TestExternalAccountMissing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, host)
		r.ca.meta["externalAccountRequired"] = true
		r.start()
		defer r.stop()
		r.request(host)
		after(30 * time.Second)
		if p := r.status(host).Problem; !strings.Contains(p, "eab_kid and eab_hmac in [acme]") {
			t.Errorf("problem %q", p)
		}
		if r.ca.accounts != 0 {
			t.Error("it tried to register")
		}
	})
}

// No verb shows the key of an external account binding.
func TestExternalAccountKeyIsSecret(t *testing.T) {
	eab := acme.EAB{KID: "kid", Key: []byte("hush")}
	for _, format := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
		for _, v := range []any{eab, &eab, acme.CA{EAB: &eab}} {
			if text := fmt.Sprintf(format, v); strings.Contains(text, "hush") || strings.Contains(text, "104") {
				t.Errorf("%s: %s", format, text)
			}
		}
	}
}

// Permit's refusal costs no order and is told as the host's problem; the
// challenge type stays.
func TestPermit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, host, other)
		r.ca.meta["caaIdentities"] = []string{"ca.example"}
		var refuse error = errors.New("CAA of example.com names another CA")
		var seen []acme.CAIdentity
		r.cfg.Permit = func(_ context.Context, h string, ca acme.CAIdentity, challenge string) error {
			seen = append(seen, ca)
			if h == host && challenge == acme.TLSALPN01 {
				return refuse
			}
			return nil
		}
		r.start()
		defer r.stop()
		r.request(host)
		r.request(other)
		after(30 * time.Second)
		r.wantOrders(host, 0)
		r.wantOrders(other, 1)
		job := r.store.job(host)
		if job.Problem != refuse.Error() || job.Attempts != 1 || job.Challenge != acme.TLSALPN01 {
			t.Errorf("job %+v", job)
		}
		id := seen[0]
		if id.Directory != caURL+"/directory" || !slices.Equal(id.Domains, []string{"ca.example"}) || id.AccountURI != caURL+"/account/1" {
			t.Errorf("identity %+v", id)
		}
		refuse = nil
		after(2 * time.Minute)
		if !r.status(host).Valid(time.Now()) {
			t.Errorf("status %+v", r.status(host))
		}
	})
}

// onlyHTTP is a refusal of every type but http-01.
type onlyHTTP struct{ error }

func (onlyHTTP) OtherChallenge() bool { return true }

// Where only the challenge type is refused the other is taken in the same
// attempt, and kept for the renewal; where both are, the host waits, for ten
// minutes at most.
func TestPermitOtherChallenge(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, host)
		r.cfg.HTTP01 = false
		r.cfg.Permit = func(_ context.Context, _ string, _ acme.CAIdentity, challenge string) error {
			if challenge == acme.HTTP01 {
				return nil
			}
			return onlyHTTP{errors.New("CAA of example.com wants http-01")}
		}
		r.start()
		r.request(host)
		after(time.Hour)
		r.wantOrders(host, 0)
		if job := r.store.job(host); job.Attempts < 6 || !strings.Contains(job.Problem, "wants http-01") {
			t.Errorf("job %+v", job)
		}
		r.stop()
		r.cfg.HTTP01 = true
		r.start()
		defer r.stop()
		after(11 * time.Minute)
		r.wantOrders(host, 1)
		if job := r.store.job(host); job.Challenge != acme.HTTP01 || job.Problem != "" {
			t.Errorf("job %+v", job)
		}
	})
}

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

// Failures are told when they are new, not each time.
func TestFailureIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, host)
		events := &eventLog{}
		r.cfg.Event = events.add
		r.ca.invalid[host] = []string{acme.TLSALPN01, acme.HTTP01}
		r.start()
		defer r.stop()
		r.request(host)
		after(10 * 24 * time.Hour)
		r.wantOrders(host, 13)
		told := events.want(t, state.KindCertificateFailed, 2) // one for each challenge type
		if len(told) > 0 && (told[0].Host != host || told[0].Severity != state.SeverityWarning || told[0].Remedy == "") {
			t.Errorf("event %+v", told[0])
		}
		r.ca.set(func() { r.ca.invalid = map[string][]string{} })
		after(24 * time.Hour)
		events.want(t, state.KindCertificateIssued, 1)
	})
}

// A certificate that was damaged in the store, or is another host's, is
// ordered anew, however good its dates are.
func TestDamagedCertificate(t *testing.T) {
	for name, damage := range map[string]func(c state.Certificate) state.Certificate{
		"key":   func(c state.Certificate) state.Certificate { c.PEM = c.PEM[40:]; return c },
		"chain": func(c state.Certificate) state.Certificate { c.PEM = c.PEM[:300]; return c },
		"host": func(c state.Certificate) state.Certificate {
			other := certificate(t, other, c.NotAfter)
			c.PEM = other.PEM
			return c
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, host)
				r.start()
				defer r.stop()
				r.request(host)
				after(30 * time.Second)
				r.store.certs[host] = damage(r.store.certs[host])
				if s := r.status(host); s.Valid(time.Now()) || !strings.Contains(s.Problem, "cannot be served") {
					t.Errorf("status %+v", s)
				}
				r.request(host)
				after(30 * time.Second)
				if s := r.status(host); !s.Valid(time.Now()) || s.Problem != "" || r.ca.orders(host) != 2 {
					t.Errorf("status %+v, %d orders", s, r.ca.orders(host))
				}
			})
		})
	}
}
