// Package dnstest starts real authoritative DNS servers for tests: Knot DNS,
// BIND and PowerDNS as Debian packages them, on loopback, unprivileged, in
// temporary directories, and ended with the test.
package dnstest

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"errors"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// Server is a running authoritative server. Each of its zones has an SOA, the
// NS ns1.<zone> and that name's A 127.0.0.1.
type Server struct {
	Kind string // "knot", "bind" or "powerdns"
	Addr string // host:port of DNS, UDP and TCP
	Port int    // the port of Addr

	// The key a client under test is given. Knot and BIND let it change TXT
	// records only; PowerDNS knows no such limit.
	TSIGName, TSIGAlgorithm, TSIGSecret string

	// A key of the same algorithm that the server knows and that may change
	// nothing.
	IdleName, IdleSecret string

	// PowerDNS only.
	APIURL, APIKey string

	adminName, adminSecret string // may change everything; "" where the API does it
	zones                  []string
	process                *process
}

// tsigAlgorithm is what every key of this package uses.
const tsigAlgorithm = "hmac-sha256"

// RequireServer skips the test if a server's binary is not installed, naming
// the Debian package that has it. With STSHOST_REQUIRE_SERVERS=1, as CI sets
// it, the test fails instead. It returns the path of the binary.
func RequireServer(t testing.TB, binary, debianPackage string) string {
	t.Helper()
	path, err := exec.LookPath(binary)
	if err != nil {
		// Daemons live in sbin, which is not on every user's PATH.
		path, err = exec.LookPath(filepath.Join("/usr/sbin", binary))
	}
	if err == nil {
		return path
	}
	missing(t, binary, debianPackage)
	return ""
}

// RequireFile is RequireServer for a part of a server that is a file.
func RequireFile(t testing.TB, path, debianPackage string) {
	t.Helper()
	if _, err := os.Stat(path); err != nil {
		missing(t, path, debianPackage)
	}
}

// missing ends a test that needs what is not installed.
func missing(t testing.TB, what, debianPackage string) {
	t.Helper()
	if os.Getenv("STSHOST_REQUIRE_SERVERS") == "1" {
		t.Fatalf("%s is not installed (Debian package %s) and STSHOST_REQUIRE_SERVERS=1 asks for it", what, debianPackage)
	}
	t.Skipf("%s is not installed; install the Debian package %s", what, debianPackage)
}

// AddRecord adds records in zone-file syntax, with absolute names and TTLs.
func (s *Server) AddRecord(t testing.TB, records ...string) {
	t.Helper()
	s.change(t, func(m *dns.Msg, rrs []dns.RR) { m.Insert(rrs) }, records)
}

// RemoveRecord removes exactly these records.
func (s *Server) RemoveRecord(t testing.TB, records ...string) {
	t.Helper()
	s.change(t, func(m *dns.Msg, rrs []dns.RR) { m.Remove(rrs) }, records)
}

// AddA adds an IPv4 address.
func (s *Server) AddA(t testing.TB, name, addr string) {
	t.Helper()
	s.AddRecord(t, dns.Fqdn(name)+" 60 IN A "+addr)
}

// change sends one RFC 2136 update per record under the administrator's key.
func (s *Server) change(t testing.TB, edit func(*dns.Msg, []dns.RR), records []string) {
	t.Helper()
	for _, text := range records {
		rr, err := dns.NewRR(text)
		if err != nil {
			t.Fatalf("record %q: %v", text, err)
		}
		m := new(dns.Msg)
		m.SetUpdate(s.zoneOf(t, rr.Header().Name))
		edit(m, []dns.RR{rr})
		m.SetTsig(s.adminName, tsigAlgorithm+".", 300, time.Now().Unix())
		c := &dns.Client{Net: "tcp", Timeout: 5 * time.Second, TsigSecret: map[string]string{s.adminName: s.adminSecret}}
		r, _, err := c.Exchange(m, s.Addr)
		if err != nil {
			t.Fatalf("update %s with %q: %v", s.Kind, text, err)
		}
		if r.Rcode != dns.RcodeSuccess {
			t.Fatalf("update %s with %q: %s", s.Kind, text, dns.RcodeToString[r.Rcode])
		}
	}
}

func (s *Server) zoneOf(t testing.TB, name string) string {
	t.Helper()
	best := ""
	for _, z := range s.zones {
		if dns.IsSubDomain(z, name) && len(z) > len(best) {
			best = z
		}
	}
	if best == "" {
		t.Fatalf("%s is in none of the zones %v", name, s.zones)
	}
	return best
}

// TXT asks the server for the TXT records at name, in presentation format
// with their strings apart.
func (s *Server) TXT(t testing.TB, name string) [][]string {
	t.Helper()
	m := new(dns.Msg)
	m.SetQuestion(dns.Fqdn(name), dns.TypeTXT)
	r, _, err := (&dns.Client{Net: "tcp", Timeout: 5 * time.Second}).Exchange(m, s.Addr)
	if err != nil {
		t.Fatalf("ask %s for TXT %s: %v", s.Kind, name, err)
	}
	var out [][]string
	for _, rr := range r.Answer {
		if txt, ok := rr.(*dns.TXT); ok {
			out = append(out, txt.Txt)
		}
	}
	return out
}

// Serial returns the serial number of a zone's SOA, which grows with every
// change.
func (s *Server) Serial(t testing.TB, zone string) uint32 {
	t.Helper()
	m := new(dns.Msg)
	m.SetQuestion(dns.Fqdn(zone), dns.TypeSOA)
	r, _, err := (&dns.Client{Net: "tcp", Timeout: 5 * time.Second}).Exchange(m, s.Addr)
	if err != nil || len(r.Answer) == 0 {
		t.Fatalf("ask %s for the SOA of %s: %v", s.Kind, zone, err)
	}
	return r.Answer[0].(*dns.SOA).Serial
}

// Stop ends the server before the test ends, so that it can be missed.
func (s *Server) Stop() { s.process.stop() }

// newServer makes the parts that every kind has.
func newServer(t testing.TB, kind string, zones []string) *Server {
	t.Helper()
	if len(zones) == 0 {
		t.Fatal("a server without zones")
	}
	s := &Server{
		Kind:          kind,
		Port:          freePort(t),
		TSIGName:      "stshost-test.",
		TSIGAlgorithm: tsigAlgorithm,
		TSIGSecret:    randomSecret(),
		IdleName:      "idle-test.",
		IdleSecret:    randomSecret(),
		adminName:     "admin-test.",
		adminSecret:   randomSecret(),
	}
	s.Addr = net.JoinHostPort("127.0.0.1", itoa(s.Port))
	for _, z := range zones {
		s.zones = append(s.zones, dns.CanonicalName(z))
	}
	return s
}

// zoneFile is the first content of a zone.
func zoneFile(zone string) string {
	return strings.ReplaceAll(`$TTL 60
ZONE 60 IN SOA ns1.ZONE hostmaster.ZONE 1 3600 600 86400 1
ZONE 60 IN NS ns1.ZONE
ns1.ZONE 60 IN A 127.0.0.1
`, "ZONE", zone)
}

func randomSecret() string {
	b := make([]byte, 32)
	rand.Read(b)
	return base64.StdEncoding.EncodeToString(b)
}

// freePort finds a port that is free for both TCP and UDP on loopback.
func freePort(t testing.TB) int {
	t.Helper()
	for range 20 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		port := l.Addr().(*net.TCPAddr).Port
		p, err := net.ListenUDP("udp", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port})
		l.Close()
		if err == nil {
			p.Close()
			return port
		}
	}
	t.Fatal("no port is free for both TCP and UDP")
	return 0
}

func writeFile(t testing.TB, path, content string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// process is a server that runs until stop or the end of the test.
type process struct {
	cmd  *exec.Cmd
	out  *output
	done chan struct{}
	once sync.Once
}

// start runs a server and waits until it answers for its first zone.
func (s *Server) start(t testing.TB, dir, binary string, args ...string) {
	t.Helper()
	out := &output{}
	cmd := exec.Command(binary, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = dir, out, out
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", binary, err)
	}
	p := &process{cmd: cmd, out: out, done: make(chan struct{})}
	s.process = p
	go func() {
		cmd.Wait()
		close(p.done)
	}()
	t.Cleanup(func() {
		p.stop()
		if t.Failed() {
			t.Logf("%s said:\n%s", s.Kind, out)
		}
	})
	for _, zone := range s.zones {
		if err := s.answers(zone); err != nil {
			t.Fatalf("%s does not answer for %s: %v\n%s", s.Kind, zone, err, out)
		}
	}
}

// answers asks for the zone's SOA until it comes.
func (s *Server) answers(zone string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	m := new(dns.Msg)
	m.SetQuestion(zone, dns.TypeSOA)
	var last error
	for {
		r, _, err := (&dns.Client{Net: "tcp", Timeout: 2 * time.Second}).ExchangeContext(ctx, m, s.Addr)
		if err == nil && r.Rcode == dns.RcodeSuccess && len(r.Answer) > 0 {
			return nil
		}
		if err != nil {
			last = err
		} else {
			last = errors.New(dns.RcodeToString[r.Rcode])
		}
		select {
		case <-s.process.done:
			return errors.New("it ended by itself")
		case <-ctx.Done():
			return last
		case <-tick.C:
		}
	}
}

// stop ends the process by its id: TERM first, KILL if that is not heeded.
func (p *process) stop() {
	p.once.Do(func() {
		p.cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-p.done:
		case <-time.After(5 * time.Second):
			p.cmd.Process.Kill()
			<-p.done
		}
	})
}

// output collects what a server says.
type output struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (o *output) Write(b []byte) (int, error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.Write(b)
}

func (o *output) String() string {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.buf.String()
}
