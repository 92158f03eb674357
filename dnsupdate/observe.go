package dnsupdate

import (
	"context"

	"golang.org/x/sync/errgroup"

	"github.com/stshost/stshost/internal/resolver"
	"github.com/stshost/stshost/internal/state"
)

// maxAsked bounds how many authoritative servers are asked at once.
const maxAsked = 8

// Observe asks every authoritative server of the target's zone for the TXT
// records at the name, each address apart, and returns their answers in the
// order of the NS records. An address that this machine has no route to is left
// out if another address of the same server answered. The error is about
// finding the zone or its servers; one server's failure is in its ServerTXT.
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
	return reachable(servers, answers), nil
}

// reachable drops the addresses without a route where the same server
// answered at another one.
func reachable(servers []resolver.AuthServer, answers []state.ServerTXT) []state.ServerTXT {
	answered := make(map[string]bool)
	for i, s := range servers {
		if answers[i].Err == nil {
			answered[s.Name] = true
		}
	}
	var kept []state.ServerTXT
	for i, s := range servers {
		if resolver.NoRoute(answers[i].Err) && answered[s.Name] {
			continue
		}
		kept = append(kept, answers[i])
	}
	return kept
}
