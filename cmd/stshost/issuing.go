package main

import (
	"cmp"

	"github.com/stshost/stshost/acme"
	"github.com/stshost/stshost/config"
	"github.com/stshost/stshost/internal/resolver"
)

// wireACME makes both sides of the certificates.
func (s *service) wireACME(cfg *config.Config, res *resolver.Resolver) error {
	cas, err := authorities(cfg)
	if err != nil {
		return err
	}
	var certStore acme.CertificateStore = s.store
	if s.env.certStore != nil {
		certStore = s.env.certStore(certStore)
	}
	s.own = s.newOwn(cfg)
	s.certs, err = acme.NewCertificates(acme.CertificatesConfig{Store: certStore, Own: s.own, Now: s.env.now})
	if err != nil {
		return err
	}
	s.issuer, err = acme.NewIssuer(acme.IssuerConfig{
		Store:        s.store,
		Certificates: s.certs,
		CAs:          cas,
		UserAgent:    "stshost/" + version(),
		Workers:      cfg.ACME.Workers,
		HTTP01:       cfg.Listen.HTTP != "",
		Logger:       s.log,
		Now:          s.env.now,
		Event:        s.hostEvent,
		Permit:       newCAAGate(res.CAA, s.env.now, s.log).permit,
		OnChange:     func(host string) { s.reconciler.WakeHost(host) },
	})
	return err
}

// authorities are the CAs of the config, the first one first.
func authorities(cfg *config.Config) ([]acme.CA, error) {
	all := []config.CA{cfg.ACME.CA}
	if cfg.ACME.Fallback != nil {
		all = append(all, *cfg.ACME.Fallback)
	}
	var cas []acme.CA
	for _, c := range all {
		roots, err := readRoots(c.RootsFile)
		if err != nil {
			return nil, err
		}
		ca := acme.CA{
			Directory: cmp.Or(c.Directory, noCA), Email: c.Email, HTTPClient: directoryClient(roots),
			Profile: c.Profile, OrdersPer3Hours: c.OrdersPer3Hours,
		}
		if c.EAB != nil {
			ca.EAB = &acme.EAB{KID: c.EAB.KID, Key: c.EAB.Key}
		}
		cas = append(cas, ca)
	}
	return cas, nil
}
