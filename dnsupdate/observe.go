package dnsupdate

import (
	"context"
	"slices"

	"golang.org/x/sync/errgroup"

	"github.com/stshost/stshost/internal/resolver"
	"github.com/stshost/stshost/internal/state"
)

// maxAsked bounds how many authoritative servers are asked at once.
const maxAsked = 8

// Observe asks every authoritative server of the target's zone for the TXT
// records at the name, each address apart, and returns their answers in the
// order of the NS records. An address that this machine has no route to (IPv6,
// as a rule) is left out if any other answered: it cannot be asked from here,
// and nothing is wrong with it. The error is about finding the zone or its
// servers; one server's failure is in its ServerTXT.
func (u *Updater) Observe(ctx context.Context, target state.Target) ([]state.ServerTXT, error) {
	zone, err := u.Zone(ctx, target)
	if err != nil {
		return nil, err
	}
	servers, err := u.cfg.Resolver.AuthServers(ctx, zone)
	if err != nil {
		return nil, err
	}
	answers := make([]state.ServerTXT, len(servers))
	var g errgroup.Group
	g.SetLimit(maxAsked)
	for i, s := range servers {
		g.Go(func() error {
			txt, err := u.cfg.Resolver.AuthTXT(ctx, s, target.Name)
			answers[i] = state.ServerTXT{Server: s.String(), TXT: txt, Err: err}
			return nil
		})
	}
	g.Wait()
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	return reachable(answers), nil
}

// reachable drops the addresses without a route if another one answered.
func reachable(answers []state.ServerTXT) []state.ServerTXT {
	if !slices.ContainsFunc(answers, func(a state.ServerTXT) bool { return a.Err == nil }) {
		return answers
	}
	return slices.DeleteFunc(answers, func(a state.ServerTXT) bool { return resolver.NoRoute(a.Err) })
}
