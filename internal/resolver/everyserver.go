package resolver

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"

	"github.com/miekg/dns"
	"golang.org/x/sync/errgroup"
)

// maxAsked bounds how many authoritative servers are asked at once.
const maxAsked = 8

// AuthAnswer is what one authoritative server says about a TXT name.
type AuthAnswer struct {
	Server AuthServer
	TXT    []string // each record's strings joined
	Alias  string   // where a CNAME at the name leads, canonical; "" if there is none
	Err    error    // it could not be asked; all else means nothing then
}

// EveryTXT asks every address of every name server of zone for the TXT records
// of name, in the order of the NS records. CNAMEs are not followed. The error
// says why nobody could be asked, or that ctx ended.
func (r *Resolver) EveryTXT(ctx context.Context, zone, name string) ([]AuthAnswer, error) {
	servers, err := r.AuthServers(ctx, zone)
	if err != nil {
		return nil, err
	}
	answers := make([]AuthAnswer, len(servers))
	var g errgroup.Group
	g.SetLimit(maxAsked)
	for i, s := range servers {
		g.Go(func() error {
			answers[i] = r.authAnswer(ctx, s, name)
			return nil
		})
	}
	g.Wait()
	return answers, ctx.Err()
}

// authAnswer asks one server. An alias that only a wildcard makes appear is no
// answer about the name: nothing stands there, and a record overrides it.
func (r *Resolver) authAnswer(ctx context.Context, s AuthServer, name string) AuthAnswer {
	a := AuthAnswer{Server: s}
	var alias *AliasError
	a.TXT, a.Err = r.AuthTXT(ctx, s, trimDot(name))
	if !errors.As(a.Err, &alias) {
		return a
	}
	a.Alias, a.Err = dns.CanonicalName(alias.Target), nil
	_, err := r.AuthTXT(ctx, s, Neighbour(name))
	switch {
	case errors.As(err, &alias):
		if dns.CanonicalName(alias.Target) == a.Alias {
			a.Alias = ""
		}
	case err != nil:
		a.Alias, a.Err = "", err
	}
	return a
}

// Neighbour is a name beside name that surely does not exist. An answer does not
// tell that a wildcard gave it (RFC 4592 §2.2.3), but then the neighbour has the
// same.
func Neighbour(name string) string {
	name = dns.Fqdn(name)
	parent := "."
	if off, end := dns.NextLabel(name, 0); !end {
		parent = name[off:]
	}
	return trimDot("_stshost-" + strings.ToLower(rand.Text()) + "." + parent)
}

// SplitError says that authoritative servers do not agree on where a name leads.
type SplitError struct {
	Name          string // canonical
	First, Second AuthAnswer
}

func (e *SplitError) Error() string {
	return fmt.Sprintf("the name servers do not agree on where %s leads: %s, and %s", trimDot(e.Name), e.First.Says(), e.Second.Says())
}

// Agreed returns the alias that all servers show which could be asked; "" if the
// name is none. The error, a *SplitError, names two that differ.
func Agreed(name string, answers []AuthAnswer) (alias string, err error) {
	var first *AuthAnswer
	for i, a := range answers {
		if a.Err != nil {
			continue
		}
		if first == nil {
			first = &answers[i]
		}
		if a.Alias != first.Alias {
			return "", &SplitError{Name: name, First: *first, Second: a}
		}
	}
	if first == nil {
		return "", nil
	}
	return first.Alias, nil
}

// Says tells whether the server shows a CNAME.
func (a AuthAnswer) Says() string {
	if a.Alias != "" {
		return fmt.Sprintf("%s shows a CNAME to %s", a.Server, trimDot(a.Alias))
	}
	return fmt.Sprintf("%s shows no CNAME", a.Server)
}
