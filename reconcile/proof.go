package reconcile

import (
	"bytes"
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"strings"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
)

// prove fetches the policy back as a sender would and wants exactly the bytes
// that are served. Without this proof nothing is announced.
func (t *task) prove(ctx context.Context, body []byte) error {
	proof, err := t.fetchBack(ctx, body)
	next := t.row
	next.Proof = proof
	if err == nil && before(next.Step, state.Proven) {
		next.Step, next.Since = state.Proven, t.cfg.Now()
	}
	if next == t.row {
		return err
	}
	reached := next.Step != t.row.Step
	if saveErr := t.save(ctx, next); saveErr != nil {
		return cmp.Or(err, saveErr)
	}
	if reached {
		t.tellStep()
		t.log.Info("policy fetched back as a sender would", "domain", t.wanted.Domain, "step", next.Step, "proof", proof)
	}
	return err
}

// fetchBack returns how the body was proven, or a *blocked.
func (t *task) fetchBack(ctx context.Context, body []byte) (proof string, err error) {
	host := mtasts.PolicyHost(t.wanted.Domain)
	fetches, err := t.cfg.World.FetchBack(ctx, t.wanted.Domain)
	if err != nil {
		return "", notFound(host, err)
	}
	if err := lookUpError(host, fetches); err != nil {
		return "", err
	}
	proof, err = judge(fetches, body)
	if err != nil && t.proxy {
		return "", &blocked{err: fmt.Errorf("a sender cannot fetch the policy from %s: %w", host, err), remedy: proxyRemedy(host, err)}
	}
	var distrusted *tls.CertificateVerificationError
	if t.own != "" && errors.As(err, &distrusted) {
		return "", &blocked{err: fmt.Errorf("a sender cannot fetch the policy from %s: %w", host, err), remedy: ownRemedy(host, t.own)}
	}
	if err != nil {
		return "", &blocked{
			err:    fmt.Errorf("a sender cannot fetch the policy from %s: %w", host, err),
			remedy: fmt.Sprintf("let every A and AAAA record of %s lead to this server on port 443, with nothing in between that changes or redirects it; %s", host, viaHint)}
	}
	return proof, nil
}

// proxyRemedy says what to look at in the reverse proxy that ends TLS for host.
func proxyRemedy(host string, err error) string {
	if tlsFailed(err) {
		return fmt.Sprintf("the reverse proxy in front of stshost needs a certificate for %s that senders trust; "+
			"stshost orders none while https in [listen] is off", host)
	}
	return fmt.Sprintf("let every A and AAAA record of %s lead to the reverse proxy, and have that pass requests for it on to stshost unchanged, "+
		"with Host and X-Forwarded-Proto: https; %s", host, viaHint)
}

// ownRemedy says what to look at in the own certificate that is served for host
// and that a sender would not take.
func ownRemedy(host, file string) string {
	return fmt.Sprintf("senders take only a certificate of a CA that they trust, with its intermediate certificates: put such a one into %s, "+
		"or take its [[certificate]] out of the config and reload, and the CA takes over; "+
		"if it is in order, another server answers: let every A and AAAA record of %s lead here", file, host)
}

// tlsFailed reports whether err comes from a TLS handshake.
func tlsFailed(err error) bool {
	var cert *tls.CertificateVerificationError
	var rec tls.RecordHeaderError
	// An alert of the peer has a type of crypto/tls's own.
	return errors.As(err, &cert) || errors.As(err, &rec) || strings.Contains(err.Error(), "tls: ")
}

// errOtherBody is what a fetch finds when something else answers, or a cache
// stands between.
var errOtherBody = errors.New("got another policy than the one served here")

// judge says how fetches prove that body is what senders get, or what speaks
// against it. Every family counts: a sender chooses freely between them.
func judge(fetches []state.Fetch, body []byte) (proof string, err error) {
	var parts []string
	seen := make(map[string]bool)
	tried := false
	for _, f := range fetches {
		part := f.Family + " ok"
		switch {
		case f.Skipped != "":
			part = f.Family + " skipped: " + f.Skipped
		case f.Err != nil:
			return "", located(f)
		case !bytes.Equal(f.Body, body):
			return "", fmt.Errorf("%s %s: %w", f.Family, f.Address, errOtherBody)
		default:
			tried = true
		}
		if !seen[part] {
			seen[part] = true
			parts = append(parts, part)
		}
	}
	if !tried {
		return "", errNotTried(fetches)
	}
	return strings.Join(parts, ", "), nil
}

// order of the steps.
var order = map[state.Step]int{
	state.WaitingDNS: 0, state.WaitingCertificate: 1, state.Serving: 2,
	state.Proven: 3, state.Announced: 4, state.Confirmed: 5, state.Withdrawn: 6,
}

func before(a, b state.Step) bool { return order[a] < order[b] }
