package check

import (
	"context"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/sync/singleflight"
)

// Many domains share MX hosts. For the watch, which looks at one domain after the
// other, a look at one address serves all of them for a while: a mail host must
// not be visited ten thousand times because it serves ten thousand domains.
const (
	// goodFor is how long a look is taken over that found nothing wrong.
	goodFor = 30 * time.Minute
	// badFor is how long another is: who has mended something waits for no more.
	badFor = time.Minute
	// maxReused bounds the looks that are kept.
	maxReused = 4096
)

// smtpLooks are the latest looks at addresses of MX hosts. It is safe for
// concurrent use.
type smtpLooks struct {
	looks  *lru.Cache[string, timedLook]
	flight singleflight.Group
}

type timedLook struct {
	look SMTPLook
	time time.Time
}

func newSMTPLooks() *smtpLooks {
	looks, err := lru.New[string, timedLook](maxReused)
	if err != nil {
		panic(err) // the size is a constant above 0
	}
	return &smtpLooks{looks: looks}
}

// get returns the latest look at an address, or a new one. Of those who want the
// same at the same time one look serves all; that the first of them goes away
// does not end it.
func (s *smtpLooks) get(ctx context.Context, now func() time.Time, key string, look func(context.Context) SMTPLook) SMTPLook {
	if known, ok := s.looks.Get(key); ok && now().Sub(known.time).Abs() < known.look.goodFor(now()) {
		return known.look
	}
	fresh := s.flight.DoChan(key, func() (any, error) {
		l := look(context.WithoutCancel(ctx)) // has a time of its own
		s.looks.Add(key, timedLook{l, now()})
		return l, nil
	})
	select {
	case r := <-fresh:
		return r.Val.(SMTPLook)
	case <-ctx.Done():
		return SMTPLook{Stage: SMTPConnect, Err: ctx.Err()}
	}
}

// goodFor is how long the look may be taken over.
func (l SMTPLook) goodFor(now time.Time) time.Duration {
	if l.Stage == SMTPDone && l.TLS != nil && l.TLS.Refusal(now) == nil {
		return goodFor
	}
	return badFor
}

// ForgetLooks has the next look at each address of an MX host be a new one.
func (p *Prober) ForgetLooks() { p.looks.looks.Purge() }
