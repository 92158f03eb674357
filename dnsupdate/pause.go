package dnsupdate

import (
	"fmt"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"
)

// RateLimitError says that a provider wants no requests for a while.
type RateLimitError struct {
	Provider string
	Until    time.Time // no request is sent to the account before this
}

func (e *RateLimitError) Error() string {
	return fmt.Sprintf("%s allows no more requests for now (429); the next one goes out at %s or later", e.Provider, e.Until.UTC().Format(time.RFC3339))
}

// RetryAt is when it makes sense to try again.
func (e *RateLimitError) RetryAt() time.Time { return e.Until }

// longestPause is the longest Retry-After that is believed.
const longestPause = 24 * time.Hour

// pauser keeps an account still after a 429.
type pauser struct {
	provider  string
	otherwise time.Duration // the pause if the answer names none
	now       func() time.Time

	mu    sync.Mutex
	until time.Time // no request before this
}

// paused returns an error while a 429 is in force.
func (p *pauser) paused() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.now().Before(p.until) {
		return &RateLimitError{Provider: p.provider, Until: p.until}
	}
	return nil
}

// pause keeps the Retry-After of a 429: seconds or a date (RFC 9110 §10.2.3).
func (p *pauser) pause(retryAfter string) error {
	now := p.now()
	until := now.Add(p.otherwise)
	if s, err := strconv.Atoi(strings.TrimSpace(retryAfter)); err == nil && s >= 0 {
		until = now.Add(min(time.Duration(s), longestPause/time.Second) * time.Second)
	} else if t, err := http.ParseTime(retryAfter); err == nil && t.After(now) {
		until = t
	}
	if latest := now.Add(longestPause); until.After(latest) {
		until = latest
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if until.After(p.until) {
		p.until = until
	}
	return &RateLimitError{Provider: p.provider, Until: p.until}
}
