package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"slices"
	"text/tabwriter"

	"github.com/stshost/stshost/reconcile"
	"github.com/stshost/stshost/server"
)

// hosts is what can be said of the hosts beside the policy hosts, sorted by
// name.
func (f facts) hosts(ctx context.Context, states []reconcile.HostState) ([]server.HostStatus, error) {
	all := make([]server.HostStatus, 0, len(states))
	for _, s := range states {
		cert, err := f.cert(ctx, s.Host)
		if err != nil {
			return nil, err
		}
		all = append(all, server.HostStatus{
			Host: s.Host, CertificateOwn: cert.Own,
			CertificateNotAfter: cert.NotAfter, CertificateProblem: cert.Problem, CertificateNextTry: cert.NextTry,
			LastError: s.LastError, Remedy: s.Remedy, LastRun: s.LastRun, NextRun: s.NextRun,
		})
	}
	slices.SortFunc(all, func(a, b server.HostStatus) int { return cmp.Compare(a.Host, b.Host) })
	return all, nil
}

// printHosts shows the hosts beside the policy hosts; nothing if there are none.
func printHosts(w io.Writer, all []server.HostStatus) error {
	if len(all) == 0 {
		return nil
	}
	fmt.Fprintln(w)
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "FURTHER HOST\tCERTIFICATE UNTIL\tNEWS\tREMEDY")
	for _, h := range all {
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\n", h.Host, day(h.CertificateNotAfter), glance(h.Trouble()), glance(h.Remedy))
	}
	return tw.Flush()
}
