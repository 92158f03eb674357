package resolver

import (
	"context"
	"net/netip"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// Alias is one CNAME on the way from a name to its records.
type Alias struct {
	From, To string // without trailing dot
	TTL      time.Duration
}

// Answer is what the DNS says about one name and type, CNAMEs followed. No
// records are an answer, too.
type Answer struct {
	Name    string  // as asked, without trailing dot
	Type    uint16  // as dns.TypeTXT
	Aliases []Alias // in order; none if the name is no alias
	Owner   string  // where the records stand, or would; without trailing dot
	Records []dns.RR
	TTL     time.Duration // of the records
	Missing bool          // Owner does not exist at all (NXDOMAIN)
	Server  string        // who answered, "resolver 127.0.0.53:53"

	// Judged says that every server that was asked is believed about DNSSEC and
	// validates, and Authenticated that they have validated all of the answer (the
	// AD bit, RFC 4035 §3.2.3). Without Judged, Authenticated is false and means
	// nothing.
	Judged, Authenticated bool
	Unjudged              string // why it is not Judged, after the Server's name: "does not validate"
}

// TXT returns the text of each TXT record, its strings joined.
func (a Answer) TXT() []string {
	var txts []string
	for _, rr := range a.Records {
		if t, ok := rr.(*dns.TXT); ok {
			txts = append(txts, JoinTXT(t))
		}
	}
	return txts
}

// Split returns how many of the TXT records consist of several strings.
func (a Answer) Split() int {
	n := 0
	for _, rr := range a.Records {
		if t, ok := rr.(*dns.TXT); ok && len(t.Txt) > 1 {
			n++
		}
	}
	return n
}

// MX returns the mail exchangers, in the order of the answer.
func (a Answer) MX() []MX {
	var mxs []MX
	for _, rr := range a.Records {
		if mx, ok := rr.(*dns.MX); ok {
			mxs = append(mxs, MX{Host: trimDot(mx.Mx), Preference: mx.Preference})
		}
	}
	return mxs
}

// Addrs returns the addresses. An AAAA record may carry a mapped IPv4 address;
// it stays IPv6, for that is what a sender would dial.
func (a Answer) Addrs() []netip.Addr {
	var addrs []netip.Addr
	for _, rr := range a.Records {
		switch rr := rr.(type) {
		case *dns.A:
			if addr, ok := netip.AddrFromSlice(rr.A); ok {
				addrs = append(addrs, addr.Unmap())
			}
		case *dns.AAAA:
			if addr, ok := netip.AddrFromSlice(rr.AAAA); ok {
				addrs = append(addrs, addr)
			}
		}
	}
	return addrs
}

// TLSA returns the TLSA records (RFC 6698).
func (a Answer) TLSA() []*dns.TLSA {
	var all []*dns.TLSA
	for _, rr := range a.Records {
		if t, ok := rr.(*dns.TLSA); ok {
			all = append(all, t)
		}
	}
	return all
}

// ttl is that of the records: the least, as caches would have it.
func ttl(rrs []dns.RR) time.Duration {
	least := rrs[0].Header().Ttl
	for _, rr := range rrs {
		least = min(least, rr.Header().Ttl)
	}
	return time.Duration(least) * time.Second
}

// followAliases walks the CNAMEs in an answer from owner to the last name. It
// is not ok if they go round in a circle.
func followAliases(m *dns.Msg, owner string) (aliases []Alias, last string, ok bool) {
	for range MaxAliases + 1 {
		var next *dns.CNAME
		for _, rr := range m.Answer {
			if c, ok := rr.(*dns.CNAME); ok && strings.EqualFold(c.Hdr.Name, owner) {
				next = c
			}
		}
		if next == nil {
			return aliases, owner, true
		}
		aliases = append(aliases, Alias{From: trimDot(owner), To: trimDot(next.Target), TTL: time.Duration(next.Hdr.Ttl) * time.Second})
		owner = next.Target
	}
	return aliases, owner, false
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

// Circle reports whether the CNAMEs that begin at name lead back to one of them.
// Resolvers answer SERVFAIL to questions about such names; asked for each CNAME
// alone, they show it.
func (r *Resolver) Circle(ctx context.Context, name string) bool {
	owner, seen := dns.CanonicalName(name), make(map[string]bool)
	for range MaxAliases + 1 {
		if seen[owner] {
			return true
		}
		seen[owner] = true
		m, _, err := r.recurse(ctx, owner, dns.TypeCNAME, plain)
		if err != nil {
			return false
		}
		rrs := recordsOf(m, owner, dns.TypeCNAME)
		if len(rrs) == 0 {
			return false
		}
		owner = dns.CanonicalName(rrs[0].(*dns.CNAME).Target)
	}
	return false // long, and perhaps no circle
}
