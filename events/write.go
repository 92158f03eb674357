package events

import (
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/stshost/stshost/internal/state"
)

const (
	// batch is how many events one transaction takes, gather how long the
	// first of them waits for the others.
	batch  = 256
	gather = 200 * time.Millisecond

	// A store that refuses is tried again after a pause that doubles from
	// firstPause to longestPause.
	firstPause   = time.Second
	longestPause = 30 * time.Second

	storeTimeout = 30 * time.Second // of one transaction

	pruneFirst = time.Minute // after the start, which has enough to do
	pruneEvery = 24 * time.Hour

	// pruneSpan is how much of the oldest time one prune removes at most, for
	// its age: a clock that is years ahead for a day costs no more than that.
	// It is more than a day, so that what was missed is made up for.
	pruneSpan = 48 * time.Hour
	// pruneLook is how many of the first events are asked for the oldest time:
	// some may be of a clock that was ahead.
	pruneLook = 100
)

// write stores what is recorded, batch by batch, until the Log is closed and
// the queue empty, or there is no more time.
func (l *Log) write() {
	pause := time.Duration(0) // while the store refuses
	for l.await(pause) {
		err := l.storeBatch()
		switch {
		case err == nil && pause > 0:
			pause = 0
			l.log.Info("events are stored again")
		case err == nil:
		case l.open.Err() != nil: // asked once more was enough
			l.log.Error("events cannot be stored", "error", err)
			return
		case pause == 0:
			pause = firstPause
			l.log.Error("events cannot be stored; they are kept in memory and tried again", "error", err)
		default:
			pause = min(2*pause, longestPause)
		}
	}
}

// await waits until a batch is to be stored: after the pause, if there is one,
// else until the batch is full or its first event has waited long enough. It
// reports false when nothing is to be done any more.
func (l *Log) await(pause time.Duration) bool {
	if pause > 0 {
		select {
		case <-time.After(pause):
		case <-l.open.Done():
		}
		return l.running.Err() == nil
	}
	for {
		closed, n := l.open.Err() != nil, l.waiting()
		switch {
		case l.running.Err() != nil, closed && n == 0:
			return false
		case closed, n >= batch:
			return true
		case n > 0:
			return l.gather()
		}
		select {
		case <-l.recorded:
		case <-l.open.Done():
		}
	}
}

// gather gives a batch the time to fill.
func (l *Log) gather() bool {
	full := time.NewTimer(gather)
	defer full.Stop()
	for {
		select {
		case <-full.C:
			return true
		case <-l.open.Done():
			return true
		case <-l.recorded:
			if l.waiting() >= batch {
				return true
			}
		}
	}
}

// waiting is how many events are not stored yet.
func (l *Log) waiting() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.queue)
}

// storeBatch stores the first events of the queue, which leave it when the
// store has them.
func (l *Log) storeBatch() error {
	l.storing.Lock()
	defer l.storing.Unlock()
	l.mu.Lock()
	events := l.queue[:min(len(l.queue), batch):min(len(l.queue), batch)]
	l.mu.Unlock()
	if len(events) == 0 {
		return nil
	}
	ctx, cancel := context.WithTimeout(l.running, storeTimeout)
	defer cancel()
	if _, err := l.cfg.Store.AddEvents(ctx, events); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.queue = l.queue[len(events):]
	if len(l.queue) == 0 {
		l.queue = nil // the array of a long backlog is given back
	}
	l.confess()
	l.wake()
	return nil
}

// confess puts into the log itself that events are missing in it. The caller
// holds l.mu.
func (l *Log) confess() {
	if l.lost == 0 {
		return
	}
	l.queue = append(l.queue, state.Event{
		Time: l.cfg.Now(), Kind: state.KindStoreLost, Severity: state.SeverityWarning,
		Text:   fmt.Sprintf("%d events since %s are lost, because the store could not be written for too long", l.lost, l.lostAt.UTC().Format(time.RFC3339)),
		Remedy: "see the server's log for what was wrong with the store",
		Evidence: map[string]string{
			"events": fmt.Sprint(l.lost), "since": l.lostAt.UTC().Format(time.RFC3339),
		},
	})
	l.lost = 0
	l.signal()
}

// prune removes old events once a day until the Log is closed.
func (l *Log) prune() {
	next := time.NewTimer(pruneFirst)
	defer next.Stop()
	for {
		select {
		case <-next.C:
			next.Reset(pruneEvery)
		case <-l.open.Done():
			return
		}
		removed, err := l.pruneOnce()
		switch {
		case err != nil && l.open.Err() == nil:
			l.log.Warn("old events cannot be removed; it is tried again tomorrow", "error", err)
		case removed > 0:
			l.log.Info("old events removed", "events", removed, "keep", l.cfg.Keep)
		}
	}
}

// pruneOnce removes what is older than Keep, though by the events' own times
// no more than pruneSpan: the clock may be wrong.
func (l *Log) pruneOnce() (removed int64, err error) {
	first, err := l.cfg.Store.Events(l.open, state.EventQuery{Limit: pruneLook})
	if err != nil {
		return 0, err
	}
	before := l.cfg.Now().Add(-l.cfg.Keep)
	if len(first) > 0 {
		oldest := slices.MinFunc(first, func(a, b state.Event) int { return a.Time.Compare(b.Time) })
		if most := oldest.Time.Add(pruneSpan); most.Before(before) {
			before = most
		}
	}
	return l.cfg.Store.PruneEvents(l.open, before, l.cfg.KeepAtMost)
}
