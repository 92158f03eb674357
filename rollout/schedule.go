package rollout

import (
	"context"
	"time"

	"github.com/stshost/stshost/internal/dispatch"
	"github.com/stshost/stshost/internal/state"
)

const (
	// lookTimeout bounds one look at the gates of a domain.
	lookTimeout = 2 * time.Minute
	// recheck is the time between two looks at gates of which one is closed that
	// somebody has to open.
	recheck = 30 * time.Minute
	// again is when to try once more what the store did not take, or what could not
	// be seen.
	again = time.Minute
)

// Before reports whether d has something to do before o.
func (d *domain) Before(o *domain) bool { return d.due.Before(o.due) }

// Place is where the queue keeps d's place in it.
func (d *domain) Place() *int { return &d.index }

// Run takes domains along until ctx ends, and waits for what is under way, which
// ends with ctx too. It always returns nil.
func (m *Manager) Run(ctx context.Context) error {
	dispatch.Run(ctx, m.cfg.Workers, m.kick, m.dequeue, m.runOne)
	return nil
}

// Wake has a domain looked at without waiting for its time: something has happened
// to it. Of one that is going nowhere nothing is done. It returns at once.
func (m *Manager) Wake(name string) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if d := m.domains[name]; d != nil {
		m.arrange(d)
	}
}

// WakeAll is Wake for all domains.
func (m *Manager) WakeAll() {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, d := range m.domains {
		m.arrange(d)
	}
}

// arrange has d looked at now if it has anything to do. The caller holds m.mu.
func (m *Manager) arrange(d *domain) {
	switch {
	case !d.busy():
		m.queue.Remove(d)
	case d.running:
		d.again = true
	default:
		m.schedule(d, m.cfg.Now())
	}
}

// busy reports whether the domain may have something to do, now or later. The caller
// holds m.mu.
func (d *domain) busy() bool {
	if len(d.kept.names) > 0 || len(d.drift) > 0 || d.unsure {
		return true
	}
	switch r := d.row; {
	case r == nil, r.Stage == state.StageRetired, d.conf == nil && !r.Left:
		return false
	default:
		return r.Goal != state.GoalStay || r.Confirmed.IsZero()
	}
}

// schedule puts d in the queue. The caller holds m.mu.
func (m *Manager) schedule(d *domain, due time.Time) {
	d.due = due
	m.queue.Put(d)
	select {
	case m.kick <- struct{}{}:
	default:
	}
}

// dequeue takes the domain that is due, or says how long to wait for one.
func (m *Manager) dequeue() (*domain, time.Duration) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if len(m.queue) == 0 {
		return nil, time.Hour
	}
	// A clock that jumps is noticed within the hour.
	if wait := m.queue[0].due.Sub(m.cfg.Now()); wait > 0 {
		return nil, min(wait, time.Hour)
	}
	d := m.queue.Next()
	d.running = true
	return d, 0
}

// runOne does for a domain what is to be done now.
func (m *Manager) runOne(ctx context.Context, d *domain) {
	look, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	next := m.drive(look, d.name)
	m.mu.Lock()
	defer m.mu.Unlock()
	d.running = false
	woken := d.again
	d.again = false
	switch {
	case m.domains[d.name] != d || !d.busy():
	case woken:
		m.schedule(d, m.cfg.Now())
	case next.IsZero(): // it is woken; this is for what nobody told of
		m.schedule(d, m.cfg.Now().Add(recheck))
	default:
		m.schedule(d, next)
	}
}
