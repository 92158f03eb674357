package dnsupdate

import (
	"sync/atomic"
	"time"

	"golang.org/x/time/rate"
)

// AccountStats counts what was done with an account since it was opened.
type AccountStats struct {
	Pushes      uint64    // pushes and removals tried; those that found all right already among them
	Failures    uint64    // of these, the ones that ended with an error
	PausedUntil time.Time // nothing is sent before this, as the account does not answer; zero if it does
	TokensLeft  float64   // requests that may be sent at once now before the pacing holds them back; below 0 some wait
}

// Stats returns the counts of each account, by name. Accounts whose provider is
// print have none.
func (u *Updater) Stats() map[string]AccountStats {
	u.mu.RLock()
	defer u.mu.RUnlock()
	all := make(map[string]AccountStats, len(u.accounts))
	for name, a := range u.accounts {
		if a.client != nil {
			all[name] = AccountStats{Pushes: a.pushes.Load(), Failures: a.failures.Load(), PausedUntil: a.silence.pausedUntil(), TokensLeft: a.client.pacing().Tokens()}
		}
	}
	return all
}

// counters are the part of an account that Stats shows.
type counters struct{ pushes, failures atomic.Uint64 }

func (c *powerdns) pacing() *rate.Limiter   { return c.limiter }
func (c *rfc2136) pacing() *rate.Limiter    { return c.limiter }
func (c *cloudflare) pacing() *rate.Limiter { return c.http.limiter }
