// Package mtatest starts real mail servers for tests: Postfix and Exim as
// Debian packages them, on loopback, in temporary directories, and ended with
// the test. They need root, as they change to users of their own. A Postfix that
// sends needs a network of its own besides, in which the well-known ports are free.
package mtatest

import (
	"bufio"
	"bytes"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// patience bounds the waiting for a server to start, to log and to stop.
const patience = 20 * time.Second

// Config is what a mail server is to be like.
type Config struct {
	// Host is its name.
	Host string
	// Addr is the loopback address it listens on; the zero value: 127.0.0.1.
	Addr netip.Addr
	// Certificate is shown after STARTTLS. Without one there is no STARTTLS.
	Certificate *tls.Certificate
	// Settings are lines for its configuration, "name = value", in its own
	// language. They replace what this package sets.
	Settings []string
}

// MTA is a running mail server, which takes no mail.
type MTA struct {
	Kind string         // "postfix" or "exim"
	Addr netip.AddrPort // of SMTP

	dir string // all that it has
	log string // file
	out bytes.Buffer

	ready func() error // whether it can be used; nil: greets
}

// Log returns the lines of the server's log, once at least n of them contain
// text.
func (m *MTA) Log(t testing.TB, text string, n int) []string {
	t.Helper()
	var log string
	err := poll(func() error {
		b, err := os.ReadFile(m.log)
		log = string(b)
		if got := strings.Count(log, text); err == nil && got < n {
			return fmt.Errorf("%d lines, not %d, contain %q", got, n, text)
		}
		return err
	})
	if err != nil {
		t.Fatalf("log of %s: %v; it has:\n%s", m.Kind, err, log)
	}
	return strings.Split(strings.TrimSpace(log), "\n")
}

// requireRoot skips the test without root; where servers are asked for it fails.
func requireRoot(t testing.TB, kind string) {
	t.Helper()
	if os.Geteuid() != 0 {
		skip(t, kind+" starts as root only")
	}
}

// skip skips the test for a reason; where servers are asked for it fails.
func skip(t testing.TB, why string) {
	t.Helper()
	if os.Getenv("STSHOST_REQUIRE_SERVERS") == "1" {
		t.Fatalf("%s, and STSHOST_REQUIRE_SERVERS=1 asks for it", why)
	}
	t.Skip(why)
}

// newMTA finds a port, and a directory that the server's own user may enter.
func newMTA(t testing.TB, kind string, cfg Config) *MTA {
	t.Helper()
	if cfg.Host == "" {
		t.Fatal("a mail server without a name")
	}
	if !cfg.Addr.IsValid() {
		cfg.Addr = netip.MustParseAddr("127.0.0.1")
	}
	if !cfg.Addr.IsLoopback() {
		t.Fatalf("%s is no address of loopback", cfg.Addr)
	}
	ln, err := net.Listen("tcp", netip.AddrPortFrom(cfg.Addr, 0).String())
	if err != nil {
		t.Fatal(err)
	}
	defer ln.Close()
	dir, err := os.MkdirTemp("", "mtatest") // that of t.TempDir is closed to others
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return &MTA{Kind: kind, Addr: netip.MustParseAddrPort(ln.Addr().String()), dir: dir}
}

// settings joins lines of a configuration, without those that others replace.
func settings(lines, others []string) string {
	name := func(line string) string {
		name, _, _ := strings.Cut(line, "=")
		return strings.TrimSpace(name)
	}
	lines = slices.DeleteFunc(lines, func(line string) bool {
		return slices.ContainsFunc(others, func(other string) bool { return name(other) == name(line) })
	})
	return strings.Join(append(lines, others...), "\n") + "\n"
}

// writeCertificate writes chain and key to two files that root may read.
func writeCertificate(t testing.TB, dir string, cert *tls.Certificate) (chain, key string) {
	t.Helper()
	var certs []byte
	for _, der := range cert.Certificate {
		certs = append(certs, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})...)
	}
	der, err := x509.MarshalPKCS8PrivateKey(cert.PrivateKey)
	if err != nil {
		t.Fatal(err)
	}
	chain = writeFile(t, filepath.Join(dir, "cert.pem"), string(certs))
	key = writeFile(t, filepath.Join(dir, "key.pem"), string(pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der})))
	return chain, key
}

func writeFile(t testing.TB, path, content string) string {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func makeDirs(t testing.TB, paths ...string) {
	t.Helper()
	for _, path := range paths {
		if err := os.Mkdir(path, 0o755); err != nil {
			t.Fatal(err)
		}
	}
}

// give makes files and directories a user's own.
func give(t testing.TB, to *user.User, paths ...string) {
	t.Helper()
	uid, err := strconv.Atoi(to.Uid)
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range paths {
		if err := os.Chown(path, uid, -1); err != nil {
			t.Fatal(err)
		}
	}
}

// start runs the server in the foreground, as the head of a process group of
// its own, and waits until it is ready. At the end of the test stop is run, nil
// being a SIGTERM, and what is left of the group killed.
func (m *MTA) start(t testing.TB, cmd, stop *exec.Cmd) {
	t.Helper()
	cmd.Stdout, cmd.Stderr = &m.out, &m.out
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", m.Kind, err)
	}
	done := make(chan struct{})
	go func() {
		cmd.Wait()
		close(done)
	}()
	end := sync.OnceFunc(func() {
		if stop == nil {
			cmd.Process.Signal(syscall.SIGTERM)
		} else if out, err := stop.CombinedOutput(); err != nil {
			t.Logf("stop %s: %v: %s", m.Kind, err, out)
		}
		select {
		case <-done:
		case <-time.After(patience):
		}
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL)
		<-done
	})
	t.Cleanup(func() {
		end()
		if t.Failed() {
			t.Logf("%s said:\n%s", m.Kind, m.said())
		}
	})
	ready := m.ready
	if ready == nil {
		ready = m.greets
	}
	err := poll(func() error {
		select {
		case <-done:
			return errEnded
		default:
			return ready()
		}
	})
	if err != nil {
		end()
		t.Fatalf("%s does not answer: %v\n%s", m.Kind, err, m.said())
	}
}

// said is what the server, which has ended, has printed and logged.
func (m *MTA) said() string {
	log, _ := os.ReadFile(m.log)
	return m.out.String() + string(log)
}

// greets reports whether somebody greets at the server's port. It waits for
// the reply to QUIT, so that the log is in order.
func (m *MTA) greets() error {
	conn, err := net.DialTimeout("tcp", m.Addr.String(), patience)
	if err != nil {
		return err
	}
	defer conn.Close()
	conn.SetDeadline(time.Now().Add(patience))
	r := bufio.NewReader(conn)
	greeting, err := r.ReadString('\n')
	if err != nil {
		return err
	}
	if !strings.HasPrefix(greeting, "220 ") {
		return fmt.Errorf("it greets with %q", greeting)
	}
	if _, err := conn.Write([]byte("QUIT\r\n")); err != nil {
		return err
	}
	_, err = r.ReadString('\n')
	return err
}
