package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"text/tabwriter"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
	"github.com/stshost/stshost/server"
)

// A command that takes a DOMAIN takes the hosts as well: what events and
// messages name may be pasted. mta-sts.X means X, unless it is a domain of its
// own.

// askDomain asks about the domain of that name, or the one whose policy host it
// is.
func askDomain[T any](ctx context.Context, name string, ask func(context.Context, string) (T, error)) (T, error) {
	v, err := ask(ctx, name)
	if domain, ok := mtasts.PolicyDomain(name); ok && errors.Is(err, state.ErrNotFound) {
		if v, err := ask(ctx, domain); !errors.Is(err, state.ErrNotFound) {
			return v, err
		}
	}
	return v, err
}

// furtherHost finds a host beside the policy hosts; nil if it is none.
func furtherHost(ctx context.Context, r reader, name string) (*server.HostStatus, error) {
	all, err := r.Hosts(ctx)
	for _, h := range all {
		if h.Host == name {
			return &h, nil
		}
	}
	return nil, err
}

// whom makes q ask for the events of a name: those of the domain, or of the
// host that it is. It fails where nothing at all is known of the name.
func whom(ctx context.Context, r reader, q *state.EventQuery, name string) error {
	ways := []state.EventQuery{{Domain: name}, {Host: name}}
	if domain, ok := mtasts.PolicyDomain(name); ok {
		ways = []state.EventQuery{{Domain: name}, {Domain: domain}}
	}
	for _, way := range ways {
		found, err := r.Events(ctx, state.EventQuery{Domain: way.Domain, Host: way.Host, Newest: true, Limit: 1}, 0)
		if err != nil {
			return err
		}
		if len(found) > 0 {
			q.Domain, q.Host = way.Domain, way.Host
			return nil
		}
	}
	h, err := furtherHost(ctx, r, name)
	if err != nil {
		return err
	}
	if h != nil {
		q.Domain, q.Host = "", name
		return nil
	}
	d, err := askDomain(ctx, name, r.Domain)
	if errors.Is(err, state.ErrNotFound) {
		return fmt.Errorf("nothing is known of %s: it is not in the config, and no event about it is kept", name)
	}
	q.Domain, q.Host = d.Domain, ""
	return err
}

// printHost shows all about a host beside the policy hosts.
func printHost(w io.Writer, h server.HostStatus) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	for _, row := range [][2]string{
		{"further host", h.Host},
		{"certificate until", cmp.Or(stamp(h.CertificateNotAfter), "-")},
		{"own certificate", h.CertificateOwn},
		{"certificate problem", h.CertificateProblem},
		{"certificate next try", stamp(h.CertificateNextTry)},
		{"last look", stamp(h.LastRun)},
		{"next look", stamp(h.NextRun)},
		{"news", h.Trouble()},
		{"remedy", h.Remedy},
	} {
		if row[1] != "" {
			fmt.Fprintf(tw, "%s:\t%s\n", row[0], row[1])
		}
	}
	return tw.Flush()
}
