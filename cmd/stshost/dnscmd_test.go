package main

import (
	"bufio"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"

	"github.com/stshost/stshost/internal/dnstest"
)

// The dry run of a DNS account adds, replaces and removes a record and leaves
// the zone as it was; no server runs.
func TestDNSTest(t *testing.T) {
	t.Parallel()
	w := newWorld(t, example)
	knot := dnstest.StartKnot(t, example)
	w.useRFC2136(knot)
	w.extra = "[dns.hand]\nprovider = \"print\"\n"
	w.domains[0].lines = "dns = \"main\"\n"
	w.writeConfig()
	before := knot.Serial(t, example)
	out := w.stshost("dns", "test", "main", example)
	for _, want := range []string{"add a TXT record at _stshost-test-", "see it alone", "replace it", "see it gone", "can keep records in example.test"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is not in:\n%s", want, out)
		}
	}
	if n := knot.Serial(t, example) - before; n != 3 {
		t.Errorf("the zone changed %d times", n)
	}
	var result struct {
		Passed bool
		Zone   string
		Steps  []dnsTestStep
	}
	if err := json.Unmarshal([]byte(w.stshost("dns", "test", "main", "Example.Test.", "--json")), &result); err != nil || !result.Passed || result.Zone != example || len(result.Steps) != 7 {
		t.Errorf("%+v, %v", result, err)
	}

	fails := func(code int, want string, args ...string) {
		t.Helper()
		out, err := exec.Command("stshost", append([]string{"dns", "test", "--config", w.config()}, args...)...).CombinedOutput()
		var exit *exec.ExitError
		if !errors.As(err, &exit) || exit.ExitCode() != code || !strings.Contains(string(out), want) {
			t.Errorf("%q: %v, want exit %d and %q\n%s", args, err, code, want, out)
		}
		if strings.Contains(string(out), knot.TSIGSecret) {
			t.Errorf("the secret is shown:\n%s", out)
		}
	}
	fails(1, "nothing to test", "hand", example)
	fails(1, "there are: hand, main, print", "nosuch", example)
	fails(2, "not a domain name", "main", "no domain")
	fails(1, "missing.test", "main", "missing.test")
	w.account = strings.Replace(w.account, knot.TSIGSecret, knot.IdleSecret, 1)
	w.writeConfig()
	fails(1, "BADSIG", "main", example)
}

// An operator who has enough leaves nothing behind.
func TestDNSTestInterrupted(t *testing.T) {
	w := newWorld(t, example)
	knot := dnstest.StartKnot(t, example)
	w.useRFC2136(knot)
	w.dnsAddr, w.dnsPort = w.lab.DNS.Addr(), w.lab.DNSPort // never shows what Knot has
	w.writeConfig()
	cmd := exec.Command("stshost", "dns", "test", "main", example, "--config", w.config())
	var stderr strings.Builder
	cmd.Stderr = &stderr
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	name := ""
	for lines := bufio.NewScanner(stdout); lines.Scan(); {
		if _, after, ok := strings.Cut(lines.Text(), "add a TXT record at "); ok {
			name = after
			if got := knot.TXT(t, name); len(got) != 1 {
				t.Errorf("at %s stands %q", name, got)
			}
			if err := cmd.Process.Signal(os.Interrupt); err != nil {
				t.Fatal(err)
			}
		}
	}
	var exit *exec.ExitError
	if err := cmd.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 1 {
		t.Errorf("%v\n%s", err, stderr.String())
	}
	if name == "" || len(knot.TXT(t, name)) != 0 {
		t.Errorf("at %q stands %q", name, knot.TXT(t, name))
	}
}
