package resolver

import (
	"context"
	"net"
	"net/netip"

	"github.com/miekg/dns"
)

// dnssec is what a question asks of a recursive resolver about DNSSEC.
type dnssec uint8

const (
	plain     dnssec = iota // nothing
	validated               // to say whether the answer is validated
	unchecked               // not to validate it
)

// newQuestion is a question for a recursive resolver.
func newQuestion(owner string, qtype uint16, want dnssec) *dns.Msg {
	q := new(dns.Msg).SetQuestion(owner, qtype)
	// The AD bit in a question asks for that in the answer, without the signatures
	// (RFC 6840 §5.7); but there are resolvers, systemd-resolved among them, that
	// set it only for who asks for the signatures as well (DO, RFC 3225).
	q.AuthenticatedData = want == validated
	q.CheckingDisabled = want == unchecked
	return q
}

// believed reports whether what a recursive resolver says of DNSSEC is
// believed: the way to it could be tampered with, but on this machine, unless
// the operator says otherwise (RFC 4035 §4.9.3, as trust-ad in resolv.conf).
func (r *Resolver) believed(server string) bool {
	if r.trustAD {
		return true
	}
	host, _, err := net.SplitHostPort(server)
	if err != nil {
		return false
	}
	addr, err := netip.ParseAddr(host)
	return host == "localhost" || err == nil && addr.IsLoopback()
}

// NotValidating is Answer.Unjudged of a resolver that is believed and has nothing
// to say of DNSSEC.
const NotValidating = "does not validate"

// unjudged says why what server says of DNSSEC in m is not believed; "" if it is.
func (r *Resolver) unjudged(ctx context.Context, server string, m *dns.Msg) string {
	switch {
	case !r.believed(server):
		return "is not on this machine, so that what it says of DNSSEC could be tampered with on the way"
	case !m.AuthenticatedData && !r.validates(ctx, server):
		return NotValidating
	}
	return ""
}

// validates reports whether a recursive resolver validates at all: it does if it
// vouches for the root, which is signed. Without that, an answer it does not
// vouch for tells nothing, as most resolvers of home networks and many of
// machines only pass answers on.
func (r *Resolver) validates(ctx context.Context, server string) bool {
	m, err := r.ask(ctx, server, newQuestion(".", dns.TypeSOA, validated))
	return err == nil && m.Rcode == dns.RcodeSuccess && m.AuthenticatedData
}
