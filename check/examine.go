package check

import (
	"cmp"
	"context"
	"fmt"
	"sync"
	"time"

	"github.com/miekg/dns"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
	"github.com/stshost/stshost/tlsrpt"
)

// collectTimeout bounds the looking of an examination whose ctx has no end of its
// own. What has not been seen by then is told as not seen.
const collectTimeout = 28 * time.Second

// looking bounds the looking, so that time is left to judge before ctx ends.
func looking(ctx context.Context) (context.Context, context.CancelFunc) {
	limit := collectTimeout
	if end, ok := ctx.Deadline(); ok {
		limit = time.Until(end) * 14 / 15
	}
	return context.WithTimeout(ctx, limit)
}

// Examine looks at everything that senders see of a policy domain, and more,
// and judges it. The error is about the name of the domain, or says that ctx
// ended; whatever is wrong with the domain is in the report.
func (p *Prober) Examine(ctx context.Context, domain string) (state.Report, error) {
	domain, err := mtasts.ParseDomain(domain)
	if err != nil {
		return state.Report{}, err
	}
	began := time.Now()
	ev := p.Collect(ctx, domain)
	if err := ctx.Err(); err != nil {
		return state.Report{}, fmt.Errorf("the examination of %s was broken off: %w", domain, context.Cause(ctx))
	}
	report := Evaluate(ev)
	report.Seconds = time.Since(began).Seconds()
	return report, nil
}

// Collect looks at a policy domain, all parts at once.
func (p *Prober) Collect(ctx context.Context, domain string) Evidence {
	ctx, cancel := looking(ctx)
	defer cancel()
	ev := Evidence{Domain: domain, Time: p.cfg.Now()}
	var wg sync.WaitGroup
	wg.Go(func() { ev.Record = p.collectRecord(ctx, domain) })
	wg.Go(func() { ev.Host = p.collectHost(ctx, domain) })
	look := p.lookSMTP
	if p.cfg.Reuse {
		look = p.reused
	}
	wg.Go(func() { ev.MX = p.collectMX(ctx, domain, look) })
	wg.Go(func() { ev.TLSRPT, ev.TLSRPTErr = p.cfg.Resolver.Look(ctx, tlsrpt.RecordName(domain), dns.TypeTXT) })
	wg.Go(func() { ev.Subdomains = p.collectSubdomains(ctx, domain) })
	if p.cfg.Remember != nil {
		wg.Go(func() { ev.Served, ev.ServedErr = p.cfg.Remember(ctx, domain) })
	}
	wg.Wait()
	if ctx.Err() != nil {
		ev.dropUnseen()
	}
	return ev
}

// CheckMX looks at the MX hosts of a domain and judges them by MX patterns and a
// mode. What it saw at an address of an MX host a short while ago, for another
// domain perhaps, it takes over. The error says that nothing could be found out.
func (p *Prober) CheckMX(ctx context.Context, domain string, patterns []string, mode mtasts.Mode) (state.MXCheck, error) {
	all, cancel := looking(ctx)
	defer cancel()
	ev := Evidence{Domain: domain, Time: p.cfg.Now(), MX: p.collectMX(all, domain, p.reused)}
	if err := cmp.Or(ctx.Err(), ev.MX.Err); err != nil {
		return state.MXCheck{}, err
	}
	if all.Err() != nil {
		ev.dropUnseen()
	}
	return judgeMXOnly(ev, mtasts.Policy{Mode: mode, MX: patterns}), nil
}
