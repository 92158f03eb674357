package main

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"time"

	"github.com/stshost/stshost/acme"
	"github.com/stshost/stshost/config"
	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/reconcile"
	"github.com/stshost/stshost/server"
	"github.com/stshost/stshost/store"
)

// offline answers from the config and the store when no server runs. It only
// reads.
type offline struct {
	store     *store.Store // nil while there is none: nothing has run yet
	facts     facts
	snapshots []reconcile.Snapshot
}

func newOffline(ctx context.Context, cfg *config.Config) (_ *offline, err error) {
	o := &offline{}
	rows := make(map[string]state.Domain)
	bodies := make(map[string][]byte)
	seen := make(map[string]state.MXWatch)
	taken := make(map[string]state.Rollout)
	o.facts = facts{cfg: cfg, now: time.Now, proxy: cfg.Listen.ProxyTLS(), body: func(d string) []byte { return bodies[d] }}
	o.facts.rollout = func(d string) (state.RolloutStatus, bool) {
		r, ok := taken[d]
		return state.RolloutStatus{Domain: d, Stage: r.Stage, Goal: r.Goal, Entered: r.Entered}, ok
	}
	o.facts.mx = func(d string) (state.MXWatch, bool) {
		w, ok := seen[d]
		return w, ok && cfg.Watch.MXInterval > 0
	}
	o.facts.cert = func(_ context.Context, host string) (state.CertStatus, error) {
		return state.CertStatus{Host: host, External: o.facts.proxy}, nil
	}
	o.store, err = store.OpenReadOnly(ctx, cfg.Store.Path)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, err
	}
	if err == nil {
		if err := o.read(ctx, rows, bodies, seen, taken); err != nil {
			return nil, errors.Join(err, o.store.Close())
		}
	}
	for _, d := range cfg.Domains {
		w := wantedOf(cfg, d)
		row, ok := rows[w.Domain]
		if !ok {
			row = state.Domain{Name: w.Domain}
		}
		delete(rows, w.Domain)
		if taken[w.Domain].Stage == state.StageRetired {
			continue
		}
		row.NextRun = time.Time{} // nobody looks
		o.snapshots = append(o.snapshots, reconcile.Snapshot{Wanted: w, State: row})
	}
	for _, row := range rows {
		if row.BodySHA256 != "" {
			o.snapshots = append(o.snapshots, reconcile.Snapshot{Orphan: true, State: row})
		}
	}
	return o, nil
}

// read takes journal, bodies and what was seen of MX hosts into memory;
// certificates are asked for one by one.
func (o *offline) read(ctx context.Context, rows map[string]state.Domain, bodies map[string][]byte, seen map[string]state.MXWatch, taken map[string]state.Rollout) error {
	all, err := o.store.Domains(ctx)
	if err != nil {
		return err
	}
	for _, row := range all {
		rows[row.Name] = row
	}
	current, err := o.store.CurrentBodies(ctx)
	if err != nil {
		return err
	}
	for _, b := range current {
		bodies[b.Domain] = b.Body
	}
	rollouts, err := o.store.Rollouts(ctx)
	if err != nil {
		return err
	}
	for _, r := range rollouts {
		taken[r.Domain] = r
	}
	checks, err := o.store.MXChecks(ctx)
	if err != nil {
		return err
	}
	for _, w := range checks {
		seen[w.Domain] = w
	}
	own := acme.NewOwn(acme.OwnConfig{Logger: slog.New(slog.DiscardHandler)})
	own.Set(ownPairs(o.facts.cfg))
	certs, err := acme.NewCertificates(acme.CertificatesConfig{Store: o.store, Own: own})
	if err != nil {
		return err
	}
	cas, err := authorities(o.facts.cfg)
	if err != nil {
		return err
	}
	issuer, err := acme.NewIssuer(acme.IssuerConfig{Store: o.store, Certificates: certs, CAs: cas})
	if err != nil {
		return err
	}
	if !o.facts.proxy {
		o.facts.cert = issuer.Status
	}
	return nil
}

// Close closes the store.
func (o *offline) Close() error {
	if o.store == nil {
		return nil
	}
	return o.store.Close()
}

func (o *offline) find(name string) (reconcile.Snapshot, error) {
	for _, s := range o.snapshots {
		if s.State.Name == name {
			return s, nil
		}
	}
	return reconcile.Snapshot{}, errUnknownDomain(name)
}

// Hosts knows only the certificates: how an extra host stands is not journalled.
func (o *offline) Hosts(ctx context.Context) ([]server.HostStatus, error) {
	var all []reconcile.HostState
	for _, host := range o.facts.cfg.ACME.ExtraHosts {
		all = append(all, reconcile.HostState{Host: host})
	}
	return o.facts.hosts(ctx, all)
}

// Domains, Domain and Records answer as the running server would have.

func (o *offline) Domains(ctx context.Context) ([]server.DomainStatus, error) {
	return o.facts.statuses(ctx, o.snapshots)
}

// Events returns what the store has; nothing comes while no server runs.
func (o *offline) Events(ctx context.Context, q state.EventQuery, _ time.Duration) ([]server.Event, error) {
	if o.store == nil {
		return nil, nil
	}
	found, err := o.store.Events(ctx, q)
	all := make([]server.Event, 0, len(found))
	for _, e := range found {
		all = append(all, server.NewEvent(e))
	}
	return all, err
}

func (o *offline) Domain(ctx context.Context, name string) (server.DomainStatus, error) {
	s, err := o.find(name)
	if err != nil {
		return o.facts.unserved(name)
	}
	return o.facts.status(ctx, s)
}

func (o *offline) Records(_ context.Context, name string) ([]server.DNSRecord, error) {
	s, err := o.find(name)
	if err != nil {
		return nil, err
	}
	return o.facts.records(s), nil
}
