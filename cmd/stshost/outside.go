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
	c, err := looking(cfg.Net)
	if err != nil {
		return nil, nil, err
	}
	c.Via = cfg.Prove.Via
	return check.New(c), c.Resolver, nil
}

// looking is how to look at the world, as [net] sets it.
func looking(net config.Net) (check.Config, error) {
	roots, err := readRoots(net.RootsFile)
	if err != nil {
		return check.Config{}, err
	}
	res, err := resolver.New(resolver.Config{Servers: net.Resolver, AuthPort: net.DNSPort, TrustAD: net.TrustAD})
	if err != nil {
		return check.Config{}, err
	}
	return check.Config{
		Resolver: res, Roots: roots,
		HTTPSPort: net.HTTPSPort, HTTPPort: net.HTTPPort, SMTPPort: net.SMTPPort, SMTPControl: net.SMTPControl,
	}, nil
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
