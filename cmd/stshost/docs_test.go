package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/spf13/cobra"

	"github.com/stshost/stshost/internal/state"
)

// manual are README.md and the pages of docs/, by their path.
func manual(t *testing.T) map[string]string {
	t.Helper()
	paths, err := filepath.Glob("../../docs/*.md")
	if err != nil || len(paths) == 0 {
		t.Fatalf("docs/ has %q: %v", paths, err)
	}
	all := make(map[string]string)
	for _, path := range append(paths, "../../README.md") {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		all[path] = string(text)
	}
	return all
}

var (
	inFence = regexp.MustCompile("(?ms)^```[a-z]*\n(.*?)^```$")
	inTicks = regexp.MustCompile("`([^`\n]+(?:\n[^`\n]+)?)`")
	// asTyped is a command with all that belongs to it, behind what may stand before.
	asTyped = regexp.MustCompile(`(?m)(?:^|^ +|\$ |\| |-u stshost |ssh \S+ )stshost( [a-z][^|#>\n]*)`)
)

// typed are the commands in a page, without the word stshost.
func typed(text string) (all []string) {
	take := func(code string) {
		for _, m := range asTyped.FindAllStringSubmatch(code, -1) {
			all = append(all, m[1])
		}
	}
	for _, m := range inFence.FindAllStringSubmatch(text, -1) {
		take(m[1])
	}
	for _, m := range inTicks.FindAllStringSubmatch(inFence.ReplaceAllString(text, ""), -1) {
		take(strings.ReplaceAll(m[1], "\n", " "))
	}
	return all
}

// Each command that the manual shows is one that there is, with flags that it has.
func TestDocumentedCommandsExist(t *testing.T) {
	t.Parallel()
	root := newRoot(func(lookSettings) (examiner, error) { return nil, nil })
	root.InitDefaultHelpCmd()
	root.InitDefaultCompletionCmd()
	seen := make(map[string]bool)
	for path, text := range manual(t) {
		for _, line := range typed(text) {
			cmd, rest, err := root.Find(strings.Fields(line))
			if err == nil && cmd.HasSubCommands() && len(rest) > 0 { // it may be the name of one that there is not
				err = cmd.ValidateArgs(rest)
			}
			if err != nil || cmd == root {
				t.Errorf("%s: there is no command `stshost%s`: %v", path, line, err)
				continue
			}
			seen[cmd.CommandPath()] = true
			for _, arg := range rest {
				if name, _, _ := strings.Cut(strings.TrimRight(arg, ".,;:'\""), "="); strings.HasPrefix(name, "-") && len(name) > 1 && !hasFlag(cmd, name) {
					t.Errorf("%s: `stshost%s`: %s has no flag %s", path, line, cmd.CommandPath(), name)
				}
			}
		}
	}
	for _, want := range strings.Fields("rollout rollback retire horizon reload status explain check events records") {
		if !seen["stshost "+want] {
			t.Errorf("no page shows `stshost %s`: found were %v", want, seen)
		}
	}
}

// hasFlag reports whether a command takes a flag, as --name or -n.
func hasFlag(cmd *cobra.Command, flag string) bool {
	cmd.InitDefaultHelpFlag()
	if long, ok := strings.CutPrefix(flag, "--"); ok {
		return cmd.Flag(long) != nil
	}
	return len(flag) == 2 && (cmd.Flags().ShorthandLookup(flag[1:]) != nil || cmd.InheritedFlags().ShorthandLookup(flag[1:]) != nil)
}

// Flags of rollout and rollback that nobody explains are found by nobody.
func TestRolloutIsDocumented(t *testing.T) {
	t.Parallel()
	text := manual(t)["../../docs/rollout.md"]
	for _, cmd := range []*cobra.Command{rolloutCommand(&options{}), rollbackCommand(&options{})} {
		for _, flag := range regexp.MustCompile(`(?m)^ +(?:-\w, )?(--[a-z-]+)`).FindAllStringSubmatch(cmd.Flags().FlagUsages(), -1) {
			if !strings.Contains(text, flag[1]) && flag[1] != "--help" {
				t.Errorf("docs/rollout.md says nothing about %s", flag[1])
			}
		}
	}
	var gates []string
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z-]+)` \\|").FindAllStringSubmatch(section(t, text, "### The gates"), -1) {
		gates = append(gates, m[1])
	}
	if !slices.Equal(gates, state.Gates()) {
		t.Errorf("docs/rollout.md has the gates %q, there are %q", gates, state.Gates())
	}
}

// section is what stands under a heading, up to the next one.
func section(t *testing.T, text, heading string) string {
	t.Helper()
	_, rest, ok := strings.Cut(text, "\n"+heading+"\n")
	if !ok {
		t.Fatalf("there is no %q", heading)
	}
	body, _, _ := strings.Cut(rest, "\n#")
	return body
}

// The paths of the API that docs/rollout.md names are those of a running server.
func TestDocumentedRolloutAPI(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.start()
	var api struct {
		Paths map[string]map[string]struct {
			OperationID string `json:"operationId"`
		} `json:"paths"`
	}
	if err := json.Unmarshal([]byte(w.adminGet("/api/v1/openapi.json")), &api); err != nil {
		t.Fatal(err)
	}
	documented := make(map[string]bool)
	text := section(t, manual(t)["../../docs/rollout.md"], "## The API")
	for _, m := range regexp.MustCompile("`(GET|POST) (/[^`?]+)[^`]*`").FindAllStringSubmatch(text, -1) {
		op, ok := api.Paths["/api/v1"+m[2]][strings.ToLower(m[1])]
		if !ok {
			t.Errorf("docs/rollout.md has %s %s, and the server has not", m[1], m[2])
		}
		documented[op.OperationID] = true
	}
	for path, methods := range api.Paths {
		for method, op := range methods {
			about := regexp.MustCompile("roll|retire|horizon|accept-mx").MatchString(op.OperationID)
			if about && !documented[op.OperationID] {
				t.Errorf("docs/rollout.md lacks %s %s (%s)", strings.ToUpper(method), path, op.OperationID)
			}
		}
	}
}
