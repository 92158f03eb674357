package events

import (
	"context"
	"iter"

	"github.com/stshost/stshost/internal/state"
)

// Next returns the events that q chooses, the oldest first, and waits until
// there is one. It returns none, and no error, when ctx ends before, or the
// Log does.
func (l *Log) Next(ctx context.Context, q state.EventQuery) ([]state.Event, error) {
	for {
		stored, ended := l.nextBatch()
		events, err := l.cfg.Store.Events(ctx, q)
		switch {
		case ctx.Err() != nil:
			return nil, nil
		case err != nil, len(events) > 0, ended:
			return events, err
		}
		select {
		case <-stored:
		case <-ctx.Done():
			return nil, nil
		}
	}
}

// nextBatch returns what is closed when more is stored than there is now, and
// whether nothing more will be.
func (l *Log) nextBatch() (stored <-chan struct{}, ended bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.stored, l.ended
}

// Follow yields every event with an id above after in the order of ids, those
// that are stored first and then each as it comes, until ctx ends or the Log
// does. An event that is yielded has been stored: whoever keeps the ID of the
// last one that was dealt with, and goes on from it after a restart, misses
// none and meets none twice. A store that cannot be read is yielded as an
// error, and then Follow has ended.
func (l *Log) Follow(ctx context.Context, after int64) iter.Seq2[state.Event, error] {
	return func(yield func(state.Event, error) bool) {
		for {
			events, err := l.Next(ctx, state.EventQuery{After: after, Limit: batch})
			if err != nil {
				yield(state.Event{}, err)
				return
			}
			if len(events) == 0 {
				return
			}
			for _, e := range events {
				if !yield(e, nil) {
					return
				}
				after = e.ID
			}
		}
	}
}

// Events returns the events that q chooses, the oldest first, of those that
// are stored.
func (l *Log) Events(ctx context.Context, q state.EventQuery) ([]state.Event, error) {
	return l.cfg.Store.Events(ctx, q)
}
