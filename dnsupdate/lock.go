package dnsupdate

import (
	"context"
	"fmt"
	"sync"
	"time"
)

// nameLocks lets one change at a time happen to a name. The zero value is
// ready for use.
type nameLocks struct {
	mu   sync.Mutex
	held map[string]*nameLock
}

type nameLock struct {
	token chan struct{} // holds one element while the lock is taken
	users int           // holders and waiters; the entry goes with the last
}

// lock waits for the name, or for the end of ctx.
func (l *nameLocks) lock(ctx context.Context, name string) (unlock func(), err error) {
	l.mu.Lock()
	if l.held == nil {
		l.held = make(map[string]*nameLock)
	}
	n := l.held[name]
	if n == nil {
		n = &nameLock{token: make(chan struct{}, 1)}
		l.held[name] = n
	}
	n.users++
	l.mu.Unlock()

	leave := func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		if n.users--; n.users == 0 {
			delete(l.held, name)
		}
	}
	select {
	case n.token <- struct{}{}:
		return func() { <-n.token; leave() }, nil
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
}

// within runs f and returns no later than after the timeout or the end of ctx,
// even if f ignores both: some provider libraries do. done is called when f
// has really ended, so that what it guards stays guarded until then.
func within(ctx context.Context, timeout time.Duration, done func(), f func(context.Context) error) error {
	limited, cancel := context.WithTimeout(ctx, timeout)
	result := make(chan error, 1)
	go func() {
		defer cancel()
		defer done()
		result <- f(limited)
	}()
	select {
	case err := <-result:
		return err
	case <-limited.Done():
	}
	// f may have ended at the same instant, or be about to say why.
	grace := time.NewTimer(time.Second)
	defer grace.Stop()
	select {
	case err := <-result:
		return err
	case <-grace.C:
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return &overdueError{after: timeout, err: limited.Err()}
}

// overdueError says that a change was given up after so long.
type overdueError struct {
	after time.Duration
	err   error
}

func (e *overdueError) Error() string {
	return fmt.Sprintf("%s; what became of the change is not known, it is looked at again: %v", e.short(), e.err)
}

func (e *overdueError) Unwrap() error { return e.err }
func (e *overdueError) short() string { return fmt.Sprintf("no answer within %s", e.after) }
