package resolver

import (
	"context"
	"errors"
	"fmt"
	"net"
	"syscall"
)

// ErrNotFound says that the DNS answered, and that there is no such record:
// the name does not exist (NXDOMAIN) or has no record of the type (NODATA).
var ErrNotFound = errors.New("no such record")

// ErrServerFailure says that a resolver could not find out (SERVFAIL).
var ErrServerFailure = errors.New("the zone's name servers do not answer or its DNSSEC is broken")

// ErrAliasLoop says that CNAMEs lead on and on.
var ErrAliasLoop = errors.New("CNAMEs go round")

// Error is a question that was not answered with records.
type Error struct {
	Name   string // the name asked for, as the caller gave it
	Type   string // "TXT", "A", …
	Server string // who was asked last, "resolver 127.0.0.53:53" or "name server ns1.example.com (192.0.2.1:53)"; "" if nobody
	Err    error
}

func (e *Error) Error() string {
	switch {
	case errors.Is(e.Err, ErrNotFound):
		return fmt.Sprintf("%s has no %s record according to %s", e.Name, e.Type, e.Server)
	case e.Server == "":
		return fmt.Sprintf("%s %s: %v", e.Type, e.Name, e.Err)
	}
	return fmt.Sprintf("%s %v (asked for %s %s)", e.Server, e.Err, e.Type, e.Name)
}

func (e *Error) Unwrap() error { return e.Err }

// NotFound reports whether the DNS answered that there is no such record.
func (e *Error) NotFound() bool { return errors.Is(e.Err, ErrNotFound) }

// AliasError says that an authoritative server holds a CNAME at a name where
// records were looked for.
type AliasError struct {
	Name   string
	Target string // without trailing dot
}

func (e *AliasError) Error() string {
	return fmt.Sprintf("says that %s is a CNAME to %s", e.Name, e.Target)
}

// NoRoute reports whether err means that this machine has no way to an
// address at all, as a machine without IPv6 has none to an IPv6 address. That
// says nothing about the server at that address.
func NoRoute(err error) bool {
	return errors.Is(err, syscall.ENETUNREACH) ||
		errors.Is(err, syscall.EADDRNOTAVAIL) ||
		errors.Is(err, syscall.EAFNOSUPPORT)
}

// IsTimeout reports whether err is a deadline that passed.
func IsTimeout(err error) bool {
	var ne net.Error
	return errors.Is(err, context.DeadlineExceeded) || errors.As(err, &ne) && ne.Timeout()
}
