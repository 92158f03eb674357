package config

import (
	"os"
	"path/filepath"
	"testing"
)

func TestAdminAddressOfAFaultyConfig(t *testing.T) {
	dir := t.TempDir()
	for name, c := range map[string]struct {
		text, want string
		ok         bool
	}{
		"faults elsewhere":   {"nonsense = 1\n[listen]\nhttps = 5\nadmin = \"127.0.0.1:8461\"\n", "127.0.0.1:8461", true},
		"a relative path":    {"[listen]\nadmin = \"unix:run/admin.sock\"\n", "unix:" + filepath.Join(dir, "run/admin.sock"), true},
		"left out":           {"[[domain]]\n", defaultAdmin, true},
		"wrong type":         {"[listen]\nadmin = 3\n", defaultAdmin, true},
		"listen is no table": {"listen = 3\n", defaultAdmin, true},
		"no TOML":            {"[listen\n", "", false},
		"a line being typed": {"[listen]\nadmin = \"127.0.0.1:8461\"\n[[domain]\n", "127.0.0.1:8461", true},
		"in another section": {"[store]\nadmin = \"127.0.0.1:8461\"\n[[domain]\n", "", false},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(dir, "config.toml")
			if err := os.WriteFile(path, []byte(c.text), 0o600); err != nil {
				t.Fatal(err)
			}
			got, ok := AdminAddress(path)
			if got != c.want || ok != c.ok {
				t.Errorf("AdminAddress = %q, %v; want %q, %v", got, ok, c.want, c.ok)
			}
		})
	}
	if _, ok := AdminAddress(filepath.Join(dir, "missing.toml")); ok {
		t.Error("a missing file has an admin address")
	}
}
