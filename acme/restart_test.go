package acme_test

import (
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stshost/stshost/acme"
	"github.com/stshost/stshost/internal/state"
)

// A restart does not shorten a backoff.
func TestRestartKeepsBackoff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, host)
		r.ca.invalid[host] = []string{acme.TLSALPN01, acme.HTTP01}
		r.start()
		r.request(host)
		after(2 * time.Minute) // two attempts
		job := r.store.job(host)
		for range 5 {
			r.stop()
			r.newCertificates(host)
			r.start()
			r.request(host)
			after(time.Minute)
		}
		r.wantOrders(host, 2)
		if again := r.store.job(host); again != job {
			t.Errorf("job %+v became %+v", job, again)
		}
		after(6 * time.Minute)
		r.wantOrders(host, 3)
		r.stop()
	})
}

// A process killed with an order open goes on at once; one that is killed
// again and again does not order again and again.
func TestKilledWithOrderOpen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, host)
		killed := state.CertJob{Host: host, Due: time.Now(), LastAttempt: time.Now(), Challenge: acme.TLSALPN01, Running: true}
		r.store.jobs[host] = killed
		hold := make(chan struct{})
		r.ca.hold = hold
		r.cfg.ShutdownGrace = time.Nanosecond // as good as a kill
		r.start()
		after(10 * time.Second)
		r.wantOrders(host, 1)
		r.stop()

		r.start()
		after(30 * time.Second)
		r.wantOrders(host, 1)
		if status := r.status(host); !status.Pending || !strings.Contains(status.Problem, "stopped while an order was open") {
			t.Errorf("status %+v", status)
		}
		r.ca.set(func() { r.ca.hold = nil })
		after(time.Minute)
		r.wantOrders(host, 2)
		if !r.status(host).Valid(time.Now()) {
			t.Errorf("status %+v", r.status(host))
		}
		r.stop()
		close(hold)
	})
}

// A clean stop lets an open order finish, if that is soon.
func TestStopFinishesOrder(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, host, other)
		hold := make(chan struct{})
		r.ca.hold = hold
		r.cfg.Workers = 1
		r.start()
		r.request(host)
		r.request(other)
		after(time.Second)
		began := time.Now()
		time.AfterFunc(time.Second, func() { close(hold) })
		r.stop()
		if d := time.Since(began); d < time.Second || d > 4*time.Second {
			t.Errorf("the stop took %s", d)
		}
		r.wantOrders(host, 1)
		r.wantOrders(other, 0)
		if cert := r.store.certs[host]; cert.Host == "" {
			t.Errorf("the order was abandoned; job %+v", r.store.job(host))
		}
	})
}

// A clean stop does not wait for an order that hangs, nor for a CA that hangs
// before there is an order; then it costs nothing.
func TestStopAbandons(t *testing.T) {
	for _, where := range []string{"order", "directory"} {
		t.Run(where, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, host)
				hold := make(chan struct{})
				defer close(hold)
				if where == "order" {
					r.ca.hold = hold
				} else {
					r.cfg.CAs[0].HTTPClient.Transport = hangTransport{}
				}
				r.start()
				r.request(host)
				after(time.Second)
				began := time.Now()
				r.stop()
				if d := time.Since(began); d > 5*time.Second || where == "directory" && d > time.Second {
					t.Errorf("the stop took %s", d)
				}
				job := r.store.job(host)
				if job.Running || job.Attempts != 0 || job.Due.After(time.Now()) {
					t.Errorf("job %+v", job)
				}
				if (job.Problem != "") != (where == "order") {
					t.Errorf("problem %q", job.Problem)
				}
			})
		})
	}
}

// 2,000 certificates that fell due while the process was down do not start
// more orders at a time than there are workers, nor more than the budget has,
// and go by their expiry.
func TestManyDueAtStart(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n, workers, budget = 2000, 3, 300
		var hosts []string
		r := newRig(t)
		for k := range n {
			h := fmt.Sprintf("mta-sts.h%04d.example", k)
			hosts = append(hosts, h)
			r.store.jobs[h] = state.CertJob{
				Host: h, Due: time.Now().Add(-time.Hour), Challenge: acme.TLSALPN01,
				NotAfter: time.Now().Add(time.Duration(k*7919%n) * time.Hour),
			}
		}
		r.know(hosts...)
		r.cfg.Workers, r.cfg.CAs[0].OrdersPer3Hours = workers, budget
		r.ca.ordered = make(chan string, n)
		hold := make(chan struct{})
		r.ca.hold = hold
		r.start()
		after(20 * time.Second)
		if r.ca.total() != workers || r.issuer.Stats().Running != workers {
			t.Errorf("%d orders, %d attempts at once; %d workers", r.ca.total(), r.issuer.Stats().Running, workers)
		}
		r.ca.set(func() { r.ca.hold = nil })
		close(hold)
		after(2 * time.Hour)
		r.stop()
		if r.ca.peak > workers || r.ca.total() != budget {
			t.Errorf("%d orders, %d at once; want %d by %d workers", r.ca.total(), r.ca.peak, budget, workers)
		}
		close(r.ca.ordered)
		k := 0
		for h := range r.ca.ordered {
			var number int
			fmt.Sscanf(h, "mta-sts.h%d.", &number)
			if expiry := number * 7919 % n; expiry < k-2*workers || expiry > k+2*workers {
				t.Fatalf("order %d was for expiry %d", k, expiry)
			}
			k++
		}
	})
}

// hangTransport never answers.
type hangTransport struct{}

func (hangTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	<-req.Context().Done()
	return nil, req.Context().Err()
}

// With another CA in the config every certificate is ordered from that one,
// once: those of a CA for tries are valid and nobody trusts them. What the old
// CA asked a host to wait for is forgotten.
func TestChangedCA(t *testing.T) {
	const failed = "mta-sts.failed.example"
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, host, failed)
		r.ca.invalid[failed] = []string{acme.TLSALPN01, acme.HTTP01}
		r.start()
		r.request(host)
		r.request(failed)
		after(5 * time.Minute)
		r.wantOrders(host, 1)
		r.wantOrders(failed, 2)
		old, err := r.store.Certificate(t.Context(), host)
		if err != nil {
			t.Fatal(err)
		}
		r.stop()

		r.ca.invalid[failed] = nil
		r.cfg.CAs[0].Directory = caURL + "/directory/of/another"
		for range 3 {
			r.start()
			after(time.Minute)
			r.stop()
		}
		r.wantOrders(host, 2)
		r.wantOrders(failed, 3)
		for _, h := range []string{host, failed} {
			if s := r.status(h); s.Pending || s.Problem != "" || !s.Valid(time.Now()) {
				t.Errorf("%+v", s)
			}
		}
		if now, err := r.store.Certificate(t.Context(), host); err != nil || string(now.PEM) == string(old.PEM) {
			t.Errorf("the certificate of the old CA is still there (%v)", err)
		}
	})
}

// A CA that was tried and given up costs those hosts nothing that it did not
// issue for: their certificates are good again.
func TestChangedCABack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, host, other)
		r.start()
		r.request(host)
		r.request(other)
		after(time.Minute)
		r.stop()
		due := r.status(host).NextTry

		trial := newFakeCA(t, r.certs)
		trial.url = secondURL
		trial.down = true
		first := r.cfg.CAs
		r.cfg.CAs = []acme.CA{{Directory: secondURL + "/directory", HTTPClient: &http.Client{Transport: trial}}}
		r.cfg.Workers = 1
		r.start()
		after(30 * time.Second) // one host's attempt shows that the CA is down; the other one waits
		r.stop()

		r.cfg.CAs = first
		r.start()
		defer r.stop()
		after(time.Hour)
		kept := 0
		for _, h := range []string{host, other} {
			if r.ca.orders(h) == 1 {
				kept++
			}
			if s := r.status(h); s.Pending || s.Problem != "" || s.NextTry.Before(due.Add(-10*day)) {
				t.Errorf("%+v", s)
			}
		}
		if kept != 1 {
			t.Errorf("%d orders, want one anew", r.ca.total())
		}
	})
}

// A certificate from before issuers were kept is asked about at the CA that was
// the first one then, wherever that stands in the config now.
func TestChangedCAOfOlderVersion(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, host)
		r.ca.renewalInfo = always(time.Now().Add(20*day), time.Now().Add(21*day))
		r.start()
		r.request(host)
		after(30 * time.Second)
		r.stop()
		job := r.store.job(host)
		job.CA, job.AskAt = "", time.Time{}
		r.store.jobs[host] = job

		second := r.second()
		second.renewalInfo = always(time.Now().Add(40*day), time.Now().Add(41*day))
		slices.Reverse(r.cfg.CAs)
		r.start()
		defer r.stop()
		after(time.Hour)
		if n := len(second.questions); n != 0 || len(r.ca.questions) == 0 {
			t.Errorf("%d questions to the CA that did not issue, %d to the one that did", n, len(r.ca.questions))
		}
		if second.total() != 0 || r.ca.total() != 1 {
			t.Errorf("%d and %d orders", second.total(), r.ca.total())
		}
	})
}
