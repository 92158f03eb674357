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
}

// Resolver asks questions. It keeps no state between them, so it is safe for
// concurrent use.
type Resolver struct {
	servers  []string
	authPort uint16
	timeout  time.Duration
	attempts int
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
	r := &Resolver{authPort: 53, timeout: 3 * time.Second, attempts: 2}
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
	rrs, err := r.lookup(ctx, name, dns.TypeTXT)
	if err != nil {
		return nil, err
	}
	var txts []string
	for _, rr := range rrs {
		txts = append(txts, JoinTXT(rr.(*dns.TXT)))
	}
	return txts, nil
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
	rrs, err := r.lookup(ctx, host, qtype)
	if err != nil {
		return nil, err
	}
	var addrs []netip.Addr
	for _, rr := range rrs {
		var ip net.IP
		switch rr := rr.(type) {
		case *dns.A:
			ip = rr.A
		case *dns.AAAA:
			ip = rr.AAAA
		}
		// An AAAA may carry a mapped IPv4 address; it is kept as IPv6, for
		// that is what a sender would dial.
		addr, ok := netip.AddrFromSlice(ip)
		if qtype == dns.TypeA {
			addr = addr.Unmap()
		}
		if ok {
			addrs = append(addrs, addr)
		}
	}
	return addrs, nil
}

// MX returns the mail exchangers of domain in the order of the answer.
func (r *Resolver) MX(ctx context.Context, domain string) ([]MX, error) {
	rrs, err := r.lookup(ctx, domain, dns.TypeMX)
	if err != nil {
		return nil, err
	}
	var mxs []MX
	for _, rr := range rrs {
		mx := rr.(*dns.MX)
		host := mx.Mx
		if host != "." {
			host = strings.TrimSuffix(host, ".")
		}
		mxs = append(mxs, MX{Host: host, Preference: mx.Preference})
	}
	return mxs, nil
}

// maxAliases bounds a chain of CNAMEs.
const maxAliases = 8

// lookup asks the recursive resolvers and returns the records of qtype at the
// end of the CNAME chain, at least one of them.
func (r *Resolver) lookup(ctx context.Context, name string, qtype uint16) ([]dns.RR, error) {
	owner := dns.Fqdn(name)
	if _, ok := dns.IsDomainName(owner); !ok {
		return nil, &Error{Name: name, Type: dns.TypeToString[qtype], Err: errors.New("this is not a domain name")}
	}
	for range maxAliases {
		m, server, err := r.recurse(ctx, owner, qtype)
		if err != nil {
			return nil, err
		}
		end, ok := followAliases(m, owner)
		if !ok {
			break
		}
		rrs := recordsOf(m, end, qtype)
		if len(rrs) > 0 {
			return rrs, nil
		}
		if m.Rcode == dns.RcodeNameError || strings.EqualFold(end, owner) {
			return nil, &Error{Name: name, Type: dns.TypeToString[qtype], Server: server, Err: ErrNotFound}
		}
		// The server knows only the alias: it is authoritative for one zone
		// and not for its target's. Ask for the target.
		owner = end
	}
	return nil, &Error{Name: name, Type: dns.TypeToString[qtype], Err: fmt.Errorf("%d CNAMEs or more follow one another, perhaps in a circle", maxAliases)}
}

// followAliases walks the CNAMEs in an answer from owner to the last name. It
// is not ok if they go round in a circle.
func followAliases(m *dns.Msg, owner string) (last string, ok bool) {
	for range maxAliases {
		next := ""
		for _, rr := range m.Answer {
			if c, ok := rr.(*dns.CNAME); ok && strings.EqualFold(c.Hdr.Name, owner) {
				next = c.Target
			}
		}
		if next == "" {
			return owner, true
		}
		owner = next
	}
	return owner, false
}

// recordsOf returns the records of one name and type in an answer.
func recordsOf(m *dns.Msg, owner string, qtype uint16) []dns.RR {
	var rrs []dns.RR
	for _, rr := range m.Answer {
		if rr.Header().Rrtype == qtype && strings.EqualFold(rr.Header().Name, owner) {
			rrs = append(rrs, rr)
		}
	}
	return rrs
}
