// Package dispatch hands what is due to workers: one goroutine and one timer
// serve any number of things that each have their time.
package dispatch

import (
	"context"
	"sync"
	"time"
)

// Run has workers do what is due until ctx ends, and then waits for what is under
// way, which is to end with ctx too. next takes the thing that is due, or returns
// nil and how long to wait for one; kick says that this may have changed. next is
// called by one goroutine at a time.
func Run[T any](ctx context.Context, workers int, kick <-chan struct{}, next func() (*T, time.Duration), do func(context.Context, *T)) {
	work := make(chan *T)
	var running sync.WaitGroup
	for range workers {
		running.Go(func() {
			for t := range work {
				do(ctx, t)
			}
		})
	}
	hand(ctx, work, kick, next)
	close(work)
	running.Wait()
}

// hand hands what is due to the workers until ctx ends.
func hand[T any](ctx context.Context, work chan<- *T, kick <-chan struct{}, next func() (*T, time.Duration)) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		t, wait := next()
		if t != nil {
			select {
			case work <- t:
				continue
			case <-ctx.Done():
				return
			}
		}
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-kick:
		case <-ctx.Done():
			return
		}
	}
}
