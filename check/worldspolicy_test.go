package check

import (
	"fmt"
	"strings"

	"github.com/stshost/stshost/internal/state"
)

func policyWorlds() []brokenWorld {
	const (
		ignore  = state.VerdictIgnore
		enforce = state.VerdictEnforce
	)
	edit := func(old, replacement string) func(*world) {
		return func(w *world) { w.edit(old, replacement) }
	}
	return []brokenWorld{
		{"testing", edit("mode: enforce", "mode: testing"), state.VerdictTest, nil, ""},
		{"blank line", edit("\r\nmode", "\r\n\r\nmode"), ignore, []string{PolicyGrammar, ReadersLenient}, "line 2"},
		{"no version", edit("version: STSv1\r\n", ""), ignore, []string{PolicyGrammar}, "version"},
		{"byte order mark", edit("version", "\uFEFFversion"), ignore, []string{PolicyGrammar, ReadersLenient}, "byte order mark"},
		{"mode in capitals", edit("enforce", "Enforce"), ignore, []string{PolicyGrammar, ReadersLenient}, "line 2"},
		{"no mode", edit("mode: enforce\r\n", ""), ignore, []string{PolicyGrammar}, "mode"},
		{"max_age too long", edit("2419200", "31557601"), ignore, []string{PolicyGrammar, ReadersLenient}, "line 5"},
		{"max_age with a unit", edit("2419200", "4w"), ignore, []string{PolicyGrammar}, "4w"},
		{"no max_age", edit("max_age: 2419200\r\n", ""), ignore, []string{PolicyGrammar}, "max_age"},
		{"three faults", edit("mode: enforce\r\nmx: mx1.example.test", "mode: on\r\nmx: 192.0.2.25\r\n"), ignore, []string{PolicyGrammar}, "line 4"},
		{"mx an address", edit("mx1.example.test", "192.0.2.25"), ignore, []string{PolicyGrammar, ReadersLenient, ReadersLose}, "line 3"},
		{"mx with a dot at the end", edit("mx1.example.test", "mx1.example.test."), ignore, []string{PolicyGrammar, ReadersLenient}, "line 3"},
		{"no mx", func(w *world) { w.policy("version: STSv1\r\nmode: enforce\r\nmax_age: 2419200\r\n") }, ignore, []string{PolicyGrammar}, "mx"},
		{"line ends LF only", func(w *world) { w.policy(strings.ReplaceAll(goodPolicy, "\r", "")) }, enforce, nil, ""},
		{"mode twice", edit("mode: enforce", "mode: enforce\r\nmode: testing"), enforce, []string{PolicyDuplicateKey, ReadersPolicy}, "line 3"},
		{"mx twice", edit("mx: mx1.example.test", "mx: mx1.example.test\r\nmx: MX1.example.test"), enforce, []string{PolicyDuplicateMX}, "line 4"},
		{"unknown key", edit("mx: mx1", "comment: hello\r\nmx: mx1"), enforce, []string{PolicyUnknownKey, ReadersPolicy}, "comment"},
		{"unknown key with a colon in it", edit("mx: mx1", "see: https://example.test\r\nmx: mx1"), enforce, []string{PolicyUnknownKey, ReadersPolicy}, "see"},
		{"max_age 0", edit("2419200", "0"), enforce, []string{PolicyMaxAgeZero}, ""},
		{"max_age of an hour", edit("2419200", "3600"), enforce, []string{PolicyMaxAgeShort}, "1h"},
		{"max_age of an hour in testing", func(w *world) {
			w.policy("version: STSv1\r\nmode: testing\r\nmx: mx1.example.test\r\nmx: mx2.example.test\r\nmax_age: 3600\r\n")
		}, state.VerdictTest, nil, ""},
		{"HTML for a policy", func(w *world) { w.policy("<html><body>STSv1 is here</body></html>") }, ignore, []string{PolicyGrammar}, "line 1"},
		{"testing, then enforce, and an MX left out", func(w *world) {
			w.policy("version: STSv1\r\nmode: testing\r\nmode: enforce\r\nmx: mx1.example.test\r\nmax_age: 2419200\r\n")
		}, state.VerdictTest, []string{ReadersLose, ReadersPolicy, PolicyDuplicateKey, MXUncovered}, "mx2.example.test"},
		{"blank line, and an MX left out", func(w *world) {
			w.policy("version: STSv1\r\n\r\nmode: enforce\r\nmx: mx1.example.test\r\nmax_age: 2419200\r\n")
		}, ignore, []string{ReadersLose, ReadersLenient, PolicyGrammar}, "mx2.example.test"},
		{"five thousand patterns", func(w *world) {
			var mx strings.Builder
			for i := range 1500 {
				fmt.Fprintf(&mx, "mx: *.a%d.example.test\r\nmx: *.co.uk\r\n", i)
			}
			w.edit("mx: mx1", mx.String()+"mx: mx1")
		}, enforce, []string{MXPatternBroad, MXPatternUnused, PolicyDuplicateMX}, ""},
		{"empty", func(w *world) { w.policy("") }, ignore, []string{PolicyGrammar}, ""},
	}
}
