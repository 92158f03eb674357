package check

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/stshost/stshost/internal/resolver"
	"github.com/stshost/stshost/internal/state"
)

func dump(t *testing.T, r state.Report) {
	t.Helper()
	b, _ := json.Marshal(r)
	t.Logf("VERDICT %s | %s | %d findings | %d bytes JSON | %.1fs", r.Verdict, r.Summary, len(r.Findings), len(b), r.Seconds)
	n := 0
	for _, f := range r.Findings {
		if f.Status != state.CheckPass && f.Code != RecordDNSSECSkipped {
			if n++; n > 8 {
				break
			}
			t.Logf("   %-7s %-12s %-25s %-30s %.300q", f.Status, f.Harm, f.Code, f.Subject, f.Text)
		}
	}
}

func TestZZ(t *testing.T) {
	worlds := []struct {
		name string
		f    func(w *world)
	}{
		{"17 MX last uncovered", func(w *world) {
			var recs []string
			pol := "version: STSv1\r\nmode: enforce\r\n"
			for i := range 17 {
				h := fmt.Sprintf("m%02d.example.test", i)
				ip := fmt.Sprintf("198.51.100.%d", i)
				recs = append(recs, fmt.Sprintf("10 %s.", h))
				w.set(h, "A", ip)
				w.mail(ip, dialogue{tls: w.certificate(h)})
				if i < 16 {
					pol += "mx: " + h + "\r\n"
				}
			}
			w.set("example.test", "MX", recs...)
			w.policy(pol + "max_age: 2419200\r\n")
		}},
		{"v6 serves policy with wrong mx", func(w *world) {
			w.webs[web6].handle = func(rw http.ResponseWriter, r *http.Request) {
				rw.Header().Set("Content-Type", "text/plain")
				io.WriteString(rw, "version: STSv1\r\nmode: enforce\r\nmx: old.example.test\r\nmax_age: 2419200\r\n")
			}
		}},
		{"mode testing then enforce, mx uncovered", func(w *world) {
			w.policy("version: STSv1\r\nmode: testing\r\nmode: enforce\r\nmx: old.example.test\r\nmax_age: 2419200\r\n")
		}},
		{"our UA filtered, mx uncovered", func(w *world) {
			w.policy("version: STSv1\r\nmode: enforce\r\nmx: old.example.test\r\nmax_age: 2419200\r\n")
			w.everywhere(func(rw http.ResponseWriter, r *http.Request) {
				if strings.Contains(r.UserAgent(), "stshost") {
					http.Error(rw, "no", 403)
					return
				}
				rw.Header().Set("Content-Type", "text/plain")
				io.WriteString(rw, w.body)
			})
		}},
		{"h2 broken, h1 fine, mx uncovered", func(w *world) {
			w.policy("version: STSv1\r\nmode: enforce\r\nmx: old.example.test\r\nmax_age: 2419200\r\n")
			w.everywhere(func(rw http.ResponseWriter, r *http.Request) {
				if r.ProtoMajor == 2 {
					panic(http.ErrAbortHandler)
				}
				rw.Header().Set("Content-Type", "text/plain")
				io.WriteString(rw, w.body)
			})
		}},
		{"content-type text/plain; charset", func(w *world) { w.everywhere(answers(200, "text/plain; charset")) }},
		{"content-type dup charset", func(w *world) { w.everywhere(answers(200, "text/plain; charset=utf-8; charset=utf-8")) }},
		{"slow 4s per request", func(w *world) {
			w.everywhere(func(rw http.ResponseWriter, r *http.Request) {
				time.Sleep(4 * time.Second)
				answers(200, "text/plain")(rw, r)
			})
		}},
		{"slow 21s per request", func(w *world) {
			w.everywhere(func(rw http.ResponseWriter, r *http.Request) {
				time.Sleep(21 * time.Second)
				answers(200, "text/plain")(rw, r)
			})
		}},
		{"wildcard CNAME no MTA-STS", func(w *world) {
			w.record()
			w.set(policyHost, "A")
			w.set(policyHost, "AAAA")
			w.txt("_smtp._tls.example.test")
			w.txt("example.test", "v=spf1 -all")
			w.set("example.test", "A", "192.0.2.80")
			w.alias("*.example.test", "example.test.")
		}},
		{"EHLO 502", func(w *world) {
			w.mail(mx2, dialogue{tls: w.certificate("mx2.example.test"), ehlo: "502 5.5.2 command not recognized"})
		}},
		{"EHLO over TLS 550 no PTR", func(w *world) {
			w.mail(mx2, dialogue{tls: w.certificate("mx2.example.test"), ehloTLS: "550 5.7.1 your address has no name"})
		}},
		{"EHLO over TLS 421", func(w *world) {
			w.mail(mx2, dialogue{tls: w.certificate("mx2.example.test"), ehloTLS: "421 4.7.0 too many connections"})
		}},
		{"9000 patterns", func(w *world) {
			w.policy("version: STSv1\nmode: enforce\nmx: mx1.example.test\nmax_age: 2419200\n" + strings.Repeat("mx:*.co\n", 8100))
		}},
		{"300 NS addresses", func(w *world) {
			w.set("example.test", "NS", "ns1.example.test.", "ns2.example.test.")
			var a []string
			for i := range 300 {
				a = append(a, fmt.Sprintf("127.7.%d.%d", i/250, i%250+1))
			}
			w.set("ns2.example.test", "A", a...)
		}},
		{"duplicate MX nonadjacent", func(w *world) {
			w.set("example.test", "MX", "10 mx1.example.test.", "20 mx2.example.test.", "30 mx1.example.test.")
			w.breaks(mx1+":25", syscall.ECONNREFUSED)
		}},
		{"nosni cert with ESC", func(w *world) {
			right := w.certificate("mx2.example.test")
			other, err := w.root.IssueAs(&x509.Certificate{DNSNames: []string{"a\x1b]0;pwn\x07\r\nX", strings.Repeat("y", 60000)}})
			if err != nil {
				w.t.Fatal(err)
			}
			w.mail(mx2, dialogue{tls: &tls.Config{GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
				if h.ServerName != "" {
					return &right.Certificates[0], nil
				}
				return &other, nil
			}}})
		}},
		{"chain of 8 CNAMEs", func(w *world) {
			w.alias(name, "c1.example.net.")
			for i := 1; i < 8; i++ {
				w.alias(fmt.Sprintf("c%d.example.net", i), fmt.Sprintf("c%d.example.net.", i+1))
			}
			w.txt("c8.example.net", announcement(goodPolicy))
		}},
		{"v6 of MX filtered on our side", func(w *world) {
			w.set("mx1.example.test", "AAAA", "2001:db8::25")
			w.set("mx2.example.test", "AAAA", "2001:db8::26")
			w.set("control.example.net", "AAAA", "2001:db8::99")
			for _, a := range []string{"25", "26", "99"} {
				w.breaks("[2001:db8::"+a+"]:25", syscall.ETIMEDOUT)
			}
		}},
		{"A lookup fails, v6 dead", func(w *world) {
			fail := dns.TypeA
			w.dns.Fail(labFault(policyHost, fail))
			w.breaks("["+web6+"]:443", syscall.ECONNREFUSED)
		}},
		{"five A records, first four dead", func(w *world) {
			w.set(policyHost, "AAAA")
			w.set(policyHost, "A", web4, "192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4")
		}},
		{"TLSRPT bidi and long", func(w *world) {
			w.txt("_smtp._tls.example.test", "v=TLSRPTv1; rua=mailto:a\u202e@example.test,https://h/"+strings.Repeat("x", 20000))
		}},
	}
	for _, c := range worlds {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			c.f(w)
			r := w.examine()
			dump(t, r)
			for _, f := range r.Findings {
				if f.Code == TLSRPTOK && c.name == "TLSRPT bidi and long" {
					t.Logf("TLSRPTOK text len %d, bidi %v", len(f.Text), strings.Contains(f.Text, "\u202e"))
				}
			}
		})
	}
}

func TestZZEval(t *testing.T) {
	base := func(t *testing.T) Evidence {
		w := newWorld(t)
		ev := New(w.cfg).Collect(t.Context(), "example.test")
		return ev
	}
	t.Run("servers all empty", func(t *testing.T) {
		ev := base(t)
		for i := range ev.Record.Servers {
			ev.Record.Servers[i].TXT = nil
		}
		r := Evaluate(ev)
		dump(t, r)
		t.Log(texts(r, RecordServersAgree))
	})
	t.Run("DANE timeout", func(t *testing.T) {
		ev := base(t)
		h := &ev.MX.Hosts[0]
		h.Addresses[0] = SMTPLook{Family: "IPv4", Address: h.Addresses[0].Address, Stage: SMTPSTARTTLS, STARTTLS: true, Err: &smtpError{"slow", context.DeadlineExceeded}}
		rr, _ := dns.NewRR("_25._tcp.mx1.example.test. 60 IN TLSA 3 1 1 " + strings.Repeat("ab", 32))
		h.TLSA = TLSAEvidence{Answer: resolver.Answer{Records: []dns.RR{rr}}, Judged: true, Secure: true}
		dump(t, Evaluate(ev))
	})
}

func TestZZParallelSameAddress(t *testing.T) {
	w := newWorld(t)
	var recs []string
	for i := range 16 {
		h := fmt.Sprintf("m%02d.example.test", i)
		recs = append(recs, fmt.Sprintf("10 %s.", h))
		w.set(h, "A", mx1)
	}
	w.set("example.test", "MX", recs...)
	var now, most, total atomic.Int32
	dial := w.cfg.Dial
	w.cfg.Dial = func(ctx context.Context, n, a string) (net.Conn, error) {
		if !strings.HasSuffix(a, ":25") {
			return dial(ctx, n, a)
		}
		total.Add(1)
		if v := now.Add(1); v > most.Load() {
			most.Store(v)
		}
		c, err := dial(ctx, n, a)
		if err != nil {
			now.Add(-1)
			return nil, err
		}
		return &counted2{Conn: c, f: sync.OnceFunc(func() { now.Add(-1) })}, nil
	}
	r := w.examine()
	t.Logf("total %d sessions to one address, at most %d at once; verdict %s", total.Load(), most.Load(), r.Verdict)
}

type counted2 struct {
	net.Conn
	f func()
}

func (c *counted2) Close() error { c.f(); return c.Conn.Close() }

// race of conn in get
func TestZZRace(t *testing.T) {
	p := New(Config{})
	for i := range 3000 {
		a, b := net.Pipe()
		go io.Copy(io.Discard, b)
		ctx, cancel := context.WithCancel(t.Context())
		go func() {
			for range i % 50 {
				_ = ctx.Err()
			}
			cancel()
		}()
		p.get(ctx, "http://x.example/", "x", a)
		cancel()
		b.Close()
	}
}
