package senders

import (
	"bytes"
	"iter"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/stshost/stshost/mtasts"
)

// The keys that mean something in a policy (RFC 8461 §3.2).
const (
	keyVersion = "version"
	keyMode    = "mode"
	keyMX      = "mx"
	keyMaxAge  = "max_age"
)

const (
	version = "STSv1"
	// blanks are the characters of WSP (RFC 5234 §B.1).
	blanks = " \t"
	// maxAge is the longest max_age (RFC 8461 §3.2).
	maxAge = 31557600
)

// policyModel is how one reader reads the body of a policy.
type policyModel struct {
	source string
	// body looks at the body as a whole.
	body []rule[draft]
	// lines cuts the body into lines.
	lines func(body []byte) iter.Seq[line]
	// cut takes a line apart.
	cut func(line) field
	// field looks at each line, in order.
	field []rule[field]
	// last says that of a repeated key the last counts, and not the first.
	last bool
	// end looks at what was read after the last line.
	end []rule[draft]
	// seconds reads max_age.
	seconds func(string) (int64, bool)
	// mx is how mx is held; nil: as it stands.
	mx func(string) string
}

// line is one line of a body as a reader cuts it.
type line struct {
	n    int    // which line it is in for people, who know LF only
	text string // without its end
	end  string
}

// field is a line taken apart.
type field struct {
	line
	key, value string
	colon      bool   // there was one
	repeated   bool   // the key came before
	first      string // with what value it came first
}

// draft is what a reader holds of a policy so far.
type draft struct {
	body    []byte
	charset string
	first   map[string]string // key → its first value
	values  map[string]field  // key → what counts
	mx      []string
}

func (d draft) has(key string) bool     { _, has := d.values[key]; return has }
func (d draft) value(key string) string { return d.values[key].value }

// policyRead is a reading, and what led to it.
type policyRead struct {
	PolicyReading
	trail
	err error // of the RFC reader
}

// read reads a body that is labelled with a charset.
func (m *policyModel) read(body []byte, charset string) policyRead {
	d := draft{body: body, charset: charset, first: map[string]string{}, values: map[string]field{}}
	out := policyRead{trail: trail{source: m.source}}
	if !m.walk(&d, &out.trail) {
		out.Why = out.why()
		return out
	}
	out.OK = true
	out.Mode = d.value(keyMode)
	out.MX = d.mx
	out.MaxAge, _ = m.seconds(d.value(keyMaxAge))
	return out
}

// walk fills d and reports whether the policy is taken.
func (m *policyModel) walk(d *draft, t *trail) bool {
	if !follow(t, m.body, 0, *d) {
		return false
	}
	for l := range m.lines(d.body) {
		f := m.cut(l)
		f.first, f.repeated = d.first[f.key]
		if !follow(t, m.field, l.n, f) {
			return false
		}
		m.take(d, f)
	}
	return follow(t, m.end, 0, *d)
}

func (m *policyModel) take(d *draft, f field) {
	if !f.repeated {
		d.first[f.key] = f.value
	}
	if f.key == keyMX {
		value := f.value
		if m.mx != nil {
			value = m.mx(value)
		}
		d.mx = append(d.mx, value)
	}
	if !f.repeated || m.last {
		d.values[f.key] = f
	}
}

// linesByLF cuts at LF, and takes a CR before it for a part of the end.
func linesByLF(body []byte) iter.Seq[line] {
	return func(yield func(line) bool) {
		n := 0
		for l := range bytes.Lines(body) {
			n++
			text := string(l)
			if cut, ended := strings.CutSuffix(text, "\n"); ended {
				text = strings.TrimSuffix(cut, "\r")
			}
			if !yield(line{n: n, text: text, end: string(l[len(text):])}) {
				return
			}
		}
	}
}

// What triggers behaviours at a line.

func isKey(keys ...string) func(field) bool {
	return func(f field) bool {
		for _, key := range keys {
			if f.key == key {
				return true
			}
		}
		return false
	}
}

var known = isKey(keyVersion, keyMode, keyMX, keyMaxAge)

func isBlank(f field) bool   { return strings.Trim(f.text, blanks) == "" }
func noColon(f field) bool   { return !isBlank(f) && !f.colon }
func strayCR(f field) bool   { return strings.Contains(f.text, "\r") }
func otherKey(f field) bool  { return f.colon && !known(f) }
func emptyKey(f field) bool  { return otherKey(f) && f.value == "" }
func bareBlank(f field) bool { return f.colon && strings.Trim(f.key, blanks) != f.key }

// fieldName is a key (RFC 8461 §3.1, sts-ext-name; §3.2, sts-policy-ext-name).
var fieldName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.-]{0,31}$`)

func oddKey(f field) bool {
	return f.colon && !bareBlank(f) && !fieldName.MatchString(f.key)
}

// rawValue is what stands after the first colon, as RFC 8461 §3.2 cuts it.
func rawValue(f field) string {
	_, value, _ := strings.Cut(f.text, ":")
	return strings.Trim(value, blanks)
}

// oddValue: there are characters in a value that RFC 8461 §3.2 does not allow.
func oddValue(f field) bool {
	value := rawValue(f)
	if f.colon && !utf8.ValidString(value) {
		return true
	}
	return f.colon && strings.ContainsFunc(strings.ReplaceAll(value, "\r", ""), func(r rune) bool { return r < ' ' || r == 0x7f })
}

// oddSpace: white space other than blanks was stripped from a value that
// counts.
func oddSpace(f field) bool {
	// A reader may have changed the case, too.
	return f.colon && known(f) && !strings.EqualFold(strings.Trim(rawValue(f), blanks+"\r"), f.value)
}

// another: a key other than mx came before with another value.
func another(f field) bool {
	return f.repeated && f.key != keyMX && known(f) && f.value != f.first
}

func badVersion(f field) bool { return f.key == keyVersion && f.value != version }
func badMode(f field) bool    { return f.key == keyMode && !mtasts.Mode(f.value).Valid() }

// mxKind says what keeps an mx from being an MX pattern (RFC 8461 §3.2).
type mxKind int

const (
	mxGood mxKind = iota
	mxEmpty
	mxDot
	mxAddress
	mxUnicode
	mxUnderscore
	mxOther
)

func kindOfMX(s string) mxKind {
	switch {
	case s == "":
		return mxEmpty
	case strings.ContainsFunc(s, func(r rune) bool { return r >= utf8.RuneSelf }):
		return mxUnicode
	case goodMX(s):
		return mxGood
	case mtasts.IsIP(s):
		return mxAddress
	case goodMX(strings.TrimSuffix(s, ".")):
		return mxDot
	case goodMX(strings.ReplaceAll(s, "_", "a")):
		return mxUnderscore
	}
	return mxOther
}

// goodMX reports whether RFC 8461 §3.2 takes an mx in ASCII.
func goodMX(s string) bool {
	return mtasts.Policy{Mode: mtasts.ModeEnforce, MX: []string{strings.ToLower(s)}}.Validate() == nil
}

func mxIs(kind mxKind) func(field) bool {
	return func(f field) bool { return f.key == keyMX && kindOfMX(f.value) == kind }
}

// goodAge reports whether RFC 8461 §3.2 takes a max_age.
func goodAge(s string) bool {
	if s == "" || len(s) > 10 || strings.Trim(s, "0123456789") != "" {
		return false
	}
	n, err := strconv.ParseInt(s, 10, 64)
	return err == nil && n <= maxAge
}

// ageIs reports whether a reader reads a max_age that RFC 8461 refuses, as a
// number for which is true.
func ageIs(seconds func(string) (int64, bool), is func(int64) bool) func(field) bool {
	return func(f field) bool {
		n, ok := seconds(f.value)
		return f.key == keyMaxAge && !goodAge(f.value) && ok && is(n)
	}
}

func negative(n int64) bool { return n < 0 }
func tooLong(n int64) bool  { return n > maxAge }
func inRange(n int64) bool  { return n >= 0 && n <= maxAge }

// badAge: a reader cannot read max_age.
func badAge(seconds func(string) (int64, bool)) func(field) bool {
	return func(f field) bool {
		_, ok := seconds(f.value)
		return f.key == keyMaxAge && !ok
	}
}

// Behaviours that more than one reader has. What is said in the same words is
// told once, of all of them.

// rejectMissing are the keys that every reader wants (RFC 8461 §3.2).
func rejectMissing() []rule[draft] {
	missing := func(key string) func(draft) bool {
		return func(d draft) bool { return !d.has(key) }
	}
	return []rule[draft]{
		{does: "wants a version", when: missing(keyVersion)},
		{does: "wants a mode", when: missing(keyMode)},
		{does: "wants a max_age", when: missing(keyMaxAge)},
		{does: "wants an mx unless mode is none", when: func(d draft) bool {
			return d.value(keyMode) != string(mtasts.ModeNone) && len(d.mx) == 0
		}},
	}
}

// rejectBadValues: a key that counts is checked wherever it stands, so that
// a bad value spoils the policy even where a good one came first.
func rejectBadValues(seconds func(string) (int64, bool)) []rule[field] {
	repeated := func(bad func(field) bool, want bool) func(field) bool {
		return func(f field) bool { return f.repeated == want && bad(f) }
	}
	age := badAge(seconds)
	return []rule[field]{
		{does: "rejects an unknown version", when: repeated(badVersion, false)},
		{does: "rejects an unknown mode", when: repeated(badMode, false)},
		{does: "rejects a max_age that it cannot read", when: repeated(age, false)},
		{does: "rejects an unknown version in a repeated key", when: repeated(badVersion, true)},
		{does: "rejects an unknown mode in a repeated key", when: repeated(badMode, true)},
		{does: "rejects a bad max_age in a repeated key", when: repeated(age, true)},
	}
}

const passesOverBlankedKey = "passes over a key with a blank beside it"

// tolerateOddities are what readers do not see that take a line apart and look
// at nothing but the values that count.
func tolerateOddities(seconds func(string) (int64, bool)) []rule[field] {
	return []rule[field]{
		{effect: tolerates, does: "passes over a carriage return within a line", when: strayCR},
		{effect: tolerates, does: passesOverBlankedKey, when: bareBlank},
		{effect: tolerates, does: "passes over whatever stands before a colon", when: oddKey},
		{effect: tolerates, does: "takes any characters in a value", when: oddValue},
		{effect: tolerates, does: "passes over an unknown key without a value", when: emptyKey},
		{effect: tolerates, does: "strips more than blanks from a value", when: oddSpace},
		{effect: tolerates, does: "takes an mx without a name", when: mxIs(mxEmpty)},
		{effect: tolerates, does: "takes an mx with a dot at its end", when: mxIs(mxDot)},
		{effect: tolerates, does: "takes an IP address for an mx", when: mxIs(mxAddress)},
		{effect: tolerates, does: "takes an mx that is not in A-labels", when: mxIs(mxUnicode)},
		{effect: tolerates, does: "takes an mx with an underscore", when: mxIs(mxUnderscore)},
		{effect: tolerates, does: "takes any text for an mx", when: mxIs(mxOther)},
		{effect: tolerates, does: "takes a negative max_age", when: ageIs(seconds, negative)},
		{effect: tolerates, does: "takes a max_age above 31557600", when: ageIs(seconds, tooLong)},
		{effect: tolerates, does: "takes a max_age that is not 1 to 10 digits", when: ageIs(seconds, inRange)},
		{effect: differs, does: "takes the last of a repeated key", when: another},
	}
}

// largeBody: more than senders need to read (RFC 8461 §3.3).
func largeBody(d draft) bool { return len(d.body) > mtasts.MaxBodySize }
