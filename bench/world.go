package main

import (
	"context"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"text/template"
	"time"

	"github.com/stshost/stshost/internal/lab"
	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/server"
	"github.com/stshost/stshost/store"
)

// The domain whose policy is fetched.
const (
	policyDomain = "bench.test"
	policyHost   = "mta-sts." + policyDomain
)

// world is a small Internet on loopback with a place for stshost in it.
type world struct {
	lab *lab.Lab
	dir string
}

func newWorld(ctx context.Context, dir string) (*world, error) {
	l, err := lab.Start(ctx, lab.Config{Domains: []string{policyDomain}, Dir: dir, PollInterval: 50 * time.Millisecond})
	if err != nil {
		return nil, fmt.Errorf("start the Internet on loopback: %w", err)
	}
	return &world{lab: l, dir: dir}, nil
}

// configText leaves everything at its default that does not have to do with
// the lab. Nothing but the fetches goes on once the domain is confirmed.
var configText = template.Must(template.New("config").Parse(`[listen]
https = "{{.Lab.HTTPSAddr}}"
http = "{{.Lab.HTTPAddr}}"
admin = "{{.Admin}}"
[store]
url = "sqlite:{{.Store}}"
[acme]
directory = "{{.Lab.CA.DirectoryURL}}"
roots_file = "{{.Lab.ACMERootsFile}}"
accept_terms = true
[net]
resolver = "{{.Lab.DNS.Addr}}"
dns_port = {{.Lab.DNSPort}}
roots_file = "{{.Lab.RootsFile}}"
https_port = {{.Lab.HTTPSPort}}
http_port = {{.Lab.HTTPPort}}
smtp_port = {{.Lab.SMTPPort}}
[watch]
interval = "24h"
[dns.lab]
provider = "rfc2136"
server = "{{.Lab.DNS.Addr}}"
key_name = "{{.Key.Name}}"
key_alg = "{{.Key.Algorithm}}"
key = "{{.Key.Secret}}"
[[domain]]
name = "{{.Domain}}"
mx = ["mx1.mail.test", "mx2.mail.test"]
`))

func (w *world) admin() string { return "unix:" + filepath.Join(w.dir, "admin.sock") }
func (w *world) store() string { return filepath.Join(w.dir, "store", "stshost.db") }

// serve starts `stshost serve` and waits until it has done all there is to do
// for the domain.
func (w *world) serve(ctx context.Context, cpu int, binary string) (*process, error) {
	config := filepath.Join(w.dir, "config.toml")
	var text strings.Builder
	err := configText.Execute(&text, map[string]any{
		"Lab": w.lab, "Key": w.lab.DNS.Key(), "Admin": w.admin(), "Store": w.store(), "Domain": policyDomain,
	})
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(config, []byte(text.String()), 0o600); err != nil {
		return nil, err
	}
	p, err := launch(ctx, cpu, filepath.Join(w.dir, "stshost.log"), w.lab.HTTPSAddr, binary, "serve", "--config", config)
	if err != nil {
		return nil, err
	}
	client := server.NewClient(w.admin())
	err = poll(ctx, func() error {
		d, err := client.Domain(ctx, policyDomain)
		if err == nil && d.Step != state.Confirmed {
			err = fmt.Errorf("%s is %s: %s", policyDomain, d.Step, d.LastError)
		}
		return err
	})
	if err != nil {
		p.stop()
		return nil, fmt.Errorf("%w; stshost said:\n%s", err, p.said())
	}
	return p, nil
}

// take gets what stshost serves: the peers' files are made of it, and a client
// that expects it.
func (w *world) take(ctx context.Context) (*client, error) {
	s, err := store.OpenReadOnly(ctx, w.store())
	if err != nil {
		return nil, err
	}
	defer s.Close()
	certificate, err := s.Certificate(ctx, policyHost)
	if err != nil {
		return nil, err
	}
	bodies, err := s.CurrentBodies(ctx)
	if err != nil {
		return nil, err
	}
	c := &client{host: policyHost, roots: w.lab.Roots()}
	for _, b := range bodies {
		c.body = b.Body
	}
	key, chain := pem.Decode(certificate.PEM)
	leaf, _ := pem.Decode(chain)
	if len(bodies) != 1 || key == nil || leaf == nil {
		return nil, errors.New("the store does not have one policy and its certificate")
	}
	c.leaf = leaf.Bytes
	if err := os.MkdirAll(filepath.Dir(filepath.Join(w.dir, bodyFile)), 0o755); err != nil {
		return nil, err
	}
	for file, data := range map[string][]byte{keyFile: pem.EncodeToMemory(key), certFile: chain, bodyFile: c.body} {
		if err := os.WriteFile(filepath.Join(w.dir, file), data, 0o600); err != nil {
			return nil, err
		}
	}
	return c, nil
}
