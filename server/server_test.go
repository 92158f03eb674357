package server_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/stshost/stshost/server"
)

const (
	policyA = "version: STSv1\r\nmode: testing\r\nmx: mx1.a.example\r\nmax_age: 604800\r\n"
	policyB = "version: STSv1\r\nmode: enforce\r\nmx: mx1.b.example\r\nmax_age: 604800\r\n"
)

// ca signs the certificates of a test.
type ca struct {
	cert  *x509.Certificate
	key   *ecdsa.PrivateKey
	roots *x509.CertPool
}

func newCA(t testing.TB) *ca {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test root"}, IsCA: true, BasicConstraintsValid: true,
		// From before the clock of testing/synctest starts.
		NotBefore: time.Date(1999, 1, 1, 0, 0, 0, 0, time.UTC), NotAfter: time.Now().Add(100 * time.Hour), KeyUsage: x509.KeyUsageCertSign,
	}
	c := &ca{key: key, roots: x509.NewCertPool()}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, tmpl, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	if c.cert, err = x509.ParseCertificate(der); err != nil {
		t.Fatal(err)
	}
	c.roots.AddCert(c.cert)
	return c
}

func (c *ca) issue(t testing.TB, host string) *tls.Certificate {
	t.Helper()
	tmpl := &x509.Certificate{
		SerialNumber: big.NewInt(2), DNSNames: []string{host},
		NotBefore: c.cert.NotBefore, NotAfter: c.cert.NotAfter, KeyUsage: x509.KeyUsageDigitalSignature,
	}
	der, err := x509.CreateCertificate(rand.Reader, tmpl, c.cert, c.key.Public(), c.key)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Certificate{Certificate: [][]byte{der}, PrivateKey: c.key}
}

// world is a Server with the hosts mta-sts.a.example and mta-sts.b.example, which
// have a policy, mta-sts.new.example, which has none yet, and
// mta-sts.nocert.example, which has no certificate either.
type world struct {
	*server.Server
	policies *server.Policies
	ca       *ca
	https    string
	http     string
}

// start runs a world until the test ends. edit may change its Config.
func start(t *testing.T, edit func(*server.Config)) *world {
	t.Helper()
	w := &world{policies: server.NewPolicies(), ca: newCA(t)}
	w.policies.Set("a.example", []byte(policyA))
	w.policies.Set("b.example", []byte(policyB))
	w.policies.SetHosts(map[string]struct{}{"mta-sts.new.example": {}, "mta-sts.nocert.example": {}})
	certs := map[string]*tls.Certificate{}
	for _, h := range []string{"mta-sts.a.example", "mta-sts.b.example", "mta-sts.new.example"} {
		certs[h] = w.ca.issue(t, h)
	}
	cfg := server.Config{
		Policies: w.policies,
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if c := certs[hello.ServerName]; c != nil {
				return c, nil
			}
			return nil, errors.New("no certificate yet")
		},
	}
	if edit != nil {
		edit(&cfg)
	}
	w.Server = newServer(t, cfg)
	w.https = serve(t, w.ServeHTTPS)
	w.http = serve(t, w.ServeHTTP)
	return w
}

func newServer(t testing.TB, cfg server.Config) *server.Server {
	t.Helper()
	s, err := server.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// serve runs a Serve method on a loopback port until the test ends, and sees
// that it then returns nil.
func serve(t testing.TB, run func(context.Context, net.Listener) error) (addr string) {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	serveOn(t, ln, run)
	return ln.Addr().String()
}

// client returns a client whose connections all go to addr, with sni as the
// server name, and which follows no redirects.
func (w *world) client(t *testing.T, addr, sni string, h2 bool) *http.Client {
	t.Helper()
	tr := &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			var d net.Dialer
			return d.DialContext(ctx, network, addr)
		},
		TLSClientConfig:   &tls.Config{RootCAs: w.ca.roots, ServerName: sni},
		ForceAttemptHTTP2: h2,
	}
	t.Cleanup(tr.CloseIdleConnections)
	return &http.Client{Transport: tr, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
}

// do makes a request and returns the response with its body read.
func do(t *testing.T, c *http.Client, method, url string, edit ...func(*http.Request)) (*http.Response, string) {
	t.Helper()
	req, err := http.NewRequest(method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range edit {
		e(req)
	}
	resp, err := c.Do(req)
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatalf("%s %s: %v", method, url, err)
	}
	return resp, string(body)
}
