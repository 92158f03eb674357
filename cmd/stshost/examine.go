package main

import (
	"context"
	"errors"
	"io/fs"
	"net"
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

// wireExaminers makes both.
func (s *service) wireExaminers(cfg *config.Config) error {
	public, anywhere, err := s.examining(cfg.Net)
	if err != nil {
		return err
	}
	s.examiners = examiners{public: check.New(public), anywhere: check.New(anywhere)}
	return nil
}

// examining is how both look. [prove] via is not for them: it leads to the policy
// hosts of this installation alone. Nor is the store for the public one, which
// strangers ask.
func (s *service) examining(net config.Net) (public, anywhere check.Config, err error) {
	c, err := looking(net)
	public, anywhere = c, c
	public.PublicOnly = true
	anywhere.Remember = func(ctx context.Context, domain string) (*state.Served, error) {
		return remembered(ctx, inForce{s}, domain, s.meters.now())
	}
	return public, anywhere, err
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

// journal is where the state and the bodies of hosted domains are kept. Of a
// domain that it does not have, Domain returns [state.ErrNotFound].
type journal interface {
	Domain(ctx context.Context, name string) (state.Domain, error)
	Bodies(ctx context.Context, domain string) ([]state.Body, error)
}

// remembered is what the journal has of a domain; nil of one that is not hosted.
func remembered(ctx context.Context, j journal, domain string, now time.Time) (*state.Served, error) {
	row, err := j.Domain(ctx, domain)
	if errors.Is(err, state.ErrNotFound) || err == nil && row.BodySHA256 == "" {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	bodies, err := j.Bodies(ctx, domain)
	if err != nil {
		return nil, err
	}
	return &state.Served{ID: row.ID, SHA256: row.BodySHA256, Horizon: horizon(bodies, now), Mode: row.Mode}, nil
}

// inForce is the journal of a service that runs.
type inForce struct{ s *service }

func (f inForce) Domain(_ context.Context, name string) (state.Domain, error) {
	snap, ok := f.s.reconciler.Snapshot(name)
	if !ok {
		return state.Domain{}, state.ErrNotFound
	}
	return snap.State, nil
}

func (f inForce) Bodies(ctx context.Context, domain string) ([]state.Body, error) {
	return f.s.store.Bodies(ctx, domain)
}

// openMemory opens the store at path for a command, which remembers hosted
// domains whether a server runs or not; shut closes it. Without path, or before
// anything has run, nothing is remembered. That the store cannot be read is no
// fault of a domain, and told with each.
func openMemory(ctx context.Context, path string) (remember func(context.Context, string) (*state.Served, error), shut func()) {
	if path == "" {
		return nil, func() {}
	}
	s, err := store.OpenReadOnly(ctx, path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil, func() {}
	case err != nil:
		return func(context.Context, string) (*state.Served, error) { return nil, err }, func() {}
	}
	remember = func(ctx context.Context, domain string) (*state.Served, error) {
		return remembered(ctx, s, domain, time.Now())
	}
	return remember, func() { s.Close() } // was only read: nothing can be lost
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
