package main

import (
	"context"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/stshost/stshost/acme"
	"github.com/stshost/stshost/check"
	"github.com/stshost/stshost/config"
	"github.com/stshost/stshost/dnsupdate"
	"github.com/stshost/stshost/internal/resolver"
	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/reconcile"
	"github.com/stshost/stshost/server"
	"github.com/stshost/stshost/store"
)

// service is a running stshost: every part, wired.
type service struct {
	log *slog.Logger
	env environment

	store      *store.Store
	policies   *server.Policies
	certs      *acme.Certificates
	issuer     *acme.Issuer
	dns        *dnsupdate.Updater
	reconciler *reconcile.Reconciler
	server     *server.Server

	https, http, admin net.Listener

	started *config.Config // what is read at the start only comes from here

	reloading sync.Mutex // one reload at a time
	mu        sync.Mutex
	cfg       *config.Config // the config in force; guarded by mu
}

// environment is what a service takes from its surroundings besides the
// config. The zero value is the real thing.
type environment struct {
	dnsTransport http.RoundTripper // the way to DNS providers that speak HTTP
	now          func() time.Time
	// certStore stands between TLS handshakes and the store, to see what they
	// cost it; nil: nothing does.
	certStore func(acme.CertificateStore) acme.CertificateStore
}

// newService opens the store and the listeners and wires the parts. After an
// error nothing is left open.
func newService(ctx context.Context, cfg *config.Config, log *slog.Logger, env environment) (_ *service, err error) {
	s := &service{log: log, started: cfg, cfg: cfg, env: env, policies: server.NewPolicies()}
	defer func() {
		if err != nil {
			s.close()
		}
	}()
	if err := s.listen(ctx, cfg.Listen); err != nil {
		return nil, err
	}
	if s.store, err = store.Open(ctx, cfg.Store.Path); err != nil {
		return nil, err
	}
	secret, err := s.store.Secret(ctx, "probe")
	if err != nil {
		return nil, err
	}
	world, res, err := outside(cfg)
	if err != nil {
		return nil, err
	}
	if err := s.wireACME(cfg); err != nil {
		return nil, err
	}
	s.dns, err = dnsupdate.New(dnsupdate.Config{Accounts: accounts(cfg), Resolver: res, Transport: env.dnsTransport, Logger: log, Now: env.now})
	if err != nil {
		return nil, err
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
		Now:      env.now,
		Logger:   log,
	})
	if err != nil {
		return nil, err
	}
	s.server, err = server.New(server.Config{
		Policies:       s.policies,
		GetCertificate: s.certs.GetCertificate,
		HTTP01:         s.certs.HTTP01,
		Probe:          probe,
		Backend:        s,
		Logger:         log,
		MaxConnections: cfg.Listen.MaxConnections,
		HTTPSPort:      cfg.Net.HTTPSPort,
		Registry:       newRegistry(s.issuer),
		Now:            env.now,
		OwnAgent:       check.UserAgent,
		Version:        version(),
	})
	if err != nil {
		return nil, err
	}
	if _, err := s.reconciler.SetDomains(ctx, wanted(cfg)); err != nil {
		return nil, err
	}
	return s, nil
}

func (s *service) wireACME(cfg *config.Config) error {
	roots, err := readRoots(cfg.ACME.RootsFile)
	if err != nil {
		return err
	}
	var certStore acme.CertificateStore = s.store
	if s.env.certStore != nil {
		certStore = s.env.certStore(certStore)
	}
	s.certs, err = acme.NewCertificates(acme.CertificatesConfig{Store: certStore, Now: s.env.now})
	if err != nil {
		return err
	}
	s.issuer, err = acme.NewIssuer(acme.IssuerConfig{
		Store:           s.store,
		Certificates:    s.certs,
		Directory:       cfg.ACME.Directory,
		Email:           cfg.ACME.Email,
		UserAgent:       "stshost/" + version(),
		HTTPClient:      directoryClient(roots),
		Workers:         cfg.ACME.Workers,
		OrdersPer3Hours: cfg.ACME.OrdersPer3Hours,
		HTTP01:          cfg.Listen.HTTP != "",
		Logger:          s.log,
		Now:             s.env.now,
		OnChange:        func(host string) { s.reconciler.WakeHost(host) },
	})
	return err
}

// directoryClient speaks to the CA's API.
func directoryClient(roots *x509.CertPool) *http.Client {
	return &http.Client{
		Timeout: 30 * time.Second,
		Transport: &http.Transport{
			Proxy:               http.ProxyFromEnvironment,
			TLSClientConfig:     &tls.Config{RootCAs: roots},
			TLSHandshakeTimeout: 10 * time.Second,
			MaxIdleConnsPerHost: 8,
			IdleConnTimeout:     time.Minute,
			ForceAttemptHTTP2:   true,
		},
	}
}

// outside returns our eyes on the world as [net] and [prove] set them.
func outside(cfg *config.Config) (*check.Prober, *resolver.Resolver, error) {
	roots, err := readRoots(cfg.Net.RootsFile)
	if err != nil {
		return nil, nil, err
	}
	res, err := resolver.New(resolver.Config{Servers: cfg.Net.Resolver, AuthPort: cfg.Net.DNSPort})
	if err != nil {
		return nil, nil, err
	}
	return check.New(check.Config{
		Resolver:  res,
		Roots:     roots,
		HTTPSPort: cfg.Net.HTTPSPort,
		HTTPPort:  cfg.Net.HTTPPort,
		Via:       cfg.Prove.Via,
	}), res, nil
}

// readRoots reads a PEM file of CA certificates; "" means the system's.
func readRoots(path string) (*x509.CertPool, error) {
	if path == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read the roots: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no PEM certificate", path)
	}
	return pool, nil
}

// probeToken makes the function behind the token path: an answer that only
// this installation can give for a host and a nonce.
func probeToken(secret []byte) func(host, nonce string) string {
	return func(host, nonce string) string {
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(host + "\n" + nonce))
		return hex.EncodeToString(mac.Sum(nil))
	}
}

// hostSets is the reconciler's view of certificates: one call sets the known
// hosts of both sides that ask for them.
type hostSets struct{ s *service }

func (h hostSets) SetHosts(hosts map[string]struct{}) {
	h.s.policies.SetHosts(hosts)
	h.s.certs.SetHosts(hosts)
}

func (h hostSets) Request(ctx context.Context, host, challenge string) error {
	return h.s.issuer.Request(ctx, host, challenge)
}

func (h hostSets) Status(ctx context.Context, host string) (state.CertStatus, error) {
	return h.s.issuer.Status(ctx, host)
}

func (h hostSets) Drop(ctx context.Context, host string) error {
	return h.s.store.DeleteCertJob(ctx, host)
}

// listen opens the listeners, so that a port in use is known before anything
// else happens.
func (s *service) listen(ctx context.Context, l config.Listen) (err error) {
	if s.https, err = listenTCP("https", l.HTTPS); err != nil {
		return err
	}
	if l.HTTP != "" {
		if s.http, err = listenTCP("http", l.HTTP); err != nil {
			return err
		}
	}
	if path, ok := strings.CutPrefix(l.Admin, "unix:"); ok {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return fmt.Errorf("cannot make the folder of the admin socket: %w", err)
		}
	}
	s.admin, err = server.ListenAdmin(ctx, l.Admin)
	return err
}

func listenTCP(key, addr string) (net.Listener, error) {
	ln, err := net.Listen("tcp", addr)
	if errors.Is(err, os.ErrPermission) {
		return nil, fmt.Errorf("cannot listen on %s (%s in [listen]): %w; give the process CAP_NET_BIND_SERVICE or choose a port above 1023", addr, key, err)
	}
	if err != nil {
		return nil, fmt.Errorf("cannot listen on %s (%s in [listen]): %w", addr, key, err)
	}
	return ln, nil
}

// run serves until ctx ends, then finishes what is in flight and closes
// everything. A signal of hup has the config read again; nil is none.
func (s *service) run(ctx context.Context, hup <-chan os.Signal) error {
	defer s.close()
	g, ctx := errgroup.WithContext(ctx)
	g.Go(func() error { return s.server.ServeHTTPS(ctx, s.https) })
	if s.http != nil {
		g.Go(func() error { return s.server.ServeHTTP(ctx, s.http) })
	}
	g.Go(func() error { return s.server.ServeAdmin(ctx, s.admin) })
	g.Go(func() error { return s.issuer.Run(ctx) })
	g.Go(func() error { return s.reconciler.Run(ctx) })
	g.Go(func() error { return s.reloadOn(ctx, hup) })
	return g.Wait()
}

func (s *service) close() {
	for _, ln := range []net.Listener{s.https, s.http, s.admin} {
		if ln != nil {
			ln.Close()
		}
	}
	if s.store != nil {
		if err := s.store.Close(); err != nil {
			s.log.Error("closing the store", "error", err)
		}
	}
}

func (s *service) config() *config.Config {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.cfg
}

// Ready is nil from the start: what was served before the start is served
// from the first request on.
func (s *service) Ready() error { return nil }
