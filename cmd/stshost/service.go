package main

import (
	"context"
	"crypto/rand"
	"log/slog"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/stshost/stshost/acme"
	"github.com/stshost/stshost/check"
	"github.com/stshost/stshost/config"
	"github.com/stshost/stshost/dnsupdate"
	"github.com/stshost/stshost/events"
	"github.com/stshost/stshost/mxwatch"
	"github.com/stshost/stshost/notify"
	"github.com/stshost/stshost/reconcile"
	"github.com/stshost/stshost/rollout"
	"github.com/stshost/stshost/server"
	"github.com/stshost/stshost/store"
)

// service is a running stshost: every part, wired.
type service struct {
	log *slog.Logger
	env environment

	lock       *storeLock
	store      *store.Store
	events     *events.Log
	policies   *server.Policies
	own        *acme.Own
	certs      *acme.Certificates
	issuer     *acme.Issuer
	dns        *dnsupdate.Updater
	reconciler *reconcile.Reconciler
	server     *server.Server
	meters     *meters
	notifier   *notify.Notifier
	rollouts   *rollout.Manager
	mx         *mxwatch.Watch
	examiners  examiners

	// forgetBadLooks has the next look at an MX host take over nothing that was
	// seen of it a moment ago.
	forgetBadLooks func()

	listeners

	started *config.Config // what is read at the start only comes from here

	reloading sync.Mutex // one reload at a time
	refused   bool       // the last one was refused; guarded by reloading
	mu        sync.Mutex
	cfg       *config.Config // the config in force; guarded by mu
}

// environment is what a service takes from its surroundings besides the
// config. The zero value is the real thing.
type environment struct {
	dnsTransport http.RoundTripper // the way to DNS providers that speak HTTP
	now          func() time.Time
	// rolloutNow is the clock of the rollouts and of the ledger that they rest on, for
	// a story of weeks that is told in seconds; nil: now.
	rolloutNow func() time.Time
	// certStore stands between TLS handshakes and the store, to see what they
	// cost it; nil: nothing does.
	certStore func(acme.CertificateStore) acme.CertificateStore
	manager   manager
	// notifyWindow is for how long events are collected before they are told;
	// 0: as package notify does.
	notifyWindow time.Duration
	ownEvery     time.Duration // between looks at the files of own certificates; 0: as acme has it
}

// newService opens the store and the listeners and wires the parts. After an
// error nothing is left open.
func newService(ctx context.Context, cfg *config.Config, log *slog.Logger, env environment) (_ *service, err error) {
	s := &service{log: log, started: cfg, cfg: cfg, env: env, policies: server.NewPolicies(), meters: newMeters(env.now)}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if s.lock, err = lockStore(cfg.Store.Path); err != nil {
		return nil, err
	}
	if err := s.listen(ctx, cfg.Listen); err != nil {
		return nil, err
	}
	if s.store, err = store.Open(ctx, cfg.Store.Path); err != nil {
		return nil, err
	}
	s.store.Observe(s.meters.store)
	s.openEvents(cfg)
	secret, err := s.store.Secret(ctx, "probe")
	if err != nil {
		return nil, err
	}
	world, res, err := outside(cfg)
	if err != nil {
		return nil, err
	}
	if err := s.wireACME(cfg, res); err != nil {
		return nil, err
	}
	if s.dns, err = s.newUpdater(cfg, res); err != nil {
		return nil, err
	}
	if err := s.wireMXWatch(ctx, cfg, world); err != nil {
		return nil, err
	}
	if err := s.wireExaminers(cfg); err != nil {
		return nil, err
	}
	if env.rolloutNow == nil {
		env.rolloutNow = env.now
	}
	probe := probeToken(secret)
	s.reconciler, err = reconcile.New(ctx, reconcile.Config{
		Journal:      s.store,
		Certificates: hostSets{s},
		Publisher:    s.policies,
		World:        world,
		DNS:          s.dns,
		Probe: func(host string) (path, token string) {
			nonce := rand.Text()
			return server.ProbePath + nonce, probe(host, nonce)
		},
		HTTP:     cfg.Listen.HTTP != "",
		Hairpin:  cfg.Prove.Via != "",
		Interval: cfg.Watch.Interval,
		Workers:  cfg.Watch.Workers,
		Adopted:  s.adopted,
		Event:    s.happened,
		Now:      env.rolloutNow,
		Logger:   log,
	})
	if err != nil {
		return nil, err
	}
	if err := s.wireRollouts(ctx, cfg, env.rolloutNow); err != nil {
		return nil, err
	}
	s.dns.SetOwners(owners(cfg, s.rollouts.Left()...))
	if err := s.wireNotify(cfg); err != nil {
		return nil, err
	}
	s.server, err = server.New(server.Config{
		Policies:       s.policies,
		GetCertificate: s.certs.GetCertificate,
		HTTP01:         s.certs.HTTP01,
		Probe:          probe,
		Backend:        s,
		Rollouts:       s.rollouts,
		Logger:         log,
		MaxConnections: cfg.Listen.MaxConnections,
		ProxyProtocol:  cfg.Listen.ProxyProtocol,
		TrustedProxies: cfg.Listen.TrustedProxies,
		HTTPSPort:      cfg.Net.HTTPSPort,
		Registry:       s.newRegistry(),
		Now:            env.now,
		OwnAgent:       check.UserAgent,
		OwnConn:        func(addr net.Addr) bool { return world.Own(addr) || s.examiners.own(addr) },
		Version:        version(),
	})
	if err != nil {
		return nil, err
	}
	if _, err := s.rollouts.SetDomains(ctx, rolloutDomains(cfg), rollout.Abandon{}); err != nil {
		return nil, err
	}
	if err := s.reconciler.SetExtraHosts(ctx, cfg.ACME.ExtraHosts); err != nil {
		return nil, err
	}
	if err := s.mx.SetDomains(ctx, domainNames(cfg)); err != nil {
		return nil, err
	}
	return s, nil
}

// run serves until ctx ends, then finishes what is in flight and closes
// everything. A signal of hup has the config read again; nil is none.
func (s *service) run(ctx context.Context, hup <-chan os.Signal) error {
	defer s.close()
	s.noteStart(ctx)
	g, ctx := errgroup.WithContext(ctx)
	s.serveAll(ctx, g)
	if !s.started.Listen.ProxyTLS() {
		g.Go(func() error { return s.own.Run(ctx) })
		g.Go(func() error { return s.issuer.Run(ctx) })
	}
	g.Go(func() error { return s.reconciler.Run(ctx) })
	g.Go(func() error { return s.rollouts.Run(ctx) })
	g.Go(func() error { return s.mx.Run(ctx) })
	g.Go(func() error { return s.notifier.Run(ctx) })
	g.Go(func() error { return s.reloadOn(ctx, hup) })
	g.Go(func() error { return s.keepInformed(ctx) })
	err := g.Wait()
	s.noteStop(err)
	return err
}

func (s *service) close() {
	s.listeners.close()
	s.closeEvents()
	if s.store != nil {
		if err := s.store.Close(); err != nil {
			s.log.Error("closing the store", "error", err)
		}
	}
	if s.lock != nil {
		s.lock.release()
	}
}

func (s *service) config() *config.Config {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cfg
}
