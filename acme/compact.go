package acme

import (
	"crypto"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"

	"github.com/stshost/stshost/internal/state"
)

// parsePEM splits state.Certificate.PEM: the private key, then the chain with
// the leaf first.
func parsePEM(data []byte) (crypto.Signer, [][]byte, error) {
	block, rest := pem.Decode(data)
	if block == nil {
		return nil, nil, errors.New("no PEM block")
	}
	key, err := parseKey(block)
	if err != nil {
		return nil, nil, err
	}
	var chain [][]byte
	for {
		block, rest = pem.Decode(rest)
		if block == nil {
			break
		}
		if block.Type == "CERTIFICATE" {
			chain = append(chain, block.Bytes)
		}
	}
	if len(chain) == 0 {
		return nil, nil, errors.New("no certificate after the key")
	}
	return key, chain, nil
}

func parseKey(block *pem.Block) (crypto.Signer, error) {
	switch block.Type {
	case "EC PRIVATE KEY":
		return x509.ParseECPrivateKey(block.Bytes)
	case "RSA PRIVATE KEY":
		return x509.ParsePKCS1PrivateKey(block.Bytes)
	case "PRIVATE KEY":
		key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			return nil, err
		}
		if signer, ok := key.(crypto.Signer); ok {
			return signer, nil
		}
	}
	return nil, fmt.Errorf("unusable private key of type %q", block.Type)
}

// checkPair reports whether chain[0] is a certificate for host (RFC 9525
// §6.3) and for key, and returns it parsed.
func checkPair(host string, key crypto.Signer, chain [][]byte) (*x509.Certificate, error) {
	leaf, err := x509.ParseCertificate(chain[0])
	if err != nil {
		return nil, err
	}
	if err := leaf.VerifyHostname(host); err != nil {
		return nil, err
	}
	pub, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !pub.Equal(leaf.PublicKey) {
		return nil, errors.New("the certificate is for another key")
	}
	return leaf, nil
}

// leafOf returns the certificate itself.
func leafOf(cert state.Certificate) (*x509.Certificate, error) {
	_, chain, err := parsePEM(cert.PEM)
	if err != nil {
		return nil, err
	}
	return x509.ParseCertificate(chain[0])
}

// checkIssued is checkPair for a certificate fresh from the CA: it must also
// not have expired, and every certificate sent along must parse. One that has
// not begun is kept: it is our clock that is behind, and an order was paid.
func checkIssued(host string, data []byte, now time.Time) (*x509.Certificate, error) {
	key, chain, err := parsePEM(data)
	if err != nil {
		return nil, err
	}
	leaf, err := checkPair(host, key, chain)
	if err != nil {
		return nil, err
	}
	for _, der := range chain[1:] {
		if _, err := x509.ParseCertificate(der); err != nil {
			return nil, fmt.Errorf("intermediate certificate: %w", err)
		}
	}
	if !now.Before(leaf.NotAfter) {
		return nil, fmt.Errorf("the certificate expired at %s: is this machine's clock right?", leaf.NotAfter.Format(time.RFC3339))
	}
	return leaf, nil
}

// chainPool keeps one copy of each intermediate certificate: thousands of
// leaves share a few of them.
type chainPool struct {
	byHash *lru.Cache[[sha256.Size]byte, []byte]
}

// chainPoolSize is far above the number of intermediates a CA uses at a time.
const chainPoolSize = 64

func newChainPool() (*chainPool, error) {
	byHash, err := lru.New[[sha256.Size]byte, []byte](chainPoolSize)
	if err != nil {
		return nil, err
	}
	return &chainPool{byHash: byHash}, nil
}

// compact makes the smallest tls.Certificate that crypto/tls serves: no parsed
// Leaf (about 2.5 kB), intermediates shared.
func (p *chainPool) compact(key crypto.Signer, chain [][]byte) *tls.Certificate {
	out := make([][]byte, len(chain))
	// pem.Decode's slices are larger than what they hold.
	out[0] = append(make([]byte, 0, len(chain[0])), chain[0]...)
	for i, der := range chain[1:] {
		sum := sha256.Sum256(der)
		shared, ok := p.byHash.Get(sum)
		if !ok {
			shared = append(make([]byte, 0, len(der)), der...)
			p.byHash.Add(sum, shared)
		}
		out[i+1] = shared
	}
	return &tls.Certificate{Certificate: out, PrivateKey: key}
}
