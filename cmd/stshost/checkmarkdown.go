package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/stshost/stshost/internal/state"
)

// markdownReport is all about one domain, for a ticket or a wiki.
func markdownReport(r state.Report) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# %s\n\n%s\n", markdownHeading(r), markdownText(r.Summary))
	markdownParts(&b, r, "##", true)
	if facts := policyFacts(r); facts != "" {
		fmt.Fprintf(&b, "\nThe policy: %s.\n", markdownText(facts))
	}
	if !r.Time.IsZero() {
		fmt.Fprintf(&b, "\nExamined at %s in %.1f s.\n", stamp(r.Time), r.Seconds)
	}
	return b.String()
}

// markdownReports is a table of domains, and below it what is wrong with each.
func markdownReports(reports []state.Report) string {
	var b strings.Builder
	fmt.Fprintf(&b, "# MTA-STS of %s\n\n", counted(len(reports), "domain"))
	b.WriteString("| Domain | Verdict | Fail | Warn | Reason |\n|---|---|--:|--:|---|\n")
	rows := make([]row, len(reports))
	for i, report := range reports {
		r := rowOf(report)
		rows[i] = r
		fmt.Fprintf(&b, "| %s | %s | %d | %d | %s |\n", markdownText(r.domain), markdownText(verdictWord(r.verdict)), r.fail, r.warn, markdownText(r.summary))
	}
	fmt.Fprintf(&b, "\n%s\n", markdownText(tally(rows)))
	for _, r := range reports {
		if len(partsOf(r.Findings)[0].findings) == 0 {
			continue
		}
		fmt.Fprintf(&b, "\n## %s\n\n%s\n", markdownHeading(r), markdownText(r.Summary))
		markdownParts(&b, r, "###", false)
	}
	return b.String()
}

func markdownHeading(r state.Report) string {
	return markdownText(r.Domain + ": " + verdictLine(r.Verdict))
}

// markdownParts writes the findings under headings; only what is wrong or not
// known unless all is wanted.
func markdownParts(b *strings.Builder, r state.Report, level string, all bool) {
	for _, part := range partsOf(r.Findings) {
		if len(part.findings) == 0 || !part.full && !all {
			continue
		}
		fmt.Fprintf(b, "\n%s %s\n\n", level, part.title)
		for _, f := range part.findings {
			markdownFinding(b, f, part.full)
		}
	}
}

// markdownFinding is an item of a list. Strangers' text never begins a line,
// where a hyphen or a figure could make it more than text.
func markdownFinding(b *strings.Builder, f state.Finding, full bool) {
	fmt.Fprintf(b, "- **%s** %s\n", markdownText(statusWord(f.Status)), subjectAnd(f, markdownText))
	if !full {
		return
	}
	if f.Remedy != "" {
		fmt.Fprintf(b, "  - What to do: %s\n", markdownText(f.Remedy))
	}
	for _, key := range slices.Sorted(maps.Keys(f.Evidence)) {
		fmt.Fprintf(b, "  - Evidence, %s: %s\n", markdownText(key), markdownText(f.Evidence[key]))
	}
	fmt.Fprintf(b, "  - See %s\n", strings.Join(reference(f, markdownText), ", "))
}
