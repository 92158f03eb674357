package main

import (
	"context"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"

	"github.com/stshost/stshost/internal/state"
)

// hostSets is the reconciler's view of certificates: one call sets the known
// hosts of both sides that ask for them.
type hostSets struct{ s *service }

func (h hostSets) SetHosts(hosts map[string]struct{}) {
	h.s.policies.SetHosts(hosts)
	h.s.certs.SetHosts(hosts)
}

func (h hostSets) Request(ctx context.Context, host, challenge string) error {
	return h.s.issuer.Request(ctx, host, challenge)
}

func (h hostSets) Status(ctx context.Context, host string) (state.CertStatus, error) {
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
