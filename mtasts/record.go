package mtasts

import (
	"fmt"
	"strings"
)

// recordVersion is what a record begins with (RFC 8461 §3.1, sts-version).
const recordVersion = "v=STSv1"

// Record is the TXT record that announces a policy (RFC 8461 §3.1).
type Record struct {
	ID string // changes with every change of the policy; ValidID holds
}

// String returns the text of the record.
func (r Record) String() string { return recordVersion + "; id=" + r.ID + ";" }

// ParseRecord reads the text of a record, its strings joined, by the grammar
// of RFC 8461 §3.1. Unknown fields are ignored, and so is all but the first
// id. The error is a *RecordError.
func ParseRecord(txt string) (Record, error) {
	fail := func(rule, format string, args ...any) (Record, error) {
		return Record{}, &RecordError{Text: txt, Problem: fmt.Sprintf(format, args...), Rule: rule}
	}
	fields, ok := cutRecordVersion(txt)
	if !ok {
		return fail(ruleRecordVersion, "it begins otherwise")
	}
	id, found := "", false
	for rest := strings.TrimLeft(fields, blanks); rest != ""; {
		field, after, delimited := strings.Cut(rest, ";")
		if delimited {
			// Blanks belong to semicolons, so none may end a record without one.
			field = strings.TrimRight(field, blanks)
		}
		rest = strings.TrimLeft(after, blanks)

		key, value, _ := strings.Cut(field, "=")
		if key == "id" && !found {
			if !ValidID(value) {
				return fail(ruleRecordID, "id %.80q is not 1 to 32 letters or digits", value)
			}
			id, found = value, true
			continue
		}
		if !validFieldName(key) || !validRecordValue(value) {
			return fail(ruleRecordField, "%.80q is not a field", field)
		}
	}
	if !found {
		return fail(ruleRecordID, "there is no id")
	}
	return Record{ID: id}, nil
}

// IsRecord reports whether a TXT record begins as one of MTA-STS does, whether
// or not the rest is well-formed. These are the records that senders count:
// if they find any other number than one, there is no policy (RFC 8461 §3.1).
// Blanks may stand before the semicolon, as the grammar allows.
func IsRecord(txt string) bool {
	_, ok := cutRecordVersion(txt)
	return ok
}

// cutRecordVersion returns what follows the version and its semicolon.
func cutRecordVersion(txt string) (fields string, ok bool) {
	rest, ok := strings.CutPrefix(txt, recordVersion)
	if !ok {
		return "", false
	}
	return strings.CutPrefix(strings.TrimLeft(rest, blanks), ";")
}

// Records returns those of the TXT records at a name that senders count as
// MTA-STS records; the others are somebody else's (RFC 8461 §3.1).
func Records(txts []string) []string {
	var ours []string
	for _, txt := range txts {
		if IsRecord(txt) {
			ours = append(ours, txt)
		}
	}
	return ours
}

// FindRecord returns the one MTA-STS record among the TXT records at a name,
// as senders find it (RFC 8461 §3.1): others are passed over. txts holds each
// record with its strings joined, without anything between them. The error wraps ErrNoRecord or
// ErrSeveralRecords, or is the *RecordError of the only candidate.
func FindRecord(txts []string) (Record, error) {
	candidates := Records(txts)
	switch len(candidates) {
	case 0:
		return Record{}, ErrNoRecord
	case 1:
		return ParseRecord(candidates[0])
	default:
		return Record{}, fmt.Errorf("%w: %.80q", ErrSeveralRecords, candidates)
	}
}

// validRecordValue reports whether s is a value by sts-ext-value (RFC 8461
// §3.1).
func validRecordValue(s string) bool {
	for i := range len(s) {
		if s[i] <= ' ' || s[i] >= 0x7f || s[i] == '=' || s[i] == ';' {
			return false
		}
	}
	return s != ""
}
