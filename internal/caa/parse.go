package caa

import "strings"

// parseIssue takes the value of an issue property apart (RFC 8659 §4.2):
//
//	issue-value = *WSP [issuer-domain-name *WSP] [";" *WSP [parameters *WSP]]
//
// Each parameter has the values that were given for it, its tag in lower case.
// A value that is not ok names no CA, so that it permits none.
func parseIssue(value string) (ca string, params map[string][]string, ok bool) {
	ca, rest, _ := strings.Cut(value, ";")
	ca = strings.Trim(ca, wsp)
	if ca != "" && !isIssuerDomain(ca) {
		return "", nil, false
	}
	params = make(map[string][]string)
	rest = strings.Trim(rest, wsp)
	if rest == "" {
		return ca, params, true
	}
	for part := range strings.SplitSeq(rest, ";") {
		tag, val, found := strings.Cut(part, "=")
		tag, val = strings.Trim(tag, wsp), strings.Trim(val, wsp)
		if !found && tag == "" {
			continue // a ';' too many, which is not in the grammar; CAs let it pass
		}
		if !found || !isLabel(tag) || !isValue(val) {
			return "", nil, false
		}
		tag = strings.ToLower(tag)
		params[tag] = append(params[tag], val)
	}
	return ca, params, true
}

// wsp is WSP of RFC 5234.
const wsp = " \t"

// isIssuerDomain is label *("." label).
func isIssuerDomain(s string) bool {
	for label := range strings.SplitSeq(s, ".") {
		if !isLabel(label) {
			return false
		}
	}
	return true
}

// isLabel is (ALPHA / DIGIT) *( *("-") (ALPHA / DIGIT)).
func isLabel(s string) bool {
	for i := range len(s) {
		switch c := s[i]; {
		case 'a' <= c && c <= 'z', 'A' <= c && c <= 'Z', '0' <= c && c <= '9':
		case c == '-' && i > 0 && i < len(s)-1:
		default:
			return false
		}
	}
	return s != ""
}

// isValue is *(%x21-3A / %x3C-7E): printable without blanks and ";".
func isValue(s string) bool {
	for i := range len(s) {
		if c := s[i]; c <= ' ' || c > '~' || c == ';' {
			return false
		}
	}
	return true
}
