package dnsupdate

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/miekg/dns"

	"github.com/stshost/stshost/internal/resolver"
	"github.com/stshost/stshost/internal/state"
)

// RFC 8461 §8.2: a domain may delegate its MTA-STS by CNAME. Senders follow the
// alias at _mta-sts.<domain>, so the record is written, and looked for, at the
// end of the chain.

// maxAliases bounds a chain of CNAMEs, as resolvers do.
const maxAliases = 8

// route is where a target's record stands.
type route struct {
	own     string            // the target's name, canonical
	zone    string            // apex of the zone that name lies in, canonical
	name    string            // end of the chain, canonical; own if that is no alias
	via     []string          // the aliases on the way, own the first of them
	servers []string          // host names of the zone's name servers
	views   []state.ServerTXT // what the servers show at name; and those on the way that could not be asked
	split   error             // the servers do not agree on where an alias leads
}

func (r *route) aliased() bool { return len(r.via) > 0 }

// advised is an error with advice for the operator.
type advised struct {
	error
	remedy string
}

func (e *advised) Unwrap() error { return e.error }

// Remedy says what the operator can do about it.
func (e *advised) Remedy() string { return e.remedy }

// follow finds where the target's record stands. It asks every authoritative
// server on the way; an alias is followed if all that answer agree on it. Where
// the servers of the first zone cannot be found there is a route beside the
// error, to the name itself: the provider may know better.
func (u *Updater) follow(ctx context.Context, target state.Target) (*route, error) {
	zone, err := u.ownZone(ctx, target)
	if err != nil {
		return nil, err
	}
	r := &route{own: dns.CanonicalName(target.Name), zone: zone}
	r.name = r.own
	var silent []resolver.AuthAnswer // on the way
	for {
		answers, err := u.cfg.Resolver.EveryTXT(ctx, r.zone, r.name)
		switch {
		case err != nil && r.aliased():
			return nil, r.onTheWay(err)
		case err != nil:
			return r, err
		}
		next, split := resolver.Agreed(r.name, answers)
		if split != nil || next == "" {
			if split != nil {
				r.split = &advised{split, "it is looked at again by itself; if it stays so, see why the name servers of the zone hold different data"}
			}
			for _, a := range append(silent, answers...) {
				r.views = append(r.views, view(a))
			}
			r.views = reachable(r.views)
			for _, a := range answers {
				if !slices.Contains(r.servers, a.Server.Name) {
					r.servers = append(r.servers, a.Server.Name)
				}
			}
			u.remember(ctx, r)
			return r, nil
		}
		for _, a := range answers {
			if a.Err != nil {
				silent = append(silent, a)
			}
		}
		r.via = append(r.via, r.name)
		r.name = next
		switch {
		case slices.Contains(r.via, next):
			return nil, &advised{fmt.Errorf("%s, which goes round in a circle", r.chain()), "correct the CNAMEs: the last must lead to a name that is none"}
		case !plain(next):
			return nil, &advised{fmt.Errorf("%s, and no record is written at such a name", r.chain()), "make the CNAME lead to a name of letters, digits, hyphens and underscores"}
		case len(r.via) > maxAliases:
			return nil, &advised{fmt.Errorf("%s: these are more than %d CNAMEs, and resolvers give up", r.chain(), maxAliases), "make the first CNAME lead to the last name directly"}
		}
		if r.zone, err = u.cfg.Resolver.FindZone(ctx, trimDot(next)); err != nil {
			return nil, r.onTheWay(err)
		}
	}
}

// view is an answer as others take it. Where a server shows an alias and others
// do not, it does not show our record, wherever that stands.
func view(a resolver.AuthAnswer) state.ServerTXT {
	v := state.ServerTXT{Server: a.Server.String(), TXT: a.TXT, Err: a.Err}
	if a.Alias != "" {
		v.Err = &advised{fmt.Errorf("%s, unlike others", a.Says()), "it is asked again by itself until all name servers show the same"}
	}
	return v
}

// reachable drops the addresses without a route if another one answered.
func reachable(views []state.ServerTXT) []state.ServerTXT {
	if !slices.ContainsFunc(views, func(v state.ServerTXT) bool { return v.Err == nil }) {
		return views
	}
	return slices.DeleteFunc(views, func(v state.ServerTXT) bool { return resolver.NoRoute(v.Err) })
}

// plain reports whether a name is of letters, digits, hyphens and underscores.
// Whoever points a CNAME at "*" would have one record answer for many names; and
// a dot within a label is one between labels to some APIs.
func plain(name string) bool {
	return !strings.ContainsFunc(name, func(c rune) bool {
		return (c < 'a' || c > 'z') && (c < '0' || c > '9') && c != '-' && c != '_' && c != '.'
	})
}

// chain tells the way: "_mta-sts.a.example is a CNAME to b.example, that one to
// c.example".
func (r *route) chain() string {
	var b strings.Builder
	for i, name := range append(slices.Clone(r.via), r.name) {
		switch i {
		case 0:
			b.WriteString(trimDot(name) + " is")
		case 1:
			b.WriteString(" a CNAME to " + trimDot(name))
		default:
			b.WriteString(", that one to " + trimDot(name))
		}
	}
	return b.String()
}

// onTheWay adds to an error about a name on the way how one came there.
func (r *route) onTheWay(err error) error {
	if !r.aliased() {
		return err
	}
	return &advised{fmt.Errorf("%s: %w", r.chain(), err), "correct the CNAME, or repair the zone that it leads to"}
}

// foreign explains that the account cannot change what the alias leads to.
func (r *route) foreign(account string, err error) error {
	return &foreignError{&advised{
		fmt.Errorf("%s, which lies in zone %s (name servers %s); the account %s cannot change it: %w",
			r.chain(), r.zone, strings.Join(r.servers, ", "), account, err),
		fmt.Sprintf("either make the CNAME lead to a name in a zone that the account %s can change, or choose for the domain, with `dns`, an account that can change %s", account, r.zone),
	}}
}

// foreignError says that the account cannot change what an alias leads to.
type foreignError struct{ *advised }
