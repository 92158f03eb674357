package check

import (
	"crypto/tls"
	"strings"
	"testing"
	"time"

	"github.com/stshost/stshost/internal/lab"
	"github.com/stshost/stshost/internal/mtatest"
)

// lookAtMTA looks at a real mail server, under the name that this machine has.
func lookAtMTA(t *testing.T, m *mtatest.MTA, root *lab.Root) SMTPLook {
	t.Helper()
	p := New(Config{SMTPPort: int(m.Addr.Port()), Roots: root.Pool()})
	return p.lookSMTP(t.Context(), mxHost, address{family: "IPv4", addr: m.Addr.Addr()})
}

// wantSessions holds the server's log against what we should have done: n
// sessions whose every command is in want, and nothing worth a complaint. end
// is in the line that ends a session; the one more is that of mtatest.
func wantSessions(t *testing.T, m *mtatest.MTA, n int, end, want string) {
	t.Helper()
	m.Log(t, want, n)
	ended := 0
	for _, line := range m.Log(t, end, n+1) {
		if strings.Contains(line, end) {
			ended++
		}
		for _, complaint := range []string{"lost connection", "error", "warning", "timeout", "unexpected"} {
			if strings.Contains(line, complaint) {
				t.Errorf("the server logged: %s", line)
			}
		}
	}
	if ended != n+1 {
		t.Errorf("%d sessions, want %d", ended, n+1)
	}
}

func wantPostfixSessions(t *testing.T, m *mtatest.MTA, n int, commands string) {
	t.Helper()
	wantSessions(t, m, n, "disconnect from", commands)
}

func wantEximSessions(t *testing.T, m *mtatest.MTA, n int, commands string) {
	t.Helper()
	wantSessions(t, m, n, "no MAIL in SMTP connection", "C="+commands+"\n")
}

func goodLook(t *testing.T, look SMTPLook) {
	t.Helper()
	if look.Err != nil || look.Stage != SMTPDone || !look.STARTTLS {
		t.Fatalf("stage %q, error %v, reply %q, STARTTLS %v", look.Stage, look.Err, look.Reply, look.STARTTLS)
	}
	if !strings.HasPrefix(look.Greeting, "220 "+mxHost+" ESMTP") {
		t.Errorf("greeting %q", look.Greeting)
	}
	for _, l := range []*TLSLook{look.TLS, look.NoSNI} {
		if l == nil || l.Refusal(time.Now()) != nil || l.Version < tls.VersionTLS12 {
			t.Errorf("TLS: %+v", l)
		}
	}
}

func TestLookSMTPPostfix(t *testing.T) {
	root, good := testRoot(t)
	m := mtatest.Postfix(t, mtatest.Config{Host: mxHost, Certificate: &good.Certificates[0]})
	goodLook(t, lookAtMTA(t, m, root))
	wantPostfixSessions(t, m, 2, "ehlo=2 starttls=1 quit=1 commands=4")
}

func TestLookSMTPExim(t *testing.T) {
	root, good := testRoot(t)
	m := mtatest.Exim(t, mtatest.Config{Host: mxHost, Certificate: &good.Certificates[0]})
	goodLook(t, lookAtMTA(t, m, root))
	wantEximSessions(t, m, 2, "EHLO,STARTTLS,EHLO,QUIT")
}

func TestLookSMTPPostfixWithoutSTARTTLS(t *testing.T) {
	root, _ := testRoot(t)
	m := mtatest.Postfix(t, mtatest.Config{Host: mxHost})
	look := lookAtMTA(t, m, root)
	if look.Stage != SMTPSTARTTLS || look.Err != errNoSTARTTLS || look.STARTTLS || look.TLS != nil {
		t.Errorf("look: %+v", look)
	}
	wantPostfixSessions(t, m, 1, "ehlo=1 quit=1 commands=2")
}

func TestLookSMTPEximWithoutSTARTTLS(t *testing.T) {
	root, _ := testRoot(t)
	m := mtatest.Exim(t, mtatest.Config{Host: mxHost})
	look := lookAtMTA(t, m, root)
	if look.Stage != SMTPSTARTTLS || look.Err != errNoSTARTTLS || look.STARTTLS || look.TLS != nil {
		t.Errorf("look: %+v", look)
	}
	wantEximSessions(t, m, 1, "EHLO,QUIT")
}

// A server that has no newer TLS than 1.1 is looked at to the end, and its
// version seen.
func TestLookSMTPPostfixOldTLS(t *testing.T) {
	root, good := testRoot(t)
	m := mtatest.Postfix(t, mtatest.Config{Host: mxHost, Certificate: &good.Certificates[0], Settings: []string{
		"smtpd_tls_protocols = TLSv1.1",
		"smtpd_tls_ciphers = low",
		"tls_low_cipherlist = ALL:@SECLEVEL=0",
	}})
	look := lookAtMTA(t, m, root)
	if look.Stage != SMTPDone || look.TLS.Version != tls.VersionTLS11 || look.TLS.Refusal(time.Now()) == nil {
		t.Errorf("stage %q, error %v, TLS %+v", look.Stage, look.Err, look.TLS)
	}
	wantPostfixSessions(t, m, 2, "ehlo=2 starttls=1 quit=1 commands=4")
}
