package check

import (
	"context"
	"net"
	"strconv"
	"sync"

	"github.com/stshost/stshost/internal/resolver"
	"github.com/stshost/stshost/mtasts"
)

// maxPlain is how much of an answer at port 80 is kept.
const maxPlain = 4 << 10

// collectHost looks at mta-sts.<domain>: every address by HTTPS, the first of
// each family by plain HTTP, and the CAA records.
func (p *Prober) collectHost(ctx context.Context, domain string) HostEvidence {
	host := mtasts.PolicyHost(domain)
	w := p.lookUp(ctx, host)
	ev := HostEvidence{Name: host, Aliases: w.aliases, LookupErr: w.err(), More: w.more, Addresses: make([]HTTPSLook, len(w.all))}
	plain := make([]*PlainLook, len(w.all))
	var wg sync.WaitGroup
	wg.Go(func() { ev.CAA, ev.CAAErr = p.cfg.Resolver.CAA(ctx, host) })
	wg.Go(func() {
		beside := p.lookUp(ctx, resolver.Neighbour(host))
		ev.Wildcard = len(beside.all) > 0 && beside.err() == nil
	})
	families := make(map[string]bool)
	for i, a := range w.all {
		l := &ev.Addresses[i]
		*l = HTTPSLook{Family: a.family, Skipped: a.skipped, NoRoute: a.noRoute, Err: a.err}
		if a.err != nil {
			continue
		}
		l.Address = net.JoinHostPort(a.addr.String(), strconv.Itoa(p.cfg.HTTPSPort))
		if a.skipped != "" {
			continue
		}
		first := !families[a.family]
		families[a.family] = true
		wg.Go(func() {
			ctx, cancel := context.WithTimeout(ctx, FetchTimeout)
			defer cancel()
			p.lookHTTPS(ctx, domain, l, first)
		})
		if first {
			plain[i] = &PlainLook{Address: net.JoinHostPort(a.addr.String(), strconv.Itoa(p.cfg.HTTPPort))}
			wg.Go(func() { p.lookPlain(ctx, host, plain[i]) })
		}
	}
	wg.Wait()
	for _, l := range plain {
		if l != nil {
			ev.Plain = append(ev.Plain, *l)
		}
	}
	return ev
}

func (p *Prober) lookPlain(ctx context.Context, host string, l *PlainLook) {
	ctx, cancel := context.WithTimeout(ctx, FetchTimeout)
	defer cancel()
	fetch, err := p.getPlain(ctx, host, mtasts.PolicyPath, l.Address)
	if err != nil {
		l.Err = err
		return
	}
	l.Status, l.Body = fetch.Status, fetch.Body[:min(len(fetch.Body), maxPlain)]
}
