package mtatest

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"net/smtp"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/stshost/stshost/internal/dnstest"
)

// SenderConfig is what a sending Postfix is to be like.
type SenderConfig struct {
	// Host is its name.
	Host string
	// RootsFile has what the certificates of MX hosts have to chain to, PEM.
	RootsFile string
	// Policies is a server of TLS policies by socketmap, as MTASTSDaemon starts
	// one; the zero value: there are none, and TLS is opportunistic.
	Policies netip.AddrPort
}

// Sender is a Postfix that takes mail from this machine and delivers it by what
// the DNS of the machine says.
type Sender struct{ *MTA }

// PostfixSender runs a Postfix that sends. It tries each message once within
// the time of a test. Hosts are connected to at port 25: see OwnNetwork.
func PostfixSender(t testing.TB, cfg SenderConfig) *Sender {
	t.Helper()
	p := newPostfix(t, Config{Host: cfg.Host})
	lines := []string{
		"smtpd_tls_security_level = none",
		"mynetworks = 127.0.0.0/8",
		"smtputf8_enable = no",
		"smtp_tls_security_level = may",
		"smtp_tls_loglevel = 1",
		"smtp_tls_CAfile = " + cfg.RootsFile,
		"smtp_tls_session_cache_database =",
		"smtp_connection_cache_on_demand = no",
		// What happened to one message is no reason not to try the next.
		"default_destination_concurrency_failed_cohort_limit = 0",
	}
	if cfg.Policies.IsValid() {
		lines = append(lines, "smtp_tls_policy_maps = socketmap:inet:"+cfg.Policies.String()+":postfix")
	}
	p.run(t, lines, nil, `cleanup unix n - n - 0 cleanup
qmgr unix n - n 300 1 qmgr
bounce unix - - n - 0 bounce
defer unix - - n - 0 bounce
trace unix - - n - 0 bounce
smtp unix - - n - - smtp
error unix - - n - - error
retry unix - - n - - error
`)
	return &Sender{p.MTA}
}

// Attempt is what became of a message when it was first tried.
type Attempt struct {
	Status string   // "sent", "deferred" or "bounced"
	Code   string   // enhanced status code (RFC 3463), such as 4.7.4
	Text   string   // why, or the reply that the message got
	Log    []string // all that was logged from the time the message was taken
}

var statusLine = regexp.MustCompile(`, dsn=([0-9.]+), status=([a-z]+) \((.*)\)$`)

// Send gives the server a message, waits until it was tried, and tells what
// became of it. One message at a time, or their logs mix.
func (s *Sender) Send(t testing.TB, from, to, message string) Attempt {
	t.Helper()
	before, err := os.ReadFile(s.log)
	if err != nil {
		t.Fatal(err)
	}
	id, err := s.inject(from, to, message)
	if err != nil {
		t.Fatalf("give a message to %s: %v", s.Kind, err)
	}
	var a Attempt
	err = poll(func() error {
		log, err := os.ReadFile(s.log)
		if err != nil {
			return err
		}
		// A line that is being written counts when it is complete.
		log = log[len(before) : bytes.LastIndexByte(log, '\n')+1]
		a.Log = strings.Split(strings.TrimSpace(string(log)), "\n")
		for _, line := range a.Log {
			if m := statusLine.FindStringSubmatch(line); m != nil && strings.Contains(line, " "+id+": to=<"+to+">") {
				a.Code, a.Status, a.Text = m[1], m[2], m[3]
				return nil
			}
		}
		return fmt.Errorf("message %s was not tried", id)
	})
	if err != nil {
		t.Fatalf("%v; log of %s:\n%s", err, s.Kind, strings.Join(a.Log, "\n"))
	}
	return a
}

// inject returns the id of the message in the queue.
func (s *Sender) inject(from, to, message string) (id string, err error) {
	c, err := smtp.Dial(s.Addr.String())
	if err != nil {
		return "", err
	}
	defer c.Close()
	if err := c.Mail(from); err != nil {
		return "", err
	}
	if err := c.Rcpt(to); err != nil {
		return "", err
	}
	// smtp.Client keeps to itself what the server says at the end of DATA.
	if err := c.Text.PrintfLine("DATA"); err != nil {
		return "", err
	}
	if _, _, err := c.Text.ReadResponse(354); err != nil {
		return "", err
	}
	w := c.Text.DotWriter()
	if _, err := w.Write([]byte(message)); err != nil {
		return "", err
	}
	if err := w.Close(); err != nil {
		return "", err
	}
	_, reply, err := c.Text.ReadResponse(250)
	if err != nil {
		return "", err
	}
	_, id, ok := strings.Cut(reply, "queued as ")
	if !ok {
		return "", fmt.Errorf("the reply %q names no message", reply)
	}
	return id, c.Quit()
}

// MTASTSDaemon runs postfix-mta-sts-resolver, which looks up the policies of
// MTA-STS for a Postfix, and asks for a newer one at each question. The roots
// are those of policy hosts. It asks at the ports 53 and 443: see OwnNetwork.
func MTASTSDaemon(t testing.TB, rootsFile string) netip.AddrPort {
	t.Helper()
	const binary = "/usr/bin/mta-sts-daemon"
	dnstest.RequireFile(t, binary, "postfix-mta-sts-resolver")
	m := newMTA(t, "mta-sts-daemon", Config{Host: "mta-sts-daemon"})
	conf := writeFile(t, filepath.Join(m.dir, "daemon.yml"), fmt.Sprintf(`host: %s
port: %d
cache:
  type: internal
cache_grace: 0
default_zone:
  strict_testing: false
  timeout: 10
`, m.Addr.Addr(), m.Addr.Port()))
	m.ready = func() error {
		conn, err := net.DialTimeout("tcp", m.Addr.String(), patience)
		if err == nil {
			conn.Close()
		}
		return err
	}
	cmd := exec.Command(binary, "-c", conf)
	cmd.Env = []string{"SSL_CERT_FILE=" + rootsFile, "PATH=/usr/bin:/bin", "LC_ALL=C.UTF-8"}
	m.start(t, cmd, nil)
	return m.Addr
}
