package reconcile

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stshost/stshost/internal/state"
)

// Where a proxy has the certificates, nothing is ordered and nothing waited for:
// the fetch from outside tells whether all is right, and what to look at if not.
func TestCertificateOfAProxy(t *testing.T) {
	for _, tc := range []struct {
		name   string
		err    error // of the fetch
		remedy string
	}{
		{"no certificate for the host", &tls.CertificateVerificationError{Err: x509.HostnameError{}}, "needs a certificate for mta-sts.example.com"},
		{"no certificate at all", errors.New("tls: unrecognized name"), "needs a certificate for mta-sts.example.com"},
		{"the proxy does not say https", errors.New("answered 400 instead of 200 (RFC 8461 §3.3)"), "X-Forwarded-Proto: https"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLab()
				l.proxy, l.fetchErr = true, tc.err
				p := l.start(t, want(example, "mx1.example.com"))
				defer p.stop()
				settleFor(time.Minute)
				if d := wantStep(t, p, state.Serving); !strings.Contains(d.Remedy, tc.remedy) {
					t.Errorf("remedy %q, want %q", d.Remedy, tc.remedy)
				}
				if len(l.pushes) > 0 {
					t.Errorf("announced without a proof: %v", l.pushes)
				}
				l.change(func() { l.fetchErr = nil })
				settleFor(15 * time.Minute)
				wantStep(t, p, state.Confirmed)
				if n := l.ordered(); n != 0 {
					t.Errorf("%d orders", n)
				}
			})
		})
	}
}

// An own certificate that senders do not trust is put right in its file, not in
// DNS.
func TestOwnCertificateDistrusted(t *testing.T) {
	for err, remedy := range map[error]string{
		&tls.CertificateVerificationError{Err: x509.UnknownAuthorityError{}}: "put such a one into /etc/own.pem",
		errors.New("connection refused"):                                     "let every A and AAAA record of mta-sts.example.com lead to this server",
	} {
		synctest.Test(t, func(t *testing.T) {
			l := newLab()
			l.own, l.fetchErr = "/etc/own.pem", err
			p := l.start(t, want(example, "mx1.example.com"))
			defer p.stop()
			settleFor(time.Minute)
			if d := wantStep(t, p, state.Serving); !strings.Contains(d.Remedy, remedy) {
				t.Errorf("remedy %q, want %q", d.Remedy, remedy)
			}
		})
	}
}
