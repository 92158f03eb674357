package check

import (
	"context"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/miekg/dns"
	"golang.org/x/sync/errgroup"

	"github.com/stshost/stshost/internal/resolver"
	"github.com/stshost/stshost/mtasts"
)

const (
	// maxMX bounds how many MX hosts are looked at, and maxMXNames how many are
	// held against the policy.
	maxMX      = 16
	maxMXNames = 200
	// maxSessions bounds the SMTP sessions of one examination that are open at
	// once, and maxGuests those that a Prober has with one address.
	maxSessions = 64
	maxGuests   = 2
)

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
	mxs = eachOnce(mxs)
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
	ev.Closed = make(map[string]string)
	for _, f := range families {
		looks := looksOf(ev.Hosts, f.name)
		if ctx.Err() == nil && noneConnected(looks) {
			if why := p.closedHere(ctx, f.name, looks); why != "" {
				ev.Closed[f.name] = why
			}
		}
	}
	return ev
}

// eachOnce drops the MX records of hosts that stand there before.
func eachOnce(mxs []resolver.MX) []resolver.MX {
	seen := make(map[string]bool)
	return slices.DeleteFunc(mxs, func(mx resolver.MX) bool {
		host := strings.ToLower(mx.Host)
		again := seen[host]
		seen[host] = true
		return again
	})
}

// collectMXHost looks up an MX host and has each of its addresses looked at.
func (p *Prober) collectMXHost(ctx context.Context, set resolver.Answer, h *MXHost, sessions *errgroup.Group, look smtpLooker) {
	if mtasts.IsIP(h.Name) {
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
			defer p.guests.enter(ctx, a.addr)()
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

// smtpAddress is where SMTP is spoken at an address.
func (p *Prober) smtpAddress(a address) string {
	return net.JoinHostPort(a.addr.String(), strconv.Itoa(p.cfg.SMTPPort))
}

// looksOf are the looks at addresses of one family that were tried.
func looksOf(hosts []MXHost, family string) []SMTPLook {
	var looks []SMTPLook
	for _, h := range hosts {
		for _, l := range h.Addresses {
			if l.Family == family && l.Skipped == "" && l.Address != "" {
				looks = append(looks, l)
			}
		}
	}
	return looks
}

// noneConnected reports whether there are looks, and none came to a connection.
func noneConnected(looks []SMTPLook) bool {
	return len(looks) > 0 && !slices.ContainsFunc(looks, func(l SMTPLook) bool { return l.Stage != SMTPConnect })
}

// guests are the SMTP sessions that are open, by address: a host that many names
// lead to is not stormed. It is safe for concurrent use.
type guests struct {
	mu    sync.Mutex
	rooms map[netip.Addr]*room
}

type room struct {
	places chan struct{}
	users  int
}

// enter waits for a place at an address; leave gives it back.
func (g *guests) enter(ctx context.Context, addr netip.Addr) (leave func()) {
	g.mu.Lock()
	if g.rooms == nil {
		g.rooms = make(map[netip.Addr]*room)
	}
	r := g.rooms[addr]
	if r == nil {
		r = &room{places: make(chan struct{}, maxGuests)}
		g.rooms[addr] = r
	}
	r.users++
	g.mu.Unlock()
	entered := false
	select {
	case r.places <- struct{}{}:
		entered = true
	case <-ctx.Done(): // the look ends at once, and says so
	}
	return func() {
		if entered {
			<-r.places
		}
		g.mu.Lock()
		defer g.mu.Unlock()
		if r.users--; r.users == 0 {
			delete(g.rooms, addr)
		}
	}
}
