package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/stshost/stshost/internal/dnstest"
	"github.com/stshost/stshost/internal/lab"
	"github.com/stshost/stshost/mtasts"
)

// front is a reverse proxy of Debian's in front of stshost, run with a file
// from deploy/: what is documented is what is tested.
type front struct {
	w    *world
	name string
	out  *logBuffer
	stop func()
}

// deployed writes a file from deploy/ into the world with other values in it,
// given as old and new in turn. A value that the file no longer has fails the
// test.
func (w *world) deployed(name string, change ...string) (path string) {
	w.t.Helper()
	b, err := os.ReadFile(filepath.Join("../../deploy", name))
	if err != nil {
		w.t.Fatal(err)
	}
	text := string(b)
	for i := 0; i < len(change); i += 2 {
		if !strings.Contains(text, change[i]) {
			w.t.Fatalf("deploy/%s does not have %q", name, change[i])
		}
		text = strings.ReplaceAll(text, change[i], change[i+1])
	}
	return w.file(filepath.Base(name), text)
}

// file writes a file into the world's folder.
func (w *world) file(name, text string) (path string) {
	w.t.Helper()
	path = filepath.Join(w.dir, name)
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		w.t.Fatal(err)
	}
	return path
}

// proxyCertificate writes a certificate for host that senders trust, and its key,
// after each other in one file: a proxy's own.
func (w *world) proxyCertificate(host string) (path string) {
	w.t.Helper()
	cert, err := w.lab.Mail.Issue(time.Time{}, host)
	if err != nil {
		w.t.Fatal(err)
	}
	key, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		w.t.Fatal(err)
	}
	return w.file(host+".pem", string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: cert.Certificate[0]}))+
		string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: key})))
}

// front starts a proxy and waits until it listens where senders connect to.
func (w *world) front(binary string, args ...string) *front {
	w.t.Helper()
	f := &front{w: w, name: filepath.Base(binary), out: &logBuffer{}}
	cmd := exec.Command(binary, args...)
	cmd.Dir, cmd.Stdout, cmd.Stderr = w.dir, f.out, f.out
	cmd.Env = append(os.Environ(), "HOME="+w.dir, "XDG_DATA_HOME="+w.dir, "XDG_CONFIG_HOME="+w.dir)
	if err := cmd.Start(); err != nil {
		w.t.Fatal(err)
	}
	ended := make(chan struct{})
	go func() { cmd.Wait(); close(ended) }()
	f.stop = sync.OnceFunc(func() {
		cmd.Process.Signal(syscall.SIGTERM)
		select {
		case <-ended:
		case <-time.After(5 * time.Second):
			cmd.Process.Kill()
			<-ended
		}
	})
	w.t.Cleanup(func() {
		f.stop()
		if w.t.Failed() {
			w.t.Logf("%s said:\n%s", f.name, f.out)
		}
	})
	eventually(w.t, func() error {
		select {
		case <-ended:
			w.t.Fatalf("%s ended by itself:\n%s", f.name, f.out)
		default:
		}
		c, err := net.Dial("tcp", w.lab.HTTPSAddr)
		if err == nil {
			c.Close()
		}
		return err
	})
	return f
}

// nginx starts nginx with lines at the top level of its configuration.
func (w *world) nginx(lines string) *front {
	w.t.Helper()
	binary := dnstest.RequireServer(w.t, "nginx", "nginx")
	main := w.file("nginx.conf", "daemon off;\nmaster_process off;\npid "+w.dir+"/nginx.pid;\nerror_log stderr info;\n"+lines)
	return w.front(binary, "-p", w.dir, "-e", "stderr", "-c", main)
}

// nginxHTTP is the http block around a file from deploy/.
func (w *world) nginxHTTP(include string) string {
	var b strings.Builder
	b.WriteString("events {}\nhttp {\n\taccess_log off;\n")
	for _, t := range []string{"client_body", "proxy", "fastcgi", "uwsgi", "scgi"} {
		fmt.Fprintf(&b, "\t%s_temp_path %s;\n", t, filepath.Join(w.dir, t))
	}
	return b.String() + "\tinclude " + include + ";\n}\n"
}

// port finds a free one on loopback.
func (w *world) port() string {
	w.t.Helper()
	p, err := lab.FreePort("127.0.0.1")
	if err != nil {
		w.t.Fatal(err)
	}
	return strconv.Itoa(p)
}

// fetch gets the policy of a domain at addr as a sender does that has the
// address from.
func (w *world) fetch(from, addr, domain string) (status int, body string, err error) {
	host := mtasts.PolicyHost(domain)
	tr := &http.Transport{
		DisableKeepAlives: true,
		TLSClientConfig:   &tls.Config{RootCAs: w.lab.Roots(), ServerName: host},
		DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			d := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}
			return d.DialContext(ctx, "tcp", addr)
		},
	}
	resp, err := (&http.Client{Transport: tr, Timeout: 20 * time.Second}).Get(mtasts.PolicyURL(domain))
	if err != nil {
		return 0, "", err
	}
	defer resp.Body.Close()
	var b bytes.Buffer
	_, err = b.ReadFrom(resp.Body)
	return resp.StatusCode, b.String(), err
}

// seenFrom fetches the policy through the proxy, and wants the fetch log to have
// the client's address and not the proxy's.
func (r *running) seenFrom(domain string) {
	r.w.t.Helper()
	const client = "127.0.0.77"
	status, _, err := r.w.fetch(client, r.w.lab.HTTPSAddr, domain)
	if err != nil || status != http.StatusOK {
		r.w.t.Fatalf("a fetch through the proxy: %d, %v", status, err)
	}
	f, err := r.w.client().Fetches(r.w.t.Context(), domain)
	if err != nil {
		r.w.t.Fatal(err)
	}
	if len(f.Recent) == 0 || f.Recent[0].Remote != client && !strings.HasPrefix(f.Recent[0].Remote, client+":") {
		r.w.t.Errorf("the fetch log has %+v, want the client %s", f.Recent, client)
	}
}

// says runs a command line against the world's config and wants its output to
// have all of text.
func (w *world) says(args []string, text ...string) {
	w.t.Helper()
	var out, errs bytes.Buffer
	if code := run(w.t.Context(), append(args, "--config", w.config()), &out, &errs); code != 0 {
		w.t.Fatalf("stshost %s: exit %d: %s", strings.Join(args, " "), code, errs.String())
	}
	for _, want := range text {
		if !strings.Contains(out.String(), want) {
			w.t.Errorf("stshost %s does not say %q:\n%s", strings.Join(args, " "), want, out.String())
		}
	}
}

// behindProxy starts stshost behind a proxy that ends TLS. proxied is its port.
func (w *world) behindProxy(proxied string) *running {
	w.t.Helper()
	w.https, w.http = "", ""
	w.listen = fmt.Sprintf("proxied = %q", "127.0.0.1:"+proxied)
	return w.start()
}

// balanced starts stshost behind a balancer that speaks the PROXY protocol.
// port is where it listens.
func (w *world) balanced(port string) *running {
	w.t.Helper()
	w.https, w.http = "127.0.0.1:"+port, ""
	w.listen = `proxy_protocol = ["127.0.0.1"]`
	return w.start()
}

func TestBehindNginx(t *testing.T) {
	dnstest.RequireServer(t, "nginx", "nginx")
	w := newWorld(t, "nginx.test")
	proxied := w.port()
	start := func(cert string) *front {
		return w.nginx(w.nginxHTTP(w.deployed("nginx/tls-ended.conf",
			"listen 443 ssl", "listen "+w.lab.HTTPSAddr+" ssl",
			"listen [::]:443 ssl;", "",
			"127.0.0.1:8460", "127.0.0.1:"+proxied,
			"mta-sts.example.com;", "mta-sts.nginx.test;",
			"/etc/letsencrypt/live/mta-sts.example.com/fullchain.pem", cert,
			"/etc/letsencrypt/live/mta-sts.example.com/privkey.pem", cert)))
	}
	// With a certificate for another name the domain waits, and says who needs one.
	wrong := start(w.proxyCertificate("www.nginx.test"))
	r := w.behindProxy(proxied)
	d := w.await("nginx.test", "blocked by the proxy's certificate", blockedBy("certificate"))
	if !strings.Contains(d.Remedy, "proxy in front of stshost needs a certificate for mta-sts.nginx.test") {
		t.Errorf("remedy %q", d.Remedy)
	}
	wrong.stop()
	start(w.proxyCertificate("mta-sts.nginx.test"))
	r.reload() // looks at once
	d = w.confirmed("nginx.test")
	w.sees(d)
	r.seenFrom("nginx.test")
	if !d.CertificateExternal || !d.CertificateNextTry.IsZero() || d.CertificateProblem != "" {
		t.Errorf("status %+v", d)
	}
	w.says([]string{"status"}, "the proxy's")
	w.says([]string{"status", "nginx.test"}, "certificate:", "the proxy's")
	w.says([]string{"explain", "nginx.test"}, "Its certificate is the reverse proxy's.")
	w.says([]string{"records", "nginx.test"}, "reverse proxy in front of this server, which has the certificate")
	for _, page := range []string{"/", "/domains/nginx.test"} {
		if !strings.Contains(w.adminGet(page), "the proxy&#39;s") {
			t.Errorf("the page %s does not say whose the certificate is", page)
		}
	}
	if err := r.stop(); err != nil {
		t.Fatal(err)
	}
	w.says([]string{"status", "nginx.test"}, "the proxy's")
}

func TestNginxPassthrough(t *testing.T) {
	module := "/usr/lib/nginx/modules/ngx_stream_module.so"
	dnstest.RequireServer(t, "nginx", "nginx")
	dnstest.RequireFile(t, module, "libnginx-mod-stream")
	w := newWorld(t, "stream.test")
	port := w.port()
	w.nginx("load_module " + module + ";\nevents {}\ninclude " + w.deployed("nginx/passthrough.conf",
		"listen 443;", "listen "+w.lab.HTTPSAddr+";",
		"listen [::]:443;", "",
		"server 127.0.0.1:8443;", "server 127.0.0.1:"+port+";") + ";\n")
	r := w.balanced(port)
	w.sees(w.confirmed("stream.test"))
	r.seenFrom("stream.test")
}

func TestBehindHAProxyProxyV2(t *testing.T) {
	binary := dnstest.RequireServer(t, "haproxy", "haproxy")
	w := newWorld(t, "haproxy.test")
	port := w.port()
	r := w.balanced(port) // first: to HAProxy a server is down until it was up for two health checks
	w.front(binary, "-db", "-f", w.deployed("haproxy/passthrough.cfg",
		"bind :::443 v4v6", "bind "+w.lab.HTTPSAddr,
		"127.0.0.1:8443 send", "127.0.0.1:"+port+" send"))
	r.reload()
	w.sees(w.confirmed("haproxy.test")) // so the CA's tls-alpn-01 came through
	r.seenFrom("haproxy.test")
	if strings.Contains(r.log.String(), "did not begin with a PROXY protocol header") {
		t.Error("a health check of HAProxy was taken for a fault")
	}
	// Whoever is no balancer is a client, and needs no header.
	if status, _, err := w.fetch("127.0.0.78", w.https, "haproxy.test"); err != nil || status != http.StatusOK {
		t.Errorf("a client that came directly: %d, %v", status, err)
	}
	// The balancer itself does.
	if status, _, err := w.fetch("127.0.0.1", w.https, "haproxy.test"); err == nil {
		t.Errorf("a balancer without a header: %d", status)
	}
	eventually(t, func() error {
		if !strings.Contains(r.log.String(), "did not begin with a PROXY protocol header") {
			return errors.New("the missing header is not in the log")
		}
		return nil
	})
	if metrics := w.adminGet("/metrics"); !strings.Contains(metrics, `stshost_proxy_protocol_refused_total{listener="https"} 1`) {
		t.Error("the missing header is not counted")
	}
}

func TestBehindHAProxy(t *testing.T) {
	binary := dnstest.RequireServer(t, "haproxy", "haproxy")
	w := newWorld(t, "haproxy.test")
	proxied := w.port()
	r := w.behindProxy(proxied)
	w.front(binary, "-db", "-f", w.deployed("haproxy/tls-ended.cfg",
		"bind :::443 v4v6", "bind "+w.lab.HTTPSAddr,
		"/etc/haproxy/certs/", w.proxyCertificate("mta-sts.haproxy.test"),
		"domain=mta-sts.example.com", "domain=mta-sts.haproxy.test",
		"127.0.0.1:8460", "127.0.0.1:"+proxied))
	r.reload()
	w.sees(w.confirmed("haproxy.test"))
	r.seenFrom("haproxy.test")
}

// Caddy gets the certificate from the CA itself, after it has asked stshost.
func TestBehindCaddy(t *testing.T) {
	binary := dnstest.RequireServer(t, "caddy", "caddy")
	w := newWorld(t, "caddy.test", "other.test")
	w.domains = w.domains[:1] // other.test leads here, and is not ours
	proxied := w.port()
	w.front(binary, "run", "--config", w.deployed("caddy/Caddyfile",
		"\ton_demand_tls {", fmt.Sprintf("\tadmin off\n\thttps_port %d\n\thttp_port %d\n\tacme_ca %s\n\tacme_ca_root %s\n\tstorage file_system %s\n\ton_demand_tls {",
			w.lab.HTTPSPort, w.lab.HTTPPort, w.lab.CA.DirectoryURL(), w.lab.ACMERootsFile, filepath.Join(w.dir, "caddy")),
		"127.0.0.1:8460", "127.0.0.1:"+proxied), "--adapter", "caddyfile")
	r := w.behindProxy(proxied)
	w.sees(w.confirmed("caddy.test"))
	r.seenFrom("caddy.test")
	if _, _, err := w.fetch("127.0.0.1", w.lab.HTTPSAddr, "other.test"); err == nil {
		t.Error("Caddy has a certificate for a host that is not ours")
	}
}

// stshost may have certificates of its own and be asked by a proxy as well.
func TestOwnTLSAndAProxyBesides(t *testing.T) {
	w := newWorld(t, example)
	proxied := "127.0.0.1:" + w.port()
	w.listen = fmt.Sprintf("proxied = %q\ntrusted_proxies = [\"127.0.0.1\"]", proxied)
	w.start()
	d := w.confirmed(example)
	w.sees(d)
	ask := func(from string) (int, string) {
		t.Helper()
		tr := &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
			return (&net.Dialer{LocalAddr: &net.TCPAddr{IP: net.ParseIP(from)}}).DialContext(ctx, "tcp", proxied)
		}}
		req, err := http.NewRequestWithContext(t.Context(), "GET", "http://"+d.Host+mtasts.PolicyPath, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("X-Forwarded-Proto", "https")
		resp, err := (&http.Client{Transport: tr}).Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer resp.Body.Close()
		var b bytes.Buffer
		b.ReadFrom(resp.Body)
		return resp.StatusCode, b.String()
	}
	if status, body := ask("127.0.0.1"); status != http.StatusOK || body != d.Body {
		t.Errorf("the proxy got %d %q", status, body)
	}
	if status, body := ask("127.0.0.9"); status != http.StatusForbidden || !strings.Contains(body, "127.0.0.9 is not in trusted_proxies") {
		t.Errorf("a stranger got %d %q", status, body)
	}
	if d.CertificateExternal || d.CertificateNotAfter.IsZero() {
		t.Errorf("status %+v", d)
	}
}
