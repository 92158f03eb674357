package server

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/stshost/stshost/templates"
)

// Config is what a Server is made of.
type Config struct {
	// Policies is what HTTPS serves. Required.
	Policies *Policies
	// Known reports whether a host, in lower-case A-labels, is one of our policy
	// hosts. It is asked for every request and must be cheap. nil: Policies.Known.
	Known func(host string) bool
	// GetCertificate finds the certificate of a known host, or the challenge
	// certificate for a tls-alpn-01 validation; it is asked for known hosts only.
	// An error ends the handshake with an alert. Required for ServeHTTPS.
	GetCertificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// HTTP01 finds the key authorization of a live http-01 challenge (RFC 8555
	// §8.3). It is asked for known hosts only. nil: there are none.
	HTTP01 func(ctx context.Context, host, token string) (keyAuth string, ok bool)
	// Probe answers the token path, /.well-known/stshost/<nonce>, for a known
	// host, so that this installation can recognise itself from outside. nil: the
	// path is not found.
	Probe func(host, nonce string) string
	// Backend is behind the admin listener. Required for ServeAdmin.
	Backend Backend
	// Rollouts is behind the operations on rollouts there. nil: there are none.
	Rollouts Rollouts
	// Logger; nil discards.
	Logger *slog.Logger
	// MaxConnections is how many connections each listener of HTTPS and HTTP holds
	// open at once; at the limit the one that has idled longest is closed for a
	// new one. 0: 10000.
	MaxConnections int
	// ProxyProtocol lists the balancers whose connections to HTTPS and HTTP must
	// begin with a PROXY protocol header, version 1 or 2, and are closed without.
	// From elsewhere such a header is not believed. Empty: there are none.
	ProxyProtocol []netip.Prefix
	// TrustedProxies lists the reverse proxies that ServeProxied answers, and whose
	// X-Forwarded-… and Forwarded headers it believes. Empty: nobody is answered.
	TrustedProxies []netip.Prefix
	// HTTPSPort is where redirects from plain HTTP lead. 0: 443.
	HTTPSPort int
	// Registry takes the metrics of this server and is what /metrics shows.
	// nil: one of its own.
	Registry *prometheus.Registry
	// Now is the clock; nil: time.Now.
	Now func() time.Time
	// OwnAgent is the User-Agent of our own looks at the policies, which are not
	// counted among the fetches of senders. Empty: all count.
	OwnAgent string
	// OwnConn reports whether a connection that comes from this address is one of
	// our own looks: if its handshake fails no client's has. nil: none is.
	OwnConn func(net.Addr) bool
	// Version is shown by the API and the status page.
	Version string
}

// Server serves policies, the plain HTTP port and the admin interface.
type Server struct {
	cfg       Config
	log       *slog.Logger
	now       func() time.Time
	known     func(host string) bool
	metrics   *metrics
	fetches   *fetchLog
	templates *templates.Set
	checks    chan struct{} // a place for each examination under way

	// What strangers can bring about is logged once in a while.
	headerless, untrusted, unmarked sparse

	csp string

	// Header values of every policy response, made once. Never changed.
	textPlain, noCache, nosniff []string
}

// New checks cfg and returns a Server that listens nowhere yet.
func New(cfg Config) (*Server, error) {
	if cfg.Policies == nil {
		return nil, errors.New("server: Config.Policies is missing")
	}
	if cfg.MaxConnections < 0 {
		return nil, fmt.Errorf("server: MaxConnections is %d; it must be positive, or 0 for the default", cfg.MaxConnections)
	}
	if cfg.MaxConnections == 0 {
		cfg.MaxConnections = 10000
	}
	if cfg.HTTPSPort == 0 {
		cfg.HTTPSPort = 443
	}
	if cfg.Registry == nil {
		cfg.Registry = prometheus.NewRegistry()
	}
	s := &Server{
		cfg: cfg, log: cfg.Logger, now: cfg.Now, known: cfg.Known, checks: make(chan struct{}, maxChecks),
		textPlain: []string{"text/plain; charset=utf-8"},
		noCache:   []string{"no-cache, max-age=0"},
		nosniff:   []string{"nosniff"},
	}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.known == nil {
		s.known = cfg.Policies.Known
	}
	s.fetches = newFetchLog(s.known, s.now())
	var err error
	if s.templates, err = templates.Parse(); err != nil {
		return nil, err
	}
	s.csp = contentSecurityPolicy(s.templates)
	if s.metrics, err = newMetrics(cfg.Registry); err != nil {
		return nil, err
	}
	return s, nil
}

// Fetches returns what senders did at a policy host since the server started.
func (s *Server) Fetches(host string) Fetches { return s.fetches.get(host) }

// ServeHTTPS serves policies on ln until ctx ends; then it finishes the requests
// in flight, for 8 seconds at most, and returns nil. It closes ln.
func (s *Server) ServeHTTPS(ctx context.Context, ln net.Listener) error {
	if s.cfg.GetCertificate == nil {
		ln.Close()
		return errors.New("server: Config.GetCertificate is missing")
	}
	limit := s.limited(ln, "https")
	config := s.tlsConfig()
	srv := s.publicServer("https", s.httpsHandler())
	srv.TLSConfig = config.Clone() // tells http.Server that h2 may come
	ready := newReadyListener(limit, func(ctx context.Context, c *conn) net.Conn {
		if !s.readHeader(ctx, c, "https") {
			return nil
		}
		return s.handshake(ctx, c, config)
	})
	defer ready.wait()
	return s.run(ctx, srv, ready, limit)
}

// ServeHTTP serves challenges, the token and redirects on ln. It ends as
// ServeHTTPS does.
func (s *Server) ServeHTTP(ctx context.Context, ln net.Listener) error {
	limit := s.limited(ln, "http")
	srv := s.publicServer("http", s.plainHandler())
	if limit.balancer == nil {
		return s.run(ctx, srv, limit, limit)
	}
	ready := newReadyListener(limit, func(ctx context.Context, c *conn) net.Conn {
		if !s.readHeader(ctx, c, "http") {
			return nil
		}
		return c
	})
	defer ready.wait()
	return s.run(ctx, srv, ready, limit)
}

// ServeAdmin serves the API, status pages, health and metrics on ln, which is a
// unix socket or a TCP listener on loopback. It ends as ServeHTTPS does.
//
// Whoever can connect may read everything and reload: on a unix socket the
// permissions of the file decide, on TCP every user of the machine can. Requests
// that a browser makes for some web site are refused.
func (s *Server) ServeAdmin(ctx context.Context, ln net.Listener) error {
	if s.cfg.Backend == nil {
		ln.Close()
		return errors.New("server: Config.Backend is missing")
	}
	handler, err := s.adminHandler(ctx, ln.Addr().Network() != "unix")
	if err != nil {
		ln.Close()
		return err
	}
	limit := s.limited(ln, "admin")
	srv := &http.Server{
		Handler:           handler,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      adminTimeout,
		IdleTimeout:       time.Minute,
		MaxHeaderBytes:    16 << 10,
		ConnState:         track,
		ErrorLog:          s.errorLog("admin"),
	}
	return s.run(ctx, srv, limit, limit)
}

func (s *Server) limited(ln net.Listener, name string) *connLimit {
	open, evicted := s.metrics.connections.WithLabelValues(name), s.metrics.evictions.WithLabelValues(name)
	s.metrics.limits.WithLabelValues(name).Set(float64(s.cfg.MaxConnections))
	limit := newConnLimit(ln, s.cfg.MaxConnections, func(delta int) { open.Add(float64(delta)) }, evicted.Inc)
	limit.evictBusy = name != "admin" // where a request may take minutes
	if name == "https" || name == "http" {
		s.metrics.headerless.WithLabelValues(name) // from 0 on
	}
	if (name == "https" || name == "http") && len(s.cfg.ProxyProtocol) > 0 {
		limit.balancer = func(peer net.Addr) bool { return peer != nil && trusted(s.cfg.ProxyProtocol, addrOf(peer.String())) }
	}
	return limit
}

// publicServer has the limits of a port that anybody can reach: everything it
// answers is small, and everything it is asked fits into a few lines.
func (s *Server) publicServer(name string, h http.Handler) *http.Server {
	return &http.Server{
		Handler:           h,
		ReadHeaderTimeout: 5 * time.Second,
		ReadTimeout:       10 * time.Second,
		WriteTimeout:      15 * time.Second,
		IdleTimeout:       30 * time.Second,
		MaxHeaderBytes:    8 << 10,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: 16, WriteByteTimeout: 15 * time.Second},
		ConnState:         track,
		ErrorLog:          s.errorLog(name),
	}
}
