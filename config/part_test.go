package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stshost/stshost/config"
)

// faulty is a config with a fault in every section but [store] and [notify].
const faulty = `nonsense = 1
include = ["missing.toml"]
[acme]
accept_terms = false
[dns.cf]
provider = "cloudflare"
api_token_file = "missing"
[[domain]]
name = "example.com"
dns = "typo"
`

func TestStoreOfAFaultyConfig(t *testing.T) {
	file := write(t, map[string]string{"main.toml": faulty + "[store]\nurl = \"sqlite:/srv/s.db\"\n"})
	if s, err := config.LoadStore(file); err != nil || s.Path != "/srv/s.db" || s.KeepEvents != 90*24*time.Hour {
		t.Errorf("LoadStore: %+v, %v", s, err)
	}
	for text, want := range map[string]string{
		faulty + "[store]\nurl = \"nonsense\"\n":      "url in [store]",
		faulty + "[store]\nurll = \"sqlite:/s.db\"\n": "unknown key urll",
		"[store\n": "main.toml:2",
	} {
		_, err := config.LoadStore(write(t, map[string]string{"main.toml": text}))
		if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "typo") {
			t.Errorf("LoadStore of %q: %v", text, err)
		}
	}
	if _, err := config.LoadStore(file + ".missing"); err == nil {
		t.Error("a missing file has a store")
	}
}

func TestNotifyOfAFaultyConfig(t *testing.T) {
	file := write(t, map[string]string{"url": "generic+https://h.test/x\n", "main.toml": faulty + "[notify.ops]\nurl_file = \"url\"\n"})
	told, err := config.LoadNotify(file, config.Options{})
	if err != nil || told["ops"].URL != "generic+https://h.test/x" {
		t.Errorf("LoadNotify: %+v, %v", told, err)
	}
	_, err = config.LoadNotify(write(t, map[string]string{"main.toml": faulty + "[notify.ops]\nmin = \"warnign\"\n"}), config.Options{})
	if err == nil || !strings.Contains(err.Error(), "warnign") || !strings.Contains(err.Error(), "has no url") {
		t.Errorf("LoadNotify of faults: %v", err)
	}
}

func TestLookOfAFaultyConfig(t *testing.T) {
	const good = "[net]\nresolver = \"127.0.0.1:5300\"\nsmtp_port = 2525\n"
	file := write(t, map[string]string{"main.toml": faulty + good + "[store]\nurl = \"sqlite:/srv/s.db\"\n"})
	for _, optional := range []bool{false, true} {
		look, err := config.LoadLook(file, optional)
		if err != nil || look.Net.SMTPPort != 2525 || len(look.Net.Resolver) != 1 || look.Net.HTTPSPort != 443 || look.Store.Path != "/srv/s.db" {
			t.Errorf("LoadLook: %+v, %v", look, err)
		}
		// A fault of [store] makes none of it, and no other in its place.
		look, err = config.LoadLook(write(t, map[string]string{"main.toml": good + "[store]\nurl = \"nonsense\"\n"}), optional)
		if err != nil || look.Net.SMTPPort != 2525 || look.Store.Path != "" {
			t.Errorf("LoadLook with a faulty store: %+v, %v", look, err)
		}
		for text, want := range map[string]string{
			"[net]\nresolver = 7\n":                             "main.toml:2: ",
			"[net]\nresolvr = \"127.0.0.1\"\n":                  "unknown key resolvr",
			"[net]\nroots_file = \"missing.pem\"\n":             "missing.pem cannot be read",
			"[net\n":                                            "main.toml:2: a section header",
			faulty + good + "dns_port = 0\n[notify]\nops = 1\n": "dns_port in [net] is 0",
		} {
			look, err := config.LoadLook(write(t, map[string]string{"main.toml": text}), optional)
			if err == nil || !strings.Contains(err.Error(), want) || strings.Contains(err.Error(), "\n") || look.Net.SMTPPort != 0 {
				t.Errorf("LoadLook of %q: %+v, %v", text, look, err)
			}
		}
	}
}

func TestLookWithoutAConfig(t *testing.T) {
	file := write(t, map[string]string{"main.toml": "[net]\nsmtp_port = 2525\n"})
	usual := func(name, path string) {
		t.Helper()
		look, err := config.LoadLook(path, true)
		if err != nil || look.Net.SMTPPort != 25 || look.Net.DNSPort != 53 || look.Store.Path != "" {
			t.Errorf("%s: %+v, %v; want the defaults and no store", name, look, err)
		}
		if _, err := config.LoadLook(path, false); err == nil || !strings.Contains(err.Error(), "cannot be read") {
			t.Errorf("%s, but it was named: %v", name, err)
		}
	}
	usual("missing", file+".missing")
	if _, err := config.LoadLook(filepath.Dir(file), true); err == nil {
		t.Error("a directory is taken for no config")
	}
	if os.Geteuid() == 0 {
		t.Skip("root may read everything")
	}
	if err := os.Chmod(file, 0); err != nil {
		t.Fatal(err)
	}
	usual("not readable", file)
}
