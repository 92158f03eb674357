package caa

import (
	"fmt"
	"strings"
)

// Reason is why CAA records forbid an order.
type Reason string

// The reasons.
const (
	OtherCA         Reason = "another CA"       // no issue property names the CA
	OtherAccount    Reason = "another account"  // accounturi is not the account's (RFC 8657 §3)
	OtherMethod     Reason = "another method"   // validationmethods excludes the challenge (RFC 8657 §4)
	UnknownCritical Reason = "unknown critical" // a critical property that nobody knows (RFC 8659 §4.1.1)
)

// What a message shows of records that a stranger may have written: so many of
// them, and so many bytes of each.
const (
	maxShown  = 4
	maxRecord = 150
)

func clip(text string) string {
	if len(text) <= maxRecord {
		return text
	}
	return strings.ToValidUTF8(text[:maxRecord], "") + "…"
}

// Refusal is what CAA records forbid, and why.
type Refusal struct {
	Set     Set
	Records []Record // those that forbid it
	Reason  Reason
	Request Request
}

// Error names the records, where they stand, whom they forbid, and the remedy,
// in one line.
func (r *Refusal) Error() string {
	return r.what() + "; " + r.Remedy()
}

// OtherChallenge reports whether an order by another validation method may be
// permitted.
func (r *Refusal) OtherChallenge() bool { return r.Reason == OtherMethod }

func (r *Refusal) what() string {
	noun := "the CAA record at "
	if len(r.Records) > 1 {
		noun = "the CAA records at "
	}
	where := r.Set.Owner
	if r.Set.Alias != "" {
		where += ", to which " + r.Set.Alias + " is a CNAME,"
	}
	var list []string
	for i, rec := range r.Records {
		if i == maxShown {
			list = append(list, "…")
			break
		}
		list = append(list, clip(rec.String()))
	}
	text := noun + where + " (" + strings.Join(list, ", ") + ") "
	verb := "forbids "
	if len(r.Records) > 1 {
		verb = "forbid "
	}
	ca := strings.Join(r.Request.Identities, ", ")
	switch r.Reason {
	case OtherAccount:
		return text + verb + "the account " + r.Request.Account + " of " + ca + " to issue"
	case OtherMethod:
		return text + verb + ca + " to issue by " + r.Request.Method
	case UnknownCritical:
		return text + "is critical and of a kind that no CA knows, which " + verb + "every CA to issue"
	}
	return text + verb + ca + " to issue"
}

// Remedy is what the operator of the zone can do about it.
func (r *Refusal) Remedy() string {
	if r.Reason == UnknownCritical {
		mild := r.Records[0]
		mild.Flags &^= Critical
		return fmt.Sprintf("remove it, or make it %s. CAA %s", r.Set.Owner, clip(mild.String()))
	}
	value := r.Request.Identities[0]
	switch r.Reason {
	case OtherAccount:
		value += "; accounturi=" + r.Request.Account
	case OtherMethod:
		value += "; validationmethods=" + r.Request.Method
	}
	remedy := fmt.Sprintf("add %s. CAA 0 issue %q", r.Set.Owner, value)
	if r.Set.Alias != "" {
		remedy += fmt.Sprintf(", or give %s an A or AAAA record in place of the CNAME", r.Set.Alias)
	}
	return remedy
}
