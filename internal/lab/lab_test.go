package lab_test

import (
	"crypto/tls"
	"crypto/x509"
	"net"
	"net/http"
	"os"
	"slices"
	"strconv"
	"testing"

	"github.com/miekg/dns"
	"go.uber.org/goleak"

	"github.com/stshost/stshost/internal/lab"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// Pebble's queue of validations has no end.
		goleak.IgnoreTopFunction("github.com/letsencrypt/pebble/v2/va.VAImpl.processTasks"))
}

// The whole lab around a server of a few lines: certificate by ACME, policy
// by HTTPS, announcement by hand, read by the reader, and mail to every MX.
func TestLab(t *testing.T) {
	dir := t.TempDir()
	s := startSite(t, false, lab.Config{Dir: dir, Domains: []string{"Second.test"}})
	if _, err := s.issue("mta-sts.second.test"); err != nil {
		t.Fatal(err)
	}
	// A second listener for HTTPS would need the port of the first: serve the
	// policy from the CA's certificate on another port.
	ln, err := tls.Listen("tcp", "127.0.0.1:0", s.manager.TLSConfig())
	must(t, err)
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		_, _ = w.Write([]byte(goodPolicy))
	})}
	go srv.Serve(ln)
	defer srv.Close()
	must(t, s.DNS.SetTXT("_mta-sts.second.test", "v=STSv1; id=1;"))
	r := *s.Reader
	r.HTTPSPort = ln.Addr().(*net.TCPAddr).Port
	if id, body, err := r.Fetch(t.Context(), "second.test"); err != nil || id != "1" || body != goodPolicy {
		t.Errorf("reader: %q, %q, %v", id, body, err)
	}

	if got, want := s.DNS.Records("example.test", "MX"), []string{"10 mx1.mail.test.", "20 mx2.mail.test."}; !slices.Equal(got, want) {
		t.Errorf("MX = %q, want %q", got, want)
	}
	if got := s.DNS.Zones(); !slices.Equal(got, []string{"example.test.", "mail.test.", "second.test."}) {
		t.Errorf("zones = %v", got)
	}
	pem, err := os.ReadFile(s.RootsFile)
	must(t, err)
	pool := x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	for _, host := range []string{"mx1.mail.test", "mx2.mail.test"} {
		a := ask(t, s.DNS, "udp", host, "A")
		addr := net.JoinHostPort(a.Answer[0].(*dns.A).A.String(), strconv.Itoa(s.SMTPPort))
		if err := send(addr, host, &tls.Config{ServerName: host, RootCAs: pool}); err != nil {
			t.Errorf("mail to %s at %s: %v", host, addr, err)
		}
	}
	got := 0
	for _, mx := range s.MX {
		got += len(mx.Messages())
	}
	if got != 2 {
		t.Errorf("%d messages arrived, want 2", got)
	}

	pem, err = os.ReadFile(s.ACMERootsFile)
	must(t, err)
	pool = x509.NewCertPool()
	pool.AppendCertsFromPEM(pem)
	tr := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool}, DisableKeepAlives: true}
	resp, err := (&http.Client{Transport: tr}).Get(s.CA.DirectoryURL())
	must(t, err)
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("directory: HTTP %s", resp.Status)
	}
}

func TestLabNeedsNoMail(t *testing.T) {
	l := startLab(t, lab.Config{MXHosts: []string{}, Domains: []string{"example.test"}})
	if len(l.MX) != 0 || l.SMTPPort != 0 || l.DNS.Records("example.test", "MX") != nil {
		t.Errorf("MX %v, port %d, records %q; want none", l.MX, l.SMTPPort, l.DNS.Records("example.test", "MX"))
	}
}

func TestLabRefusesNonsense(t *testing.T) {
	for what, cfg := range map[string]lab.Config{
		"domain":    {Domains: []string{"bad..name"}},
		"mail host": {MXHosts: []string{"bad..name"}},
		"directory": {Dir: "/nonexistent/lab"},
	} {
		if l, err := lab.Start(t.Context(), cfg); err == nil {
			l.Close()
			t.Errorf("bad %s was accepted", what)
		}
	}
	if _, err := lab.StartCA(lab.CAConfig{}); err == nil {
		t.Error("a CA without DNS started")
	}
	if _, err := lab.StartDNS(lab.DNSConfig{Addr: "192.0.2.1:0"}); err == nil {
		t.Error("DNS on an address that is not ours started")
	}
}
