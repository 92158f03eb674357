package main

import (
	"cmp"

	"github.com/stshost/stshost/acme"
	"github.com/stshost/stshost/config"
)

// wireACME makes both sides of the certificates.
func (s *service) wireACME(cfg *config.Config) error {
	cas, err := authorities(cfg)
	if err != nil {
		return err
	}
	var certStore acme.CertificateStore = s.store
	if s.env.certStore != nil {
		certStore = s.env.certStore(certStore)
	}
	s.certs, err = acme.NewCertificates(acme.CertificatesConfig{Store: certStore, Now: s.env.now})
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
		OnChange:     func(host string) { s.reconciler.WakeHost(host) },
	})
	return err
}

// authorities are the CAs of the config, the first one first.
func authorities(cfg *config.Config) ([]acme.CA, error) {
	roots, err := readRoots(cfg.ACME.RootsFile)
	if err != nil {
		return nil, err
	}
	return []acme.CA{{
		Directory:       cmp.Or(cfg.ACME.Directory, noCA),
		Email:           cfg.ACME.Email,
		HTTPClient:      directoryClient(roots),
		OrdersPer3Hours: cfg.ACME.OrdersPer3Hours,
	}}, nil
}
