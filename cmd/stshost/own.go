package main

import (
	"context"
	"time"

	"github.com/stshost/stshost/acme"
	"github.com/stshost/stshost/config"
	"github.com/stshost/stshost/mtasts"
)

// ownPairs are the certificates of the operator's own as acme takes them.
func ownPairs(cfg *config.Config) []acme.OwnPair {
	pairs := make([]acme.OwnPair, 0, len(cfg.Certificates))
	for _, c := range cfg.Certificates {
		pairs = append(pairs, acme.OwnPair{CertFile: c.CertFile, KeyFile: c.KeyFile})
	}
	return pairs
}

// newOwn loads the certificates of the operator's own.
func (s *service) newOwn(cfg *config.Config) *acme.Own {
	own := acme.NewOwn(acme.OwnConfig{Every: s.env.ownEvery, Now: s.env.now, Logger: s.log, Event: s.hostEvent, OnChange: s.ownChanged})
	own.Set(ownPairs(cfg))
	return own
}

// ownChanged has every host looked at whose certificate is another now.
func (s *service) ownChanged(concerned func(host string) bool) {
	if s.reconciler == nil {
		return // the start looks at all of them
	}
	for _, snap := range s.reconciler.Snapshots() {
		host := mtasts.PolicyHost(snap.State.Name)
		switch {
		case !concerned(host):
		case snap.Orphan: // nobody looks at it, and it is served all the same
			s.request(host)
		default:
			s.reconciler.WakeHost(host)
		}
	}
	for _, h := range s.reconciler.ExtraHosts() {
		if concerned(h.Host) {
			s.reconciler.WakeHost(h.Host)
		}
	}
}

// request has the certificate of a host looked after again.
func (s *service) request(host string) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	if err := s.issuer.Request(ctx, host, ""); err != nil {
		s.log.Error("the certificate is not looked after", "host", host, "error", err)
	}
}
