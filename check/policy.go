package check

import (
	"context"
	"fmt"
	"mime"
	"net/http"
	"strings"
	"time"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
)

// FetchPolicy fetches the policy of domain as a sender does (RFC 8461 §3.3),
// from the first addresses of each family, each apart. The error says that
// there was nothing to fetch from; a fetch that failed is told in its Err.
func (p *Prober) FetchPolicy(ctx context.Context, domain string) ([]state.Fetch, error) {
	return p.each(ctx, mtasts.PolicyHost(domain), p.cfg.HTTPSPort, func(ctx context.Context, f *state.Fetch) {
		p.fetch(ctx, domain, f)
	})
}

// FetchBack is FetchPolicy by way of [Config.Via], if that is set.
func (p *Prober) FetchBack(ctx context.Context, domain string) ([]state.Fetch, error) {
	if p.cfg.Via == "" {
		return p.FetchPolicy(ctx, domain)
	}
	f := state.Fetch{Family: "via " + p.cfg.Via, Address: p.cfg.Via}
	ctx, cancel := context.WithTimeout(ctx, FetchTimeout)
	defer cancel()
	p.fetch(ctx, domain, &f)
	return []state.Fetch{f}, nil
}

func (p *Prober) fetch(ctx context.Context, domain string, f *state.Fetch) {
	look := HTTPSLook{Family: f.Family, Address: f.Address}
	p.lookHTTPS(ctx, domain, &look, false)
	f.Body, f.Err = look.policy(p.cfg.Now())
}

// policy is the body that a sender gets, or why it gets none.
func (l *HTTPSLook) policy(now time.Time) ([]byte, error) {
	if l.Err != nil {
		return nil, l.Err
	}
	if err := l.TLS.Refusal(now); err != nil {
		return nil, err
	}
	if f := l.best(); f != nil {
		return f.policy()
	}
	return l.Main.policy()
}

// best is the first fetch that gave a policy; nil if none did. It need not be
// the one as stshost: filters turn some clients away, and few senders speak
// HTTP/2.
func (l *HTTPSLook) best() *HTTPFetch {
	if l.Main == nil {
		return nil
	}
	if _, err := l.Main.policy(); err == nil {
		return l.Main
	}
	for i := range l.Others {
		if _, err := l.Others[i].policy(); err == nil {
			return &l.Others[i]
		}
	}
	return nil
}

// policy applies the rules of RFC 8461 §3.2 and §3.3 to a response: status 200
// and no other, text/plain, at most 64 KB.
func (f *HTTPFetch) policy() ([]byte, error) {
	switch {
	case f.Err != nil:
		return nil, f.Err
	case f.redirects():
		return nil, fmt.Errorf("answered %d with a redirect to %s; senders must not follow it (RFC 8461 §3.3)", f.Status, f.Location)
	case f.Status != http.StatusOK:
		return nil, fmt.Errorf("answered %d instead of 200 (RFC 8461 §3.3)", f.Status)
	case !f.plainText():
		return nil, fmt.Errorf("answered with the media type %q instead of text/plain (RFC 8461 §3.2)", f.ContentType)
	case f.BodyErr != nil:
		return nil, fmt.Errorf("broke off while sending the policy: %w", f.BodyErr)
	case f.TooLarge:
		return nil, fmt.Errorf("sent more than %d bytes, the most that senders read (RFC 8461 §3.3)", mtasts.MaxBodySize)
	}
	return f.Body, nil
}

func (f *HTTPFetch) redirects() bool { return f.Status/100 == 3 && f.Location != "" }

// plainText reports whether the media type is text/plain. Its parameters do not
// count (RFC 8461 §3.3).
func (f *HTTPFetch) plainText() bool {
	media, _, _ := strings.Cut(f.ContentType, ";")
	return strings.EqualFold(strings.TrimSpace(media), "text/plain")
}

// oddParameters reports whether the parameters of the media type break the
// grammar, which some readers mind.
func (f *HTTPFetch) oddParameters() bool {
	_, _, err := mime.ParseMediaType(f.ContentType)
	return err != nil
}
