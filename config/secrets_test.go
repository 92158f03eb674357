package config_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stshost/stshost/config"
)

func TestSecrets(t *testing.T) {
	env := map[string]string{"TOKEN": "from-env", "PART_2": "two"}
	tests := []struct{ name, setting, want string }{
		{"literal", `api_token = "here"`, "here"},
		{"environment", `api_token = "${TOKEN}"`, "from-env"},
		{"environment in the middle", `api_token = "a-${TOKEN}-${PART_2}$"`, "a-from-env-two$"},
		{"dollar signs", `api_token = "$x $$ $${TOKEN}"`, "$x $$ ${TOKEN}"},
		{"file", `api_token_file = "sub/token"`, "from-file"},
		{"file with CRLF", `api_token_file = "crlf"`, "from ${TOKEN}"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := load(t, map[string]string{
				"main.toml": terms + domain + "[dns.cf]\nprovider = \"cloudflare\"\n" + tt.setting + "\n",
				"sub/token": "from-file\n",
				"crlf":      "from ${TOKEN}\r\n", // what a file holds is not expanded
			}, env)
			if got := cfg.DNS["cf"].Settings["api_token"]; got != tt.want {
				t.Errorf("api_token is %q, want %q", got, tt.want)
			}
			if _, ok := cfg.DNS["cf"].Settings["zone_token"]; ok {
				t.Error("a setting that was not given is in Settings")
			}
			checkWarnings(t, cfg, "")
		})
	}
}

func TestSecretFromProcessEnvironment(t *testing.T) {
	t.Setenv("STSHOST_TEST_TOKEN", "t")
	path := write(t, map[string]string{"main.toml": terms + domain + "[dns.cf]\nprovider = \"cloudflare\"\napi_token = \"${STSHOST_TEST_TOKEN}\"\n"})
	cfg, err := config.Load(path, config.Options{Providers: providers()})
	if err != nil {
		t.Fatal(err)
	}
	if got := cfg.DNS["cf"].Settings["api_token"]; got != "t" {
		t.Errorf("api_token is %q", got)
	}
}

// Faults around secrets name the line, the setting and the variable, and
// never a value.
func TestSecretFaults(t *testing.T) {
	const secret = "hush-4711"
	env := map[string]string{"SET": secret}
	tests := []struct{ name, setting, want string }{
		{"variable not set", `api_token = "${SET}${MISSING}"`, "8: api_token in [dns.cf] uses ${MISSING}, which is not set; set it"},
		{"no variable name", `api_token = "${` + secret + `}"`, "8: api_token in [dns.cf] has a ${ that begins no variable"},
		{"not closed", `api_token = "${SET ` + secret + `"`, "8: api_token in [dns.cf] has a ${ that begins no variable"},
		{"wrong type", `api_token = ["` + secret + `"]`, "8: api_token in [dns.cf] must be a string, not a list"},
		{"empty", `api_token = ""`, "8: api_token in [dns.cf] is empty"},
		{"missing", ``, "6: [dns.cf] has no api_token, which provider cloudflare needs; write api_token_file"},
		{"both", "api_token = \"" + secret + "\"\napi_token_file = \"token\"", "9: [dns.cf] has both api_token and api_token_file"},
		{"file missing", `api_token_file = "gone"`, "8: api_token_file in [dns.cf]: gone cannot be read: no such file or directory; write the value into that file"},
		{"file empty", `api_token_file = "empty"`, "8: api_token_file in [dns.cf]: empty is empty; write the value into it"},
		{"file is a directory", `api_token_file = "sub"`, "8: api_token_file in [dns.cf]: sub cannot be read: sub is a directory"},
		{"file too large", `api_token_file = "large"`, "8: api_token_file in [dns.cf]: large cannot be read: large has more than 65536 bytes"},
		{"no path", `api_token_file = ""`, "8: api_token_file in [dns.cf] is empty"},
		{"path of wrong type", `api_token_file = 5`, "8: api_token_file in [dns.cf] must be a string"},
		{"unknown setting", "api_token = \"x\"\npasword = \"" + secret + "\"", "9: unknown key pasword in [dns.cf] with provider cloudflare"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := faults(t, map[string]string{
				"main.toml": terms + domain + "[dns.cf]\nprovider = \"cloudflare\"\n" + tt.setting + "\n",
				"token":     secret,
				"empty":     "\n",
				"sub/x":     secret,
				"large":     strings.Repeat(secret, 10000),
			}, env)
			if len(got) != 1 || !strings.HasPrefix(got[0], "main.toml:"+tt.want) {
				t.Errorf("got\n%s\nwant main.toml:%s", strings.Join(got, "\n"), tt.want)
			}
			if strings.Contains(strings.Join(got, "\n"), secret) {
				t.Errorf("the error shows the secret:\n%s", strings.Join(got, "\n"))
			}
		})
	}
}

func TestSecretFileUnreadable(t *testing.T) {
	if os.Getuid() == 0 {
		t.Skip("root can read every file")
	}
	path := write(t, map[string]string{
		"main.toml": terms + domain + "[dns.cf]\nprovider = \"cloudflare\"\napi_token_file = \"token\"\n",
		"token":     "t",
	})
	if err := os.Chmod(filepath.Join(filepath.Dir(path), "token"), 0); err != nil {
		t.Fatal(err)
	}
	_, err := config.Load(path, options(nil))
	if err == nil || !strings.Contains(err.Error(), "permission denied; make it readable for the user that runs stshost") {
		t.Errorf("got %v", err)
	}
}

func TestSecretsEveryoneCanRead(t *testing.T) {
	path := write(t, map[string]string{
		"main.toml": terms + domain + "[dns.cf]\nprovider = \"cloudflare\"\napi_token_file = \"token\"\nzone_token = \"here\"\n",
		"token":     "t",
	})
	for _, f := range []string{path, filepath.Join(filepath.Dir(path), "token")} {
		if err := os.Chmod(f, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	cfg, err := config.Load(path, options(nil))
	if err != nil {
		t.Fatal(err)
	}
	got := strings.ReplaceAll(config.Errors(cfg.Warnings).Error(), filepath.Dir(path)+"/", "")
	want := "main.toml:8: api_token_file in [dns.cf]: every user of this machine can read token; chmod 600 token\n" +
		"main.toml:9: zone_token in [dns.cf] stands here, and every user of this machine can read main.toml; " +
		"chmod 600 main.toml, or move the secret to a file of its own with zone_token_file"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}
