package check

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/sync/errgroup"

	"github.com/stshost/stshost/internal/resolver"
)

const (
	// maxMX bounds how many MX hosts are looked at, and maxMXNames how many are
	// held against the policy.
	maxMX      = 16
	maxMXNames = 200
	// maxSessions bounds the SMTP sessions of one examination that are open at
	// once; each goes to another address.
	maxSessions = 64
	// controlTimeout bounds a look at a host that surely takes connections.
	controlTimeout = 5 * time.Second
)

// smtpLooker looks at one address of an MX host.
type smtpLooker func(ctx context.Context, host string, a address) SMTPLook

// reused is a smtpLooker that takes over what was seen a short while ago.
func (p *Prober) reused(ctx context.Context, host string, a address) SMTPLook {
	l := p.looks.get(ctx, p.cfg.Now, host+" "+a.addr.String(), func(ctx context.Context) SMTPLook { return p.lookSMTP(ctx, host, a) })
	l.Family, l.Address = a.family, p.smtpAddress(a)
	return l
}

// collectMX looks at every MX host of a domain, at each of its addresses.
func (p *Prober) collectMX(ctx context.Context, domain string, look smtpLooker) (ev MXEvidence) {
	ev.Answer, ev.Err = p.cfg.Resolver.Look(ctx, domain, dns.TypeMX)
	if ev.Err != nil {
		return ev
	}
	mxs := ev.Answer.MX()
	switch {
	case len(mxs) == 0:
		ev.Implicit = true // RFC 5321 §5.1
		mxs = []resolver.MX{{Host: domain}}
	case slices.ContainsFunc(mxs, func(mx resolver.MX) bool { return mx.Host == "." }):
		ev.Null = true
		mxs = slices.DeleteFunc(mxs, func(mx resolver.MX) bool { return mx.Host == "." })
	}
	slices.SortFunc(mxs, func(a, b resolver.MX) int {
		if a.Preference != b.Preference {
			return int(a.Preference) - int(b.Preference)
		}
		return strings.Compare(a.Host, b.Host)
	})
	mxs = slices.CompactFunc(mxs, func(a, b resolver.MX) bool { return strings.EqualFold(a.Host, b.Host) })
	if len(mxs) > maxMXNames {
		ev.More = len(mxs) - maxMXNames
		mxs = mxs[:maxMXNames]
	}
	ev.Hosts = make([]MXHost, len(mxs))
	var sessions errgroup.Group
	sessions.SetLimit(maxSessions)
	var lookUps sync.WaitGroup
	for i, mx := range mxs {
		ev.Hosts[i] = MXHost{Name: strings.ToLower(mx.Host), Preference: mx.Preference, Untried: i >= maxMX}
		if i >= maxMX {
			continue
		}
		lookUps.Go(func() { p.collectMXHost(ctx, ev.Answer, &ev.Hosts[i], &sessions, look) })
	}
	lookUps.Wait()
	sessions.Wait()
	if ctx.Err() == nil && noneConnected(ev.Hosts) {
		ev.Closed = p.closedHere(ctx, ev.Hosts)
	}
	return ev
}

// collectMXHost looks up an MX host and has each of its addresses looked at.
func (p *Prober) collectMXHost(ctx context.Context, set resolver.Answer, h *MXHost, sessions *errgroup.Group, look smtpLooker) {
	if isAddress(h.Name) {
		return // RFC 5321 §5.1: an MX record names a host
	}
	var tlsa sync.WaitGroup
	w := p.lookUp(ctx, h.Name)
	tlsa.Go(func() { h.TLSA.Answer, h.TLSA.Err = p.lookTLSA(ctx, h.Name, w) })
	h.Aliases, h.Err, h.More = w.aliases, w.err(), w.more
	h.Addresses = make([]SMTPLook, len(w.all))
	for i, a := range w.all {
		l := &h.Addresses[i]
		if a.err != nil || a.skipped != "" {
			*l = SMTPLook{Family: a.family, Skipped: a.skipped, Stage: SMTPConnect, Err: a.err}
			if a.err == nil {
				l.Address = p.smtpAddress(a)
			}
			continue
		}
		sessions.Go(func() error {
			*l = look(ctx, h.Name, a)
			return nil
		})
	}
	tlsa.Wait()
	h.TLSA.Judged = set.Judged && w.judged && h.TLSA.Answer.Judged
	h.TLSA.Secure = w.secure && h.TLSA.Answer.Authenticated
	h.TLSA.MXSecure = set.Authenticated
}

// lookTLSA looks up the TLSA records of an MX host: of the name that its CNAMEs
// lead to, if that is secure, or else of its own (RFC 7672 §2.2.2).
func (p *Prober) lookTLSA(ctx context.Context, host string, w ways) (resolver.Answer, error) {
	if len(w.aliases) > 0 && w.secure {
		target := w.aliases[len(w.aliases)-1].To
		if a, err := p.cfg.Resolver.Look(ctx, tlsaName(target), dns.TypeTLSA); err != nil || len(a.Records) > 0 {
			return a, err
		}
	}
	return p.cfg.Resolver.Look(ctx, tlsaName(host), dns.TypeTLSA)
}

// tlsaName is where the TLSA records of an MX host stand (RFC 7672 §2.2.3). It is
// port 25 in labs, too, whose mail hosts listen elsewhere.
func tlsaName(host string) string { return "_25._tcp." + host }

// isAddress reports whether an MX record has an address where a name should be.
// A record like this has four labels of digits.
func isAddress(name string) bool {
	_, err := netip.ParseAddr(strings.Trim(name, "[]"))
	return err == nil
}

// smtpAddress is where SMTP is spoken at an address.
func (p *Prober) smtpAddress(a address) string {
	return net.JoinHostPort(a.addr.String(), strconv.Itoa(p.cfg.SMTPPort))
}

// noneConnected reports whether addresses were tried and none took a connection.
func noneConnected(hosts []MXHost) bool {
	tried := false
	for _, h := range hosts {
		for _, l := range h.Addresses {
			if l.Skipped != "" || l.Address == "" {
				continue
			}
			if l.Stage != SMTPConnect {
				return false
			}
			tried = true
		}
	}
	return tried
}

// closedHere says why the way out to port 25 seems closed on our side, as it is
// in many clouds; "" if it is not. Hosts tell that surely take connections.
func (p *Prober) closedHere(ctx context.Context, hosts []MXHost) string {
	ctx, cancel := context.WithTimeout(ctx, 2*controlTimeout)
	defer cancel()
	known := false
	for _, host := range p.cfg.SMTPControl {
		for _, a := range p.lookUp(ctx, host).all {
			if a.err != nil || a.skipped != "" {
				continue
			}
			known = true
			if p.takesConnections(ctx, a) {
				return ""
			}
			break // the next host tells more than this one's next address
		}
	}
	if known {
		return fmt.Sprintf("no host takes a connection to port %d from here, not even %s", p.cfg.SMTPPort, strings.Join(p.cfg.SMTPControl, " and "))
	}
	if allRefused(hosts) {
		return "" // somebody answers; and nobody else is known to ask
	}
	return fmt.Sprintf("no MX host takes a connection to port %d from here, and no other host could be asked for comparison", p.cfg.SMTPPort)
}

func (p *Prober) takesConnections(ctx context.Context, a address) bool {
	ctx, cancel := context.WithTimeout(ctx, controlTimeout)
	defer cancel()
	conn, err := p.cfg.Dial(ctx, "tcp", p.smtpAddress(a))
	if err != nil {
		return false
	}
	conn.Close()
	return true
}

// allRefused reports whether every attempt was refused, as a host does where
// nothing listens, and none fell into a hole.
func allRefused(hosts []MXHost) bool {
	for _, h := range hosts {
		for _, l := range h.Addresses {
			if l.Skipped == "" && l.Address != "" && !errors.Is(l.Err, syscall.ECONNREFUSED) {
				return false
			}
		}
	}
	return true
}

// smtpControls are hosts that take mail for millions.
func smtpControls() []string {
	return []string{"gmail-smtp-in.l.google.com", "outlook-com.olc.protection.outlook.com"}
}
