package senders

import (
	"slices"
	"strconv"
	"strings"
)

const goMTASTSSource = "go-mtasts v0.0.0-20240130093538-1438da2e5932"

// goMTASTSReader is github.com/foxcpp/go-mtasts, which maddy uses. Its table
// is exact: tests hold it against the module itself.
func goMTASTSReader() Reader {
	return Reader{Name: GoMTASTS, Source: goMTASTSSource, record: goMTASTSRecord().read, policy: goMTASTSPolicy().read}
}

// goMTASTSLine is the longest line with its end, as bufio.Scanner reads it.
const goMTASTSLine = 64 << 10

func goMTASTSPolicy() *policyModel {
	return &policyModel{
		source:  goMTASTSSource + ", readPolicy",
		last:    true,
		lines:   linesByLF,
		seconds: goInteger,
		cut: func(l line) field {
			key, value, colon := strings.Cut(l.text, ":")
			return field{line: l, key: key, value: strings.TrimSpace(value), colon: colon}
		},
		body: []rule[draft]{
			{effect: tolerates, does: "reads more than 64 kilobytes", when: largeBody},
		},
		field: slices.Concat([]rule[field]{
			{does: "rejects a line of 64 kilobytes", when: func(f field) bool {
				unended := f.end == "" && len(f.text) == goMTASTSLine
				return len(f.text)+len(f.end) > goMTASTSLine || unended
			}},
			{does: "rejects blank lines", when: isBlank},
			{does: "rejects a line without a colon", when: noColon},
			{does: "rejects a colon in a value", when: func(f field) bool { return strings.Count(f.text, ":") > 1 }},
		}, rejectBadValues(goInteger), tolerateOddities(goInteger)),
		end: rejectMissing(),
	}
}

// goInteger reads a number as strconv.Atoi does where an int has 64 bits.
func goInteger(s string) (int64, bool) {
	n, err := strconv.ParseInt(s, 10, 64)
	return n, err == nil
}

func goMTASTSRecord() *recordModel {
	return &recordModel{
		source: goMTASTSSource + ", readDNSRecord",
		counts: func(string) bool { return true },
		set: []rule[recordSet]{
			{does: "finds no TXT record", when: func(s recordSet) bool { return len(s.all) == 0 }},
			{does: "wants no other TXT record at the name, whatever it is", when: func(s recordSet) bool { return len(s.all) > 1 }},
		},
		trim: strings.TrimSpace,
		part: slices.Concat([]rule[part]{
			{does: "rejects a field without exactly one equals sign", when: func(p part) bool {
				return p.text != "" && strings.Count(p.text, "=") != 1
			}},
			{does: "rejects blanks within a field", when: func(p part) bool { return strings.ContainsAny(p.text, blanks) }},
			{does: "rejects another v", when: func(p part) bool { return p.key == "v" && p.value != version }},
		}, toleratePartOddities(), []rule[part]{
			{effect: tolerates, does: takesAnyOrder, when: func(p part) bool {
				return p.key == "v" && p.n > 0
			}},
		}),
		end: []rule[recordDraft]{
			{does: "wants a v", when: func(d recordDraft) bool { return !d.has("v") }},
			{does: "wants an id", when: func(d recordDraft) bool { return d["id"] == "" }},
		},
	}
}
