package acme

import (
	"context"
	"time"

	"github.com/stshost/stshost/internal/state"
)

// The queue outlives the process, so its times are the wall clock's. A machine
// may start with a clock that is a day ahead and be put right minutes later;
// what was to wait for a minute would then wait for a day. So when the clock
// goes back, what was counted from a time that is yet to come is counted from
// now on. A clock that goes forward makes things due early, once.

// setBackBy is by how much the clock must go back to be taken for put right:
// more than it is steered by all the time.
const setBackBy = 30 * time.Second

// soonest is how soon after it was issued a certificate is renewed. It may be
// due at once where our clock is far ahead of the CA's, and each renewal costs
// an order.
const soonest = time.Hour

// heedClock looks whether the clock went back since it was last called, and
// puts the queue and the pauses right if it did. Only the scheduler calls it.
func (i *Issuer) heedClock(ctx context.Context) error {
	now := i.now().Round(0) // as the wall clock has it
	back := i.looked.Sub(now)
	if back < setBackBy {
		i.looked = now
		return nil
	}
	i.jobs.Lock()
	defer i.jobs.Unlock()
	jobs, err := i.store.CertJobs(ctx)
	if err != nil {
		return err
	}
	moved := 0
	for _, job := range jobs {
		right, changed := fromNow(job, now)
		if !changed {
			continue
		}
		if err := i.store.PutCertJob(ctx, right); err != nil {
			return err
		}
		moved++
	}
	i.stalled.setBack(back)
	for _, ca := range i.cas {
		for _, p := range []*pause{&ca.pause, &ca.spent, &ca.asking} {
			p.setBack(back)
		}
	}
	i.looked = now
	i.log.Warn("the clock was set back; what waited in the certificate queue goes on waiting from now",
		"step", "certificate", "back", back.Round(time.Second), "hosts", moved)
	return nil
}

// fromNow returns a job whose last attempt lies in the future as if that had
// been now, and whether it was one. Renewals keep their time, which is the
// certificate's; a job that is running is written when it ends.
func fromNow(job state.CertJob, now time.Time) (_ state.CertJob, changed bool) {
	ahead := job.LastAttempt.Sub(now)
	untried := job.LastAttempt.IsZero() && job.NotAfter.IsZero()
	if job.Running {
		return job, false
	}
	if job.AskAt.After(now.Add(askMax + askMax/10)) { // asked when the clock was ahead
		job.AskAt, changed = now, true
	}
	switch {
	case untried && job.Due.After(now):
		job.Due = now
		return job, true
	case ahead <= 0:
		return job, changed
	}
	job.LastAttempt = now
	if job.Attempts > 0 || job.Problem != "" {
		job.Due = later(job.Due.Add(-ahead), now)
	}
	return job, true
}

// setBack moves a pause by as much as the clock was set back.
func (p *pause) setBack(by time.Duration) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.until, p.since = p.until.Add(-by), p.since.Add(-by)
}
