package main

import (
	"context"
	"errors"
	"io/fs"
	"net"
	"slices"
	"time"

	"github.com/stshost/stshost/check"
	"github.com/stshost/stshost/config"
	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
	"github.com/stshost/stshost/store"
)

// examiners look at any domain on behalf of whoever asks the API.
type examiners struct {
	public   *check.Prober // goes to the public Internet only
	anywhere *check.Prober
}

// wireExaminers makes both. [prove] via is not for them: it leads to the policy
// hosts of this installation alone.
func (s *service) wireExaminers(cfg *config.Config) error {
	c, err := looking(cfg.Net)
	if err != nil {
		return err
	}
	c.Remember = s.remembered
	s.examiners.anywhere = check.New(c)
	c.PublicOnly = true
	s.examiners.public = check.New(c)
	return nil
}

// own reports whether a connection from that address is one of theirs.
func (e examiners) own(addr net.Addr) bool { return e.public.Own(addr) || e.anywhere.Own(addr) }

// checkLimit bounds one examination by the API.
const checkLimit = 30 * time.Second

// Check examines any policy domain.
func (s *service) Check(ctx context.Context, domain string, allowPrivate bool) (state.Report, error) {
	ctx, cancel := context.WithTimeout(ctx, checkLimit)
	defer cancel()
	if allowPrivate {
		return s.examiners.anywhere.Examine(ctx, domain)
	}
	return s.examiners.public.Examine(ctx, domain)
}

// remembered is what is known of a domain that is hosted here; nil of others.
func (s *service) remembered(ctx context.Context, domain string) (*state.Served, error) {
	snap, ok := s.reconciler.Snapshot(domain)
	if !ok || snap.State.BodySHA256 == "" {
		return nil, nil
	}
	bodies, err := s.store.Bodies(ctx, domain)
	if err != nil {
		return nil, err
	}
	return served(snap.State, bodies, s.meters.now()), nil
}

// storeMemory is what a command can know of the domains of cfg: what the store
// has, whether a server runs or not. A config of nobody's has no store.
func storeMemory(cfg *config.Config) func(context.Context, string) (*state.Served, error) {
	if cfg.Store.Path == "" {
		return nil
	}
	return func(ctx context.Context, domain string) (_ *state.Served, err error) {
		if !slices.ContainsFunc(cfg.Domains, func(d config.Domain) bool { return d.Name == domain }) {
			return nil, nil
		}
		s, err := store.OpenReadOnly(ctx, cfg.Store.Path)
		if errors.Is(err, fs.ErrNotExist) {
			return nil, nil // nothing has run yet
		}
		if err != nil {
			return nil, err
		}
		defer func() { err = errors.Join(err, s.Close()) }()
		row, err := s.Domain(ctx, domain)
		if errors.Is(err, state.ErrNotFound) || err == nil && row.BodySHA256 == "" {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		bodies, err := s.Bodies(ctx, domain)
		if err != nil {
			return nil, err
		}
		return served(row, bodies, time.Now()), nil
	}
}

// served is what the journal and the ledger of a domain remember.
func served(row state.Domain, bodies []state.Body, now time.Time) *state.Served {
	return &state.Served{ID: row.ID, SHA256: row.BodySHA256, Horizon: horizon(bodies, now), Mode: row.Mode}
}

// horizon is until when senders may hold one of these bodies that is in mode
// enforce (RFC 8461 §3.2); zero: none.
func horizon(bodies []state.Body, now time.Time) (until time.Time) {
	for _, b := range bodies {
		last := b.LastServed
		if last.IsZero() {
			last = now // it is served
		}
		if end := last.Add(b.MaxAge); b.Mode == mtasts.ModeEnforce && end.After(now) && end.After(until) {
			until = end
		}
	}
	return until
}
