package lab

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/smtp"
	"strconv"
	"strings"
	"sync"
	"time"

	mtasts "github.com/foxcpp/go-mtasts"
)

// Outcome is how a message was delivered, if it was.
type Outcome string

// The outcomes.
const (
	VerifiedTLS   Outcome = "verified TLS"   // to a host whose certificate was verified
	UnverifiedTLS Outcome = "unverified TLS" // to whoever answered
	InTheClear    Outcome = "in the clear"   // readable for everybody on the path
	Refused       Outcome = "refused"        // not delivered: the sender keeps it
)

// Delivery is what became of a message.
type Delivery struct {
	Outcome Outcome
	// Host is the MX host that took the message; empty if none did.
	Host string
	// Mode is that of the policy that was applied; empty: there was none.
	Mode string
	// Reason is what was in the way of verified TLS, or of the delivery, at each
	// host that was tried; empty if nothing was, or nobody looked.
	Reason string
}

// String is the delivery in one sentence, without a full stop.
func (d Delivery) String() string {
	var s string
	switch d.Outcome {
	case Refused:
		s = "not delivered"
	case InTheClear:
		s = "delivered to " + d.Host + " in the clear"
	default:
		s = "delivered to " + d.Host + " over " + string(d.Outcome)
	}
	if d.Mode != "" {
		s += " (policy mode " + d.Mode + ")"
	}
	if d.Reason != "" {
		s += ": " + d.Reason
	}
	return s
}

// Sender is a sending mail server. With Policies it honours MTA-STS (RFC 8461
// §5): in mode enforce it delivers only to MX hosts that the policy names, over
// TLS with a certificate for the host's name, and keeps the message otherwise;
// in mode testing it looks at the same and delivers anyway. Without Policies,
// and to domains without a policy, it is opportunistic (RFC 7435): STARTTLS if
// it is offered, nothing verified, else in the clear.
//
// It is safe for concurrent use as long as its fields stay as they are.
type Sender struct {
	// DNS is the host:port of the name server.
	DNS string
	// SMTPPort is where MX hosts are connected to; 0: 25.
	SMTPPort int
	// Roots that the certificates of MX hosts have to chain to; nil: the system's.
	Roots *x509.CertPool
	// Policies reads the policies. What it has read is kept for its max_age, for
	// the case that no policy can be had later (RFC 8461 §5.1). nil: the sender
	// knows nothing of MTA-STS.
	Policies *Reader
	// Dial is the route to the MX hosts; nil: the direct one.
	Dial DialFunc

	makeKept sync.Once
	kept     mtasts.Store
}

// OpportunisticSender is a new sender in the lab that knows nothing of MTA-STS.
func (l *Lab) OpportunisticSender() *Sender {
	return &Sender{DNS: l.DNS.Addr(), SMTPPort: l.SMTPPort, Roots: l.Roots()}
}

// STSSender is a new sender in the lab that honours MTA-STS and has no policy yet.
func (l *Lab) STSSender() *Sender {
	s := l.OpportunisticSender()
	s.Policies = l.Reader
	return s
}

// Send sends a message, headers and body, to one recipient, by the MX records
// of its domain. The error says that there was nowhere to send it to; what a
// sender would try again later is a Delivery of outcome Refused.
func (s *Sender) Send(ctx context.Context, from, to string, message []byte) (Delivery, error) {
	_, domain, ok := strings.Cut(to, "@")
	if !ok {
		return Delivery{}, fmt.Errorf("send to %q: it has no domain", to)
	}
	resolver := newResolver(s.DNS)
	hosts, err := resolver.LookupMX(ctx, domain+".") // in order of preference
	if err != nil {
		return Delivery{}, fmt.Errorf("send to %s: %w", to, err)
	}
	policy, reasons := s.policy(ctx, domain)
	d := Delivery{Outcome: Refused, Mode: string(policy.Mode)}
	for _, mx := range hosts {
		host := strings.TrimSuffix(mx.Host, ".")
		t := try{sender: s, resolver: resolver, host: host, policy: policy, from: from, to: to, message: message}
		outcome, reason := t.run(ctx)
		if reason != "" {
			reasons = append(reasons, reason)
		}
		if outcome != Refused {
			d.Outcome, d.Host = outcome, host
			break
		}
	}
	d.Reason = strings.Join(reasons, "; ")
	return d, nil
}

// policy is what the sender goes by, with no mode if there is none, and why.
func (s *Sender) policy(ctx context.Context, domain string) (mtasts.Policy, []string) {
	if s.Policies == nil {
		return mtasts.Policy{}, nil
	}
	s.makeKept.Do(func() { s.kept = mtasts.NewRAMCache().Store })
	p, _, err := s.Policies.get(ctx, domain, s.kept)
	if err != nil {
		return mtasts.Policy{}, []string{"no policy: " + err.Error()}
	}
	return *p, nil
}

// try is the attempt to deliver a message to one MX host.
type try struct {
	sender   *Sender
	resolver *net.Resolver
	host     string
	policy   mtasts.Policy
	from, to string
	message  []byte
}

// run delivers if the policy lets it. The reason says what is less than
// verified TLS.
func (t try) run(ctx context.Context) (Outcome, string) {
	enforced := t.policy.Mode == mtasts.ModeEnforce
	covered := t.policy.Mode == "" || t.policy.Mode == mtasts.ModeNone || t.policy.Match(t.host)
	if !covered && enforced {
		return Refused, "the policy does not name " + t.host
	}
	ctx, cancel := context.WithCancel(ctx) // and with it the connections
	defer cancel()
	c, err := t.connect(ctx)
	if err != nil {
		return Refused, err.Error()
	}
	defer func() { c.Close() }()

	outcome, reason := InTheClear, t.host+" does not offer STARTTLS"
	if offered, _ := c.Extension("STARTTLS"); offered {
		outcome, reason = t.startTLS(c)
		if outcome == InTheClear && !enforced {
			// What is left of the session after a handshake that failed is of no use.
			c.Close()
			if c, err = t.connect(ctx); err != nil {
				return Refused, err.Error()
			}
		}
	}
	if enforced && outcome != VerifiedTLS {
		_ = c.Quit() // the session ends in any case
		return Refused, reason
	}
	if !covered {
		reason = strings.TrimPrefix(reason+"; the policy does not name "+t.host, "; ")
	}
	if err := t.deliver(c); err != nil {
		return Refused, fmt.Sprintf("%s: %v", t.host, err)
	}
	return outcome, reason
}

// connect opens a session with the first address that answers. The session
// ends with ctx.
func (t try) connect(ctx context.Context) (*smtp.Client, error) {
	addrs, err := t.resolver.LookupHost(ctx, t.host+".")
	if err != nil {
		return nil, err
	}
	dial := t.sender.Dial
	if dial == nil {
		dial = new(net.Dialer).DialContext
	}
	port := "25"
	if t.sender.SMTPPort != 0 {
		port = strconv.Itoa(t.sender.SMTPPort)
	}
	var errs []error
	for _, addr := range addrs {
		conn, err := dial(ctx, "tcp", net.JoinHostPort(addr, port))
		if err != nil {
			errs = append(errs, err)
			continue
		}
		context.AfterFunc(ctx, func() { conn.Close() })
		_ = conn.SetDeadline(time.Now().Add(30 * time.Second)) // where it cannot be set, ctx ends it
		c, err := smtp.NewClient(conn, t.host)
		if err == nil {
			if err = c.Hello("sender.test"); err == nil {
				return c, nil
			}
		}
		conn.Close()
		errs = append(errs, fmt.Errorf("%s: %w", t.host, err))
	}
	return nil, errors.Join(errs...)
}

// startTLS tells what the TLS is worth that it started; InTheClear if it did
// not come to any.
func (t try) startTLS(c *smtp.Client) (Outcome, string) {
	var fault error
	err := c.StartTLS(&tls.Config{
		ServerName: t.host,
		MinVersion: tls.VersionTLS12,
		// Only mode enforce demands a valid certificate, and the caller sees to
		// that; here it is found out.
		InsecureSkipVerify: true,
		VerifyConnection: func(cs tls.ConnectionState) error {
			fault = t.verify(cs)
			return nil
		},
	})
	switch {
	case err != nil:
		return InTheClear, fmt.Sprintf("STARTTLS at %s failed: %v", t.host, err)
	case t.policy.Mode != mtasts.ModeEnforce && t.policy.Mode != mtasts.ModeTesting:
		return UnverifiedTLS, ""
	case fault != nil:
		return UnverifiedTLS, fmt.Sprintf("the certificate of %s: %v", t.host, fault)
	}
	return VerifiedTLS, ""
}

// verify looks at trust, time and name of a certificate (RFC 8461 §4.2).
func (t try) verify(cs tls.ConnectionState) error {
	opts := x509.VerifyOptions{DNSName: t.host, Roots: t.sender.Roots, Intermediates: x509.NewCertPool()}
	for _, cert := range cs.PeerCertificates[1:] {
		opts.Intermediates.AddCert(cert)
	}
	_, err := cs.PeerCertificates[0].Verify(opts)
	return err
}

// deliver hands the message over.
func (t try) deliver(c *smtp.Client) error {
	if err := c.Mail(t.from); err != nil {
		return err
	}
	if err := c.Rcpt(t.to); err != nil {
		return err
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write(t.message); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	_ = c.Quit() // the message is delivered, whatever it answers
	return nil
}
