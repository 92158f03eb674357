package resolver

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"time"

	"github.com/miekg/dns"
)

// ednsSize is the UDP payload size that is announced: the value DNS flag day
// 2020 settled on, small enough not to be fragmented.
const ednsSize = 1232

// recurse asks the recursive resolvers in turn until one gives an answer that
// counts, NOERROR or NXDOMAIN, and returns that one's address beside it.
func (r *Resolver) recurse(ctx context.Context, owner string, qtype uint16, want dnssec) (*dns.Msg, string, error) {
	q := newQuestion(owner, qtype, want)
	var last, failure error
	for range r.attempts {
		for _, addr := range r.servers {
			m, err := r.ask(ctx, addr, q)
			if err == nil {
				switch m.Rcode {
				case dns.RcodeSuccess, dns.RcodeNameError:
					return m, addr, nil
				}
				err = rcodeError(m.Rcode)
			}
			last = &Error{Name: trimDot(owner), Type: dns.TypeToString[qtype], Server: "resolver " + addr, Err: err}
			if ctx.Err() != nil {
				return nil, addr, last
			}
			if failure == nil && errors.Is(err, ErrServerFailure) {
				failure = last
			}
		}
	}
	return nil, "", cmp.Or(failure, last) // one that found a fault tells more than one that is silent
}

// ask puts one question to one server: by UDP, by TCP if the answer was cut
// off, and without EDNS if the server does not know that. A question that has AD
// set has DO set, too: see newQuestion.
func (r *Resolver) ask(ctx context.Context, addr string, q *dns.Msg) (*dns.Msg, error) {
	q.Extra = nil
	q.SetEdns0(ednsSize, q.AuthenticatedData)
	m, err := r.exchange(ctx, "udp", addr, q)
	if err == nil && m.Rcode == dns.RcodeFormatError && m.IsEdns0() == nil {
		q.Extra = nil // RFC 6891 §7: a server that does not know EDNS answers FORMERR
		m, err = r.exchange(ctx, "udp", addr, q)
	}
	if err == nil && m.Truncated {
		m, err = r.exchange(ctx, "tcp", addr, q)
	}
	return m, err
}

// exchange sends q and returns the answer to it. It ends when ctx does.
func (r *Resolver) exchange(ctx context.Context, network, addr string, q *dns.Msg) (*dns.Msg, error) {
	start := time.Now()
	attempt, cancel := context.WithTimeout(ctx, r.timeout)
	defer cancel()
	client := &dns.Client{Net: network, Timeout: r.timeout, UDPSize: ednsSize}
	q.Id = dns.Id()
	conn, err := client.DialContext(attempt, addr)
	if err != nil {
		return nil, r.explain(ctx, network, start, err)
	}
	defer conn.Close()
	// The library looks at the deadline of a context but not at its end.
	stop := context.AfterFunc(attempt, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	m, _, err := client.ExchangeWithConnContext(attempt, q, conn)
	if err != nil {
		return nil, r.explain(ctx, network, start, err)
	}
	if !m.Response || len(m.Question) > 1 || (len(m.Question) == 1 && !sameQuestion(m.Question[0], q.Question[0])) {
		return nil, errors.New("answered another question than was asked")
	}
	return m, nil
}

func sameQuestion(a, b dns.Question) bool {
	return a.Qtype == b.Qtype && a.Qclass == b.Qclass && strings.EqualFold(a.Name, b.Name)
}

// explain says what a network error means to the reader of a message that
// begins with the server's name.
func (r *Resolver) explain(ctx context.Context, network string, start time.Time, err error) error {
	if op, ok := errors.AsType[*net.OpError](err); ok {
		err = op.Err // without addresses: ours has another port each time
	}
	switch {
	case ctx.Err() != nil && !IsTimeout(ctx.Err()):
		return fmt.Errorf("was not waited for: %w", ctx.Err())
	case IsTimeout(err):
		waited := time.Since(start).Round(100 * time.Millisecond)
		if waited > r.timeout || waited <= 0 {
			waited = r.timeout
		}
		return fmt.Errorf("did not answer within %s over %s: %w", waited, strings.ToUpper(network), err)
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Errorf("refuses connections, nothing listens there: %w", err)
	case NoRoute(err):
		return fmt.Errorf("cannot be reached from this machine, no route: %w", err)
	}
	return fmt.Errorf("could not be asked: %w", err)
}

// errRefused says that a server has nothing to do with a name, or with us.
var errRefused = errors.New("it does not serve this name to us")

// rcodeError says what a response code means.
func rcodeError(rcode int) error {
	name, ok := dns.RcodeToString[rcode]
	if !ok {
		name = fmt.Sprintf("RCODE %d", rcode)
	}
	switch rcode {
	case dns.RcodeServerFailure:
		return fmt.Errorf("answered %s: %w", name, ErrServerFailure)
	case dns.RcodeRefused:
		return fmt.Errorf("answered %s: %w", name, errRefused)
	}
	return fmt.Errorf("answered %s", name)
}

func trimDot(s string) string {
	if s == "." {
		return s
	}
	return strings.TrimSuffix(s, ".")
}
