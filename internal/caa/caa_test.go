package caa_test

import (
	"errors"
	"strings"
	"testing"

	"github.com/stshost/stshost/internal/caa"
)

const (
	letsEncrypt = "letsencrypt.org"
	account     = "https://acme.example/acct/1"
)

// issue makes a set at example.com of issue properties.
func issue(values ...string) caa.Set {
	s := caa.Set{Owner: "example.com"}
	for _, v := range values {
		s.Records = append(s.Records, caa.Record{Tag: "issue", Value: v})
	}
	return s
}

func TestPermits(t *testing.T) {
	for _, c := range []struct {
		name   string
		set    caa.Set
		reason caa.Reason // "" if it is permitted
	}{
		{"no record", caa.Set{}, ""},
		{"named", issue("letsencrypt.org"), ""},
		{"named in capitals and with a dot", issue("LetsEncrypt.ORG"), ""},
		{"blanks around it", issue(" \tletsencrypt.org "), ""},
		{"a tag in capitals", caa.Set{Records: []caa.Record{{Tag: "ISSUE", Value: "ca1.example.net"}}}, caa.OtherCA},
		{"another CA", issue("ca1.example.net"), caa.OtherCA},
		{"a name that ends the same", issue("notletsencrypt.org"), caa.OtherCA},
		{"any that permits is enough", issue("ca1.example.net", "letsencrypt.org"), ""},
		// RFC 8659 §4.2
		{"nobody", issue(";"), caa.OtherCA},
		{"nobody, empty", issue(""), caa.OtherCA},
		{"nobody, but one", issue(";", "letsencrypt.org"), ""},
		{"malformed is nobody", issue("%%%%%"), caa.OtherCA},
		{"malformed parameters are nobody", issue("letsencrypt.org; %%%%%"), caa.OtherCA},
		{"a parameter of a CA's own", issue("letsencrypt.org; account=230123"), ""},
		{"blanks around a parameter", issue("letsencrypt.org ; account = 230123 ; policy=ev "), ""},
		// RFC 8659 §4.3: not for names that are no wildcards
		{"issuewild", caa.Set{Records: []caa.Record{{Tag: "issuewild", Value: ";"}}}, ""},
		{"issuewild beside issue", caa.Set{Records: []caa.Record{
			{Tag: "issuewild", Value: "letsencrypt.org"}, {Tag: "issue", Value: "ca1.example.net"}}}, caa.OtherCA},
		// RFC 8659 §4.4, §4.1.1, §4.5
		{"iodef only", caa.Set{Records: []caa.Record{{Tag: "iodef", Value: "mailto:security@example.com"}}}, ""},
		{"unknown", caa.Set{Records: []caa.Record{{Tag: "tbs", Value: "Unknown"}}}, ""},
		{"unknown and critical", caa.Set{Records: []caa.Record{
			{Tag: "issue", Value: "letsencrypt.org"}, {Flags: 128, Tag: "tbs", Value: "Unknown"}}}, caa.UnknownCritical},
		{"known and critical", caa.Set{Records: []caa.Record{
			{Flags: 128, Tag: "issue", Value: "letsencrypt.org"}, {Flags: 128, Tag: "iodef", Value: "mailto:a@b"}}}, ""},
		{"another flag", caa.Set{Records: []caa.Record{{Flags: 64, Tag: "tbs", Value: "Unknown"}}}, ""},
		// RFC 8657 §3
		{"our account", issue("letsencrypt.org; accounturi=" + account), ""},
		{"another account", issue("letsencrypt.org; accounturi=https://acme.example/acct/2"), caa.OtherAccount},
		{"two accounts in two records", issue("letsencrypt.org; accounturi=https://acme.example/acct/2", "letsencrypt.org; accounturi="+account), ""},
		{"two accounts in one", issue("letsencrypt.org; accounturi=" + account + "; accounturi=" + account), caa.OtherAccount},
		{"an account compared in case", issue("letsencrypt.org; accounturi=https://ACME.example/acct/1"), caa.OtherAccount},
		// RFC 8657 §4
		{"our method", issue("letsencrypt.org; validationmethods=dns-01,tls-alpn-01"), ""},
		{"another method", issue("letsencrypt.org; validationmethods=dns-01"), caa.OtherMethod},
		{"no method", issue("letsencrypt.org; validationmethods="), caa.OtherMethod},
		{"both parameters", issue("letsencrypt.org; accounturi=" + account + "; validationmethods=tls-alpn-01"), ""},
		{"another account by our method", issue("letsencrypt.org; accounturi=x; validationmethods=tls-alpn-01"), caa.OtherAccount},
	} {
		t.Run(c.name, func(t *testing.T) {
			err := caa.Permits(c.set, []string{letsEncrypt}, account, "tls-alpn-01")
			var refusal *caa.Refusal
			switch {
			case c.reason == "" && err != nil:
				t.Errorf("refused: %v", err)
			case c.reason != "" && (!errors.As(err, &refusal) || refusal.Reason != c.reason):
				t.Errorf("got %v, want %s", err, c.reason)
			}
		})
	}
}

func TestUnknownSideIsPermitted(t *testing.T) {
	if err := caa.Permits(issue(";"), nil, account, "http-01"); err != nil {
		t.Errorf("a CA without identities: %v", err)
	}
	if err := caa.Permits(issue("letsencrypt.org; accounturi=x"), []string{letsEncrypt}, "", "http-01"); err != nil {
		t.Errorf("no account yet: %v", err)
	}
	if err := caa.Permits(issue("sectigo.com"), []string{"zerossl.com", "sectigo.com"}, account, "http-01"); err != nil {
		t.Errorf("a CA of two names: %v", err)
	}
}

// What the operator reads names the record, its place, and what to add.
func TestRefusalSaysWhatToDo(t *testing.T) {
	for _, c := range []struct {
		set  caa.Set
		want string
	}{
		{issue("digicert.com"), `the CAA record at example.com (0 issue "digicert.com") forbids letsencrypt.org to issue; add example.com. CAA 0 issue "letsencrypt.org"`},
		{issue("digicert.com", ";"), `the CAA records at example.com (0 issue "digicert.com", 0 issue ";") forbid letsencrypt.org to issue; add example.com. CAA 0 issue "letsencrypt.org"`},
		{caa.Set{Owner: "sts.host.net", Alias: "mta-sts.example.com", Records: []caa.Record{{Tag: "issue", Value: ";"}}},
			`the CAA record at sts.host.net, to which mta-sts.example.com is a CNAME, (0 issue ";") forbids letsencrypt.org to issue; ` +
				`add sts.host.net. CAA 0 issue "letsencrypt.org", or give mta-sts.example.com an A or AAAA record in place of the CNAME`},
		{issue("digicert.com", "letsencrypt.org; validationmethods=dns-01"),
			`the CAA record at example.com (0 issue "letsencrypt.org; validationmethods=dns-01") forbids letsencrypt.org to issue by tls-alpn-01; ` +
				`add example.com. CAA 0 issue "letsencrypt.org; validationmethods=tls-alpn-01"`},
		{issue("letsencrypt.org; accounturi=x"),
			`the CAA record at example.com (0 issue "letsencrypt.org; accounturi=x") forbids the account https://acme.example/acct/1 of letsencrypt.org to issue; ` +
				`add example.com. CAA 0 issue "letsencrypt.org; accounturi=https://acme.example/acct/1"`},
		{caa.Set{Owner: "example.com", Records: []caa.Record{{Flags: 128, Tag: "tbs", Value: "x"}}},
			`the CAA record at example.com (128 tbs "x") is critical and of a kind that no CA knows, which forbids every CA to issue; ` +
				`remove it, or make it example.com. CAA 0 tbs "x"`},
	} {
		err := caa.Permits(c.set, []string{letsEncrypt}, account, "tls-alpn-01")
		if err == nil || err.Error() != c.want {
			t.Errorf("got  %v\nwant %s", err, c.want)
		}
	}
}

// Whatever stands in a record: what its remedy says to add permits.
func FuzzRemedy(f *testing.F) {
	for _, v := range []string{"letsencrypt.org", ";", "", "%%%%%", "letsencrypt.org; accounturi=x", "letsencrypt.org;validationmethods=dns-01,http-01", "ca; a=b;; c = d", "\x00\xff"} {
		f.Add(uint8(0), "issue", v)
		f.Add(uint8(128), "tbs", v)
	}
	f.Fuzz(func(t *testing.T, flags uint8, tag, value string) {
		set := caa.Set{Owner: "example.com", Records: []caa.Record{{Flags: flags, Tag: tag, Value: value}}}
		err := caa.Permits(set, []string{letsEncrypt}, account, "http-01")
		if err == nil {
			return
		}
		if strings.ContainsAny(err.Error(), "\n\x00\x1b") {
			t.Fatalf("%q is not one line of text", err)
		}
		var refusal *caa.Refusal
		if !errors.As(err, &refusal) {
			t.Fatal(err)
		}
		switch refusal.Reason {
		case caa.UnknownCritical:
			set.Records[0].Flags &^= caa.Critical
		case caa.OtherAccount:
			set.Records = append(set.Records, caa.Record{Tag: "issue", Value: letsEncrypt + "; accounturi=" + account})
		case caa.OtherMethod:
			set.Records = append(set.Records, caa.Record{Tag: "issue", Value: letsEncrypt + "; validationmethods=http-01"})
		default:
			set.Records = append(set.Records, caa.Record{Tag: "issue", Value: letsEncrypt})
		}
		if err := caa.Permits(set, []string{letsEncrypt}, account, "http-01"); err != nil {
			t.Fatalf("after the remedy: %v", err)
		}
	})
}
