package check

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"log"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stshost/stshost/internal/lab"
	"github.com/stshost/stshost/internal/resolver"
	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
)

// A world is a small Internet on loopback around the policy domain example.test:
// its DNS, a policy host with an IPv4 and an IPv6 address, and two MX hosts. Its
// addresses are those of documentation (RFC 5737, RFC 3849), which the dialer
// leads to loopback. A new one is in order; tests break it.
type world struct {
	t    *testing.T
	dns  *lab.DNS
	root *lab.Root
	cfg  Config

	body   string          // of the policy that every address serves
	webs   map[string]*web // by address
	served *state.Served   // what a store remembers

	mu     sync.Mutex
	routes map[string]string // host:port → where it is on loopback
	down   map[string]error  // host:port → why it takes no connection
	agents []string          // User-Agents seen
	mails  int               // connections to mail hosts
	later  time.Duration     // how much later it is than it is
}

const (
	web4 = "192.0.2.10"
	web6 = "2001:db8::10"
	mx1  = "192.0.2.25"
	mx2  = "192.0.2.26"

	goodPolicy = "version: STSv1\r\nmode: enforce\r\nmx: mx1.example.test\r\nmx: mx2.example.test\r\nmax_age: 2419200\r\n"
)

// errHole is for addresses that swallow what is sent to them.
var errHole = errors.New("nothing comes back")

// web is one address of the policy host.
type web struct {
	tls    *tls.Config
	handle http.HandlerFunc
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{t: t, webs: make(map[string]*web), routes: make(map[string]string), down: make(map[string]error)}
	var err error
	if w.dns, err = lab.StartDNS(lab.DNSConfig{TTL: 5 * time.Minute}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { w.dns.Close() })
	if w.root, err = lab.NewRoot("World Root"); err != nil {
		t.Fatal(err)
	}
	res, err := resolver.New(resolver.Config{Servers: []string{w.dns.Addr()}, AuthPort: w.dns.Port(), Timeout: 4 * time.Second, Attempts: 1})
	if err != nil {
		t.Fatal(err)
	}
	w.cfg = Config{Resolver: res, Roots: w.root.Pool(), Dial: w.dial, Name: "probe.example.net",
		Route: func(netip.Addr) error { return nil }, SMTPControl: []string{"control.example.net"},
		Now:      w.now,
		Remember: func(context.Context, string) (*state.Served, error) { return w.served, nil }}

	w.zone("example.test")
	w.zone("example.net")
	w.policy(goodPolicy)
	w.set("mta-sts.example.test", "A", web4)
	w.set("mta-sts.example.test", "AAAA", web6)
	w.set("example.test", "MX", "10 mx1.example.test.", "20 mx2.example.test.")
	w.set("mx1.example.test", "A", mx1)
	w.set("mx2.example.test", "A", mx2)
	w.txt("_smtp._tls.example.test", "v=TLSRPTv1; rua=mailto:tls@example.test")
	w.set("control.example.net", "A", "192.0.2.99")
	w.host(web4, w.certificate("mta-sts.example.test"))
	w.host(web6, w.certificate("mta-sts.example.test"))
	w.mail(mx1, dialogue{tls: w.certificate("mx1.example.test")})
	w.mail(mx2, dialogue{tls: w.certificate("mx2.example.test")})
	return w
}

// examine judges the world.
func (w *world) examine() state.Report {
	w.t.Helper()

	report, err := New(w.cfg).Examine(w.t.Context(), "example.test")
	if err != nil {
		w.t.Fatal(err)
	}
	return report
}

// dial leads an address to where it is on loopback.
func (w *world) dial(ctx context.Context, network, address string) (net.Conn, error) {
	w.mu.Lock()
	to, known := w.routes[address]
	down := w.down[address]
	if strings.HasSuffix(address, ":25") {
		w.mails++
	}
	w.mu.Unlock()
	if down == errHole {
		<-ctx.Done()
		down = ctx.Err()
	}
	if down == nil && !known {
		down = syscall.ECONNREFUSED
	}
	if down != nil {
		return nil, &net.OpError{Op: "dial", Net: network, Err: down}
	}
	return new(net.Dialer).DialContext(ctx, "tcp", to)
}

func (w *world) visits() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.mails
}

func (w *world) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	return time.Now().Add(w.later)
}

// pass has time pass.
func (w *world) pass(d time.Duration) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.later += d
}

// breaks makes host:port take no connection, for the reason err.
func (w *world) breaks(address string, err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.down[address] = err
}

func (w *world) route(address string, to net.Addr) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.routes[address] = to.String()
}

func (w *world) zone(name string) {
	w.t.Helper()
	if err := w.dns.AddZone(name); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) set(name, typ string, data ...string) {
	w.t.Helper()
	if err := w.dns.Set(name, typ, data...); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) txt(name string, texts ...string) {
	w.t.Helper()
	if err := w.dns.SetTXT(name, texts...); err != nil {
		w.t.Fatal(err)
	}
}

// record makes texts the TXT records at _mta-sts.example.test.
func (w *world) record(texts ...string) {
	w.t.Helper()
	w.txt("_mta-sts.example.test", texts...)
}

// alias makes a name a CNAME and nothing else.
func (w *world) alias(name, target string) {
	w.t.Helper()
	if err := w.dns.Remove(name, ""); err != nil {
		w.t.Fatal(err)
	}
	w.set(name, "CNAME", target)
}

// policy has every address serve body, and announces it.
func (w *world) policy(body string) {
	w.t.Helper()
	w.body = body
	w.record(announcement(body))
}

func announcement(body string) string {
	return mtasts.Record{ID: mtasts.NewID(time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), []byte(body))}.String()
}

// edit serves and announces the good policy with old replaced.
func (w *world) edit(old, replacement string) {
	w.t.Helper()
	if !strings.Contains(goodPolicy, old) {
		w.t.Fatalf("the policy has no %q", old)
	}
	w.policy(strings.Replace(goodPolicy, old, replacement, 1))
}

// certificate is the TLS of a server with a certificate for names.
func (w *world) certificate(names ...string) *tls.Config {
	w.t.Helper()
	return w.expiring(time.Time{}, names...)
}

func (w *world) expiring(until time.Time, names ...string) *tls.Config {
	w.t.Helper()
	return serverTLS(w.t, w.root, until, names...)
}

func serverTLS(t *testing.T, root *lab.Root, until time.Time, names ...string) *tls.Config {
	t.Helper()
	cert, err := root.Issue(until, names...)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: tls.VersionTLS10}
}

// stranger is the TLS of a server whose certificate nobody trusts.
func (w *world) stranger(names ...string) *tls.Config {
	w.t.Helper()
	return serverTLS(w.t, w.other(), time.Time{}, names...)
}

// host starts an address of the policy host. What it does can be changed until
// the examination.
func (w *world) host(ip string, cfg *tls.Config) {
	w.t.Helper()
	h := &web{tls: cfg}
	w.webs[ip] = h
	s := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		w.mu.Lock()
		w.agents = append(w.agents, r.Header.Get("User-Agent"))
		w.mu.Unlock()
		if h.handle != nil {
			h.handle(rw, r)
			return
		}
		rw.Header().Set("Content-Type", "text/plain; charset=utf-8")
		io.WriteString(rw, w.body)
	}))
	s.EnableHTTP2 = true
	s.Config.ErrorLog = log.New(io.Discard, "", 0)
	s.TLS = &tls.Config{GetConfigForClient: func(*tls.ClientHelloInfo) (*tls.Config, error) {
		c := h.tls.Clone()
		if c.MaxVersion == 0 { // HTTP/2 wants TLS 1.2 (RFC 9113 §9.2)
			c.NextProtos = []string{"h2", "http/1.1"}
		}
		return c, nil
	}, Certificates: cfg.Certificates}
	s.StartTLS()
	w.t.Cleanup(s.Close)
	w.route(net.JoinHostPort(ip, "443"), s.Listener.Addr())
}

// everywhere has each address of the policy host do the same.
func (w *world) everywhere(handle http.HandlerFunc) {
	for _, h := range w.webs {
		h.handle = handle
	}
}

// everyTLS has each address of the policy host show the same.
func (w *world) everyTLS(cfg *tls.Config) {
	for _, h := range w.webs {
		h.tls = cfg
	}
}

// plain starts port 80 of an address.
func (w *world) plain(ip string, handle http.HandlerFunc) {
	w.t.Helper()
	s := httptest.NewServer(handle)
	w.t.Cleanup(s.Close)
	w.route(net.JoinHostPort(ip, "80"), s.Listener.Addr())
}

// mail starts a mail host at ip, in place of the one that was there.
func (w *world) mail(ip string, d dialogue) {
	w.t.Helper()
	s := serveSMTP(w.t, d.script)
	w.route(net.JoinHostPort(ip, "25"), net.TCPAddrFromAddrPort(s.addr))
}

// secondServer makes host, at another address, an authoritative server of
// example.test, too, with no record of the domain. The function sets one there.
func (w *world) secondServer(host string) (record func(texts ...string)) {
	w.t.Helper()
	second, err := lab.StartDNS(lab.DNSConfig{Addr: net.JoinHostPort("127.0.0.2", strconv.Itoa(w.dns.Port()))})
	if err != nil {
		w.t.Skipf("this machine has no second loopback address: %v", err)
	}
	w.t.Cleanup(func() { second.Close() })
	if err := second.AddZone("example.test"); err != nil {
		w.t.Fatal(err)
	}
	w.set("example.test", "NS", "ns1.example.test.", host+".")
	w.set(host, "A", "127.0.0.2")
	return func(texts ...string) {
		if err := second.SetTXT("_mta-sts.example.test", texts...); err != nil {
			w.t.Fatal(err)
		}
	}
}

// distant is a time that is not reached while the test runs.
func distant() time.Time { return time.Now().AddDate(0, 1, 0) }

// other is a root that nobody trusts.
func (w *world) other() *lab.Root {
	w.t.Helper()
	root, err := lab.NewRoot("Unknown Root")
	if err != nil {
		w.t.Fatal(err)
	}
	return root
}

// reroute leads address to where another leads.
func (w *world) reroute(address, like string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.routes[address] = w.routes[like]
}

func noIPv6(addr netip.Addr) error {
	if addr.Is6() {
		return errors.New("no IPv6 route from this machine")
	}
	return nil
}

// commonName is the TLS of a server whose certificate has the name as common
// name, and no dNSName.
func (w *world) commonName(name string) *tls.Config {
	w.t.Helper()
	cert, err := w.root.IssueAs(&x509.Certificate{Subject: pkix.Name{CommonName: name}})
	if err != nil {
		w.t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{cert}}
}

// withSNI is the TLS of a server with the right certificate for those who name
// it, and one of another name for all others.
func (w *world) withSNI(name string) *tls.Config {
	right, other := w.certificate(name), w.certificate("default.example.test")
	return &tls.Config{GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
		if hello.ServerName == name {
			return &right.Certificates[0], nil
		}
		return &other.Certificates[0], nil
	}}
}

// policyOnly has every address serve the good policy with another mode. Somebody
// else announces it.
func (w *world) policyOnly(mode string) {
	w.body = strings.Replace(goodPolicy, "enforce", mode, 1)
}
