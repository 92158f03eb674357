package check

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"syscall"
	"time"
)

const (
	// controlTimeout bounds a look at a host that surely takes connections.
	controlTimeout = 5 * time.Second
	// controlFor is how long its answer counts. These hosts belong to others, who
	// must not be visited for every domain whose own hosts are down.
	controlFor = 5 * time.Minute
)

// smtpControls are hosts that take mail for millions.
func smtpControls() []string {
	return []string{"gmail-smtp-in.l.google.com", "outlook-com.olc.protection.outlook.com"}
}

// controlAnswer is what asking the other hosts gave.
type controlAnswer int

const (
	controlUnknown controlAnswer = iota // there is nobody to ask
	controlOpen                         // one takes connections
	controlClosed                       // none does
)

// closedHere says why the way out to the mail port seems closed on our side, as
// it is in many clouds, for addresses of a family; "" if it is not. Hosts tell
// that surely take connections.
func (p *Prober) closedHere(ctx context.Context, family string, looks []SMTPLook) string {
	switch p.askControls(ctx, family) {
	case controlOpen:
		return ""
	case controlClosed:
		return fmt.Sprintf("no host takes a connection to port %d over %s from here, not even %s", p.cfg.SMTPPort, family, strings.Join(p.cfg.SMTPControl, " and "))
	}
	if allRefused(looks) {
		return "" // somebody answers; and nobody else is known to ask
	}
	return fmt.Sprintf("no MX host takes a connection to port %d over %s from here, and no other host could be asked for comparison", p.cfg.SMTPPort, family)
}

// askControls asks the hosts, or takes over what they said a short while ago.
func (p *Prober) askControls(ctx context.Context, family string) controlAnswer {
	answer, _ := p.control.get(ctx, family, func(ctx context.Context) controlAnswer {
		ctx, cancel := context.WithTimeout(ctx, 2*controlTimeout)
		defer cancel()
		return p.connectControls(ctx, family)
	})
	return answer
}

func (p *Prober) connectControls(ctx context.Context, family string) controlAnswer {
	answer := controlUnknown
	for _, host := range p.cfg.SMTPControl {
		for _, a := range p.lookUp(ctx, host).all {
			if a.family != family || a.err != nil || a.skipped != "" {
				continue
			}
			if p.takesConnections(ctx, a) {
				return controlOpen
			}
			answer = controlClosed
			break // the next host tells more than this one's next address
		}
	}
	return answer
}

// takesConnections connects, and takes leave as a client that has nothing to
// send does (RFC 5321 §4.1.1.10).
func (p *Prober) takesConnections(ctx context.Context, a address) bool {
	ctx, cancel := context.WithTimeout(ctx, controlTimeout)
	defer cancel()
	conn, err := p.cfg.Dial(ctx, "tcp", p.smtpAddress(a))
	if err != nil {
		return false
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { conn.SetDeadline(time.Unix(1, 0)) })()
	s := newSMTPConn(conn)
	if _, err := s.ask(ctx, "", "the greeting"); err == nil {
		s.quit()
	}
	return true
}

// allRefused reports whether every attempt was refused, as a host does where
// nothing listens, and none fell into a hole.
func allRefused(looks []SMTPLook) bool {
	return !slices.ContainsFunc(looks, func(l SMTPLook) bool { return !errors.Is(l.Err, syscall.ECONNREFUSED) })
}
