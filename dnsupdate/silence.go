package dnsupdate

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// A provider that does not answer would hold up one worker for each of its
// domains, again and again, and with them the domains of all other accounts. So
// an account that has not answered is left alone for a while, then asked once.

const (
	// The pause after the first failure, and the longest: it doubles.
	firstSilence, longestSilence = 30 * time.Second, 10 * time.Minute
	// probePause is how long to wait while somebody finds out whether the
	// account answers again: an answer, or none, is there by then as a rule.
	probePause = 20 * time.Second
)

// SilentError says that an account does not answer: a request timed out, or no
// connection came about. Pushes fail with it at once until the pause is over.
// Its text is the same for all of them and does not change from try to try.
type SilentError struct {
	Account  string
	Provider string
	Since    time.Time // of the first failure in a row
	Until    time.Time // nothing is sent before this
	said     string    // what the first failure was
	err      error     // that of this push; nil if nothing was sent for it
}

func (e *SilentError) Error() string {
	return fmt.Sprintf("dns account %s (%s) has not answered since %s: %s", e.Account, e.Provider, e.Since.UTC().Format(time.RFC3339), e.said)
}

func (e *SilentError) Unwrap() error { return e.err }

// Remedy says when the account is asked again.
func (e *SilentError) Remedy() string {
	return fmt.Sprintf("see that this machine reaches the provider of [dns.%s]; the account is left alone until %s, and then one change is tried; a reload tries at once",
		e.Account, e.Until.UTC().Format(time.RFC3339))
}

// RetryAt is when it makes sense to try again.
func (e *SilentError) RetryAt() time.Time { return e.Until }

// silence keeps an account still that does not answer. The zero value is that of
// one that does.
type silence struct {
	mu      sync.Mutex
	since   time.Time // of the first failure in a row; zero: it answers
	said    string
	until   time.Time
	pause   time.Duration
	probing bool // one change finds out whether it answers again
}

// enter returns an error if nothing is to be sent now. probe says that the
// caller is the one who finds out; it calls leave in any case.
func (s *silence) enter(now time.Time, account, provider string) (probe bool, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	e := &SilentError{Account: account, Provider: provider, Since: s.since, Until: s.until, said: s.said}
	switch {
	case s.since.IsZero():
		return false, nil
	case now.Before(s.until) && s.until.Sub(now) <= longestSilence: // else the clock was set back
		return false, e
	case s.probing:
		e.Until = now.Add(probePause)
		return false, e
	}
	s.probing = true
	return true, nil
}

// leave notes how a change ended, and returns its error as others are told of
// it. undecided says that it was given up before that showed.
func (s *silence) leave(now time.Time, account, provider string, probe, undecided bool, err error) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if probe {
		s.probing = false
	}
	switch {
	case undecided:
		return err
	case !unanswered(err):
		s.clear()
		return err
	case s.since.IsZero():
		s.since, s.said, s.pause = now, err.Error(), firstSilence
		if late, ok := errors.AsType[*overdueError](err); ok {
			s.said = late.short()
		}
		s.until = now.Add(s.pause)
	case probe:
		s.pause = min(max(2*s.pause, firstSilence), longestSilence)
		s.until = now.Add(s.pause)
	}
	return &SilentError{Account: account, Provider: provider, Since: s.since, Until: s.until, said: s.said, err: err}
}

// end ends the pause, and has the next one be a short one again. It is one change
// still that finds out, so that not all workers wait for its time-out, and
// since stays, so that the domains do not all have news.
func (s *silence) end() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.until, s.pause = time.Time{}, 0
}

// clear forgets what was. The caller holds s.mu. Whoever probes may go on.
func (s *silence) clear() { s.since, s.said, s.until, s.pause = time.Time{}, "", time.Time{}, 0 }

// pausedUntil is until when nothing is sent; zero if the account answers.
func (s *silence) pausedUntil() time.Time {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.until
}

// unanswered reports whether err is that nobody answered, unlike an answer that
// one does not like.
func unanswered(err error) bool {
	if err == nil || errors.Is(err, context.Canceled) {
		return false
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.As(err, new(*net.DNSError)) {
		return true
	}
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Op == "dial" {
		return true
	}
	var late net.Error
	return errors.As(err, &late) && late.Timeout()
}
