package dnsupdate

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"

	"github.com/miekg/dns"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
)

// owners knows which names are whose, so that no two domains write to one: the
// id names one domain's policy, and two would change it to and fro. A name
// belongs to the domain whose record name it is, and else to the first domain
// that writes there by way of a CNAME. The zero value is ready for use.
type owners struct {
	mu     sync.Mutex
	names  map[string]string // record name → domain, as configured
	claims map[string]string // end of an alias → the record name that leads and writes there
	leads  map[string]string // record name → end of its alias as last seen
	// refused are the record names whose alias leads where nothing is written for
	// them, and why.
	refused map[string]error
}

// conflictError says that a domain's CNAME leads where another domain's record
// stands.
type conflictError struct {
	route  *route
	domain string
	other  string
	why    string
}

func (e *conflictError) Error() string {
	return fmt.Sprintf("%s, and %s; two domains cannot share one record, for the id in it names the policy of one of them: %s is left alone for %s",
		e.route.chain(), e.why, trimDot(e.route.name), e.other)
}

// Remedy says what the operator can do about it.
func (e *conflictError) Remedy() string {
	return fmt.Sprintf("give each domain a target of its own: make the CNAME at %s lead to a name such as %s.%s, or take %s out of the config",
		trimDot(e.route.own), e.domain, trimDot(e.route.zone), e.domain)
}

// SetOwners tells which record names are configured, and for which domain, e.g.
// "_mta-sts.example.com" for "example.com". An alias that leads to another
// domain's name is not written to. Claims of domains that are not among them
// any more are released.
func (u *Updater) SetOwners(names map[string]string) {
	o := &u.owners
	o.mu.Lock()
	defer o.mu.Unlock()
	o.names = make(map[string]string, len(names))
	for name, domain := range names {
		o.names[dns.CanonicalName(name)] = domain
	}
	for name, by := range o.claims {
		_, owned := o.names[name]
		if _, known := o.names[by]; owned || !known {
			delete(o.claims, name)
		}
	}
	for name := range o.leads {
		if _, known := o.names[name]; !known {
			delete(o.leads, name)
		}
	}
	for name := range o.refused {
		if _, known := o.names[name]; !known {
			delete(o.refused, name)
		}
	}
}

// RecordPlace returns the name at which the record of a target stands, as it was
// last seen: the target's own, or where its CNAME leads. Without trailing dot.
// The error says why no record is written there for the target, and must not be:
// the name is another domain's, or the account cannot change it.
func (u *Updater) RecordPlace(target state.Target) (string, error) {
	u.owners.mu.Lock()
	defer u.owners.mu.Unlock()
	own := dns.CanonicalName(target.Name)
	if end, ok := u.owners.leads[own]; ok {
		return trimDot(end), u.owners.refused[own]
	}
	return target.Name, nil
}

// noteRefusal keeps the outcome of a look, or of a change, for RecordPlace. A look
// that went well does not tell whether the account could change the place.
func (u *Updater) noteRefusal(target state.Target, err error, changed bool) {
	o, own := &u.owners, dns.CanonicalName(target.Name)
	o.mu.Lock()
	defer o.mu.Unlock()
	switch {
	case errors.As(err, new(*conflictError)), errors.As(err, new(*foreignError)):
		if o.refused == nil {
			o.refused = make(map[string]error)
		}
		o.refused[own] = err
	case err == nil && (changed || errors.As(o.refused[own], new(*conflictError))):
		delete(o.refused, own)
	}
}

// remember notes where a name leads now. A name that leads elsewhere than before
// gives up what it had claimed.
func (u *Updater) remember(ctx context.Context, r *route) {
	if r.split != nil || !slices.ContainsFunc(r.views, func(v state.ServerTXT) bool { return v.Err == nil }) {
		return
	}
	o := &u.owners
	o.mu.Lock()
	before := o.leads[r.own]
	if before == "" && !r.aliased() || before == r.name {
		o.mu.Unlock()
		return
	}
	if o.claims[before] == r.own {
		delete(o.claims, before)
	}
	if o.leads == nil {
		o.leads = make(map[string]string)
	}
	delete(o.refused, r.own) // that was about another place
	o.leads[r.own] = r.name
	if !r.aliased() {
		delete(o.leads, r.own)
	}
	o.mu.Unlock()
	log := u.cfg.Logger.With("domain", domainOf(r.own), "host", trimDot(r.own))
	switch {
	case before == "":
		log.InfoContext(ctx, "the record's name is a CNAME, which is followed", "target", trimDot(r.name), "zone", r.zone)
	case !r.aliased():
		log.WarnContext(ctx, "the record's name is no CNAME any more; the record at its former target is left there", "former", trimDot(before))
	default:
		log.WarnContext(ctx, "the record's name leads elsewhere than before; the record at its former target is left there",
			"target", trimDot(r.name), "zone", r.zone, "former", trimDot(before))
	}
}

// mayUse returns an error if the end of the route is another domain's. seen are
// TXT records that stand there. If the domain's own record is among them, the
// name is claimed for it: claims are lost at a restart, and once the domain has a
// new id nothing would tell whose the old record is.
func (u *Updater) mayUse(ctx context.Context, r *route, seen []string) error {
	if !r.aliased() {
		return nil
	}
	refuse := func(other, format string, args ...any) error {
		return &conflictError{route: r, domain: domainOf(r.own), other: other, why: fmt.Sprintf(format, args...)}
	}
	o := &u.owners
	o.mu.Lock()
	owner, owned := o.names[r.name]
	claimant := o.claims[r.name]
	o.mu.Unlock()
	switch {
	case owned:
		return refuse(owner, "that is the name of the domain %s", owner)
	case claimant != "" && claimant != r.own:
		return refuse(domainOf(claimant), "%s leads there too", trimDot(claimant))
	case u.cfg.Announcer == nil:
		return nil
	}
	known := false
	for _, txt := range seen {
		rec, err := mtasts.ParseRecord(txt)
		if err != nil {
			continue
		}
		switch by := u.cfg.Announcer(ctx, rec.ID, domainOf(r.own)); by {
		case "":
		case domainOf(r.own):
			known = true
		default:
			return refuse(by, "the record that stands there is that of the domain %s", by)
		}
	}
	if known {
		_, err := u.claim(r)
		return err
	}
	return nil
}

// claim takes the end of the route for the domain; fresh says that it was free.
func (u *Updater) claim(r *route) (fresh bool, err error) {
	if !r.aliased() {
		return false, nil
	}
	o := &u.owners
	o.mu.Lock()
	defer o.mu.Unlock()
	switch by := o.claims[r.name]; by {
	case r.own:
		return false, nil
	case "":
		if o.claims == nil {
			o.claims = make(map[string]string)
		}
		o.claims[r.name] = r.own
		return true, nil
	default:
		return false, &conflictError{route: r, domain: domainOf(r.own), other: domainOf(by), why: trimDot(by) + " leads there too"}
	}
}

// release gives a claim up under which nothing was written.
func (u *Updater) release(r *route) {
	u.owners.mu.Lock()
	defer u.owners.mu.Unlock()
	if u.owners.claims[r.name] == r.own {
		delete(u.owners.claims, r.name)
	}
}

// domainOf is the policy domain that a record name belongs to.
func domainOf(name string) string {
	return strings.TrimPrefix(trimDot(name), "_mta-sts.")
}
