package mtasts

import (
	"fmt"
	"slices"
	"strconv"
	"time"
)

// Mode is what a policy asks of senders (RFC 8461 §5).
type Mode string

const (
	// ModeEnforce forbids delivery to a host that fails the policy.
	ModeEnforce Mode = "enforce"
	// ModeTesting asks for reports of such hosts, but for delivery all the same.
	ModeTesting Mode = "testing"
	// ModeNone says that the domain has no policy (any more).
	ModeNone Mode = "none"
)

// Valid reports whether m is a mode of RFC 8461 §3.2. Modes are lower case.
func (m Mode) Valid() bool {
	return m == ModeEnforce || m == ModeTesting || m == ModeNone
}

// Policy is an MTA-STS policy (RFC 8461 §3.2).
type Policy struct {
	Mode   Mode
	MX     []string      // canonical MX patterns, as ParsePattern returns them, in the order of the body
	MaxAge time.Duration // how long a sender may keep the policy: whole seconds, 0 to MaxMaxAge
}

// Validate reports every rule that p breaks, as PolicyErrors, or nil.
func (p Policy) Validate() error {
	var faults PolicyErrors
	if !p.Mode.Valid() {
		faults.add(0, ruleMode, "mode %q is unknown", p.Mode)
	}
	if len(p.MX) == 0 && p.Mode != ModeNone {
		faults.add(0, ruleMXRequired, "there is no mx")
	}
	for _, pattern := range p.MX {
		if err := checkPattern(pattern); err != nil {
			faults.add(0, ruleMX, "mx %q: %v", pattern, err)
		} else if pattern != lower(pattern) {
			faults.add(0, ruleMX, "mx %q is not in canonical form; write %q", pattern, lower(pattern))
		}
	}
	if p.MaxAge < 0 || p.MaxAge > MaxMaxAge || p.MaxAge%time.Second != 0 {
		faults.add(0, ruleMaxAge, "max_age %v is not a whole number of seconds from 0 to %d", p.MaxAge, MaxMaxAge/time.Second)
	}
	return faults.err()
}

// Render returns the body to serve for p: version, mode, one mx for each
// pattern, max_age, every line ended by CRLF. Nothing else stands in it,
// because readers differ on all else. Equal policies give equal bytes, and
// ParsePolicy gives p back.
//
// The error says why p is not valid, or that the body would exceed
// MaxBodySize.
func (p Policy) Render() ([]byte, error) {
	if err := p.Validate(); err != nil {
		return nil, err
	}
	body := []byte("version: STSv1\r\nmode: " + string(p.Mode) + "\r\n")
	for _, pattern := range p.MX {
		body = append(body, "mx: "+pattern+"\r\n"...)
	}
	body = append(body, "max_age: "...)
	body = strconv.AppendInt(body, int64(p.MaxAge/time.Second), 10)
	body = append(body, "\r\n"...)
	if len(body) > MaxBodySize {
		return nil, PolicyErrors{tooLarge(len(body))}
	}
	return body, nil
}

// Covers reports whether an MX pattern of p matches the MX host.
func (p Policy) Covers(mxHost string) bool {
	return slices.ContainsFunc(p.MX, func(pattern string) bool { return MatchMX(pattern, mxHost) })
}

func tooLarge(size int) *PolicyError {
	return &PolicyError{
		Problem: fmt.Sprintf("a body of %d bytes is too large", size),
		Rule:    ruleSize,
	}
}
