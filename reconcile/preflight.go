package reconcile

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/stshost/stshost/internal/state"
)

// patience is how long a policy host may fail to lead here before one order
// is tried all the same: our own view of the network may be the odd one.
const patience = 15 * time.Minute

// preflight makes sure that the CA's validation would reach this
// installation, and says which challenge type to try first. A failed order is
// not free: CAs count failed validations. since is when host was first seen not
// to lead here; zero if that is news.
func (r *Reconciler) preflight(ctx context.Context, host string, status state.CertStatus, since time.Time) (challenge string, err error) {
	challenge, err = r.leadsHere(ctx, host)
	if err == nil {
		return challenge, nil
	}
	var b *blocked
	if !errors.As(err, &b) || hostMissing(err) {
		return "", err
	}
	switch {
	case status.Problem != "":
		b.err = fmt.Errorf("%w; an order was tried all the same: %s", b.err, status.Problem)
	case !since.IsZero() && r.cfg.Now().Sub(since) >= patience:
		r.log.Info("trying an order although the host does not seem to lead here", "host", host, "reason", err)
		if err := r.cfg.Certificates.Request(ctx, host, ""); err != nil {
			return "", err
		}
	}
	return "", err
}

// hostMissing reports whether err says that host is not in DNS: no CA could
// do anything with it.
func hostMissing(err error) bool {
	var e interface{ NoAddress() bool }
	return errors.As(err, &e) && e.NoAddress()
}

// viaHint is what helps where everything is right but for the view from here.
const viaHint = "if it does and this machine just cannot reach its own public address, set [prove] via"

// notFound is the block of a host that is not in DNS.
func notFound(host string, err error) *blocked {
	return &blocked{step: state.WaitingDNS, err: err,
		remedy: fmt.Sprintf("add an A or AAAA record for %s with this server's address, or a CNAME that leads to it", host)}
}

// lookUpError is the block of a host one of whose address families could not
// be looked up; nil if all could.
func lookUpError(host string, fetches []state.Fetch) error {
	for _, f := range fetches {
		if f.Err != nil && f.Address == "" {
			return &blocked{step: state.WaitingDNS, err: fmt.Errorf("cannot look up %s: %w", host, f.Err),
				remedy: "see that the resolver answers, and the domain's name servers"}
		}
	}
	return nil
}

func (r *Reconciler) leadsHere(ctx context.Context, host string) (challenge string, err error) {
	open, err := r.cfg.World.Open(ctx, host)
	if err != nil {
		return "", notFound(host, err)
	}
	if err := lookUpError(host, open); err != nil {
		return "", err
	}
	if r.cfg.Hairpin {
		return "tls-alpn-01", nil // our own address cannot be reached from here
	}
	httpsErr := firstError(open)
	if !r.cfg.HTTP {
		if httpsErr != nil {
			return "", &blocked{step: state.WaitingDNS, err: fmt.Errorf("%s cannot be reached on the HTTPS port: %w", host, httpsErr),
				remedy: fmt.Sprintf("let %s lead to this server and open port 443; %s", host, viaHint)}
		}
		return "tls-alpn-01", nil
	}
	path, token := r.cfg.Probe(host)
	reach, err := r.cfg.World.Reach(ctx, host, path, token)
	if err == nil {
		err = firstError(reach)
	}
	if err != nil {
		return "", &blocked{step: state.WaitingDNS,
			err:    fmt.Errorf("%s does not lead to this server as far as can be seen from here: %w", host, err),
			remedy: fmt.Sprintf("let every A and AAAA record of %s lead to this server, with ports 80 and 443 open; %s", host, viaHint)}
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
		if f.Err != nil {
			return located(f)
		}
		tried = tried || f.Skipped == ""
	}
	if !tried {
		return errNotTried(fetches)
	}
	return nil
}

// located is the error of f with the address that it is about.
func located(f state.Fetch) error {
	if f.Address == "" {
		return fmt.Errorf("%s: %w", f.Family, f.Err)
	}
	return fmt.Errorf("%s %s: %w", f.Family, f.Address, f.Err)
}

// errNotTried says why no address could be tried.
func errNotTried(fetches []state.Fetch) error {
	var why []string
	for _, f := range fetches {
		if !slices.Contains(why, f.Skipped) {
			why = append(why, f.Skipped)
		}
	}
	return fmt.Errorf("none of its addresses can be tried from here (%s); add one that can, or set [prove] via", strings.Join(why, ", "))
}
