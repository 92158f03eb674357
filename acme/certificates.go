package acme

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/singleflight"

	"github.com/stshost/stshost/internal/state"
)

// ALPNProto is what a tls-alpn-01 validation negotiates (RFC 8737 §6.2). It
// must be among the NextProtos of the tls.Config that GetCertificate serves.
const ALPNProto = "acme-tls/1"

// Errors of GetCertificate. Returned from tls.Config.GetCertificate they make
// crypto/tls send the alert internal_error. A server that returns (nil, nil)
// for the first two, and has no certificate of its own in its tls.Config,
// sends unrecognized_name instead (RFC 6066 §3).
var (
	// ErrNoServerName says that the client sent no server name.
	ErrNoServerName = errors.New("acme: the client named no server")
	// ErrUnknownHost says that the name is not one of ours.
	ErrUnknownHost = errors.New("acme: not a host of this server")
	// ErrNoCertificate says that the host is ours and has no certificate yet.
	ErrNoCertificate = errors.New("acme: no certificate yet")
	// ErrNoChallenge says that nothing is being validated for the host.
	ErrNoChallenge = errors.New("acme: no challenge is open for this host")
)

// How long answers of the store are believed.
const (
	missingFor = 10 * time.Second // there is no certificate; [Certificates.Forget] ends it sooner
	brokenFor  = time.Second      // the store could not be read
	refreshFor = time.Hour        // another node may have renewed the certificate meanwhile
)

// CertificatesConfig says how Certificates works.
type CertificatesConfig struct {
	Store CertificateStore
	// Own are certificates that are served before those of the store; nil for
	// none.
	Own *Own
	// CacheSize is the number of hosts whose certificate is kept in memory,
	// at about 1.5 kB each; 0 means 10,000.
	CacheSize int
	// Timeout bounds the store read of a handshake; 0 means 1 s.
	Timeout time.Duration
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Certificates answers TLS handshakes and ACME validations for the known
// hosts. It is safe for concurrent use.
type Certificates struct {
	store   CertificateStore
	own     *Own
	timeout time.Duration
	now     func() time.Time

	hosts atomic.Pointer[map[string]struct{}]
	cache *lru.Cache[string, *entry]
	pool  *chainPool
	loads singleflight.Group

	// forgotten counts calls of Forget, so that a read that began before one
	// does not bring the old certificate back.
	forgotten atomic.Uint64
	addMu     sync.Mutex // makes "not forgotten since, so add" one step

	live   liveChallenges
	absent *lru.Cache[string, time.Time] // challenges that the store did not have, until when
}

// entry is what is known of a host's certificate: it, or why there is none.
// After until it is read again.
type entry struct {
	cert  *tls.Certificate
	err   error
	until time.Time
}

// NewCertificates returns the serving side with no host known yet: it refuses
// every handshake until [Certificates.SetHosts].
func NewCertificates(cfg CertificatesConfig) (*Certificates, error) {
	if cfg.Store == nil {
		return nil, errors.New("acme: CertificatesConfig.Store is missing")
	}
	if cfg.CacheSize == 0 {
		cfg.CacheSize = 10_000
	}
	if cfg.Timeout == 0 {
		cfg.Timeout = time.Second
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	cache, err := lru.New[string, *entry](cfg.CacheSize)
	if err != nil {
		return nil, fmt.Errorf("acme: cache of %d certificates: %w", cfg.CacheSize, err)
	}
	absent, err := lru.New[string, time.Time](absentChallenges)
	if err != nil {
		return nil, err
	}
	pool, err := newChainPool()
	if err != nil {
		return nil, err
	}
	return &Certificates{
		store: cfg.Store, own: cfg.Own, timeout: cfg.Timeout, now: cfg.Now,
		cache: cache, pool: pool, absent: absent,
	}, nil
}

// SetHosts makes hosts (lower-case A-labels) the known ones, all at once.
// Certificates keeps the map: it must not be changed afterwards.
func (c *Certificates) SetHosts(hosts map[string]struct{}) {
	c.hosts.Store(&hosts)
	for _, host := range c.cache.Keys() {
		if _, ok := hosts[host]; !ok {
			c.cache.Remove(host)
		}
	}
}

// Known reports whether host is one of the known hosts.
func (c *Certificates) Known(host string) bool {
	hosts := c.hosts.Load()
	if hosts == nil {
		return false
	}
	_, ok := (*hosts)[host]
	return ok
}

// Hosts returns the known hosts. The caller does not change it.
func (c *Certificates) Hosts() map[string]struct{} {
	if hosts := c.hosts.Load(); hosts != nil {
		return *hosts
	}
	return nil
}

// ready reports whether SetHosts was ever called: before that nothing can be
// said of a host, least of all that it was removed.
func (c *Certificates) ready() bool { return c.hosts.Load() != nil }

// Forget drops what is remembered of the host, so that the next handshake
// reads its certificate again.
func (c *Certificates) Forget(host string) {
	c.addMu.Lock()
	defer c.addMu.Unlock()
	c.forgotten.Add(1)
	c.loads.Forget(host)
	c.cache.Remove(host)
}

// GetCertificate is for tls.Config.GetCertificate. It answers known hosts
// only, and the validations of tls-alpn-01 only while one is open.
func (c *Certificates) GetCertificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	if hello.ServerName == "" {
		return nil, ErrNoServerName
	}
	host := strings.ToLower(hello.ServerName)
	if !c.Known(host) {
		return nil, ErrUnknownHost
	}
	ctx := hello.Context()
	if ctx == nil { // a hello that did not come from crypto/tls
		ctx = context.Background()
	}
	// RFC 8737 §3: a validation offers this protocol and no other.
	if len(hello.SupportedProtos) == 1 && hello.SupportedProtos[0] == ALPNProto {
		return c.challengeCert(ctx, host)
	}
	if own := c.own.lookup(host); own != nil {
		return own.cert, nil // even if it has expired: see read
	}

	known, ok := c.cache.Get(host)
	if ok && c.now().Before(known.until) {
		return known.cert, known.err
	}
	loaded := c.loads.DoChan(host, func() (any, error) { return c.load(host), nil })
	if ok && known.cert != nil {
		// It is still good for this handshake; the next one has the new one.
		return known.cert, nil
	}
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	select {
	case res := <-loaded:
		e := res.Val.(*entry)
		return e.cert, e.err
	case <-ctx.Done():
		return nil, fmt.Errorf("acme: the certificate of %s could not be read in time: %w", host, ctx.Err())
	}
}

// load reads the host's certificate from the store into the cache. Its
// deadline is its own: many handshakes may wait for it.
func (c *Certificates) load(host string) *entry {
	began := c.forgotten.Load()
	ctx, cancel := context.WithTimeout(context.Background(), c.timeout)
	defer cancel()
	e := c.read(ctx, host)

	c.addMu.Lock()
	defer c.addMu.Unlock()
	if c.forgotten.Load() != began {
		return e
	}
	if old, ok := c.cache.Peek(host); ok && e.cert == nil && old.cert != nil && !errors.Is(e.err, ErrNoCertificate) {
		// A store that cannot be read is no reason to stop serving.
		e = &entry{cert: old.cert, until: e.until}
	}
	c.cache.Add(host, e)
	return e
}

func (c *Certificates) read(ctx context.Context, host string) *entry {
	cert, err := c.store.Certificate(ctx, host)
	now := c.now()
	if errors.Is(err, state.ErrNotFound) {
		return &entry{err: ErrNoCertificate, until: now.Add(missingFor)}
	}
	if err != nil {
		return &entry{err: fmt.Errorf("acme: certificate of %s: %w", host, err), until: now.Add(brokenFor)}
	}
	key, chain, err := parsePEM(cert.PEM)
	if err == nil {
		_, err = checkPair(host, key, chain)
	}
	if err != nil {
		return &entry{err: fmt.Errorf("acme: the stored certificate of %s is unusable: %w", host, err), until: now.Add(missingFor)}
	}
	// An expired certificate is served all the same: senders refuse it as they
	// would refuse none, and if this machine's clock is wrong they do not.
	return &entry{cert: c.pool.compact(key, chain), until: now.Add(refreshFor)}
}
