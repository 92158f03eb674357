package main

import (
	"context"

	"github.com/stshost/stshost/config"
	"github.com/stshost/stshost/dnsupdate"
	"github.com/stshost/stshost/internal/resolver"
	"github.com/stshost/stshost/mtasts"
	"github.com/stshost/stshost/reconcile"
)

var _ reconcile.Placer = (*dnsupdate.Updater)(nil)

// newUpdater wires the part that changes DNS records.
func (s *service) newUpdater(cfg *config.Config, res *resolver.Resolver) (*dnsupdate.Updater, error) {
	return dnsupdate.New(dnsupdate.Config{
		Accounts: accounts(cfg), Resolver: res, Transport: s.env.dnsTransport, Logger: s.log, Now: s.env.now,
		Announcer: func(_ context.Context, id, domain string) string { return s.reconciler.Announcer(id, domain) },
	})
}

// owners are the record names of cfg, and of further domains that retire, and whose
// they are.
func owners(cfg *config.Config, retiring ...string) map[string]string {
	all := make(map[string]string, len(cfg.Domains)+len(retiring))
	for _, d := range cfg.Domains {
		all[mtasts.RecordName(d.Name)] = d.Name
	}
	for _, name := range retiring {
		all[mtasts.RecordName(name)] = name
	}
	return all
}
