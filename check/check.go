// Package check looks at a policy domain the way mail senders see it: the
// record in DNS, the policy over HTTPS (RFC 8461 §3.3), and whether the policy
// host leads to this installation at all.
package check

import (
	"context"
	"crypto/x509"
	"errors"
	"net"
	"net/netip"
	"slices"
	"time"

	"github.com/miekg/dns"

	"github.com/stshost/stshost/internal/resolver"
	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
)

// FetchTimeout bounds one fetch over one address. Senders give up after about
// a minute (RFC 8461 §3.3); a policy that needs longer than this will be
// missed by the impatient ones.
const FetchTimeout = 20 * time.Second

// maxAddresses bounds how many addresses of one family are looked at.
const maxAddresses = 4

// DialFunc opens a connection, as net.Dialer.DialContext does.
type DialFunc func(ctx context.Context, network, address string) (net.Conn, error)

// Config tells a Prober where it stands in the world.
type Config struct {
	Resolver *resolver.Resolver
	// Roots verify policy hosts; nil means the system's roots, which is what
	// senders use.
	Roots *x509.CertPool
	// HTTPSPort, HTTPPort and SMTPPort are 443, 80 and 25 everywhere but in labs.
	HTTPSPort, HTTPPort, SMTPPort int
	// SMTPControl are hosts that surely take connections at SMTPPort: asked when
	// no MX host does, to tell whether that port is closed on our side. Nil means
	// hosts of large mail providers; an empty list none.
	SMTPControl []string
	// Reuse has Examine take over what was seen at an address of an MX host a short
	// while ago, for another domain: for many domains, which share hosts.
	Reuse bool
	// Name is ours in EHLO; "" makes it the machine's own.
	Name string
	// PublicOnly refuses to connect to private, loopback, link-local and other
	// addresses that are not of the public Internet, and to ask name servers
	// there: for looks that strangers ask for.
	PublicOnly bool
	// Remember returns what a store remembers of a hosted domain, nil if it is
	// none; nil: there is no store.
	Remember func(ctx context.Context, domain string) (*state.Served, error)
	// Now is the clock that certificates are held against; nil: time.Now.
	Now func() time.Time
	// Via, if set, is the host:port that fetches connect to in place of the
	// policy host's own addresses: for installations that cannot reach their
	// public address (hairpin NAT). SNI, certificate and body are checked all
	// the same.
	Via string
	// ReuseFor is for how long CheckMX takes over what it has seen of an MX host in
	// order, for another domain perhaps; 0: half an hour.
	ReuseFor time.Duration
	// Dial opens connections; nil means a plain net.Dialer.
	Dial DialFunc
	// Route says why an address cannot be tried from here; nil asks the
	// machine's routing table.
	Route func(netip.Addr) error
}

// Prober looks at policy domains from outside. It is safe for concurrent use.
type Prober struct {
	cfg     Config
	conns   *connections
	looks   *recent[SMTPLook]
	control *recent[controlAnswer]
	guests  *guests
}

// New returns a Prober; ports left 0 become the standard ones.
func New(cfg Config) *Prober {
	if cfg.HTTPSPort == 0 {
		cfg.HTTPSPort = 443
	}
	if cfg.HTTPPort == 0 {
		cfg.HTTPPort = 80
	}
	if cfg.SMTPPort == 0 {
		cfg.SMTPPort = 25
	}
	if cfg.ReuseFor <= 0 {
		cfg.ReuseFor = goodFor
	}
	if cfg.SMTPControl == nil {
		cfg.SMTPControl = smtpControls()
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Dial == nil {
		cfg.Dial = (&net.Dialer{Timeout: 10 * time.Second}).DialContext
	}
	if cfg.Route == nil {
		cfg.Route = route
	}
	if cfg.PublicOnly {
		cfg.Resolver = cfg.Resolver.PublicOnly(public)
	}
	conns := &connections{ours: make(map[netip.AddrPort]struct{})}
	cfg.Dial = conns.dialer(cfg.Dial)
	return &Prober{
		cfg: cfg, conns: conns, guests: new(guests),
		looks:   newRecent(cfg.Now, maxReused, func(l SMTPLook) time.Duration { return l.goodFor(cfg.Now(), cfg.ReuseFor) }),
		control: newRecent(cfg.Now, len(families), func(controlAnswer) time.Duration { return controlFor }),
	}
}

// Record returns the TXT records at _mta-sts.<domain> as the resolver answers,
// CNAMEs followed; none is not an error.
func (p *Prober) Record(ctx context.Context, domain string) ([]string, error) {
	txts, err := p.cfg.Resolver.TXT(ctx, mtasts.RecordName(domain))
	if errors.Is(err, resolver.ErrNotFound) {
		return nil, nil
	}
	return txts, err
}

// families are looked at apart: a broken AAAA record hides behind a good A
// record until the day a sender prefers IPv6.
var families = [...]struct {
	name  string
	qtype uint16
}{
	{"IPv4", dns.TypeA},
	{"IPv6", dns.TypeAAAA},
}

// address is one way to a host: an address of one family, or why that family
// was not tried.
type address struct {
	family  string
	addr    netip.Addr
	skipped string
	noRoute bool  // skipped, because this machine has no way there
	err     error // the family's look-up failed
}

// errNoAddress says that a host has neither an IPv4 nor an IPv6 address.
var errNoAddress = errors.New("has no address in DNS (and if it is a CNAME, nor has its target)")

// ways are the ways to a host that the DNS shows.
type ways struct {
	aliases []resolver.Alias
	all     []address
	more    int  // addresses beyond those
	judged  bool // the answers come from resolvers that are believed about DNSSEC,
	secure  bool // which have validated them
}

// err is the reason if neither family could be looked up.
func (w ways) err() error {
	var failed error
	for _, a := range w.all {
		if a.err == nil {
			return nil
		}
		failed = a.err
	}
	return failed
}

// lookUp resolves host for each family. A family without records is left out;
// an address that cannot, or must not, be tried from here is marked skipped.
func (p *Prober) lookUp(ctx context.Context, host string) ways {
	w := ways{judged: true, secure: true}
	for _, f := range families {
		answer, err := p.cfg.Resolver.Look(ctx, host, f.qtype)
		if err != nil {
			w.all = append(w.all, address{family: f.name, err: err})
			w.judged, w.secure = false, false
			continue
		}
		if len(answer.Aliases) > 0 {
			w.aliases = answer.Aliases
		}
		w.judged, w.secure = w.judged && answer.Judged, w.secure && answer.Authenticated
		addrs := answer.Addrs()
		slices.SortFunc(addrs, netip.Addr.Compare) // resolvers rotate; our messages should not
		if len(addrs) > maxAddresses {
			w.more += len(addrs) - maxAddresses
			addrs = addrs[:maxAddresses]
		}
		for _, a := range addrs {
			way := address{family: f.name, addr: a}
			if err := p.untried(a); err != nil {
				way.skipped, way.noRoute = err.Error(), !errors.Is(err, errNotPublic)
			}
			w.all = append(w.all, way)
		}
	}
	return w
}

// addresses is lookUp where no address is an error.
func (p *Prober) addresses(ctx context.Context, host string) ([]address, error) {
	w := p.lookUp(ctx, host)
	if len(w.all) == 0 {
		return nil, &HostError{Host: host, Err: errNoAddress}
	}
	return w.all, nil
}

// untried says why an address is not tried; nil if it is.
func (p *Prober) untried(addr netip.Addr) error {
	if p.cfg.PublicOnly && !public(addr) {
		return errNotPublic
	}
	return p.cfg.Route(addr)
}

// route asks the routing table: connecting a UDP socket sends nothing.
func route(addr netip.Addr) error {
	conn, err := net.Dial("udp", netip.AddrPortFrom(addr, 9).String())
	if err == nil {
		from, parseErr := netip.ParseAddrPort(conn.LocalAddr().String())
		conn.Close()
		if parseErr == nil && addr.Is6() && public(addr) && !public(from.Addr()) {
			return errors.New("this machine has no public IPv6 address")
		}
		return nil
	}
	if resolver.NoRoute(err) {
		family := "IPv4"
		if addr.Is6() {
			family = "IPv6"
		}
		return errors.New("no " + family + " route from this machine")
	}
	return nil // the fetch will tell
}

// HostError is what is wrong with a policy host as a whole.
type HostError struct {
	Host string
	Err  error
}

func (e *HostError) Error() string { return e.Host + " " + e.Err.Error() }
func (e *HostError) Unwrap() error { return e.Err }

// NoAddress reports whether the host has no address in DNS at all.
func (e *HostError) NoAddress() bool { return errors.Is(e.Err, errNoAddress) }
