package senders

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/stshost/stshost/mtasts"
)

// Deviation.Subject.
const (
	SubjectRecord = "record"
	SubjectPolicy = "policy"
)

// Deviation is one way in which readers read a record set or a policy
// otherwise than RFC 8461 does.
type Deviation struct {
	Subject   string // SubjectRecord or SubjectPolicy
	Line      int    // of the policy, from 1; 0 if it is about no one line
	Behaviour string // "a reader that rejects blank lines"
	Effect    string // what comes of it: "ignores this policy"
	// Harmful says that RFC 8461 takes it, and such a reader ignores it or
	// reads something else. If not, such a reader takes what RFC 8461 refuses.
	Harmful bool
	Readers []string // those that behave so, as Reader.Name has them
	Source  string   // which programs these are, or stand for
}

// Deviations returns where readers differ from RFC 8461 on the TXT records at
// _mta-sts.<domain>, each with its strings joined, and on the body of a
// policy; nil is none of either. A behaviour is told once, with the first line
// that shows it. On what this module renders, readers do not differ.
//
// Of a body beyond ASCII it also says what comes of a Content-Type without a
// charset; all else is said of one that names UTF-8.
func Deviations(txts []string, body []byte) []Deviation {
	var all deviations
	for _, r := range Readers()[1:] {
		all.record(r, txts)
	}
	for _, r := range Readers()[1:] {
		all.policy(r, body)
	}
	return all.list
}

// deviations gathers, and tells of one behaviour once.
type deviations struct{ list []Deviation }

func (d *deviations) record(r Reader, txts []string) {
	rfc, got := readRecordByRFC(txts), r.record(txts)
	switch {
	case rfc.OK && !got.OK:
		d.add(SubjectRecord, r, refusal(got.trail), "finds no valid record, and so no policy", true)
	case !rfc.OK && got.OK:
		effect := "takes this record although " + section(rfc.err) + " does not"
		d.add(SubjectRecord, r, causes(got.trail, tolerates, differs), effect, false)
	case rfc.OK && rfc.ID != got.ID:
		effect := fmt.Sprintf("reads id %.80q where RFC 8461 reads %q", got.ID, rfc.ID)
		d.add(SubjectRecord, r, causes(got.trail, differs, tolerates), effect, true)
	}
}

func (d *deviations) policy(r Reader, body []byte) {
	rfc, got := readPolicyByRFC(body, utf8Label), r.policy(body, utf8Label)
	switch {
	case rfc.OK && !got.OK:
		d.add(SubjectPolicy, r, refusal(got.trail), "ignores this policy", true)
	case !rfc.OK && got.OK:
		effect := "takes this policy although " + section(rfc.err) + " does not"
		d.add(SubjectPolicy, r, causes(got.trail, tolerates, differs), effect, false)
	case rfc.OK:
		if effect := otherwise(rfc.PolicyReading, got.PolicyReading); effect != "" {
			d.add(SubjectPolicy, r, causes(got.trail, differs, tolerates), effect, true)
		}
	}
	if !rfc.OK || !got.OK {
		return
	}
	if bare := r.policy(body, ""); !bare.OK {
		d.add(SubjectPolicy, r, refusal(bare.trail), "ignores this policy unless its Content-Type says charset=utf-8", true)
	}
}

// add adds what each note says, or adds the reader to those that behave so.
func (d *deviations) add(subject string, r Reader, notes []note, effect string, harmful bool) {
	for _, n := range notes {
		dev := Deviation{
			Subject: subject, Line: n.line, Behaviour: "a reader that " + n.does, Effect: effect,
			Harmful: harmful, Readers: []string{r.Name}, Source: n.source,
		}
		at := slices.IndexFunc(d.list, func(other Deviation) bool {
			return other.Subject == dev.Subject && other.Behaviour == dev.Behaviour && other.Effect == dev.Effect
		})
		if at < 0 {
			d.list = append(d.list, dev)
			continue
		}
		old := &d.list[at]
		if !slices.Contains(old.Readers, r.Name) {
			old.Readers = append(old.Readers, r.Name)
		}
		if !strings.Contains(old.Source, n.source) {
			old.Source += "; " + n.source
		}
	}
}

// refusal is the behaviour that ended a reading.
func refusal(t trail) []note { return t.notes[len(t.notes)-1:] }

// causes are the behaviours of the first kind, or if there are none, of the
// second; each once.
func causes(t trail, kinds ...effect) []note {
	for _, kind := range kinds {
		var found []note
		for _, n := range t.notes {
			same := func(other note) bool { return other.does == n.does }
			if n.effect == kind && !slices.ContainsFunc(found, same) {
				found = append(found, n)
			}
		}
		if len(found) > 0 {
			return found
		}
	}
	return nil
}

// otherwise says what a reader reads otherwise; "" is nothing. MX patterns
// are compared without regard to case, as they are matched (RFC 8461 §4.1).
func otherwise(rfc, got PolicyReading) string {
	var parts []string
	if got.Mode != rfc.Mode {
		parts = append(parts, fmt.Sprintf("reads mode %s where RFC 8461 reads %s", got.Mode, rfc.Mode))
	}
	if got.MaxAge != rfc.MaxAge {
		parts = append(parts, fmt.Sprintf("reads max_age %d where RFC 8461 reads %d", got.MaxAge, rfc.MaxAge))
	}
	if !slices.EqualFunc(got.MX, rfc.MX, strings.EqualFold) {
		parts = append(parts, fmt.Sprintf("reads mx %s where RFC 8461 reads %s", shown(got.MX), shown(rfc.MX)))
	}
	return strings.Join(parts, ", and ")
}

// shown is the beginning of a list of MX patterns, which may be long.
func shown(mx []string) string {
	const most = 4
	if len(mx) <= most {
		return fmt.Sprintf("%.80q", mx)
	}
	return fmt.Sprintf("%.80q and %d more", mx[:most], len(mx)-most)
}

// section is the section of RFC 8461 that does not take a record or policy.
func section(err error) string {
	rule := "RFC 8461 §3.1" // of how many records there may be
	if policy := (*mtasts.PolicyError)(nil); errors.As(err, &policy) {
		rule = policy.Rule
	}
	if record := (*mtasts.RecordError)(nil); errors.As(err, &record) {
		rule = record.Rule
	}
	before, _, _ := strings.Cut(rule, ":")
	return before
}
