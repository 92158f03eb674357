package main

import (
	"cmp"
	"context"
	"fmt"
	"slices"
	"time"

	"github.com/stshost/stshost/config"
	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
	"github.com/stshost/stshost/reconcile"
	"github.com/stshost/stshost/server"
)

// facts is what statuses are made of: from a running service, or from the
// store and the config when none runs.
type facts struct {
	cfg *config.Config
	// proxy says that a reverse proxy has the certificates. A running service
	// knows that from its start, whatever the config says by now.
	proxy bool
	cert  func(ctx context.Context, host string) (state.CertStatus, error)
	body  func(domain string) []byte
	mx    func(domain string) (state.MXWatch, bool) // false: the MX hosts were not looked at
	now   func() time.Time
	// rollout is how far a domain has been taken; false: it was never taken anywhere.
	rollout func(domain string) (state.RolloutStatus, bool)
	// place is where the record of a domain stands, as last seen: a CNAME at
	// its name leads there. nil: nobody has looked.
	// The error says why no record must stand there for the domain.
	place func(state.Target) (string, error)
}

// status is what can be said of one domain.
func (f facts) status(ctx context.Context, s reconcile.Snapshot) (server.DomainStatus, error) {
	host := mtasts.PolicyHost(s.State.Name)
	cert, err := f.cert(ctx, host)
	if err != nil {
		return server.DomainStatus{}, err
	}
	d := server.DomainStatus{
		Domain: s.State.Name, Host: host,
		Step: s.State.Step, Since: s.State.Since,
		Mode: string(s.State.Mode), ModeSource: "managed",
		ID: s.State.ID, Proof: s.State.Proof,
		CertificateExternal: cert.External, CertificateOwn: cert.Own,
		CertificateNotAfter: cert.NotAfter, CertificateProblem: cert.Problem, CertificateRemedy: cert.Remedy, CertificateNextTry: cert.NextTry,
		LastError: s.State.LastError, Remedy: s.State.Remedy, Attempts: s.State.Attempts,
		LastRun: s.State.LastRun, NextRun: s.State.NextRun,
		ConfigWaits: s.Waits, InConfig: !s.Orphan && !s.Wanted.Left,
	}
	if !s.Waits.IsZero() {
		d.NextRun = time.Time{} // as soon as it can be
	}
	if d.Step == state.WaitingDNS && d.LastRun.IsZero() {
		d.Step = "" // nobody has looked yet
	}
	if s.Orphan { // and nobody looks any more
		d.LastError, d.Remedy, d.Attempts, d.NextRun = "", "", 0, time.Time{}
	}
	if w, ok := f.mx(d.Domain); ok && !s.Orphan {
		showMX(&d, w)
	}
	switch {
	case s.Wanted.Mode != "":
		d.Mode, d.ModeSource = string(s.Wanted.Mode), "config "+s.Wanted.Source
	case s.State.Adopted:
		d.ModeSource = "adopted"
	}
	if body := f.body(d.Domain); body != nil {
		d.Body = string(body)
		if p, err := mtasts.ParsePolicy(body); err == nil {
			d.Mode, d.MaxAge = string(p.Mode), int64(p.MaxAge.Seconds())
		}
	}
	f.showRollout(&d, s)
	if account, ok := f.cfg.DNS[s.Wanted.Target.Account]; ok {
		d.DNSAccount, d.DNSProvider = account.Name, account.Provider
	}
	return d, nil
}

func (f facts) statuses(ctx context.Context, snapshots []reconcile.Snapshot) ([]server.DomainStatus, error) {
	all := make([]server.DomainStatus, 0, len(snapshots))
	for _, s := range snapshots {
		d, err := f.status(ctx, s)
		if err != nil {
			return nil, err
		}
		all = append(all, d)
	}
	all = append(all, f.retired()...)
	slices.SortFunc(all, func(a, b server.DomainStatus) int { return cmp.Compare(a.Domain, b.Domain) })
	return all, nil
}

// unserved is the status of a domain that the reconciler does not know.
func (f facts) unserved(name string) (server.DomainStatus, error) {
	all := f.retired()
	if i := slices.IndexFunc(all, func(d server.DomainStatus) bool { return d.Domain == name }); i >= 0 {
		return all[i], nil
	}
	return server.DomainStatus{}, errUnknownDomain(name)
}

// records are the DNS records that a domain needs.
func (f facts) records(s reconcile.Snapshot) []server.DNSRecord {
	r := f.cfg.Records
	ttl := int64(r.TTL.Seconds())
	host := mtasts.PolicyHost(s.State.Name)
	leads := "leads senders and the CA to this server"
	if f.proxy {
		leads = "leads senders to the reverse proxy in front of this server, which has the certificate"
	}
	var all []server.DNSRecord
	for _, a := range r.Addresses {
		typ := "A"
		if a.Is6() {
			typ = "AAAA"
		}
		all = append(all, server.DNSRecord{Name: host, Type: typ, TTL: ttl, Data: a.String(), Purpose: leads})
	}
	if r.CNAME != "" {
		all = append(all, server.DNSRecord{Name: host, Type: "CNAME", TTL: ttl, Data: r.CNAME, Purpose: leads})
	}
	if len(all) == 0 {
		all = append(all, server.DNSRecord{Name: host, Type: "A", TTL: ttl,
			Purpose: leads + "; its address is not in the config: set addresses or cname in [records]"})
	}
	txt := server.DNSRecord{Name: mtasts.RecordName(s.State.Name), Type: "TXT", TTL: ttl,
		Managed: !s.Orphan && f.cfg.DNS[s.Wanted.Target.Account].Provider != config.PrintAccount,
		Purpose: "announces the policy that is served"}
	if f.place != nil && !s.Orphan {
		place, refused := f.place(s.Wanted.Target)
		if refused != nil {
			txt.Problem, txt.Managed = refused.Error(), false
			return append(all, txt)
		}
		if place != txt.Name {
			txt.Purpose += "; " + txt.Name + " is a CNAME that leads here"
			txt.Name = place
		}
	}
	if s.State.ID != "" {
		txt.Data = mtasts.Record{ID: s.State.ID}.String()
	} else {
		txt.Purpose += "; its id is made once the policy has been fetched back"
	}
	return append(all, txt)
}

// errUnknownDomain says that a domain is neither configured nor known.
func errUnknownDomain(name string) error {
	return fmt.Errorf("%w: the domain %s is not in the config; add a [[domain]] for it and reload", state.ErrNotFound, name)
}
