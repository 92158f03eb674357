package acme_test

import (
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	ari "github.com/mholt/acmez/v3/acme"

	"github.com/stshost/stshost/internal/state"
)

// window is a CA's answer about a renewal (RFC 9773 §4.2).
func window(start, end time.Time, explanation, retryAfter string) *http.Response {
	info := map[string]any{"suggestedWindow": map[string]string{
		"start": start.UTC().Format(time.RFC3339), "end": end.UTC().Format(time.RFC3339),
	}}
	if explanation != "" {
		info["explanationURL"] = explanation
	}
	res := object(200, info)
	if retryAfter != "" {
		res.Header.Set("Retry-After", retryAfter)
	}
	return res
}

// always answers every question with the same window.
func always(start, end time.Time) func(string) *http.Response {
	return func(string) *http.Response { return window(start, end, "", "21600") }
}

// id is the identifier of the certificate that the store has for host.
func (r *rig) id(host string) string {
	r.t.Helper()
	cert, err := r.store.Certificate(r.t.Context(), host)
	if err != nil {
		r.t.Fatal(err)
	}
	id, err := ari.ARIUniqueIdentifier(leafOf(r.t, cert.PEM))
	if err != nil {
		r.t.Fatal(err)
	}
	return id
}

// leafOf is the certificate in what the store keeps: key, then chain.
func leafOf(t *testing.T, data []byte) *x509.Certificate {
	t.Helper()
	_, rest := pem.Decode(data)
	block, _ := pem.Decode(rest)
	leaf, err := x509.ParseCertificate(block.Bytes)
	if err != nil {
		t.Fatal(err)
	}
	return leaf
}

// replaced returns what each order said it replaces.
func (ca *fakeCA) replaced() []string {
	ca.mu.Lock()
	defer ca.mu.Unlock()
	var all []string
	for _, payload := range ca.payloads {
		var order struct{ Replaces string }
		_ = json.Unmarshal([]byte(payload), &order)
		all = append(all, order.Replaces)
	}
	return all
}

// A certificate is renewed at one time in the CA's window, which neither more
// questions nor restarts change, and the order says what it replaces.
func TestRenewalInWindow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, host)
		start := time.Now().Add(20 * day)
		r.ca.renewalInfo = always(start, start.Add(2*day))
		r.start()
		r.request(host)
		after(15 * time.Minute)
		due := r.store.job(host).Due
		if due.Before(start) || due.After(start.Add(2*day)) {
			t.Fatalf("renewal at %s, window from %s", due, start)
		}
		id := r.id(host)
		for range 3 {
			after(day)
			r.stop()
			r.newCertificates(host)
			r.start()
			if again := r.store.job(host).Due; !again.Equal(due) {
				t.Errorf("renewal at %s, was %s", again, due)
			}
		}
		asked := len(r.ca.questions)
		if asked < 11 || asked > 13 {
			t.Errorf("%d questions in 3 days", asked)
		}
		r.jump(time.Until(due) - time.Minute)
		r.wantOrders(host, 1)
		after(2 * time.Minute)
		r.wantOrders(host, 2)
		r.stop()
		if got := r.ca.replaced(); len(got) != 2 || got[0] != "" || got[1] != id {
			t.Errorf("the orders replace %q, want none and %q", got, id)
		}
		if s := r.status(host); !s.Valid(time.Now()) || s.Problem != "" {
			t.Errorf("status %+v", s)
		}
	})
}

// Hosts spread over the window.
func TestRenewalsSpread(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const n = 100
		r := newRig(t)
		var hosts []string
		for k := range n {
			hosts = append(hosts, fmt.Sprintf("mta-sts.h%03d.example", k))
		}
		r.know(hosts...)
		start := time.Now().Add(20 * day)
		r.ca.renewalInfo = always(start, start.Add(10*day))
		r.start()
		for _, h := range hosts {
			r.request(h)
		}
		after(time.Hour)
		r.stop()
		byDay := map[int]int{}
		for _, h := range hosts {
			byDay[int(r.store.job(h).Due.Sub(start)/day)]++
		}
		if len(byDay) != 10 {
			t.Errorf("renewals by day of the window: %v", byDay)
		}
		for d, k := range byDay {
			if d < 0 || d > 9 || k > 25 {
				t.Errorf("%d renewals on day %d", k, d)
			}
		}
		perSecond := map[int64]int{}
		for _, at := range r.ca.questions {
			perSecond[at.Unix()]++
			if perSecond[at.Unix()] > 11 {
				t.Fatalf("%d questions in one second", perSecond[at.Unix()])
			}
		}
	})
}

// A CA that moves the window into the past has the certificate replaced at
// once, in the next hours at the latest, and its reason is told.
func TestWindowMovesToPast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, host)
		events := &eventLog{}
		r.cfg.Event = events.add
		r.ca.renewalInfo = always(time.Now().Add(60*day), time.Now().Add(62*day))
		r.start()
		defer func() { r.stop() }()
		r.request(host)
		after(day)
		events.want(t, state.KindCertificateRescheduled, 0)
		id := r.id(host)
		r.ca.set(func() {
			r.ca.renewalInfo = func(asked string) *http.Response {
				if asked == id {
					return window(time.Now().Add(-2*day), time.Now().Add(-day), "https://ca.test/incident/7", "21600")
				}
				return window(time.Now().Add(60*day), time.Now().Add(62*day), "", "21600")
			}
		})
		after(7 * time.Hour)
		r.wantOrders(host, 2)
		if got := r.ca.replaced(); got[1] != id {
			t.Errorf("the orders replace %q, want %q", got, id)
		}
		told := events.want(t, state.KindCertificateRescheduled, 1)
		if len(told) > 0 && (told[0].Host != host || told[0].Evidence["explanation"] != "https://ca.test/incident/7" ||
			!strings.Contains(told[0].Remedy, "https://ca.test/incident/7")) {
			t.Errorf("event %+v", told[0])
		}
		after(2 * day)
		r.wantOrders(host, 2)
	})
}

// A CA that wants every certificate renewed yesterday, however new, is not
// given an order a minute.
func TestWindowAlwaysPast(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, host)
		r.ca.renewalInfo = always(time.Now().Add(-2*day), time.Now().Add(-day))
		r.start()
		defer func() { r.stop() }()
		r.request(host)
		after(2 * day)
		if n := r.ca.orders(host); n < 4 || n > 7 {
			t.Errorf("%d orders in two days", n)
		}
	})
}

// The CA is asked again when it wants to be, within bounds.
func TestAskAgain(t *testing.T) {
	for _, c := range []struct {
		retryAfter string
		lifetime   time.Duration
		low, high  time.Duration
	}{
		{"", 90 * day, 6 * time.Hour, 6*time.Hour + 37*time.Minute},
		{"3600", 90 * day, time.Hour, 67 * time.Minute},
		{"0", 90 * day, time.Minute, 73 * time.Second},
		{"soon", 90 * day, 6 * time.Hour, 6*time.Hour + 37*time.Minute},
		{strconv.Itoa(30 * 86400), 90 * day, day, 27 * time.Hour},
		{strconv.Itoa(86400), 6 * day, 12 * time.Hour, 13*time.Hour + 13*time.Minute},
	} {
		t.Run(fmt.Sprint(c.retryAfter, " ", c.lifetime), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, host)
				r.ca.lifetime = c.lifetime
				at := time.Now().Add(c.lifetime / 2)
				r.ca.renewalInfo = func(string) *http.Response { return window(at, at.Add(time.Hour), "", c.retryAfter) }
				r.start()
				r.request(host)
				after(2 * day)
				r.stop()
				if n := len(r.ca.questions); n < 2 {
					t.Fatalf("%d questions", n)
				}
				for k, at := range r.ca.questions[1:] {
					// The clock of the queue ticks every 5 s.
					if d := at.Sub(r.ca.questions[k]); d < c.low || d > c.high+6*time.Second {
						t.Fatalf("asked again after %s, want %s to %s", d, c.low, c.high)
					}
				}
			})
		})
	}
}

// An answer that is none leaves the time of renewal to us.
func TestNoUsableSuggestion(t *testing.T) {
	for name, reply := range map[string]func() *http.Response{
		"not found": func() *http.Response { return refuse(404, "notFound", "no such certificate", 0) },
		"page":      func() *http.Response { return answer(200, []byte("<html>")) },
		"empty":     func() *http.Response { return answer(200, []byte("{}")) },
		"backwards": func() *http.Response { return window(time.Now().Add(2*day), time.Now().Add(day), "", "") },
		"no time": func() *http.Response {
			return answer(200, []byte(`{"suggestedWindow":{"start":"soon","end":"later"}}`))
		},
		"broken":   func() *http.Response { return refuse(500, "serverInternal", "we are sorry", 0) },
		"busy":     func() *http.Response { return refuse(429, "rateLimited", "too many requests", time.Hour) },
		"redirect": func() *http.Response { return answer(304, nil) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				r := newRig(t, host)
				r.ca.renewalInfo = func(string) *http.Response { return reply() }
				r.start()
				defer func() { r.stop() }()
				r.request(host)
				after(2 * day)
				status := r.status(host)
				third := status.NotAfter.Sub(status.NotBefore) / 3
				if left := status.NotAfter.Sub(status.NextTry); left > third || left < third*3/4 {
					t.Errorf("renewal at %s of a certificate from %s to %s", status.NextTry, status.NotBefore, status.NotAfter)
				}
				if status.Problem != "" || status.Attempts != 0 || status.Pending {
					t.Errorf("status %+v", status)
				}
				if n := len(r.ca.questions); n < 2 || n > 300 {
					t.Errorf("%d questions in two days", n)
				}
				r.jump(time.Until(status.NextTry) + time.Minute)
				after(11 * time.Minute) // "broken" and "busy" may have just been so
				r.wantOrders(host, 2)
			})
		})
	}
}

// What a CA suggested holds while it cannot be asked, and not if it takes the
// suggestion back.
func TestSuggestionTakenBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, host)
		start := time.Now().Add(20 * day)
		r.ca.renewalInfo = always(start, start.Add(day))
		r.start()
		defer func() { r.stop() }()
		r.request(host)
		after(time.Hour)
		due := r.store.job(host).Due
		r.ca.set(func() {
			r.ca.renewalInfo = func(string) *http.Response { return refuse(503, "serverInternal", "down", 0) }
		})
		after(2 * day)
		if again := r.store.job(host).Due; !again.Equal(due) {
			t.Errorf("renewal at %s, was %s", again, due)
		}
		r.ca.set(func() {
			r.ca.renewalInfo = func(string) *http.Response { return refuse(404, "notFound", "gone", 0) }
		})
		after(2 * day)
		if job := r.store.job(host); job.Due.Before(due.Add(30*day)) || !job.WindowEnd.IsZero() {
			t.Errorf("job %+v", job)
		}
	})
}
