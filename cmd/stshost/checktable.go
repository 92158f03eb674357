package main

import (
	"cmp"
	"fmt"
	"strings"
	"unicode/utf8"

	"github.com/stshost/stshost/internal/state"
)

// row is a domain in a table of many.
type row struct {
	domain     string
	verdict    state.Verdict
	summary    string
	fail, warn int // how many findings
}

func rowOf(r state.Report) row {
	return row{r.Domain, r.Verdict, r.Summary, number(r, state.CheckFail), number(r, state.CheckWarn)}
}

// number is how many findings have a status.
func number(r state.Report, s state.CheckStatus) (n int) {
	for _, f := range r.Findings {
		if f.Status == s {
			n++
		}
	}
	return n
}

// table is many domains in a line each, and how many there are of each verdict.
func (st style) table(rows []row) string {
	widest, widestVerdict := len("DOMAIN"), len("VERDICT")
	for _, r := range rows {
		widest = max(widest, utf8.RuneCountInString(escaped(r.domain)))
		widestVerdict = max(widestVerdict, utf8.RuneCountInString(verdictWord(r.verdict)))
	}
	var b strings.Builder
	head := fmt.Sprintf("%-*s  %-*s  FAIL  WARN  ", widest, "DOMAIN", widestVerdict, "VERDICT")
	b.WriteString(head + "REASON\n")
	for _, r := range rows {
		// Escape sequences of colour have no width, which the verbs do not know.
		verdict := fmt.Sprintf("%-*s", widestVerdict, verdictWord(r.verdict))
		fmt.Fprintf(&b, "%-*s  %s  %4d  %4d  %s\n", widest, escaped(r.domain), st.paint(verdict, verdictColor(r.verdict)...),
			r.fail, r.warn, st.cut(cmp.Or(escaped(r.summary), "-"), utf8.RuneCountInString(head)))
	}
	fmt.Fprintf(&b, "\n%s\n", st.wrapped(tally(rows)))
	return b.String()
}

// cut is text that begins at a column, as much of it as the terminal has room
// for.
func (st style) cut(text string, column int) string {
	room := max(st.width-column, 1)
	if st.width == 0 || utf8.RuneCountInString(text) <= room {
		return text
	}
	return string([]rune(text)[:room-1]) + "…"
}

// tally counts domains by verdict, the worst first.
func tally(rows []row) string {
	counts := map[state.Verdict]int{}
	for _, r := range rows {
		counts[r.verdict]++
	}
	var parts []string
	for _, v := range []state.Verdict{state.VerdictLoseMail, state.VerdictIgnore, state.VerdictNone, state.VerdictUnknown, state.VerdictTest, state.VerdictEnforce} {
		if counts[v] > 0 {
			parts = append(parts, fmt.Sprintf("%d %s", counts[v], verdictWord(v)))
		}
	}
	return counted(len(rows), "domain") + ": " + strings.Join(parts, ", ")
}
