package mtasts

import (
	"bytes"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// maxFaults is after how many faults ParsePolicy stops reading: what is not a
// policy at all, an HTML page say, breaks a rule on each of its lines. For the
// same reason messages quote 80 characters at most.
const maxFaults = 10

// ParsePolicy reads the body of a policy by the grammar of RFC 8461 §3.2: keys
// in any order, lines ended by CRLF or LF, blanks around values but nowhere
// else, no blank lines. Unknown keys are ignored, and so is all but the first
// of a repeated key other than mx. MX patterns come back in lower case.
//
// The error is PolicyErrors, every fault with its line and rule; after ten
// faults it stops looking. Validate accepts every policy that is returned
// without error.
func ParsePolicy(body []byte) (Policy, error) {
	if len(body) > MaxBodySize {
		return Policy{}, PolicyErrors{tooLarge(len(body))}
	}
	p := policyParser{seen: map[string]bool{}, otherCase: map[string]int{}}
	p.parse(body)
	if err := p.faults.err(); err != nil {
		return Policy{}, err
	}
	return p.policy, nil
}

// policyParser is the state of one ParsePolicy.
type policyParser struct {
	policy    Policy
	line      int             // the line being read, from 1
	seen      map[string]bool // keys read so far, with good values or bad
	otherCase map[string]int  // lower-case key → line of one that differs from it by case only
	faults    PolicyErrors
}

func (p *policyParser) fault(rule, format string, args ...any) {
	p.faults.add(p.line, rule, format, args...)
}

func (p *policyParser) parse(body []byte) {
	if rest, found := bytes.CutPrefix(body, []byte("\uFEFF")); found {
		p.faults.add(1, ruleKey, "a byte order mark stands before the first key")
		body = rest
	}
	for line := range bytes.Lines(body) {
		if len(p.faults) >= maxFaults {
			return
		}
		p.line++
		// CR is part of a line end only before LF, so it stays where LF is missing.
		if text, ended := bytes.CutSuffix(line, []byte("\n")); ended {
			line = bytes.TrimSuffix(text, []byte("\r"))
		}
		p.parseLine(string(line))
	}
	p.checkRequired()
}

// parseLine reads one line, given without its end.
func (p *policyParser) parseLine(line string) {
	if strings.Trim(line, blanks) == "" {
		p.fault(ruleLine, "the line is blank")
		return
	}
	if strings.Contains(line, "\r") {
		p.fault(ruleLine, "a carriage return stands without its line feed")
		return
	}
	key, value, found := strings.Cut(line, ":")
	if !found {
		p.fault(ruleLine, "%.80q has no colon", line)
		return
	}
	if key != "" && strings.Trim(key, blanks) != key {
		p.fault(ruleKey, "a blank stands before or after the key %.80q", key)
		return
	}
	if !validFieldName(key) {
		p.fault(ruleKey, "%.80q is not a key", key)
		return
	}
	value = strings.Trim(value, blanks)
	if !validPolicyValue(value) {
		p.fault(ruleValue, "%.80q is not a value", value)
		return
	}
	p.field(key, value)
}

// field takes a well-formed key and value.
func (p *policyParser) field(key, value string) {
	// Of a repeated key the first counts, even if its value is bad and a later
	// one is good (RFC 8461 §3.2).
	repeated := p.seen[key]
	p.seen[key] = true
	if repeated && key != "mx" {
		return
	}
	switch key {
	case "version":
		if value != "STSv1" {
			p.fault(ruleVersion, "version %.80q is unknown", value)
		}
	case "mode":
		if p.policy.Mode = Mode(value); !p.policy.Mode.Valid() {
			p.fault(ruleMode, "mode %.80q is unknown", value)
		}
	case "mx":
		p.mx(value)
	case "max_age":
		p.maxAge(value)
	default:
		if l := lower(key); l != key && p.otherCase[l] == 0 {
			p.otherCase[l] = p.line
		}
	}
}

func (p *policyParser) mx(value string) {
	err := checkPattern(value)
	if err == nil {
		p.policy.MX = append(p.policy.MX, lower(value))
		return
	}
	// Only the A-labels of an internationalized name may stand in a policy. An
	// operator's config may have U-labels, and the two are easily confused.
	if canonical, canonicalErr := ParsePattern(value); canonicalErr == nil {
		p.fault(ruleMX, "mx %.80q is not in A-labels; write %q", value, canonical)
		return
	}
	p.fault(ruleMX, "mx %.80q: %v", value, err)
}

func (p *policyParser) maxAge(value string) {
	const digits = "0123456789"
	if len(value) > 10 || strings.Trim(value, digits) != "" {
		p.fault(ruleMaxAge, "max_age %.80q is not 1 to 10 digits", value)
		return
	}
	seconds, err := strconv.ParseInt(value, 10, 64)
	if err != nil || seconds > int64(MaxMaxAge/time.Second) {
		p.fault(ruleMaxAge, "max_age %.80q is more than %d seconds", value, MaxMaxAge/time.Second)
		return
	}
	p.policy.MaxAge = time.Duration(seconds) * time.Second
}

// checkRequired looks, after the last line, for keys that never came.
func (p *policyParser) checkRequired() {
	required := []struct{ key, rule string }{
		{"version", ruleVersion},
		{"mode", ruleMode},
		{"mx", ruleMXRequired},
		{"max_age", ruleMaxAge},
	}
	for _, r := range required {
		// Without a good mode nobody can tell whether mx is required.
		mxNeeded := p.policy.Mode.Valid() && p.policy.Mode != ModeNone
		if p.seen[r.key] || r.key == "mx" && !mxNeeded {
			continue
		}
		if line, found := p.otherCase[r.key]; found {
			p.faults.add(line, r.rule, "there is no %s: the key must be in lower case", r.key)
			continue
		}
		p.faults.add(0, r.rule, "there is no %s", r.key)
	}
}

// blanks are the characters of WSP (RFC 5234 §B.1).
const blanks = " \t"

// validFieldName reports whether s is a key by sts-ext-name or
// sts-policy-ext-name (RFC 8461 §3.1, §3.2), which are the same.
func validFieldName(s string) bool {
	if s == "" || len(s) > 32 || !isAlphanum(s[0]) {
		return false
	}
	for i := range len(s) {
		if !isAlphanum(s[i]) && s[i] != '_' && s[i] != '-' && s[i] != '.' {
			return false
		}
	}
	return true
}

// validPolicyValue reports whether s, trimmed of blanks, is a value by
// sts-policy-ext-value (RFC 8461 §3.2).
func validPolicyValue(s string) bool {
	for i := range len(s) {
		if s[i] < ' ' || s[i] == 0x7f {
			return false
		}
	}
	return s != "" && utf8.ValidString(s)
}

func isAlphanum(c byte) bool {
	return 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z' || '0' <= c && c <= '9'
}
