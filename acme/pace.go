package acme

import (
	"context"
	"encoding/json"
	"errors"
	"hash/fnv"
	"strings"
	"sync"
	"time"

	"github.com/stshost/stshost/internal/state"
)

const orderWindow = 3 * time.Hour // what IssuerConfig.OrdersPer3Hours counts over

// backoff is how long after its nth failed attempt in a row a host is tried
// again.
func backoff(attempts int) time.Duration {
	steps := [...]time.Duration{time.Minute, 10 * time.Minute, 100 * time.Minute, 24 * time.Hour}
	return steps[min(max(attempts, 1), len(steps))-1]
}

// outage is how long everything waits after the nth sign in a row that the CA
// cannot be used at all. It stays short: asking again costs one request, and
// the CA coming back is what everybody waits for.
func outage(n int) time.Duration {
	if n <= 1 {
		return time.Minute
	}
	return 10 * time.Minute
}

// renewalDue is when a certificate is renewed: at two thirds of its lifetime,
// plus up to a twelfth of it that depends on the host, so that certificates
// issued together do not stay together.
func renewalDue(host string, notBefore, notAfter time.Time) time.Time {
	life := notAfter.Sub(notBefore)
	due := notBefore.Add(life / 3 * 2)
	if spread := uint64(life / 12); life > 0 && spread > 0 {
		h := fnv.New64a()
		h.Write([]byte(host))
		due = due.Add(time.Duration(h.Sum64() % spread))
	}
	return due
}

// pause holds back attempts: every one of a CA's account because the CA asked
// for it or is out of order, or the budget is used up; or every one at all
// because the store is out of order.
type pause struct {
	mu     sync.Mutex
	until  time.Time // as the wall clock has it: see setBack
	reason string
	remedy string    // what to correct in the config, if that is at fault
	since  time.Time // when the CA was last found unusable
	length int       // how often in a row
	own    bool      // the wait is our own guess: nobody asked for it
	ended  time.Time // when giveUp last ended it
}

// get returns until when to wait and why; ok is false when nothing holds.
func (p *pause) get(now time.Time) (until time.Time, reason string, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.until, p.reason, now.Before(p.until)
}

// fault returns what to correct in the config, if that is why the pause holds.
func (p *pause) fault(now time.Time) (remedy string, ok bool) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.remedy, p.remedy != "" && now.Before(p.until)
}

// remedyFor returns what to correct in the config, if a host's problem is the
// one that the pause was last made for; "" if not.
func (p *pause) remedyFor(problem string) string {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.remedy == "" || !strings.HasPrefix(problem, p.reason) {
		return ""
	}
	return p.remedy
}

// extend makes the pause last at least until the given time.
func (p *pause) extend(until time.Time, reason string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if until = until.Round(0); until.After(p.until) {
		p.until, p.reason, p.remedy, p.own = until, reason, "", false
	}
}

// unusable notes that the CA could not be used by an attempt that began at
// began, and returns until when everything waits: until the CA's Retry-After,
// or for an outage if it gave none. Attempts that ran beside one another see
// one outage, not several.
func (p *pause) unusable(began, now, retryAt time.Time, reason string) time.Time {
	return p.failed(began, now, retryAt, reason, "")
}

// misset is unusable where the config is at fault, with what to correct in it.
// The wait is as short: the operator may mend it at the CA as well.
func (p *pause) misset(began, now time.Time, reason, remedy string) time.Time {
	return p.failed(began, now, time.Time{}, reason, remedy)
}

func (p *pause) failed(began, now, retryAt time.Time, reason, remedy string) time.Time {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.length == 0 || !began.Before(p.since) {
		p.length++
		p.since = now.Round(0)
	}
	wait := outage(p.length)
	if !retryAt.IsZero() {
		// The first time the CA's word is enough. One that is too short would
		// have us ask over and over, at the cost of an order each.
		wait = time.Second
		if p.length > 1 {
			wait = outage(p.length - 1)
		}
	}
	if until := later(retryAt, now.Add(wait)).Round(0); until.After(p.until) {
		p.until, p.reason, p.remedy, p.own = until, reason, remedy, retryAt.IsZero()
	}
	return p.until
}

// over notes that the CA works.
func (p *pause) over() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.length = 0
}

// storedPause is the pause a CA asked for, kept across restarts.
type storedPause struct {
	Until  time.Time `json:"until"`
	At     time.Time `json:"at,omitzero"` // when it was asked
	Reason string    `json:"reason"`
}

func pauseKey(directory string) string { return "pause/" + directory }

// savePause keeps what the CA asked for; it is no reason to fail when the
// store does not take it.
func (c *authority) savePause(ctx context.Context, until time.Time, reason string) {
	data, err := json.Marshal(storedPause{Until: until, Reason: reason, At: c.now()})
	if err == nil {
		err = c.store.PutACMEData(ctx, pauseKey(c.Directory), data)
	}
	if err != nil {
		c.log.Warn("the CA's Retry-After could not be stored; a restart forgets it", "directory", c.Directory, "err", err, "until", until)
	}
}

func (c *authority) loadPause(ctx context.Context) error {
	data, err := c.store.ACMEData(ctx, pauseKey(c.Directory))
	if errors.Is(err, state.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	var p storedPause
	if json.Unmarshal(data, &p) == nil {
		if ahead := p.At.Sub(c.now()); ahead > 0 { // the clock was wrong then
			p.Until = p.Until.Add(-ahead)
		}
		c.pause.extend(p.Until, p.Reason)
	}
	return nil
}
