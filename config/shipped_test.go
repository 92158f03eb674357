package config_test

import (
	"os"
	"strings"
	"testing"

	"github.com/stshost/stshost/config"
)

// The file config.example.toml is the reference of the settings: right as
// shipped, complete, and on any machine.
func TestExample(t *testing.T) {
	cfg, err := config.Load("../config.example.toml", config.Options{Providers: providers(), Getenv: func(string) string { return "" }})
	if err != nil {
		t.Fatal(err)
	}
	checkWarnings(t, cfg, "")
	if len(cfg.Domains) == 0 {
		t.Error("the example has no domain")
	}
	for _, d := range cfg.Domains {
		if p := cfg.DNS[d.Account].Provider; p != "print" {
			t.Errorf("%s uses DNS provider %s; as shipped nothing may touch DNS", d.Name, p)
		}
	}
	// It is to have every setting, and Cloudflare ready to be switched on.
	text, err := os.ReadFile("../config.example.toml")
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range strings.Fields(`include https http admin max_connections url directory email accept_terms roots_file
		workers orders_per_3h provider resolver dns_port https_port http_port smtp_port via interval addresses cname ttl
		dns mx max_age profile name zone mode`) {
		if !strings.Contains(string(text), "\n"+key+" = ") && !strings.Contains(string(text), "\n"+key+"  = ") &&
			!strings.Contains(string(text), "\n# "+key+" = ") {
			t.Errorf("the example has no line for %s", key)
		}
	}
	on := strings.NewReplacer(
		"\nprovider = \"print\"\n", "\n",
		"\n# provider = \"cloudflare\"\n# api_token_file = ", "\nprovider = \"cloudflare\"\napi_token_file = ",
	).Replace(string(text))
	path := write(t, map[string]string{"main.toml": strings.Replace(on, "/etc/stshost/cloudflare.token", "cloudflare.token", 1), "cloudflare.token": "t\n"})
	cfg, err = config.Load(path, options(nil))
	if err != nil {
		t.Fatalf("with Cloudflare switched on:\n%v", err)
	}
	if a := cfg.DNS["main"]; a.Provider != "cloudflare" || a.Settings["api_token"] != "t" {
		t.Errorf("with Cloudflare switched on, the account is %+v", a)
	}
}

// Each setting that the example shows switched off is known and its example
// value is valid, so that taking the "# " away is all there is to do.
func TestExampleSettingsSwitchedOn(t *testing.T) {
	text, err := os.ReadFile("../config.example.toml")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(text), "\n")
	for i, line := range lines {
		bare, off := strings.CutPrefix(line, "# ")
		key, _, ok := strings.Cut(bare, " = ")
		if !off || !ok || strings.ContainsAny(key, " \"") || key == "provider" || key == "api_token_file" {
			continue
		}
		on := append([]string{}, lines...)
		on[i] = bare
		_, err := config.Load(write(t, map[string]string{"main.toml": strings.Join(on, "\n"), "ca.pem": testCA}), options(nil))
		if err != nil {
			t.Errorf("line %d switched on:\n%v", i+1, err)
		}
	}
}
