package dnsupdate

import (
	"slices"
	"time"
)

// Two ways to carry out an edit, for the two kinds of APIs there are.

// change is one call to an API that changes records one by one.
type change struct {
	id   string // the record's; "" for a new one
	text string // what it says afterwards; "" deletes it
}

// changes carries out the edit one record at a time, for providers whose
// record.raw is an id. What must go goes first, and the last of it is rewritten
// in place: at no time are there more of our records than before, and none is
// missing.
func (e edit) changes() []change {
	var all []change
	drop := e.drop
	last := change{text: e.add}
	if e.add != "" && len(drop) > 0 {
		last.id, drop = drop[len(drop)-1].raw, drop[:len(drop)-1]
	}
	for _, r := range drop {
		all = append(all, change{id: r.raw})
	}
	if e.add != "" {
		all = append(all, last)
	}
	return all
}

// onto is the same edit of what stands at the name by now: what somebody else has
// added since it was read stays. Between the two there may be a wait for the
// account's turn.
func (e edit) onto(now []record) edit {
	next := edit{add: e.add}
	for _, r := range now {
		if slices.ContainsFunc(e.drop, func(d record) bool { return d.raw == r.raw }) {
			next.drop = append(next.drop, r)
		} else {
			next.keep = append(next.keep, r)
		}
	}
	return next
}

// after is the whole record set once the edit is carried out, in the provider's
// notation, for providers that replace it at once. What stays is the very text
// that they gave.
func (e edit) after() []string {
	var all []string
	for _, r := range e.keep {
		all = append(all, r.raw)
	}
	if e.add != "" {
		all = append(all, quoted(e.add))
	}
	return all
}

// before is the whole record set as it was read.
func (e edit) before() []string {
	var all []string
	for _, r := range append(append([]record{}, e.keep...), e.drop...) {
		all = append(all, r.raw)
	}
	return all
}

// quoted is a record of ours in the notation of a zone file: it has letters,
// digits and "=; ", and nothing to escape.
func quoted(txt string) string { return `"` + txt + `"` }

// recordOf is a TXT record in a provider's notation. One that cannot be read is
// none of ours, and is kept as it is.
func recordOf(raw string, ttl int) record {
	text, err := textOf(raw)
	if err != nil {
		text = raw
	}
	return record{text: text, raw: raw, ttl: time.Duration(ttl) * time.Second}
}
