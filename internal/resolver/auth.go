package resolver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"github.com/miekg/dns"
	"golang.org/x/net/publicsuffix"
	"golang.org/x/sync/errgroup"
)

// AuthServer is one address of one authoritative server of a zone.
type AuthServer struct {
	Name string // host name of the NS record, without trailing dot; may be ""
	Addr netip.AddrPort
}

// String names the server in messages.
func (s AuthServer) String() string {
	if s.Name == "" {
		return "name server " + s.Addr.String()
	}
	return fmt.Sprintf("name server %s (%s)", s.Name, s.Addr)
}

// FindZone returns the apex of the zone that name lies in, with trailing dot.
// It asks for the SOA of the name and of each name above it: only an SOA that
// is owned by the very name asked for counts, because the one in the authority
// section belongs to another zone where an alias leads out of this one. For a
// name in a domain that does not exist the error is ErrNotFound.
func (r *Resolver) FindZone(ctx context.Context, name string) (string, error) {
	full := dns.CanonicalName(name)
	if _, ok := dns.IsDomainName(full); !ok || full == "." {
		return "", &Error{Name: name, Type: "SOA", Err: errors.New("this is not a domain name")}
	}
	registry, _ := publicsuffix.PublicSuffix(trimDot(full))
	missing := "" // the name below owner, if it does not exist
	for off, end := 0, false; !end; off, end = dns.NextLabel(full, off) {
		owner := full[off:]
		m, _, err := r.recurse(ctx, owner, dns.TypeSOA, plain)
		if err != nil {
			return "", fmt.Errorf("find the zone of %s: %w", name, err)
		}
		if len(recordsOf(m, owner, dns.TypeSOA)) > 0 {
			if missing != "" && trimDot(owner) == registry {
				break // every name has a zone above it; a registry's is not the domain's
			}
			return owner, nil
		}
		missing = ""
		if m.Rcode == dns.RcodeNameError {
			missing = owner
		}
	}
	return "", fmt.Errorf("find the zone of %s: %s does not exist in the DNS; is the domain registered, paid for and delegated? (%w)",
		name, trimDot(cmp.Or(missing, full)), ErrNotFound)
}

// PublicOnly returns a Resolver that asks r's recursive resolvers, and of the
// authoritative servers only those at addresses that are public: a zone may name
// any address as its name server's.
func (r *Resolver) PublicOnly(public func(netip.Addr) bool) *Resolver {
	guarded := *r
	guarded.mayAsk = public
	return &guarded
}

// AuthServers returns every address of every name server of zone, at the port
// for authoritative servers. A name server whose host name has no address is
// left out, as a sender's resolver cannot ask it either.
func (r *Resolver) AuthServers(ctx context.Context, zone string) ([]AuthServer, error) {
	a, err := r.find(ctx, zone, dns.TypeNS)
	if err != nil {
		return nil, fmt.Errorf("find the name servers of %s: %w", trimDot(zone), err)
	}
	if len(a.Records) > maxNames {
		return nil, fmt.Errorf("find the name servers of %s: %d are more than anybody asks", trimDot(zone), len(a.Records))
	}
	found := make([][]AuthServer, len(a.Records))
	var g errgroup.Group
	g.SetLimit(maxAsked)
	for i, rr := range a.Records {
		g.Go(func() (err error) {
			found[i], err = r.authAddresses(ctx, trimDot(rr.(*dns.NS).Ns))
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return nil, fmt.Errorf("find the name servers of %s: %w", trimDot(zone), err)
	}
	servers := slices.Concat(found...)
	if len(servers) == 0 && r.mayAsk != nil {
		return nil, fmt.Errorf("find the name servers of %s: none of its %d name servers has an address of the public Internet", trimDot(zone), len(a.Records))
	}
	if len(servers) == 0 {
		return nil, fmt.Errorf("find the name servers of %s: none of its %d name servers has an address; repair the delegation", trimDot(zone), len(a.Records))
	}
	return servers, nil
}

const (
	// maxNames is how many name servers a zone can have: what fits into an answer
	// by UDP is 13, and big zones have no more.
	maxNames = 40
	// maxAddresses is how many addresses of one family of a name server are asked.
	maxAddresses = 8
)

// authAddresses returns the addresses of one name server that may be asked.
func (r *Resolver) authAddresses(ctx context.Context, host string) ([]AuthServer, error) {
	var servers []AuthServer
	for _, network := range []string{"ip4", "ip6"} {
		addrs, err := r.Addrs(ctx, network, host)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, a := range addrs[:min(len(addrs), maxAddresses)] {
			if r.mayAsk == nil || r.mayAsk(a) {
				servers = append(servers, AuthServer{Name: host, Addr: netip.AddrPortFrom(a, r.authPort)})
			}
		}
	}
	return servers, nil
}

// AuthTXT asks one authoritative server for the TXT records of name and
// returns each with its strings joined. A name without TXT records gives an
// empty slice and no error; a CNAME there gives an *AliasError.
func (r *Resolver) AuthTXT(ctx context.Context, server AuthServer, name string) ([]string, error) {
	owner := dns.Fqdn(name)
	fail := func(err error) ([]string, error) {
		return nil, &Error{Name: name, Type: "TXT", Server: server.String(), Err: err}
	}
	q := new(dns.Msg).SetQuestion(owner, dns.TypeTXT)
	q.RecursionDesired = false
	var m *dns.Msg
	var err error
	for range r.attempts {
		m, err = r.ask(ctx, server.Addr.String(), q)
		if err == nil && m.Rcode == dns.RcodeServerFailure {
			err = rcodeError(m.Rcode)
		}
		if err == nil || ctx.Err() != nil || NoRoute(err) {
			break
		}
	}
	switch {
	case err != nil:
		return fail(err)
	case m.Rcode != dns.RcodeSuccess && m.Rcode != dns.RcodeNameError:
		return fail(rcodeError(m.Rcode))
	case !m.Authoritative:
		// A referral, or a cache: what it says is not the zone's own word.
		if cut := delegation(m, owner); cut != "" {
			return fail(fmt.Errorf("does not answer as authoritative and refers to the name servers of %s: either `zone` in the config should be that zone, or the delegation is lame", cut))
		}
		return fail(errors.New("does not answer as authoritative for this zone (lame delegation)"))
	}
	for _, rr := range m.Answer {
		if c, ok := rr.(*dns.CNAME); ok && strings.EqualFold(c.Hdr.Name, owner) {
			return fail(&AliasError{Name: trimDot(owner), Target: trimDot(c.Target)})
		}
	}
	var txts []string
	for _, rr := range recordsOf(m, owner, dns.TypeTXT) {
		txts = append(txts, JoinTXT(rr.(*dns.TXT)))
	}
	return txts, nil
}

// delegation returns the zone that a referral leads to, without trailing dot:
// the owner of its NS records, at or above name (RFC 1034 §4.3.2). It is "" if
// m is no referral, or one to the root, as lame servers give.
func delegation(m *dns.Msg, name string) string {
	for _, rr := range m.Ns {
		if owner := rr.Header().Name; rr.Header().Rrtype == dns.TypeNS && owner != "." && dns.IsSubDomain(owner, name) {
			return trimDot(owner)
		}
	}
	return ""
}
