package mtasts_test

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/stshost/stshost/mtasts"
)

// policyWith returns a good body with lines added at its end.
func policyWith(lines ...string) string {
	return "version: STSv1\r\nmode: testing\r\nmx: mx.example.com\r\nmax_age: 86400\r\n" + crlf(lines...)
}

// crlf ends each line in CRLF.
func crlf(lines ...string) string {
	if len(lines) == 0 {
		return ""
	}
	return strings.Join(lines, "\r\n") + "\r\n"
}

// mxLine returns a good body but for its only mx, which is in line 3.
func mxLine(value string) string {
	return crlf("version: STSv1", "mode: enforce", "mx: "+value, "max_age: 86400")
}

// maxAgeLine returns a good body but for its max_age, which is in line 3.
func maxAgeLine(value string) string {
	return crlf("version: STSv1", "mode: none", "max_age: "+value)
}

func TestParsePolicyGood(t *testing.T) {
	testing1d := mtasts.Policy{Mode: mtasts.ModeTesting, MX: []string{"mx.example.com"}, MaxAge: 24 * time.Hour}
	enforce := func(mx ...string) mtasts.Policy {
		return mtasts.Policy{Mode: mtasts.ModeEnforce, MX: mx, MaxAge: 24 * time.Hour}
	}
	none := func(maxAge time.Duration) mtasts.Policy {
		return mtasts.Policy{Mode: mtasts.ModeNone, MaxAge: maxAge}
	}
	label63 := strings.Repeat("a", 63)
	tests := []struct {
		name string
		body string
		want mtasts.Policy
	}{
		// Line ends and blanks.
		{"CRLF", policyWith(), testing1d},
		{"LF", strings.ReplaceAll(policyWith(), "\r\n", "\n"), testing1d},
		{"CRLF and LF mixed", "version: STSv1\nmode: testing\r\nmx: mx.example.com\nmax_age: 86400\r\n", testing1d},
		{"no final line end", strings.TrimSuffix(policyWith(), "\r\n"), testing1d},
		{"no blank after the colon", strings.ReplaceAll(policyWith(), ": ", ":"), testing1d},
		{"many blanks after the colon", strings.ReplaceAll(policyWith(), ": ", ": \t  "), testing1d},
		{"trailing blanks", strings.ReplaceAll(policyWith(), "\r\n", " \t\r\n"), testing1d},
		{"trailing blanks and no final line end", strings.TrimSuffix(policyWith(), "\r\n") + " ", testing1d},

		// Order and repetition.
		{"any order", crlf("max_age: 86400", "mx: mx.example.com", "mode: testing", "version: STSv1"), testing1d},
		{"repeated mode", policyWith("mode: enforce"), testing1d},
		{"repeated mode, the second unknown", policyWith("mode: bogus"), testing1d},
		{"repeated max_age", policyWith("max_age: 1"), testing1d},
		{"repeated max_age, the second bad", policyWith("max_age: -1"), testing1d},
		{"repeated version", policyWith("version: STSv2"), testing1d},
		{"mx in order of the body", crlf("mx: b.example", "version: STSv1", "mode: enforce", "mx: *.c.example", "max_age: 86400", "mx: a.example"), enforce("b.example", "*.c.example", "a.example")},
		{"the same mx twice", mxLine("a.example\r\nmx: a.example"), enforce("a.example", "a.example")},

		// Unknown keys.
		{"unknown key", policyWith("future: yes"), testing1d},
		{"unknown key with colons in the value", policyWith("report: https://example.com:443/a:b"), testing1d},
		{"unknown key with spaces in the value", policyWith("note: one two  three"), testing1d},
		{"unknown key with UTF-8 in the value", policyWith("note: Grüße, 世界"), testing1d},
		{"unknown key repeated", policyWith("note: a", "note: b"), testing1d},
		{"unknown key with all signs", policyWith("0a_b-c.d: x"), testing1d},
		{"unknown key of 32 characters", policyWith(strings.Repeat("k", 32) + ": x"), testing1d},
		{"known key in upper case is unknown", policyWith("MODE: enforce", "Mx: *"), testing1d},

		// mode.
		{"enforce", mxLine("mx.example.com"), enforce("mx.example.com")},
		{"none without mx", maxAgeLine("86400"), none(24 * time.Hour)},
		{"none with mx", crlf("version: STSv1", "mode: none", "mx: a.example", "max_age: 0"), mtasts.Policy{Mode: mtasts.ModeNone, MX: []string{"a.example"}}},

		// max_age.
		{"max_age 0", maxAgeLine("0"), none(0)},
		{"max_age of one year", maxAgeLine("31557600"), none(mtasts.MaxMaxAge)},
		{"max_age with leading zeros, 10 digits", maxAgeLine("0000086400"), none(24 * time.Hour)},

		// mx.
		{"wildcard", mxLine("*.example.com"), enforce("*.example.com")},
		{"wildcard of one label", mxLine("*.example"), enforce("*.example")},
		{"single label", mxLine("localhost"), enforce("localhost")},
		{"upper case", mxLine("MX1.Example.COM"), enforce("mx1.example.com")},
		{"A-label", mxLine("mx.xn--bcher-kva.example"), enforce("mx.xn--bcher-kva.example")},
		{"A-label that IDNA would refuse", mxLine("xn--a.example"), enforce("xn--a.example")},
		{"digits first", mxLine("1mx.4.example"), enforce("1mx.4.example")},
		{"hyphens in third and fourth place", mxLine("r3---sn-4g5e.example"), enforce("r3---sn-4g5e.example")},
		{"label of 63 characters", mxLine(label63 + ".example"), enforce(label63 + ".example")},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := mtasts.ParsePolicy([]byte(tt.body))
			if err != nil {
				t.Fatalf("ParsePolicy(%q): %v", tt.body, err)
			}
			if diff := cmp.Diff(tt.want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("ParsePolicy(%q) (-want +got):\n%s", tt.body, diff)
			}
			if err := got.Validate(); err != nil {
				t.Errorf("Validate: %v", err)
			}
		})
	}
}

func TestParsePolicyBad(t *testing.T) {
	const (
		ruleLine    = "RFC 8461 §3.2: a line is"
		ruleKey     = "RFC 8461 §3.2: a key is"
		ruleValue   = "RFC 8461 §3.2: a value is"
		ruleVersion = "RFC 8461 §3.2: version is"
		ruleMode    = "RFC 8461 §3.2: mode is"
		ruleMaxAge  = "RFC 8461 §3.2: max_age is"
		ruleMX      = "RFC 8461 §3.2: mx is"
		ruleMXNone  = "RFC 8461 §3.2: at least one mx"
		ruleSize    = "RFC 8461 §3.3: senders read"
	)
	tests := []struct {
		name    string
		body    string
		line    int    // of the first fault
		rule    string // beginning of its rule
		problem string // part of its problem
	}{
		// Lines.
		{"empty body", "", 0, ruleVersion, "there is no version"},
		{"blank line first", "\r\n" + policyWith(), 1, ruleLine, "blank"},
		{"blank line between", crlf("version: STSv1", "", "mode: none", "max_age: 1"), 2, ruleLine, "blank"},
		{"blank line last", policyWith(""), 5, ruleLine, "blank"},
		{"line of blanks", policyWith(" \t"), 5, ruleLine, "blank"},
		{"line without colon", policyWith("hello"), 5, ruleLine, `"hello" has no colon`},
		{"equals sign for colon", crlf("version=STSv1"), 1, ruleLine, "no colon"},
		{"bare CR", strings.ReplaceAll(policyWith(), "\r\n", "\r"), 1, ruleLine, "carriage return"},
		{"CR CR LF", strings.ReplaceAll(policyWith(), "\r\n", "\r\r\n"), 1, ruleLine, "carriage return"},
		{"CR at the end without LF", strings.TrimSuffix(policyWith(), "\n"), 4, ruleLine, "carriage return"},
		{"byte order mark", "\ufeff" + policyWith(), 1, ruleKey, "byte order mark"},
		{"two byte order marks", "\ufeff\ufeff" + policyWith(), 1, ruleKey, "byte order mark"},
		{"UTF-16", "\xff\xfev\x00e\x00r\x00", 1, ruleLine, "no colon"},
		{"more than 64 KB", policyWith(slices.Repeat([]string{"note: " + strings.Repeat("x", 993)}, 66)...), 0, ruleSize, "bytes is too large"},

		// Keys.
		{"leading blank", " " + policyWith(), 1, ruleKey, "blank stands before or after"},
		{"blank before the colon", policyWith("note : x"), 5, ruleKey, "blank stands before or after"},
		{"blank inside a key", policyWith("my note: x"), 5, ruleKey, "is not a key"},
		{"empty key", policyWith(": x"), 5, ruleKey, "is not a key"},
		{"key of 33 characters", policyWith(strings.Repeat("k", 33) + ": x"), 5, ruleKey, "is not a key"},
		{"key that begins with an underscore", policyWith("_note: x"), 5, ruleKey, "is not a key"},
		{"key with a letter outside ASCII", policyWith("nöte: x"), 5, ruleKey, "is not a key"},

		// Values.
		{"unknown key without value", policyWith("note:"), 5, ruleValue, "not a value"},
		{"unknown key with a blank value", policyWith("note: \t"), 5, ruleValue, "not a value"},
		{"tab inside a value", policyWith("note: a\tb"), 5, ruleValue, "not a value"},
		{"NUL", policyWith("note: a\x00b"), 5, ruleValue, "not a value"},
		{"DEL", policyWith("note: a\x7f"), 5, ruleValue, "not a value"},
		{"invalid UTF-8", policyWith("note: a\xffb"), 5, ruleValue, "not a value"},

		// version.
		{"no version", crlf("mode: none", "max_age: 1"), 0, ruleVersion, "there is no version"},
		{"version 2", crlf("version: STSv2", "mode: none", "max_age: 1"), 1, ruleVersion, `"STSv2" is unknown`},
		{"version in lower case", crlf("version: stsv1", "mode: none", "max_age: 1"), 1, ruleVersion, "unknown"},
		{"version as in the record", crlf("v: STSv1", "mode: none", "max_age: 1"), 0, ruleVersion, "there is no version"},
		{"version key in upper case", crlf("Version: STSv1", "mode: none", "max_age: 1"), 1, ruleVersion, "lower case"},

		// mode.
		{"no mode", crlf("version: STSv1", "mx: a.example", "max_age: 1"), 0, ruleMode, "there is no mode"},
		{"unknown mode", crlf("version: STSv1", "mode: report", "max_age: 1"), 2, ruleMode, `mode "report" is unknown`},
		{"mode in upper case", crlf("version: STSv1", "mode: Enforce", "mx: a.example", "max_age: 1"), 2, ruleMode, "unknown"},
		{"mode with more behind it", crlf("version: STSv1", "mode: enforce # soon", "mx: a.example", "max_age: 1"), 2, ruleMode, "unknown"},
		{"empty mode", crlf("version: STSv1", "mode:", "max_age: 1"), 2, ruleValue, "not a value"},
		{"repeated mode, the first unknown", crlf("version: STSv1", "mode: off", "mode: none", "max_age: 1"), 2, ruleMode, "unknown"},
		{"mode key in upper case", crlf("version: STSv1", "max_age: 1", "Mode: none"), 3, ruleMode, "lower case"},

		// max_age.
		{"no max_age", crlf("version: STSv1", "mode: none"), 0, ruleMaxAge, "there is no max_age"},
		{"max_age −1", maxAgeLine("-1"), 3, ruleMaxAge, "1 to 10 digits"},
		{"max_age +1", maxAgeLine("+1"), 3, ruleMaxAge, "1 to 10 digits"},
		{"max_age 31557601", maxAgeLine("31557601"), 3, ruleMaxAge, "more than 31557600"},
		{"max_age of 10 digits", maxAgeLine("9999999999"), 3, ruleMaxAge, "more than 31557600"},
		{"max_age of 11 digits", maxAgeLine("00000086400"), 3, ruleMaxAge, "1 to 10 digits"},
		{"max_age with a unit", maxAgeLine("1d"), 3, ruleMaxAge, "1 to 10 digits"},
		{"max_age with a fraction", maxAgeLine("1.5"), 3, ruleMaxAge, "1 to 10 digits"},
		{"max_age with commas", maxAgeLine("86,400"), 3, ruleMaxAge, "1 to 10 digits"},
		{"max_age in hex", maxAgeLine("0x10"), 3, ruleMaxAge, "1 to 10 digits"},
		{"max_age with an inner space", maxAgeLine("86 400"), 3, ruleMaxAge, "1 to 10 digits"},
		{"max_age in other digits", maxAgeLine("１２３"), 3, ruleMaxAge, "1 to 10 digits"},
		{"empty max_age", maxAgeLine(""), 3, ruleValue, "not a value"},

		// mx.
		{"enforce without mx", crlf("version: STSv1", "mode: enforce", "max_age: 1"), 0, ruleMXNone, "there is no mx"},
		{"testing without mx", crlf("version: STSv1", "mode: testing", "max_age: 1"), 0, ruleMXNone, "there is no mx"},
		{"mx key in upper case", crlf("version: STSv1", "mode: enforce", "MX: a.example", "max_age: 1"), 3, ruleMXNone, "lower case"},
		{"a bad mx beside a good one", mxLine("good.example\r\nmx: bad_.example"), 4, ruleMX, "'_'"},
		{"a bad mx in mode none", crlf("version: STSv1", "mode: none", "mx: *", "max_age: 1"), 3, ruleMX, `"*"`},
		{"empty mx", mxLine(""), 3, ruleValue, "not a value"},
		{"trailing dot", mxLine("mx.example.com."), 3, ruleMX, "dot at the end"},
		{"null MX", mxLine("."), 3, ruleMX, "dot at the end"},
		{"leading dot", mxLine(".example.com"), 3, ruleMX, "label is empty"},
		{"two dots", mxLine("mx..example.com"), 3, ruleMX, "label is empty"},
		{"IPv4 address", mxLine("192.0.2.1"), 3, ruleMX, "IP address"},
		{"IPv4 literal", mxLine("[192.0.2.1]"), 3, ruleMX, "IP address"},
		{"IPv6 address", mxLine("2001:db8::1"), 3, ruleMX, "IP address"},
		{"IPv6 literal", mxLine("[IPv6:2001:db8::1]"), 3, ruleMX, "IP address"},
		{"wildcard of an IPv4 address", mxLine("*.192.0.2.1"), 3, ruleMX, "IP address"},
		{"short IPv4 address", mxLine("192.0.513"), 3, ruleMX, "is a number"},
		{"U-label", mxLine("mx.bücher.example"), 3, ruleMX, `write "mx.xn--bcher-kva.example"`},
		{"wildcard of a U-label", mxLine("*.bücher.example"), 3, ruleMX, `write "*.xn--bcher-kva.example"`},
		{"not even a U-label", mxLine("mx.bü_cher.example"), 3, ruleMX, "only letters, digits and hyphens"},
		{"asterisk alone", mxLine("*"), 3, ruleMX, `"*" may only be`},
		{"asterisk and dot", mxLine("*."), 3, ruleMX, "name is empty"},
		{"two asterisks", mxLine("*.*.x"), 3, ruleMX, `"*" may only be`},
		{"asterisk inside", mxLine("a.*.b"), 3, ruleMX, `"*" may only be`},
		{"asterisk last", mxLine("mx.*"), 3, ruleMX, `"*" may only be`},
		{"asterisk within a label", mxLine("mx*.example.com"), 3, ruleMX, `"*" may only be`},
		{"underscore", mxLine("mx_1.example.com"), 3, ruleMX, "'_'"},
		{"leading hyphen", mxLine("-mx.example.com"), 3, ruleMX, "hyphen"},
		{"trailing hyphen", mxLine("mx-.example.com"), 3, ruleMX, "hyphen"},
		{"port", mxLine("mx.example.com:25"), 3, ruleMX, "':'"},
		{"URL", mxLine("smtp://mx.example.com"), 3, ruleMX, "':'"},
		{"several hosts in one line", mxLine("a.example, b.example"), 3, ruleMX, "','"},
		{"label of 64 characters", mxLine(strings.Repeat("a", 64) + ".example"), 3, ruleMX, "63 characters"},
		{"name of 254 characters", mxLine(strings.Repeat("ab.", 84) + "cd"), 3, ruleMX, "254 characters"},

		// Other things at the URL.
		{"HTML", "<!DOCTYPE html>\n<html><head><title>404</title></head></html>\n", 1, ruleLine, "no colon"},
		{"JSON", `{"version": "STSv1"}`, 1, ruleKey, "not a key"},
		{"the TXT record", "v=STSv1; id=1;", 1, ruleLine, "no colon"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got, err := mtasts.ParsePolicy([]byte(tt.body))
			fault, ok := errors.AsType[*mtasts.PolicyError](err)
			if !ok {
				t.Fatalf("ParsePolicy(%q) = %+v, %v; want a *PolicyError", tt.body, got, err)
			}
			if fault.Line != tt.line || !strings.HasPrefix(fault.Rule, tt.rule) || !strings.Contains(fault.Problem, tt.problem) {
				t.Errorf("ParsePolicy(%q):\n got line %d: %s (%s)\nwant line %d: …%s… (%s…)",
					tt.body, fault.Line, fault.Problem, fault.Rule, tt.line, tt.problem, tt.rule)
			}
			if diff := cmp.Diff(mtasts.Policy{}, got); diff != "" {
				t.Errorf("a policy came with the error (-want +got):\n%s", diff)
			}
		})
	}
}

// A checker shows everything that is wrong with a policy, in the order of its
// lines, and no fault twice.
func TestParsePolicyReportsEveryFault(t *testing.T) {
	_, err := mtasts.ParsePolicy([]byte(crlf("version: STSv9", "", "Mode: enforce", "mx: a.example.", "max_age: 7d")))
	want := `policy line 1: version "STSv9" is unknown (RFC 8461 §3.2: version is required and is STSv1); ` +
		`policy line 2: the line is blank (RFC 8461 §3.2: a line is a key, a colon and a value, and ends in CRLF or LF); ` +
		`policy line 4: mx "a.example.": leave out the dot at the end (RFC 8461 §3.2: mx is a host name in A-labels, or such a name after "*."); ` +
		`policy line 5: max_age "7d" is not 1 to 10 digits (RFC 8461 §3.2: max_age is required and is 1 to 10 digits, a number of seconds up to 31557600); ` +
		`policy line 3: there is no mode: the key must be in lower case (RFC 8461 §3.2: mode is required and is enforce, testing or none)`
	if err == nil || err.Error() != want {
		t.Errorf("got\n%v\nwant\n%s", err, want)
	}
}

// What a web server sends in place of a policy must not fill the log.
func TestParsePolicyBoundsItsError(t *testing.T) {
	bodies := map[string]string{
		"many bad lines": strings.Repeat("<p>\n", 16000),
		"one long line":  strings.Repeat("x", mtasts.MaxBodySize),
		"a long value":   crlf("version: STSv1", "mode: "+strings.Repeat("x", 60000), "mx: "+strings.Repeat("x", 4000)),
	}
	for name, body := range bodies {
		_, err := mtasts.ParsePolicy([]byte(body))
		list, ok := errors.AsType[mtasts.PolicyErrors](err)
		if !ok || len(list) == 0 || len(list) > 10 || len(err.Error()) > 2500 {
			t.Errorf("%s: %d faults in %d bytes of text", name, len(list), len(err.Error()))
		}
	}
}
