package main

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stshost/stshost/internal/lab"
)

// The first config takes its MX hosts from DNS, and is one that works.
func TestConfigInitFromDNS(t *testing.T) {
	d, err := lab.StartDNS(lab.DNSConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { d.Close() })
	for _, c := range []struct {
		name   string
		mx     []string
		want   string // the line in the config
		refuse string // or what is said instead
	}{
		{name: "in the order of preference", mx: []string{"30 MX3.mail.test.", "10 mx1.mail.test.", "20 mx2.other.test."},
			want: `mx = ["mx1.mail.test", "mx2.other.test", "mx3.mail.test"]`},
		{name: "a host twice", mx: []string{"10 mx1.mail.test.", "20 mx1.mail.test."},
			want: `mx = ["mx1.mail.test"]`},
		{name: "a null MX", mx: []string{"0 ."}, refuse: "accepts no mail (RFC 7505 §3)"},
		{name: "no MX", refuse: "name the hosts with --mx"},
		{name: "an address as MX", mx: []string{"10 192.0.2.25."}, refuse: "192.0.2.25"},
	} {
		t.Run(c.name, func(t *testing.T) {
			if err := d.AddZone(example); err != nil {
				t.Fatal(err)
			}
			if err := d.Set(example, "MX", c.mx...); err != nil {
				t.Fatal(err)
			}
			file := filepath.Join(t.TempDir(), "config.toml")
			var out, errs bytes.Buffer
			code := run(t.Context(), []string{"config", "init", example, "--mx-from-dns", "--resolver", d.Addr(), "-o", file}, &out, &errs)
			if c.refuse != "" {
				if _, err := os.Stat(file); code != 1 || !strings.Contains(errs.String(), c.refuse) || !os.IsNotExist(err) {
					t.Errorf("status %d, want a refusal with %q:\n%s", code, c.refuse, &errs)
				}
				return
			}
			text, _ := os.ReadFile(file)
			if code != 0 || !strings.Contains(string(text), c.want) {
				t.Fatalf("status %d, want %s:\n%s\n%s", code, c.want, &errs, text)
			}
			if code := run(t.Context(), []string{"config", "check", "--config", file}, &out, &errs); code != 0 {
				t.Errorf("config check finds fault with it:\n%s", &errs)
			}
		})
	}

	t.Run("no such domain", func(t *testing.T) {
		var out, errs bytes.Buffer
		code := run(t.Context(), []string{"config", "init", "nowhere.test", "--mx-from-dns", "--resolver", d.Addr()}, &out, &errs)
		if code != 1 || out.Len() > 0 || !strings.Contains(errs.String(), "nowhere.test") {
			t.Errorf("status %d\n%s%s", code, &out, &errs)
		}
	})
}
