// Package resolver asks the DNS the questions stshost has: through recursive
// resolvers, as everybody sees a name, and directly at the authoritative
// servers of a zone, where a change can be seen before caches show it.
//
// Its errors are written for operators: they name the server that was asked,
// the question, and what came back.
package resolver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Config says whom to ask and how long to wait. The zero value asks the
// resolvers of /etc/resolv.conf.
type Config struct {
	Servers  []string      // recursive resolvers, "host:port" or "host"; empty: those of /etc/resolv.conf
	AuthPort int           // port of authoritative servers; 0: 53
	Timeout  time.Duration // per question to one server; 0: 3 s
	Attempts int           // rounds over all servers; 0: 2
	// TrustAD believes what the resolvers say of DNSSEC although they are not on
	// this machine; loopback resolvers are believed without.
	TrustAD bool
}

// Resolver asks questions. It keeps no state between them, so it is safe for
// concurrent use.
type Resolver struct {
	servers  []string
	authPort uint16
	timeout  time.Duration
	attempts int
	trustAD  bool
	mayAsk   func(netip.Addr) bool // which authoritative servers are asked; nil: all
}

// MX is one mail exchanger of a domain.
type MX struct {
	Host       string // without trailing dot; "." is the null MX of RFC 7505
	Preference uint16
}

// resolvConf is where the system lists its resolvers.
const resolvConf = "/etc/resolv.conf"

// New returns a Resolver. It fails when no resolver is configured anywhere or
// an address makes no sense.
func New(cfg Config) (*Resolver, error) {
	r := &Resolver{authPort: 53, timeout: 3 * time.Second, attempts: 2, trustAD: cfg.TrustAD}
	if cfg.AuthPort < 0 || cfg.AuthPort > 65535 {
		return nil, fmt.Errorf("port %d of authoritative servers is not between 1 and 65535", cfg.AuthPort)
	}
	if cfg.AuthPort != 0 {
		r.authPort = uint16(cfg.AuthPort)
	}
	if cfg.Timeout > 0 {
		r.timeout = cfg.Timeout
	}
	if cfg.Attempts > 0 {
		r.attempts = cfg.Attempts
	}
	for _, s := range cfg.Servers {
		addr, err := serverAddress(s)
		if err != nil {
			return nil, err
		}
		r.servers = append(r.servers, addr)
	}
	if len(r.servers) > 0 {
		return r, nil
	}
	system, err := dns.ClientConfigFromFile(resolvConf)
	if err != nil {
		return nil, fmt.Errorf("no resolver is configured and %s cannot be read (%w); name one in [net] resolver", resolvConf, err)
	}
	for _, s := range system.Servers {
		r.servers = append(r.servers, net.JoinHostPort(s, system.Port))
	}
	if len(r.servers) == 0 {
		return nil, fmt.Errorf("no resolver is configured and %s lists none; name one in [net] resolver", resolvConf)
	}
	return r, nil
}

// serverAddress gives an address without a port the port of DNS.
func serverAddress(s string) (string, error) {
	if addr, err := netip.ParseAddr(strings.Trim(s, "[]")); err == nil {
		return netip.AddrPortFrom(addr, 53).String(), nil
	}
	host, port, err := net.SplitHostPort(s)
	if err != nil {
		if !strings.Contains(s, ":") && s != "" {
			return net.JoinHostPort(s, "53"), nil
		}
		return "", fmt.Errorf("resolver %q is not host:port, for example 127.0.0.1:53", s)
	}
	if host == "" || port == "" {
		return "", fmt.Errorf("resolver %q is not host:port, for example 127.0.0.1:53", s)
	}
	return s, nil
}

// TXT returns the TXT records of name as the recursive resolver shows them,
// CNAMEs followed. Each element is one record with its strings joined, in
// their order as bytes (RFC 8461 §3.1 joins without blanks).
func (r *Resolver) TXT(ctx context.Context, name string) ([]string, error) {
	a, err := r.find(ctx, name, dns.TypeTXT)
	return a.TXT(), err
}

// Addrs returns the IPv4 ("ip4") or IPv6 ("ip6") addresses of host, CNAMEs
// followed.
func (r *Resolver) Addrs(ctx context.Context, network, host string) ([]netip.Addr, error) {
	qtype := dns.TypeA
	switch network {
	case "ip4":
	case "ip6":
		qtype = dns.TypeAAAA
	default:
		return nil, fmt.Errorf("address family %q is neither ip4 nor ip6", network)
	}
	a, err := r.find(ctx, host, qtype)
	return a.Addrs(), err
}

// MX returns the mail exchangers of domain in the order of the answer.
func (r *Resolver) MX(ctx context.Context, domain string) ([]MX, error) {
	a, err := r.find(ctx, domain, dns.TypeMX)
	return a.MX(), err
}

// MaxAliases bounds a chain of CNAMEs. Resolvers differ; the widely used follow
// 11 to 16.
const MaxAliases = 12

// find is Look where no records are an error, ErrNotFound, and nothing is asked
// about DNSSEC.
func (r *Resolver) find(ctx context.Context, name string, qtype uint16) (Answer, error) {
	a, err := r.look(ctx, name, qtype, plain)
	if err == nil && len(a.Records) == 0 {
		err = &Error{Name: name, Type: dns.TypeToString[qtype], Server: a.Server, Err: ErrNotFound}
	}
	return a, err
}

// Look asks the recursive resolvers for the records of qtype at the end of the
// CNAME chain that begins at name. The error says that there is no answer; a
// name without such records is an answer without any.
func (r *Resolver) Look(ctx context.Context, name string, qtype uint16) (Answer, error) {
	return r.look(ctx, name, qtype, validated)
}

// LookUnchecked is Look, but asks resolvers not to validate (the CD bit, RFC
// 4035 §3.2.2): an answer that comes only this way fails DNSSEC validation. It
// is not judged.
func (r *Resolver) LookUnchecked(ctx context.Context, name string, qtype uint16) (Answer, error) {
	return r.look(ctx, name, qtype, unchecked)
}

func (r *Resolver) look(ctx context.Context, name string, qtype uint16, want dnssec) (Answer, error) {
	owner := dns.Fqdn(name)
	a := Answer{Name: trimDot(name), Type: qtype, Judged: want == validated, Authenticated: want == validated}
	fail := func(err error) (Answer, error) {
		a.Judged, a.Authenticated = false, false // there is nothing to vouch for
		return a, err
	}
	if _, ok := dns.IsDomainName(owner); !ok {
		return fail(&Error{Name: name, Type: dns.TypeToString[qtype], Err: errors.New("this is not a domain name")})
	}
	for range MaxAliases + 1 {
		m, server, err := r.recurse(ctx, owner, qtype, want)
		if err != nil {
			return fail(err)
		}
		a.Server = "resolver " + server
		if a.Judged {
			a.Unjudged = r.unjudged(ctx, server, m)
			a.Judged = a.Unjudged == ""
		}
		a.Authenticated = a.Authenticated && a.Judged && m.AuthenticatedData
		aliases, end, ok := followAliases(m, owner)
		a.Aliases, a.Owner = append(a.Aliases, aliases...), trimDot(end)
		if !ok {
			break
		}
		a.Records = recordsOf(m, end, qtype)
		if len(a.Records) > 0 {
			a.TTL = ttl(a.Records)
			return a, nil
		}
		if a.Missing = m.Rcode == dns.RcodeNameError; a.Missing || strings.EqualFold(end, owner) {
			return a, nil
		}
		// The server knows only the alias: it is authoritative for one zone
		// and not for its target's. Ask for the target.
		owner = end
	}
	return fail(&Error{Name: name, Type: dns.TypeToString[qtype], Err: fmt.Errorf("%w: more than %d follow one another, perhaps in a circle", ErrAliasLoop, MaxAliases)})
}
