package senders

import (
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/idna"

	"github.com/stshost/stshost/mtasts"
)

const moxSource = "mox v0.0.15"

// moxReader is the mail server mox. Its table is made after its source. It was
// held against its parsers once, on the cases of the tests; the tests do not
// run mox.
func moxReader() Reader {
	return Reader{Name: Mox, Source: moxSource + ", from its source", record: moxRecord().read, policy: moxPolicy().read}
}

// moxKey is a key as mox takes it, which may also begin with "-" or ".".
var moxKey = regexp.MustCompile(`^[A-Za-z0-9.-][A-Za-z0-9_.-]{0,31}$`)

func moxPolicy() *policyModel {
	return &policyModel{
		source:  moxSource + ", mtasts.ParsePolicy",
		lines:   linesByLF,
		seconds: moxSeconds,
		mx:      func(s string) string { name, _ := moxMX(s); return name },
		cut: func(l line) field {
			key, value, colon := strings.Cut(l.text, ":")
			return field{line: l, key: key, value: strings.Trim(value, blanks), colon: colon}
		},
		body: []rule[draft]{{does: "reads no more than 64 kilobytes", when: largeBody}},
		field: slices.Concat([]rule[field]{
			{does: "rejects blank lines", when: isBlank},
			{does: "rejects a line without a colon", when: noColon},
			{does: "rejects what is not a key", when: func(f field) bool { return !moxKey.MatchString(f.key) }},
			{effect: tolerates, does: "takes a key that begins with a dot or hyphen", when: oddKey},
			{does: "rejects an unknown key without a value", when: emptyKey},
			{does: "rejects control characters in a value", when: func(f field) bool {
				return strings.ContainsFunc(f.value, func(r rune) bool { return r < ' ' || r == 0x7f })
			}},
			{effect: tolerates, does: "takes bytes that are not UTF-8", when: func(f field) bool {
				return !known(f) && !utf8.ValidString(f.value)
			}},
			{does: "rejects an mx that IDNA does not take", when: func(f field) bool {
				_, ok := moxMX(f.value)
				return f.key == keyMX && !ok
			}},
			{effect: tolerates, does: "takes an mx that is too long for the DNS or ends in a number", when: func(f field) bool {
				return f.key == keyMX && kindOfMX(f.value) != mxGood
			}},
			{effect: tolerates, does: "takes a max_age above 31557600", when: ageIs(moxSeconds, tooLong)},
		}, rejectBadValues(moxSeconds)),
		end: rejectMissing(),
	}
}

// moxSeconds reads max_age: 1 to 10 digits, and a number of 32 bits.
func moxSeconds(s string) (int64, bool) {
	if len(s) > 10 || strings.Trim(s, "0123456789") != "" {
		return 0, false
	}
	n, err := strconv.ParseInt(s, 10, 32)
	return n, err == nil
}

// moxLabel is a label of an mx.
var moxLabel = regexp.MustCompile(`^[0-9a-zA-Z][0-9a-zA-Z-]*$`)

// moxMX returns an mx as mox holds it, and whether it takes it.
func moxMX(s string) (string, bool) {
	host, wildcard := strings.CutPrefix(s, "*.")
	for label := range strings.SplitSeq(host, ".") {
		if !moxLabel.MatchString(label) {
			return "", false
		}
	}
	if _, err := netip.ParseAddr(host); err == nil {
		return "", false
	}
	ascii, err := idna.Lookup.ToASCII(host)
	if err != nil {
		return "", false
	}
	if _, err := idna.Lookup.ToUnicode(host); err != nil {
		return "", false
	}
	if wildcard {
		return "*." + ascii, true
	}
	return ascii, true
}

func moxRecord() *recordModel {
	return &recordModel{
		source: moxSource + ", mtasts.ParseRecord and LookupRecord",
		counts: mtasts.IsRecord,
		set: []rule[recordSet]{
			{does: "finds no TXT record that begins with v=STSv1;", when: noneCounted},
			{does: "wants only one TXT record that begins with v=STSv1;", when: severalCounted},
		},
		trim:  func(s string) string { return strings.Trim(s, blanks) },
		first: true,
		part: []rule[part]{
			{does: "rejects an empty field", when: func(p part) bool { return p.text == "" && (!p.last || p.n == 1) }},
			{does: "rejects blanks after a record", when: func(p part) bool {
				return p.last && p.text != "" && !strings.HasSuffix(p.raw, p.text)
			}},
			{does: "rejects what is not a key", when: func(p part) bool {
				return p.text != "" && (!p.equals || !moxKey.MatchString(p.key))
			}},
			{effect: tolerates, does: "takes a key that begins with a dot or hyphen", when: func(p part) bool {
				return p.text != "" && !fieldName.MatchString(p.key)
			}},
			{does: "rejects an id that is not 1 to 32 letters or digits", when: func(p part) bool {
				return p.key == "id" && !p.repeated && !mtasts.ValidID(p.value)
			}},
			{does: "rejects a repeated id", when: func(p part) bool { return p.key == "id" && p.repeated && p.value != "" }},
			{effect: tolerates, does: "passes over a repeated id without a value", when: func(p part) bool {
				return p.key == "id" && p.repeated && p.value == ""
			}},
			{does: "rejects what is not a value", when: func(p part) bool {
				return p.text != "" && p.key != "id" && (p.value == "" || strings.ContainsFunc(p.value, notVisible))
			}},
		},
		end: []rule[recordDraft]{
			{does: "wants an id", when: func(d recordDraft) bool { return d["id"] == "" }},
		},
	}
}
