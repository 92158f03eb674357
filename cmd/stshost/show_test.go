package main

import (
	"fmt"
	"strings"
	"testing"
)

// With many domains the table is followed by counts, and can be cut down to
// those that need somebody.
func TestStatusOfManyDomains(t *testing.T) {
	w := newWorld(t, example)
	w.start()
	w.sees(w.confirmed(example))
	for i := range 24 { // which lead nowhere
		w.domains = append(w.domains, entry{name: fmt.Sprintf("d%d.test", i), mx: []string{"mx1.mail.test"}})
	}
	w.writeConfig()
	if out, err := w.cli("reload"); err != nil {
		t.Fatalf("%v:\n%s", err, out)
	}
	w.await("d23.test", "what blocks it", blockedBy("has no address"))
	out, err := w.cli("status", "--trouble")
	if err != nil || strings.Contains(out, "\n"+example+" ") || !strings.Contains(out, "\nd23.test ") ||
		!strings.Contains(out, "\n25 domains: 1 confirmed, ") || !strings.Contains(out, "--trouble shows these alone") {
		t.Errorf("%v:\n%s", err, out)
	}
	for line := range strings.Lines(out) {
		if len([]rune(line)) > 250 {
			t.Errorf("too long for a table: %s", line)
		}
	}
}
