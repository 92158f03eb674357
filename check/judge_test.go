package check

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/stshost/stshost/internal/caa"
	"github.com/stshost/stshost/internal/lab"
	"github.com/stshost/stshost/internal/resolver"
	"github.com/stshost/stshost/internal/state"
)

// exhibits makes evidence without a network.
type exhibits struct {
	t    testing.TB
	root *lab.Root
	now  time.Time
}

func (x exhibits) answer(name string, qtype uint16, records ...string) resolver.Answer {
	x.t.Helper()
	a := resolver.Answer{Name: name, Type: qtype, Owner: name, TTL: time.Minute, Server: "resolver 127.0.0.1:53", Judged: true}
	for _, text := range records {
		rr, err := dns.NewRR(name + ". 60 IN " + dns.TypeToString[qtype] + " " + text)
		if err != nil {
			x.t.Fatal(err)
		}
		a.Records = append(a.Records, rr)
	}
	return a
}

// tls is a handshake with a server that has a certificate for name, of which
// host was wanted.
func (x exhibits) tls(name, host string) *TLSLook {
	x.t.Helper()
	return x.shown(&x509.Certificate{DNSNames: []string{name}}, host)
}

func (x exhibits) shown(template *x509.Certificate, host string) *TLSLook {
	x.t.Helper()
	cert, err := x.root.IssueAs(template)
	if err != nil {
		x.t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(cert.Certificate[0])
	if err != nil {
		x.t.Fatal(err)
	}
	look := &TLSLook{Name: host, Version: tls.VersionTLS13}
	New(Config{Roots: x.root.Pool(), Now: func() time.Time { return x.now }}).inspect(look, []*x509.Certificate{leaf}, host)
	return look
}

func (x exhibits) mxHost(name string, preference uint16) MXHost {
	look := SMTPLook{Family: "IPv4", Address: "192.0.2.25:25", Stage: SMTPDone, STARTTLS: true, TLS: x.tls(name, name), NoSNI: x.tls(name, name)}
	return MXHost{Name: name, Preference: preference, Addresses: []SMTPLook{look},
		TLSA: TLSAEvidence{Answer: x.answer(tlsaName(name), dns.TypeTLSA), Judged: true}}
}

// inOrder is the evidence of a domain in order.
func (x exhibits) inOrder() Evidence {
	fetch := HTTPFetch{Agent: UserAgent, Proto: "HTTP/2.0", Status: http.StatusOK, ContentType: "text/plain", Body: []byte(goodPolicy)}
	web := HTTPSLook{Family: "IPv4", Address: "192.0.2.10:443", TLS: x.tls("mta-sts.example.test", "mta-sts.example.test"), Main: &fetch}
	text := announcement(goodPolicy)
	return Evidence{
		Domain: "example.test",
		Time:   x.now,
		Record: RecordEvidence{
			Answer:  x.answer("_mta-sts.example.test", dns.TypeTXT, fmt.Sprintf("%q", text)),
			Servers: []state.ServerTXT{{Server: "ns1", TXT: []string{text}}, {Server: "ns2", TXT: []string{text}}},
		},
		Host:   HostEvidence{Name: "mta-sts.example.test", Addresses: []HTTPSLook{web}},
		MX:     MXEvidence{Hosts: []MXHost{x.mxHost("mx1.example.test", 10), x.mxHost("mx2.example.test", 20)}},
		TLSRPT: x.answer("_smtp._tls.example.test", dns.TypeTXT, `"v=TLSRPTv1; rua=mailto:a@example.test"`),
	}
}

// What is judged, without a network. The worlds have what can be built there;
// here is what cannot, and what one rule says to another.
func TestEvaluate(t *testing.T) {
	root, err := lab.NewRoot("Evidence Root")
	if err != nil {
		t.Fatal(err)
	}
	x := exhibits{t, root, time.Now()}
	for _, c := range evaluations(x) {
		t.Run(c.name, func(t *testing.T) {
			ev := x.inOrder()
			c.change(&ev)
			r := Evaluate(ev)
			got := slices.DeleteFunc(codesOf(r), func(code string) bool { return statusOf(r, code) == state.CheckPass })
			if !slices.Equal(got, slices.Sorted(slices.Values(c.codes))) || r.Verdict != c.verdict {
				t.Errorf("verdict %s (%s), found %q; want %s, %q", r.Verdict, r.Summary, got, c.verdict, c.codes)
			}
			for _, code := range c.passes {
				if statusOf(r, code) != state.CheckPass {
					t.Errorf("%s is missing", code)
				}
			}
		})
	}
}

func codesOf(r state.Report) []string {
	var codes []string
	for _, f := range r.Findings {
		codes = append(codes, f.Code)
	}
	slices.Sort(codes)
	return slices.Compact(codes)
}

func statusOf(r state.Report, code string) state.CheckStatus {
	for _, f := range r.Findings {
		if f.Code == code {
			return f.Status
		}
	}
	return ""
}

// What does most harm comes first.
func TestEvaluateOrder(t *testing.T) {
	root, err := lab.NewRoot("Evidence Root")
	if err != nil {
		t.Fatal(err)
	}
	x := exhibits{t, root, time.Now()}
	ev := x.inOrder()
	ev.TLSRPT.Records = nil
	ev.Record.Answer.TTL = 48 * time.Hour
	ev.MX.Hosts[0].Addresses[0].TLS = x.tls("other.example.test", "mx1.example.test")
	ev.Host.Addresses = append(ev.Host.Addresses, HTTPSLook{Family: "IPv6", Address: "[2001:db8::1]:443", Err: errors.New("refused")})
	r := Evaluate(ev)
	var got []string
	for _, f := range r.Findings {
		if f.Status != state.CheckPass {
			got = append(got, f.Code)
		}
	}
	if want := []string{MXCertName, HostConnect, RecordTTL, TLSRPTNone}; !slices.Equal(got, want) {
		t.Errorf("the order is %q, want %q", got, want)
	}
	if !strings.Contains(r.Summary, "mx1.example.test") || !strings.Contains(r.Summary, "MX hosts") {
		t.Errorf("the summary is %q", r.Summary)
	}
	if again := Evaluate(ev); fmt.Sprint(again) != fmt.Sprint(r) {
		t.Error("equal evidence gives another report")
	}
}

// evaluation is evidence in order with one thing changed, and what is found.
type evaluation struct {
	name    string
	change  func(ev *Evidence)
	verdict state.Verdict
	codes   []string // what is no pass
	passes  []string // some that pass
}

func evaluations(x exhibits) []evaluation {
	alias := []resolver.Alias{{From: "_mta-sts.example.test", To: "sts.example.test", TTL: time.Minute}}
	letsEncrypt := func(ev *Evidence) {
		ev.Host.Addresses[0].TLS.Chain[0].Issuer = pkix.Name{Organization: []string{"Let's Encrypt"}, CommonName: "E7"}
		ev.Host.CAA = caa.Set{Owner: "example.test", Records: []caa.Record{{Tag: "issue", Value: "ca.example"}}}
	}
	return []evaluation{
		{"in order", func(*Evidence) {}, state.VerdictEnforce, nil, []string{RecordOK, RecordUnsigned, RecordServersAgree, RecordIDCurrent, HostOK, HostCAANone, PolicyOK, MXSet, MXCovered, MXOK, TLSRPTOK, DANENone, LifeSubdomainsOK, ReadersAgree}},
		{"signed", func(ev *Evidence) { ev.Record.Answer.Authenticated = true }, state.VerdictEnforce, nil, []string{RecordSigned}},
		{"resolver elsewhere", func(ev *Evidence) { ev.Record.Answer.Judged = false }, state.VerdictEnforce, []string{RecordDNSSECSkipped}, nil},
		{"alias within the organisation", func(ev *Evidence) { ev.Record.Answer.Aliases = alias }, state.VerdictEnforce, nil, []string{RecordAlias}},
		{"split strings", func(ev *Evidence) {
			txt := ev.Record.Answer.Records[0].(*dns.TXT)
			txt.Txt = []string{txt.Txt[0][:7], txt.Txt[0][7:]}
		}, state.VerdictEnforce, nil, []string{RecordSplit, RecordOK}},
		{"slow", func(ev *Evidence) { ev.Host.Addresses[0].Main.Took = 11 * time.Second }, state.VerdictEnforce, []string{HostSlow}, []string{HostOK}},
		{"no answer in time", func(ev *Evidence) {
			ev.Host.Addresses[0].Main = &HTTPFetch{Agent: UserAgent, Err: context.DeadlineExceeded}
		}, state.VerdictUnknown, []string{HostTimeout, PolicySkipped}, nil},
		{"another client out of time", func(ev *Evidence) {
			ev.Host.Addresses[0].Others = []HTTPFetch{{Agent: UserAgent, Err: context.DeadlineExceeded}, {Agent: "", Err: context.DeadlineExceeded}}
		}, state.VerdictEnforce, nil, []string{HostOK}},
		{"more addresses", func(ev *Evidence) { ev.Host.More = 3 }, state.VerdictEnforce, []string{HostNotTried}, nil},
		{"more MX hosts", func(ev *Evidence) { ev.MX.More = 3 }, state.VerdictUnknown, []string{MXNotTried}, nil},
		{"an MX host that was not looked at", func(ev *Evidence) {
			ev.MX.Hosts = append(ev.MX.Hosts, MXHost{Name: "mx3.example.test", Untried: true})
		}, state.VerdictLoseMail, []string{MXNotTried, MXUncovered}, nil},
		{"CAA forbids the CA", letsEncrypt, state.VerdictEnforce, []string{HostCAAForbids}, nil},
		{"CAA permits the CA", func(ev *Evidence) {
			letsEncrypt(ev)
			ev.Host.CAA.Records[0].Value = "letsencrypt.org"
		}, state.VerdictEnforce, nil, []string{HostCAA}},
		{"no address tried", func(ev *Evidence) {
			ev.Host.Addresses = []HTTPSLook{{Family: "IPv6", Address: "[2001:db8::1]:443", Skipped: "no route"}}
		}, state.VerdictUnknown, []string{HostNotTried, PolicySkipped}, nil},
		{"servers not asked", func(ev *Evidence) { ev.Record.ServersErr = errors.New("no zone") }, state.VerdictEnforce, []string{RecordServersSkipped}, nil},
		{"servers split", func(ev *Evidence) {
			ev.Record.ServersErr = fmt.Errorf("here: %w", &resolver.SplitError{Name: "_mta-sts.example.test.", Second: resolver.AuthAnswer{Alias: "x."}})
		}, state.VerdictEnforce, []string{RecordServersDiffer}, nil},
		{"store not read", func(ev *Evidence) { ev.ServedErr = errors.New("permission denied") }, state.VerdictEnforce, []string{RecordStoreSkipped}, nil},
		{"MX slow", func(ev *Evidence) {
			ev.MX.Hosts[1].Addresses[0] = SMTPLook{Family: "IPv4", Address: "192.0.2.26:25", Stage: SMTPGreeting, Err: context.DeadlineExceeded}
		}, state.VerdictUnknown, []string{MXSlow}, []string{MXOK}},
		{"MX without SNI fails", func(ev *Evidence) { ev.MX.Hosts[0].Addresses[0].NoSNI = &TLSLook{Err: errors.New("alert")} },
			state.VerdictEnforce, []string{MXCertNoSNI}, []string{MXOK}},
		{"MX host out of time", func(ev *Evidence) {
			ev.MX.Hosts[1].Addresses = []SMTPLook{{Family: "IPv4", Address: "192.0.2.26:25", Skipped: unseen}}
		}, state.VerdictUnknown, []string{MXNotTried}, nil},
		{"MX host known at one address only", func(ev *Evidence) {
			ev.MX.Hosts[1].Addresses = append(ev.MX.Hosts[1].Addresses, SMTPLook{Family: "IPv6", Address: "[2001:db8::1]:25", Skipped: "no route"})
		}, state.VerdictEnforce, []string{MXNotTried}, nil},
		{"MX after TLS dumb", func(ev *Evidence) {
			l := &ev.MX.Hosts[0].Addresses[0]
			l.Stage, l.Err = SMTPTLS, errors.New("closed the connection")
		}, state.VerdictLoseMail, []string{MXTLS}, nil},
		{"DANE and an MX host out of time", func(ev *Evidence) {
			h := &ev.MX.Hosts[0]
			h.TLSA.Answer, h.TLSA.Secure, h.TLSA.MXSecure = x.answer(tlsaName(h.Name), dns.TypeTLSA, "3 1 1 "+strings.Repeat("ab", 32)), true, true
			h.Addresses[0] = SMTPLook{Family: "IPv4", Address: "192.0.2.25:25", Stage: SMTPSTARTTLS, STARTTLS: true, Err: context.DeadlineExceeded}
		}, state.VerdictUnknown, []string{MXSlow}, nil},
		{"intermediate expired", func(ev *Evidence) { ev.Host.Addresses[0].TLS.NotAfter = x.now.Add(-time.Hour) }, state.VerdictIgnore, []string{HostCertExpired}, nil},
		{"DANE of another key, MX records not signed", func(ev *Evidence) {
			h := &ev.MX.Hosts[0]
			h.TLSA.Answer, h.TLSA.Secure = x.answer(tlsaName(h.Name), dns.TypeTLSA, "3 1 1 "+strings.Repeat("ab", 32)), true
		}, state.VerdictEnforce, []string{DANEMismatch}, []string{DANEMXUnsigned}},
		{"certificate of tomorrow", func(ev *Evidence) { ev.MX.Hosts[0].Addresses[0].TLS.NotBefore = x.now.Add(time.Hour) }, state.VerdictLoseMail, []string{MXCertExpired}, nil},
	}
}
