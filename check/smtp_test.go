package check

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"net/netip"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stshost/stshost/internal/lab"
)

// A look at a good host is a session as a sender begins it, with SNI, and one
// without; it takes leave of both and never says MAIL.
func TestLookSMTP(t *testing.T) {
	root, good := testRoot(t)
	s := serveSMTP(t, dialogue{tls: good}.script)
	p, a := smtpProber(root, s)
	look := p.lookSMTP(t.Context(), mxHost, a)
	if look.Err != nil || look.Stage != SMTPDone || !look.STARTTLS || look.Reply != "" {
		t.Fatalf("look at a good host: %+v", look)
	}
	if look.Greeting != "220 mx.example.test ESMTP ready" || look.Family != "IPv4" || look.Address != s.addr.String() {
		t.Errorf("greeting %q of %s %s", look.Greeting, look.Family, look.Address)
	}
	for i, l := range []*TLSLook{look.TLS, look.NoSNI} {
		if l == nil || l.Refusal(time.Now()) != nil || l.Version != tls.VersionTLS13 || len(l.Chain) != 1 {
			t.Fatalf("TLS of session %d: %+v", i, l)
		}
		want := []string{"EHLO probe.example.test", "STARTTLS", "EHLO probe.example.test", "QUIT"}
		if got := s.commands(i); !slices.Equal(got, want) {
			t.Errorf("session %d heard %q, want %q", i, got, want)
		}
	}
	if want := []string{mxHost, ""}; !slices.Equal(s.names, want) {
		t.Errorf("SNI %q, want %q", s.names, want)
	}
}

// Each way in which an orderly server does not lead to TLS is told from the
// others, and taken leave of.
func TestLookSMTPRefused(t *testing.T) {
	for name, c := range map[string]struct {
		server   dialogue
		stage    SMTPStage
		err      string
		reply    string
		starttls bool
	}{
		"no PTR": {server: dialogue{greeting: "554-5.7.1 no mail from hosts\n554 5.7.1 without reverse DNS"},
			stage: SMTPGreeting, err: "the greeting is a refusal", reply: "554 5.7.1 no mail from hosts 5.7.1 without reverse DNS"},
		"busy": {server: dialogue{greeting: "421 too many connections"},
			stage: SMTPGreeting, err: "the greeting is a temporary refusal", reply: "421 too many connections"},
		"odd greeting": {server: dialogue{greeting: "354 go on"},
			stage: SMTPGreeting, err: "the greeting is neither", reply: "354 go on"},
		"EHLO refused": {server: dialogue{ehlo: "550 who are you?"},
			stage: SMTPEHLO, err: "the reply to EHLO is a refusal", reply: "550 who are you?"},
		"not offered": {server: dialogue{ehlo: "250-mx STARTTLS not here\n250-SIZE\n250 XSTARTTLS"},
			stage: SMTPSTARTTLS, err: "STARTTLS is not offered", reply: "250 mx STARTTLS not here SIZE XSTARTTLS"},
		"nothing offered": {server: dialogue{ehlo: "250"},
			stage: SMTPSTARTTLS, err: "STARTTLS is not offered", reply: "250"},
		"overwritten": {server: dialogue{ehlo: "250-mx\n250-SIZE 10\n250 XXXXXXXA"},
			stage: SMTPSTARTTLS, err: "a firewall on the way", reply: "250 mx SIZE 10 XXXXXXXA"},
		"not available": {server: dialogue{starttls: "454 4.7.0 TLS not available due to local problem"},
			stage: SMTPSTARTTLS, err: "the reply to STARTTLS is a temporary refusal", reply: "454 4.7.0 TLS not available due to local problem", starttls: true},
		"not for us": {server: dialogue{starttls: "554 5.7.0 no"},
			stage: SMTPSTARTTLS, err: "the reply to STARTTLS is a refusal", reply: "554 5.7.0 no", starttls: true},
		"refused over TLS": {server: dialogue{ehloTLS: "550 not you"},
			stage: SMTPTLS, err: "the reply to EHLO over TLS is a refusal", reply: "550 not you", starttls: true},
	} {
		t.Run(name, func(t *testing.T) {
			root, good := testRoot(t)
			c.server.tls = good
			s := serveSMTP(t, c.server.script)
			p, a := smtpProber(root, s)
			look := p.lookSMTP(t.Context(), mxHost, a)
			if look.Stage != c.stage || look.Err == nil || !strings.Contains(look.Err.Error(), c.err) {
				t.Errorf("stage %q, error %v, want %q, %q", look.Stage, look.Err, c.stage, c.err)
			}
			if look.Reply != c.reply || look.STARTTLS != c.starttls {
				t.Errorf("reply %q, STARTTLS %v, want %q, %v", look.Reply, look.STARTTLS, c.reply, c.starttls)
			}
			if (look.TLS != nil) != (c.stage == SMTPTLS) {
				t.Errorf("TLS: %+v", look.TLS)
			}
			if got := s.commands(0); len(got) == 0 || got[len(got)-1] != "QUIT" {
				t.Errorf("heard %q, no QUIT at the end", got)
			}
		})
	}
}

// A certificate that senders refuse stops nothing, and what is wrong with it is
// in the look.
func TestLookSMTPCertificates(t *testing.T) {
	root, good := testRoot(t)
	_, strange := testRoot(t)
	expired := issue(t, root, time.Now().Add(-time.Hour), mxHost)
	wrong := issue(t, root, time.Time{}, "www.example.test")
	for name, c := range map[string]struct {
		tls   *tls.Config
		fault func(*TLSLook) bool
	}{
		"untrusted":  {strange, func(l *TLSLook) bool { return l.Untrusted != nil && l.NameErr == nil }},
		"expired":    {expired, func(l *TLSLook) bool { return l.Expired(time.Now()) && l.Untrusted == nil }},
		"wrong name": {wrong, func(l *TLSLook) bool { return l.NameErr != nil && l.Untrusted == nil }},
		"TLS 1.1": {&tls.Config{Certificates: good.Certificates, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS11},
			func(l *TLSLook) bool { return l.Version == tls.VersionTLS11 }},
		"TLS 1.0": {&tls.Config{Certificates: good.Certificates, MinVersion: tls.VersionTLS10, MaxVersion: tls.VersionTLS10},
			func(l *TLSLook) bool { return l.Version == tls.VersionTLS10 }},
	} {
		t.Run(name, func(t *testing.T) {
			s := serveSMTP(t, dialogue{tls: c.tls}.script)
			p, a := smtpProber(root, s)
			look := p.lookSMTP(t.Context(), mxHost, a)
			if look.Stage != SMTPDone || look.Err != nil {
				t.Fatalf("stage %q, error %v", look.Stage, look.Err)
			}
			for _, l := range []*TLSLook{look.TLS, look.NoSNI} {
				if l.Err != nil || !c.fault(l) || l.Refusal(time.Now()) == nil {
					t.Errorf("not seen to be %s: %+v", name, l)
				}
			}
		})
	}
}

func issue(t *testing.T, root *lab.Root, until time.Time, name string) *tls.Config {
	t.Helper()
	cert, err := root.Issue(until, name)
	if err != nil {
		t.Fatal(err)
	}
	return &tls.Config{Certificates: []tls.Certificate{cert}}
}

// What becomes of the session without SNI changes nothing about the other.
func TestLookSMTPWithoutSNI(t *testing.T) {
	root, good := testRoot(t)
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	look := func(script func(*smtpPeer)) SMTPLook {
		t.Helper()
		p, a := smtpProber(root, serveSMTP(t, script))
		l := p.lookSMTP(ctx, mxHost, a)
		if l.Stage != SMTPDone || l.Err != nil || l.TLS.Refusal(time.Now()) != nil {
			t.Fatalf("look with SNI: %+v", l)
		}
		return l
	}
	needsName := &tls.Config{GetCertificate: func(h *tls.ClientHelloInfo) (*tls.Certificate, error) {
		if h.ServerName != mxHost {
			return nil, errors.New("no certificate")
		}
		return &good.Certificates[0], nil
	}}
	if l := look(dialogue{tls: needsName}.script); l.NoSNI == nil || l.NoSNI.Err == nil || l.NoSNI.Name != "" {
		t.Errorf("a host that wants SNI: %+v", l.NoSNI)
	}
	busy := look(func(c *smtpPeer) {
		if c.n == 0 {
			dialogue{tls: good}.script(c)
			return
		}
		dialogue{greeting: "421 come back later"}.script(c)
	})
	if busy.NoSNI != nil {
		t.Errorf("nothing was seen without SNI, and yet: %+v", busy.NoSNI)
	}
	ended := look(func(c *smtpPeer) {
		if c.n == 0 {
			dialogue{tls: good}.script(c)
			return
		}
		afterHello(func(c *smtpPeer) {
			c.say("220 ready")
			c.r.ReadByte()
			cancel()
			io.Copy(io.Discard, c)
		})(c)
	})
	if ended.NoSNI != nil {
		t.Errorf("we ended the look, and the server is at fault: %+v", ended.NoSNI)
	}
}

// afterHello runs script where the TLS handshake is due.
func afterHello(script func(*smtpPeer)) func(*smtpPeer) {
	return func(c *smtpPeer) {
		c.say("220 " + mxHost)
		c.hear()
		c.say("250-" + mxHost + "\n250 STARTTLS")
		c.hear()
		script(c)
	}
}

// reset ends a connection with a reset.
func reset(c *smtpPeer) {
	c.Conn.(*net.TCPConn).SetLinger(0)
	c.Close()
}

// Servers that are broken or mean ill are left at once, whatever they send, and
// what they did is said.
func TestLookSMTPBroken(t *testing.T) {
	_, good := testRoot(t)
	mutual := good.Clone()
	mutual.ClientAuth = tls.RequireAnyClientCert
	endless := func(c *smtpPeer, line string) {
		for {
			if _, err := io.WriteString(c, line); err != nil {
				return
			}
		}
	}
	for name, c := range map[string]struct {
		script func(*smtpPeer)
		stage  SMTPStage
		err    string
		reply  string
		is     error
	}{
		"closes":        {func(c *smtpPeer) {}, SMTPGreeting, "the server closed the connection before the greeting", "", io.EOF},
		"resets":        {func(c *smtpPeer) { c.say("220 x"); c.hear(); reset(c) }, SMTPEHLO, "the connection was reset before the reply to EHLO", "", syscall.ECONNRESET},
		"breaks off":    {func(c *smtpPeer) { io.WriteString(c, "220 hel") }, SMTPGreeting, "closed the connection before the greeting", "220 hel", io.EOF},
		"HTTP":          {func(c *smtpPeer) { c.say("HTTP/1.1 400 Bad Request\n") }, SMTPGreeting, "the greeting is not one of SMTP", "HTTP/1.1 400 Bad Request", nil},
		"empty line":    {func(c *smtpPeer) { c.say("") }, SMTPGreeting, "the greeting is not one of SMTP", "", nil},
		"binary":        {func(c *smtpPeer) { c.say("\x16\x03\x01\x1b[2J\u202e\xff") }, SMTPGreeting, "not one of SMTP", "????[2J??", nil},
		"escapes":       {func(c *smtpPeer) { c.say("554 \x1b]0;x\x07Grüße\x00") }, SMTPGreeting, "the greeting is a refusal", "554 ?]0;x?Grüße?", nil},
		"long text":     {func(c *smtpPeer) { c.say("554 " + strings.Repeat("ü", 400)) }, SMTPGreeting, "refusal", "554 " + strings.Repeat("ü", 98) + "…", nil},
		"endless line":  {func(c *smtpPeer) { endless(c, "220 x") }, SMTPGreeting, "the greeting has a line of more than 2048 bytes", "220 x" + strings.Repeat("220 x", 39) + "…", nil},
		"endless lines": {func(c *smtpPeer) { endless(c, "220-\r\n") }, SMTPGreeting, "the greeting has more than 128 lines", "220", nil},
		"endless EHLO": {func(c *smtpPeer) { c.say("220 x"); c.hear(); endless(c, "250-STARTTLS\r\n") }, SMTPEHLO,
			"the reply to EHLO has more than 128 lines", "250" + strings.Repeat(" STARTTLS", 21) + " STARTTL…", nil},
		"closes after EHLO": {func(c *smtpPeer) { c.say("220 x"); c.hear() }, SMTPEHLO, "closed the connection before the reply to EHLO", "", io.EOF},
		"closes after STARTTLS": {afterHello(func(c *smtpPeer) {}), SMTPSTARTTLS,
			"closed the connection before the reply to STARTTLS", "", io.EOF},
		"injects": {afterHello(func(c *smtpPeer) { c.say("220 ready\n250-STARTTLS\n250 AUTH PLAIN"); c.hear() }), SMTPSTARTTLS,
			"sent data in the clear after its reply to STARTTLS", "250-STARTTLS??250 AUTH PLAIN??", errInjected},
		"closes instead of TLS": {afterHello(func(c *smtpPeer) { c.say("220 ready"); c.r.ReadByte(); reset(c) }), SMTPTLS,
			"the connection was reset before the end of the TLS handshake", "", syscall.ECONNRESET},
		"speaks in the clear": {afterHello(func(c *smtpPeer) { c.say("220 ready"); c.r.ReadByte(); c.say("454 no TLS"); io.Copy(io.Discard, c) }), SMTPTLS,
			"does not look like a TLS handshake", "", nil},
		"no certificate": {dialogue{tls: &tls.Config{GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return nil, errors.New("none")
		}}}.script, SMTPTLS, "tls: ", "", nil},
		"wants ours": {dialogue{tls: mutual}.script, SMTPTLS, "certificate required", "", nil},
	} {
		t.Run(name, func(t *testing.T) {
			s := serveSMTP(t, c.script)
			p, a := smtpProber(nil, s)
			look := p.lookSMTP(t.Context(), mxHost, a)
			if look.Stage != c.stage || look.Err == nil || !strings.Contains(look.Err.Error(), c.err) {
				t.Errorf("stage %q, error %v, want %q, %q", look.Stage, look.Err, c.stage, c.err)
			}
			if c.is != nil && !errors.Is(look.Err, c.is) {
				t.Errorf("error %v is not %v", look.Err, c.is)
			}
			if look.Reply != c.reply {
				t.Errorf("reply %q, want %q", look.Reply, c.reply)
			}
			if slices.Contains(s.commands(0), "QUIT") {
				t.Error("QUIT was said to who does not understand it any more")
			}
		})
	}
}

// A port where nobody listens.
func TestLookSMTPRefusedConnection(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &smtpServer{addr: netip.MustParseAddrPort(ln.Addr().String())}
	ln.Close()
	p, a := smtpProber(nil, s)
	look := p.lookSMTP(t.Context(), mxHost, a)
	if look.Stage != SMTPConnect || !errors.Is(look.Err, syscall.ECONNREFUSED) || !strings.HasPrefix(look.Err.Error(), "connection refused: ") {
		t.Errorf("stage %q, error %v", look.Stage, look.Err)
	}
}

func TestEHLOName(t *testing.T) {
	for name, want := range map[string]bool{
		"mx.example.test": true, "mx-1.example.test": true,
		"vm": false, "": false, "localhost.": false, "a b.test": false, "x\r\nMAIL.test": false, "ü.test": false,
	} {
		if got := fullName(name); got != want {
			t.Errorf("fullName(%q) = %v", name, got)
		}
	}
	for local, want := range map[string]string{
		"192.0.2.1:1234": "[192.0.2.1]", "[::ffff:192.0.2.1]:1234": "[192.0.2.1]",
		"[2001:db8::1]:1234": "[IPv6:2001:db8::1]", "[fe80::1%eth0]:1234": "[IPv6:fe80::1]",
	} {
		addr := net.TCPAddrFromAddrPort(netip.MustParseAddrPort(local))
		if got := addressLiteral(addr); got != want {
			t.Errorf("addressLiteral(%s) = %q, want %q", local, got, want)
		}
	}
	if got := New(Config{Name: "probe.example.test"}).ehloName(&net.TCPAddr{}); got != "probe.example.test" {
		t.Errorf("EHLO name %q, not the configured one", got)
	}
}
