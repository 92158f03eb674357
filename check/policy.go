package check

import (
	"context"
	"errors"
	"fmt"
	"io"
	"mime"
	"net"
	"net/http"
	"net/url"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
)

// UserAgent names us in the logs of whoever hosts the policy; our own server
// tells our looks from those of senders by it.
const UserAgent = "stshost (MTA-STS policy check)"

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
	host := mtasts.PolicyHost(domain)
	resp, err := p.get(ctx, mtasts.PolicyURL(domain), host, f.Address)
	if err != nil {
		f.Err = err
		return
	}
	defer resp.Body.Close()
	f.Body, f.Err = readPolicy(resp)
}

// get sends one GET for target to address and nowhere else: no redirect is
// followed (RFC 8461 §3.3), no proxy used, no connection kept.
func (p *Prober) get(ctx context.Context, target, host, address string) (*http.Response, error) {
	transport := &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return p.cfg.Dial(ctx, "tcp", address)
		},
		TLSClientConfig:        p.tlsConfig(host),
		ForceAttemptHTTP2:      true,
		DisableKeepAlives:      true,
		MaxResponseHeaderBytes: 32 << 10,
	}
	client := &http.Client{
		Transport: transport,
		CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, target, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", UserAgent)
	resp, err := client.Do(req)
	if err != nil {
		return nil, shorten(err)
	}
	return resp, nil
}

// readPolicy applies the rules of RFC 8461 §3.2 and §3.3 to a response: status
// 200 and no other, text/plain, at most 64 KB.
func readPolicy(resp *http.Response) ([]byte, error) {
	if loc := resp.Header.Get("Location"); loc != "" && resp.StatusCode/100 == 3 {
		return nil, fmt.Errorf("answered %d with a redirect to %s; senders must not follow it (RFC 8461 §3.3)", resp.StatusCode, loc)
	}
	if resp.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("answered %d instead of 200 (RFC 8461 §3.3)", resp.StatusCode)
	}
	media, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil || media != "text/plain" {
		return nil, fmt.Errorf("answered with the media type %q instead of text/plain (RFC 8461 §3.2)", resp.Header.Get("Content-Type"))
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, mtasts.MaxBodySize+1))
	if err != nil {
		return nil, fmt.Errorf("broke off while sending the policy: %w", shorten(err))
	}
	if len(body) > mtasts.MaxBodySize {
		return nil, fmt.Errorf("sent more than %d bytes, the most that senders read (RFC 8461 §3.3)", mtasts.MaxBodySize)
	}
	return body, nil
}

// shorten drops what net/http and net put before every error: URL, operation
// and addresses. The message around it names the address, and a local port
// would make every failure look like a new one.
func shorten(err error) error {
	if u, ok := errors.AsType[*url.Error](err); ok {
		err = u.Err
	}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		err = op.Err
	}
	return err
}
