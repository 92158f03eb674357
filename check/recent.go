package check

import (
	"context"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/singleflight"
)

// recent keeps the latest answers to questions that cost others something, by
// key, so that many who ask the same are one visitor. It is safe for concurrent
// use.
type recent[T any] struct {
	now    func() time.Time
	good   func(T) time.Duration // for how long an answer counts
	kept   *lru.Cache[string, timed[T]]
	flight singleflight.Group
}

type timed[T any] struct {
	value T
	time  time.Time
}

// newRecent keeps most answers at the most.
func newRecent[T any](now func() time.Time, most int, good func(T) time.Duration) *recent[T] {
	kept, err := lru.New[string, timed[T]](most)
	if err != nil {
		panic(err) // most is a constant above 0
	}
	return &recent[T]{now: now, good: good, kept: kept}
}

// get returns the latest answer, or asks. Of those who want the same at the same
// time one asks for all; that the first of them goes away does not end it, so ask
// needs an end of its own. It is not ok if ctx ended before.
func (r *recent[T]) get(ctx context.Context, key string, ask func(context.Context) T) (value T, ok bool) {
	if known, ok := r.kept.Get(key); ok && r.now().Sub(known.time).Abs() < r.good(known.value) {
		return known.value, true
	}
	fresh := r.flight.DoChan(key, func() (any, error) {
		value := ask(context.WithoutCancel(ctx))
		r.kept.Add(key, timed[T]{value, r.now()})
		return value, nil
	})
	select {
	case answer := <-fresh:
		return answer.Val.(T), true
	case <-ctx.Done():
		return value, false
	}
}
