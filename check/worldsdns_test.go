package check

import (
	"fmt"
	"strings"
	"time"

	"github.com/miekg/dns"

	"github.com/stshost/stshost/internal/lab"
	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
)

const name = "_mta-sts.example.test"

func recordWorlds() []brokenWorld {
	const (
		ignore  = state.VerdictIgnore
		enforce = state.VerdictEnforce
	)
	good := announcement(goodPolicy)
	return []brokenWorld{
		{"no MTA-STS at all", func(w *world) {
			w.record()
			w.set("mta-sts.example.test", "A")
			w.set("mta-sts.example.test", "AAAA")
			w.txt("_smtp._tls.example.test")
		}, state.VerdictNone, []string{RecordNone}, "no TXT record"},
		{"record missing", func(w *world) { w.record() }, state.VerdictNone, []string{RecordNone, LifeUnannounced}, ""},
		{"only foreign TXT", func(w *world) { w.record("v=spf1 -all") }, state.VerdictNone, []string{RecordNone, LifeUnannounced}, ""},
		{"foreign TXT beside", func(w *world) { w.record(good, "google-site-verification=x") }, enforce, []string{RecordForeign, ReadersRecord}, "1 of the 2"},
		{"two records", func(w *world) { w.record(good, "v=STSv1; id=20200101000000;") }, ignore, []string{RecordSeveral}, "2 TXT records"},
		{"id with a dash", func(w *world) { w.record("v=STSv1; id=2020-01-01;") }, ignore, []string{RecordID, ReadersLenient}, "2020-01-01"},
		{"id too long", func(w *world) { w.record("v=STSv1; id=" + strings.Repeat("1", 33) + ";") }, ignore, []string{RecordID, ReadersLenient}, ""},
		{"no id", func(w *world) { w.record("v=STSv1;") }, ignore, []string{RecordID}, "there is no id"},
		{"a field without value", func(w *world) { w.record("v=STSv1; id=1; x;") }, ignore, []string{RecordGrammar, ReadersLenient}, `"x"`},
		{"version in lower case", func(w *world) { w.record("v=stsv1; id=1;") }, ignore, []string{RecordLookalike, ReadersLenient}, ""},
		{"quotes in the text", func(w *world) { w.record(`"v=STSv1; id=1;"`) }, ignore, []string{RecordLookalike}, ""},
		{"id before the version", func(w *world) { w.record("id=1; v=STSv1;") }, ignore, []string{RecordLookalike, ReadersLenient}, ""},
		{"version of the future", func(w *world) { w.record("v=STSv2; id=1;") }, ignore, []string{RecordLookalike}, ""},
		{"wildcard record", func(w *world) { w.record(); w.txt("*.example.test", good) }, enforce,
			[]string{RecordWildcard}, ""},
		{"long TTL", func(w *world) { w.dns.SetTTL(7 * 24 * time.Hour); w.record(good) }, enforce, []string{RecordTTL}, "168h"},
		{"CNAME to nothing", func(w *world) { w.alias(name, "gone.example.net.") }, ignore, []string{RecordDangling, HostHalfDelegated}, "gone.example.net"},
		{"CNAME to a name without record", func(w *world) { w.alias(name, "control.example.net.") }, ignore, []string{RecordDangling, HostHalfDelegated}, ""},
		{"CNAMEs in a circle", func(w *world) {
			w.alias(name, "a.example.net.")
			w.alias("a.example.net", "_mta-sts.example.test.")
		}, ignore, []string{RecordLoop}, ""},
		{"resolver says SERVFAIL", func(w *world) { w.dns.Fail(lab.DNSFault{Name: name, Rcode: dns.RcodeServerFailure}) },
			state.VerdictUnknown, []string{RecordUnanswered}, "SERVFAIL"},
		{"resolver is silent", func(w *world) { w.dns.Fail(lab.DNSFault{Name: name, Type: dns.TypeTXT, Silent: true}) },
			state.VerdictUnknown, []string{RecordUnanswered}, "did not answer"},
		{"a name server with another record", func(w *world) {
			other := w.secondServer("ns2.example.test")
			other("v=STSv1; id=20190101000000;")
		}, enforce, []string{RecordServersDiffer}, "20190101000000"},
		{"a name server without the record", func(w *world) { w.secondServer("ns2.example.test") }, enforce, []string{RecordServersDiffer}, "shows nothing"},
		{"a name server that is dead", func(w *world) {
			w.set("example.test", "NS", "ns1.example.test.", "ns2.example.test.")
			w.set("ns2.example.test", "A", "127.0.0.3")
		}, enforce, []string{RecordServerSilent}, ""},
		{"wildcard CNAME and no MTA-STS", func(w *world) {
			w.record()
			w.set(policyHost, "A")
			w.set(policyHost, "AAAA")
			w.set("*.example.test", "CNAME", "example.test.")
			w.set("example.test", "A", "192.0.2.80")
			w.txt("example.test", "v=spf1 mx -all")
		}, state.VerdictNone, []string{RecordNone}, ""},
		{"wildcard address and no MTA-STS", func(w *world) {
			w.record()
			w.set(policyHost, "A")
			w.set(policyHost, "AAAA")
			w.set("*.example.test", "A", "192.0.2.80")
		}, state.VerdictNone, []string{RecordNone}, ""},
		{"host prepared and no record yet", func(w *world) {
			w.record()
			w.everyTLS(w.stranger(policyHost))
		}, state.VerdictNone, []string{RecordNone, HostCertUntrusted}, ""},
		{"changed, and resolvers have not heard of it", func(w *world) {
			w.secondServer("ns2.example.test")("v=STSv1; id=20300101000000;")
			w.set("example.test", "NS", "ns2.example.test.")
			w.dns.Remove("ns1.example.test", "A")
		}, enforce, []string{RecordCached}, "20300101000000"},
		{"a long way of CNAMEs", func(w *world) {
			w.alias(name, "a0.example.test.")
			for i := range 8 {
				w.alias(fmt.Sprintf("a%d.example.test", i), fmt.Sprintf("a%d.example.test.", i+1))
			}
			w.txt("a8.example.test", good)
		}, enforce, nil, ""},
		{"id of another body", func(w *world) { w.record(announcement("another body")) }, enforce, []string{RecordIDStale}, ""},
		{"body changed and id not", func(w *world) {
			w.record("v=STSv1; id=20200101000000;")
			w.served = &state.Served{ID: "20200101000000", SHA256: mtasts.Digest([]byte("the body of then"))}
		}, enforce, []string{RecordIDKept}, ""},
	}
}

func otherWorlds() []brokenWorld {
	const (
		tls     = "_smtp._tls.example.test"
		enforce = state.VerdictEnforce
	)
	return []brokenWorld{
		{"no TLSRPT", func(w *world) { w.txt(tls) }, enforce, []string{TLSRPTNone}, ""},
		{"two TLSRPT records", func(w *world) {
			w.txt(tls, "v=TLSRPTv1; rua=mailto:a@example.test", "v=TLSRPTv1; rua=mailto:b@example.test")
		},
			enforce, []string{TLSRPTSeveral}, ""},
		{"TLSRPT without rua", func(w *world) { w.txt(tls, "v=TLSRPTv1;") }, enforce, []string{TLSRPTGrammar}, "rua"},
		{"TLSRPT a CNAME to nothing", func(w *world) { w.alias(tls, "gone.example.net.") }, enforce, []string{TLSRPTNone}, "gone.example.net"},
		{"TLSRPT to nobody, in testing", func(w *world) { w.txt(tls, "v=TLSRPTv1; rua=mailto:"); w.edit("enforce", "testing") },
			state.VerdictTest, []string{TLSRPTScheme}, ""},
		{"TLSRPT in lower case", func(w *world) { w.txt(tls, "v=tlsrptv1; rua=mailto:a@example.test") }, enforce, []string{TLSRPTGrammar}, ""},
		{"no TLSRPT, in testing", func(w *world) { w.txt(tls); w.edit("enforce", "testing") }, state.VerdictTest, []string{TLSRPTNone}, ""},
		{"TLSRPT by http", func(w *world) { w.txt(tls, "v=TLSRPTv1; rua=http://example.test/") }, enforce, []string{TLSRPTScheme}, "http"},
		{"TLSRPT without mailto", func(w *world) { w.txt(tls, "v=TLSRPTv1; rua=tls@example.test") }, enforce, []string{TLSRPTScheme}, "mailto"},
		{"TLSRPT not to be looked up", func(w *world) { w.dns.Fail(lab.DNSFault{Name: tls, Rcode: dns.RcodeServerFailure}) }, enforce, []string{TLSRPTLookup}, ""},

		{"TLSA records that nobody validates", func(w *world) {
			w.set("_25._tcp.mx1.example.test", "TLSA", "3 1 1 "+strings.Repeat("ab", 32))
		}, enforce, []string{DANESkipped}, ""},
		{"TLSA not to be looked up", func(w *world) {
			w.dns.Fail(lab.DNSFault{Name: "_25._tcp.mx1.example.test", Rcode: dns.RcodeServerFailure})
		}, enforce, []string{DANELookup}, ""},

		{"mode none", func(w *world) { w.policy("version: STSv1\r\nmode: none\r\nmax_age: 86400\r\n") }, state.VerdictIgnore, []string{LifeNone}, ""},
		{"removed too early", func(w *world) {
			w.record()
			w.served = &state.Served{ID: "1", Horizon: distant()}
			w.set("mta-sts.example.test", "A")
			w.set("mta-sts.example.test", "AAAA")
		}, state.VerdictNone, []string{RecordNone, LifeRemovedEarly}, ""},
		{"a sub-domain that takes mail", func(w *world) {
			w.set("lists.example.test", "MX", "10 mx1.example.test.")
			w.set("news.example.test", "MX", "10 mx1.example.test.")
			w.txt("_mta-sts.news.example.test", "v=STSv1; id=1;")
		}, enforce, []string{LifeSubdomains}, "lists.example.test"},
		{"sub-domains not to be looked up", func(w *world) {
			w.dns.Fail(lab.DNSFault{Name: "lists.example.test", Rcode: dns.RcodeServerFailure})
		}, enforce, []string{LifeSubdomainsSkipped}, ""},
		{"all sub-domains take mail", func(w *world) { w.set("*.example.test", "MX", "10 mx1.example.test.") }, enforce, []string{LifeSubdomains}, "wildcard"},
	}
}
