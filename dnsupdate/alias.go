package dnsupdate

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/miekg/dns"
	"golang.org/x/sync/errgroup"

	"github.com/stshost/stshost/internal/resolver"
	"github.com/stshost/stshost/internal/state"
)

// RFC 8461 §8.2: a domain may delegate its MTA-STS by CNAME. Senders follow the
// alias at _mta-sts.<domain>, so the record is written, and looked for, at the
// end of the chain.

// maxAliases bounds a chain of CNAMEs, as resolvers do.
const maxAliases = 8

// maxAsked bounds how many authoritative servers are asked at once.
const maxAsked = 8

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

// answer is what one authoritative server says about a name.
type answer struct {
	server resolver.AuthServer
	txt    []string
	alias  string // canonical; "" if the name is none
	err    error
}

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
	var silent []answer // on the way
	for {
		answers, err := u.ask(ctx, r.zone, r.name)
		switch {
		case err != nil && r.aliased():
			return nil, r.onTheWay(err)
		case err != nil:
			return r, err
		}
		next, split := agree(r.name, answers)
		if split != nil || next == "" {
			r.split = split
			for _, a := range append(silent, answers...) {
				r.views = append(r.views, a.view(r.name))
			}
			r.views = reachable(r.views)
			for _, a := range answers {
				if !slices.Contains(r.servers, a.server.Name) {
					r.servers = append(r.servers, a.server.Name)
				}
			}
			u.remember(ctx, r)
			return r, nil
		}
		for _, a := range answers {
			if a.err != nil {
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

// ask asks every authoritative server of the zone about the name.
func (u *Updater) ask(ctx context.Context, zone, name string) ([]answer, error) {
	servers, err := u.cfg.Resolver.AuthServers(ctx, zone)
	if err != nil {
		return nil, err
	}
	answers := make([]answer, len(servers))
	var g errgroup.Group
	g.SetLimit(maxAsked)
	for i, s := range servers {
		g.Go(func() error {
			answers[i] = u.askOne(ctx, s, name)
			return nil
		})
	}
	g.Wait()
	return answers, ctx.Err()
}

// askOne asks one server. An alias that only a wildcard makes appear is no
// answer about the name: nothing stands there, and a record overrides it.
func (u *Updater) askOne(ctx context.Context, s resolver.AuthServer, name string) answer {
	a := answer{server: s}
	var alias *resolver.AliasError
	a.txt, a.err = u.cfg.Resolver.AuthTXT(ctx, s, trimDot(name))
	if !errors.As(a.err, &alias) {
		return a
	}
	a.alias, a.err = dns.CanonicalName(alias.Target), nil
	// RFC 4592 §2.2.3: an answer does not tell. A neighbour of the name, which
	// surely does not exist, has the same alias if it is a wildcard's.
	parent := "."
	if off, end := dns.NextLabel(name, 0); !end {
		parent = name[off:]
	}
	_, err := u.cfg.Resolver.AuthTXT(ctx, s, "_stshost-"+strings.ToLower(rand.Text())+"."+parent)
	switch {
	case errors.As(err, &alias):
		if dns.CanonicalName(alias.Target) == a.alias {
			a.alias = ""
		}
	case err != nil:
		a.alias, a.err = "", err
	}
	return a
}

// agree returns the alias that all servers show which can be asked; "" if the
// name is none. The error names two that differ.
func agree(name string, answers []answer) (alias string, split error) {
	var first *answer
	for i, a := range answers {
		if a.err != nil {
			continue
		}
		if first == nil {
			first = &answers[i]
		}
		if a.alias != first.alias {
			return "", &advised{fmt.Errorf("the name servers do not agree on where %s leads: %s, and %s", trimDot(name), first.says(name), a.says(name)),
				"it is looked at again by itself; if it stays so, see why the name servers of the zone hold different data"}
		}
	}
	if first == nil {
		return "", nil
	}
	return first.alias, nil
}

// says tells what the server shows.
func (a answer) says(name string) string {
	if a.alias != "" {
		return fmt.Sprintf("%s shows a CNAME to %s", a.server, trimDot(a.alias))
	}
	return fmt.Sprintf("%s shows no CNAME", a.server)
}

// view is the answer as others take it. Where a server shows an alias and
// others do not, it does not show our record, wherever that stands.
func (a answer) view(name string) state.ServerTXT {
	v := state.ServerTXT{Server: a.server.String(), TXT: a.txt, Err: a.err}
	if a.alias != "" {
		v.Err = &advised{fmt.Errorf("%s, unlike others", a.says(name)), "it is asked again by itself until all name servers show the same"}
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
