package server

import (
	"net/http"
	"net/netip"
	"slices"
	"strings"
)

// forwarded reports whether a proxy passes the request on for somebody else.
func forwarded(h http.Header) bool {
	for _, key := range []string{"X-Forwarded-For", "X-Forwarded-Proto", "X-Forwarded-Host", "Forwarded"} {
		if len(h.Values(key)) > 0 {
			return true
		}
	}
	return false
}

// forwardedSchemes are the schemes by which a request came from hop to hop, as
// far as the proxies say; none if the last of them does not.
func forwardedSchemes(h http.Header) []string {
	schemes := elements(h, "X-Forwarded-Proto")
	forwarded := forwardedParam(h, "proto")
	if n := len(forwarded); len(schemes) == 0 && n > 0 && forwarded[n-1] == "" {
		return nil
	}
	for _, scheme := range forwarded {
		if scheme != "" {
			schemes = append(schemes, scheme)
		}
	}
	return schemes
}

// forwardedParam returns one parameter of each element of Forwarded (RFC 7239
// §4), "" where an element does not have it.
func forwardedParam(h http.Header, name string) []string {
	var values []string
	for _, element := range elements(h, "Forwarded") {
		value := ""
		for _, pair := range splitQuoted(element, ';') {
			if k, v, ok := strings.Cut(pair, "="); ok && strings.EqualFold(k, name) {
				value = unquote(v)
			}
		}
		values = append(values, value)
	}
	return values
}

// elements are those of a header whose value is a list, over all its lines.
func elements(h http.Header, key string) []string {
	var all []string
	for _, line := range h.Values(key) {
		for _, e := range splitQuoted(line, ',') {
			if e != "" {
				all = append(all, e)
			}
		}
	}
	return all
}

// splitQuoted splits at sep outside of quoted strings (RFC 9110 §5.6.4), and
// trims white space. A quote that nobody closes is none: a client could open it
// to swallow what a proxy appends to its line.
func splitQuoted(s string, sep byte) []string {
	var parts []string
	quoted, from := false, 0
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] == '"':
			quoted = !quoted
		case s[i] == '\\' && quoted:
			i++
		case s[i] == sep && !quoted:
			parts = append(parts, strings.TrimSpace(s[from:i]))
			from = i + 1
		}
	}
	if quoted {
		parts = nil
		for part := range strings.SplitSeq(s, string(sep)) {
			parts = append(parts, strings.TrimSpace(part))
		}
		return parts
	}
	return append(parts, strings.TrimSpace(s[from:]))
}

// unquote takes the quotes off a quoted string; anything else stays as it is. No
// value that we ask for needs an escape.
func unquote(s string) string {
	if len(s) >= 2 && s[0] == '"' && s[len(s)-1] == '"' {
		return s[1 : len(s)-1]
	}
	return s
}

// addrOf is the IP address in an address with or without port, IPv6 in brackets
// or not; the zero Addr if there is none.
func addrOf(s string) netip.Addr {
	if ap, err := netip.ParseAddrPort(s); err == nil {
		return ap.Addr().Unmap().WithZone("")
	}
	a, err := netip.ParseAddr(strings.TrimSuffix(strings.TrimPrefix(s, "["), "]"))
	if err != nil {
		return netip.Addr{}
	}
	return a.Unmap().WithZone("")
}

// trusted reports whether addr is in one of the prefixes.
func trusted(prefixes []netip.Prefix, addr netip.Addr) bool {
	return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(addr) })
}
