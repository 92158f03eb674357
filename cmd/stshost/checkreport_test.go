package main

import (
	"encoding/json"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"github.com/stshost/stshost/internal/state"
)

// fullReport has every field and every status.
func fullReport() state.Report {
	return state.Report{
		Domain: "example.org", Verdict: state.VerdictLoseMail,
		Summary: "the policy enforces, and mx2.example.org is in none of its patterns",
		Time:    time.Date(2026, 1, 31, 12, 0, 0, 0, time.UTC), Seconds: 2.345,
		RecordID: "20260131T120000Z", Mode: "enforce", MaxAge: 604800,
		MX:     []string{"mx1.example.org", "*.mail.example"},
		Policy: "version: STSv1\r\nmode: enforce\r\nmx: mx1.example.org\r\nmx: *.mail.example\r\nmax_age: 604800\r\n",
		Findings: []state.Finding{
			{
				Code: "STS-MX-UNCOVERED", Status: state.CheckFail, Harm: state.HarmLoss, Subject: "mx2.example.org",
				Text:     "No pattern of the policy matches this MX host, so senders refuse to deliver to it.",
				Evidence: map[string]string{"patterns": "mx1.example.org *.mail.example", "mx": "20 mx2.example.org"},
				Section:  "RFC 8461 §4.1", Remedy: "Add mx2.example.org to the policy, or take its MX record out.",
			},
			{
				Code: "STS-HOST-V6", Status: state.CheckUnknown, Subject: "mta-sts.example.org [2001:db8::1]",
				Text: "It does not answer from here.", Section: "RFC 8461 §3.3",
			},
			{
				Code: "STS-TLSRPT-NONE", Status: state.CheckWarn, Harm: state.HarmRisk, Subject: "_smtp._tls.example.org",
				Text: "There is no TLSRPT record: you do not hear of failures.", Section: "RFC 8460 §3",
				Remedy: "Publish v=TLSRPTv1; rua=mailto:… there.",
			},
			{Code: "STS-DANE", Status: state.CheckSkipped, Subject: "mx1.example.org", Text: "The resolver does not validate.", Section: "RFC 7672 §2.2"},
			{
				Code: "STS-RECORD", Status: state.CheckPass, Subject: "_mta-sts.example.org", Text: "There is one record, and it is valid.",
				Evidence: map[string]string{"txt": "v=STSv1; id=20260131T120000Z;"}, Section: "RFC 8461 §3.1",
			},
		},
	}
}

func TestCheckGoldenReports(t *testing.T) {
	report := fullReport()
	other := state.Report{Domain: "example.net", Verdict: state.VerdictEnforce, Summary: "all is well", Findings: []state.Finding{
		{Code: "STS-RECORD", Status: state.CheckPass, Text: "fine"},
	}}
	for file, got := range map[string]string{
		"report.txt":         style{}.report(report, false),
		"report-verbose.txt": style{}.report(report, true),
		"report-80.txt":      style{width: 80}.report(report, false),
		"report-40.txt":      style{width: 40}.report(report, false),
		"report.md":          markdownReport(report),
		"reports.md":         markdownReports([]state.Report{report, other}),
	} {
		want, err := os.ReadFile("testdata/check/" + file)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(want), got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", file, diff)
		}
	}
}

// hostile is what a stranger may put into his DNS and his policy.
const hostile = "a\x1b[2J\x1b]0;owned\x07\r\n\tb\x7f\u009b31m\u202egpj.\u2066x\u200b\u2028\xffz|`<img src=x>`[l](http://e)*b*_i_\\"

// hostileReport has it everywhere.
func hostileReport() state.Report {
	f := state.Finding{Code: hostile, Harm: hostile, Subject: hostile, Text: hostile,
		Evidence: map[string]string{hostile: hostile}, Section: hostile, Remedy: hostile}
	r := state.Report{Domain: hostile, Verdict: hostile, Summary: hostile, RecordID: hostile, Mode: hostile, MX: []string{hostile}, Policy: hostile}
	for _, s := range []state.CheckStatus{state.CheckFail, state.CheckSkipped, state.CheckPass, hostile} {
		f.Status = s
		r.Findings = append(r.Findings, f)
	}
	return r
}

func TestNothingHostileReachesTheTerminal(t *testing.T) {
	r := hostileReport()
	long, err := jsonText(r, "  ")
	if err != nil {
		t.Fatal(err)
	}
	markup := regexp.MustCompile("[^\\\\][`\\[]") // not escaped
	for name, got := range map[string]string{
		"text":          style{}.report(r, true),
		"text, wrapped": style{width: 60}.report(r, true),
		"table, cut":    style{width: 60}.table([]row{rowOf(r)}),
		"table":         style{}.table([]row{rowOf(r)}),
		"JSON":          long,
		"markdown":      markdownReport(r),
		"markdown many": markdownReports([]state.Report{r, r}),
	} {
		for _, c := range got {
			if c != '\n' && !unicode.IsPrint(c) {
				t.Errorf("%s has %U", name, c)
				break
			}
		}
		if strings.HasPrefix(name, "markdown") {
			if strings.Contains(got, "<") || markup.MatchString(got) {
				t.Errorf("%s has a stranger's markup: %s", name, got)
			}
		}
	}
	var back state.Report
	if err := json.Unmarshal([]byte(long), &back); err != nil || back.Summary != strings.ToValidUTF8(hostile, "\ufffd") {
		t.Errorf("JSON came back as %q: %v", back.Summary, err)
	}
}

func TestEscaped(t *testing.T) {
	for in, want := range map[string]string{
		"plain, ünïcode → ✓":       "plain, ünïcode → ✓",
		"v=STSv1;  id=1;":          "v=STSv1;  id=1;",
		"\x1b[31mred\x1b[0m":       `\x1b[31mred\x1b[0m`,
		"one\r\ntwo\tthree":        `one\r\ntwo\tthree`,
		"\u202eevil\u2066\u200f":   `\u202eevil\u2066\u200f`,
		"csi \u009b31m del \x7f":   `csi \u009b31m del \x7f`,
		"tag \U000e0041":           `tag \U000e0041`,
		"bytes \xff\xfe":           `bytes \xff\xfe`,
		"replaced \ufffd":          "replaced \ufffd",
		"no-break\u00a0and\u2028x": `no-break\u00a0and\u2028x`,
		"":                         "",
	} {
		if got := escaped(in); got != want {
			t.Errorf("escaped(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestJSONEscaped(t *testing.T) {
	in := "{\n \"a\": \"\u202e\u009b\x7f\U000e0041ü✓\"}"
	want := "{\n \"a\": \"\\u202e\\u009b\\u007f\\udb40\\udc41ü✓\"}"
	if got := jsonEscaped(in); got != want {
		t.Errorf("jsonEscaped(%q) = %q, want %q", in, got, want)
	}
}

func TestMarkdownText(t *testing.T) {
	for in, want := range map[string]string{
		"_mta-sts.a|b":             `\_mta-sts.a\|b`,
		"`rm`":                     "\\`rm\\`",
		"<script>&amp;</script>":   "&lt;script&gt;&amp;amp;&lt;/script&gt;",
		"![x](http://e) *b* ~~s~~": `!\[x\](http://e) \*b\* \~\~s\~\~`,
		`a\|b`:                     `a\\\|b`,
		"two\nlines":               `two\\nlines`,
	} {
		if got := markdownText(in); got != want {
			t.Errorf("markdownText(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestColoursAreForTerminalsOnly(t *testing.T) {
	r := fullReport()
	coloured := style{color: true}.report(r, false)
	if !strings.Contains(coloured, "\x1b[31;1msenders will: LOSE MAIL\x1b") {
		t.Errorf("the verdict has no colour: %q", coloured)
	}
	if got := styleOf(&strings.Builder{}); got != (style{}) {
		t.Errorf("what is no terminal has the style %+v", got)
	}
	narrow := style{color: true, width: 30}.report(r, false)
	if !strings.Contains(narrow, "\x1b[31;1msenders will: LOSE MAIL\x1b") || strings.Contains(narrow, "\u00a0") {
		t.Errorf("on a narrow terminal the verdict is broken: %q", narrow)
	}
	plain := regexp.MustCompile("\x1b\\[[0-9;]*m").ReplaceAllString(coloured, "")
	if want := (style{}).report(r, false); plain != want {
		t.Errorf("colours change the text (-want +got):\n%s", cmp.Diff(want, plain))
	}
}

func TestWrapped(t *testing.T) {
	st := style{width: 30}
	for in, want := range map[string]string{
		"FAIL     short":                               "FAIL     short",
		"FAIL     one two three four five":             "FAIL     one two three four\n         five",
		"FAIL     keeps  two blanks and more  of them": "FAIL     keeps  two blanks and\n         more  of them",
		"FAIL     " + strings.Repeat("x", 40) + " y":   "FAIL     " + strings.Repeat("x", 40) + "\n         y",
	} {
		if got := st.wrapped(in); got != want {
			t.Errorf("wrapped(%q) = %q, want %q", in, got, want)
		}
	}
}

func TestTableIsCutAtTheTerminal(t *testing.T) {
	rows := []row{
		{"example.org", state.VerdictLoseMail, "the policy enforces, and mx2.example.org → is in none of its patterns", 1, 2},
		{"example.net", state.VerdictEnforce, "fits in", 0, 0},
	}
	const wide = `DOMAIN       VERDICT    FAIL  WARN  REASON
example.org  LOSE MAIL     1     2  the policy enforces, and mx2.example.org → is in none of its patterns
example.net  enforce       0     0  fits in

2 domains: 1 LOSE MAIL, 1 enforce
`
	for width, reason := range map[int]string{0: "", 200: "", 52: "the policy enfo…", 36: "…", 10: "…"} {
		want := wide
		if reason != "" {
			want = strings.Replace(wide, rows[0].summary, reason, 1)
		}
		if width == 36 || width == 10 {
			want = strings.Replace(want, "fits in", "…", 1)
		}
		if diff := cmp.Diff(want, style{width: width}.table(rows)); diff != "" {
			t.Errorf("%d columns (-want +got):\n%s", width, diff)
		}
	}
	coloured := style{width: 52, color: true}.table(rows)
	if !strings.Contains(coloured, "the policy enfo…\n") {
		t.Errorf("colour changes the width: %q", coloured)
	}
}
