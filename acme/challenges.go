package acme

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	"github.com/stshost/stshost/internal/state"
)

// The challenge types that this package answers.
const (
	TLSALPN01 = "tls-alpn-01" // RFC 8737, over port 443
	HTTP01    = "http-01"     // RFC 8555 §8.3, over port 80
)

const (
	// challengeLife bounds how long a challenge in the store is answered,
	// should its attempt die without removing it.
	challengeLife = 10 * time.Minute
	// absentFor bounds how often one known host makes us ask the store for a
	// challenge that is not there.
	absentFor        = 250 * time.Millisecond
	absentChallenges = 1024
)

// challenge is an open challenge: in memory where its attempt runs, and in the
// store so that any node that shares it can answer the CA.
type challenge struct {
	Expires time.Time `json:"expires"`
	Token   string    `json:"token,omitempty"`    // http-01: the path's last element
	KeyAuth string    `json:"key_auth,omitempty"` // http-01: the answer
	PEM     []byte    `json:"pem,omitempty"`      // tls-alpn-01: key and certificate
}

// challengeKey is where the store has the open challenge of a host. A host has
// one attempt at a time, so a forgotten challenge is overwritten by the next.
func challengeKey(host, typ string) string { return "challenge/" + typ + "/" + host }

// liveChallenges are those of the attempts in this process, by challengeKey.
type liveChallenges struct {
	mu    sync.RWMutex
	byKey map[string]challenge
}

func (l *liveChallenges) set(key string, ch challenge) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.byKey == nil {
		l.byKey = make(map[string]challenge)
	}
	l.byKey[key] = ch
}

func (l *liveChallenges) get(key string) (challenge, bool) {
	l.mu.RLock()
	defer l.mu.RUnlock()
	ch, ok := l.byKey[key]
	return ch, ok
}

func (l *liveChallenges) remove(key string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.byKey, key)
}

// HTTP01 returns the key authorization for an http-01 validation of host
// (RFC 8555 §8.3), if host is known and has this very challenge open.
func (c *Certificates) HTTP01(ctx context.Context, host, token string) (keyAuth string, ok bool) {
	host = strings.ToLower(host)
	if token == "" || !c.Known(host) {
		return "", false
	}
	ch, err := c.challenge(ctx, challengeKey(host, HTTP01))
	if err != nil || ch.Token != token {
		return "", false
	}
	return ch.KeyAuth, true
}

// challengeCert returns the certificate that answers a tls-alpn-01 validation.
func (c *Certificates) challengeCert(ctx context.Context, host string) (*tls.Certificate, error) {
	ch, err := c.challenge(ctx, challengeKey(host, TLSALPN01))
	if err != nil {
		return nil, err
	}
	key, chain, err := parsePEM(ch.PEM)
	if err != nil {
		return nil, fmt.Errorf("acme: tls-alpn-01 challenge of %s: %w", host, err)
	}
	return &tls.Certificate{Certificate: chain, PrivateKey: key}, nil
}

// challenge returns the open challenge of key: one of this process, or one
// that another node has put into the store.
func (c *Certificates) challenge(ctx context.Context, key string) (challenge, error) {
	if ch, ok := c.live.get(key); ok {
		return ch, nil
	}
	if until, ok := c.absent.Get(key); ok && c.now().Before(until) {
		return challenge{}, ErrNoChallenge
	}
	loaded := c.loads.DoChan(key, func() (any, error) {
		ctx, cancel := context.WithTimeout(context.Background(), c.timeout)
		defer cancel()
		ch, err := c.readChallenge(ctx, key)
		if err != nil {
			c.absent.Add(key, c.now().Add(absentFor))
		}
		return ch, err
	})
	ctx, cancel := context.WithTimeout(ctx, c.timeout)
	defer cancel()
	select {
	case res := <-loaded:
		return res.Val.(challenge), res.Err
	case <-ctx.Done():
		return challenge{}, ctx.Err()
	}
}

func (c *Certificates) readChallenge(ctx context.Context, key string) (challenge, error) {
	data, err := c.store.ACMEData(ctx, key)
	if errors.Is(err, state.ErrNotFound) {
		return challenge{}, ErrNoChallenge
	}
	if err != nil {
		return challenge{}, err
	}
	var ch challenge
	if err := json.Unmarshal(data, &ch); err != nil {
		return challenge{}, fmt.Errorf("acme: stored challenge %s: %w", key, err)
	}
	if !c.now().Before(ch.Expires) {
		return challenge{}, ErrNoChallenge
	}
	return ch, nil
}
