// Package caa decides what Certification Authority Authorization records
// (RFC 8659, with the parameters of RFC 8657) say to an order for one host. It
// is what a CA decides before it issues, told beforehand and in words that
// name the record. Pure values: package resolver finds the records.
//
// Hosts here are never wildcards, so that the property issuewild does not
// count (RFC 8659 §4.3).
package caa

import (
	"fmt"
	"slices"
	"strconv"
	"strings"
)

// Critical is the bit of Record.Flags that forbids to issue whoever does not
// understand the property (RFC 8659 §4.1.1).
const Critical = 128

// Record is one CAA record (RFC 8659 §4.1).
type Record struct {
	Flags uint8
	Tag   string // property, e.g. "issue"; in any case
	Value string // bytes as on the wire
}

// String is the record's data as in a zone file. What no zone file has in a
// tag is quoted: a record comes from whoever runs the zone.
func (r Record) String() string {
	tag := r.Tag
	if !isLabel(tag) {
		tag = strconv.Quote(tag)
	}
	return fmt.Sprintf("%d %s %q", r.Flags, tag, r.Value)
}

// Set is the CAA records that count for a host (RFC 8659 §3).
type Set struct {
	// Owner is where the records stand, without trailing dot; "" if there are
	// none from the host up to the top-level domain.
	Owner string
	// Alias is the name, the host or one above it, that leads to Owner as a
	// CNAME; "" if none does.
	Alias   string
	Records []Record
}

// Request is an order that a CA is to be asked for.
type Request struct {
	// Identities are the names by which the CA knows itself in CAA records:
	// caaIdentities of its directory (RFC 8555 §9.7.6).
	Identities []string
	// Account is the URL of the ACME account (RFC 8657 §3); "" if it is not
	// known, and then no record is held against it.
	Account string
	// Method is how the host is validated, e.g. "tls-alpn-01" (RFC 8657 §4).
	Method string
}

// Permits is nil if the records of set let the CA issue. Otherwise it is a
// *Refusal. A CA that names no identities cannot be judged: it is permitted.
func Permits(set Set, identities []string, account, method string) error {
	if len(identities) == 0 {
		return nil
	}
	return Request{Identities: identities, Account: account, Method: method}.permitted(set)
}

func (q Request) permitted(set Set) error {
	var issues []Record
	for _, r := range set.Records {
		switch tag := strings.ToLower(r.Tag); { // RFC 8659 §4.1: in any case
		case tag == "issue":
			issues = append(issues, r)
		case r.Flags&Critical != 0 && !slices.Contains(registered(), tag):
			return &Refusal{Set: set, Records: []Record{r}, Reason: UnknownCritical, Request: q}
		}
	}
	if len(issues) == 0 {
		return nil // nothing restricts issuing for a name that is no wildcard (§4.2)
	}
	// One that permits is enough (§4.2); of those that do not, the one that
	// comes closest is worth telling of.
	refusal := &Refusal{Set: set, Records: issues, Reason: OtherCA, Request: q}
	for _, r := range issues {
		reason := q.judge(r)
		switch {
		case reason == "":
			return nil
		case reason == OtherCA:
		case refusal.Reason == OtherCA || reason == OtherMethod:
			refusal.Reason, refusal.Records = reason, []Record{r}
		}
	}
	return refusal
}

// registered are the properties that CAs know of, beside issue (IANA's registry
// of CAA properties): none of them restricts what is asked for here.
func registered() []string {
	return []string{"issuewild", "iodef", "issuemail", "issuevmc", "contactemail", "contactphone"}
}

// judge says why an issue property does not permit the request; "" if it does.
func (q Request) judge(r Record) Reason {
	ca, params, ok := parseIssue(r.Value)
	if !ok || ca == "" || !slices.ContainsFunc(q.Identities, func(id string) bool { return sameDomain(id, ca) }) {
		return OtherCA
	}
	accounts, methods := params["accounturi"], params["validationmethods"]
	switch {
	case len(accounts) > 1: // RFC 8657 §3: cannot be satisfied
		return OtherAccount
	case len(accounts) == 1 && q.Account != "" && accounts[0] != q.Account:
		return OtherAccount
	case len(methods) > 1: // not defined, and refused by the CAs that implement it
		return OtherMethod
	case len(methods) == 1 && q.Method != "" && !slices.Contains(strings.Split(methods[0], ","), q.Method):
		return OtherMethod
	}
	return ""
}

func sameDomain(a, b string) bool {
	return strings.EqualFold(strings.TrimSuffix(a, "."), strings.TrimSuffix(b, "."))
}
