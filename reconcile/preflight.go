package reconcile

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/stshost/stshost/internal/state"
)

// patience is how long a policy host may fail to lead here before one order
// is tried all the same: our own view of the network may be the odd one.
const patience = 15 * time.Minute

// preflight makes sure that the CA's validation would reach this
// installation, and says which challenge type to try first. A failed order is
// not free: CAs count failed validations.
func (t *task) preflight(ctx context.Context, host string) (challenge string, err error) {
	challenge, err = t.leadsHere(ctx, host)
	if err == nil {
		return challenge, nil
	}
	waited := t.row.Step == state.WaitingDNS && t.cfg.Now().Sub(t.row.Since) >= patience
	if waited && !hostMissing(err) {
		t.log.Info("trying one order although the host does not seem to lead here",
			"domain", t.wanted.Domain, "host", host, "reason", err)
		return "tls-alpn-01", nil
	}
	return "", err
}

// hostMissing reports whether err says that host is not in DNS: no CA could
// do anything with it.
func hostMissing(err error) bool {
	var e interface{ NoAddress() bool }
	return errors.As(err, &e) && e.NoAddress()
}

func (t *task) leadsHere(ctx context.Context, host string) (challenge string, err error) {
	open, err := t.cfg.World.Open(ctx, host)
	if err != nil {
		return "", &blocked{step: state.WaitingDNS, err: err,
			remedy: fmt.Sprintf("add an A or AAAA record for %s with this server's address, or a CNAME that leads to it", host)}
	}
	httpsErr := firstError(open)
	if t.cfg.Hairpin {
		return "tls-alpn-01", nil // our own address cannot be reached from here
	}
	if !t.cfg.HTTP {
		if httpsErr != nil {
			return "", &blocked{step: state.WaitingDNS, err: fmt.Errorf("%s cannot be reached on the HTTPS port: %w", host, httpsErr),
				remedy: fmt.Sprintf("let %s lead to this server and open port 443", host)}
		}
		return "tls-alpn-01", nil
	}
	path, token := t.cfg.Probe(host)
	reach, err := t.cfg.World.Reach(ctx, host, path, token)
	if err == nil {
		err = firstError(reach)
	}
	if err != nil {
		return "", &blocked{step: state.WaitingDNS,
			err:    fmt.Errorf("%s does not lead to this server (it points to %s): %w", host, addressesOf(reach), err),
			remedy: fmt.Sprintf("let every A and AAAA record of %s lead to this server, with port 80 and 443 open", host)}
	}
	if httpsErr != nil {
		return "http-01", nil // only port 80 reaches us
	}
	return "tls-alpn-01", nil
}

// firstError returns the first failure among fetches, nil if there is none,
// and an error if nothing could be tried at all.
func firstError(fetches []state.Fetch) error {
	tried := false
	for _, f := range fetches {
		if f.Skipped != "" {
			continue
		}
		tried = true
		if f.Err != nil {
			return fmt.Errorf("%s: %w", f.Family, f.Err)
		}
	}
	if !tried {
		var why []string
		for _, f := range fetches {
			why = append(why, f.Skipped)
		}
		return fmt.Errorf("none of its addresses can be tried (%s)", strings.Join(why, ", "))
	}
	return nil
}

func addressesOf(fetches []state.Fetch) string {
	var all []string
	for _, f := range fetches {
		if f.Address != "" {
			all = append(all, f.Address)
		}
	}
	if len(all) == 0 {
		return "no address"
	}
	return strings.Join(all, ", ")
}
