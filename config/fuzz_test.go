package config_test

import (
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stshost/stshost/config"
)

// No file makes Load panic; what it refuses, it refuses with findings that
// stand on lines of the file.
func FuzzLoad(f *testing.F) {
	example, err := os.ReadFile("../config.example.toml")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(example)
	for _, s := range []string{
		"", terms + domain, "a.b.c = 1\n[a]\nb = 2\n[[a.b]]", "[[domain]]\n[domain]", "domain = [{}, 1]\n[dns.a.b]\nc = {d = [{e = 1}]}",
		"x = \"\"\"\\\n a\"\"\"\r\n[x.\"y.z\"]\n'' = 1979-05-27T07:32:00Z", "\xef\xbb\xbf[listen]\nhttps = ':0'", "[dns.cf]\nprovider = 'cloudflare'\napi_token = '${A}'",
		"[profile.p]\nmx = ['*.x']\nmax_age = '4w'\n[defaults]\nprofile = 'p'\n[[domain]]\nname = 'é.example'\nmode = 'none'",
		"[defaults]\nramp = ['1d', 604800]\n[profile.p]\nstay = [0, '2d']\n[[domain]]\nname = 'a.example'\nprofile = 'p'\nreporters = 3\nmx_migration = 'auto'",
	} {
		f.Add([]byte(s))
	}
	// include and secrets would take the fuzzer for a walk through the machine.
	paths := regexp.MustCompile(`include|_file`)
	path := filepath.Join(f.TempDir(), "main.toml")
	f.Fuzz(func(t *testing.T, data []byte) {
		if paths.Match(data) && string(data) != string(example) {
			t.Skip()
		}
		if err := os.WriteFile(path, data, 0o600); err != nil {
			t.Fatal(err)
		}
		cfg, err := config.Load(path, options(map[string]string{"A": "a"}))
		if (cfg == nil) == (err == nil) {
			t.Fatalf("Load returned config %v and error %v", cfg, err)
		}
		findings := config.Errors{}
		if cfg != nil {
			findings = cfg.Warnings
		} else if !errors.As(err, &findings) || len(findings) == 0 {
			t.Fatalf("Load returned a %T without findings", err)
		}
		lines := strings.Count(string(data), "\n") + 1
		for _, e := range findings {
			if e.Pos.File != path || e.Pos.Line < 1 || e.Pos.Line > lines || e.What == "" || e.Remedy == "" || strings.ContainsAny(e.Error(), "\n\r") {
				t.Errorf("finding %q at line %d of %d", e.Error(), e.Pos.Line, lines)
			}
		}
	})
}
