package main

import (
	"context"

	"github.com/stshost/stshost/mtasts"
	"github.com/stshost/stshost/server"
)

// The service is the backend of its own admin listener.
var _ server.Backend = (*service)(nil)

func (s *service) facts() facts {
	return facts{cfg: s.config(), now: s.meters.now, rollout: s.rollouts.Stage, proxy: hostSets{s}.external(), cert: hostSets{s}.Status, place: s.dns.RecordPlace, mx: s.mx.Last, body: func(domain string) []byte {
		_, body, _ := s.policies.Lookup(mtasts.PolicyHost(domain))
		return body
	}}
}

// Domains returns the status of every domain, sorted by name.
func (s *service) Domains(ctx context.Context) ([]server.DomainStatus, error) {
	return s.facts().statuses(ctx, s.reconciler.Snapshots())
}

// Domain returns one domain's status.
func (s *service) Domain(ctx context.Context, name string) (server.DomainStatus, error) {
	snap, ok := s.reconciler.Snapshot(name)
	if !ok {
		return s.facts().unserved(name)
	}
	return s.facts().status(ctx, snap)
}

// Records returns the DNS records that a domain needs.
func (s *service) Records(_ context.Context, name string) ([]server.DNSRecord, error) {
	snap, ok := s.reconciler.Snapshot(name)
	if !ok {
		return nil, errUnknownDomain(name)
	}
	return s.facts().records(snap), nil
}

// Hosts returns how the hosts beside the policy hosts stand, sorted by name.
func (s *service) Hosts(ctx context.Context) ([]server.HostStatus, error) {
	return s.facts().hosts(ctx, s.reconciler.ExtraHosts())
}

// Ready is nil from the start: what was served before the start is served
// from the first request on.
func (s *service) Ready() error { return nil }
