package acme

import (
	"context"
	"hash/maphash"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/stshost/stshost/internal/state"
)

// soundHosts bounds the memory of soundness, at about 130 B a host.
const soundHosts = 1 << 17

// soundness remembers which stored certificates were found fit to be served,
// by a hash of their bytes: to parse one takes a hundred times as long, and a
// status page asks for all of them.
type soundness struct {
	seed   maphash.Seed
	byHost *lru.Cache[string, uint64]
}

func newSoundness() (*soundness, error) {
	byHost, err := lru.New[string, uint64](soundHosts)
	return &soundness{seed: maphash.MakeSeed(), byHost: byHost}, err
}

// check says why a certificate cannot be served although its dates may be
// good: it was damaged in the store, or is of another host.
func (s *soundness) check(cert state.Certificate) error {
	sum := maphash.Bytes(s.seed, cert.PEM)
	if known, ok := s.byHost.Get(cert.Host); ok && known == sum {
		return nil
	}
	key, chain, err := parsePEM(cert.PEM)
	if err == nil {
		_, err = checkPair(cert.Host, key, chain)
	}
	if err == nil {
		s.byHost.Add(cert.Host, sum)
	}
	return err
}

// stored returns the host's certificate, and in damage why it cannot be served.
func (i *Issuer) stored(ctx context.Context, host string) (cert state.Certificate, damage, err error) {
	cert, err = i.store.Certificate(ctx, host)
	if err != nil {
		return cert, nil, err
	}
	cert.Host = host
	return cert, i.sound.check(cert), nil
}

func unusable(damage error) string {
	return "the stored certificate cannot be served: " + clean(damage.Error())
}
