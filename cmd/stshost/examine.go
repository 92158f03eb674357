package main

import (
	"context"
	"net"
	"time"

	"github.com/stshost/stshost/check"
	"github.com/stshost/stshost/config"
	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
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

// Check examines any policy domain.
func (s *service) Check(ctx context.Context, domain string, allowPrivate bool) (state.Report, error) {
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
	return &state.Served{ID: snap.State.ID, SHA256: snap.State.BodySHA256, Horizon: horizon(bodies, s.meters.now()), Mode: snap.State.Mode}, nil
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
