package acme_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
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
		refuse := errors.New("CAA of example.com names another CA")
		var mu sync.Mutex
		refused := true
		var seen []acme.CAIdentity
		r.cfg.Permit = func(_ context.Context, h string, ca acme.CAIdentity, challenge string) error {
			mu.Lock()
			defer mu.Unlock()
			seen = append(seen, ca)
			if refused && h == host && challenge == acme.TLSALPN01 {
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
		mu.Lock()
		id := seen[0]
		refused = false
		mu.Unlock()
		if id.Directory != caURL+"/directory" || !slices.Equal(id.Domains, []string{"ca.example"}) || id.AccountURI != caURL+"/account/1" {
			t.Errorf("identity %+v", id)
		}
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

// An outage of the CA is told once a host, and in the log once for all the
// questions about renewals: no port and no URL makes it another.
func TestOutageIsToldOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, host, other)
		events, log := &eventLog{}, &bytes.Buffer{}
		r.cfg.Event, r.cfg.Logger = events.add, slog.New(slog.NewTextHandler(log, nil))
		r.ca.renewalInfo = always(time.Now().Add(60*day), time.Now().Add(61*day))
		r.start()
		r.request(host)
		r.request(other)
		after(30 * time.Second)
		r.ca.set(func() { r.ca.down = true })
		after(day)
		const fresh = "mta-sts.fresh.example"
		r.know(host, other, fresh)
		r.request(fresh)
		after(day)
		r.stop()
		told := events.want(t, state.KindCertificateFailed, 1)
		if len(told) > 0 && !strings.HasSuffix(told[0].Text, "cannot be reached: read tcp 192.0.2.2:443: connection reset by peer") {
			t.Errorf("event %+v", told[0])
		}
		if n := strings.Count(log.String(), "asked in vain"); n != 1 {
			t.Errorf("%d times in the log:\n%s", n, log)
		}
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
