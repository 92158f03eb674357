package mtasts_test

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stshost/stshost/mtasts"
)

func ExamplePolicy_Render() {
	policy := mtasts.Policy{
		Mode:   mtasts.ModeEnforce,
		MX:     []string{"mx1.example.com", "*.backup.example.net"},
		MaxAge: 7 * 24 * time.Hour,
	}
	body, err := policy.Render()
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Printf("%q\n", body)
	// Output:
	// "version: STSv1\r\nmode: enforce\r\nmx: mx1.example.com\r\nmx: *.backup.example.net\r\nmax_age: 604800\r\n"
}

func TestRender(t *testing.T) {
	tests := []struct {
		name   string
		policy mtasts.Policy
		want   string
	}{
		{"none without mx", mtasts.Policy{Mode: mtasts.ModeNone, MaxAge: 24 * time.Hour}, "version: STSv1\r\nmode: none\r\nmax_age: 86400\r\n"},
		{"none with mx and max_age 0", mtasts.Policy{Mode: mtasts.ModeNone, MX: []string{"a.example"}}, "version: STSv1\r\nmode: none\r\nmx: a.example\r\nmax_age: 0\r\n"},
		{"the longest max_age", mtasts.Policy{Mode: mtasts.ModeTesting, MX: []string{"a.example"}, MaxAge: mtasts.MaxMaxAge}, "version: STSv1\r\nmode: testing\r\nmx: a.example\r\nmax_age: 31557600\r\n"},
		{"mx in their order", mtasts.Policy{Mode: mtasts.ModeEnforce, MX: []string{"b.example", "a.example"}, MaxAge: time.Second}, "version: STSv1\r\nmode: enforce\r\nmx: b.example\r\nmx: a.example\r\nmax_age: 1\r\n"},
	}
	for _, tt := range tests {
		got, err := tt.policy.Render()
		if err != nil || string(got) != tt.want {
			t.Errorf("%s: Render() = %q, %v; want %q", tt.name, got, err, tt.want)
		}
	}
}

func TestValidate(t *testing.T) {
	mx := []string{"mx.example.com"}
	tests := []struct {
		name    string
		policy  mtasts.Policy
		problem string // part of the first fault
	}{
		{"no mode", mtasts.Policy{MX: mx}, `mode "" is unknown`},
		{"unknown mode", mtasts.Policy{Mode: "Enforce", MX: mx}, `mode "Enforce" is unknown`},
		{"enforce without mx", mtasts.Policy{Mode: mtasts.ModeEnforce}, "there is no mx"},
		{"testing without mx", mtasts.Policy{Mode: mtasts.ModeTesting}, "there is no mx"},
		{"negative max_age", mtasts.Policy{Mode: mtasts.ModeNone, MaxAge: -time.Second}, "max_age -1s is not"},
		{"max_age too long", mtasts.Policy{Mode: mtasts.ModeNone, MaxAge: mtasts.MaxMaxAge + time.Second}, "max_age 8766h0m1s is not"},
		{"half a second", mtasts.Policy{Mode: mtasts.ModeNone, MaxAge: 1500 * time.Millisecond}, "max_age 1.5s is not"},
		{"upper case", mtasts.Policy{Mode: mtasts.ModeEnforce, MX: []string{"MX.example.com"}}, `write "mx.example.com"`},
		{"U-label", mtasts.Policy{Mode: mtasts.ModeEnforce, MX: []string{"mx.bücher.example"}}, "only letters, digits and hyphens"},
		{"IP address", mtasts.Policy{Mode: mtasts.ModeEnforce, MX: []string{"192.0.2.1"}}, "IP address"},
		{"empty mx", mtasts.Policy{Mode: mtasts.ModeEnforce, MX: []string{""}}, "name is empty"},
		{"trailing dot", mtasts.Policy{Mode: mtasts.ModeEnforce, MX: []string{"mx.example.com."}}, "dot at the end"},
		{"a second line", mtasts.Policy{Mode: mtasts.ModeEnforce, MX: []string{"a.example\r\nmode: none"}}, "only letters, digits and hyphens"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			err := tt.policy.Validate()
			fault, ok := errors.AsType[*mtasts.PolicyError](err)
			if !ok || fault.Line != 0 || !strings.Contains(fault.Problem, tt.problem) {
				t.Errorf("Validate() = %v; want …%s…", err, tt.problem)
			}
			if body, err := tt.policy.Render(); err == nil {
				t.Errorf("Render() = %q; want an error", body)
			}
		})
	}
}

func TestRenderTooLarge(t *testing.T) {
	policy := mtasts.Policy{Mode: mtasts.ModeEnforce}
	for i := range 4000 {
		policy.MX = append(policy.MX, fmt.Sprintf("mx%d.example.com", i))
	}
	_, err := policy.Render()
	fault, ok := errors.AsType[*mtasts.PolicyError](err)
	if !ok || !strings.HasPrefix(fault.Rule, "RFC 8461 §3.3") {
		t.Errorf("Render() error = %v; want one of RFC 8461 §3.3", err)
	}
}

func TestCovers(t *testing.T) {
	policy := mtasts.Policy{MX: []string{"mx1.example.com", "*.backup.example.net"}}
	for host, want := range map[string]bool{
		"mx1.example.com":        true,
		"MX1.EXAMPLE.COM.":       true,
		"a.backup.example.net":   true,
		"mx2.example.com":        false,
		"backup.example.net":     false,
		"a.b.backup.example.net": false,
		"":                       false,
	} {
		if got := policy.Covers(host); got != want {
			t.Errorf("Covers(%q) = %v; want %v", host, got, want)
		}
	}
	if (mtasts.Policy{Mode: mtasts.ModeNone}).Covers("mx.example.com") {
		t.Error("a policy without mx covers a host")
	}
}
