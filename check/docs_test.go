package check

import (
	"flag"
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/stshost/stshost/internal/state"
)

// update rewrites the catalogue in docs/check.md:
//
//	go test ./check -run TestDocs -update
var update = flag.Bool("update", false, "rewrite the catalogue in docs/check.md")

const (
	docsFile   = "../docs/check.md"
	docsSchema = "../docs/check.schema.json"
	docsBegin  = "<!-- The catalogue: made from check/rules*.go by go test ./check -run TestDocs -update -->\n"
	docsEnd    = "<!-- End of the catalogue -->\n"
)

// areaTitles are the headings of the areas, by their words in codes, in the order of Rules.
func areaTitles() [][2]string {
	return [][2]string{
		{"RECORD", "The record at `_mta-sts`"},
		{"HOST", "The policy host"},
		{"POLICY", "The policy"},
		{"READERS", "How readers read it"},
		{"MX", "The MX hosts"},
		{"TLSRPT", "Reports"},
		{"DANE", "DANE"},
		{"LIFE", "The life of a policy"},
	}
}

// catalogue is all rules as Markdown, a heading for each area and each code.
func catalogue() string {
	var b strings.Builder
	rules := Rules()
	for _, title := range areaTitles() {
		fmt.Fprintf(&b, "\n## %s\n", title[1])
		for _, r := range rules {
			if area(r) == title[0] {
				b.WriteString(entry(r))
			}
		}
	}
	b.WriteString("\n")
	return b.String()
}

func entry(r Rule) string {
	facts := fmt.Sprintf("%s · %s", statusText(r.Status), r.Section)
	if r.Harm != state.HarmNone {
		facts = fmt.Sprintf("%s · harm: %s · %s", statusText(r.Status), r.Harm, r.Section)
	}
	text := fmt.Sprintf("\n### %s\n\n%s · %s\n\n%s\n", r.Code, capital(r.Title), facts, markdown(r.Why))
	if r.Remedy != "" {
		text += fmt.Sprintf("\n*What to do:* %s.\n", markdown(r.Remedy))
	}
	return text
}

// statusText is what reports call a status in words.
func statusText(s state.CheckStatus) string {
	if s == state.CheckPass {
		return "ok"
	}
	return string(s)
}

func capital(s string) string { return strings.ToUpper(s[:1]) + s[1:] }

// markdown keeps what is special in Markdown from being taken for that.
func markdown(s string) string {
	return strings.NewReplacer("*", `\*`, "<", `\<`).Replace(s)
}

// docs/check.md explains every code that there is, with what the code says.
func TestDocsCatalogue(t *testing.T) {
	text := readDocs(t, docsFile)
	before, rest, found := strings.Cut(text, docsBegin)
	got, after, ended := strings.Cut(rest, docsEnd)
	if !found || !ended {
		t.Fatalf("%s lacks the comments that enclose the catalogue: %s%s", docsFile, docsBegin, docsEnd)
	}
	want := catalogue()
	if *update {
		if err := os.WriteFile(docsFile, []byte(before+docsBegin+want+docsEnd+after), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	if got != want {
		t.Errorf("the catalogue in %s is not that of the code; run: go test ./check -run TestDocs -update", docsFile)
	}
	for _, r := range Rules() {
		if n := strings.Count(want, "\n### "+r.Code+"\n"); n != 1 {
			t.Errorf("%s stands %d times in the catalogue: is %s one of areaTitles?", r.Code, n, area(r))
		}
	}
}

// The rest of the page names every verdict, status and harm that reports have,
// and no code that does not exist; so does the README.
func TestDocsNames(t *testing.T) {
	page, _, _ := strings.Cut(readDocs(t, docsFile), docsBegin)
	schema := readDocs(t, docsSchema)
	names := []string{string(pass), string(warn), string(fail), string(unknown), string(skipped), string(lose), string(ignored), string(partial), string(risk)}
	for _, v := range []state.Verdict{state.VerdictEnforce, state.VerdictTest, state.VerdictIgnore, state.VerdictLoseMail, state.VerdictNone, state.VerdictUnknown} {
		names = append(names, string(v))
	}
	for _, name := range names {
		if !strings.Contains(page, "`"+name+"`") {
			t.Errorf("%s does not explain `%s`", docsFile, name)
		}
		if !strings.Contains(schema, `"`+name+`"`) {
			t.Errorf("%s does not have %q", docsSchema, name)
		}
	}
	index := indexOf(Rules())
	for _, file := range []string{docsFile, docsSchema, "../README.md", "../CHANGELOG.md"} {
		for _, code := range codesIn(readDocs(t, file)) {
			if _, ok := index[code]; !ok {
				t.Errorf("%s names %s, which is no code", file, code)
			}
		}
	}
}

// codesIn are what looks like a code in a text.
func codesIn(text string) []string {
	const letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-"
	var all []string
	for {
		_, rest, found := strings.Cut(text, "STS-")
		if !found {
			return all
		}
		first, before := len(text)-len(rest)-len("STS-"), byte(' ')
		if first > 0 {
			before = text[first-1]
		}
		tail := strings.TrimLeft(rest, letters)
		code := strings.Trim(rest[:len(rest)-len(tail)], "-")
		if before != '-' && code != "" { // MTA-STS is none, nor is a pattern
			all = append(all, "STS-"+code)
		}
		text = rest
	}
}

func readDocs(t *testing.T, file string) string {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}

// area is the part of a domain that a rule is about, the second word of its code:
// RECORD, HOST, POLICY, READERS, MX, TLSRPT, DANE, LIFE.
func area(r Rule) string {
	word, _, _ := strings.Cut(strings.TrimPrefix(r.Code, "STS-"), "-")
	return word
}
