package main

import (
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stshost/stshost/config"
	"github.com/stshost/stshost/internal/state"
)

// examinerFunc is an examiner for tests.
type examinerFunc func(ctx context.Context, domain string) (state.Report, error)

func (f examinerFunc) Examine(ctx context.Context, domain string) (state.Report, error) {
	return f(ctx, domain)
}

// verdicts examines domains whose first label is their verdict.
func verdicts(_ context.Context, domain string) (state.Report, error) {
	verdict, _, _ := strings.Cut(domain, ".")
	return state.Report{Domain: domain, Verdict: state.Verdict(verdict), Summary: "because of " + verdict}, nil
}

// noExaminer is for command lines that must end before anything is looked at.
func noExaminer(t *testing.T) examiner {
	return examinerFunc(func(_ context.Context, domain string) (state.Report, error) {
		t.Errorf("%s was examined", domain)
		return state.Report{}, nil
	})
}

// outcome is how a command line ended.
type outcome struct {
	code      int
	out, errs string
}

// checkWith runs `stshost check` with e in place of the world.
func checkWith(t *testing.T, ctx context.Context, e examiner, stdin string, args ...string) outcome {
	t.Helper()
	t.Setenv("STSHOST_CONFIG", "")
	root := newRoot(func(lookSettings) (examiner, error) { return e, nil })
	root.SetIn(strings.NewReader(stdin))
	var out, errs strings.Builder
	code := execute(ctx, root, append([]string{"check"}, args...), &out, &errs)
	return outcome{code, out.String(), errs.String()}
}

func TestCheckExitCodesAndFirstLine(t *testing.T) {
	for _, tt := range []struct {
		verdict string
		code    int
		first   string
	}{
		{"enforce", 0, "enforce.test: senders will: enforce - because of enforce"},
		{"test", 0, "test.test: senders will: test - because of test"},
		{"ignore", 1, "ignore.test: senders will: ignore - because of ignore"},
		{"lose-mail", 1, "lose-mail.test: senders will: LOSE MAIL - because of lose-mail"},
		{"none", 1, "none.test: no MTA-STS - because of none"},
		{"unknown", 3, "unknown.test: could not decide - because of unknown"},
	} {
		for _, format := range checkFormats() {
			got := checkWith(t, t.Context(), examinerFunc(verdicts), "", tt.verdict+".test", "--format", format)
			if got.code != tt.code || got.errs != "" {
				t.Errorf("%s as %s: exit code %d, want %d; stderr %q", tt.verdict, format, got.code, tt.code, got.errs)
			}
			if first, _, _ := strings.Cut(got.out, "\n"); format == formatText && first != tt.first {
				t.Errorf("first line %q, want %q", first, tt.first)
			}
		}
	}
}

func TestCheckUsageErrors(t *testing.T) {
	dir := t.TempDir()
	list := filepath.Join(dir, "list")
	writeFile(t, list, "a.test\n\n# nothing\nnot a name\npostmaster@b.test # all mail\nc.test\n")
	empty := filepath.Join(dir, "empty")
	writeFile(t, empty, "# none yet\n")
	for _, tt := range []struct {
		args string
		want []string
	}{
		{"", []string{"stshost check needs DOMAIN"}},
		{"192.0.2.1", []string{"it is an IP address"}},
		{"postmaster@example.org", []string{`"postmaster@example.org" is not a domain name: it is a mail address; write its domain alone, example.org`}},
		{"https://alpha.test/", []string{`"https://alpha.test/" is not a domain name: it is a URL; write its domain alone, alpha.test`}},
		{"_mta-sts.alpha.test", []string{"it is the name of a record, and no host name; write the domain alone, alpha.test"}},
		{"mta-sts.alpha.test https://mta-sts.alpha.test/.well-known/mta-sts.txt", []string{"it is a URL; write its domain alone, alpha.test"}},
		{"a..test postmaster@example.org", []string{`"a..test" is not a domain name`, "is a mail address"}},
		{"example.org --format xml", []string{`--format "xml" is none of text, json, markdown`}},
		{"example.org --json --format text", []string{"--json contradicts --format text"}},
		{"example.org --json --format markdown", []string{"--json contradicts --format markdown"}},
		{"example.org --parallel 0", []string{"from 1 to 32"}},
		{"example.org --parallel 33", []string{"from 1 to 32"}},
		{"example.org --timeout 0s", []string{"--timeout 0s is no time"}},
		{"example.org --no-such-flag", []string{"unknown flag"}},
		{"--file " + list, []string{list + `:4: "not a name" is not a domain name`, list + `:5: "postmaster@b.test" is not a domain name: it is a mail address`}},
		{"--file " + list + " d.test a..test", []string{list + ":4: ", `"a..test" is not`}},
		{"--file " + empty, []string{empty + " names no domain"}},
		{"--file " + dir + "/missing", []string{"the list of domains cannot be read", "no such file"}},
		{"--file -", []string{"standard input names no domain"}},
		{"example.org --config " + dir + "/missing.toml", []string{"missing.toml: cannot be read"}},
	} {
		got := checkWith(t, t.Context(), noExaminer(t), "", strings.Fields(tt.args)...)
		if got.code != 2 || got.out != "" {
			t.Errorf("%s: exit code %d, stdout %q; want 2 and nothing", tt.args, got.code, got.out)
		}
		for _, want := range tt.want {
			if !strings.Contains(got.errs, want) {
				t.Errorf("%s: stderr is %q, which lacks %q", tt.args, got.errs, want)
			}
		}
	}
}

func TestCheckTakesNamesAsPeopleWriteThem(t *testing.T) {
	for arg, want := range map[string]string{"EXAMPLE.org.": "example.org", "bücher.example": "xn--bcher-kva.example"} {
		asked := ""
		checkWith(t, t.Context(), examinerFunc(func(_ context.Context, domain string) (state.Report, error) {
			asked = domain
			return state.Report{}, nil
		}), "", arg)
		if asked != want {
			t.Errorf("%s: %q was examined, want %q", arg, asked, want)
		}
	}
}

func TestCheckJSONOfOneDomain(t *testing.T) {
	full := fullReport()
	fake := examinerFunc(func(context.Context, string) (state.Report, error) { return full, nil })
	asJSON := checkWith(t, t.Context(), fake, "", "example.org", "--json")
	if again := checkWith(t, t.Context(), fake, "", "example.org", "--format", "json", "--json"); again != asJSON {
		t.Errorf("--json gives %+v, --format json %+v", asJSON, again)
	}
	var got state.Report
	if err := json.Unmarshal([]byte(asJSON.out), &got); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(got, full) {
		t.Errorf("JSON has %+v, the report %+v", got, full)
	}
	if !strings.Contains(asJSON.out, "\n  \"verdict\"") {
		t.Errorf("JSON is not indented: %s", asJSON.out)
	}
}

func TestCheckHasTimeEnoughOnlyUpToTheTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		slow := examinerFunc(func(ctx context.Context, domain string) (state.Report, error) {
			<-ctx.Done()
			return state.Report{}, ctx.Err()
		})
		c, out, _ := newChecker(slow, formatText)
		c.timeout = 10 * time.Second
		began := time.Now()
		err := c.one(t.Context(), "slow.test")
		if took := time.Since(began); took != c.timeout {
			t.Errorf("it took %v, the timeout is %v", took, c.timeout)
		}
		if !errors.Is(err, exitError(3)) {
			t.Errorf("ended with %v, want exit code 3", err)
		}
		if want := "slow.test: could not decide - the examination was not done in 10s"; !strings.HasPrefix(out.String(), want) {
			t.Errorf("output %q, want it to begin with %q", out, want)
		}
	})
}

// Only what looking needs is read of a config: the faults and the secrets of
// others do not keep anybody from it.
func TestCheckReadsNetOfTheConfig(t *testing.T) {
	dir := t.TempDir()
	good, bad := filepath.Join(dir, "good.toml"), filepath.Join(dir, "bad.toml")
	writeFile(t, good, `include = ["missing.toml"]
nonsense = 1
[dns.main]
provider = "cloudflare"
api_token_file = "missing"
[net]
resolver = "127.0.0.1:5300"
smtp_port = 2525
[store]
url = "sqlite:none.db"
`)
	writeFile(t, bad, "[net]\nroots_file = \"missing.pem\"\n")
	for _, env := range []bool{false, true} {
		for path, tt := range map[string]struct {
			code int
			errs string
		}{
			good:                  {0, ""},
			bad:                   {2, "bad.toml:2: "},
			dir + "/missing.toml": {2, "missing.toml: cannot be read"},
		} {
			t.Setenv("STSHOST_CONFIG", "")
			args := []string{"check", "enforce.test"}
			if env {
				t.Setenv("STSHOST_CONFIG", path)
			} else {
				args = append(args, "--config", path)
			}
			var asked lookSettings
			root := newRoot(func(s lookSettings) (examiner, error) {
				asked = s
				return examinerFunc(verdicts), nil
			})
			var out, errs strings.Builder
			if code := execute(t.Context(), root, args, &out, &errs); code != tt.code || !strings.Contains(errs.String(), tt.errs) {
				t.Errorf("%s: exit code %d, stderr %q", path, code, errs.String())
			}
			if path == good && (asked.net.SMTPPort != 2525 || len(asked.net.Resolver) != 1 || asked.net.Resolver[0] != "127.0.0.1:5300" || asked.remember != nil) {
				t.Errorf("%s gives %+v", path, asked)
			}
		}
	}
}

func TestCheckOfManyReusesLooks(t *testing.T) {
	list := filepath.Join(t.TempDir(), "list")
	writeFile(t, list, "enforce.test\n")
	t.Setenv("STSHOST_CONFIG", "")
	for args, want := range map[string]bool{
		"enforce.test":                false,
		"enforce.test test.test":      true,
		"--file " + list:              true,
		"enforce.test --file " + list: true,
	} {
		var asked lookSettings
		root := newRoot(func(s lookSettings) (examiner, error) {
			asked = s
			return examinerFunc(verdicts), nil
		})
		var out, errs strings.Builder
		code := execute(t.Context(), root, append([]string{"check"}, strings.Fields(args)...), &out, &errs)
		c, err := asked.prober()
		if code != 0 || err != nil || c.Reuse != want {
			t.Errorf("%s: exit code %d, %v; reuse is %v, want %v", args, code, err, c.Reuse, want)
		}
	}
}

func TestCheckHintsAtPolicyHosts(t *testing.T) {
	const hint = "mta-sts.alpha.test is the name of a policy host; did you mean alpha.test?\n"
	for _, tt := range []struct{ args, stdin, want string }{
		{"mta-sts.alpha.test", "", hint},
		{"mta-sts.alpha.test MTA-STS.alpha.test. alpha.test", "", hint},
		{"--file - --json", "alpha.test\nmta-sts.alpha.test\n", "standard input:2: " + hint},
		{"mta-sts.test", "", ""}, // a top-level domain has no policy
	} {
		got := checkWith(t, t.Context(), examinerFunc(func(_ context.Context, domain string) (state.Report, error) {
			return state.Report{Domain: domain, Verdict: state.VerdictEnforce}, nil
		}), tt.stdin, strings.Fields(tt.args)...)
		if got.code != 0 || got.errs != tt.want || !strings.Contains(got.out, "mta-sts.") {
			t.Errorf("%s: exit code %d, stderr %q, output %q", tt.args, got.code, got.errs, got.out)
		}
	}
}

// brokenWriter takes nothing.
type brokenWriter struct{}

func (brokenWriter) Write([]byte) (int, error) { return 0, errors.New("no space left") }

// Exit code 1 is a verdict: that the report could not be written is not.
func TestCheckThatCannotWrite(t *testing.T) {
	for domains, want := range map[string]int{
		"enforce.test": 3, "unknown.test": 3, "none.test": 1,
		"enforce.test test.test": 3, "lose-mail.test lose-mail.test": 1,
	} {
		for _, format := range checkFormats() {
			t.Setenv("STSHOST_CONFIG", "")
			root := newRoot(func(lookSettings) (examiner, error) { return examinerFunc(verdicts), nil })
			var errs strings.Builder
			code := execute(t.Context(), root, append([]string{"check", "--format", format}, strings.Fields(domains)...), brokenWriter{}, &errs)
			if code != want || errs.String() != "stshost: the report could not be written: no space left\n" {
				t.Errorf("%s as %s: exit code %d, want %d; stderr %q", domains, format, code, want, errs.String())
			}
		}
	}
}

func TestCheckWithRootsThatCannotBeUsed(t *testing.T) {
	if _, err := lookOut(lookSettings{net: config.Net{RootsFile: filepath.Join(t.TempDir(), "missing.pem")}}); err == nil {
		t.Error("roots that cannot be read are passed over")
	}
	t.Setenv("STSHOST_CONFIG", "")
	root := newRoot(func(lookSettings) (examiner, error) { return nil, errors.New("cannot read the roots") })
	var out, errs strings.Builder
	if code := execute(t.Context(), root, []string{"check", "a.test"}, &out, &errs); code != 2 || errs.String() != "cannot read the roots\n" {
		t.Errorf("exit code %d, stderr %q", code, errs.String())
	}
}

func TestCheckCompletion(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"__complete", "check", ""}, ":4\n"},
		{[]string{"__complete", "check", "--format", ""}, "text\njson\nmarkdown\n:4\n"},
	} {
		var out, errs strings.Builder
		if code := run(t.Context(), tt.args, &out, &errs); code != 0 || out.String() != tt.want {
			t.Errorf("%q gives %q (exit code %d), want %q", tt.args, out.String(), code, tt.want)
		}
	}
}

// The whole way: a domain that stshost hosts, looked at with the config that it
// is hosted by, and one that nobody has.
func TestCheckOfADomainThatIsHosted(t *testing.T) {
	w := newWorld(t, "a.test")
	w.start()
	w.confirmed("a.test")
	w.says([]string{"check", "a.test"}, "a.test: senders will: test - ", "ok       ", "policy:  mode testing")
	var out, errs strings.Builder
	if code := run(t.Context(), []string{"check", "a.test", "nowhere.test", "--json", "--config", w.config()}, &out, &errs); code != 1 || errs.Len() > 0 {
		t.Errorf("exit code %d, stderr %q", code, errs.String())
	}
	follows := schemaValidator(t)
	got := map[string]state.Verdict{}
	for line := range strings.Lines(out.String()) {
		var r state.Report
		if err := errors.Join(follows(line), json.Unmarshal([]byte(line), &r)); err != nil {
			t.Errorf("%s: %v", line, err)
		}
		got[r.Domain] = r.Verdict
	}
	if got["a.test"] != state.VerdictTest || got["nowhere.test"] != state.VerdictNone || len(got) != 2 {
		t.Errorf("verdicts are %v", got)
	}
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
