package senders

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/stshost/stshost/mtasts"
)

// insideNamespace is set where the test runs itself in a network of its own.
const insideNamespace = "STSHOST_TEST_SENDERS_NAMESPACE"

// The installed program, mta-sts-query, judges a few cases by its whole path:
// the DNS on port 53, HTTPS on port 443. For that it gets a network and an
// /etc/resolv.conf of its own, which needs root.
func TestResolverByItsWholePath(t *testing.T) {
	requireResolver(t)
	if os.Getenv(insideNamespace) != "" {
		queryAll(t)
		return
	}
	if os.Geteuid() != 0 {
		t.Skip("only root can make a network namespace")
	}
	unshare := []string{"-n", "-m", "-p", "-f", "--kill-child", "--mount-proc"}
	if out, err := exec.Command("unshare", append(unshare, "true")...).CombinedOutput(); err != nil {
		t.Skipf("no namespace can be made here: %v: %s", err, out)
	}
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), "unshare", append(unshare, self, "-test.run=^TestResolverByItsWholePath$", "-test.v")...)
	cmd.Env = append(os.Environ(), insideNamespace+"=1")
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), judgedAll) {
		t.Fatalf("in the namespace: %v\n%s", err, out)
	}
}

// judgedAll is logged when the program has judged every case.
const judgedAll = "all cases were judged"

// wholeCase is one policy domain.
type wholeCase struct {
	txts   [][]string // TXT records in their strings
	body   string
	bare   bool // the Content-Type has no charset
	status int  // 0: 200
}

func wholeCases() []wholeCase {
	one := func(s string) [][]string { return [][]string{{s}} }
	all := bodies()
	cases := []wholeCase{
		{txts: [][]string{{"v=STSv1; ", "id=20260301", "T000000Z;"}}, body: goodBody},
		{txts: [][]string{{goodRecord}, {goodRecord}}, body: goodBody},
		{txts: [][]string{{goodRecord}, {"v=spf1 -all"}}, body: goodBody},
		{txts: [][]string{{goodRecord}, {"v=STSv10; id=a1;"}}, body: goodBody},
		{txts: [][]string{{goodRecord}, {"v=STSv1; id=ä;"}}, body: goodBody},
		{txts: one("v=STSv1; id=a-b"), body: goodBody},
		{txts: one("id=a1; v=STSv1;"), body: goodBody},
		{body: goodBody},
		{txts: one(goodRecord), body: all["UTF-8"], bare: true},
		{txts: one(goodRecord), body: all["UTF-8"]},
		{txts: one(goodRecord), body: goodBody, status: http.StatusMovedPermanently},
	}
	for _, name := range []string{
		"canonical", "LF", "CR", "blank line within", "mode twice", "unknown key, URL", "age above", "age negative",
		"age with underscores", "mx with dot", "64 KB", "64 KB and one", "HTML", "U+2028 and a key in a value",
	} {
		cases = append(cases, wholeCase{txts: one(goodRecord), body: all[name]})
	}
	return cases
}

func (c wholeCase) joined() []string {
	var txts []string
	for _, parts := range c.txts {
		txts = append(txts, strings.Join(parts, ""))
	}
	return txts
}

// predicted is what mta-sts-query says, and what of the policy it shows.
func (c wholeCase) predicted() (result, shows string) {
	charset := utf8Label
	if c.bare {
		charset = ""
	}
	record, policy := resolverReader().ReadRecord(c.joined()), resolverReader().policy([]byte(c.body), charset)
	switch {
	case !record.OK:
		return "NONE", ""
	case !policy.OK || c.status != 0:
		return "FETCH_ERROR", ""
	}
	return "VALID", fmt.Sprintf("('%s', {'mx': ['%s'", record.ID, strings.Join(policy.MX, "', '"))
}

// queryAll serves all cases and has mta-sts-query judge each.
func queryAll(t *testing.T) {
	cases := wholeCases()
	zone := map[string]wholeCase{}
	for i, c := range cases {
		zone[domainOf(i)] = c
	}
	takeNetwork(t)
	serveDNS(t, zone)
	roots := serveHTTPS(t, zone)
	for i, c := range cases {
		cmd := exec.CommandContext(t.Context(), "/usr/bin/mta-sts-query", domainOf(i))
		cmd.Env = []string{"SSL_CERT_FILE=" + roots, "PATH=/usr/bin:/bin", "LC_ALL=C.UTF-8"}
		out, err := cmd.CombinedOutput()
		result, shows := c.predicted()
		if err != nil || !strings.Contains(string(out), "STSFetchResult."+result+":") || !strings.Contains(string(out), shows) {
			t.Errorf("%q, %.200q: predicted %s %s; read: %v %s", c.joined(), c.body, result, shows, err, out)
		}
	}
	t.Log(judgedAll)
}

func domainOf(i int) string { return fmt.Sprintf("case%d.example", i) }

// takeNetwork makes the namespace's loopback and resolv.conf ready.
func takeNetwork(t *testing.T) {
	t.Helper()
	conf := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(conf, []byte("nameserver 127.0.0.53\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	for _, command := range [][]string{{"ip", "link", "set", "lo", "up"}, {"mount", "--bind", conf, "/etc/resolv.conf"}} {
		if out, err := exec.Command(command[0], command[1:]...).CombinedOutput(); err != nil {
			t.Fatalf("%q: %v: %s", command, err, out)
		}
	}
}

func serveDNS(t *testing.T, zone map[string]wholeCase) {
	t.Helper()
	conn, err := net.ListenPacket("udp", "127.0.0.53:53")
	if err != nil {
		t.Fatal(err)
	}
	server := &dns.Server{PacketConn: conn, Handler: dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		answer := new(dns.Msg).SetReply(q)
		answer.Answer = answers(zone, q.Question[0])
		_ = w.WriteMsg(answer) // who asked times out then
	})}
	done := make(chan error, 1)
	go func() { done <- server.ActivateAndServe() }()
	t.Cleanup(func() {
		conn.Close()
		<-done
	})
}

func answers(zone map[string]wholeCase, q dns.Question) []dns.RR {
	header := dns.RR_Header{Name: q.Name, Rrtype: q.Qtype, Class: dns.ClassINET, Ttl: 60}
	name := strings.TrimSuffix(q.Name, ".")
	if domain, is := mtasts.PolicyDomain(name); is && q.Qtype == dns.TypeA {
		if _, known := zone[domain]; known {
			return []dns.RR{&dns.A{Hdr: header, A: net.IPv4(127, 0, 0, 1)}}
		}
	}
	domain, is := strings.CutPrefix(name, "_mta-sts.")
	if !is || q.Qtype != dns.TypeTXT {
		return nil
	}
	var rrs []dns.RR
	for _, txt := range zone[domain].txts {
		rrs = append(rrs, &dns.TXT{Hdr: header, Txt: txt})
	}
	return rrs
}

// serveHTTPS serves the policies, and returns the file of the root to trust.
func serveHTTPS(t *testing.T, zone map[string]wholeCase) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:443")
	if err != nil {
		t.Fatal(err)
	}
	certificate, roots := selfSigned(t, zone)
	server := &http.Server{
		TLSConfig: &tls.Config{Certificates: []tls.Certificate{certificate}},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			domain, _ := mtasts.PolicyDomain(r.Host)
			c := zone[domain]
			w.Header().Set("Content-Type", "text/plain; charset=utf-8")
			if c.bare {
				w.Header().Set("Content-Type", "text/plain")
			}
			if c.status != 0 {
				w.Header().Set("Location", "https://mta-sts."+domainOf(0)+mtasts.PolicyPath)
				w.WriteHeader(c.status)
			}
			_, _ = w.Write([]byte(c.body)) // the reader judges what it gets
		}),
	}
	done := make(chan error, 1)
	go func() { done <- server.ServeTLS(listener, "", "") }()
	t.Cleanup(func() {
		server.Close()
		<-done
	})
	return roots
}

func selfSigned(t *testing.T, zone map[string]wholeCase) (tls.Certificate, string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IsCA: true, BasicConstraintsValid: true,
	}
	for domain := range zone {
		template.DNSNames = append(template.DNSNames, mtasts.PolicyHost(domain))
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "roots.pem")
	text := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := os.WriteFile(file, text, 0o644); err != nil {
		t.Fatal(err)
	}
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, file
}
