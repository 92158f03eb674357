package reconcile

import (
	"context"
	"errors"
	"time"

	"github.com/stshost/stshost/internal/state"
)

// HostState is how an extra host stands: a name beside the policy hosts that
// has a certificate and no policy.
type HostState struct {
	Host      string
	LastError string // why it has no certificate; "" when nothing is wrong
	Remedy    string // what the operator can do about it
	Attempts  int    // failed runs in a row
	LastRun   time.Time
	NextRun   time.Time
}

// extraHost is an extra host in memory, guarded by Reconciler.mu. None of it is
// journalled: what is durable is the certificate and its job.
type extraHost struct {
	HostState
	due    time.Time
	woken  bool      // since its run began
	astray time.Time // since when it is known not to lead here; zero if it does
	told   string    // the trouble that was told and is not over
}

// SetExtraHosts makes hosts, in lower-case A-labels, the extra ones: known, and
// their certificates looked after. What waits for one that is gone is dropped.
// It is called after SetDomains, and not twice at a time.
func (r *Reconciler) SetExtraHosts(ctx context.Context, hosts []string) error {
	r.mu.Lock()
	old := r.extra
	r.extra = make(map[string]*extraHost, len(hosts))
	for _, host := range hosts {
		h := old[host]
		if h == nil {
			h = &extraHost{HostState: HostState{Host: host}, due: r.cfg.Now()}
		}
		r.extra[host] = h
		delete(old, host)
	}
	r.setHosts()
	r.mu.Unlock()
	r.kickExtraHosts()

	var errs []error
	for host := range old {
		errs = append(errs, r.cfg.Certificates.Drop(ctx, host))
	}
	return errors.Join(errs...)
}

// ExtraHosts returns how every extra host stands, in no order.
func (r *Reconciler) ExtraHosts() []HostState {
	r.mu.Lock()
	defer r.mu.Unlock()
	all := make([]HostState, 0, len(r.extra))
	for _, h := range r.extra {
		all = append(all, h.HostState)
	}
	return all
}

func (r *Reconciler) kickExtraHosts() {
	select {
	case r.kickExtra <- struct{}{}:
	default:
	}
}

// wakeExtra makes h due now. The caller holds r.mu.
func (r *Reconciler) wakeExtra(h *extraHost) {
	h.due, h.woken = time.Time{}, true
	r.kickExtraHosts()
}

// runExtra looks after the extra hosts, one after the other, until ctx ends:
// there are a few, and a look at one takes as long as one fetch.
func (r *Reconciler) runExtra(ctx context.Context) {
	timer := time.NewTimer(0)
	defer timer.Stop()
	for ctx.Err() == nil {
		h, wait := r.nextExtra()
		if h != nil {
			r.runHost(ctx, h)
			continue
		}
		timer.Reset(wait)
		select {
		case <-timer.C:
		case <-r.kickExtra:
		case <-ctx.Done():
		}
	}
}

// nextExtra returns the host that is due the longest, or how long to wait.
func (r *Reconciler) nextExtra() (*extraHost, time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	var first *extraHost
	for _, h := range r.extra {
		if first == nil || h.due.Before(first.due) {
			first = h
		}
	}
	if first == nil {
		return nil, time.Hour
	}
	if wait := first.due.Sub(r.cfg.Now()); wait > 0 {
		return nil, wait
	}
	first.woken = false
	return first, 0
}

// runHost looks at one host and notes how that ended.
func (r *Reconciler) runHost(ctx context.Context, h *extraHost) {
	runCtx, cancel := context.WithTimeout(ctx, runTimeout)
	defer cancel()
	err := r.lookAfter(runCtx, h)
	if ctx.Err() != nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	before := h.HostState
	b := &blocked{err: err}
	h.LastRun = r.cfg.Now()
	h.LastError, h.Remedy, h.Attempts = "", "", 0
	if err != nil {
		b.remedy = remedyOf(err, byItself)
		errors.As(err, &b)
		h.LastError, h.Remedy = b.Error(), b.remedy
		if !b.wait {
			h.Attempts = before.Attempts + 1
		}
	}
	switch {
	case err == nil:
		h.NextRun = h.LastRun.Add(r.jitter(r.cfg.Interval))
	case b.retry != 0:
		h.NextRun = h.LastRun.Add(r.jitter(b.retry))
	default:
		h.NextRun = h.LastRun.Add(r.backoff(h.Attempts))
	}
	if !h.woken {
		h.due = h.NextRun
	}
	if r.extra[h.Host] == h {
		r.tellHost(before, h)
	}
}

// lookAfter makes sure that the host has a certificate, or will have one. It
// returns nil if all is well.
func (r *Reconciler) lookAfter(ctx context.Context, h *extraHost) error {
	certs := r.cfg.Certificates
	status, err := certs.Status(ctx, h.Host)
	switch {
	case err != nil:
		return err
	case status.External:
		return nil
	case status.Valid(r.cfg.Now()) && status.NextTry.IsZero():
		return certs.Request(ctx, h.Host, "") // nobody looks after its renewal
	case status.Valid(r.cfg.Now()):
		return nil
	case status.Own != "":
		return ownExpired(status)
	}
	challenge := ""
	if status.NotAfter.IsZero() && !status.Running { // a host that had a certificate led here
		if challenge, err = r.preflight(ctx, h.Host, status, h.astray); err != nil {
			if h.astray.IsZero() {
				h.astray = r.cfg.Now()
			}
			return err
		}
		if !h.astray.IsZero() && status.Attempts > 0 {
			// As for a policy host: it has led elsewhere, and does no more.
			if err := certs.Drop(ctx, h.Host); err != nil {
				return err
			}
			status = state.CertStatus{Host: h.Host}
		}
		h.astray = time.Time{}
	}
	if err := certs.Request(ctx, h.Host, challenge); err != nil {
		return err
	}
	return notIssued(h.Host, status)
}

// tellHost says how a look at a host ended, if that is news.
func (r *Reconciler) tellHost(before HostState, h *extraHost) {
	e := state.Event{Host: h.Host, Remedy: h.Remedy}
	switch {
	case h.LastError == "" && h.told != "":
		r.log.Info("all is well again", "host", h.Host)
		e.Kind, e.Severity, e.Remedy = state.KindHostRecovered, state.SeverityInfo, ""
		e.Text = "the host has a certificate; it had none because of this: " + h.told
		e.Evidence = map[string]string{"reason": h.told}
		h.told = ""
	case h.LastError == before.LastError || h.LastError == "":
		return
	case h.Attempts == 0:
		r.log.Info("waiting", "host", h.Host, "reason", h.LastError)
		return
	default:
		r.log.Warn("blocked", "host", h.Host, "reason", h.LastError, "remedy", h.Remedy)
		h.told = h.LastError
		e.Kind, e.Severity = state.KindHostBlocked, state.SeverityWarning
		e.Text = "there is no certificate for the host: " + h.LastError
		e.Evidence = map[string]string{"reason": h.LastError}
	}
	r.tell(e)
}
