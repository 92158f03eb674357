package mtasts_test

import (
	"strings"
	"testing"

	"github.com/stshost/stshost/mtasts"
)

func TestParseDomain(t *testing.T) {
	name253 := strings.Repeat("abc.", 63) + "d"
	tests := []struct {
		in   string
		want string // "" where an error is wanted
		err  string // part of it
	}{
		{"example.com", "example.com", ""},
		{"Example.COM", "example.com", ""},
		{"example.com.", "example.com", ""},
		{"bücher.example", "xn--bcher-kva.example", ""},
		{"BÜCHER.example", "xn--bcher-kva.example", ""},
		{"XN--BCHER-KVA.example", "xn--bcher-kva.example", ""},
		{"straße.example", "xn--strae-oqa.example", ""}, // not "strasse": IDNA2008
		{"例え.テスト", "xn--r8jz45g.xn--zckzah", ""},
		{"例え。テスト", "xn--r8jz45g.xn--zckzah", ""}, // the dot of Japanese keyboards
		{"ab--cd.example", "ab--cd.example", ""},
		{"7.example", "7.example", ""},
		{"localhost", "localhost", ""},
		{name253, name253, ""},

		{"", "", "name is empty"},
		{".", "", "name is empty"},
		{"example.com..", "", "dot at the end"},
		{"example..com", "", "label is empty"},
		{name253 + "e", "", "254 characters"},
		{strings.Repeat("a", 64) + ".com", "", "63 characters"},
		{"192.0.2.1", "", "IP address"},
		{"１９２.０.２.１", "", "IP address"}, // full-width digits
		{"2001:db8::1", "", "IP address"},
		{"[2001:db8::1]", "", "IP address"},
		{"example.1", "", "is a number"},
		{"*.example.com", "", `"*" may only be`},
		{"_mta-sts.example.com", "", "write the domain alone, example.com"},
		{"_MTA-STS.bücher.example.", "", "write the domain alone, xn--bcher-kva.example"},
		{"_mta-sts.", "", "'_'"},
		{"_dmarc.example.com", "", "'_'"},
		{"-a.example", "", "hyphen"},
		{"a-.example", "", "hyphen"},
		{"exa mple.com", "", "' '"},
		{"user@example.com", "", "it is a mail address; write its domain alone, example.com"},
		{"Ü@bücher.example", "", "it is a mail address; write its domain alone, xn--bcher-kva.example"},
		{"user@exa mple", "", "'@'"},
		{"https://example.com", "", "it is a URL; write its domain alone, example.com"},
		{"http://user@bücher.example:8443/a?b#c", "", "it is a URL; write its domain alone, xn--bcher-kva.example"},
		{"https://mta-sts.example.com/.well-known/mta-sts.txt", "", "it is a URL; write its domain alone, example.com"},
		{"https://mta-sts.com/", "", "it is a URL; write its domain alone, mta-sts.com"},
		{"https://192.0.2.1/", "", "':'"},
		{"example.com:25", "", "':'"},
		{"mailto:user@example.com", "", "it is a mail address; write its domain alone, example.com"},
		{"example.com\n", "", `'\n'`},
		{"xn--a.example", "", "idna"}, // not an A-label in spite of its prefix
		{"bü_cher.example", "", "idna"},
		{"\xff.example", "", "idna"},
	}
	for _, tt := range tests {
		got, err := mtasts.ParseDomain(tt.in)
		switch {
		case tt.err == "" && (err != nil || got != tt.want):
			t.Errorf("ParseDomain(%q) = %q, %v; want %q", tt.in, got, err, tt.want)
		case tt.err != "" && (err == nil || got != "" || !strings.Contains(err.Error(), tt.err)):
			t.Errorf("ParseDomain(%q) = %q, %v; want error …%s…", tt.in, got, err, tt.err)
		}
	}
}

func TestParsePattern(t *testing.T) {
	tests := []struct {
		in   string
		want string // "" where an error is wanted
		err  string // part of it
	}{
		{"mx.example.com", "mx.example.com", ""},
		{"MX.Example.com", "mx.example.com", ""},
		{"*.Example.com", "*.example.com", ""},
		{"*.bücher.example", "*.xn--bcher-kva.example", ""},
		{"mx.bücher.example", "mx.xn--bcher-kva.example", ""},

		{"", "", "name is empty"},
		{"*", "", `"*" may only be`},
		{"*.", "", "name is empty"},
		{"*.*.x", "", `"*" may only be`},
		{"a.*.b", "", `"*" may only be`},
		{"mx*.example.com", "", `"*" may only be`},
		{"＊.example.com", "", "idna"}, // full-width asterisk
		{"mx.example.com.", "", "dot at the end"},
		{"mx.bücher.example。", "", "dot at the end"},
		{"192.0.2.1", "", "IP address"},
		{"[192.0.2.1]", "", "IP address"},
		{"[IPv6:2001:db8::1]", "", "IP address"},
		{"*.192.0.2.1", "", "IP address"},
		{"mx.example.com:25", "", "':'"},
		{"mx_1.example.com", "", "'_'"},
	}
	for _, tt := range tests {
		got, err := mtasts.ParsePattern(tt.in)
		switch {
		case tt.err == "" && (err != nil || got != tt.want):
			t.Errorf("ParsePattern(%q) = %q, %v; want %q", tt.in, got, err, tt.want)
		case tt.err != "" && (err == nil || got != "" || !strings.Contains(err.Error(), tt.err)):
			t.Errorf("ParsePattern(%q) = %q, %v; want error …%s…", tt.in, got, err, tt.err)
		}
	}
}

func TestMatchMX(t *testing.T) {
	tests := []struct {
		pattern, host string
		want          bool
	}{
		{"mx.example.com", "mx.example.com", true},
		{"mx.example.com", "MX.Example.Com", true},
		{"MX.EXAMPLE.COM", "mx.example.com", true},
		{"mx.example.com", "mx.example.com.", true},
		{"mx.example.com", "mx.example.com..", false},
		{"mx.example.com", "mx2.example.com", false},
		{"mx.example.com", "a.mx.example.com", false},
		{"mx.example.com", "example.com", false},

		{"*.example.com", "a.example.com", true},
		{"*.example.com", "A.EXAMPLE.COM.", true},
		{"*.example.com", "example.com", false},
		{"*.example.com", ".example.com", false},
		{"*.example.com", "a.b.example.com", false},
		{"*.example.com", "aexample.com", false},
		{"*.example.com", "a.example.com.evil.example", false},
		{"*.example", "mx.example", true},
		{"*.example", "example", false},

		// Names of no host, and patterns of no policy, match nothing.
		{"", "", false},
		{"", ".", false},
		{"*", "a", false},
		{"*.", "a", false},
		{"*.", "a.", false},
		{"*.*.x", "a.b.x", false},
		{"a.*.b", "a.x.b", false},
		{"mx*.example.com", "mx1.example.com", false},

		// The Kelvin sign is not a k, though Unicode folds it to one.
		{"mx.k.example", "mx.\u212a.example", false},
	}
	for _, tt := range tests {
		if got := mtasts.MatchMX(tt.pattern, tt.host); got != tt.want {
			t.Errorf("MatchMX(%q, %q) = %v; want %v", tt.pattern, tt.host, got, tt.want)
		}
	}
}

func TestNames(t *testing.T) {
	if got, want := mtasts.PolicyHost("example.com"), "mta-sts.example.com"; got != want {
		t.Errorf("PolicyHost = %q; want %q", got, want)
	}
	for host, want := range map[string]string{"mta-sts.example.com": "example.com", "mta-sts.mta-sts.example.com": "mta-sts.example.com", "example.com": "", "mta-stsx.example.com": "", "_mta-sts.example.com": ""} {
		if got, ok := mtasts.PolicyDomain(host); ok != (want != "") || ok && got != want || !ok && got != host {
			t.Errorf("PolicyDomain(%q) = %q, %t; want %q", host, got, ok, want)
		}
	}
	if got, want := mtasts.RecordName("example.com"), "_mta-sts.example.com"; got != want {
		t.Errorf("RecordName = %q; want %q", got, want)
	}
	if got, want := mtasts.PolicyURL("example.com"), "https://mta-sts.example.com/.well-known/mta-sts.txt"; got != want {
		t.Errorf("PolicyURL = %q; want %q", got, want)
	}
}
