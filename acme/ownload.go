package acme

import (
	"bytes"
	"crypto"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"
)

// CheckOwn returns the dNSNames of a certificate, in lower case, or says what
// keeps it and its key from being used: files that cannot be read or are not
// PEM, a key for another certificate, a certificate without a dNSName. The error
// has the form "what; remedy". An expired certificate passes: it is served, and
// said to be expired.
func CheckOwn(certFile, keyFile string) (names []string, err error) {
	files := OwnPair{CertFile: certFile, KeyFile: keyFile}
	data, err := files.read()
	if err != nil {
		return nil, err
	}
	c, err := loadOwn(files, data)
	if err != nil {
		return nil, err
	}
	return c.names, nil
}

// ownData is what a pair of files held when it was read.
type ownData struct{ cert, key []byte }

// digest tells one state of the files from another. Times of modification do
// not: two writes may have the same.
func (d ownData) digest() [sha256.Size]byte {
	cert, key := sha256.Sum256(d.cert), sha256.Sum256(d.key)
	return sha256.Sum256(append(cert[:], key[:]...))
}

func (p OwnPair) read() (d ownData, err error) {
	if d.cert, err = readPEM(p.CertFile); err != nil {
		return d, err
	}
	d.key, err = readPEM(p.KeyFile)
	return d, err
}

// maxPEM bounds what is read of a file that should hold PEM.
const maxPEM = 1 << 20

func readPEM(name string) ([]byte, error) {
	info, err := os.Stat(name)
	if err == nil && info.Size() > maxPEM {
		return nil, fmt.Errorf("%s has %d bytes, which is no certificate or key; name the PEM file", name, info.Size())
	}
	data, err := os.ReadFile(name)
	if err != nil {
		return nil, unreadable(name, err)
	}
	return data, nil
}

func unreadable(name string, err error) error {
	if pathErr, ok := errors.AsType[*fs.PathError](err); ok {
		err = pathErr.Err
	}
	remedy := "see that it is there and that the user who runs stshost may read it"
	return fmt.Errorf("cannot read %s: %w; %s", name, err, remedy)
}

// loadOwn checks a pair and makes it ready to be served.
func loadOwn(files OwnPair, data ownData) (*ownCert, error) {
	chain, leaf, err := ownChain(files.CertFile, data.cert)
	if err != nil {
		return nil, err
	}
	key, err := ownKey(files.KeyFile, data.key)
	if err != nil {
		return nil, err
	}
	pub, ok := key.Public().(interface{ Equal(crypto.PublicKey) bool })
	if !ok || !pub.Equal(leaf.PublicKey) {
		return nil, fmt.Errorf("the key in %s is not that of the first certificate in %s; write the files that belong together, the host's certificate before its intermediates",
			files.KeyFile, files.CertFile)
	}
	c := &ownCert{
		files: files, cert: &tls.Certificate{Certificate: chain, PrivateKey: key, Leaf: leaf},
		notBefore: leaf.NotBefore, notAfter: leaf.NotAfter,
	}
	for _, name := range leaf.DNSNames {
		c.names = append(c.names, strings.ToLower(strings.TrimSuffix(name, ".")))
	}
	if len(c.names) == 0 {
		// RFC 9525 §2, §6.3: the common name does not count.
		return nil, fmt.Errorf("the certificate in %s names no host (it has no subjectAltName of type dNSName); have it issued for the policy hosts, e.g. *.example.com", files.CertFile)
	}
	return c, nil
}

// ownChain returns the certificates of a file, and the first of them parsed.
func ownChain(name string, data []byte) ([][]byte, *x509.Certificate, error) {
	var chain [][]byte
	var certs []*x509.Certificate
	blocks := 0
	for rest := data; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		blocks++
		if block.Type != "CERTIFICATE" {
			continue // its key may be in the same file
		}
		cert, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, nil, fmt.Errorf("certificate %d in %s is damaged: %w; write it anew", len(chain)+1, name, err)
		}
		chain, certs = append(chain, block.Bytes), append(certs, cert)
	}
	// pem.Decode passes over a block that is cut off: without this a file that
	// is being written would lose its intermediates.
	if n := bytes.Count(data, []byte("-----BEGIN ")); n != blocks {
		return nil, nil, fmt.Errorf("%s has %d PEM blocks of which %d can be read: it is damaged, or half written; write it anew", name, n, blocks)
	}
	if len(chain) == 0 {
		return nil, nil, fmt.Errorf("%s holds no PEM certificate; write the host's certificate there and its intermediates after it", name)
	}
	if len(certs) > 1 {
		leaf, next := certs[0], certs[1]
		if err := next.CheckSignature(leaf.SignatureAlgorithm, leaf.RawTBSCertificate, leaf.Signature); err != nil {
			return nil, nil, fmt.Errorf("the second certificate in %s did not sign the first; write the host's certificate first and the one that signed it next", name)
		}
	}
	return chain, certs[0], nil
}

// ownKey returns the private key of a file, which may have other things in it.
func ownKey(name string, data []byte) (crypto.Signer, error) {
	for rest := data; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			return nil, fmt.Errorf("%s holds no private key in PEM; write the certificate's key there", name)
		}
		switch {
		case block.Type == "ENCRYPTED PRIVATE KEY" || block.Headers["DEK-Info"] != "":
			return nil, fmt.Errorf("the key in %s has a passphrase; write it without one and guard the file instead", name)
		case strings.HasSuffix(block.Type, "PRIVATE KEY"):
			key, err := parseKey(block)
			if err != nil {
				// Not wrapped: the text of an error about a key stays ours.
				return nil, fmt.Errorf("the key in %s is damaged or of an unknown kind (%s); write an RSA, ECDSA or Ed25519 key", name, block.Type)
			}
			return key, nil
		}
	}
}

// worse says what speaks against serving next in place of c, on sight. Whoever
// asks for it deliberately may have one that expires sooner.
func (c *ownCert) worse(next *ownCert, now time.Time, deliberate bool) error {
	if c == nil || !c.valid(now) {
		return nil
	}
	name := next.files.CertFile
	switch {
	case !now.Before(next.notAfter):
		return fmt.Errorf("the certificate in %s expired at %s; write one that is valid", name, stamp(next.notAfter))
	case now.Before(next.notBefore):
		return fmt.Errorf("the certificate in %s is not valid before %s; it is taken then", name, stamp(next.notBefore))
	case next.notAfter.Before(c.notAfter) && !deliberate:
		return fmt.Errorf("the certificate in %s expires at %s, sooner than the one in use, at %s; if it is meant, `stshost reload` takes it",
			name, stamp(next.notAfter), stamp(c.notAfter))
	}
	return nil
}
