package main

import (
	"context"

	"github.com/stshost/stshost/check"
	"github.com/stshost/stshost/config"
	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
	"github.com/stshost/stshost/mxwatch"
	"github.com/stshost/stshost/server"
)

// wireMXWatch makes the part that looks at the MX hosts of the hosted domains.
func (s *service) wireMXWatch(ctx context.Context, cfg *config.Config, world *check.Prober) (err error) {
	s.forgetBadLooks = world.ForgetLooks
	s.mx, err = mxwatch.New(ctx, mxwatch.Config{
		Prober: world, Store: s.store, Policy: s.servedPolicy, Event: s.events.Record, Drift: s.drifted,
		Interval: cfg.Watch.MXInterval, Workers: cfg.Watch.Workers, Now: s.env.now, Logger: s.log,
	})
	return err
}

// servedPolicy is the policy that a domain serves now.
func (s *service) servedPolicy(domain string) (mtasts.Policy, bool) {
	_, body, _ := s.policies.Lookup(mtasts.PolicyHost(domain))
	if body == nil {
		return mtasts.Policy{}, false
	}
	p, err := mtasts.ParsePolicy(body)
	return p, err == nil
}

// happened takes the events of the reconciler. Another policy is another
// measure for the MX hosts.
func (s *service) happened(e state.Event) {
	s.events.Record(e)
	switch e.Kind {
	case state.KindPolicyServed:
		s.mx.Look(e.Domain)
		s.rollouts.Wake(e.Domain)
	case state.KindDomainStep, state.KindDomainBlocked, state.KindDomainRecovered:
		s.rollouts.Wake(e.Domain)
	}
}

// drifted takes note of MX hosts that a policy does not name.
func (s *service) drifted(domain string, seen state.MXCheck) { s.rollouts.Drift(domain, seen) }

// domainNames are the policy domains of a config.
func domainNames(cfg *config.Config) []string {
	names := make([]string, 0, len(cfg.Domains))
	for _, d := range cfg.Domains {
		names = append(names, d.Name)
	}
	return names
}

// showMX puts into d what is known of its MX hosts.
func showMX(d *server.DomainStatus, w state.MXWatch) {
	d.MXChecked, d.MXNext, d.MX, d.MXUnknown = w.Time, w.Next, w.Summary, w.Unknown
	if w.Trouble.Severity == "" {
		return
	}
	d.MXTrouble, d.MXSeverity, d.MX, d.MXRemedy = true, w.Trouble.Severity, w.Trouble.Reason, w.Trouble.Remedy
	if w.Unknown {
		d.MX += "; whether it still is so could not be told at the last look: " + w.Summary
	}
}
