// Package tlsrpt implements the values of SMTP TLS Reporting (RFC 8460): the
// record by which a domain asks for reports. It does no I/O.
package tlsrpt

import (
	"errors"
	"fmt"
	"net/mail"
	"net/url"
	"strings"
)

// recordVersion is what a record begins with (RFC 8460 §3, tlsrpt-version).
const recordVersion = "v=TLSRPTv1"

// Errors of a set of TXT records as a whole.
var (
	// ErrNoRecord says that none of the TXT records is one of TLSRPT.
	ErrNoRecord = errors.New(`no TXT record begins with "v=TLSRPTv1;"`)
	// ErrSeveralRecords says that senders act as if there were none (RFC 8460 §3).
	ErrSeveralRecords = errors.New(`more than one TXT record begins with "v=TLSRPTv1;"`)
)

// RecordName returns the name of the TXT record of a domain (RFC 8460 §3),
// without trailing dot.
func RecordName(domain string) string { return "_smtp._tls." + domain }

// Record asks for reports.
type Record struct {
	RUA []string // where reports go, in the order of the record: mailto: and https: URIs, and what else stands there
}

// Problem says what is wrong with an address that reports are to go to; nil if
// senders can use it. Reports go to mailto: and https: URIs and to no others
// (RFC 8460 §3, tlsrpt-rua).
func Problem(rua string) error {
	u, err := url.Parse(rua)
	if err != nil {
		return errors.New("it is no URI")
	}
	if strings.Contains(rua, "!") {
		return errors.New("it has a bare exclamation mark; write %21")
	}
	switch strings.ToLower(u.Scheme) {
	case "mailto":
		address, err := url.PathUnescape(u.Opaque)
		if err == nil {
			_, err = mail.ParseAddress(address)
		}
		if err != nil {
			return errors.New("it is no mail address")
		}
	case "https":
		if u.Host == "" {
			return errors.New("it names no host")
		}
	case "":
		return errors.New("it has no scheme; write mailto: before a mail address")
	default:
		return fmt.Errorf("reports are not sent by %s, only by mailto and https", u.Scheme)
	}
	return nil
}

// FindRecord returns the one TLSRPT record among the TXT records at a name, as
// senders find it; others are passed over. txts holds each record with its
// strings joined. The error wraps ErrNoRecord or ErrSeveralRecords, or is about
// the only candidate.
func FindRecord(txts []string) (Record, error) {
	var candidates []string
	for _, txt := range txts {
		if _, ok := cutVersion(txt); ok {
			candidates = append(candidates, txt)
		}
	}
	switch len(candidates) {
	case 0:
		return Record{}, ErrNoRecord
	case 1:
		return ParseRecord(candidates[0])
	}
	return Record{}, fmt.Errorf("%w: %.80q", ErrSeveralRecords, candidates)
}

// ParseRecord reads the text of a record by the grammar of RFC 8460 §3. Unknown
// fields are ignored. That an address can be used is for [Problem] to say.
func ParseRecord(txt string) (Record, error) {
	fields, ok := cutVersion(txt)
	if !ok {
		return Record{}, fmt.Errorf("the record does not begin with %s;", recordVersion)
	}
	var r Record
	seen := false
	for field := range strings.SplitSeq(fields, ";") {
		field = strings.Trim(field, " \t")
		if field == "" {
			continue
		}
		key, value, found := strings.Cut(field, "=")
		if !found || key == "" || strings.ContainsAny(key, " \t") {
			return Record{}, fmt.Errorf("%.80q is not a field, which is key=value", field)
		}
		if key != "rua" {
			continue
		}
		if seen {
			return Record{}, errors.New("rua stands twice; several addresses stand in one, with commas between")
		}
		seen = true
		for uri := range strings.SplitSeq(value, ",") {
			if uri = strings.Trim(uri, " \t"); uri == "" {
				return Record{}, errors.New("an address of rua is empty")
			}
			r.RUA = append(r.RUA, uri)
		}
	}
	if !seen {
		return Record{}, errors.New("there is no rua, so that nobody knows where to send reports")
	}
	return r, nil
}

// cutVersion returns what follows the version and its semicolon.
func cutVersion(txt string) (fields string, ok bool) {
	rest, ok := strings.CutPrefix(txt, recordVersion)
	if !ok {
		return "", false
	}
	return strings.CutPrefix(strings.TrimLeft(rest, " \t"), ";")
}
