package check

import (
	"context"
	"time"
)

// Many domains share MX hosts. For the watch, which looks at one domain after the
// other, a look at one address serves all of them for a while: a mail host must
// not be visited ten thousand times because it serves ten thousand domains.
const (
	// goodFor is how long a look is taken over that found nothing wrong, unless
	// Config.ReuseFor says otherwise.
	goodFor = 30 * time.Minute
	// badFor is how long another is: who has mended something waits for no more.
	badFor = time.Minute
	// maxReused bounds the looks that are kept.
	maxReused = 4096
)

// smtpLooker looks at one address of an MX host.
type smtpLooker func(ctx context.Context, host string, a address) SMTPLook

// reused is a smtpLooker that takes over what was seen a short while ago.
func (p *Prober) reused(ctx context.Context, host string, a address) SMTPLook {
	l, ok := p.looks.get(ctx, host+" "+a.addr.String(), func(ctx context.Context) SMTPLook { return p.lookSMTP(ctx, host, a) })
	if !ok {
		l = SMTPLook{Stage: SMTPConnect, Err: ctx.Err()}
	}
	l.Family, l.Address = a.family, p.smtpAddress(a)
	return l
}

// goodFor is how long the look may be taken over, of which a good one may for most.
func (l SMTPLook) goodFor(now time.Time, most time.Duration) time.Duration {
	if l.Stage == SMTPDone && l.TLS != nil && l.TLS.Refusal(now) == nil {
		return most
	}
	return min(badFor, most)
}

// ForgetLooks has the next look at each address of an MX host be a new one.
func (p *Prober) ForgetLooks() { p.looks.kept.Purge() }
