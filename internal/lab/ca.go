package lab

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"os"
	"sync"
	"time"

	"github.com/letsencrypt/pebble/v2/ca"
	"github.com/letsencrypt/pebble/v2/db"
	"github.com/letsencrypt/pebble/v2/va"
	"github.com/letsencrypt/pebble/v2/wfe"
	"github.com/miekg/dns"
)

// CAConfig configures an ACME CA.
type CAConfig struct {
	// DNS is where the CA resolves the hosts that it validates. Required.
	DNS *DNS
	// HTTPPort and TLSPort are where it connects to for http-01 and
	// tls-alpn-01. Required.
	HTTPPort, TLSPort int
	// Lifetime of the certificates; 0: 90 days.
	Lifetime time.Duration
	// Profiles are the lifetimes of the certificates by profile, in place of
	// Lifetime. An order that names none gets any of them; nil: "default".
	Profiles map[string]time.Duration
	// AccountKeys are the HMAC keys by key identifier of external account
	// bindings (RFC 8555 §7.3.4). If there are any, every account needs one.
	AccountKeys map[string][]byte
	// PollInterval, if not 0, makes issuance fast: an answer about the state
	// of an order or authorization comes after this time and allows to ask
	// again at once. golang.org/x/crypto/acme otherwise waits for 1 s.
	PollInterval time.Duration
	// Root signs the certificate of the directory; nil: a new one.
	Root *Root
	// Log takes what Pebble logs; nil: nothing is logged.
	Log io.Writer
}

// CA is an ACME certification authority (RFC 8555): Pebble behind an HTTPS
// server on 127.0.0.1, with a handler between them that counts and that makes
// faults. It validates for real, and it never reaches beyond this machine as
// long as its DNS does not lead there. It is safe for concurrent use.
//
// Pebble has no end: one idle goroutine of its (va.VAImpl.processTasks) is
// left after Close.
type CA struct {
	cfg     CAConfig
	url     string
	roots   []byte // root of the issued certificates, PEM
	handler http.Handler
	pebble  sync.Mutex // one request at a time: see pass
	memory  *db.MemoryStore
	orders  *orderCounts

	mu         sync.Mutex
	faults     []*CAFault
	validation []*validationFault
	challenges map[string]challenge // by URL path
	trying     map[string]string    // host → type of the challenge being validated

	server *http.Server
	view   *dns.Server // the DNS as the CA sees it
	closed chan struct{}
	wg     sync.WaitGroup
}

// StartCA starts a CA.
func StartCA(cfg CAConfig) (*CA, error) {
	if cfg.DNS == nil || cfg.HTTPPort == 0 || cfg.TLSPort == 0 {
		return nil, errors.New("start the CA: DNS, HTTPPort and TLSPort are required")
	}
	if cfg.Log == nil {
		cfg.Log = io.Discard
	}
	if cfg.Root == nil {
		root, err := NewRoot("Lab Root")
		if err != nil {
			return nil, err
		}
		cfg.Root = root
	}
	cert, err := cfg.Root.Issue(time.Time{}, "127.0.0.1", "localhost")
	if err != nil {
		return nil, err
	}
	c := &CA{
		cfg:        cfg,
		challenges: make(map[string]challenge),
		trying:     make(map[string]string),
		orders:     newOrderCounts(),
		closed:     make(chan struct{}),
	}
	viewAddr, err := c.startView()
	if err != nil {
		return nil, err
	}
	logger := log.New(cfg.Log, "pebble: ", 0)
	if err := c.startPebble(logger, viewAddr); err != nil {
		c.Close()
		return nil, err
	}

	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		c.Close()
		return nil, fmt.Errorf("listen for ACME: %w", err)
	}
	c.url = "https://" + ln.Addr().String() + wfe.DirectoryPath
	c.server = &http.Server{
		Handler:           c,
		TLSConfig:         &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS12},
		ErrorLog:          logger,
		ReadHeaderTimeout: 10 * time.Second,
	}
	c.wg.Go(func() { _ = c.server.ServeTLS(ln, "", "") }) // ends with ErrServerClosed
	return c, nil
}

// pebbleEnv guards the process's environment while Pebble is made.
var pebbleEnv sync.Mutex

// startPebble makes Pebble's parts. Some of Pebble's settings can be had only
// by environment variables, which its constructors read: it would wait up to
// five seconds before a validation, refuse one good nonce in 20, and reuse
// authorizations, so that nothing would be validated. The variables are set
// for just these calls and then put back as they were. (Even at 0 Pebble
// reuses about 1 % of the authorizations that are still valid.)
func (c *CA) startPebble(logger *log.Logger, resolver string) error {
	pebbleEnv.Lock()
	defer pebbleEnv.Unlock()
	for name, value := range map[string]string{
		"PEBBLE_VA_NOSLEEP":      "1",
		"PEBBLE_VA_ALWAYS_VALID": "0",
		"PEBBLE_WFE_NONCEREJECT": "0",
		"PEBBLE_AUTHZREUSE":      "0",
	} {
		old, had := os.LookupEnv(name)
		os.Setenv(name, value)
		defer func() {
			if had {
				os.Setenv(name, old)
			} else {
				os.Unsetenv(name)
			}
		}()
	}
	c.memory = db.NewMemoryStore()
	for kid, key := range c.cfg.AccountKeys {
		if err := c.memory.AddExternalAccountKeyByID(kid, base64.RawURLEncoding.EncodeToString(key)); err != nil {
			return fmt.Errorf("give the CA the account key %s: %w", kid, err)
		}
	}
	profiles := make(map[string]ca.Profile)
	for name, lifetime := range c.cfg.Profiles {
		profiles[name] = ca.Profile{Description: "lives for " + lifetime.String(), ValidityPeriod: uint64(lifetime / time.Second)}
	}
	if len(profiles) == 0 {
		// 0 is Pebble's own default of 90 days.
		profiles["default"] = ca.Profile{Description: "The default profile", ValidityPeriod: uint64(c.cfg.Lifetime / time.Second)}
	}
	issuer := ca.New(logger, c.memory, "", "ecdsa", 0, 1, profiles)
	validator := va.New(logger, c.cfg.HTTPPort, c.cfg.TLSPort, false, resolver, c.memory)
	front := wfe.New(logger, c.memory, validator, issuer, []string{"ca.lab.test"}, false, len(c.cfg.AccountKeys) > 0, 0, 0)
	c.handler = front.Handler()
	c.roots = pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: issuer.GetRootCert(0).DER})
	return nil
}

// startView starts the name server that Pebble asks, over TCP only.
func (c *CA) startView() (string, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", fmt.Errorf("listen for the CA's DNS: %w", err)
	}
	started, failed := make(chan struct{}), make(chan error, 1)
	c.view = &dns.Server{
		Listener:          ln,
		Handler:           dns.HandlerFunc(c.serveView),
		NotifyStartedFunc: func() { close(started) },
	}
	c.wg.Go(func() { failed <- c.view.ActivateAndServe() })
	select {
	case <-started:
		return ln.Addr().String(), nil
	case err := <-failed:
		return "", fmt.Errorf("start the CA's DNS: %w", err)
	}
}

// Close stops the CA. Requests in progress are cut off.
func (c *CA) Close() error {
	c.mu.Lock()
	select {
	case <-c.closed:
		c.mu.Unlock()
		return nil
	default:
		close(c.closed)
	}
	c.mu.Unlock()
	var errs []error
	if c.server != nil {
		errs = append(errs, c.server.Close())
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	if err := c.view.ShutdownContext(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
		errs = append(errs, err)
	}
	c.wg.Wait()
	return errors.Join(errs...)
}

// DirectoryURL is the ACME directory: what a client is configured with.
func (c *CA) DirectoryURL() string { return c.url }

// DirectoryRootsPEM is the root that the directory's own certificate chains
// to. ACME clients have to trust it.
func (c *CA) DirectoryRootsPEM() []byte { return c.cfg.Root.PEM() }

// IssuerRootsPEM is the root that the issued certificates chain to. Whoever
// connects to a host with such a certificate has to trust it.
func (c *CA) IssuerRootsPEM() []byte { return c.roots }

// IssuerPool has the roots of IssuerRootsPEM in it.
func (c *CA) IssuerPool() *x509.CertPool {
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(c.roots)
	return pool
}

// HTTPClient is a new client that trusts the directory.
func (c *CA) HTTPClient() *http.Client {
	return &http.Client{Transport: &http.Transport{
		TLSClientConfig:   &tls.Config{RootCAs: c.cfg.Root.Pool(), MinVersion: tls.VersionTLS12},
		ForceAttemptHTTP2: true,
	}}
}
