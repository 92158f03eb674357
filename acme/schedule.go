package acme

import (
	"context"
	"sync"
	"time"

	"github.com/stshost/stshost/internal/state"
)

const (
	lookEvery    = 5 * time.Second // at the queue, when nothing wakes us sooner
	sweep        = 32              // jobs read beyond the free workers, to clear away those of removed hosts
	storeWait    = time.Minute     // after the store has failed
	writeTimeout = 2 * time.Second // of one write after Run was told to end
)

// interrupted is the Problem of a job whose attempt was cut off with an order
// open. A second time in a row it waits like a failure: a process that is
// killed over and over must not order over and over.
const interrupted = "stshost was stopped while an order was open"

// Run works until ctx ends, then waits for attempts that have an order open,
// for [IssuerConfig.ShutdownGrace], and abandons those that are not done by
// then. Trouble with the CA or the store is waited out, logged and shown by
// Status. Run is called once, and by one process at a time for a store.
func (i *Issuer) Run(ctx context.Context) error {
	work, abandon := context.WithCancel(context.WithoutCancel(ctx))
	defer abandon()
	var workers sync.WaitGroup
	i.schedule(ctx, func(job state.CertJob) {
		i.running.Add(1)
		workers.Go(func() {
			defer i.wakeUp()
			defer i.running.Add(-1)
			i.work(ctx, work, job)
		})
	})

	grace := time.AfterFunc(i.cfg.ShutdownGrace, abandon)
	defer grace.Stop()
	workers.Wait()
	return nil
}

// schedule starts what is due, until ctx ends.
func (i *Issuer) schedule(ctx context.Context, start func(state.CertJob)) {
	recovered := false
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-i.wake:
		case <-timer.C:
		}
		if ctx.Err() != nil {
			return
		}
		if !recovered {
			if err := i.recover(ctx); err != nil {
				i.storeFailed(ctx, err)
			} else {
				recovered = true
			}
		}
		wait := lookEvery
		if recovered {
			wait = i.round(ctx, start)
		}
		timer.Reset(wait)
	}
}

// recover puts the jobs that were running when the last process ended back
// into the queue, and all of them if the CA is another one since; and takes up
// the pause that the CA asked for.
func (i *Issuer) recover(ctx context.Context) error {
	if err := i.loadPause(ctx); err != nil {
		return err
	}
	i.jobs.Lock()
	defer i.jobs.Unlock()
	changed, err := i.changedCA(ctx)
	if err != nil {
		return err
	}
	jobs, err := i.store.CertJobs(ctx)
	if err != nil {
		return err
	}
	for _, job := range jobs {
		cut := job.Running
		switch {
		case changed:
			job = i.afresh(job)
		case cut:
			job = i.cutOff(job)
		default:
			continue
		}
		if err := i.store.PutCertJob(ctx, job); err != nil {
			return err
		}
		if cut {
			i.log.Warn("an attempt was cut off; its order may be lost", "host", job.Host, "step", "certificate", "next_try", job.Due)
		}
	}
	if !changed {
		return nil
	}
	i.log.Info("the CA was changed; every certificate is ordered anew", "step", "certificate", "directory", i.cfg.Directory, "hosts", len(jobs))
	return i.noteCA(ctx) // last: a kill before it makes the next start do all this again
}

// cutOff returns what becomes of a job whose attempt was cut off.
func (i *Issuer) cutOff(job state.CertJob) state.CertJob {
	job.Running = false
	job.Due = i.now()
	if job.Problem == interrupted {
		job.Attempts++
		job.Due = job.LastAttempt.Add(backoff(job.Attempts))
	}
	job.Problem = interrupted
	return job
}

// round starts due jobs on the free workers and returns when to look again.
func (i *Issuer) round(ctx context.Context, start func(state.CertJob)) time.Duration {
	now := i.now()
	if !i.certs.ready() {
		return lookEvery
	}
	if until, _, ok := i.pause.get(now); ok {
		return min(lookEvery, until.Sub(now))
	}
	free := i.cfg.Workers - int(i.running.Load())
	if free <= 0 {
		return lookEvery // a worker that ends wakes us
	}
	limit := free + sweep
	jobs, err := i.store.DueCertJobs(ctx, now, limit)
	if err != nil {
		i.storeFailed(ctx, err)
		return lookEvery
	}
	for _, job := range jobs {
		if !i.certs.Known(job.Host) {
			// Removed. Should it come back, Request makes a new job.
			if err := i.store.DeleteCertJob(ctx, job.Host); err != nil {
				i.storeFailed(ctx, err)
				return lookEvery
			}
			i.log.Info("certificate is no longer renewed: the host was removed", "host", job.Host, "step", "certificate")
			continue
		}
		if free == 0 {
			return lookEvery
		}
		job, err := i.begin(ctx, job)
		if err != nil {
			i.storeFailed(ctx, err)
			return lookEvery
		}
		free--
		start(job)
	}
	if free > 0 && len(jobs) == limit {
		return 0 // there were only removed hosts so far
	}
	return lookEvery
}

// begin journals that an order may be open from now on.
func (i *Issuer) begin(ctx context.Context, job state.CertJob) (state.CertJob, error) {
	i.jobs.Lock()
	defer i.jobs.Unlock()
	job.Running = true
	job.LastAttempt = i.now()
	job.Challenge = i.usable(job.Challenge)
	return job, i.store.PutCertJob(ctx, job)
}

// storeFailed holds everything back: what cannot be journalled is not started.
func (i *Issuer) storeFailed(ctx context.Context, err error) {
	if ctx.Err() != nil {
		return
	}
	i.log.Error("the certificate queue cannot be worked on", "step", "certificate", "err", err)
	i.pause.extend(i.now().Add(storeWait), (&storeError{err}).Error())
}

// work runs one attempt of a job and journals how it ended.
func (i *Issuer) work(stop, ctx context.Context, job state.CertJob) {
	out := i.attempt(stop, ctx, job)
	if out.verdict == issued {
		renewal := state.CertJob{
			Host: job.Host, NotAfter: out.cert.NotAfter, Challenge: job.Challenge, LastAttempt: job.LastAttempt,
			Due: renewalDue(job.Host, out.cert.NotBefore, out.cert.NotAfter),
		}
		saved := i.save(ctx, func(ctx context.Context) error {
			return i.store.FinishCertJob(ctx, out.cert, renewal)
		})
		if !saved {
			return
		}
		i.certs.Forget(job.Host)
		i.issued.Add(1)
		i.log.Info("certificate issued", "host", job.Host, "step", "certificate",
			"challenge", job.Challenge, "not_after", out.cert.NotAfter, "renewal", renewal.Due)
		i.cfg.OnChange(job.Host)
		return
	}

	next := i.after(ctx, job, out)
	if !i.save(ctx, func(ctx context.Context) error { return i.store.PutCertJob(ctx, next) }) {
		return
	}
	if out.verdict == stopped || out.verdict == budget {
		return
	}
	i.failed.Add(1)
	i.log.Warn("no certificate yet", "host", job.Host, "step", "certificate",
		"challenge", job.Challenge, "problem", next.Problem, "attempts", next.Attempts, "next_try", next.Due)
	i.cfg.OnChange(job.Host)
}

// after returns the job as it goes on after an attempt without a certificate,
// and makes the account wait where the outcome is about it.
func (i *Issuer) after(ctx context.Context, job state.CertJob, out outcome) state.CertJob {
	now := i.now()
	before := job.Problem
	job.Running = false
	job.Problem = out.problem
	switch out.verdict {
	case refused:
		job.Attempts++
		job.Due = now.Add(backoff(job.Attempts))
		job.Challenge = i.other(job.Challenge)
	case limitedHost:
		job.Attempts++
		job.Due = later(out.retryAt, now.Add(backoff(job.Attempts)))
	case limited:
		reason := "the CA asks to wait: " + out.problem
		job.Due = i.pause.unusable(job.LastAttempt, now, out.retryAt, reason)
		i.savePause(ctx, job.Due, reason)
	case budget:
		job.Problem = before
		i.pause.extend(later(out.retryAt, now.Add(time.Second)), out.problem)
	case unavailable:
		job.Due = i.pause.unusable(job.LastAttempt, now, time.Time{}, out.problem)
		if out.ordered { // each try costs an order
			job.Attempts++
			job.Due = later(job.Due, now.Add(backoff(job.Attempts)))
		}
	case storeBroken:
		job.Due = now.Add(storeWait)
		i.pause.extend(job.Due, out.problem)
	case stopped:
		job.Problem = before
		if out.ordered {
			job = i.cutOff(job)
		}
	}
	return job
}

// save writes until it succeeds or ctx ends; even then it tries once. What it
// writes was paid for with an order, and a worker that cannot journal has
// nothing better to do.
func (i *Issuer) save(ctx context.Context, write func(context.Context) error) bool {
	for delay := time.Second; ; delay = min(2*delay, 30*time.Second) {
		once, cancel := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout)
		i.jobs.Lock()
		err := write(once)
		i.jobs.Unlock()
		cancel()
		if err == nil {
			return true
		}
		if ctx.Err() != nil {
			i.log.Error("the outcome of an attempt is lost", "step", "certificate", "err", err)
			return false
		}
		i.storeFailed(ctx, err)
		timer := time.NewTimer(delay)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
		}
	}
}

func later(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}
