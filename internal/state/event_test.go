package state_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/stshost/stshost/internal/state"
)

// kindConstants are the values of the constants Kind… in event.go.
func kindConstants(t *testing.T) (kinds []string) {
	t.Helper()
	file, err := parser.ParseFile(token.NewFileSet(), "event.go", nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	ast.Inspect(file, func(n ast.Node) bool {
		spec, ok := n.(*ast.ValueSpec)
		if !ok || !strings.HasPrefix(spec.Names[0].Name, "Kind") {
			return true
		}
		kind, err := strconv.Unquote(spec.Values[0].(*ast.BasicLit).Value)
		if err != nil {
			t.Fatal(err)
		}
		kinds = append(kinds, kind)
		return true
	})
	slices.Sort(kinds)
	return kinds
}

func TestEveryKindIsListedAndDescribed(t *testing.T) {
	constants := kindConstants(t)
	if kinds := state.EventKinds(); !slices.Equal(kinds, constants) {
		t.Errorf("EventKinds gives %q, the constants are %q", kinds, constants)
	}
	text, err := os.ReadFile("../../docs/monitoring.md")
	if err != nil {
		t.Fatal(err)
	}
	var described []string
	for line := range strings.Lines(string(text)) {
		cells := strings.Split(line, "|")
		if len(cells) != 6 || !strings.HasPrefix(cells[1], " `") || !strings.Contains(cells[1], ".") {
			continue
		}
		described = append(described, strings.Trim(cells[1], " `"))
		severity, _, _ := strings.Cut(strings.TrimSpace(cells[2]), ";")
		if state.Severity(severity).Rank() == 0 || strings.TrimSpace(cells[3]) == "" {
			t.Errorf("line %q has no severity or does not say when", line)
		}
	}
	slices.Sort(described)
	if !slices.Equal(described, constants) {
		t.Errorf("docs/monitoring.md describes %q, the constants are %q", described, constants)
	}
}

func TestSeveritiesHaveAnOrder(t *testing.T) {
	if !(state.Severity("").Rank() < state.SeverityInfo.Rank() && state.SeverityInfo.Rank() < state.SeverityWarning.Rank() &&
		state.SeverityWarning.Rank() < state.SeverityCritical.Rank()) {
		t.Error("the ranks do not rise")
	}
}
