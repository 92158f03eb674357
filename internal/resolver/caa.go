package resolver

import (
	"context"
	"errors"
	"strings"

	"github.com/miekg/dns"

	"github.com/stshost/stshost/internal/caa"
)

// CAA returns the CAA records that count for host (RFC 8659 §3): those of the
// first name that has any, from host itself up to the top-level domain. At
// each name aliases are followed as in any look-up, so that records at the
// target of a CNAME count, and those above the target do not. A set without
// records says that there are none.
//
// An error that is not a matter of ctx is one that a CA has, too, as a rule: it
// must not issue when it cannot tell (RFC 8659 §3, Baseline Requirements
// §3.2.2.8).
func (r *Resolver) CAA(ctx context.Context, host string) (caa.Set, error) {
	full := dns.CanonicalName(host)
	if _, ok := dns.IsDomainName(full); !ok || full == "." {
		return caa.Set{}, &Error{Name: host, Type: "CAA", Err: errors.New("this is not a domain name")}
	}
	for off, end := 0, false; !end; off, end = dns.NextLabel(full, off) {
		name := full[off:]
		a, err := r.find(ctx, trimDot(name), dns.TypeCAA)
		if errors.Is(err, ErrNotFound) {
			continue
		}
		if errors.Is(err, errRefused) && off > 0 {
			// No resolver but the name server of a zone, as private networks
			// have it: above its zone it has nothing to say.
			return caa.Set{}, nil
		}
		if err != nil {
			return caa.Set{}, err
		}
		set := caa.Set{Owner: strings.ToLower(a.Owner)}
		if owner := trimDot(name); owner != set.Owner {
			set.Alias = owner
		}
		for _, rr := range a.Records {
			c := rr.(*dns.CAA)
			set.Records = append(set.Records, caa.Record{Flags: c.Flag, Tag: c.Tag, Value: c.Value})
		}
		return set, nil
	}
	return caa.Set{}, nil
}
