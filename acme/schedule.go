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
	// Until a change of CAs has been taken up, whom to ask is not known.
	recovered := func() { workers.Go(func() { i.askAll(ctx) }) }
	i.schedule(ctx, recovered, func(ca *authority, job state.CertJob) {
		i.running.Add(1)
		workers.Go(func() {
			defer i.wakeUp()
			defer i.running.Add(-1)
			i.work(ctx, work, ca, job)
		})
	})

	grace := time.AfterFunc(i.cfg.ShutdownGrace, abandon)
	defer grace.Stop()
	workers.Wait()
	return nil
}

// schedule starts what is due, until ctx ends. Before that it puts the queue in
// order, and calls ready once that is done.
func (i *Issuer) schedule(ctx context.Context, ready func(), start func(*authority, state.CertJob)) {
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
				ready()
			}
		}
		wait := lookEvery
		if recovered {
			if err := i.heedClock(ctx); err != nil {
				i.storeFailed(ctx, err)
			}
			wait = i.round(ctx, start)
		}
		timer.Reset(wait)
	}
}

// recover puts the jobs that were running when the last process ended back
// into the queue, and all of them if the first CA is another one since; and
// takes up the pauses that the CAs asked for.
func (i *Issuer) recover(ctx context.Context) error {
	for _, c := range i.cas {
		if err := c.loadPause(ctx); err != nil {
			return err
		}
	}
	i.jobs.Lock()
	defer i.jobs.Unlock()
	former, err := i.formerCA(ctx)
	if err != nil {
		return err
	}
	jobs, err := i.store.CertJobs(ctx)
	if err != nil {
		return err
	}
	ordered := 0
	now := i.now()
	for _, job := range jobs {
		cut := job.Running
		job, changed := fromNow(job, now) // the clock may have been wrong when the last process ran
		if former != "" && job.CA == "" && !job.NotAfter.IsZero() {
			job.CA, changed = former, true // from before issuers were journalled
		}
		switch {
		case former != "" && !i.ours(job):
			job = i.afresh(job)
			ordered++
		case cut:
			job = i.cutOff(job)
		case former != "" && waitsForAnother(job):
			if job, err = i.keep(ctx, job); err != nil {
				return err
			}
		case !changed:
			continue
		}
		if err := i.store.PutCertJob(ctx, job); err != nil {
			return err
		}
		if cut {
			i.log.Warn("an attempt was cut off; its order may be lost", "host", job.Host, "step", "certificate", "next_try", job.Due)
		}
	}
	if former == "" {
		return nil
	}
	i.log.Info("the CA was changed; certificates are ordered anew", "step", "certificate", "directory", i.cas[0].Directory, "hosts", ordered)
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
func (i *Issuer) round(ctx context.Context, start func(*authority, state.CertJob)) time.Duration {
	now := i.now()
	if !i.certs.ready() {
		return lookEvery
	}
	if until, _, ok := i.stalled.get(now); ok {
		return min(lookEvery, until.Sub(now))
	}
	free := i.cfg.Workers - int(i.running.Load())
	if free <= 0 {
		return lookEvery // a worker that ends wakes us
	}
	limit := free + sweep
	jobs, wait, err := i.due(ctx, now, limit)
	if err != nil {
		i.storeFailed(ctx, err)
		return lookEvery
	}
	removed := true
	for _, job := range jobs {
		if !i.certs.ordered(job.Host) {
			// Should its time come again, Request makes a new job.
			if err := i.store.DeleteCertJob(ctx, job.Host); err != nil {
				i.storeFailed(ctx, err)
				return lookEvery
			}
			i.log.Info("certificate is no longer renewed: "+i.certs.whyNotOrdered(job.Host), "host", job.Host, "step", "certificate")
			continue
		}
		if free == 0 {
			return wait
		}
		ca, _, _ := i.choose(job, now)
		if ca == nil {
			continue
		}
		job, err := i.begin(ctx, job)
		if err != nil {
			i.storeFailed(ctx, err)
			return lookEvery
		}
		free--
		removed = false
		i.begins(ca, now)
		start(ca, job)
	}
	if removed && len(jobs) == limit {
		return 0 // there were only removed hosts so far
	}
	return wait
}

// due returns up to limit jobs that can be started, and when to look again.
// While there is no CA for jobs in general, there may be one for renewals that
// it has suggested (see exempt), or for those that cannot wait (see pressing).
func (i *Issuer) due(ctx context.Context, now time.Time, limit int) ([]state.CertJob, time.Duration, error) {
	ca, until, _ := i.choose(state.CertJob{}, now)
	if ca != nil {
		jobs, err := i.store.DueCertJobs(ctx, now, limit)
		return jobs, lookEvery, err
	}
	wait := min(lookEvery, until.Sub(now))
	if ca, _, _ := i.choose(state.CertJob{NotAfter: now}, now); ca != nil {
		jobs, err := i.store.DueExpiring(ctx, now, now.Add(lastDay), limit)
		return jobs, wait, err
	}
	for _, c := range i.cas {
		if _, _, held := c.pause.get(now); !held {
			jobs, err := i.store.DueSuggested(ctx, c.Directory, now, limit)
			return jobs, wait, err
		}
	}
	return nil, wait, nil
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
	i.stalled.extend(i.now().Add(storeWait), (&storeError{err}).Error())
}

// work runs one attempt of a job at ca and journals how it ended.
func (i *Issuer) work(stop, ctx context.Context, ca *authority, job state.CertJob) {
	out := i.attempt(stop, ctx, ca, &job)
	if out.verdict == issued {
		renewal := state.CertJob{
			Host: job.Host, NotAfter: out.cert.NotAfter, Challenge: job.Challenge, LastAttempt: job.LastAttempt, CA: ca.Directory,
			Due:   later(renewalDue(job.Host, out.cert.NotBefore, out.cert.NotAfter), i.now().Add(soonest)),
			AskAt: firstQuestion(job.Host, i.now(), out.cert.NotAfter.Sub(out.cert.NotBefore)),
		}
		saved := i.save(ctx, func(ctx context.Context) error {
			return i.store.FinishCertJob(ctx, out.cert, renewal)
		})
		if !saved {
			return
		}
		i.certs.Forget(job.Host)
		ca.issued.Add(1)
		i.log.Info("certificate issued", "host", job.Host, "step", "certificate", "directory", ca.Directory,
			"challenge", job.Challenge, "not_after", out.cert.NotAfter, "renewal", renewal.Due)
		i.tellIssued(ca, job, out.cert)
		i.cfg.OnChange(job.Host)
		return
	}

	next := i.after(ctx, ca, job, out)
	if !i.save(ctx, func(ctx context.Context) error { return i.store.PutCertJob(ctx, next) }) {
		return
	}
	if out.verdict == stopped || out.verdict == budget {
		return
	}
	ca.failed.Add(1)
	i.log.Warn("no certificate yet", "host", job.Host, "step", "certificate", "directory", ca.Directory,
		"challenge", job.Challenge, "problem", next.Problem, "attempts", next.Attempts, "next_try", next.Due)
	i.tellFailed(ca, out, next, i.now())
	i.cfg.OnChange(job.Host)
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
