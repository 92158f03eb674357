package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/fatih/color"

	"github.com/stshost/stshost/internal/state"
)

// style is how reports are written for people.
type style struct {
	color bool
	width int // of the terminal, where lines are broken; 0: not known, and nowhere
}

// margin is where the text of a finding begins, behind its status.
const margin = 9

// report is all about one domain: the verdict on the first line, what is wrong
// or not known in the order of the report, what was not looked at, and what is
// in order. Of the last two, evidence is for those who ask.
func (st style) report(r state.Report, verbose bool) string {
	var b strings.Builder
	b.WriteString(st.first(r) + "\n")
	for _, part := range partsOf(r.Findings) {
		if len(part.findings) == 0 {
			continue
		}
		b.WriteString("\n")
		for _, f := range part.findings {
			st.finding(&b, f, part.full, part.full || verbose)
		}
	}
	if facts := policyFacts(r); facts != "" {
		fmt.Fprintf(&b, "\n%s\n", st.wrapped("policy:  "+escaped(facts)))
	}
	if verbose && r.Policy != "" {
		for line := range strings.Lines(r.Policy) {
			fmt.Fprintf(&b, "%*s%s\n", margin, "", escaped(strings.TrimRight(line, "\r\n")))
		}
	}
	if !r.Time.IsZero() {
		fmt.Fprintf(&b, "\nexamined at %s in %.1f s\n", stamp(r.Time), r.Seconds)
	}
	return b.String()
}

// first is the first line: the verdict and its reason. No line is broken within
// the verdict: while that is done, no-break spaces stand in it, which escaped
// text has none of.
func (st style) first(r state.Report) string {
	const noBreak = "\u00a0"
	verdict := verdictLine(r.Verdict)
	whole := strings.ReplaceAll(verdict, " ", noBreak)
	line := st.wrapped(escaped(r.Domain) + ": " + whole + " - " + escaped(r.Summary))
	return strings.Replace(line, whole, st.paint(verdict, verdictColor(r.Verdict)...), 1)
}

// part is the findings of one kind. Of some all is said, of others a line.
type part struct {
	title    string
	findings []state.Finding
	full     bool
}

// partsOf sorts findings by what they are to a reader, and keeps their order
// within.
func partsOf(findings []state.Finding) []part {
	parts := []part{{title: "Wrong or not known", full: true}, {title: "Not looked at"}, {title: "In order"}}
	for _, f := range findings {
		i := 0
		switch f.Status {
		case state.CheckSkipped:
			i = 1
		case state.CheckPass:
			i = 2
		}
		parts[i].findings = append(parts[i].findings, f)
	}
	return parts
}

// finding writes one finding: a line, and below it what there is to know.
func (st style) finding(b *strings.Builder, f state.Finding, full, evidence bool) {
	label := statusWord(f.Status)
	pad := strings.Repeat(" ", max(1, margin-utf8.RuneCountInString(label)))
	text := subjectAnd(f, escaped)
	if f.Status == state.CheckSkipped && !full && !evidence {
		text += " (" + escaped(f.Code) + ")" // there is no other line to have it
	}
	first := st.wrapped(label + pad + text)
	b.WriteString(st.paint(label, statusColor(f.Status)...) + strings.TrimPrefix(first, label) + "\n")
	line := func(text string) {
		b.WriteString(st.wrapped(strings.Repeat(" ", margin)+text) + "\n")
	}
	if (full || evidence) && f.Remedy != "" {
		line("what to do: " + escaped(f.Remedy))
	}
	if evidence {
		for _, key := range slices.Sorted(maps.Keys(f.Evidence)) {
			line(escaped(key) + ": " + escaped(f.Evidence[key]))
		}
	}
	if full || evidence {
		line(strings.Join(reference(f, escaped), ", "))
	}
}

// subjectAnd is what a finding is about and what was found.
func subjectAnd(f state.Finding, escape func(string) string) string {
	if f.Subject == "" || strings.HasPrefix(f.Text, f.Subject+" ") {
		return escape(f.Text)
	}
	return escape(f.Subject) + ": " + escape(f.Text)
}

// reference says where more is told of a finding: its code, the standard, and
// what it does to mail.
func reference(f state.Finding, escape func(string) string) []string {
	all := []string{escape(f.Code)}
	if f.Section != "" {
		all = append(all, escape(f.Section))
	}
	if f.Harm != state.HarmNone {
		all = append(all, "harm: "+escape(string(f.Harm)))
	}
	return all
}

// policyFacts are the policy and its id in a line; "" if there is no policy.
func policyFacts(r state.Report) string {
	if r.Mode == "" {
		return ""
	}
	facts := []string{"mode " + r.Mode, "max_age " + duration(time.Duration(r.MaxAge)*time.Second)}
	if len(r.MX) > 0 {
		facts = append(facts, "mx "+strings.Join(r.MX, " "))
	}
	if r.RecordID != "" {
		facts = append(facts, "id "+r.RecordID)
	}
	return strings.Join(facts, ", ")
}

// verdictLine is a verdict as the first line has it.
func verdictLine(v state.Verdict) string {
	switch v {
	case state.VerdictNone, state.VerdictUnknown:
		return verdictWord(v)
	}
	return "senders will: " + verdictWord(v)
}

// verdictWord is a verdict in a table.
func verdictWord(v state.Verdict) string {
	switch v {
	case state.VerdictLoseMail:
		return "LOSE MAIL"
	case state.VerdictNone:
		return "no MTA-STS"
	case state.VerdictUnknown:
		return "could not decide"
	}
	return escaped(string(v))
}

func statusWord(s state.CheckStatus) string {
	switch s {
	case state.CheckPass:
		return "ok"
	case state.CheckSkipped:
		return "skipped"
	}
	return strings.ToUpper(escaped(string(s)))
}

func verdictColor(v state.Verdict) []color.Attribute {
	switch v {
	case state.VerdictEnforce:
		return []color.Attribute{color.FgGreen, color.Bold}
	case state.VerdictTest:
		return []color.Attribute{color.FgCyan, color.Bold}
	case state.VerdictLoseMail:
		return []color.Attribute{color.FgRed, color.Bold}
	}
	return []color.Attribute{color.FgYellow, color.Bold}
}

func statusColor(s state.CheckStatus) []color.Attribute {
	switch s {
	case state.CheckPass:
		return []color.Attribute{color.FgGreen}
	case state.CheckFail:
		return []color.Attribute{color.FgRed, color.Bold}
	case state.CheckSkipped:
		return []color.Attribute{color.Faint}
	}
	return []color.Attribute{color.FgYellow}
}

// paint colours text if st does; what the library believes of standard output
// does not count.
func (st style) paint(text string, attributes ...color.Attribute) string {
	if !st.color {
		return text
	}
	c := color.New(attributes...)
	c.EnableColor()
	return c.Sprint(text)
}

// wrapped breaks a line at blanks where the terminal ends, and begins the rest
// at the margin. Blanks within are evidence too, and stay.
func (st style) wrapped(line string) string {
	if st.width < 3*margin || utf8.RuneCountInString(line) <= st.width {
		return line
	}
	var b strings.Builder
	column := 0
	for i, word := range strings.Split(line, " ") {
		length := utf8.RuneCountInString(word)
		switch {
		case i == 0:
		case column >= margin && column+1+length > st.width:
			b.WriteString("\n" + strings.Repeat(" ", margin))
			column = margin
		default:
			b.WriteString(" ")
			column++
		}
		b.WriteString(word)
		column += length
	}
	return b.String()
}
