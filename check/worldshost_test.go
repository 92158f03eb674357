package check

import (
	"crypto/tls"
	"io"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/miekg/dns"

	"github.com/stshost/stshost/internal/lab"
	"github.com/stshost/stshost/internal/state"
)

const policyHost = "mta-sts.example.test"

// answers serves the good policy with another status and media type.
func answers(status int, media string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", media)
		w.WriteHeader(status)
		io.WriteString(w, goodPolicy)
	}
}

// turnsAway serves the policy to all but those that refuse says.
func turnsAway(refuse func(*http.Request) bool) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if refuse(r) {
			http.Error(w, "robots are not welcome", http.StatusForbidden)
			return
		}
		answers(200, "text/plain")(w, r)
	}
}

func hostWorlds() []brokenWorld {
	const (
		ignore  = state.VerdictIgnore
		enforce = state.VerdictEnforce
	)
	redirect := func(code int, to string) func(*world) {
		return func(w *world) { w.everywhere(http.RedirectHandler(to, code).ServeHTTP) }
	}
	noPolicy := func(code string) []string { return []string{code, PolicySkipped} }
	return []brokenWorld{
		{"host without address", func(w *world) { w.set(policyHost, "A"); w.set(policyHost, "AAAA") }, ignore, noPolicy(HostNoAddress), ""},
		{"host not to be looked up", func(w *world) { w.dns.Fail(lab.DNSFault{Name: policyHost, Rcode: dns.RcodeServerFailure}) },
			state.VerdictUnknown, noPolicy(HostLookup), ""},
		{"IPv6 not to be looked up", func(w *world) {
			w.dns.Fail(lab.DNSFault{Name: policyHost, Type: dns.TypeAAAA, Rcode: dns.RcodeServerFailure})
		}, enforce, []string{HostLookup}, ""},
		{"host a CNAME to nothing", func(w *world) { w.alias(policyHost, "gone.example.net.") }, ignore, []string{HostDangling, HostHalfDelegated, PolicySkipped}, ""},
		{"only the host delegated", func(w *world) {
			w.alias(policyHost, "sts.example.net.")
			w.set("sts.example.net", "A", web4)
		}, enforce, []string{HostHalfDelegated}, "is none"},
		{"only the record delegated", func(w *world) {
			w.alias(name, "example-test.example.net.")
			w.txt("example-test.example.net", announcement(goodPolicy))
		}, enforce, []string{HostHalfDelegated}, "is none"},
		{"IPv6 dead", func(w *world) { w.breaks("["+web6+"]:443", syscall.ECONNREFUSED) }, enforce, []string{HostConnect}, "refused"},
		{"all addresses dead", func(w *world) {
			w.breaks("["+web6+"]:443", syscall.ECONNREFUSED)
			w.breaks(web4+":443", syscall.EHOSTUNREACH)
		}, ignore, noPolicy(HostConnect), ""},
		{"no route to IPv6", func(w *world) { w.cfg.Route = noIPv6 }, enforce, []string{HostNotTried}, ""},
		{"no TLS there", func(w *world) { w.mail(web6, dialogue{}); w.reroute("["+web6+"]:443", "["+web6+"]:25") }, enforce, []string{HostTLS}, ""},
		{"TLS 1.1", func(w *world) { w.everyTLS(tls11(w.certificate(policyHost))) }, ignore, []string{HostTLSVersion}, "TLS 1.1"},
		{"certificate of nobody", func(w *world) { w.everyTLS(w.stranger(policyHost)) }, ignore, []string{HostCertUntrusted}, "no intermediate"},
		{"certificate of another name", func(w *world) { w.webs[web6].tls = w.certificate("www.example.test") }, enforce, []string{HostCertName}, "www.example.test"},
		{"certificate of the parent", func(w *world) { w.everyTLS(w.certificate("example.test", "*.mta-sts.example.test")) }, ignore, []string{HostCertName}, ""},
		{"certificate with a common name only", func(w *world) { w.everyTLS(w.commonName(policyHost)) }, ignore, []string{HostCertName}, "common name"},
		{"certificate expired", func(w *world) { w.everyTLS(w.expiring(time.Now().Add(-time.Hour), policyHost)) }, ignore, []string{HostCertExpired}, "expired"},
		{"certificate expired, of another name, of nobody", func(w *world) {
			w.everyTLS(serverTLS(w.t, w.other(), time.Now().Add(-time.Hour), "www.example.test"))
		}, ignore, []string{HostCertExpired, HostCertName, HostCertUntrusted}, ""},
		{"certificate expires soon", func(w *world) { w.everyTLS(w.expiring(time.Now().Add(13*24*time.Hour), policyHost)) }, enforce, []string{HostCertExpires}, ""},
		{"redirect 301", redirect(301, "https://www.example.test/.well-known/mta-sts.txt"), ignore, noPolicy(HostRedirect), "www.example.test"},
		{"redirect 302 to itself", redirect(302, "/mta-sts.txt"), ignore, noPolicy(HostRedirect), ""},
		{"redirect 308", redirect(308, "https://mta-sts.example.test/policy"), ignore, noPolicy(HostRedirect), ""},
		{"not found", func(w *world) { w.everywhere(http.NotFound) }, ignore, noPolicy(HostStatus), "404"},
		{"created", func(w *world) { w.everywhere(answers(201, "text/plain")) }, ignore, noPolicy(HostStatus), "201"},
		{"forbidden at one address", func(w *world) { w.webs[web4].handle = answers(403, "text/plain") }, enforce, []string{HostStatus}, "403"},
		{"HTML", func(w *world) { w.everywhere(answers(200, "text/html")) }, ignore, []string{HostMediaType}, "text/html"},
		{"octets", func(w *world) { w.everywhere(answers(200, "application/octet-stream")) }, ignore, []string{HostMediaType}, ""},
		{"too large", func(w *world) { w.policy(goodPolicy + strings.Repeat("x: y\r\n", 11000)) }, ignore,
			noPolicy(HostSize), ""},
		{"breaks off", func(w *world) {
			w.everywhere(func(rw http.ResponseWriter, r *http.Request) {
				rw.Header().Set("Content-Type", "text/plain")
				rw.Header().Set("Content-Length", "5000")
				io.WriteString(rw, "version: ")
			})
		}, ignore, noPolicy(HostHTTP), ""},
		{"closes without answer", func(w *world) { w.everywhere(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }) }, ignore, noPolicy(HostHTTP), ""},
		{"robots turned away", func(w *world) {
			w.everywhere(turnsAway(func(r *http.Request) bool { return strings.HasPrefix(r.UserAgent(), "python") }))
		}, enforce, []string{HostAgent}, "python"},
		{"nameless clients turned away", func(w *world) {
			w.everywhere(turnsAway(func(r *http.Request) bool { return r.UserAgent() == "" }))
		}, enforce, []string{HostAgent}, `""`},
		{"HTTP/1.1 turned away", func(w *world) {
			w.everywhere(turnsAway(func(r *http.Request) bool { return r.ProtoMajor == 1 }))
		}, enforce, []string{HostHTTP1}, "403"},
		{"we are turned away, and no sender is", func(w *world) {
			w.everywhere(turnsAway(func(r *http.Request) bool { return r.UserAgent() == UserAgent }))
		}, enforce, []string{HostAgent}, "stshost"},
		{"HTTP/2 turned away", func(w *world) {
			w.everywhere(turnsAway(func(r *http.Request) bool { return r.ProtoMajor == 2 }))
		}, enforce, []string{HostHTTP2}, "403"},
		{"two policies by turns, one of them leaves an MX out", func(w *world) {
			var n atomic.Int64
			w.everywhere(func(rw http.ResponseWriter, r *http.Request) {
				rw.Header().Set("Content-Type", "text/plain")
				body := goodPolicy
				if n.Add(1)%2 == 0 {
					body = strings.Replace(goodPolicy, "mx: mx2.example.test\r\n", "", 1)
				}
				io.WriteString(rw, body)
			})
		}, state.VerdictLoseMail, []string{HostDifferent, MXUncovered}, ""},
		{"overloaded", func(w *world) {
			for _, h := range w.webs {
				var n atomic.Int64
				h.handle = func(rw http.ResponseWriter, r *http.Request) {
					if n.Add(1) == 1 {
						http.Error(rw, "busy", http.StatusServiceUnavailable)
						return
					}
					answers(200, "text/plain")(rw, r)
				}
			}
		}, enforce, []string{HostFlaky}, "503"},
		{"rate limited by 403", func(w *world) {
			for _, h := range w.webs {
				var n atomic.Int64
				h.handle = turnsAway(func(*http.Request) bool { return n.Add(1) > 3 })
			}
		}, enforce, []string{HostFlaky}, "403"},
		{"addresses differ in form only", func(w *world) {
			w.webs[web6].handle = func(rw http.ResponseWriter, r *http.Request) {
				rw.Header().Set("Content-Type", "text/plain")
				io.WriteString(rw, strings.ReplaceAll(goodPolicy, "\r", ""))
			}
		}, enforce, nil, ""},
		{"HTTP/2 broken, and the policy leaves an MX out", func(w *world) {
			w.edit("mx: mx2.example.test\r\n", "")
			body := w.body
			w.everywhere(func(rw http.ResponseWriter, r *http.Request) {
				if r.ProtoMajor == 2 {
					panic(http.ErrAbortHandler)
				}
				rw.Header().Set("Content-Type", "text/plain")
				io.WriteString(rw, body)
			})
		}, state.VerdictLoseMail, []string{HostHTTP2, MXUncovered}, ""},
		{"odd parameters", func(w *world) { w.everywhere(answers(200, "text/plain; charset")) }, enforce, []string{HostMediaParameters}, ""},
		{"many addresses, the first of them dead", func(w *world) {
			w.set(policyHost, "AAAA")
			w.set(policyHost, "A", "192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4", web4)
		}, state.VerdictUnknown, []string{HostConnect, HostNotTried, PolicySkipped}, ""},
		{"one address has a policy that refuses all", func(w *world) {
			w.webs[web6].handle = func(rw http.ResponseWriter, r *http.Request) {
				rw.Header().Set("Content-Type", "text/plain")
				io.WriteString(rw, "version: STSv1\r\nmode: enforce\r\nmx: old.example.test\r\nmax_age: 86400\r\n")
			}
		}, state.VerdictLoseMail, []string{HostDifferent, MXUncovered}, ""},
		{"one address has a broken policy, the other enforces and leaves an MX out", func(w *world) {
			w.policy("version: STSv1\r\nmode: on\r\n")
			w.webs[web6].handle = func(rw http.ResponseWriter, r *http.Request) {
				rw.Header().Set("Content-Type", "text/plain")
				io.WriteString(rw, strings.Replace(goodPolicy, "mx: mx1.example.test\r\n", "", 1))
			}
		}, state.VerdictLoseMail, []string{HostDifferent, MXUncovered}, ""},
		{"addresses differ", func(w *world) {
			w.webs[web6].handle = func(rw http.ResponseWriter, r *http.Request) {
				rw.Header().Set("Content-Type", "text/plain")
				io.WriteString(rw, strings.Replace(goodPolicy, "enforce", "testing", 1))
			}
		}, enforce, []string{HostDifferent}, ""},
		{"policy on port 80", func(w *world) { w.plain(web4, answers(200, "text/plain")) }, enforce, []string{HostPlain}, ""},
		{"CAA of another CA only", func(w *world) { w.set("example.test", "CAA", `0 issue ";"`) }, enforce, []string{HostCAAForbids}, "no CA at all"},
		{"CAA not to be looked up", func(w *world) {
			w.dns.Fail(lab.DNSFault{Name: policyHost, Type: dns.TypeCAA, Rcode: dns.RcodeServerFailure})
		},
			enforce, []string{HostCAALookup}, ""},
	}
}

func tls11(cfg *tls.Config) *tls.Config {
	cfg = cfg.Clone()
	cfg.MaxVersion = tls.VersionTLS11
	return cfg
}
