package acme

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stshost/stshost/internal/state"
)

// IssuerConfig says how an Issuer works. Building one means that the operator
// has accepted the CA's terms of service.
type IssuerConfig struct {
	Store        Store
	Certificates *Certificates // told of challenges and new certificates; knows the hosts

	Directory string // URL of the CA's directory
	Email     string // contact of the account; may be empty
	UserAgent string // e.g. "stshost/1.0"; empty means "stshost"

	// HTTPClient reaches the CA; its Transport has the roots that the
	// directory's certificate must chain to. nil means the system's roots.
	// Its Timeout is per request; 0 means 30 s.
	HTTPClient *http.Client

	// Workers is the number of attempts that run at a time; 0 means 4.
	Workers int
	// OrdersPer3Hours is the account's budget of new orders in any 3 hours;
	// 0 means 300, what Let's Encrypt grants.
	OrdersPer3Hours int
	// HTTP01 says that something answers port 80 with [Certificates.HTTP01].
	HTTP01 bool
	// PollInterval is the time between looks at an order that the CA is
	// working on. 0 means what the CA asks for, or 1 s; labs set it lower.
	PollInterval time.Duration
	// ShutdownGrace is how long open orders may go on after Run's context has
	// ended; 0 means 4 s.
	ShutdownGrace time.Duration

	Logger *slog.Logger     // nil means slog.Default()
	Now    func() time.Time // nil means time.Now

	// OnChange is called after an attempt has changed what Status says of the
	// host. It must return soon. It may be nil.
	OnChange func(host string)
}

// Issuer gets certificates: it works off the queue of jobs in the store. It is
// safe for concurrent use.
type Issuer struct {
	cfg   IssuerConfig
	store Store
	certs *Certificates
	log   *slog.Logger
	now   func() time.Time

	accounts accounts
	pause    pause
	wake     chan struct{} // something may be due

	jobs    sync.Mutex // held while a job is read, changed and written back
	running atomic.Int64
	orders  atomic.Uint64
	issued  atomic.Uint64
	failed  atomic.Uint64
}

// NewIssuer returns an Issuer that does nothing until [Issuer.Run].
func NewIssuer(cfg IssuerConfig) (*Issuer, error) {
	if cfg.Store == nil || cfg.Certificates == nil || cfg.Directory == "" {
		return nil, errors.New("acme: IssuerConfig needs Store, Certificates and Directory")
	}
	var client http.Client
	if cfg.HTTPClient != nil {
		client = *cfg.HTTPClient
	}
	if client.Timeout == 0 {
		client.Timeout = 30 * time.Second
	}
	if client.Transport == nil {
		client.Transport = http.DefaultTransport
	}
	cfg.HTTPClient = &client
	if cfg.UserAgent == "" {
		cfg.UserAgent = "stshost"
	}
	if cfg.Workers <= 0 {
		cfg.Workers = 4
	}
	if cfg.OrdersPer3Hours <= 0 {
		cfg.OrdersPer3Hours = 300
	}
	if cfg.ShutdownGrace == 0 {
		cfg.ShutdownGrace = 4 * time.Second
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.OnChange == nil {
		cfg.OnChange = func(string) {}
	}
	return &Issuer{
		cfg: cfg, store: cfg.Store, certs: cfg.Certificates, log: cfg.Logger, now: cfg.Now,
		accounts: newAccounts(), wake: make(chan struct{}, 1),
	}, nil
}

// Request makes sure that the host's certificate is looked after: if there is
// no valid one, a job for it is due now, unless one waits out a failure or
// runs. challenge is the type that a host without failures tries first; ""
// means tls-alpn-01. Repeating it changes nothing. A host that is not known
// to Certificates is refused with ErrUnknownHost.
func (i *Issuer) Request(ctx context.Context, host, challenge string) error {
	if !i.certs.Known(host) {
		return fmt.Errorf("%w: %s", ErrUnknownHost, host)
	}
	if err := i.request(ctx, host, i.usable(challenge)); err != nil {
		return fmt.Errorf("acme: certificate job of %s: %w", host, err)
	}
	i.wakeUp()
	return nil
}

func (i *Issuer) request(ctx context.Context, host, challenge string) error {
	i.jobs.Lock()
	defer i.jobs.Unlock()
	job, err := i.store.CertJob(ctx, host)
	exists := err == nil
	if err != nil && !errors.Is(err, state.ErrNotFound) {
		return err
	}
	if exists && (job.Running || job.Attempts > 0) {
		return nil
	}
	cert, err := i.store.Certificate(ctx, host)
	if err != nil && !errors.Is(err, state.ErrNotFound) {
		return err
	}
	now := i.now()
	valid := err == nil && !now.Before(cert.NotBefore) && now.Before(cert.NotAfter)
	want := state.CertJob{
		Host: host, Due: now, Challenge: challenge,
		Problem: job.Problem, LastAttempt: job.LastAttempt,
	}
	switch {
	case valid && exists:
		return nil
	case valid: // its renewal job is gone: the host was away for a while
		want.NotAfter = cert.NotAfter
		want.Due = renewalDue(host, cert.NotBefore, cert.NotAfter)
	case exists && job.Challenge == challenge && !job.Due.After(now):
		return nil
	case exists && !job.Due.After(now):
		want.Due = job.Due // keeps its place
	case exists && job.Problem != "":
		return nil // waits for a reason
	}
	return i.store.PutCertJob(ctx, want)
}

// usable returns the challenge type that can be tried.
func (i *Issuer) usable(challenge string) string {
	if challenge == HTTP01 && i.cfg.HTTP01 {
		return HTTP01
	}
	return TLSALPN01
}

// other returns the challenge type to try after one has failed.
func (i *Issuer) other(challenge string) string {
	if challenge == TLSALPN01 {
		return i.usable(HTTP01)
	}
	return TLSALPN01
}

// Status says how the host's certificate stands. While the whole account has
// to wait, a pending job shows that as its reason.
func (i *Issuer) Status(ctx context.Context, host string) (state.CertStatus, error) {
	status := state.CertStatus{Host: host}
	cert, err := i.store.Certificate(ctx, host)
	switch {
	case err == nil:
		status.NotBefore, status.NotAfter = cert.NotBefore, cert.NotAfter
	case !errors.Is(err, state.ErrNotFound):
		return status, fmt.Errorf("acme: status of %s: %w", host, err)
	}
	job, err := i.store.CertJob(ctx, host)
	if errors.Is(err, state.ErrNotFound) {
		return status, nil
	}
	if err != nil {
		return status, fmt.Errorf("acme: status of %s: %w", host, err)
	}
	now := i.now()
	status.Running = job.Running
	status.Pending = job.Running || job.Attempts > 0 || job.Problem != "" || !status.Valid(now)
	status.NextTry, status.Attempts, status.Problem = job.Due, job.Attempts, job.Problem
	if until, reason, ok := i.pause.get(now); ok && !job.Running {
		if until.After(status.NextTry) {
			status.NextTry = until
		}
		if status.Problem == "" && (status.Pending || !job.Due.After(now)) {
			status.Problem = reason
		}
	}
	return status, nil
}

// Stats counts what an Issuer has done since it was made.
type Stats struct {
	Orders  uint64 // newOrder requests sent to the CA
	Issued  uint64 // certificates stored
	Failed  uint64 // attempts that ended without one
	Running int    // attempts running now

	// PausedUntil is until when no attempt starts, and PauseReason why: the
	// CA's Retry-After, the order budget, an outage. Zero when none holds.
	PausedUntil time.Time
	PauseReason string
}

// Stats returns the present counts.
func (i *Issuer) Stats() Stats {
	s := Stats{
		Orders: i.orders.Load(), Issued: i.issued.Load(), Failed: i.failed.Load(),
		Running: int(i.running.Load()),
	}
	if until, reason, ok := i.pause.get(i.now()); ok {
		s.PausedUntil, s.PauseReason = until, reason
	}
	return s
}

func (i *Issuer) wakeUp() {
	select {
	case i.wake <- struct{}{}:
	default:
	}
}
