package mtatest

import (
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stshost/stshost/internal/lab"
)

// Without policies Postfix is content with what it gets, and what became of a
// message is told.
func TestPostfixSender(t *testing.T) {
	nameserver := netip.MustParseAddr("127.0.0.53")
	if !OwnNetwork(t, nameserver) {
		return
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	dns, err := lab.StartDNS(lab.DNSConfig{})
	must(err)
	t.Cleanup(func() { dns.Close() })
	ForwardUDP(t, "127.0.0.53:53", dns.Addr())
	must(dns.AddZone("example.test"))
	must(dns.Set("example.test", "MX", "10 mx.example.test."))
	must(dns.Set("mx.example.test", "A", "127.0.0.2"))
	root, err := lab.NewRoot("Test Root")
	must(err)
	cert, err := root.Issue(time.Time{}, "mx.example.test")
	must(err)
	mx, err := lab.StartMX(lab.MXConfig{Hosts: []string{"mx.example.test"}, Certificate: &cert})
	must(err)
	t.Cleanup(func() { mx.Close() })
	roots := filepath.Join(t.TempDir(), "roots.pem")
	must(os.WriteFile(roots, root.PEM(), 0o644))
	sender := PostfixSender(t, SenderConfig{Host: "sender.test", RootsFile: roots})

	if a := sender.Send(t, "alice@sender.test", "bob@elsewhere.test", "Hello.\n"); a.Status != "bounced" || a.Code != "5.4.4" {
		t.Errorf("to a domain that does not exist: %+v", a)
	}
	if a := sender.Send(t, "alice@sender.test", "bob@example.test", "Hello.\n"); a.Status != "deferred" || a.Code != "4.4.1" {
		t.Errorf("while nobody answers at port 25: %+v", a)
	}
	ForwardTCP(t, "127.0.0.2:25", mx.Addr)
	a := sender.Send(t, "alice@sender.test", "bob@example.test", "Hello.\n")
	if log := strings.Join(a.Log, "\n"); a.Status != "sent" || !strings.Contains(log, "Trusted TLS connection established to mx.example.test") {
		t.Errorf("to the MX host: %+v", a)
	}
	if m := mx.Messages(); len(m) != 1 || !m[0].TLS || !strings.Contains(string(m[0].Data), "Hello.") {
		t.Errorf("delivered: %+v", m)
	}
}
