package acme

import (
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/stshost/stshost/internal/spread"
	"github.com/stshost/stshost/internal/state"
)

const (
	askBatch   = 64                     // jobs read at once
	askPace    = 100 * time.Millisecond // between questions
	askWorkers = 4                      // questions at once
	askTimeout = time.Minute            // for one, with the directory if need be
	noAnswer   = 24 * time.Hour         // until the next question where there is nobody to ask
)

// askAll asks the CAs when they want their certificates renewed (RFC 9773),
// until ctx ends. Each certificate has its time for the next question in the
// journal; however many have come due, questions go out at a steady pace.
func (i *Issuer) askAll(ctx context.Context) {
	pace := time.NewTicker(askPace)
	defer pace.Stop()
	slots := make(chan struct{}, askWorkers)
	for wait := time.Duration(0); ; {
		timer := time.NewTimer(wait)
		select {
		case <-ctx.Done():
			timer.Stop()
			return
		case <-timer.C:
		}
		wait = lookEvery
		if _, _, stalled := i.stalled.get(i.now()); stalled || !i.certs.ready() {
			continue
		}
		jobs, err := i.store.AskCertJobs(ctx, i.now(), askBatch)
		if err != nil {
			i.storeFailed(ctx, err)
			continue
		}
		if len(jobs) == askBatch {
			wait = 0
		}
		var asking sync.WaitGroup
		for _, job := range jobs {
			select {
			case <-pace.C:
			case <-ctx.Done():
				asking.Wait()
				return
			}
			slots <- struct{}{}
			asking.Go(func() {
				defer func() { <-slots }()
				i.ask(ctx, job)
			})
		}
		asking.Wait()
	}
}

// ask asks about one certificate and journals what comes of it. A CA that does
// not answer is no trouble: what it said before holds, and renewalDue does
// where it said nothing.
func (i *Issuer) ask(ctx context.Context, job state.CertJob) {
	now := i.now()
	ca := i.issuerOf(job)
	if ca == nil || !i.certs.Known(job.Host) || !now.Before(job.NotAfter) {
		i.noted(ctx, job, func(j *state.CertJob) { j.AskAt = now.Add(noAnswer) })
		return
	}
	if until, _, held := ca.asking.get(now); held {
		i.noted(ctx, job, func(j *state.CertJob) { j.AskAt = until.Add(spread.Of(j.Host, askFirst)) })
		return
	}
	asked, cancel := context.WithTimeout(ctx, askTimeout)
	defer cancel()
	acct, err := ca.account(asked)
	if err == nil && acct.dir.RenewalInfo == "" {
		i.noSuggestion(ctx, job, noAnswer)
		return
	}
	var s suggestion
	if err == nil {
		var leaf *x509.Certificate
		if leaf, err = i.leaf(ctx, job); err == nil {
			s, err = ca.suggest(asked, acct, leaf)
		}
	}
	var ours *storeError
	switch {
	case ctx.Err() != nil:
	case errors.As(err, &ours):
		i.storeFailed(ctx, err)
	case errors.Is(err, errNoSuggestion):
		i.log.Debug("the CA does not say when to renew", "host", job.Host, "step", "renewal-info", "directory", ca.Directory, "err", err)
		i.noSuggestion(ctx, job, askAgain(job.NotAfter.Sub(now), 0, false))
	case err != nil:
		i.unanswered(ctx, ca, job, now, err)
	default:
		ca.asking.over()
		i.suggested(ctx, ca, job, s)
	}
}

// leaf returns the certificate that the job is to replace.
func (i *Issuer) leaf(ctx context.Context, job state.CertJob) (*x509.Certificate, error) {
	cert, damage, err := i.stored(ctx, job.Host)
	switch {
	case errors.Is(err, state.ErrNotFound):
		return nil, fmt.Errorf("%w: there is none in the store", errNoSuggestion)
	case err != nil:
		return nil, &storeError{err}
	case damage != nil:
		return nil, fmt.Errorf("%w: %w", errNoSuggestion, damage)
	case !cert.NotAfter.Equal(job.NotAfter):
		return nil, fmt.Errorf("%w: another is in the store", errNoSuggestion)
	}
	leaf, err := leafOf(cert)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNoSuggestion, err)
	}
	return leaf, nil
}

// issuerOf returns the CA that issued the certificate which the job is to
// replace, or nil if the config has it no more. Certificates from before
// issuers were journalled are of the first CA: another one in its place would
// have ordered them all anew.
func (i *Issuer) issuerOf(job state.CertJob) *authority {
	if job.CA == "" {
		return i.cas[0]
	}
	return i.authorityAt(job.CA)
}

// authorityAt finds the CA of a directory; nil if it is not in the config.
func (i *Issuer) authorityAt(directory string) *authority {
	for _, c := range i.cas {
		if c.Directory == directory {
			return c
		}
	}
	return nil
}

// unanswered makes all questions to the CA wait.
func (i *Issuer) unanswered(ctx context.Context, ca *authority, job state.CertJob, began time.Time, err error) {
	now := i.now()
	reason := ca.unreachable(err)
	var said *caError
	var retryAt time.Time
	if errors.As(err, &said) {
		reason = said.Error()
	}
	if said != nil && said.asked {
		retryAt = now.Add(min(said.retryAt.Sub(now), askMax))
	}
	_, last, _ := ca.asking.get(now)
	until := ca.asking.unusable(began, now, retryAt, reason)
	if last != reason { // said once
		i.log.Warn("the CA was asked in vain when to renew certificates; it is asked again", "step", "renewal-info",
			"directory", ca.Directory, "err", reason, "next_try", until)
	}
	i.noted(ctx, job, func(j *state.CertJob) { j.AskAt = until.Add(spread.Of(j.Host, askFirst)) })
}

// noSuggestion takes back what the CA suggested before: it is ours again to
// decide. The CA is asked again after the given time.
func (i *Issuer) noSuggestion(ctx context.Context, job state.CertJob, again time.Duration) {
	now := i.now()
	due := time.Time{}
	if !job.WindowEnd.IsZero() {
		if leaf, err := i.leaf(ctx, job); err == nil {
			due = renewalDue(job.Host, leaf.NotBefore, leaf.NotAfter)
		}
	}
	i.noted(ctx, job, func(j *state.CertJob) {
		if !due.IsZero() && j.Attempts == 0 && j.Problem == "" {
			j.Due = due
		}
		j.WindowStart, j.WindowEnd, j.Explanation = time.Time{}, time.Time{}, ""
		j.AskAt = now.Add(again + spread.Of(j.Host, again/10))
	})
}

// suggested journals what the CA suggests, and tells it if it is news.
func (i *Issuer) suggested(ctx context.Context, ca *authority, job state.CertJob, s suggestion) {
	now := i.now()
	news := false
	after, ok := i.noted(ctx, job, func(j *state.CertJob) {
		*j, news = reschedule(*j, s, now)
		j.CA = ca.Directory
		j.AskAt = now.Add(s.next + spread.Of(j.Host, s.next/10))
	})
	if !ok {
		return
	}
	if !after.Due.After(now) {
		i.wakeUp()
	}
	if news {
		i.tellRescheduled(ca, after)
	}
}

// noted changes a job in the journal, unless it is another one by now: the
// question took its time.
func (i *Issuer) noted(ctx context.Context, job state.CertJob, change func(*state.CertJob)) (state.CertJob, bool) {
	i.jobs.Lock()
	defer i.jobs.Unlock()
	current, err := i.store.CertJob(ctx, job.Host)
	if errors.Is(err, state.ErrNotFound) || err == nil && (current.Running || !current.NotAfter.Equal(job.NotAfter)) {
		return current, false
	}
	if err == nil {
		change(&current)
		err = i.store.PutCertJob(ctx, current)
	}
	if err != nil {
		i.storeFailed(ctx, err)
		return current, false
	}
	return current, true
}
