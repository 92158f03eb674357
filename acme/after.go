package acme

import (
	"context"
	"time"

	"github.com/stshost/stshost/internal/state"
)

// after returns the job as it goes on after an attempt at ca without a
// certificate, and makes the account wait where the outcome is about it.
func (i *Issuer) after(ctx context.Context, ca *authority, job state.CertJob, out outcome) state.CertJob {
	now := i.now()
	before := job.Problem
	job.Running = false
	job.Problem = out.problem
	switch out.verdict {
	case refused:
		job.Attempts++
		job.Due = now.Add(patience(job, now))
		job.Challenge = i.other(job.Challenge)
	case forbidden:
		job = i.afterForbidden(ca, job, now)
	case limitedHost:
		job.Attempts++
		job.Problem = limitedName + out.problem
		job.Due = later(out.retryAt, now.Add(patience(job, now)))
	case limited:
		reason := "the CA asks to wait: " + out.problem
		job.Due = ca.pause.unusable(job.LastAttempt, now, out.retryAt, reason)
		ca.savePause(ctx, job.Due, reason)
		job = i.elsewhere(ca, lost(job, out, now), now, out.ordered)
	case budget:
		job.Problem = before
		if exempt(job, ca) { // the CA does not take it for the renewal that it suggested
			job.WindowStart, job.WindowEnd = time.Time{}, time.Time{}
		}
		ca.spent.extend(later(out.retryAt, now.Add(time.Second)), out.problem)
	case unavailable:
		job.Due = ca.pause.unusable(job.LastAttempt, now, time.Time{}, out.problem)
		if out.limits {
			ca.pause.heed()
		}
		job = i.elsewhere(ca, lost(job, out, now), now, out.ordered)
	case misset:
		job.Due = ca.pause.misset(job.LastAttempt, now, out.problem, out.remedy)
		job = i.elsewhere(ca, lost(job, out, now), now, out.ordered)
	case storeBroken:
		job.Due = now.Add(storeWait)
		i.stalled.extend(job.Due, out.problem)
	case stopped:
		job.Problem = before
		if out.ordered {
			job = i.cutOff(job)
		}
	}
	return job
}

// lost counts an attempt that a CA's own trouble ended with its order open as
// one of the host's: each try costs an order, whoever is to blame.
func lost(job state.CertJob, out outcome, now time.Time) state.CertJob {
	if out.ordered {
		job.Attempts++
		job.Due = later(job.Due, now.Add(patience(job, now)))
	}
	return job
}

// elsewhere makes a job that a CA's own trouble has failed due at once, if
// another CA is fit. Where an order was open that is so once: a host that
// breaks one CA after the other waits like any that fails.
func (i *Issuer) elsewhere(ca *authority, job state.CertJob, now time.Time, ordered bool) state.CertJob {
	next := i.fallback(job, ca, now)
	if next == nil || ordered && job.Attempts > 1 {
		return job
	}
	job.Due = now
	job.Problem += "; " + next.Directory + " is asked instead"
	return job
}

// afterForbidden makes the host wait, but not as long as after a refusal of the
// CA: nothing was asked of it. If it is a fall-back that may not issue for the
// host, that is no fault of the host's: it waits for the CA that may.
func (i *Issuer) afterForbidden(ca *authority, job state.CertJob, now time.Time) state.CertJob {
	if ca != i.cas[0] {
		until, _, _ := i.cas[0].pause.get(now)
		job.Due = later(until, now.Add(time.Minute))
		return job
	}
	job.Attempts++
	job.Due = now.Add(min(patience(job, now), lookAgain))
	return job
}

// lookAgain is the longest wait after a refusal that cost no order: whoever
// has mended the records should not wait for a day.
const lookAgain = 10 * time.Minute

// patience is how long a host waits after its last failed attempt: backoff,
// but as a certificate runs out, no more than a sixth of the life that it has
// left. A day, right for 90 days, would be too long for one that lives six.
func patience(job state.CertJob, now time.Time) time.Duration {
	wait := backoff(job.Attempts)
	if left := job.NotAfter.Sub(now); left > 0 {
		wait = min(wait, max(left/6, 100*time.Minute))
	}
	return wait
}
