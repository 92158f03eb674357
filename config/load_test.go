package config_test

import (
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/stshost/stshost/config"
	"github.com/stshost/stshost/mtasts"
)

// providers stands in for the registry of DNS providers.
func providers() map[string][]config.Setting {
	return map[string][]config.Setting{
		"cloudflare": {
			{Key: "api_token", Required: true, Secret: true, Doc: "token with Zone:Read and DNS:Edit"},
			{Key: "zone_token", Secret: true},
		},
		"rfc2136": {
			{Key: "server", Required: true},
			{Key: "key_name", Required: true},
			{Key: "key_alg", Doc: "algorithm; hmac-sha256 if left out"},
			{Key: "key", Required: true, Secret: true},
		},
		"powerdns": {
			{Key: "url", Required: true},
			{Key: "server_id"},
			{Key: "api_key", Required: true, Secret: true},
		},
		"print": nil,
	}
}

func options(env map[string]string) config.Options {
	return config.Options{
		Refused:   map[string]string{"gandi": "it appends; use a CNAME"},
		Providers: providers(),
		Getenv:    func(name string) string { return env[name] },
	}
}

// write puts files into a new directory and returns the path of main.toml.
func write(t testing.TB, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, "main.toml")
}

// load reads main, which must be right.
func load(t testing.TB, files map[string]string, env map[string]string) *config.Config {
	t.Helper()
	cfg, err := config.Load(write(t, files), options(env))
	if err != nil {
		t.Fatalf("Load:\n%v", err)
	}
	return cfg
}

// faults reads main and returns its errors, one a line, with bare file names.
func faults(t testing.TB, files map[string]string, env map[string]string) []string {
	t.Helper()
	path := write(t, files)
	cfg, err := config.Load(path, options(env))
	if err == nil {
		return nil
	}
	if cfg != nil {
		t.Error("Load returned a config together with an error")
	}
	if _, ok := err.(config.Errors); !ok {
		t.Fatalf("Load returned a %T", err)
	}
	text := strings.ReplaceAll(err.Error(), filepath.Dir(path)+"/", "")
	return strings.Split(text, "\n")
}

const terms = "[acme]\naccept_terms = true\n"

func TestDefaults(t *testing.T) {
	path := write(t, map[string]string{"main.toml": terms + `
[[domain]]
name = "Example.COM."
mx = ["MX1.example.com"]
`})
	got, err := config.Load(path, options(nil))
	if err != nil {
		t.Fatal(err)
	}
	want := &config.Config{
		File:   path,
		Files:  []string{path},
		Listen: config.Listen{HTTPS: ":443", HTTP: ":80", Admin: "unix:/run/stshost/admin.sock", MaxConnections: 4096},
		Store:  config.Store{Path: "/var/lib/stshost/stshost.db", KeepEvents: 90 * 24 * time.Hour},
		ACME: config.ACME{
			CA:          config.CA{Directory: "https://acme-v02.api.letsencrypt.org/directory", OrdersPer3Hours: 300},
			AcceptTerms: true, Workers: 4,
		},
		DNS:     map[string]config.DNSAccount{"print": {Name: "print", Provider: "print", Settings: map[string]string{}}},
		Net:     config.Net{DNSPort: 53, HTTPSPort: 443, HTTPPort: 80, SMTPPort: 25},
		Watch:   config.Watch{Interval: time.Hour, MXInterval: 6 * time.Hour, Workers: 8},
		Records: config.Records{TTL: 300 * time.Second},
		Domains: []config.Domain{{
			Name: "example.com", Account: "print", MX: []string{"mx1.example.com"},
			MaxAge: 7 * 24 * time.Hour, At: config.Pos{File: path, Line: 4},
			Rollout: config.Rollout{
				MaxAge: 28 * 24 * time.Hour, Ramp: []time.Duration{24 * time.Hour, 7 * 24 * time.Hour},
				Stay: []time.Duration{7 * 24 * time.Hour, 2 * 24 * time.Hour, 7 * 24 * time.Hour}, Reporters: 2,
			},
		}},
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
	if !got.Domains[0].Managed() {
		t.Error("a domain without mode is not managed")
	}
}

func TestEverySetting(t *testing.T) {
	path := write(t, map[string]string{
		"ca.pem": testCA,
		"main.toml": `
[listen]
https = "192.0.2.1:8443"
http = ""
admin = "unix:run/admin.sock"
max_connections = 10
proxied = "127.0.0.1:8460"
trusted_proxies = ["127.0.0.1", "192.0.2.7/24"]
proxy_protocol = ["2001:db8::/32"]
[store]
url = "sqlite:state/db"
keep_events = "30d"
[acme]
directory = "http://127.0.0.1:14000/dir"
email = "hostmaster@example.com"
accept_terms = true
roots_file = "ca.pem"
workers = 2
orders_per_3h = 20
profile = "shortlived"
eab_kid = "kid-1"
eab_hmac = "c2VjcmV0Pz4="
extra_hosts = ["STS.example.net"]
[acme.fallback]
directory = "https://acme.example/dir"
accept_terms = true
[notify.ops]
url = "generic+https://${HOOK}"
min = "info"
quiet_hours = "22:00-06:30"
timezone = "Europe/Berlin"
repeat = "12h"
[[certificate]]
cert_file = "wild.pem"
key_file = "/etc/wild.key"
[dns.knot]
provider = "rfc2136"
server = "127.0.0.1:53"
key_name = "k"
key = "c2VjcmV0"
[net]
resolver = ["127.0.0.1:5353", "192.0.2.2", "2001:db8::1", "[2001:db8::2]:54", "resolver.example"]
dns_port = 5301
https_port = 8443
http_port = 8080
smtp_port = 2525
roots_file = "ca.pem"
trust_ad = true
smtp_control = ["MX1.example.net", "mx2.example.net"]
[prove]
via = "127.0.0.1:8443"
[watch]
interval = "90s"
mx_interval = "12h"
workers = 3
[records]
addresses = ["192.0.2.1", "2001:db8::1"]
ttl = "5m"
[defaults]
dns = "knot"
max_age = 86400
[profile.office]
mx = ["mx.example.net"]
mode = "enforce"
max_age = "4w"
[[domain]]
name = "a.example"
zone = "a.example"
mx = ["mx1.a.example", "mx2.a.example"]
mode = "testing"
[[domain]]
name = "b.example"
profile = "office"
dns = "print"
[[domain]]
name = "c.example"
mode = "none"
[[domain]]
name = "d.example"
mx = ["mx1.d.example"]
ramp = ["2h", 86400]
stay = ["10d", 0, "1d"]
reporters = 0
mx_migration = "auto"
`})
	got, err := config.Load(path, options(map[string]string{"HOOK": "hooks.example/x"}))
	if err != nil {
		t.Fatal(err)
	}
	berlin, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Dir(path)
	ca := filepath.Join(dir, "ca.pem")
	at := func(line int) config.Pos { return config.Pos{File: path, Line: line} }
	const day = 24 * time.Hour
	atOnce := config.Rollout{MaxAge: day, Stay: []time.Duration{7 * day}, Reporters: 2}
	want := &config.Config{
		File:  path,
		Files: []string{path},
		Listen: config.Listen{
			HTTPS: "192.0.2.1:8443", Admin: "unix:" + filepath.Join(dir, "run/admin.sock"), MaxConnections: 10,
			Proxied:        "127.0.0.1:8460",
			TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32"), netip.MustParsePrefix("192.0.2.0/24")},
			ProxyProtocol:  []netip.Prefix{netip.MustParsePrefix("2001:db8::/32")},
		},
		Store: config.Store{Path: filepath.Join(dir, "state/db"), KeepEvents: 30 * day},
		ACME: config.ACME{
			CA: config.CA{
				Directory: "http://127.0.0.1:14000/dir", Email: "hostmaster@example.com", RootsFile: ca,
				Profile: "shortlived", EAB: &config.EAB{KID: "kid-1", Key: []byte("secret?>")}, OrdersPer3Hours: 20,
			},
			AcceptTerms: true, Workers: 2, ExtraHosts: []string{"sts.example.net"},
			Fallback: &config.CA{Directory: "https://acme.example/dir", OrdersPer3Hours: 300},
		},
		Notify: map[string]config.Notify{"ops": {
			Name: "ops", URL: "generic+https://hooks.example/x", Min: "info", QuietFrom: 22 * time.Hour, QuietTo: 6*time.Hour + 30*time.Minute,
			Location: berlin, Repeat: 12 * time.Hour, At: at(27),
		}},
		Certificates: []config.Certificate{{CertFile: filepath.Join(dir, "wild.pem"), KeyFile: "/etc/wild.key", At: at(33)}},
		DNS: map[string]config.DNSAccount{
			"print": {Name: "print", Provider: "print", Settings: map[string]string{}},
			"knot": {
				Name: "knot", Provider: "rfc2136", At: at(36),
				Settings: map[string]string{"server": "127.0.0.1:53", "key_name": "k", "key": "c2VjcmV0"},
			},
		},
		Net: config.Net{
			Resolver:  []string{"127.0.0.1:5353", "192.0.2.2:53", "[2001:db8::1]:53", "[2001:db8::2]:54", "resolver.example:53"},
			RootsFile: ca, DNSPort: 5301, HTTPSPort: 8443, HTTPPort: 8080, SMTPPort: 2525,
			TrustAD: true, SMTPControl: []string{"mx1.example.net", "mx2.example.net"},
		},
		Prove: config.Prove{Via: "127.0.0.1:8443"},
		Watch: config.Watch{Interval: 90 * time.Second, MXInterval: 12 * time.Hour, Workers: 3},
		Records: config.Records{
			Addresses: []netip.Addr{netip.MustParseAddr("192.0.2.1"), netip.MustParseAddr("2001:db8::1")},
			TTL:       5 * time.Minute,
		},
		Domains: []config.Domain{
			{
				Name: "a.example", Account: "knot", Zone: "a.example.", MX: []string{"mx1.a.example", "mx2.a.example"},
				MaxAge: day, Mode: mtasts.ModeTesting, At: at(66), ModeAt: at(70),
				Rollout: atOnce,
			},
			{
				Name: "b.example", Account: "print", MX: []string{"mx.example.net"}, MaxAge: 28 * day,
				Mode: mtasts.ModeEnforce, Profile: "office", At: at(71), ModeAt: at(64),
				Rollout: config.Rollout{MaxAge: 28 * day, Ramp: []time.Duration{day, 7 * day}, Stay: []time.Duration{7 * day, 2 * day, 7 * day}, Reporters: 2},
			},
			{Name: "c.example", Account: "knot", MaxAge: day, Mode: mtasts.ModeNone, At: at(75), ModeAt: at(77), Rollout: atOnce},
			{
				Name: "d.example", Account: "knot", MX: []string{"mx1.d.example"}, MaxAge: day, At: at(78),
				Rollout: config.Rollout{MaxAge: day, Ramp: []time.Duration{2 * time.Hour}, Stay: []time.Duration{10 * day, 0}, Migrate: true},
			},
		},
	}
	if d := cmp.Diff(want, got, cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{}),
		cmp.Comparer(func(a, b *time.Location) bool { return a.String() == b.String() })); d != "" {
		t.Error(d)
	}
}

// Whoever lists everybody as a proxy believes everybody.
func TestEverybodyIsAProxy(t *testing.T) {
	cfg := load(t, map[string]string{"main.toml": "[listen]\nproxied = \":8460\"\ntrusted_proxies = [\"0.0.0.0/0\"]\nproxy_protocol = [\"::/0\"]\n" + terms + domain}, nil)
	got := config.Errors(cfg.Warnings).Error()
	for _, want := range []string{"trusted_proxies in [listen] has 0.0.0.0/0, which is everybody", "proxy_protocol in [listen] has ::/0, which is everybody"} {
		if !strings.Contains(got, want) {
			t.Errorf("warnings:\n%s\nwant %q", got, want)
		}
	}
}

// What is told of a notification's URL never shows it.
func TestNotifyCheck(t *testing.T) {
	opts := options(nil)
	opts.CheckNotify = func(string) error { return errors.New("url has no known service; write generic+https://") }
	_, err := config.Load(write(t, map[string]string{"main.toml": terms + domain + "[notify.ops]\nurl = \"smpt://u:hush@h\"\n"}), opts)
	if err == nil || !strings.HasSuffix(err.Error(), "main.toml:6: in [notify.ops] url has no known service; write generic+https://") || strings.Contains(err.Error(), "hush") {
		t.Error(err)
	}
}

func TestPrecedence(t *testing.T) {
	const accounts = "[dns.one]\nprovider = \"print\"\n"
	const two = accounts + "[dns.two]\nprovider = \"print\"\n"
	tests := []struct {
		name, text   string
		account, mx  string
		maxAge       time.Duration
		mode         mtasts.Mode
		warns        string // "" is no warning
		profile      string
		modePosition string
	}{
		{
			name:    "the only account",
			text:    accounts + "[[domain]]\nname = \"a.example\"\nmx = [\"m.example\"]\n",
			account: "one", mx: "m.example", maxAge: 168 * time.Hour,
		},
		{
			name:    "two accounts, none chosen",
			text:    two + "[[domain]]\nname = \"a.example\"\nmx = [\"m.example\"]\n",
			account: "print", mx: "m.example", maxAge: 168 * time.Hour, warns: "several DNS accounts",
		},
		{
			name:    "defaults",
			text:    two + "[defaults]\ndns = \"two\"\nmx = [\"d.example\"]\nmax_age = \"2d\"\n[[domain]]\nname = \"a.example\"\n",
			account: "two", mx: "d.example", maxAge: 48 * time.Hour,
		},
		{
			name: "default profile over defaults",
			text: two + "[defaults]\ndns = \"two\"\nmx = [\"d.example\"]\nmax_age = \"2d\"\nprofile = \"p\"\n" +
				"[profile.p]\ndns = \"one\"\nmx = [\"p.example\"]\nmax_age = \"3d\"\nmode = \"testing\"\n[[domain]]\nname = \"a.example\"\n",
			account: "one", mx: "p.example", maxAge: 72 * time.Hour, mode: "testing", profile: "p", modePosition: "main.toml:16",
		},
		{
			name: "domain over profile",
			text: two + "[profile.p]\ndns = \"one\"\nmx = [\"p.example\"]\nmax_age = \"3d\"\nmode = \"testing\"\n" +
				"[[domain]]\nname = \"a.example\"\nprofile = \"p\"\ndns = \"two\"\nmx = [\"m.example\"]\nmax_age = \"4d\"\nmode = \"enforce\"\n",
			account: "two", mx: "m.example", maxAge: 96 * time.Hour, mode: "enforce", profile: "p", modePosition: "main.toml:18",
		},
		{
			name:    "no profile by choice",
			text:    "[defaults]\nprofile = \"p\"\n[profile.p]\nmax_age = \"3d\"\n[[domain]]\nname = \"a.example\"\nprofile = \"\"\nmx = [\"m.example\"]\n",
			account: "print", mx: "m.example", maxAge: 168 * time.Hour,
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			cfg := load(t, map[string]string{"main.toml": terms + tt.text}, nil)
			d := cfg.Domains[0]
			if d.Account != tt.account || d.MX[0] != tt.mx || d.MaxAge != tt.maxAge || d.Mode != tt.mode || d.Profile != tt.profile {
				t.Errorf("got %+v", d)
			}
			if tt.modePosition != "" && filepath.Base(d.ModeAt.String()) != tt.modePosition {
				t.Errorf("mode is pinned at %s, want %s", d.ModeAt, tt.modePosition)
			}
			checkWarnings(t, cfg, tt.warns)
		})
	}
}

// MX hosts are not looked at where the config says 0, in whatever unit.
func TestMXWatchSwitchedOff(t *testing.T) {
	for _, off := range []string{"0", `"0s"`, `"0h"`} {
		cfg := load(t, map[string]string{"main.toml": "[watch]\nmx_interval = " + off + "\n" + terms + domain}, nil)
		if cfg.Watch.MXInterval != 0 {
			t.Errorf("mx_interval = %s is %s", off, cfg.Watch.MXInterval)
		}
	}
}
