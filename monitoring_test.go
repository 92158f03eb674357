package stshost_test

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stshost/stshost/internal/dnstest"
)

// promtool runs Prometheus's own tool.
func promtool(t *testing.T, args ...string) {
	t.Helper()
	tool := dnstest.RequireServer(t, "promtool", "prometheus")
	if out, err := exec.Command(tool, args...).CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func TestAlertRules(t *testing.T) {
	promtool(t, "check", "rules", "deploy/prometheus/stshost.rules.yml")
	promtool(t, "test", "rules", "deploy/prometheus/stshost.rules.test.yml")
	promtool(t, "check", "config", "deploy/prometheus/prometheus.yml")
}

// Every alert has a section that says what to do, a test, and uses metrics
// that exist.
func TestAlertsAreDocumentedAndTested(t *testing.T) {
	rules, tests, docs := read(t, "deploy/prometheus/stshost.rules.yml"), read(t, "deploy/prometheus/stshost.rules.test.yml"), read(t, "docs/monitoring.md")
	alerts := regexp.MustCompile(`- alert: (\w+)`).FindAllStringSubmatch(rules, -1)
	if len(alerts) < 10 {
		t.Fatalf("%d alerts", len(alerts))
	}
	for _, m := range alerts {
		if !strings.Contains(docs, "\n### "+m[1]+"\n") {
			t.Errorf("docs/monitoring.md has no section ### %s", m[1])
		}
		if !strings.Contains(rules, "docs/monitoring.md#"+strings.ToLower(m[1])+"\"") {
			t.Errorf("%s has no runbook_url for its section", m[1])
		}
		if !strings.Contains(tests, "alertname: "+m[1]+"\n") {
			t.Errorf("%s is not tested", m[1])
		}
	}
	for _, expr := range regexp.MustCompile(`(?m)^        expr: (?s:.*?)^        (?:for|labels):`).FindAllString(rules, -1) {
		knownMetrics(t, "an alert", expr)
	}
}

// knownMetrics wants each metric of an expression to be documented.
func knownMetrics(t *testing.T, where, expr string) {
	t.Helper()
	docs := read(t, "docs/monitoring.md")
	for _, name := range regexp.MustCompile(`stshost_[a-z_]+`).FindAllString(expr, -1) {
		base := regexp.MustCompile(`_seconds_(bucket|count|sum)$`).ReplaceAllString(name, "_seconds")
		if !strings.Contains(docs, "\n| `"+base+"` |") {
			t.Errorf("%s uses %s, which docs/monitoring.md does not have", where, name)
		}
	}
}

func TestDashboard(t *testing.T) {
	var board struct {
		UID, Title string
		Panels     []struct {
			ID                       int
			Type, Title, Description string
			Targets                  []struct{ Expr, RefID string }
		}
	}
	if err := json.Unmarshal([]byte(read(t, "deploy/grafana/stshost.json")), &board); err != nil {
		t.Fatal(err)
	}
	if board.UID == "" || board.Title == "" || len(board.Panels) < 10 {
		t.Fatalf("the dashboard is %q, %q with %d panels", board.UID, board.Title, len(board.Panels))
	}
	ids, used := make(map[int]string), ""
	rules := "groups:\n- name: dashboard\n  rules:\n"
	for _, p := range board.Panels {
		if other, twice := ids[p.ID]; twice || p.ID == 0 {
			t.Errorf("panels %q and %q have the id %d", p.Title, other, p.ID)
		}
		ids[p.ID] = p.Title
		if p.Title == "" || p.Description == "" || len(p.Targets) == 0 {
			t.Errorf("panel %d %q lacks a title, a description or a question", p.ID, p.Title)
		}
		for _, q := range p.Targets {
			knownMetrics(t, "panel "+p.Title, q.Expr)
			used += q.Expr + "\n"
			expr, err := json.Marshal(q.Expr) // a JSON string is one of YAML
			if err != nil {
				t.Fatal(err)
			}
			rules += fmt.Sprintf("  - record: panel%d:%s\n    expr: %s\n", p.ID, strings.ToLower(q.RefID), expr)
		}
	}
	for _, m := range regexp.MustCompile("(?m)^\\| `(stshost_[a-z_]+)` \\|").FindAllStringSubmatch(read(t, "docs/monitoring.md"), -1) {
		if !strings.Contains(used, m[1]) {
			t.Errorf("the dashboard does not show %s", m[1])
		}
	}
	file := filepath.Join(t.TempDir(), "dashboard.yml")
	if err := os.WriteFile(file, []byte(rules), 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, "check", "rules", file)
}

func read(t *testing.T, path string) string {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}
