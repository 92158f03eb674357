package check

import (
	"slices"
	"strings"
	"testing"

	"github.com/stshost/stshost/internal/state"
)

// problems are the codes of what is no pass, sorted, each once. The resolver of
// the worlds does not validate, which every report says.
func problems(r state.Report) []string {
	var codes []string
	for _, f := range r.Findings {
		if f.Status != state.CheckPass && f.Code != RecordDNSSECSkipped {
			codes = append(codes, f.Code)
		}
	}
	slices.Sort(codes)
	return slices.Compact(codes)
}

// brokenWorld is a world with one thing broken, and exactly what is found.
type brokenWorld struct {
	name    string
	breakIt func(w *world)
	verdict state.Verdict
	codes   []string // of all that is no pass, and of no more
	text    string   // part of the text of the first of codes
}

// A world in order yields no alarm at all, and each broken one what is broken and
// no false alarm elsewhere.
func TestWorlds(t *testing.T) {
	inOrder := brokenWorld{name: "in order", breakIt: func(*world) {}, verdict: state.VerdictEnforce}
	seen := make(map[string]bool)
	worlds := slices.Concat([]brokenWorld{inOrder}, recordWorlds(), hostWorlds(), policyWorlds(), mxWorlds(), otherWorlds())
	for _, b := range worlds {
		if seen[b.name] {
			t.Errorf("there are two worlds %q", b.name)
		}
		seen[b.name] = true
		t.Run(b.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			b.breakIt(w)
			r := w.examine()
			want := slices.Sorted(slices.Values(b.codes))
			if got := problems(r); !slices.Equal(got, want) || r.Verdict != b.verdict {
				t.Errorf("verdict %s (%s), found %q; want %s, %q", r.Verdict, r.Summary, got, b.verdict, want)
				for _, f := range r.Findings {
					if f.Status == state.CheckPass {
						continue
					}
					t.Logf("%-8s %-13s %-25s %-40s %s", f.Status, f.Harm, f.Code, f.Subject, f.Text)
				}
			}
			if b.text != "" && !strings.Contains(texts(r, b.codes[0]), b.text) {
				t.Errorf("%s says %q, want %q", b.codes[0], texts(r, b.codes[0]), b.text)
			}
		})
	}
	if len(worlds) < 61 {
		t.Errorf("there are only %d worlds", len(worlds))
	}
}

// texts are those of the findings with code.
func texts(r state.Report, code string) string {
	var all []string
	for _, f := range r.Findings {
		if f.Code == code {
			all = append(all, f.Text)
		}
	}
	return strings.Join(all, "\n")
}

// The policy is fetched as stshost and as other senders, none of them twice.
func TestAgents(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.examine()
	want := append(otherAgents(), UserAgent, UserAgent) // by HTTP/2 and by HTTP/1.1
	for _, agent := range want {
		if n := len(slices.DeleteFunc(slices.Clone(w.agents), func(a string) bool { return a != agent })); n == 0 {
			t.Errorf("nobody came as %q", agent)
		}
	}
	if len(w.agents) != 2*len(want) { // at each of two addresses
		t.Errorf("%d fetches, want %d: %q", len(w.agents), 2*len(want), w.agents)
	}
}
