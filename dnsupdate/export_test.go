package dnsupdate

import "golang.org/x/time/rate"

// Unpace lets the accounts of a test send as much as they like.
func (u *Updater) Unpace() {
	u.mu.RLock()
	defer u.mu.RUnlock()
	for _, a := range u.accounts {
		if a.client != nil {
			a.client.pacing().SetLimit(rate.Inf)
		}
		if c, ok := a.client.(*desec); ok {
			c.api.limiter.SetLimit(rate.Inf)
		}
	}
}
