package check

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"net"
	"time"
)

// handshake does a TLS handshake over conn and looks at what the server shows.
// Nothing stops it: versions and certificates that senders refuse are taken,
// and what is wrong with them is in the look. name is the SNI to send, host
// what the certificate has to be for; with name "" no SNI is sent. The
// connection is nil if the handshake failed; conn is the caller's to close.
func (p *Prober) handshake(ctx context.Context, conn net.Conn, name, host string, protos ...string) (*tls.Conn, *TLSLook) {
	look := &TLSLook{Name: name}
	client := tls.Client(conn, &tls.Config{
		ServerName:         name,
		InsecureSkipVerify: true, // judged below, so that all faults are found and not the first
		MinVersion:         tls.VersionTLS10,
		CipherSuites:       allSuites(),
		NextProtos:         protos,
	})
	if err := client.HandshakeContext(ctx); err != nil {
		look.Err = shorten(err)
		return nil, look
	}
	state := client.ConnectionState()
	look.Version = state.Version
	p.inspect(look, state.PeerCertificates, host)
	return client, look
}

// allSuites are all that Go knows, those too that are no longer on by default:
// a server that has no others is to be told so, and not that it does not answer.
func allSuites() []uint16 {
	var ids []uint16
	for _, s := range append(tls.CipherSuites(), tls.InsecureCipherSuites()...) {
		ids = append(ids, s.ID)
	}
	return ids
}

// inspect judges a chain as senders do: a chain to a trusted root at this time,
// and a dNSName for the host (RFC 8461 §4.2; RFC 9525 §6.3: the common name
// does not count).
func (p *Prober) inspect(look *TLSLook, chain []*x509.Certificate, host string) {
	look.Chain = chain
	if len(chain) == 0 {
		look.Err = errors.New("the server showed no certificate")
		return
	}
	leaf := chain[0]
	look.NotBefore, look.NotAfter = leaf.NotBefore, leaf.NotAfter
	if err := leaf.VerifyHostname(host); err != nil {
		look.NameErr = err
	}
	intermediates := x509.NewCertPool()
	for _, cert := range chain[1:] {
		intermediates.AddCert(cert)
	}
	now := p.cfg.Now()
	options := x509.VerifyOptions{Roots: p.cfg.Roots, Intermediates: intermediates, CurrentTime: now}
	chains, err := leaf.Verify(options)
	if invalid, ok := errors.AsType[x509.CertificateInvalidError](err); ok && invalid.Reason == x509.Expired {
		// An expired certificate may be untrusted besides: that is seen at a
		// time when it was valid.
		options.CurrentTime = leaf.NotAfter.Add(-leaf.NotAfter.Sub(leaf.NotBefore) / 2)
		chains, err = leaf.Verify(options)
		if expired, again := errors.AsType[x509.CertificateInvalidError](err); again && expired.Reason == x509.Expired {
			// An intermediate's time has run out, or the leaf's is not within it.
			look.NotAfter = earliest(chain)
			err = nil
			if now.Before(look.NotAfter) && !now.Before(look.NotBefore) {
				look.Untrusted = expired
			}
		}
	}
	if err != nil {
		look.Untrusted = err
		return
	}
	if len(chains) > 0 {
		look.NotAfter = latestChain(chains)
	}
}

// latestChain is until when the best of the chains is valid.
func latestChain(chains [][]*x509.Certificate) time.Time {
	var best time.Time
	for _, chain := range chains {
		if end := earliest(chain); end.After(best) {
			best = end
		}
	}
	return best
}

func earliest(chain []*x509.Certificate) time.Time {
	end := chain[0].NotAfter
	for _, cert := range chain[1:] {
		if cert.NotAfter.Before(end) {
			end = cert.NotAfter
		}
	}
	return end
}

// Expired reports whether the certificate's time is over, or not yet come, at t.
func (l *TLSLook) Expired(t time.Time) bool {
	return !l.NotAfter.IsZero() && (t.After(l.NotAfter) || t.Before(l.NotBefore))
}

// Refusal says why a sender does not accept this TLS at t; nil if it does.
func (l *TLSLook) Refusal(t time.Time) error {
	switch {
	case l.Err != nil:
		return l.Err
	case l.Version < tls.VersionTLS12:
		return errors.New("tls: protocol version not supported: the server has " + tls.VersionName(l.Version) + " at most, and senders want TLS 1.2 (RFC 8461 §7.2)")
	case l.Untrusted != nil:
		return l.distrust(l.Untrusted)
	case l.Expired(t):
		return l.distrust(x509.CertificateInvalidError{Cert: l.Chain[0], Reason: x509.Expired,
			Detail: "it is valid from " + l.NotBefore.UTC().Format(time.RFC3339) + " to " + l.NotAfter.UTC().Format(time.RFC3339)})
	case l.NameErr != nil:
		return l.distrust(l.NameErr)
	}
	return nil
}

func (l *TLSLook) distrust(err error) error {
	return &tls.CertificateVerificationError{UnverifiedCertificates: l.Chain, Err: err}
}
