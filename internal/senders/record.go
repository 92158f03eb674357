package senders

import (
	"strings"

	"github.com/stshost/stshost/mtasts"
)

// recordVersion is what a record begins with (RFC 8461 §3.1, sts-version).
const recordVersion = "v=" + version

// recordModel is how one reader reads the TXT records at a name.
type recordModel struct {
	source string
	// counts tells which TXT records it looks at.
	counts func(txt string) bool
	// set looks at all of them.
	set []rule[recordSet]
	// trim strips a field.
	trim func(string) string
	// cut takes a field apart; nil: at the first equals sign.
	cut func(text string) (key, value string, equals bool)
	// first says that of a repeated field the first counts, and not the last.
	first bool
	// part looks at each field, in order.
	part []rule[part]
	// end looks at what was read after the last field.
	end []rule[recordDraft]
}

// recordSet is the TXT records at a name.
type recordSet struct {
	all     []string
	counted []string // those that the reader looks at
}

// part is one field of a record.
type part struct {
	n        int
	last     bool
	raw      string // as it stands between semicolons
	text     string // stripped
	key      string
	value    string
	equals   bool // there was an equals sign
	repeated bool
	previous string // the value of the same key before
}

// recordDraft is what a reader holds of a record: key → value that counts.
type recordDraft map[string]string

func (d recordDraft) has(key string) bool { _, has := d[key]; return has }

// recordRead is a reading, and what led to it.
type recordRead struct {
	RecordReading
	trail
	err error // of the RFC reader
}

func (m *recordModel) read(txts []string) recordRead {
	out := recordRead{trail: trail{source: m.source}}
	d := recordDraft{}
	if !m.walk(txts, d, &out.trail) {
		out.Why = out.why()
		return out
	}
	out.OK, out.ID = true, d["id"]
	return out
}

// walk fills d and reports whether a record is found and taken.
func (m *recordModel) walk(txts []string, d recordDraft, t *trail) bool {
	set := recordSet{all: txts}
	for _, txt := range txts {
		if m.counts(txt) {
			set.counted = append(set.counted, txt)
		}
	}
	if !follow(t, m.set, 0, set) {
		return false
	}
	raws := strings.Split(set.counted[0], ";")
	for n, raw := range raws {
		p := part{n: n, last: n == len(raws)-1, raw: raw, text: m.trim(raw)}
		p.key, p.value, p.equals = cutAtEquals(p.text)
		if m.cut != nil {
			p.key, p.value, p.equals = m.cut(p.text)
		}
		p.previous, p.repeated = d[p.key]
		if !follow(t, m.part, 0, p) {
			return false
		}
		if p.text != "" && (!p.repeated || !m.first) {
			d[p.key] = p.value
		}
	}
	return follow(t, m.end, 0, d)
}

func cutAtEquals(text string) (key, value string, equals bool) { return strings.Cut(text, "=") }

// noneCounted and severalCounted are what readers agree on about how many
// records there may be (RFC 8461 §3.1).
func noneCounted(s recordSet) bool    { return len(s.counted) == 0 }
func severalCounted(s recordSet) bool { return len(s.counted) > 1 }

const takesAnyOrder = "takes the fields of a record in any order"

// toleratePartOddities are what readers do not see that take a record apart
// at semicolons and look at nothing but v and id.
func toleratePartOddities() []rule[part] {
	return []rule[part]{
		{effect: tolerates, does: "passes over an empty field", when: func(p part) bool { return p.text == "" && !p.last }},
		{effect: tolerates, does: "passes over blanks before a record", when: func(p part) bool {
			return p.n == 0 && p.text != "" && !strings.HasPrefix(p.raw, p.text)
		}},
		{effect: tolerates, does: "passes over blanks after a record", when: func(p part) bool {
			return p.last && p.text != "" && !strings.HasSuffix(p.raw, p.text)
		}},
		{effect: tolerates, does: "strips more than blanks from a field", when: func(p part) bool {
			return strings.Trim(p.raw, blanks) != p.text
		}},
		{effect: tolerates, does: "passes over a field that is not key=value", when: func(p part) bool {
			return p.key != "v" && p.key != "id" && p.text != "" && !goodExtension(p)
		}},
		{effect: tolerates, does: "takes an empty id", when: func(p part) bool { return p.key == "id" && p.value == "" }},
		{effect: tolerates, does: "takes an id of more than 32 characters", when: func(p part) bool {
			return p.key == "id" && len(p.value) > 32
		}},
		{effect: tolerates, does: "takes an id with other characters than letters and digits", when: func(p part) bool {
			return p.key == "id" && p.value != "" && len(p.value) <= 32 && !mtasts.ValidID(p.value)
		}},
		{effect: differs, does: "takes the last id of a record", when: func(p part) bool {
			return p.key == "id" && p.repeated && p.value != p.previous
		}},
	}
}

// goodExtension reports whether a field is one by RFC 8461 §3.1,
// sts-extension.
func goodExtension(p part) bool {
	return fieldName.MatchString(p.key) && p.value != "" && !strings.ContainsFunc(p.value, notVisible)
}

// notVisible: a character that may not stand in a value (RFC 8461 §3.1,
// sts-ext-value).
func notVisible(r rune) bool { return r <= ' ' || r >= 0x7f || r == '=' }
