package main

import (
	"context"
	"sync"
	"time"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
)

const (
	// countFor is for how long the count of the certificates is good: to count
	// 100,000 takes a quarter of a second.
	countFor = 30 * time.Second
	// askedOneByOne is how many hosts that do not seem to have a valid
	// certificate are asked after one by one: what is stored may be damaged.
	askedOneByOne = 1000
)

// certTally is how the certificates stand, in numbers.
type certTally struct {
	ours             bool // they are stshost's business at all
	status           map[string]int
	earliest, oldest time.Time           // expiry, issue; zero: there is none
	troubled         map[string]struct{} // policy domains whose last attempt failed
	queue            state.CertJobCounts
}

// certFigures counts the certificates, not oftener than makes sense.
type certFigures struct {
	s *service

	mu    sync.Mutex
	last  certTally
	until time.Time
}

// get returns the count, which may be some seconds old.
func (f *certFigures) get(ctx context.Context) (certTally, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	now := f.s.meters.now()
	if now.Before(f.until) && f.until.Before(now.Add(2*countFor)) {
		return f.last, nil
	}
	t, err := f.count(ctx, now)
	if err != nil {
		return f.last, err
	}
	f.last, f.until = t, now.Add(countFor)
	return t, nil
}

func (f *certFigures) count(ctx context.Context, now time.Time) (certTally, error) {
	t := certTally{
		ours: !f.s.started.Listen.ProxyTLS(), troubled: make(map[string]struct{}),
		status: map[string]int{"valid": 0, "expiring": 0, "expired": 0, "missing": 0},
	}
	if !t.ours {
		return t, nil
	}
	var err error
	if t.queue, err = f.s.issuer.Queue(ctx); err != nil {
		return t, err
	}
	hosts, err := f.s.store.TroubledHosts(ctx)
	if err != nil {
		return t, err
	}
	for _, host := range hosts {
		if domain, ok := mtasts.PolicyDomain(host); ok {
			t.troubled[domain] = struct{}{}
		}
	}
	known := f.s.certs.Hosts()
	counted := make(map[string]struct{}, len(known))
	for host := range known {
		if !f.s.own.Covers(host) {
			continue
		}
		// It is served in place of one that the store may still have.
		status, err := f.s.issuer.Status(ctx, host)
		if err != nil {
			return t, err
		}
		counted[host] = struct{}{}
		t.add(validity{status.NotBefore, status.NotAfter}, now)
		if domain, ok := mtasts.PolicyDomain(host); ok && status.Problem != "" {
			t.troubled[domain] = struct{}{}
		}
	}
	doubtful := make(map[string]validity)
	err = f.s.store.Validities(ctx, func(host string, notBefore, notAfter time.Time) {
		_, ours := known[host]
		if _, done := counted[host]; done || !ours {
			return // of a host that left, or has one of the operator's
		}
		v := validity{notBefore, notAfter}
		if v.status(now) != "valid" {
			doubtful[host] = v
			return
		}
		counted[host] = struct{}{}
		t.add(v, now)
	})
	if err != nil {
		return t, err
	}
	asked := 0
	for host := range known {
		if _, ok := counted[host]; ok {
			continue
		}
		v := doubtful[host]
		if asked < askedOneByOne {
			asked++
			status, err := f.s.issuer.Status(ctx, host)
			if err != nil {
				return t, err
			}
			v = validity{status.NotBefore, status.NotAfter}
		}
		t.add(v, now)
	}
	return t, nil
}

// add counts the certificate of one host.
func (t *certTally) add(v validity, now time.Time) {
	t.status[v.status(now)]++
	if v.notAfter.IsZero() {
		return
	}
	if t.earliest.IsZero() || v.notAfter.Before(t.earliest) {
		t.earliest = v.notAfter
	}
	if t.oldest.IsZero() || v.notBefore.Before(t.oldest) {
		t.oldest = v.notBefore
	}
}

// validity is how long a certificate is valid.
type validity struct{ notBefore, notAfter time.Time }

// status is "expiring" when a renewal, which is due at three quarters of the
// life at the latest, has not come for long.
func (v validity) status(now time.Time) string {
	left := v.notAfter.Sub(now)
	switch {
	case v.notAfter.IsZero():
		return "missing"
	case left <= 0:
		return "expired"
	case left < v.notAfter.Sub(v.notBefore)/5:
		return "expiring"
	}
	return "valid"
}
