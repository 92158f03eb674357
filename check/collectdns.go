package check

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/miekg/dns"

	"github.com/stshost/stshost/internal/resolver"
	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
)

// collectRecord looks at _mta-sts.<domain>: through recursive resolvers, and at
// every authoritative server.
func (p *Prober) collectRecord(ctx context.Context, domain string) (ev RecordEvidence) {
	name := mtasts.RecordName(domain)
	res := p.cfg.Resolver
	ev.Answer, ev.Err = res.Look(ctx, name, dns.TypeTXT)
	if errors.Is(ev.Err, resolver.ErrServerFailure) {
		// The servers are silent, or the answer does not validate: then it comes
		// when no validation is asked for; and asked for once more after that, it
		// fails still, unless it was a passing outage.
		unchecked, err := res.LookUnchecked(ctx, name, dns.TypeTXT)
		if err == nil {
			ev.Answer, ev.Err = res.Look(ctx, name, dns.TypeTXT)
		}
		if ev.Bogus = err == nil && errors.Is(ev.Err, resolver.ErrServerFailure); ev.Bogus {
			ev.Answer = unchecked
		}
	}
	ev.Circle = ev.Err != nil && !ev.Bogus && res.Circle(ctx, name)
	if ev.Err == nil && len(ev.Answer.Records)+len(ev.Answer.Aliases) > 0 {
		beside, err := res.Look(ctx, resolver.Neighbour(name), dns.TypeTXT)
		ev.Wildcard = err == nil && sameTexts(beside.TXT(), ev.Answer.TXT()) && lastTarget(beside) == lastTarget(ev.Answer)
	}
	ev.Servers, ev.ServersErr = p.everyServer(ctx, name)
	return ev
}

// lastTarget is where the CNAMEs of an answer lead; "" if there is none.
func lastTarget(a resolver.Answer) string {
	if len(a.Aliases) == 0 {
		return ""
	}
	return strings.ToLower(a.Aliases[len(a.Aliases)-1].To)
}

func sameTexts(a, b []string) bool {
	a, b = slices.Clone(a), slices.Clone(b)
	slices.Sort(a)
	slices.Sort(b)
	return slices.Equal(a, b)
}

// everyServer asks every authoritative server where the record of name stands,
// CNAMEs followed as far as all servers agree on them.
func (p *Prober) everyServer(ctx context.Context, name string) ([]state.ServerTXT, error) {
	for range resolver.MaxAliases + 1 {
		zone, err := p.cfg.Resolver.FindZone(ctx, name)
		if err != nil {
			return nil, err
		}
		answers, err := p.cfg.Resolver.EveryTXT(ctx, zone, name)
		if err != nil {
			return nil, err
		}
		next, err := resolver.Agreed(name, answers)
		if err != nil {
			return nil, err
		}
		if next == "" {
			return seen(answers), nil
		}
		name = strings.TrimSuffix(next, ".")
	}
	return nil, fmt.Errorf("more than %d CNAMEs follow one another", resolver.MaxAliases)
}

// seen drops the addresses that cannot be reached from here, such as those of
// IPv6 where there is none: nothing is known to be wrong with them.
func seen(answers []resolver.AuthAnswer) []state.ServerTXT {
	var views []state.ServerTXT
	for _, a := range answers {
		if !resolver.NoRoute(a.Err) {
			views = append(views, state.ServerTXT{Server: a.Server.String(), TXT: a.TXT, Err: a.Err})
		}
	}
	return views
}

// subdomainLabels are where mail of its own is common below a domain. The DNS
// does not list the names below one.
func subdomainLabels() []string {
	return []string{"mail", "lists", "list", "news", "newsletter", "info", "support", "em", "mg", "bounce", "reply", "service"}
}

// collectSubdomains looks which common sub-domains have MX records: they inherit
// no policy (RFC 8461 §3.4).
func (p *Prober) collectSubdomains(ctx context.Context, domain string) (ev SubdomainEvidence) {
	hasMX := func(name string) (bool, error) {
		answer, err := p.cfg.Resolver.Look(ctx, name, dns.TypeMX)
		return err == nil && len(answer.MX()) > 0 && answer.MX()[0].Host != ".", err
	}
	if ev.Wildcard, ev.Err = hasMX(resolver.Neighbour("_." + domain)); ev.Wildcard || ev.Err != nil {
		return ev
	}
	labels := subdomainLabels()
	mail, covered, errs := make([]bool, len(labels)), make([]bool, len(labels)), make([]error, len(labels))
	var wg sync.WaitGroup
	for i, label := range labels {
		wg.Go(func() {
			name := label + "." + domain
			if mail[i], errs[i] = hasMX(name); mail[i] {
				var txts []string
				txts, errs[i] = p.Record(ctx, name)
				covered[i] = len(mtasts.Records(txts)) > 0
			}
		})
	}
	wg.Wait()
	for i, label := range labels {
		switch name := label + "." + domain; {
		case errs[i] != nil:
			ev.Err = errs[i]
		case covered[i]:
			ev.Covered = append(ev.Covered, name)
		case mail[i]:
			ev.Bare = append(ev.Bare, name)
		}
	}
	return ev
}
