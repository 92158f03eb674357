package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"encoding/pem"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/stshost/stshost/internal/lab"
	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
	"github.com/stshost/stshost/store"
)

// measureMany starts stshost with few and with many domains whose certificates
// and announcements were made long ago.
func measureMany(ctx context.Context, o options, binary string, stderr io.Writer) ([]result, error) {
	sizes := []int{1, 10_000, 100_000}
	if o.quick {
		sizes = []int{1, 20}
	}
	name := func(n int) string { return fmt.Sprintf("stshost, domains: %d", n) }
	start := newResult("start until it serves", duration, name(1))
	held := newResult("memory after the start (PSS)", bytesHeld, name(1))
	for _, n := range sizes {
		fmt.Fprintf(stderr, "making %d domains\n", n)
		in, err := many(ctx, n)
		if err != nil {
			return nil, err
		}
		defer os.RemoveAll(in.dir)
		for round := range min(o.rounds, 3) {
			p, took, err := in.start(ctx, o.serverCPU, binary)
			if err != nil {
				return nil, err
			}
			start.add(round, name(n), took)
			pss, err := memory(p.pid)
			p.stop()
			if err != nil {
				return nil, err
			}
			held.add(round, name(n), pss)
		}
		if err := os.RemoveAll(in.dir); err != nil {
			return nil, err
		}
	}
	return []result{*start, *held}, nil
}

// installation is a config and a store of many domains.
type installation struct {
	dir, config, https string
	client             // of the last domain
}

// start starts stshost and waits for the policy of the last domain.
func (in installation) start(ctx context.Context, cpu int, binary string) (p *process, took float64, err error) {
	began := time.Now()
	p, err = launch(ctx, cpu, filepath.Join(in.dir, "serve.log"), in.https, binary, "serve", "--config", in.config)
	if err != nil {
		return nil, 0, err
	}
	err = poll(ctx, func() error { return in.check(ctx, in.https) })
	if err != nil {
		p.stop()
		return nil, 0, fmt.Errorf("%s: %w; stshost said:\n%s", in.host, err, p.said())
	}
	return p, time.Since(began).Seconds(), nil
}

// many makes n domains that are confirmed and have nothing to do for hours.
func many(ctx context.Context, n int) (in installation, err error) {
	// The store syncs each change, which costs nothing in memory. No change is
	// measured here.
	parent := "/dev/shm"
	if _, err := os.Stat(parent); err != nil {
		parent = ""
	}
	if in.dir, err = os.MkdirTemp(parent, "stshost-bench-"); err != nil {
		return in, err
	}
	defer func() {
		if err != nil {
			os.RemoveAll(in.dir)
		}
	}()
	port, err := lab.FreePort("127.0.0.1")
	if err != nil {
		return in, err
	}
	in.https, in.config = fmt.Sprintf("127.0.0.1:%d", port), filepath.Join(in.dir, "config.toml")
	database := filepath.Join(in.dir, "stshost.db")
	var text strings.Builder
	fmt.Fprintf(&text, `[listen]
https = %q
http = ""
admin = "unix:%s/admin.sock"
[store]
url = "sqlite:%s"
[acme]
directory = "https://127.0.0.1:9/directory" # nobody is there, nor is anybody asked
accept_terms = true
[net]
resolver = "127.0.0.1:9"
[watch]
interval = "24h"
[dns.hand]
provider = "print"
`, in.https, in.dir, database)
	s, err := store.Open(ctx, database)
	if err != nil {
		return in, err
	}
	defer s.Close()
	root, err := lab.NewRoot("Bench Root")
	if err != nil {
		return in, err
	}
	in.roots = root.Pool()
	for i := range n {
		domain := fmt.Sprintf("domain%06d.example", i)
		policy := mtasts.Policy{Mode: mtasts.ModeTesting, MX: []string{"mx1." + domain, "mx2." + domain}, MaxAge: 7 * 24 * time.Hour}
		fmt.Fprintf(&text, "[[domain]]\nname = %q\nmx = [%q, %q]\n", domain, policy.MX[0], policy.MX[1])
		in.host = mtasts.PolicyHost(domain)
		var certificate []byte
		if certificate, in.leaf, err = issue(root, in.host); err != nil {
			return in, err
		}
		if in.body, err = policy.Render(); err != nil {
			return in, err
		}
		if err := keep(ctx, s, domain, policy, in.body, certificate); err != nil {
			return in, err
		}
	}
	return in, os.WriteFile(in.config, []byte(text.String()), 0o600)
}

// keep puts a domain into the store as one that is confirmed.
func keep(ctx context.Context, s *store.Store, domain string, policy mtasts.Policy, text, certificate []byte) error {
	now := time.Now()
	sum := sha256.Sum256(text)
	body := state.Body{
		Domain: domain, SHA256: hex.EncodeToString(sum[:]), Body: text, Mode: policy.Mode, MaxAge: policy.MaxAge, FirstServed: now,
	}
	err := s.ServeBody(ctx, state.Domain{
		Name: domain, Step: state.Confirmed, Since: now, Mode: policy.Mode, BodySHA256: body.SHA256, ID: mtasts.NewID(now, text),
		Proof: "IPv4 ok, IPv6 ok", LastRun: now, NextRun: now.Add(12 * time.Hour),
	}, body, now)
	if err != nil {
		return err
	}
	host, expiry := mtasts.PolicyHost(domain), now.AddDate(0, 0, 90)
	return s.FinishCertJob(ctx,
		state.Certificate{Host: host, PEM: certificate, NotBefore: now, NotAfter: expiry},
		state.CertJob{Host: host, Due: now.AddDate(0, 0, 60), NotAfter: expiry, Challenge: "tls-alpn-01", AskAt: now.AddDate(0, 0, 1)})
}

// issue makes a certificate for a host as the store keeps it, the key first, and
// its DER.
func issue(root *lab.Root, host string) (text, leaf []byte, err error) {
	cert, err := root.Issue(time.Time{}, host)
	if err != nil {
		return nil, nil, err
	}
	key, err := x509.MarshalECPrivateKey(cert.PrivateKey.(*ecdsa.PrivateKey))
	if err != nil {
		return nil, nil, err
	}
	leaf = cert.Certificate[0]
	text = pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: key})
	text = append(text, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: leaf})...)
	return append(text, root.PEM()...), leaf, nil
}
