package server

import (
	"sync"
	"time"
)

// sparse says one kind of thing once in logQuiet at most: what strangers can
// bring about must not fill the log.
type sparse struct {
	mu   sync.Mutex
	last time.Time
	held int // unsaid since
}

// warn logs, or counts as unsaid.
func (q *sparse) warn(s *Server, msg string, args ...any) {
	q.mu.Lock()
	defer q.mu.Unlock()
	now := s.now()
	if !q.last.IsZero() && !now.Before(q.last) && now.Sub(q.last) < logQuiet {
		q.held++
		return
	}
	if q.held > 0 {
		args = append(args, "more_like_it", q.held)
	}
	q.last, q.held = now, 0
	s.log.Warn(msg, args...)
}
