package config_test

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stshost/stshost/config"
)

// domain is a [[domain]] that is right.
const domain = "[[domain]]\nname = \"example.com\"\nmx = [\"mx1.example.com\"]\n"

// Each fault is found alone, on its line, with what to write. The text stands
// behind `terms` and `domain`, so it begins on line 6.
func TestFaults(t *testing.T) {
	tests := []struct {
		name, text string
		want       []string // beginnings of lines, or with "…" parts that must follow
	}{
		// Sections and keys.
		{"unknown section", "[lisen]", []string{"6: unknown key lisen at the top of the file; did you mean listen?"}},
		{"unknown key", "[listen]\nhtps = \":443\"", []string{"7: unknown key htps in [listen]; did you mean https?"}},
		{"unknown key, nothing near", "[prove]\nzzzz = 1", []string{"7: unknown key zzzz in [prove]; known are via"}},
		{"key of another section", "[net]\naccept_terms = true", []string{"7: unknown key accept_terms in [net]; it belongs in [acme]"}},
		{"include below a section", "[net]\ninclude = []", []string{"7: unknown key include in [net]; it belongs in the head of the main file"}},
		{"odd key", "[net]\n\"a b\" = 1", []string{`7: unknown key "a b" in [net]`}},
		{"section as value", "[[domain]]\nname = \"b.example\"\nmx = [\"m.example\"]\n[net]\n[[prove]]", []string{"10: [prove] may stand only once"}},
		{"profile as value", "[profile]\noffice = 1", []string{"7: office in [profile] is an integer"}},
		{"bad profile name", "[profile.\"a b\"]", []string{`6: "a b" is no name for a profile`}},
		{"unknown key in profile", "[profile.a]\nname = \"x\"", []string{"7: unknown key name in [profile.a]"}},
		{"mode in defaults", "[defaults]\nmode = \"testing\"", []string{"7: unknown key mode in [defaults]; it belongs in [[domain]] or [profile.NAME]"}},

		// Types.
		{"integer for string", "[listen]\nhttps = 443", []string{`7: https in [listen] must be a string, not an integer; write https = ":443"`}},
		{"string for integer", "[watch]\nworkers = \"8\"", []string{"7: workers in [watch] must be an integer, not a string; write workers = 8"}},
		{"float for integer", "[watch]\nworkers = 8.0", []string{"7: workers in [watch] must be an integer, not a number with a fraction"}},
		{"date for duration", "[watch]\ninterval = 2026-01-01", []string{`7: interval in [watch] must be a duration, not a date or time; write interval = "1h"`}},
		{"table for string", "[net]\nroots_file = {}", []string{"7: roots_file in [net] must be a string, not a table"}},
		{"string for list", "[records]\naddresses = \"192.0.2.1\"", []string{"7: addresses in [records] must be a list of strings, not a string"}},
		{"element of a list", "[records]\naddresses = [\n\"192.0.2.1\",\n5,\n]", []string{"9: addresses in [records] must be a list of strings, not an integer"}},
		{"list for resolver", "[net]\nresolver = [true]", []string{"7: resolver in [net] must be a list of strings, not true or false"}},

		// Ranges.
		{"below range", "[watch]\nworkers = 0", []string{"7: workers in [watch] is 0; write a number from 1 to 1000"}},
		{"above range", "[net]\ndns_port = 65536", []string{"7: dns_port in [net] is 65536; write a number from 1 to 65535"}},
		{"interval too short", "[watch]\ninterval = 0", []string{`7: interval in [watch] is shorter than 1; write a duration from 1 to "1w"`}},
		{"interval too long", "[watch]\ninterval = \"9999999999999w\"", []string{`7: interval in [watch] is longer than "1w"`}},
		{"MX interval too short", "[watch]\nmx_interval = 599", []string{`7: mx_interval in [watch] is shorter than "10m"; write a duration from "10m" to "4w", or 0`}},
		{"MX interval negative", "[watch]\nmx_interval = -1", []string{"7: mx_interval in [watch] is negative"}},
		{"MX interval too long", "[watch]\nmx_interval = \"5w\"", []string{`7: mx_interval in [watch] is longer than "4w"`}},
		{"duration without unit", "[watch]\ninterval = \"3600\"", []string{`7: interval in [watch]: "3600" is no duration; write interval = "1h"`}},
		{"duration with two units", "[watch]\ninterval = \"1h30m\"", []string{`7: interval in [watch]: "1h30m" is no duration`}},
		{"duration with a sign", "[watch]\ninterval = \"+1h\"", []string{`7: interval in [watch]: "+1h" is no duration`}},
		{"empty duration", "[watch]\ninterval = \"\"", []string{`7: interval in [watch]: "" is no duration`}},

		// Values of the sections.
		{"https without port", "[listen]\nhttps = \"192.0.2.1\"", []string{`7: https in [listen] is "192.0.2.1": it is not host:port`}},
		{"https off", "[listen]\nhttps = \"\"", []string{`7: https in [listen] is off, and so is proxied: nobody could fetch a policy; write https = ":443", or name in proxied`}},
		{"same port at one address", "[listen]\nadmin = \"127.0.0.1:443\"", []string{"7: admin in [listen] is an address that is already taken above"}},
		{"https by name", "[listen]\nhttps = \"www.example.com:443\"", []string{`7: https in [listen] is "www.example.com:443": its host is not an address`}},
		{"https port", "[listen]\nhttps = \":https\"", []string{`7: https in [listen] is ":https": its port is not a number`}},
		{"same ports", "[listen]\nhttp = \":443\"", []string{"7: http and https in [listen] are both"}},
		{"open admin", "[listen]\nadmin = \":8461\"", []string{`7: admin in [listen] is ":8461": whoever reaches`}},
		{"open admin address", "[listen]\nadmin = \"192.0.2.1:8461\"", []string{`7: admin in [listen] is "192.0.2.1:8461": whoever reaches`}},
		{"admin nowhere", "[listen]\nadmin = \"unix:\"", []string{"7: admin in [listen] names no path"}},
		{"admin path too long", "[listen]\nadmin = \"unix:/" + strings.Repeat("x", 107) + "\"", []string{"7: admin in [listen]: the path has 108 bytes"}},
		{"postgres", "[store]\nurl = \"postgres://u:hush@h/d\"", []string{"7: url in [store] names PostgreSQL"}},
		{"store without scheme", "[store]\nurl = \"/var/lib/x\"", []string{`7: url in [store] does not begin with "sqlite:"`}},
		{"store with host", "[store]\nurl = \"sqlite://x/y\"", []string{"7: url in [store] has a host"}},
		{"store without path", "[store]\nurl = \"sqlite:\"", []string{"7: url in [store] names no file"}},
		{"store with parameters", "[store]\nurl = \"sqlite:/x?mode=ro\"", []string{"7: the path of url in [store]"}},
		{"roots file missing", "[net]\nroots_file = \"none.pem\"", []string{"7: roots_file in [net]: none.pem cannot be read: no such file or directory"}},
		{"roots file empty", "[net]\nroots_file = \"main.toml\"", []string{"7: roots_file in [net]: main.toml holds no PEM certificate"}},
		{"resolver", "[net]\nresolver = \"127.0.0.1:0\"", []string{`7: resolver in [net] is "127.0.0.1:0": its port`}},
		{"control host", "[net]\nsmtp_control = [\n\"mx1.example\",\n\"192.0.2.1\",\n]", []string{`9: smtp_control in [net] has "192.0.2.1": it is an IP address; write the names of MX hosts`}},
		{"control hosts", "[net]\nsmtp_control = \"mx1.example\"", []string{"7: smtp_control in [net] must be a list of strings, not a string"}},
		{"trust", "[net]\ntrust_ad = \"yes\"", []string{"7: trust_ad in [net] must be true or false, not a string"}},
		{"via without port", "[prove]\nvia = \"192.0.2.1\"", []string{`7: via in [prove] is "192.0.2.1": it is not host:port`}},
		{"via bad host", "[prove]\nvia = \"a_b:443\"", []string{`7: via in [prove] is "a_b:443": its host`}},
		{"proxied off too", "[listen]\nhttps = \"\"\nproxied = \"\"", []string{"7: https and proxied in [listen] are both off"}},
		{"proxied address", "[listen]\nproxied = \"x\"", []string{`7: proxied in [listen] is "x": it is not host:port`}},
		{"proxied taken", "[listen]\nproxied = \":443\"", []string{"7: proxied in [listen] is an address that is already taken"}},
		{"trusted without proxied", "[listen]\ntrusted_proxies = [\"192.0.2.1\"]", []string{"7: trusted_proxies in [listen] stands without proxied"}},
		{"nobody trusted", "[listen]\nproxied = \":8460\"\ntrusted_proxies = []", []string{"8: trusted_proxies in [listen] names nobody"}},
		{"balancer", "[listen]\nproxy_protocol = [\"lb.example\"]", []string{`7: proxy_protocol in [listen] has "lb.example", which is neither an address nor a network; write addresses`}},
		{"balancer without https", "[listen]\nhttps = \"\"\nproxied = \":8460\"\nproxy_protocol = [\"192.0.2.1\"]",
			[]string{"9: proxy_protocol in [listen] is for https and http, and https is off"}},
		{"events", "[store]\nkeep_events = 5", []string{`7: keep_events in [store] is shorter than "1h"`}},
		{"certificate without key", "[[certificate]]\ncert_file = \"c.pem\"", []string{`6: [[certificate]] has no key_file; write key_file = "privkey.pem"`}},
		{"certificate of nothing", "[[certificate]]\ncert_file = \"\"\nkey_file = 1", []string{"7: cert_file in [[certificate]] is empty", "8: key_file in [[certificate]] must be a string"}},
		{"notify nobody", "[notify.ops]", []string{"6: [notify.ops] has no url; write url"}},
		{"notify flat", "[notify]\nurl = \"x\"", []string{"7: url in [notify] is a string, and [notify] holds only"}},
		{"notify min", "[notify.ops]\nurl = \"x\"\nmin = \"warnin\"", []string{`8: min in [notify.ops] is "warnin"; did you mean warning?`}},
		{"notify hours", "[notify.ops]\nurl = \"x\"\nquiet_hours = \"22-7\"", []string{`8: quiet_hours in [notify.ops] is "22-7"`}},
		{"notify zone", "[notify.ops]\nurl = \"x\"\ntimezone = \"Mars\"", []string{`8: timezone in [notify.ops] is "Mars", which is unknown`}},
		{"address", "[records]\naddresses = [\"0.0.0.0\"]", []string{`7: addresses in [records] has "0.0.0.0"`}},
		{"address and cname", "[records]\naddresses = [\"192.0.2.1\"]\ncname = \"x.example\"", []string{"8: [records] has both"}},
		{"cname", "[records]\ncname = \"-x.example\"", []string{`7: cname in [records] is "-x.example"`}},

		// DNS accounts.
		{"account without provider", "[dns.a]", []string{"6: [dns.a] has no provider; write provider = \"NAME\" with one of cloudflare, powerdns, print, rfc2136"}},
		{"unknown provider", "[dns.a]\nprovider = \"cloudfare\"", []string{`7: provider in [dns.a] is "cloudfare", which is unknown; did you mean cloudflare?`}},
		{"refused provider", "[dns.a]\nprovider = \"gandi\"\napi_token = \"x\"", []string{`7: provider in [dns.a] is "gandi", which is not offered: it appends; use a CNAME`}},
		{"setting without account", "[dns]\nprovider = \"print\"", []string{"7: provider in [dns] is a string, and [dns] holds only accounts; write a section such as [dns.main]"}},
		{"kept name", "[dns.print]\nprovider = \"rfc2136\"", []string{`6: the account name "print" is kept`}},
		{"bad account name", "[dns.\"\"]\nprovider = \"print\"", []string{`6: "" is no name for a DNS account`}},
		{"missing setting", "[dns.a]\nprovider = \"rfc2136\"\nserver = \"x:53\"\nkey_name = \"k\"", []string{`6: [dns.a] has no key, which provider rfc2136 needs; write key_file = "PATH"`}},
		{"unknown setting", "[dns.a]\nprovider = \"print\"\napi_token = \"x\"", []string{"8: unknown key api_token in [dns.a] with provider print"}},
		{"mistyped setting", "[dns.a]\nprovider = \"cloudflare\"\napi_tokn_file = \"x\"", []string{"8: unknown key api_tokn_file in [dns.a] with provider cloudflare; did you mean api_token_file?"}},
		{"account twice in another case", "[dns.a]\nprovider = \"print\"\n[dns.a]\nprovider = \"print\"", []string{"8: [dns.a] is set again; it is already set on line 6; write it once"}},

		// Domains.
		{"domain section with one bracket", "[profile.p]\nmx = [\"m.example\"]\n[[domain]]\nmx = [\"m.example\"]", []string{"8: [[domain]] has no name"}},
		{"bad domain", "[[domain]]\nname = \"exa mple.com\"\nmx = [\"m.example\"]", []string{`7: name in [[domain]] is "exa mple.com": `}},
		{"address as domain", "[[domain]]\nname = \"user@example.org\"\nmx = [\"m.example\"]", []string{`7: name in [[domain]] is "user@example.org": `}},
		{"IP as domain", "[[domain]]\nname = \"192.0.2.1\"\nmx = [\"m.example\"]", []string{`7: name in [[domain]] is "192.0.2.1": it is an IP address`}},
		{"domain too long", "[[domain]]\nname = \"" + strings.Repeat("a.", 123) + "com\"\nmx = [\"m.example\"]", []string{"7: name in [[domain]] is too long"}},
		{"same domain", "[[domain]]\nname = \"example.com\"\nmx = [\"m.example\"]", []string{"7: domain example.com is already defined at main.toml:4; remove one of the two"}},
		{"same domain, other spelling", "[[domain]]\nname = \"EXAMPLE.com.\"\nmx = [\"m.example\"]", []string{`7: domain "EXAMPLE.com." (example.com) is already defined at main.toml:4`}},
		{"same domain by IDNA", "[[domain]]\nname = \"Bücher.example\"\nmx = [\"m.example\"]\n[[domain]]\nname = \"xn--bcher-kva.example\"\nmx = [\"m.example\"]", []string{"10: domain xn--bcher-kva.example is already defined at main.toml:7"}},
		{"unknown account", "[dns.main]\nprovider = \"print\"\n[[domain]]\nname = \"b.example\"\nmx = [\"m.example\"]\ndns = \"mian\"", []string{`11: dns in [[domain]] is "mian", and there is no such account; did you mean main?`}},
		{"unknown account, none there", "[[domain]]\nname = \"b.example\"\nmx = [\"m.example\"]\ndns = \"main\"", []string{`9: dns in [[domain]] is "main", and there is no such account; add a section [dns.main], or write dns = "print"`}},
		{"unknown profile", "[profile.office]\nmx = [\"m.example\"]\n[[domain]]\nname = \"b.example\"\nprofile = \"ofice\"", []string{`10: profile in [[domain]] is "ofice", and there is no such profile; did you mean office?`}},
		{"unknown profile in defaults", "[defaults]\nprofile = \"x\"", []string{`7: profile in [defaults] is "x", and there is no such profile; add a section [profile.x]`}},
		{"max_age too long", "[[domain]]\nname = \"b.example\"\nmx = [\"m.example\"]\nmax_age = 31557601", []string{"9: max_age in [[domain]] is longer than 31557600 (RFC 8461 §3.2); write a duration from 0 to 31557600"}},
		{"max_age too long by unit", "[[domain]]\nname = \"b.example\"\nmx = [\"m.example\"]\nmax_age = \"53w\"", []string{"9: max_age in [[domain]] is longer than"}},
		{"max_age negative", "[[domain]]\nname = \"b.example\"\nmx = [\"m.example\"]\nmax_age = -1", []string{"9: max_age in [[domain]] is negative"}},
		{"max_age with fraction", "[[domain]]\nname = \"b.example\"\nmx = [\"m.example\"]\nmax_age = 7.5", []string{`9: max_age in [[domain]] must be a duration, not a number with a fraction; write max_age = "7d": an integer of seconds or a string`}},
		{"mode", "[[domain]]\nname = \"b.example\"\nmx = [\"m.example\"]\nmode = \"Enforced\"", []string{`9: mode in [[domain]] is "Enforced"; did you mean enforce?`}},
		{"mode, nothing near", "[[domain]]\nname = \"b.example\"\nmx = [\"m.example\"]\nmode = \"on\"", []string{`9: mode in [[domain]] is "on"; write "testing", "enforce" or "none"`}},
		{"mode type", "[[domain]]\nname = \"b.example\"\nmode = true", []string{"8: mode in [[domain]] must be a string, not true or false"}},
		{"managed without mx", "[[domain]]\nname = \"b.example\"", []string{`6: b.example has no mx, and a managed domain's mode needs one (RFC 8461 §3.2); write the names of its MX hosts`}},
		{"enforce without mx", "[[domain]]\nname = \"b.example\"\nmode = \"enforce\"\nmx = []", []string{"9: b.example has an empty list of mx, and mode enforce needs one"}},
		{"mx is an IP", "[[domain]]\nname = \"b.example\"\nmx = [\"m.example\", \"192.0.2.1\"]", []string{`8: mx in [[domain]] has "192.0.2.1": it is an IP address; write the name of the host`}},
		{"mx is an IP literal", "[[domain]]\nname = \"b.example\"\nmx = [\"[IPv6:2001:db8::1]\"]", []string{`8: mx in [[domain]] has "[IPv6:2001:db8::1]": it is an IP address`}},
		{"mx ends in a dot", "[[domain]]\nname = \"b.example\"\nmx = [\n  \"m1.example\",\n  \"m2.example.\",\n]", []string{`10: mx in [[domain]] has "m2.example.": it ends in a dot; write it without: "m2.example"`}},
		{"mx wildcard inside", "[[domain]]\nname = \"b.example\"\nmx = [\"a.*.example\", \"*\"]", []string{`8: mx in [[domain]] has "*"`, `8: mx in [[domain]] has "a.*.example"`}},
		{"mx too many", "[[domain]]\nname = \"b.example\"\nmx = [" + manyMX(3000) + "]", []string{"6: b.example: its policy cannot be served: "}},
		{"fault in a profile, once", "[profile.p]\nmx = [\"m.example.\"]\n[[domain]]\nname = \"b.example\"\nprofile = \"p\"\n[[domain]]\nname = \"c.example\"\nprofile = \"p\"", []string{"7: mx in [profile.p] has"}},
		{"zone elsewhere", "[[domain]]\nname = \"b.example\"\nmx = [\"m.example\"]\nzone = \"a.example\"", []string{`9: zone "a.example." does not hold _mta-sts.b.example`}},
		{"zone is no name", "[[domain]]\nname = \"b.example\"\nmx = [\"m.example\"]\nzone = \"a..example\"", []string{`9: zone in [[domain]] is "a..example": `}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := faults(t, map[string]string{"main.toml": terms + domain + tt.text + "\n"}, nil)
			if len(got) != len(tt.want) {
				t.Fatalf("got\n%s\nwant\n%s", strings.Join(got, "\n"), strings.Join(tt.want, "\n"))
			}
			for i, want := range tt.want {
				if !strings.HasPrefix(got[i], "main.toml:"+want) {
					t.Errorf("got  %s\nwant main.toml:%s", got[i], want)
				}
				if !strings.Contains(got[i], "; ") || strings.HasSuffix(got[i], "; ") {
					t.Errorf("%s\ndoes not say what to write", got[i])
				}
			}
		})
	}
}

func manyMX(n int) string {
	list := make([]string, n)
	for i := range list {
		list[i] = `"mx` + strings.Repeat("x", 20) + string(rune('a'+i%26)) + string(rune('a'+i/26%26)) + string(rune('a'+i/676%26)) + `.example"`
	}
	return strings.Join(list, ", ")
}

func TestACMEFaults(t *testing.T) {
	tests := []struct{ name, text, want string }{
		{"no section", "", "1: [acme] is missing: no CA issues certificates before its terms are accepted; add a section [acme]"},
		{"no acceptance", "[acme]\n", "1: accept_terms is missing in [acme]"},
		{"refused", "[acme]\naccept_terms = false\n", "2: accept_terms in [acme] is false"},
		{"not a boolean", "[acme]\naccept_terms = \"yes\"\n", "2: accept_terms in [acme] must be true or false, not a string"},
		{"unknown CA", terms + "directory = \"letsencrpyt\"\n", `3: directory in [acme] is neither the name of a CA nor a URL; did you mean "letsencrypt"?`},
		{"plain http", terms + "directory = \"http://ca.example/dir\"\n", "3: directory in [acme] is a plain http:// URL"},
		{"other scheme", terms + "directory = \"ftp://ca.example/dir\"\n", "3: directory in [acme] is not an https:// URL"},
		{"password", terms + "directory = \"https://u:hush@ca.example/dir\"\n", "3: directory in [acme] has a user or password"},
		{"email", terms + "email = \"Host Master <h@example.com>\"\n", "3: email in [acme] is"},
		{"mistyped setting", terms + "eab_key_id = \"x\"\n", "3: unknown key eab_key_id in [acme]"},
		{"EAB without key", terms + "eab_kid = \"x\"\n", "3: [acme] has eab_kid without eab_hmac; write eab_kid"},
		{"EAB without kid", terms + "eab_hmac = \"c2VjcmV0\"\n", "1: [acme] has eab_hmac without eab_kid"},
		{"EAB key", terms + "eab_kid = \"x\"\neab_hmac = \"hush!\"\n", "4: eab_kid and eab_hmac in [acme] are not as a CA gives them"},
		{"EAB wanted", terms + "directory = \"zerossl\"\n", "1: [acme]: this CA takes only accounts that are bound"},
		{"fallback terms", terms + "[acme.fallback]\ndirectory = \"https://ca.example/dir\"\n", "3: accept_terms is missing in [acme.fallback]"},
		{"fallback nowhere", terms + "[acme.fallback]\naccept_terms = true\n", "3: [acme.fallback] has no directory"},
		{"fallback to itself", terms + "[acme.fallback]\naccept_terms = true\ndirectory = \"letsencrypt\"\n", "5: directory in [acme.fallback] is that of [acme]"},
		{"fallback for tries", terms + "[acme.fallback]\naccept_terms = true\ndirectory = \"letsencrypt-staging\"\n", "5: directory in [acme.fallback] is a CA for tries"},
		{"fallback to nonsense", terms + "[acme.fallback]\naccept_terms = true\ndirectory = \"ftp://ca.example/dir\"\n", "5: directory in [acme.fallback] is not an https:// URL"},
		{"fallback of a fallback", terms + "[acme.fallback]\naccept_terms = true\ndirectory = \"https://ca.example/dir\"\nworkers = 1\n", "6: unknown key workers in [acme.fallback]; it belongs in"},
		{"extra host", terms + "extra_hosts = [\"192.0.2.1\"]\n", `3: extra_hosts in [acme] has "192.0.2.1": it is an IP address`},
		{"extra host by wildcard", terms + "extra_hosts = [\"*.example.com\"]\n", `3: extra_hosts in [acme] has "*.example.com": a CA gives out wildcards only by way of DNS`},
		{"extra host of one label", terms + "extra_hosts = [\"localhost\"]\n", `3: extra_hosts in [acme] has "localhost", a name of one label`},
		{"policy host as extra", terms + "extra_hosts = [\"mta-sts.example.com\"]\n", `3: extra_hosts in [acme] has "mta-sts.example.com", which is a policy host`},
		{"workers", terms + "workers = 1000\n", "3: workers in [acme] is 1000"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			got := faults(t, map[string]string{"main.toml": tt.text}, nil)
			if len(got) != 1 || !strings.HasPrefix(got[0], "main.toml:"+tt.want) {
				t.Errorf("got\n%s\nwant main.toml:%s", strings.Join(got, "\n"), tt.want)
			}
		})
	}
}

func TestDirectoryNames(t *testing.T) {
	for name, want := range map[string]string{
		"letsencrypt":                "https://acme-v02.api.letsencrypt.org/directory",
		"letsencrypt-staging":        "https://acme-staging-v02.api.letsencrypt.org/directory",
		"https://ca.example/dir":     "https://ca.example/dir",
		"http://localhost:14000/dir": "http://localhost:14000/dir",
		"http://[::1]:14000/dir":     "http://[::1]:14000/dir",
	} {
		cfg := load(t, map[string]string{"main.toml": terms + "directory = \"" + name + "\"\n" + domain}, nil)
		if cfg.ACME.Directory != want {
			t.Errorf("%s gives %s, want %s", name, cfg.ACME.Directory, want)
		}
	}
}

// Faults of several files come at once, sorted by file and line.
func TestAllFaultsAtOnce(t *testing.T) {
	got := faults(t, map[string]string{
		"main.toml": `include = ["d/*.toml", "gone.toml", "[x.toml"]
[acme]
accept_terms = true
workers = "many"
[watch]
workers = 0
workers = 7
[profile.office]
mx = ["mx.office.example"]
[[domain]]
name = "a.example"
mx = ["mx.a.example"]
`,
		"d/1.toml": `[[domain]]
name = "A.example"
profile = "office"
[acme]
email = "x@example.com"
[[domains]]
name = "x"
[profile.office]
mx = []
`,
		"d/2.toml": "[[domain]]\nname = \"b.example\n",
		"d/3.toml": "[[domain]]\nname = \"c.example\"\nprofile = \"perhaps-in-2\"\n",
	}, nil)
	want := []string{
		`d/1.toml:2: domain "A.example" (a.example) is already defined at main.toml:11; remove one of the two`,
		`d/1.toml:4: acme may stand in the main file only; an included file holds [[domain]], [profile.NAME] and [[certificate]]; move it to main.toml`,
		`d/1.toml:6: unknown key domains at the top of an included file; did you mean domain?`,
		`d/1.toml:8: profile office is already defined at main.toml:8; give one of the two another name`,
		`d/2.toml:2: a string is not closed on its line (column 18); end it with the quote that began it`,
		`main.toml:1: include has the pattern "[x.toml", which is not well-formed; close each [ with ], and escape with a backslash what is no pattern`,
		`main.toml:1: included file gone.toml cannot be read: no such file or directory; correct the path, or write a pattern such as "domains.d/*.toml", which may match nothing`,
		`main.toml:4: workers in [acme] must be an integer, not a string; write workers = 4`,
		`main.toml:6: workers in [watch] is 0; write a number from 1 to 1000`,
		`main.toml:7: workers is set again; it is already set on line 6; write it once`,
	}
	if d := cmp.Diff(want, got); d != "" {
		t.Error(d)
	}
}

func TestNoMainFile(t *testing.T) {
	path := filepath.Join(t.TempDir(), "none.toml")
	_, err := config.Load(path, options(nil))
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("got %v, want an error that is fs.ErrNotExist", err)
	}
	if err == nil || !strings.HasPrefix(err.Error(), path+": cannot be read: no such file or directory; ") {
		t.Errorf("got %v", err)
	}
	if _, err := config.Load(filepath.Dir(path), options(nil)); err == nil || !strings.Contains(err.Error(), "is a directory") {
		t.Errorf("a directory gives %v", err)
	}
	if _, err := config.Load(os.DevNull, options(nil)); err == nil || !strings.Contains(err.Error(), "not a regular file") {
		t.Errorf("a device gives %v", err)
	}
}
