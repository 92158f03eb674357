package main

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"os"
	"time"

	"github.com/stshost/stshost/check"
	"github.com/stshost/stshost/config"
	"github.com/stshost/stshost/internal/resolver"
)

// directoryClient speaks to the CA's API.
func directoryClient(roots *x509.CertPool) *http.Client {
	return &http.Client{
		Timeout: 30 * time.Second,
		Transport: &http.Transport{
			Proxy:               http.ProxyFromEnvironment,
			TLSClientConfig:     &tls.Config{RootCAs: roots},
			TLSHandshakeTimeout: 10 * time.Second,
			MaxIdleConnsPerHost: 8,
			IdleConnTimeout:     time.Minute,
			ForceAttemptHTTP2:   true,
		},
	}
}

// outside returns our eyes on the world as [net] and [prove] set them.
func outside(cfg *config.Config) (*check.Prober, *resolver.Resolver, error) {
	roots, err := readRoots(cfg.Net.RootsFile)
	if err != nil {
		return nil, nil, err
	}
	res, err := resolver.New(resolver.Config{Servers: cfg.Net.Resolver, AuthPort: cfg.Net.DNSPort})
	if err != nil {
		return nil, nil, err
	}
	return check.New(check.Config{
		Resolver:  res,
		Roots:     roots,
		HTTPSPort: cfg.Net.HTTPSPort,
		HTTPPort:  cfg.Net.HTTPPort,
		Via:       cfg.Prove.Via,
	}), res, nil
}

// readRoots reads a PEM file of CA certificates; "" means the system's.
func readRoots(path string) (*x509.CertPool, error) {
	if path == "" {
		return nil, nil
	}
	pem, err := os.ReadFile(path)
	if err != nil {
		return nil, fmt.Errorf("cannot read the roots: %w", err)
	}
	pool := x509.NewCertPool()
	if !pool.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%s holds no PEM certificate", path)
	}
	return pool, nil
}
