package acme_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stshost/stshost/acme"
	"github.com/stshost/stshost/internal/state"
)

const host = "mta-sts.example.com"

// rig is an Issuer with a fake CA, under the fake clock of a synctest bubble.
type rig struct {
	t      *testing.T
	store  *memStore
	certs  *acme.Certificates
	ca     *fakeCA
	cfg    acme.IssuerConfig
	issuer *acme.Issuer
	stop   func() // ends Run and waits for it
}

// jump lets much time pass at once, in which the process does not run. The
// hosts stay known.
func (r *rig) jump(d time.Duration) {
	r.t.Helper()
	r.stop()
	time.Sleep(d)
	r.start()
	after(20 * time.Second)
}

func newRig(t *testing.T, hosts ...string) *rig {
	t.Helper()
	r := &rig{t: t, store: newMemStore()}
	r.ca = newFakeCA(t, nil)
	r.newCertificates(hosts...)
	r.cfg = acme.IssuerConfig{
		Store: r.store, HTTP01: true,
		CAs:    []acme.CA{{Directory: caURL + "/directory", Email: "hostmaster@example.com", HTTPClient: &http.Client{Transport: r.ca}}},
		Logger: slog.New(slog.DiscardHandler),
	}
	return r
}

func (r *rig) newCertificates(hosts ...string) {
	r.t.Helper()
	certs, err := acme.NewCertificates(acme.CertificatesConfig{Store: r.store})
	if err != nil {
		r.t.Fatal(err)
	}
	r.certs, r.ca.certs = certs, certs
	r.know(hosts...)
}

func (r *rig) know(hosts ...string) {
	set := map[string]struct{}{}
	for _, h := range hosts {
		set[h] = struct{}{}
	}
	r.certs.SetHosts(set)
}

// start makes a new Issuer, as a new process would.
func (r *rig) start() {
	r.t.Helper()
	r.cfg.Certificates = r.certs
	issuer, err := acme.NewIssuer(r.cfg)
	if err != nil {
		r.t.Fatal(err)
	}
	r.issuer = issuer
	ctx, cancel := context.WithCancel(r.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		if err := issuer.Run(ctx); err != nil {
			r.t.Errorf("Run: %v", err)
		}
	}()
	r.stop = func() {
		cancel()
		<-done
	}
}

func (r *rig) request(host string) {
	r.t.Helper()
	if err := r.issuer.Request(r.t.Context(), host, ""); err != nil {
		r.t.Fatal(err)
	}
}

func (r *rig) status(host string) state.CertStatus {
	r.t.Helper()
	status, err := r.issuer.Status(r.t.Context(), host)
	if err != nil {
		r.t.Fatal(err)
	}
	return status
}

// after lets time pass and everything settle.
func after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (r *rig) wantOrders(host string, n int) {
	r.t.Helper()
	if got := r.ca.orders(host); got != n {
		r.t.Errorf("%d orders for %s, want %d", got, host, n)
	}
}

func TestIssue(t *testing.T) {
	for _, challenge := range []string{acme.TLSALPN01, acme.HTTP01} {
		t.Run(challenge, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, host)
				var changed []string
				r.cfg.OnChange = func(h string) { changed = append(changed, h) }
				r.start()
				for range 3 { // idempotent
					if err := r.issuer.Request(t.Context(), host, challenge); err != nil {
						t.Fatal(err)
					}
				}
				after(10 * time.Second)
				r.request(host)
				after(time.Minute)
				r.stop()
				r.wantOrders(host, 1)
				status := r.status(host)
				if !status.Valid(time.Now()) || status.Pending || status.Problem != "" {
					t.Errorf("status %+v", status)
				}
				job := r.store.job(host)
				if life := status.NotAfter.Sub(status.NotBefore); job.Due.Before(status.NotBefore.Add(life*2/3)) ||
					job.Due.After(status.NotBefore.Add(life*3/4)) || job.Challenge != challenge {
					t.Errorf("renewal %+v of a certificate from %s to %s", job, status.NotBefore, status.NotAfter)
				}
				if !slices.Equal(changed, []string{host}) {
					t.Errorf("changes reported: %v", changed)
				}
				for key := range r.store.data {
					if strings.HasPrefix(key, "challenge/") {
						t.Errorf("%s is left in the store", key)
					}
				}
				if s := r.issuer.Stats(); s.Issued != 1 || s.Orders != 1 || s.Failed != 0 || s.Running != 0 {
					t.Errorf("stats %+v", s)
				}
			})
		})
	}
}

func TestRequestUnknownHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, host)
		r.start()
		defer r.stop()
		if err := r.issuer.Request(t.Context(), "mta-sts.example.net", ""); !errors.Is(err, acme.ErrUnknownHost) {
			t.Errorf("Request: %v", err)
		}
	})
}

// The account's key is made once, and registered once, whatever is restarted.
func TestAccountOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		hosts := []string{"mta-sts.a.example", "mta-sts.b.example", "mta-sts.c.example"}
		r := newRig(t, hosts...)
		for _, h := range hosts {
			r.start()
			r.request(h)
			after(10 * time.Second)
			r.stop()
			if !r.status(h).Valid(time.Now()) {
				t.Errorf("%s: %+v", h, r.status(h))
			}
		}
		if r.ca.accounts != 1 {
			t.Errorf("%d newAccount requests", r.ca.accounts)
		}
	})
}

// A changed address is told to the CA once.
func TestContactChanges(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, host, other)
		r.start()
		r.request(host)
		after(10 * time.Second)
		r.stop()
		r.cfg.CAs[0].Email = "new@example.com"
		for range 2 {
			r.store.jobs[other] = state.CertJob{Host: other, Due: time.Now(), Challenge: acme.TLSALPN01}
			r.start()
			after(10 * time.Second)
			r.stop()
		}
		if len(r.ca.contacts) != 2 || !strings.Contains(r.ca.contacts[0], "mailto:hostmaster@example.com") ||
			!strings.Contains(r.ca.contacts[1], "mailto:new@example.com") {
			t.Errorf("the CA was told %q", r.ca.contacts)
		}
	})
}

// A CA that has lost our account (a rebuilt staging or lab) gets it again.
func TestAccountLost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, host)
		r.start()
		defer r.stop()
		r.ca.reply = func(kind, _ string) *http.Response {
			if kind == "order" && r.ca.accounts < 2 {
				return refuse(400, "accountDoesNotExist", "no such account", 0)
			}
			return nil
		}
		r.request(host)
		after(2 * time.Minute)
		if status := r.status(host); !status.Valid(time.Now()) {
			t.Errorf("status %+v", status)
		}
	})
}

// A failed validation keeps the CA's words, backs off, takes the other
// challenge, and costs one order each time.
func TestValidationFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, host)
		r.ca.invalid[host] = []string{acme.TLSALPN01, acme.HTTP01}
		r.start()
		defer r.stop()
		r.request(host)
		last := acme.TLSALPN01
		for n, wait := range []time.Duration{time.Minute, 10 * time.Minute, 100 * time.Minute, 24 * time.Hour} {
			after(10 * time.Second)
			r.wantOrders(host, n+1)
			job := r.store.job(host)
			if job.Attempts != n+1 || job.Running {
				t.Fatalf("after attempt %d: %+v", n+1, job)
			}
			if want := "unauthorized: " + last + " cannot reach " + host; job.Problem != want {
				t.Errorf("problem %q, want %q", job.Problem, want)
			}
			if job.Challenge == last {
				t.Errorf("attempt %d would try %s again", n+2, last)
			}
			if d := job.Due.Sub(job.LastAttempt); d < wait || d > wait+10*time.Second {
				t.Errorf("attempt %d waits %s, want %s", n+2, d, wait)
			}
			r.request(host) // changes nothing
			after(time.Until(job.Due) - 5*time.Second)
			r.wantOrders(host, n+1)
			last = job.Challenge
			if n == 3 {
				r.ca.set(func() { delete(r.ca.invalid, host) })
			}
			after(5 * time.Second)
		}
		after(10 * time.Second)
		if status := r.status(host); !status.Valid(time.Now()) || status.Problem != "" || status.Attempts != 0 {
			t.Errorf("status %+v", status)
		}
	})
}

// Without a listener on port 80, tls-alpn-01 is all there is.
func TestNoHTTP01(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, host)
		r.cfg.HTTP01 = false
		r.ca.invalid[host] = []string{acme.TLSALPN01}
		r.start()
		defer r.stop()
		if err := r.issuer.Request(t.Context(), host, acme.HTTP01); err != nil {
			t.Fatal(err)
		}
		after(2 * time.Minute)
		r.wantOrders(host, 2)
		if job := r.store.job(host); job.Challenge != acme.TLSALPN01 || !strings.Contains(job.Problem, acme.TLSALPN01) {
			t.Errorf("job %+v", job)
		}
	})
}

// A removed host is not renewed; when it comes back its certificate is
// looked after again.
func TestRemovedHost(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, host)
		r.ca.lifetime = 6 * time.Hour
		r.start()
		defer r.stop()
		r.request(host)
		after(time.Minute)
		r.know("mta-sts.other.example")
		after(5 * time.Hour)
		r.wantOrders(host, 1)
		if job := r.store.job(host); job.Host != "" {
			t.Errorf("job %+v is left", job)
		}
		r.know(host)
		r.request(host)
		after(time.Minute)
		r.wantOrders(host, 2) // past two thirds of its life
	})
}

// Renewal comes with two thirds of the lifetime, and goes on for good.
func TestRenewal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, host)
		r.ca.lifetime = 6 * time.Hour
		r.start()
		defer r.stop()
		r.request(host)
		after(time.Minute)
		first := r.status(host)
		after(time.Until(first.NotBefore.Add(first.NotAfter.Sub(first.NotBefore) * 2 / 3)))
		r.wantOrders(host, 1)
		after(time.Until(first.NextTry) + 10*time.Second)
		r.wantOrders(host, 2)
		second := r.status(host)
		if !second.NotAfter.After(first.NotAfter) {
			t.Errorf("renewed until %s, was %s", second.NotAfter, first.NotAfter)
		}
		after(48 * time.Hour)
		if n := r.ca.orders(host); n < 10 || n > 13 || !r.status(host).Valid(time.Now()) {
			t.Errorf("%d orders in two days; %+v", n, r.status(host))
		}
	})
}

// What autocert leaves behind never orders, and goes away.
func TestInertAfterwards(t *testing.T) {
	for _, lifetime := range []time.Duration{time.Hour, 90 * 24 * time.Hour} {
		t.Run(lifetime.String(), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				const n = 100
				var hosts []string
				for k := range n {
					hosts = append(hosts, fmt.Sprintf("mta-sts.h%02d.example", k))
				}
				r := newRig(t, hosts...)
				r.ca.lifetime = lifetime
				r.start()
				for _, h := range hosts {
					r.request(h)
				}
				after(time.Minute)
				r.stop()
				requests, before := r.ca.requests, heap()
				after(100 * 24 * time.Hour) // the bubble would not end with a goroutine left
				if r.ca.total() != n || r.ca.requests != requests {
					t.Errorf("%d orders, %d requests to the CA after the end", r.ca.total(), r.ca.requests-requests)
				}
				// A short-lived certificate is past its timer at once.
				freed := (int64(before) - int64(heap())) / n
				t.Logf("%d bytes were kept for each certificate", freed)
				if lifetime > 30*24*time.Hour && freed < 2000 {
					t.Errorf("of what autocert kept for each certificate only %d bytes were freed", freed)
				}
				runtime.KeepAlive(r)
			})
		})
	}
}
