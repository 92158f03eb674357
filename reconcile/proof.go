package reconcile

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
)

// prove fetches the policy back as a sender would and wants exactly the bytes
// that are served. Without this proof nothing is announced.
func (t *task) prove(ctx context.Context, body []byte) error {
	host := mtasts.PolicyHost(t.wanted.Domain)
	fetches, err := t.cfg.World.FetchPolicy(ctx, t.wanted.Domain)
	if err != nil {
		return &blocked{step: state.Serving, err: err,
			remedy: fmt.Sprintf("add an A or AAAA record for %s with this server's address, or a CNAME that leads to it", host)}
	}
	proof, err := judge(fetches, body)
	if err != nil {
		return &blocked{step: state.Serving,
			err:    fmt.Errorf("a sender cannot fetch the policy from %s: %w", host, err),
			remedy: fmt.Sprintf("let every A and AAAA record of %s lead to this server on port 443, with nothing in between that changes or redirects it", host)}
	}
	next := t.row
	next.Proof = proof
	if before(next.Step, state.Proven) {
		next.Step, next.Since = state.Proven, t.cfg.Now()
	}
	if next == t.row {
		return nil
	}
	if err := t.save(ctx, next); err != nil {
		return err
	}
	if next.Step == state.Proven {
		t.log.Info("policy fetched back as a sender would", "domain", t.wanted.Domain, "step", next.Step, "proof", proof)
	}
	return nil
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
			return "", fmt.Errorf("%s: %w", f.Family, f.Err)
		case !bytes.Equal(f.Body, body):
			return "", fmt.Errorf("%s: %s: %w", f.Family, f.Address, errOtherBody)
		default:
			tried = true
		}
		if !seen[part] {
			seen[part] = true
			parts = append(parts, part)
		}
	}
	if !tried {
		return "", fmt.Errorf("none of its addresses can be tried (%s)", strings.Join(parts, ", "))
	}
	return strings.Join(parts, ", "), nil
}

// order of the steps.
var order = map[state.Step]int{
	state.WaitingDNS: 0, state.WaitingCertificate: 1, state.Serving: 2,
	state.Proven: 3, state.Announced: 4, state.Confirmed: 5,
}

func before(a, b state.Step) bool { return order[a] < order[b] }
