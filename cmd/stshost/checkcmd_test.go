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
	root := newRoot(func(*config.Config) (examiner, error) { return e, nil })
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
		for _, format := range checkFormats {
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
		{"postmaster@example.org", []string{`"postmaster@example.org" is a mail address; write its domain alone, example.org`}},
		{"a..test postmaster@example.org", []string{`"a..test" is not a domain name`, "is a mail address"}},
		{"example.org --format xml", []string{`--format "xml" is none of text, json, markdown`}},
		{"example.org --json --format text", []string{"--json contradicts --format text"}},
		{"example.org --json --format markdown", []string{"--json contradicts --format markdown"}},
		{"example.org --parallel 0", []string{"from 1 to 32"}},
		{"example.org --parallel 33", []string{"from 1 to 32"}},
		{"example.org --timeout 0s", []string{"--timeout 0s is no time"}},
		{"example.org --no-such-flag", []string{"unknown flag"}},
		{"--file " + list, []string{list + `:4: "not a name" is not a domain name`, list + `:5: "postmaster@b.test" is a mail address`}},
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

func TestCheckReadsNetOfTheConfig(t *testing.T) {
	dir := t.TempDir()
	good, bad := filepath.Join(dir, "good.toml"), filepath.Join(dir, "bad.toml")
	writeFile(t, good, `[acme]
accept_terms = true
email = "hostmaster@example.org"
[net]
resolver = "127.0.0.1:5300"
smtp_port = 2525
[[domain]]
name = "example.org"
mx = ["mx.example.org"]
`)
	writeFile(t, bad, "[net]\nresolver = 7\n")
	for _, tt := range []struct {
		name, path string
		named      bool
		port       int // 0: those of nobody's config
		fault      string
	}{
		{"named", good, true, 2525, ""},
		{"default", good, false, 2525, ""},
		{"named and not there", dir + "/missing.toml", true, 0, "missing.toml: cannot be read"},
		{"default and not there", dir + "/missing.toml", false, 0, ""},
		{"named and wrong", bad, true, 0, "bad.toml:2: "},
		{"default and wrong", bad, false, 0, "bad.toml:2: "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg, err := checkConfig(tt.path, tt.named)
			if (tt.fault != "") != (err != nil) || err != nil && !strings.Contains(err.Error(), tt.fault) {
				t.Fatalf("error %v, want %q", err, tt.fault)
			}
			if err == nil && cfg.Net.SMTPPort != tt.port {
				t.Errorf("smtp_port %d, want %d", cfg.Net.SMTPPort, tt.port)
			}
		})
	}
	t.Run("flag and environment", func(t *testing.T) {
		for _, env := range []string{"", good} {
			t.Setenv("STSHOST_CONFIG", env)
			args := []string{"check", "enforce.test"}
			if env == "" {
				args = append(args, "--config", good)
			}
			var asked config.Net
			root := newRoot(func(cfg *config.Config) (examiner, error) {
				asked = cfg.Net
				return examinerFunc(verdicts), nil
			})
			var out, errs strings.Builder
			if code := execute(t.Context(), root, args, &out, &errs); code != 0 || len(asked.Resolver) != 1 || asked.Resolver[0] != "127.0.0.1:5300" {
				t.Errorf("exit code %d, [net] is %+v, stderr %q", code, asked, errs.String())
			}
		}
	})
	t.Run("default and not to be read", func(t *testing.T) {
		if os.Getuid() == 0 {
			t.Skip("root may read everything")
		}
		if err := os.Chmod(good, 0); err != nil {
			t.Fatal(err)
		}
		if cfg, err := checkConfig(good, false); err != nil || cfg.Net.SMTPPort != 0 {
			t.Errorf("[net] is %+v, error %v; want the defaults", cfg, err)
		}
		if _, err := checkConfig(good, true); err == nil {
			t.Error("a config that was named and cannot be read is passed over")
		}
	})
}

func TestCheckWithRootsThatCannotBeUsed(t *testing.T) {
	if _, err := lookOut(&config.Config{Net: config.Net{RootsFile: filepath.Join(t.TempDir(), "missing.pem")}}); err == nil {
		t.Error("roots that cannot be read are passed over")
	}
	t.Setenv("STSHOST_CONFIG", "")
	root := newRoot(func(*config.Config) (examiner, error) { return nil, errors.New("cannot read the roots") })
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
