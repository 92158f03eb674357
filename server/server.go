package server

import (
	"context"
	"crypto/tls"
	"log/slog"
	"net"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Config is what a Server is made of.
type Config struct {
	// Policies is what HTTPS serves. Required.
	Policies *Policies
	// Known reports whether a host, in lower-case A-labels, is one of our policy
	// hosts. It is asked for every request and must be cheap. nil: Policies.Known.
	Known func(host string) bool
	// GetCertificate finds the certificate of a known host, or the challenge
	// certificate for a tls-alpn-01 validation. An error ends the handshake with
	// an alert. Required for ServeHTTPS.
	GetCertificate func(*tls.ClientHelloInfo) (*tls.Certificate, error)
	// HTTP01 finds the key authorization of a live http-01 challenge (RFC 8555
	// §8.3). nil: there are none.
	HTTP01 func(ctx context.Context, host, token string) (keyAuth string, ok bool)
	// Probe answers the token path for a known host, so that this installation
	// can recognise itself from outside. nil: the path is not found.
	Probe func(host, nonce string) string
	// Backend is behind the admin listener. Required for ServeAdmin.
	Backend Backend
	// Logger; nil discards.
	Logger *slog.Logger
	// MaxConnections is how many connections each of HTTPS and HTTP holds open at
	// once; at the limit the one that has idled longest is closed for a new one.
	// 0: 10000.
	MaxConnections int
	// HTTPSPort is where redirects from plain HTTP lead. 0: 443.
	HTTPSPort int
	// Registry takes the metrics of this server and is what /metrics shows.
	// nil: one of its own.
	Registry *prometheus.Registry
	// Now is the clock; nil: time.Now.
	Now func() time.Time
	// Version is shown by the API and the status page.
	Version string
}

// Server serves policies, the plain HTTP port and the admin interface.
type Server struct {
	cfg Config
}

// New checks cfg and returns a Server that listens nowhere yet.
func New(cfg Config) (*Server, error) { return &Server{cfg: cfg}, nil }

// ServeHTTPS serves policies on ln until ctx ends; then it finishes the requests
// in flight, for 8 seconds at most, and returns nil. It closes ln.
func (s *Server) ServeHTTPS(ctx context.Context, ln net.Listener) error { return nil }

// ServeHTTP serves challenges, the token and redirects on ln. It ends as
// ServeHTTPS does.
func (s *Server) ServeHTTP(ctx context.Context, ln net.Listener) error { return nil }

// ServeAdmin serves the API, status pages, health and metrics on ln, which is a
// unix socket or a TCP listener on loopback. It ends as ServeHTTPS does.
func (s *Server) ServeAdmin(ctx context.Context, ln net.Listener) error { return nil }

// Fetches returns what senders did at a policy host since the server started.
func (s *Server) Fetches(host string) Fetches { return Fetches{Host: host} }
