package senders

import (
	"bytes"
	"iter"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/stshost/stshost/mtasts"
)

const resolverSource = "postfix-mta-sts-resolver 1.1.2"

// resolverReader is postfix-mta-sts-resolver as Debian 12 has it, which gives
// policies to Postfix. Its table is exact, but for records with NUL bytes,
// after which c-ares shows it nothing: tests hold it against the program itself.
func resolverReader() Reader {
	return Reader{Name: Resolver, Source: resolverSource, record: resolverRecord().read, policy: resolverPolicy().read}
}

// asciiOnly is what it does if a Content-Type names no charset. The effect
// hangs on the Content-Type, so that Deviations words it by itself.
const asciiOnly = "takes a body without a charset for ASCII"

const wantsAgeInRange = "rejects a max_age that is not 0 to 31557600"

func resolverPolicy() *policyModel {
	return &policyModel{
		source:  resolverSource + ", parse_mta_sts_policy and resolve",
		last:    true,
		lines:   linesByPython,
		seconds: pythonInteger,
		cut: func(l line) field {
			key, value, colon := strings.Cut(strings.TrimRightFunc(l.text, pythonSpace), ":")
			return field{line: l, key: key, value: strings.TrimLeftFunc(value, pythonSpace), colon: colon}
		},
		body: []rule[draft]{
			{does: "reads no more than 64 kilobytes", when: largeBody},
			{does: asciiOnly, when: func(d draft) bool { return d.charset != utf8Label && !isASCII(d.body) }},
			{does: "rejects bytes that are not UTF-8", when: func(d draft) bool { return !utf8.Valid(d.body) }},
		},
		field: slices.Concat([]rule[field]{
			{effect: tolerates, does: "passes over blank lines", when: isBlank},
			{effect: tolerates, does: "passes over a line without a colon", when: noColon},
			{effect: tolerates, does: "takes a carriage return alone for the end of a line", when: func(f field) bool {
				return f.end == "\r"
			}},
			{effect: tolerates, does: "takes other control characters for the end of a line", when: func(f field) bool {
				return strings.ContainsAny(f.end, "\v\f\x1c\x1d\x1e")
			}},
			{effect: differs, does: "takes line breaks of Unicode for the end of a line", when: func(f field) bool {
				return f.end != "" && !isASCII([]byte(f.end))
			}},
		}, tolerateOddities(pythonInteger)),
		end: slices.Concat([]rule[draft]{
			{does: "rejects an unknown version", when: func(d draft) bool { return d.value(keyVersion) != version }},
			{does: "rejects a max_age that it cannot read", when: func(d draft) bool {
				_, ok := pythonInteger(d.value(keyMaxAge))
				return d.has(keyMaxAge) && !ok
			}},
			{does: wantsAgeInRange, when: func(d draft) bool {
				n, _ := pythonInteger(d.value(keyMaxAge))
				return d.has(keyMaxAge) && !inRange(n)
			}},
			{does: "rejects an unknown mode", when: func(d draft) bool {
				return d.has(keyMode) && !mtasts.Mode(d.value(keyMode)).Valid()
			}},
		}, rejectMissing()),
	}
}

func resolverRecord() *recordModel {
	return &recordModel{
		source: resolverSource + ", parse_mta_sts_record and resolve",
		counts: func(txt string) bool { return isASCII([]byte(txt)) && strings.HasPrefix(txt, recordVersion) },
		set: []rule[recordSet]{
			{effect: tolerates, does: "passes over a TXT record that is not ASCII", when: func(s recordSet) bool {
				return slices.ContainsFunc(s.all, func(txt string) bool { return mtasts.IsRecord(txt) && !isASCII([]byte(txt)) })
			}},
			{does: "finds no TXT record that begins with v=STSv1", when: noneCounted},
			{does: "counts every TXT record that begins with v=STSv1, whatever follows", when: severalCounted},
		},
		trim: func(s string) string { return strings.TrimFunc(s, pythonSpace) },
		part: slices.Concat(toleratePartOddities(), []rule[part]{
			{effect: tolerates, does: "takes the last v of a record", when: func(p part) bool {
				return p.key == "v" && p.repeated && p.value != p.previous
			}},
		}),
		end: []rule[recordDraft]{
			{does: "rejects another v", when: func(d recordDraft) bool { return d["v"] != version }},
			{does: "wants an id", when: func(d recordDraft) bool { return !d.has("id") }},
		},
	}
}

// linesByPython cuts as str.splitlines does.
func linesByPython(body []byte) iter.Seq[line] {
	return func(yield func(line) bool) {
		n := 1
		for text := string(body); text != ""; {
			l := line{n: n, text: text}
			if at := strings.IndexAny(text, "\n\r\v\f\x1c\x1d\x1e\u0085\u2028\u2029"); at >= 0 {
				_, size := utf8.DecodeRuneInString(text[at:])
				if strings.HasPrefix(text[at:], "\r\n") {
					size = 2
				}
				l.text, l.end = text[:at], text[at:at+size]
			}
			if !yield(l) {
				return
			}
			text = text[len(l.text)+len(l.end):]
			n += strings.Count(l.end, "\n")
		}
	}
}

// pythonSpace is what str.strip strips.
func pythonSpace(r rune) bool { return unicode.IsSpace(r) || r >= 0x1c && r <= 0x1f }

// pythonDigits is how many digits int() reads at most.
const pythonDigits = 4300

// pythonInteger reads a number as int() does: with a sign, with single
// underscores between digits, in the digits of any script. Numbers that int64
// cannot hold come back as its greatest or least.
func pythonInteger(s string) (int64, bool) {
	digits := strings.TrimLeft(s, "+-")
	sign := s[:len(s)-len(digits)]
	if len(sign) > 1 || digits == "" {
		return 0, false
	}
	var plain []byte
	for groups := range strings.SplitSeq(digits, "_") {
		if groups == "" {
			return 0, false
		}
		for _, r := range groups {
			digit, ok := decimal(r)
			if !ok {
				return 0, false
			}
			plain = append(plain, '0'+digit)
		}
	}
	if len(plain) > pythonDigits {
		return 0, false
	}
	n, err := strconv.ParseInt(sign+string(plain), 10, 64)
	if err != nil && sign == "-" {
		return math.MinInt64, true
	} else if err != nil {
		return math.MaxInt64, true
	}
	return n, true
}

// decimal is the value of a decimal digit of any script. They come in tens,
// each from zero on (The Unicode Standard §4.6).
func decimal(r rune) (byte, bool) {
	for _, t := range unicode.Nd.R16 {
		if rune(t.Lo) <= r && r <= rune(t.Hi) {
			return byte((r - rune(t.Lo)) % 10), true
		}
	}
	for _, t := range unicode.Nd.R32 {
		if rune(t.Lo) <= r && r <= rune(t.Hi) {
			return byte((r - rune(t.Lo)) % 10), true
		}
	}
	return 0, false
}

func isASCII(b []byte) bool {
	return !bytes.ContainsFunc(b, func(r rune) bool { return r >= utf8.RuneSelf })
}
