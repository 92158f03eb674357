package stshost_test

import (
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"slices"
	"strings"
	"testing"
)

const module = "github.com/stshost/stshost/"

// mayImport is the direction of dependencies that ARCHITECTURE.md describes:
// package → the packages of this module that its non-test code may import.
// cmd/stshost wires everything and may import all.
var mayImport = map[string][]string{
	"mtasts":    {},
	"tlsrpt":    {},
	"templates": {},

	"internal/state":          {"mtasts"},
	"internal/dispatch":       {},
	"internal/spread":         {},
	"internal/caa":            {},
	"internal/resolver":       {"internal/caa"},
	"internal/senders":        {"mtasts"},
	"internal/flood":          {},
	"internal/lab":            {},
	"internal/dnstest":        {},
	"internal/mailtest":       {},
	"internal/mtatest":        {"internal/dnstest"},
	"internal/cloudflaretest": {},

	"config":    {"mtasts"},
	"store":     {"mtasts", "internal/state"},
	"events":    {"internal/state"},
	"acme":      {"internal/state", "internal/spread"},
	"dnsupdate": {"mtasts", "internal/state", "internal/resolver"},
	"check":     {"mtasts", "tlsrpt", "internal/state", "internal/resolver", "internal/caa", "internal/senders"},
	"server":    {"mtasts", "templates", "internal/state"},
	"reconcile": {"mtasts", "internal/state", "internal/dispatch"},
	"rollout":   {"mtasts", "internal/state", "internal/dispatch", "reconcile"},
	"mxwatch":   {"mtasts", "internal/state", "internal/dispatch", "internal/spread"},
	"notify":    {"internal/state"},

	"bench": {"mtasts", "server", "store", "internal/lab", "internal/state"},
}

func TestImportDirection(t *testing.T) {
	out, err := exec.Command("go", "list", "-json=ImportPath,Imports", "./...").Output()
	if err != nil {
		t.Fatal(err)
	}
	seen := 0
	for dec := json.NewDecoder(strings.NewReader(string(out))); ; {
		var pkg struct {
			ImportPath string
			Imports    []string
		}
		if err := dec.Decode(&pkg); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		name, ok := strings.CutPrefix(pkg.ImportPath, module)
		if !ok || name == "cmd/stshost" {
			continue
		}
		seen++
		allowed, known := mayImport[name]
		if !known {
			t.Errorf("package %s is not in the table of who may import whom", name)
			continue
		}
		for _, imp := range pkg.Imports {
			if ours, ok := strings.CutPrefix(imp, module); ok && !slices.Contains(allowed, ours) {
				t.Errorf("%s imports %s, which it may not: see ARCHITECTURE.md", name, ours)
			}
		}
	}
	if seen != len(mayImport) {
		t.Errorf("%d packages listed, the table has %d", seen, len(mayImport))
	}
}
