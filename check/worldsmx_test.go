package check

import (
	"crypto/tls"
	"strings"
	"syscall"
	"time"

	"github.com/miekg/dns"

	"github.com/stshost/stshost/internal/lab"
	"github.com/stshost/stshost/internal/state"
)

func mxWorlds() []brokenWorld {
	const (
		lost    = state.VerdictLoseMail
		enforce = state.VerdictEnforce
		test    = state.VerdictTest
		mxName  = "mx2.example.test"
	)
	// speaks has the second MX host say something else than a good one.
	speaks := func(change func(w *world, d *dialogue)) func(*world) {
		return func(w *world) {
			d := dialogue{tls: w.certificate(mxName)}
			change(w, &d)
			w.mail(mx2, d)
		}
	}
	noSTARTTLS := speaks(func(_ *world, d *dialogue) { d.ehlo = "250-mx2.example.test\n250 SIZE 1000" })
	return []brokenWorld{
		{"MX not covered", func(w *world) { w.edit("mx: mx2.example.test\r\n", "") }, lost, []string{MXUncovered}, "mx1.example.test"},
		{"MX not covered, in testing", func(w *world) {
			w.policy(strings.Replace(strings.Replace(goodPolicy, "mx: mx2.example.test\r\n", "", 1), "enforce", "testing", 1))
		}, test, []string{MXUncovered}, ""},
		{"wildcard covers one label", func(w *world) { w.edit("mx: mx1.example.test\r\nmx: mx2.example.test", "mx: *.example.test") }, enforce, nil, ""},
		{"wildcard and two labels", func(w *world) {
			w.set("example.test", "MX", "10 a.mx1.example.test.")
			w.set("a.mx1.example.test", "A", mx1)
			w.mail(mx1, dialogue{tls: w.certificate("a.mx1.example.test")})
			w.edit("mx: mx1.example.test\r\nmx: mx2.example.test", "mx: *.example.test")
		}, lost, []string{MXUncovered, MXPatternUnused}, "one label"},
		{"pattern without MX", func(w *world) { w.edit("mx: mx1", "mx: mx3.example.test\r\nmx: mx1") }, enforce, []string{MXPatternUnused}, "mx3"},
		{"pattern for everybody", func(w *world) { w.edit("mx: mx1", "mx: *.co.uk\r\nmx: mx1") }, enforce, []string{MXPatternBroad, MXPatternUnused}, "*.co.uk"},
		{"null MX", func(w *world) { w.set("example.test", "MX", "0 .") }, enforce, []string{MXNull}, "no mail"},
		{"no MX but an address", func(w *world) {
			w.set("example.test", "MX")
			w.set("example.test", "A", mx1)
			w.mail(mx1, dialogue{tls: w.certificate("example.test")})
			w.policy("version: STSv1\r\nmode: enforce\r\nmx: example.test\r\nmax_age: 2419200\r\n")
		}, enforce, []string{MXImplicit}, ""},
		{"no MX and no address", func(w *world) { w.set("example.test", "MX") }, lost, []string{MXNone}, ""},
		{"MX not to be looked up", func(w *world) {
			w.dns.Fail(lab.DNSFault{Name: "example.test", Type: dns.TypeMX, Rcode: dns.RcodeServerFailure})
		},
			state.VerdictUnknown, []string{MXLookup}, ""},
		{"MX a CNAME", func(w *world) {
			w.alias(mxName, "host.example.net.")
			w.set("host.example.net", "A", mx2)
		}, enforce, []string{MXCNAME}, "host.example.net"},
		{"MX a CNAME, and the policy names its target", func(w *world) {
			w.alias(mxName, "host.example.net.")
			w.set("host.example.net", "A", mx2)
			w.edit(mxName, "host.example.net")
		}, lost, []string{MXUncovered, MXCNAME}, ""},
		{"null MX beside others", func(w *world) { w.set("example.test", "MX", "0 .", "10 mx1.example.test.", "20 mx2.example.test.") },
			enforce, []string{MXNull}, "beside"},
		{"MX an address", func(w *world) {
			w.set("example.test", "MX", "10 mx1.example.test.", "20 mx2.example.test.", "30 192.0.2.25.")
		},
			enforce, []string{MXLiteral}, ""},
		{"MX without address", func(w *world) { w.set(mxName, "A") }, enforce, []string{MXNoAddress}, ""},
		{"MX host not to be looked up", func(w *world) { w.dns.Fail(lab.DNSFault{Name: mxName, Rcode: dns.RcodeServerFailure}) },
			state.VerdictUnknown, []string{MXHostLookup}, ""},
		{"one MX dead", func(w *world) { w.breaks(mx2+":25", syscall.ECONNREFUSED) }, enforce, []string{MXConnect}, "refused"},
		{"every MX dead", func(w *world) {
			w.breaks(mx1+":25", syscall.ECONNREFUSED)
			w.breaks(mx2+":25", syscall.EHOSTUNREACH)
			w.mail("192.0.2.99", dialogue{})
		}, lost, []string{MXConnect}, ""},
		{"port 25 closed on our side", func(w *world) {
			for _, ip := range []string{mx1, mx2, "192.0.2.99"} {
				w.breaks(ip+":25", syscall.EHOSTUNREACH)
			}
		}, state.VerdictUnknown, []string{MXPortClosed}, "control.example.net"},
		{"port 25 closed on our side, in testing", func(w *world) {
			w.edit("enforce", "testing")
			for _, ip := range []string{mx1, mx2, "192.0.2.99"} {
				w.breaks(ip+":25", syscall.EPERM)
			}
		}, test, []string{MXPortClosed}, ""},
		{"MX refuses us", speaks(func(_ *world, d *dialogue) { d.greeting = "554 5.7.1 no reverse name" }), state.VerdictUnknown, []string{MXRefusesUs}, "no reverse name"},
		{"MX refuses us over TLS", speaks(func(_ *world, d *dialogue) { d.ehloTLS = "550 5.7.1 your address has no name" }), state.VerdictUnknown, []string{MXRefusesUs}, "no name"},
		{"MX knows no EHLO", speaks(func(_ *world, d *dialogue) { d.ehlo = "502 5.5.2 command not recognized" }), lost, []string{MXNoSTARTTLS}, "502"},
		{"MX twice", func(w *world) {
			w.set("example.test", "MX", "10 mx1.example.test.", "20 mx2.example.test.", "30 mx1.example.test.")
		}, enforce, nil, ""},
		{"port 25 closed on our side for IPv6", func(w *world) {
			w.set(mxName, "AAAA", "2001:db8::25")
			w.set("control.example.net", "AAAA", "2001:db8::99")
			w.mail("192.0.2.99", dialogue{})
			w.breaks("[2001:db8::25]:25", syscall.EHOSTUNREACH)
			w.breaks("[2001:db8::99]:25", syscall.EHOSTUNREACH)
		}, enforce, []string{MXPortClosed}, "IPv6"},
		{"MX dead over IPv6", func(w *world) {
			w.set(mxName, "AAAA", "2001:db8::25")
			w.set("control.example.net", "AAAA", "2001:db8::99")
			w.mail("2001:db8::99", dialogue{})
			w.breaks("[2001:db8::25]:25", syscall.EHOSTUNREACH)
		}, enforce, []string{MXConnect}, ""},
		{"MX busy", speaks(func(_ *world, d *dialogue) { d.greeting = "421 4.3.2 too many connections" }), state.VerdictUnknown, []string{MXRefusesUs}, "421"},
		{"no mail server", speaks(func(_ *world, d *dialogue) { d.greeting = "SSH-2.0-OpenSSH_9.2" }), enforce, []string{MXSession}, ""},
		{"STARTTLS not offered", noSTARTTLS, lost, []string{MXNoSTARTTLS}, ""},
		{"STARTTLS not offered, in testing", func(w *world) { w.edit("enforce", "testing"); noSTARTTLS(w) }, test, []string{MXNoSTARTTLS}, ""},
		{"STARTTLS refused", speaks(func(_ *world, d *dialogue) { d.starttls = "454 4.7.0 TLS not available" }), lost, []string{MXSTARTTLSFailed}, "454"},
		{"no TLS after STARTTLS", speaks(func(w *world, d *dialogue) { d.tls = &tls.Config{CipherSuites: []uint16{0xffff}, MaxVersion: 0x0303} }), lost, []string{MXTLS}, ""},
		{"MX with TLS 1.1", speaks(func(w *world, d *dialogue) { d.tls = tls11(d.tls) }), lost, []string{MXTLSVersion}, "TLS 1.1"},
		{"MX certificate of nobody", speaks(func(w *world, d *dialogue) { d.tls = w.stranger(mxName) }), lost, []string{MXCertUntrusted}, ""},
		{"MX certificate of another name", speaks(func(w *world, d *dialogue) { d.tls = w.certificate("mail.example.test") }), lost, []string{MXCertName}, "mail.example.test"},
		{"MX certificate with a common name only", speaks(func(w *world, d *dialogue) { d.tls = w.commonName(mxName) }), lost, []string{MXCertName}, "common name"},
		{"MX certificate of another name, in testing", func(w *world) {
			w.edit("enforce", "testing")
			w.mail(mx2, dialogue{tls: w.certificate("mail.example.test")})
		}, test, []string{MXCertName}, ""},
		{"MX certificate expired", speaks(func(w *world, d *dialogue) { d.tls = w.expiring(time.Now().Add(-time.Hour), mxName) }), lost, []string{MXCertExpired}, ""},
		{"MX certificate expires soon", speaks(func(w *world, d *dialogue) { d.tls = w.expiring(time.Now().Add(24*time.Hour), mxName) }), enforce, []string{MXCertExpires}, ""},
		{"MX certificate only with SNI", speaks(func(w *world, d *dialogue) { d.tls = w.withSNI(mxName) }), enforce, []string{MXCertNoSNI}, ""},
		{"one address of an MX broken", func(w *world) {
			w.set(mxName, "A", mx2, "192.0.2.27")
			w.mail("192.0.2.27", dialogue{tls: w.certificate("mail.example.test")})
		}, lost, []string{MXCertName}, ""},
	}
}
