package mtasts

import (
	"errors"
	"fmt"
	"strings"
)

// The rules that a policy can break, as PolicyError.Rule shows them.
const (
	ruleSize       = "RFC 8461 §3.3: senders read at most 64 kilobytes"
	ruleLine       = "RFC 8461 §3.2: a line is a key, a colon and a value, and ends in CRLF or LF"
	ruleKey        = `RFC 8461 §3.2: a key is 1 to 32 letters, digits, "_", "-" or ".", the first a letter or digit`
	ruleValue      = "RFC 8461 §3.2: a value is visible UTF-8 characters with spaces only between them"
	ruleVersion    = "RFC 8461 §3.2: version is required and is STSv1"
	ruleMode       = "RFC 8461 §3.2: mode is required and is enforce, testing or none"
	ruleMaxAge     = "RFC 8461 §3.2: max_age is required and is 1 to 10 digits, a number of seconds up to 31557600"
	ruleMX         = `RFC 8461 §3.2: mx is a host name in A-labels, or such a name after "*."`
	ruleMXRequired = "RFC 8461 §3.2: at least one mx is required unless mode is none"
)

// The rules that a TXT record can break, as RecordError.Rule shows them.
const (
	ruleRecordVersion = `RFC 8461 §3.1: a record begins with "v=STSv1;"`
	ruleRecordField   = `RFC 8461 §3.1: after "v=STSv1" come fields key=value, each after a semicolon, with blanks only around semicolons`
	ruleRecordID      = "RFC 8461 §3.1: id is required and is 1 to 32 letters or digits"
)

// PolicyError is one fault of a policy.
type PolicyError struct {
	Line    int    // line of the body, counted from 1; 0 if the fault has no line
	Problem string // what is wrong, in words for an operator
	Rule    string // the rule that is broken, section first: "RFC 8461 §3.2: …"
}

// Error returns the fault with its line and rule.
func (e *PolicyError) Error() string {
	if e.Line == 0 {
		return fmt.Sprintf("policy: %s (%s)", e.Problem, e.Rule)
	}
	return fmt.Sprintf("policy line %d: %s (%s)", e.Line, e.Problem, e.Rule)
}

// PolicyErrors are the faults of one policy in the order of its lines.
// ParsePolicy, Policy.Validate and Policy.Render return their errors as this
// type; errors.As for a *PolicyError finds the first fault.
type PolicyErrors []*PolicyError

// Error returns all faults on one line.
func (l PolicyErrors) Error() string {
	texts := make([]string, len(l))
	for i, e := range l {
		texts[i] = e.Error()
	}
	return strings.Join(texts, "; ")
}

// Unwrap returns the faults.
func (l PolicyErrors) Unwrap() []error {
	errs := make([]error, len(l))
	for i, e := range l {
		errs[i] = e
	}
	return errs
}

func (l *PolicyErrors) add(line int, rule, format string, args ...any) {
	*l = append(*l, &PolicyError{Line: line, Problem: fmt.Sprintf(format, args...), Rule: rule})
}

// err returns l as an error: nil, not an empty list, when nothing is wrong.
func (l PolicyErrors) err() error {
	if len(l) == 0 {
		return nil
	}
	return l
}

// RecordError says what is wrong with a TXT record.
type RecordError struct {
	Text    string // the record
	Problem string // what is wrong, in words for an operator
	Rule    string // the rule that is broken, section first: "RFC 8461 §3.1: …"
}

// Error returns the fault with the record and the rule.
func (e *RecordError) Error() string {
	return fmt.Sprintf("TXT record %.80q: %s (%s)", e.Text, e.Problem, e.Rule)
}

// AboutID reports whether it is the id that is missing or no id.
func (e *RecordError) AboutID() bool { return e.Rule == ruleRecordID }

// Why FindRecord finds no record. To a sender both mean that the domain
// announces no policy (RFC 8461 §3.1).
var (
	// ErrNoRecord says that no TXT record begins with "v=STSv1;".
	ErrNoRecord = errors.New(`no TXT record begins with "v=STSv1;"`)

	// ErrSeveralRecords says that more than one does.
	ErrSeveralRecords = errors.New(`more than one TXT record begins with "v=STSv1;"`)
)
