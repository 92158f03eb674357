package acme

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"runtime"
	"strings"
	"sync"

	"golang.org/x/crypto/acme/autocert"
)

// jobCache is the autocert.Cache of one attempt: it has no certificate yet,
// makes open challenges answerable, and keeps the certificate that comes out.
type jobCache struct {
	host string

	mu     sync.Mutex
	open   func(typ string, ch challenge) // makes a challenge answerable
	asked  bool                           // the Manager has looked for an existing certificate
	issued []byte                         // PEM: key, then chain
}

var _ autocert.Cache = (*jobCache)(nil)

// Get implements autocert.Cache. A Manager asks for the host's certificate
// once before it orders. Whoever asks again is the renewal timer that it
// started after issuing: it would order by itself, so its goroutine ends here.
// Its locks are released by deferred calls and nothing re-arms the timer, so
// that nothing holds on to the Manager any more.
func (j *jobCache) Get(_ context.Context, key string) ([]byte, error) {
	if key == j.host && !j.firstAsked() {
		runtime.Goexit()
	}
	// autocert compares with ==, so it must be this very value.
	return nil, autocert.ErrCacheMiss
}

func (j *jobCache) firstAsked() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	first := !j.asked
	j.asked = true
	return first
}

// Put implements autocert.Cache. The keys are autocert's.
func (j *jobCache) Put(_ context.Context, key string, data []byte) error {
	if key == j.host {
		j.mu.Lock()
		defer j.mu.Unlock()
		j.issued = data
		return nil
	}
	j.mu.Lock()
	open := j.open
	j.mu.Unlock()
	if open == nil {
		return nil // the attempt is over
	}
	if key == j.host+"+token" {
		open(TLSALPN01, challenge{PEM: data})
		return nil
	}
	if token, ok := strings.CutSuffix(key, "+http-01"); ok {
		open(HTTP01, challenge{Token: token, KeyAuth: string(data)})
	}
	return nil
}

// Delete implements autocert.Cache. It does nothing: autocert removes its
// challenges behind our back, when the next attempt of the host may have its
// own there. The attempt removes them when it ends.
func (j *jobCache) Delete(context.Context, string) error { return nil }

// release returns what was issued, or nil, and lets go of it: the Manager
// keeps its cache.
func (j *jobCache) release() []byte {
	j.mu.Lock()
	defer j.mu.Unlock()
	issued := j.issued
	j.issued, j.open = nil, nil
	return issued
}

// openChallenge makes a challenge answerable by this process and by others on
// the same store.
func (i *Issuer) openChallenge(ctx context.Context, host, typ string, ch challenge) {
	ch.Expires = i.now().Add(challengeLife)
	key := challengeKey(host, typ)
	i.certs.live.set(key, ch)
	data, err := json.Marshal(ch)
	if err == nil {
		err = i.store.PutACMEData(ctx, key, data)
	}
	if err != nil {
		i.log.Warn("the challenge could not be stored; only this process can answer it", "host", host, "err", err)
	}
}

func (i *Issuer) closeChallenge(ctx context.Context, host, typ string) {
	key := challengeKey(host, typ)
	i.certs.live.remove(key)
	if err := i.store.DeleteACMEData(ctx, key); err != nil {
		i.log.Warn("the closed challenge could not be removed from the store", "host", host, "err", err)
	}
}

// ecdsaHello is a hello that makes autocert choose an ECDSA P-256 key: it takes
// RSA for a client that does not offer all of these.
func ecdsaHello(host string) *tls.ClientHelloInfo {
	return &tls.ClientHelloInfo{
		ServerName:        host,
		CipherSuites:      []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256},
		SupportedCurves:   []tls.CurveID{tls.CurveP256},
		SignatureSchemes:  []tls.SignatureScheme{tls.ECDSAWithP256AndSHA256},
		SupportedProtos:   []string{"h2", "http/1.1"},
		SupportedVersions: []uint16{tls.VersionTLS12},
	}
}
