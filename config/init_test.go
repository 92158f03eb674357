package config_test

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stshost/stshost/config"
)

// What Init writes is right as soon as the secrets' files exist.
func TestInit(t *testing.T) {
	files := regexp.MustCompile(`(?m)^\w+_file = "(.*)"$`)
	for _, provider := range []string{"", "print", "cloudflare", "rfc2136", "powerdns"} {
		for _, mx := range [][]string{nil, {"MX1.Example.net", "*.bücher.example", "mx1.example.net"}} {
			text, err := config.Init(config.InitOptions{Domain: "Example.COM.", Provider: provider, MX: mx, Options: options(nil)})
			if err != nil {
				t.Fatalf("provider %q: %v", provider, err)
			}
			path := write(t, map[string]string{"main.toml": string(text)})
			secrets := files.FindAllStringSubmatch(string(text), -1)
			if wants := provider != "" && provider != "print"; wants != (len(secrets) == 1) {
				t.Fatalf("provider %q names %d secret files:\n%s", provider, len(secrets), text)
			}
			for _, s := range secrets {
				if err := os.WriteFile(filepath.Join(filepath.Dir(path), s[1]), []byte("secret\n"), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			cfg, err := config.Load(path, options(nil))
			if err != nil {
				t.Fatalf("provider %q:\n%v\n%s", provider, err, text)
			}
			d := cfg.Domains[0]
			want := []string{"mx1.example.com"}
			if mx != nil {
				want = []string{"mx1.example.net", "*.xn--bcher-kva.example"}
			}
			if d.Name != "example.com" || !slices.Equal(d.MX, want) || !d.Managed() || cfg.ACME.Email != "hostmaster@example.com" {
				t.Errorf("provider %q gives %+v", provider, d)
			}
			if p := cfg.DNS[d.Account].Provider; p != provider && (provider != "" || p != "print") {
				t.Errorf("the account's provider is %s, want %q", p, provider)
			}
			if d.MaxAge != 7*24*time.Hour || d.Rollout.MaxAge != 4*7*24*time.Hour || !strings.Contains(string(text), "\n#   stshost rollout example.com\n") {
				t.Errorf("provider %q leaves the rollout at %+v:\n%s", provider, d, text)
			}
			for _, w := range cfg.Warnings {
				if !strings.Contains(w.What, "every host directly under") { // which is said of the wildcard above
					t.Errorf("provider %q: %v", provider, w)
				}
			}
			if hint := strings.Contains(string(text), "CORRECT THIS LINE"); hint != (mx == nil) {
				t.Errorf("hint at a placeholder is %v with mx %v", hint, mx)
			}
		}
	}
}

func TestInitErrors(t *testing.T) {
	tests := []struct {
		name string
		opts config.InitOptions
		want string
	}{
		{"domain", config.InitOptions{Domain: "a b"}, "is not a domain name"},
		{"provider", config.InitOptions{Domain: "a.example", Provider: "cloudfare"}, "did you mean cloudflare?"},
		{"provider, refused", config.InitOptions{Domain: "a.example", Provider: "gandi"}, "not offered: it appends; use a CNAME"},
		{"provider, nothing near", config.InitOptions{Domain: "a.example", Provider: "x"}, "known are cloudflare, powerdns, print, rfc2136"},
		{"mx", config.InitOptions{Domain: "a.example", MX: []string{"192.0.2.1"}}, "IP address"},
		{"email", config.InitOptions{Domain: "a.example", Email: "x\"\ny"}, "is no mail address"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			tt.opts.Options = options(nil)
			_, err := config.Init(tt.opts)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("got %v, want %q", err, tt.want)
			}
		})
	}
}
