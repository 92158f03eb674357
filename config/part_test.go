package config_test

import (
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
