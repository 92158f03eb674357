package config_test

import (
	"os"
	"slices"
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
		dns mx max_age profile name zone mode proxied trusted_proxies proxy_protocol keep_events
		eab_kid eab_hmac_file extra_hosts trust_ad smtp_control mx_interval cert_file key_file url_file min quiet_hours timezone repeat
		ramp stay reporters mx_migration`) {
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
// value is valid, so that taking the "# " away is all there is to do: from a
// line, with those right above and below it, or from a whole section.
func TestExampleSettingsSwitchedOn(t *testing.T) {
	text, err := os.ReadFile("../config.example.toml")
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(string(text), "\n")
	section := 0 // number of the section that is switched off; 0 in one that is not
	groups := map[int][]int{}
	last := -1
	for i, line := range lines {
		bare, off := strings.CutPrefix(line, "# ")
		key, _, ok := strings.Cut(bare, " = ")
		ok = ok && !strings.ContainsAny(key, " \"") && key != "provider" && key != "api_token_file"
		switch {
		case off && strings.HasPrefix(bare, "["):
			section = i
		case strings.HasPrefix(line, "["):
			section = 0
		case !off || !ok:
			continue
		}
		switch {
		case section > 0:
			groups[section] = append(groups[section], i)
		case off && last == i-1 || key == "trusted_proxies": // which is for the setting above it
			for first, g := range groups {
				if g[len(g)-1] == last {
					groups[first] = append(g, i)
				}
			}
		case off:
			groups[i] = []int{i}
		}
		last = i
	}
	for first, group := range groups {
		on := slices.Clone(lines)
		for _, i := range group {
			on[i] = strings.TrimPrefix(lines[i], "# ")
		}
		_, err := config.Load(write(t, map[string]string{
			"main.toml": strings.Join(on, "\n"), "ca.pem": testCA, "eab.hmac": "c2VjcmV0", "notify.url": "generic+https://hooks.example/x",
			"cloudflare.token": "t",
		}), options(nil))
		if err != nil {
			t.Errorf("line %d switched on:\n%v", first+1, err)
		}
	}
	if len(groups) < 20 {
		t.Errorf("only %d settings are switched off", len(groups))
	}
}
