package senders

import (
	"strings"

	"pgregory.net/rapid"
)

// oddBodies generates bodies that are near to policies: the pieces on which
// readers differ, put together at random.
func oddBodies() *rapid.Generator[string] {
	pick := func(values ...string) *rapid.Generator[string] { return rapid.SampledFrom(values) }
	key := pick("version", "mode", "mx", "max_age", "note", "Mode", " mx", "mx ", "", "-k", "nöte", "\ufeffversion", "mode\x1f")
	colon := pick(": ", ": ", ": ", ":", "", " : ", ":\t", ":\u00a0", "::", "=")
	value := rapid.OneOf(
		pick("STSv1", "STSv1", "enforce", "testing", "none", "mx.example.com", "*.example.com", "86400", "1"),
		pick("", "STSv2", "-1", "+5", "8_6", "٣", "-0", "31557601", "4294967296", "99999999999999999999", "mx.example.com.",
			"192.0.2.1", "bücher.example", "a b", "a:b", "a\rmode: none", "a\u2028mode: none", "a\x1cb", "\xff", "a\x1f",
			"ab--cd.example", "xn--a.example", "*", "a_b.example", "x.1"),
	)
	end := pick("\r\n", "\r\n", "\r\n", "\n", "\n", "\r", "\r\r\n", "\n\n", "\v", "\f", "\x1e", "\u0085", " \r\n", "")
	good := pick("version: STSv1", "mode: enforce", "mode: testing", "mx: mx.example.com", "max_age: 86400", "note: x")
	return rapid.Custom(func(t *rapid.T) string {
		var body strings.Builder
		for _, l := range rapid.SliceOfN(rapid.Bool(), 0, 6).Draw(t, "lines") {
			if l {
				body.WriteString(good.Draw(t, "good") + end.Draw(t, "end"))
				continue
			}
			body.WriteString(key.Draw(t, "key") + colon.Draw(t, "colon") + value.Draw(t, "value") + end.Draw(t, "end"))
		}
		// Most of what is put together so lacks something; add it at times.
		if rapid.Bool().Draw(t, "complete") {
			if rapid.Bool().Draw(t, "before") {
				return goodBody + body.String()
			}
			return body.String() + goodBody
		}
		return body.String()
	})
}

// oddRecords generates TXT record sets that are near to valid ones.
func oddRecords() *rapid.Generator[[]string] {
	pick := func(values ...string) *rapid.Generator[string] { return rapid.SampledFrom(values) }
	part := rapid.OneOf(
		pick("v=STSv1", "id=a1", "id=a2", "x=y"),
		pick("", "v=STSv2", "v=STSv10", "v=stsv1", "id=", "id", "id=a-b", "id=a=b", "id =a", "id= a", "ID=a", "x", "x=", ".x=y",
			"_x=y", "x=ä", "v", "id=\x1fa", "\u00a0id=a", "x=\xff", strings.Repeat("k", 33)+"=v", "id="+strings.Repeat("i", 33)),
	)
	semicolon := pick("; ", "; ", ";", " ;", "\t;\t", ";;", "\x1f;", ";\u00a0", " ")
	record := rapid.Custom(func(t *rapid.T) string {
		record := pick("v=STSv1; ", "v=STSv1; ", "v=STSv1;", "v=STSv1", "", " ").Draw(t, "begin")
		for range rapid.IntRange(0, 4).Draw(t, "parts") {
			record += part.Draw(t, "part") + semicolon.Draw(t, "semicolon")
		}
		return record + pick("", "", "id=z9", "id=z9;", " ").Draw(t, "end")
	})
	return rapid.OneOf(
		rapid.SliceOfN(record, 1, 1),
		rapid.SliceOfN(rapid.OneOf(record, pick(goodRecord, "v=spf1 -all", "grüße")), 0, 3),
	)
}
