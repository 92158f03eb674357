package mtasts

import (
	"cmp"
	"errors"
	"fmt"
	"net/netip"
	"net/url"
	"strings"

	"golang.org/x/net/idna"
)

// Limits of the DNS in the text form of a name (RFC 1035 §2.3.4).
const (
	maxName  = 253
	maxLabel = 63
)

// ParseDomain returns the canonical form of a policy domain or host name:
// lower-case A-labels (RFC 5890 §2.3.2.1) without trailing dot. U-labels are
// converted, and one trailing dot is dropped. Labels are letters, digits and
// inner hyphens (RFC 5321 §4.1.2, sub-domain); IP addresses are refused.
func ParseDomain(s string) (string, error) {
	name, err := canonicalName(strings.TrimSuffix(s, "."))
	if err != nil {
		return "", fmt.Errorf("%q is not a domain name: %w", s, cmp.Or(mistaken(s), err))
	}
	return name, nil
}

// mistaken says what s is that has a domain name in it and is more than that;
// nil if it is nothing of the kind. Nobody is silently given what he has not
// asked for: a list of mail addresses is the wrong list.
func mistaken(s string) error {
	inner := func(s string) string {
		name, err := canonicalName(strings.TrimSuffix(s, "."))
		if err != nil {
			return ""
		}
		return name
	}
	if u, err := url.Parse(s); err == nil && u.Scheme != "" && inner(u.Hostname()) != "" {
		host := inner(u.Hostname())
		if domain, ok := PolicyDomain(host); ok && strings.Contains(domain, ".") {
			host = domain
		}
		return fmt.Errorf("it is a URL; write its domain alone, %s", host)
	}
	if at := strings.LastIndexByte(s, '@'); at >= 0 && inner(s[at+1:]) != "" {
		return fmt.Errorf("it is a mail address; write its domain alone, %s", inner(s[at+1:]))
	}
	if domain, ok := strings.CutPrefix(lower(s), RecordName("")); ok && inner(domain) != "" {
		return fmt.Errorf("it is the name of a record, and no host name; write the domain alone, %s", inner(domain))
	}
	return nil
}

// ParsePattern returns the canonical form of an MX pattern (RFC 8461 §3.2): a
// host name as by ParseDomain, or "*." and such a name. Unlike there, a
// trailing dot is refused: senders do not agree on what it would match.
func ParsePattern(s string) (string, error) {
	host, wildcard := strings.CutPrefix(s, "*.")
	name, err := canonicalName(host)
	if err != nil {
		return "", fmt.Errorf("%q is not an MX pattern: %w", s, err)
	}
	if wildcard {
		return "*." + name, nil
	}
	return name, nil
}

// MatchMX reports whether an MX pattern matches the name of an MX host (RFC
// 8461 §4.1). "*." stands for exactly one label: *.example.com matches
// a.example.com, but neither example.com nor a.b.example.com. Case does not
// matter, nor does a trailing dot of the host, which DNS libraries add.
func MatchMX(pattern, host string) bool {
	pattern, host = lower(pattern), lower(strings.TrimSuffix(host, "."))
	suffix, wildcard := strings.CutPrefix(pattern, "*.")
	if !wildcard {
		return host != "" && host == pattern
	}
	label, parent, _ := strings.Cut(host, ".")
	return label != "" && parent != "" && parent == suffix
}

// canonicalName returns s in lower-case A-labels.
func canonicalName(s string) (string, error) {
	s = lower(s)
	// Names in plain ASCII stay away from IDNA: it would refuse hosts that are
	// in use, such as those with hyphens in the third and fourth place.
	if !isASCII(s) || strings.HasPrefix(s, "xn--") || strings.Contains(s, ".xn--") {
		ascii, err := idna.Lookup.ToASCII(s)
		if err != nil {
			return "", err
		}
		s = ascii
	}
	if err := checkName(s); err != nil {
		return "", err
	}
	return s, nil
}

// checkPattern says what keeps s from being an MX pattern, in either case, as
// it stands in a policy (RFC 8461 §3.2, sts-policy-mx-value).
func checkPattern(s string) error {
	return checkName(strings.TrimPrefix(s, "*."))
}

// checkName says what keeps s from being a host name in ASCII, in either case
// (RFC 5321 §4.1.2, Domain).
func checkName(s string) error {
	switch {
	case s == "":
		return errors.New("the name is empty")
	case IsIP(s):
		return errors.New("it is an IP address; write the name of the host")
	case strings.HasSuffix(s, "."):
		return errors.New("leave out the dot at the end")
	case len(s) > maxName:
		return fmt.Errorf("%d characters are more than the %d that the DNS allows", len(s), maxName)
	}
	for label := range strings.SplitSeq(s, ".") {
		if err := checkLabel(label); err != nil {
			return err
		}
	}
	// No top-level domain is a number (RFC 3696 §2), and much software takes a
	// name that ends in one for an IPv4 address.
	if top := s[strings.LastIndexByte(s, '.')+1:]; strings.Trim(top, "0123456789") == "" {
		return fmt.Errorf("the last label %q is a number", top)
	}
	return nil
}

func checkLabel(label string) error {
	switch {
	case label == "":
		return errors.New("a label is empty; write one dot between labels")
	case strings.Contains(label, "*"):
		return errors.New(`"*" may only be the whole first label of an MX pattern, as in *.example.com`)
	case len(label) > maxLabel:
		return fmt.Errorf("label %q has more than %d characters", label, maxLabel)
	case label[0] == '-' || label[len(label)-1] == '-':
		return fmt.Errorf("label %q begins or ends with a hyphen", label)
	}
	for _, r := range label {
		if r > 0x7f || !isAlphanum(byte(r)) && r != '-' {
			return fmt.Errorf("label %q has %q; only letters, digits and hyphens may stand in a host name", label, r)
		}
	}
	return nil
}

// IsIP reports whether s is an IP address, bare or as an address literal of
// mail (RFC 5321 §4.1.3).
func IsIP(s string) bool {
	s = lower(strings.TrimSuffix(strings.TrimPrefix(s, "["), "]"))
	_, err := netip.ParseAddr(strings.TrimPrefix(s, "ipv6:"))
	return err == nil
}

func isASCII(s string) bool {
	for i := range len(s) {
		if s[i] > 0x7f {
			return false
		}
	}
	return true
}

// lower maps A-Z to a-z, as the DNS compares names (RFC 4343). strings.ToLower
// would also turn letters outside ASCII into ASCII, such as the Kelvin sign.
func lower(s string) string {
	return strings.Map(func(r rune) rune {
		if 'A' <= r && r <= 'Z' {
			return r + ('a' - 'A')
		}
		return r
	}, s)
}
