package main

import (
	"context"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/stshost/stshost/acme"
	"github.com/stshost/stshost/internal/caa"
)

// caaPatience is how long a host waits whose CAA records cannot be looked up.
// A CA that cannot look them up refuses, and the order is lost. But our view
// may be the odd one, and a certificate must not run out for that: then the CA
// is asked all the same, and its answer counts.
const caaPatience = 15 * time.Minute

// caaGate looks at the CAA records of a host before an order for it (RFC 8659).
// It is safe for concurrent use.
type caaGate struct {
	lookUp func(ctx context.Context, host string) (caa.Set, error)
	now    func() time.Time
	log    *slog.Logger

	mu      sync.Mutex
	failing map[string]time.Time // since when a host's records cannot be looked up
}

func newCAAGate(lookUp func(context.Context, string) (caa.Set, error), now func() time.Time, log *slog.Logger) *caaGate {
	if now == nil {
		now = time.Now
	}
	return &caaGate{lookUp: lookUp, now: now, log: log, failing: make(map[string]time.Time)}
}

// permit is for acme.IssuerConfig.Permit.
func (g *caaGate) permit(ctx context.Context, host string, ca acme.CAIdentity, challenge string) error {
	if len(ca.Domains) == 0 {
		return nil // a CA that does not say which records it obeys
	}
	set, err := g.lookUp(ctx, host)
	if g.wait(host, err) {
		return fmt.Errorf("the CAA records of %s cannot be looked up, and a CA that finds the same does not issue (RFC 8659 §3): %w; "+
			"see that the name servers of its zone answer for type CAA, and that its DNSSEC is right", host, err)
	}
	if err != nil {
		g.log.Warn("trying an order although the CAA records cannot be looked up", "host", host, "step", "certificate", "error", err)
		return nil
	}
	return caa.Permits(set, ca.Domains, ca.AccountURI, challenge)
}

// wait notes how a look-up went and reports whether the host has to wait.
func (g *caaGate) wait(host string, err error) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if err == nil {
		delete(g.failing, host)
		return false
	}
	since, known := g.failing[host]
	switch now := g.now(); {
	case !known:
		g.failing[host] = now
		return true
	case now.Sub(since) < caaPatience:
		return true
	}
	delete(g.failing, host) // should the CA refuse, it is not asked again at once
	return false
}
