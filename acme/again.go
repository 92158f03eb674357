package acme

import (
	"context"
	"slices"
	"strings"
	"time"

	"github.com/stshost/stshost/internal/state"
)

const (
	// againEvery is how often a host is tried again because of TryAgain. CAs
	// count failed validations: Let's Encrypt takes five an hour for a name.
	againEvery = 5 * time.Minute
	// againShare is the part of the budget of orders that TryAgain may use up:
	// with many hosts that fail for good, and a config that is reloaded all
	// day, nothing would be left for new ones.
	againShare = 3
)

// limitedName begins the Problem of a job that waits because the CA limits the
// host's name.
const limitedName = "the CA asks to wait with this name: "

// again is a host that TryAgain has made due.
type again struct {
	host string
	due  time.Time
}

// TryAgain makes the certificates that could not be had due now: something has
// been mended, as far as the operator knows. It returns how many hosts are
// tried earlier than they would have been.
//
// What a CA has asked for holds, and so does the budget of orders; only the
// time that we wait of our own accord for a CA that cannot be used ends. A host
// that was made due less than five minutes ago is when they are over, and no
// more hosts are in three hours than a third of the first CA's budget has
// orders: certificates to be renewed go first.
func (i *Issuer) TryAgain(ctx context.Context) (int, error) {
	i.jobs.Lock()
	defer i.jobs.Unlock()
	jobs, err := i.store.CertJobs(ctx)
	if err != nil {
		return 0, &storeError{err}
	}
	now := i.now()
	for _, ca := range i.cas {
		ca.pause.giveUp(now)
	}
	i.again = slices.DeleteFunc(i.again, func(a again) bool {
		return now.Sub(a.due) >= orderWindow || a.due.Sub(now) > againEvery // the clock was set back
	})
	jobs = slices.DeleteFunc(jobs, func(job state.CertJob) bool {
		failed := job.Attempts > 0 || job.Problem != ""
		return !failed || job.Running || limitsName(job) || !i.certs.ordered(job.Host)
	})
	slices.SortStableFunc(jobs, func(a, b state.CertJob) int {
		if a.NotAfter.IsZero() != b.NotAfter.IsZero() {
			if a.NotAfter.IsZero() {
				return 1
			}
			return -1
		}
		return a.NotAfter.Compare(b.NotAfter)
	})
	earlier := 0
	for _, job := range jobs {
		if len(i.again) >= max(1, i.cas[0].OrdersPer3Hours/againShare) {
			break
		}
		due := now
		for _, a := range i.again {
			if a.host == job.Host {
				due = later(due, a.due.Add(againEvery))
			}
		}
		if !due.Before(job.Due) {
			continue
		}
		job.Due = due
		if err := i.store.PutCertJob(ctx, job); err != nil {
			return earlier, &storeError{err}
		}
		i.again = append(i.again, again{job.Host, due})
		earlier++
	}
	i.wakeUp()
	return earlier, nil
}

// limitsName reports whether the job waits because the CA limits the host's
// name.
func limitsName(job state.CertJob) bool {
	return strings.HasPrefix(job.Problem, limitedName) || strings.HasPrefix(job.Problem, "rateLimited: ")
}

// giveUp ends a pause that nobody asked for, every five minutes at most. The
// next failure waits as long as if it had not.
func (p *pause) giveUp(now time.Time) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.own && now.Before(p.until) && now.Sub(p.ended).Abs() >= againEvery {
		p.until, p.ended = now.Round(0), now
	}
}

// heed notes that the pause is one that was asked for.
func (p *pause) heed() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.own = false
}
