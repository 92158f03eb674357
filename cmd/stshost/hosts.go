package main

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"

	"github.com/stshost/stshost/internal/state"
)

// noCA is the ACME directory where a reverse proxy has the certificates.
const noCA = "none"

// hostSets is the reconciler's view of certificates: one call sets the known
// hosts of both sides that ask for them.
//
// If a reverse proxy ends TLS, there is nothing to order, renew or drop: the
// issuing side then exists for its counters only, and nobody runs it.
type hostSets struct{ s *service }

func (h hostSets) external() bool { return h.s.started.Listen.ProxyTLS() }

func (h hostSets) SetHosts(hosts map[string]struct{}) {
	h.s.policies.SetHosts(hosts)
	h.s.certs.SetHosts(hosts)
}

func (h hostSets) Request(ctx context.Context, host, challenge string) error {
	if h.external() {
		return nil
	}
	return h.s.issuer.Request(ctx, host, challenge)
}

func (h hostSets) Status(ctx context.Context, host string) (state.CertStatus, error) {
	if h.external() {
		return state.CertStatus{Host: host, External: true}, nil
	}
	return h.s.issuer.Status(ctx, host)
}

func (h hostSets) Drop(ctx context.Context, host string) error {
	return h.s.store.DeleteCertJob(ctx, host)
}

// probeToken makes the function behind the token path: an answer that only
// this installation can give for a host and a nonce.
func probeToken(secret []byte) func(host, nonce string) string {
	return func(host, nonce string) string {
		mac := hmac.New(sha256.New, secret)
		mac.Write([]byte(host + "\n" + nonce))
		return hex.EncodeToString(mac.Sum(nil))
	}
}
