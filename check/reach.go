package check

import (
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"sync"

	"github.com/stshost/stshost/internal/state"
)

// Reach looks whether every address of host leads to this installation: the
// token at path, which only we can know, must come back over port 80. A nil
// error of a Fetch means that it did.
func (p *Prober) Reach(ctx context.Context, host, path, token string) ([]state.Fetch, error) {
	return p.each(ctx, host, p.cfg.HTTPPort, func(ctx context.Context, f *state.Fetch) {
		got, err := p.getPlain(ctx, host, path, f.Address)
		switch {
		case err != nil:
			f.Err = err
		case got.BodyErr != nil:
			f.Err = got.BodyErr
		case strings.TrimSpace(string(got.Body)) != token:
			f.Err = fmt.Errorf("it answers, but it is another server (HTTP status %d)", got.Status)
		}
	})
}

// getPlain gets path of host from address without TLS.
func (p *Prober) getPlain(ctx context.Context, host, path, address string) (*HTTPFetch, error) {
	conn, err := p.cfg.Dial(ctx, "tcp", address)
	if err != nil {
		return nil, shorten(err)
	}
	fetch := p.get(ctx, "http://"+host+path, UserAgent, conn)
	return fetch, fetch.Err
}

// Open looks whether the HTTPS port of every address of host takes
// connections. Before there is a certificate no more can be asked of it.
func (p *Prober) Open(ctx context.Context, host string) ([]state.Fetch, error) {
	return p.each(ctx, host, p.cfg.HTTPSPort, func(ctx context.Context, f *state.Fetch) {
		conn, err := p.cfg.Dial(ctx, "tcp", f.Address)
		if err != nil {
			f.Err = shorten(err)
			return
		}
		conn.Close()
	})
}

func (p *Prober) each(ctx context.Context, host string, port int, look func(context.Context, *state.Fetch)) ([]state.Fetch, error) {
	addrs, err := p.addresses(ctx, host)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, FetchTimeout)
	defer cancel()
	fetches := make([]state.Fetch, len(addrs))
	var wg sync.WaitGroup
	for i, a := range addrs {
		f := &fetches[i]
		*f = state.Fetch{Family: a.family, Skipped: a.skipped, Err: a.err}
		if a.err != nil {
			continue
		}
		f.Address = net.JoinHostPort(a.addr.String(), strconv.Itoa(port))
		if a.skipped == "" {
			wg.Go(func() { look(ctx, f) })
		}
	}
	wg.Wait()
	return fetches, nil
}
