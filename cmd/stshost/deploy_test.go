package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"github.com/stshost/stshost/internal/dnstest"
)

// units copies deploy/systemd with the path of this stshost in it.
func units(t *testing.T) (paths []string) {
	t.Helper()
	stshost, err := exec.LookPath("stshost")
	if err != nil {
		t.Fatal(err)
	}
	all, err := filepath.Glob("../../deploy/systemd/*")
	if err != nil || len(all) != 5 {
		t.Fatalf("deploy/systemd has %v, error %v", all, err)
	}
	dir := t.TempDir()
	for _, path := range all {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		path = filepath.Join(dir, filepath.Base(path))
		if err := os.WriteFile(path, []byte(strings.ReplaceAll(string(b), "/usr/local/bin/stshost", stshost)), 0o600); err != nil {
			t.Fatal(err)
		}
		paths = append(paths, path)
	}
	return paths
}

func TestSystemdUnits(t *testing.T) {
	analyze := dnstest.RequireServer(t, "systemd-analyze", "systemd")
	paths := units(t)
	if out, err := exec.Command(analyze, append([]string{"verify", "--man=no"}, paths...)...).CombinedOutput(); err != nil || len(out) > 0 {
		t.Errorf("systemd-analyze verify: %v\n%s", err, out)
	}
	for _, path := range paths {
		if !strings.HasSuffix(path, ".service") {
			continue
		}
		// 0 is the least exposure, 10 the most.
		out, err := exec.Command(analyze, "security", "--offline=yes", "--no-pager", path).CombinedOutput()
		if err != nil {
			t.Fatalf("systemd-analyze security: %v\n%s", err, out)
		}
		m := regexp.MustCompile(`Overall exposure level for \S+: ([0-9.]+)`).FindSubmatch(out)
		if m == nil {
			t.Fatalf("systemd-analyze security says nothing of the whole:\n%s", out)
		}
		if level, err := strconv.ParseFloat(string(m[1]), 64); err != nil || level > 1.6 {
			t.Errorf("the exposure is %s, and docs/front.md says 1.6:\n%s", m[1], out)
		}
	}
}
