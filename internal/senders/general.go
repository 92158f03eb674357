package senders

import (
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/stshost/stshost/mtasts"
)

// The readers that are no one program: what is known of any of them, taken
// together. checkdmarc and mailauth were read and not run.
const (
	checkdmarcSource = "checkdmarc (a checker), mta_sts.py"
	mailauthSource   = "mailauth (npm), lib/mta-sts.js"
)

// strictReader ignores what any of the readers that exist ignores, what RFC
// 8461 does not take, and what a checker refuses besides.
func strictReader() Reader {
	return Reader{
		Name:   Strict,
		Source: "the strictest of RFC 8461, " + goMTASTSSource + ", " + resolverSource + ", " + moxSource + " and checkdmarc",
		record: readRecordStrictly,
		policy: readPolicyStrictly,
	}
}

func readPolicyStrictly(body []byte, charset string) policyRead {
	rfc := readPolicyByRFC(body, charset)
	if !rfc.OK {
		return rfc
	}
	for _, read := range []func([]byte, string) policyRead{
		strictPolicy().read, goMTASTSPolicy().read, resolverPolicy().read, moxPolicy().read,
	} {
		if other := read(body, charset); !other.OK {
			return other
		}
	}
	return rfc
}

func strictPolicy() *policyModel {
	return &policyModel{
		source:  checkdmarcSource + ", parse_mta_sts_policy",
		lines:   linesByLF,
		seconds: goInteger,
		cut: func(l line) field {
			key, value, colon := strings.Cut(l.text, ":")
			return field{line: l, key: key, value: strings.Trim(value, blanks), colon: colon}
		},
		field: []rule[field]{
			{does: "rejects unknown keys", when: otherKey},
			{does: "rejects a repeated key", when: func(f field) bool { return f.repeated && f.key != keyMX }},
		},
	}
}

func readRecordStrictly(txts []string) recordRead {
	rfc := readRecordByRFC(txts)
	if !rfc.OK {
		return rfc
	}
	for _, read := range []func([]string) recordRead{
		goMTASTSRecord().read, resolverRecord().read, moxRecord().read, strictRecord().read,
	} {
		if other := read(txts); !other.OK {
			return other
		}
	}
	return rfc
}

func strictRecord() *recordModel {
	return &recordModel{
		source: checkdmarcSource + ", parse_mta_sts_record",
		counts: mtasts.IsRecord,
		trim:   func(s string) string { return strings.Trim(s, blanks) },
		part: []rule[part]{
			{does: "rejects unknown fields in a record", when: func(p part) bool {
				return p.text != "" && p.key != "v" && p.key != "id"
			}},
			{does: "rejects a repeated field in a record", when: func(p part) bool { return p.repeated }},
		},
	}
}

// lenientReader tolerates what go-mtasts or postfix-mta-sts-resolver
// tolerates, and the case of letters and blanks as mailauth does.
func lenientReader() Reader {
	return Reader{
		Name:   Lenient,
		Source: "the most lenient of " + goMTASTSSource + ", " + resolverSource + " and mailauth",
		record: lenientRecord().read,
		policy: lenientPolicy().read,
	}
}

// lenientSpace is what String.trim of JavaScript strips, and str.strip of
// Python.
func lenientSpace(r rune) bool { return pythonSpace(r) || r == '\ufeff' }

func trimLeniently(s string) string { return strings.TrimFunc(s, lenientSpace) }

func lenientPolicy() *policyModel {
	m := resolverPolicy()
	m.source = goMTASTSSource + " or " + resolverSource
	m.cut = cutLeniently
	m.body = []rule[draft]{
		{effect: tolerates, does: "reads more than 64 kilobytes", when: largeBody},
		{does: "rejects bytes that are not UTF-8", when: func(d draft) bool { return !utf8.Valid(d.body) }},
	}
	m.field = slices.DeleteFunc(m.field, func(r rule[field]) bool { return r.does == passesOverBlankedKey })
	m.field = append(m.field,
		rule[field]{effect: tolerates, source: mailauthSource, does: "strips whatever is blank beside a key", when: func(f field) bool {
			key, _, _ := strings.Cut(f.text, ":")
			return f.colon && trimLeniently(key) != key
		}},
		rule[field]{effect: tolerates, source: mailauthSource, does: "takes a key in any case", when: func(f field) bool {
			key, _, _ := strings.Cut(f.text, ":")
			return known(f) && trimLeniently(key) != f.key
		}},
		rule[field]{effect: tolerates, source: mailauthSource, does: "takes a mode in any case", when: func(f field) bool {
			return f.key == keyMode && trimLeniently(rawValue(f)) != f.value
		}},
	)
	m.end = slices.DeleteFunc(m.end, func(r rule[draft]) bool { return r.does == wantsAgeInRange })
	return m
}

func cutLeniently(l line) field {
	key, value, colon := strings.Cut(l.text, ":")
	f := field{line: l, key: strings.ToLower(trimLeniently(key)), value: trimLeniently(value), colon: colon}
	if f.key == keyMode {
		f.value = strings.ToLower(f.value)
	}
	return f
}

func lenientRecord() *recordModel {
	isVersion := func(text string) bool {
		key, value, _ := cutPartLeniently(text)
		return key == "v" && value == version
	}
	return &recordModel{
		source: goMTASTSSource + " or " + resolverSource,
		counts: func(txt string) bool { return slices.ContainsFunc(strings.Split(txt, ";"), isVersion) },
		set: []rule[recordSet]{
			{does: "finds no TXT record with v=STSv1", when: noneCounted},
			{does: "wants only one TXT record with v=STSv1", when: severalCounted},
		},
		trim: trimLeniently,
		cut:  cutPartLeniently,
		part: slices.Concat(toleratePartOddities(), []rule[part]{
			{effect: tolerates, does: takesAnyOrder, when: func(p part) bool { return p.key == "v" && p.n > 0 }},
			{effect: tolerates, source: mailauthSource, does: "takes a record in any case, and blanks beside an equals sign", when: func(p part) bool {
				key, value, _ := strings.Cut(p.text, "=")
				return (p.key == "v" || p.key == "id") && (key != p.key || value != p.value)
			}},
		}),
		end: []rule[recordDraft]{
			{does: "wants an id", when: func(d recordDraft) bool { return !d.has("id") }},
		},
	}
}

func cutPartLeniently(text string) (key, value string, equals bool) {
	key, value, equals = strings.Cut(text, "=")
	key, value = strings.ToLower(trimLeniently(key)), trimLeniently(value)
	if key == "v" && strings.EqualFold(value, version) {
		value = version
	}
	return key, value, equals
}
