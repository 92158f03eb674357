package acme

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/stshost/stshost/internal/state"
)

// IssuerConfig says how an Issuer works. Building one means that the operator
// has accepted the CA's terms of service.
type IssuerConfig struct {
	Store        Store
	Certificates *Certificates // told of challenges and new certificates; knows the hosts

	// CAs are the certification authorities, the first one first. The others
	// are asked only while those before them are out of order or limit our
	// account.
	CAs       []CA
	UserAgent string // e.g. "stshost/1.0"; empty means "stshost"

	// Workers is the number of attempts that run at a time; 0 means 4.
	Workers int
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

	// Permit is asked in every attempt before an order is sent whether the CA
	// may issue for the host by this challenge type, e.g. for a look at the CAA
	// records (RFC 8659). Its error is told as the host's problem, no order is
	// spent, and the host waits for ten minutes at most. An error with a method
	// OtherChallenge() bool that is true has it asked for the other type, too.
	// It must end soon after ctx. nil permits everything.
	Permit func(ctx context.Context, host string, ca CAIdentity, challenge string) error
	// Event is told what happens to certificates. It returns at once. It may
	// be nil.
	Event func(state.Event)

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

	cas     []*authority  // in the order of the config
	stalled pause         // our store cannot be used
	wake    chan struct{} // something may be due
	looked  time.Time     // what the wall clock showed last; the scheduler's

	jobs    sync.Mutex // held while a job is read, changed and written back
	running atomic.Int64
	told    *lru.Cache[string, told] // failures, by host
	sound   *soundness
	again   []again // of TryAgain, the last three hours; guarded by jobs

	usingMu sync.Mutex
	using   *authority // where orders go, as was told; guarded by usingMu
}

// NewIssuer returns an Issuer that does nothing until [Issuer.Run].
func NewIssuer(cfg IssuerConfig) (*Issuer, error) {
	if cfg.Store == nil || cfg.Certificates == nil {
		return nil, errors.New("acme: IssuerConfig needs Store and Certificates")
	}
	if cfg.UserAgent == "" {
		cfg.UserAgent = "stshost"
	}
	if cfg.Workers <= 0 {
		cfg.Workers = 4
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
	if cfg.Permit == nil {
		cfg.Permit = func(context.Context, string, CAIdentity, string) error { return nil }
	}
	if cfg.Event == nil {
		cfg.Event = func(state.Event) {}
	}
	cas, err := newAuthorities(&cfg)
	if err != nil {
		return nil, err
	}
	told, err := newTold()
	if err != nil {
		return nil, err
	}
	sound, err := newSoundness()
	if err != nil {
		return nil, err
	}
	return &Issuer{
		cfg: cfg, store: cfg.Store, certs: cfg.Certificates, log: cfg.Logger, now: cfg.Now,
		cas: cas, using: cas[0], told: told, sound: sound, wake: make(chan struct{}, 1),
	}, nil
}

// Request makes sure that the host's certificate is looked after: if there is
// no valid one, a job for it is due now, unless one waits out a failure or
// runs. challenge is the type that a host without failures tries first; ""
// means tls-alpn-01. Repeating it changes nothing. A host that is not known
// to Certificates is refused with ErrUnknownHost; one that has a certificate of
// the operator's own is left alone.
func (i *Issuer) Request(ctx context.Context, host, challenge string) error {
	if !i.certs.Known(host) {
		return fmt.Errorf("%w: %s", ErrUnknownHost, host)
	}
	request := i.request
	if i.certs.own.Covers(host) {
		request = i.leaveAlone
	}
	if err := request(ctx, host, i.usable(challenge)); err != nil {
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
	cert, damage, err := i.stored(ctx, host)
	if err != nil && !errors.Is(err, state.ErrNotFound) {
		return err
	}
	now := i.now()
	valid := err == nil && damage == nil && now.Before(cert.NotAfter)
	want := state.CertJob{
		Host: host, Due: now, Challenge: challenge,
		Problem: job.Problem, LastAttempt: job.LastAttempt,
	}
	if damage != nil && want.Problem == "" {
		want.Problem = unusable(damage)
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
	if status, ok := i.certs.own.status(host); ok {
		return status, nil
	}
	status := state.CertStatus{Host: host}
	cert, damage, err := i.stored(ctx, host)
	switch {
	case damage != nil:
		status.Problem = unusable(damage)
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
	status.NextTry, status.Attempts = job.Due, job.Attempts
	if job.Problem != "" {
		status.Problem = job.Problem
	}
	if until, reason, ok := i.held(job, now); ok && !job.Running {
		if until.After(status.NextTry) {
			status.NextTry = until
		}
		if status.Problem == "" && (status.Pending || !job.Due.After(now)) {
			status.Problem = reason
		}
	}
	for _, ca := range i.cas {
		status.Remedy = cmp.Or(status.Remedy, ca.pause.remedyFor(status.Problem))
	}
	return status, nil
}

func (i *Issuer) wakeUp() {
	select {
	case i.wake <- struct{}{}:
	default:
	}
}
