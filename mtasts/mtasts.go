// Package mtasts holds the values of SMTP MTA Strict Transport Security
// (MTA-STS, RFC 8461): the policy that a domain serves over HTTPS, the TXT
// record that announces it, and the id by which the one names the other.
//
// It reads as a conforming sender reads: all that the grammar of RFC 8461
// allows, and nothing else, so that what parses here is a policy to every
// sender. It writes one canonical form. It is pure: no I/O, no clock.
package mtasts

import (
	"strings"
	"time"
)

const (
	// MaxMaxAge is the longest that a sender may keep a policy, about a year
	// (RFC 8461 §3.2, max_age).
	MaxMaxAge = 31557600 * time.Second

	// MaxBodySize is how many bytes of a policy body are read at most. RFC 8461
	// §3.3 suggests 64 kilobytes to senders.
	MaxBodySize = 64 << 10

	// PolicyPath is the path at which a policy host serves its policy (RFC 8461
	// §3.3).
	PolicyPath = "/.well-known/mta-sts.txt"
)

// PolicyHost returns the policy host of a policy domain: the name that its
// policy is served under (RFC 8461 §3.3).
func PolicyHost(domain string) string { return policyLabel + domain }

// PolicyDomain returns the policy domain of a policy host, the inverse of
// [PolicyHost]; ok is false, and domain the host itself, if host is none.
func PolicyDomain(host string) (domain string, ok bool) { return strings.CutPrefix(host, policyLabel) }

// policyLabel is what a policy host's name begins with (RFC 8461 §3.3).
const policyLabel = "mta-sts."

// PolicyURL returns the only URL at which senders look for the policy of a
// policy domain (RFC 8461 §3.3).
func PolicyURL(domain string) string { return "https://" + PolicyHost(domain) + PolicyPath }

// RecordName returns the name of the TXT record that announces the policy of
// a policy domain (RFC 8461 §3.1), without trailing dot.
func RecordName(domain string) string { return "_mta-sts." + domain }
