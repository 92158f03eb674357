package dnsupdate

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"golang.org/x/time/rate"
)

// client is what a provider implements: the TXT records at one name, read and
// changed. Both may be called concurrently for different names. Errors are for
// operators; secrets in them are struck out by the caller.
type client interface {
	// read returns the TXT records that the provider holds at the name, not
	// what a cache remembers of them. A CNAME there is an *aliasError.
	read(ctx context.Context, at site) ([]record, error)
	// write carries out an edit that is not empty. It is atomic where the
	// provider can do that. After an error the state is unknown.
	write(ctx context.Context, at site, e edit) error
	// pacing is what holds requests back.
	pacing() *rate.Limiter
}

// site is the place of a record set. Both names are lower-case and end in a dot.
type site struct {
	zone string
	name string
	ttl  time.Duration // for the set that is written, at least a second
}

// record is one TXT record as a provider holds it.
type record struct {
	text     string        // strings joined, as bytes
	raw      string        // RDATA in the provider's own notation, to name this very record
	ttl      time.Duration // 0: unknown
	disabled bool          // held by the provider and not shown in the DNS
}

// edit is a change of the record set of one name.
type edit struct {
	keep []record // stays as it is
	drop []record
	add  string // "" adds nothing
}

func (e edit) empty() bool { return len(e.drop) == 0 && e.add == "" }

// dropped are the texts of what goes.
func (e edit) dropped() []string {
	var all []string
	for _, r := range e.drop {
		all = append(all, r.text)
	}
	return all
}

// environment is what providers are opened with.
type environment struct {
	transport http.RoundTripper
	now       func() time.Time
}

// aliasError says that the provider holds a CNAME at a name that is none
// according to the zone's name servers. One that they show is followed.
type aliasError struct{ name, target string }

func (e *aliasError) Error() string {
	return fmt.Sprintf("%s is a CNAME to %s at the provider, so no TXT record can stand beside it, and the name servers do not show that CNAME; "+
		"it is followed once they do, or else remove it", trimDot(e.name), trimDot(e.target))
}

// noZoneError says that an account cannot change a zone: the provider does not
// hold the zone for it, or does not let it.
type noZoneError struct{ text string }

func (e *noZoneError) Error() string { return e.text }

func noZone(format string, args ...any) error {
	return &noZoneError{fmt.Sprintf(format, args...)}
}

// pace waits until the account may send another request.
func pace(ctx context.Context, l *rate.Limiter) error {
	if err := l.Wait(ctx); err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("too many changes wait for this account; this one will be tried again: %w", err)
	}
	return nil
}
