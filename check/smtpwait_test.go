package check

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

// However a server plays for time, a look ends when its time is up.
func TestLookSMTPPatience(t *testing.T) {
	silent := func(c net.Conn) { io.Copy(io.Discard, c) }
	for name, c := range map[string]struct {
		server func(net.Conn) // nil: nobody takes the connection
		stage  SMTPStage
		err    string
		took   time.Duration
	}{
		"hole":   {nil, SMTPConnect, "no connection within 10s", smtpConnectTimeout},
		"silent": {silent, SMTPGreeting, "the greeting did not come within 20s", smtpTimeout},
		"dripping": {func(c net.Conn) {
			for {
				if _, err := c.Write([]byte("2")); err != nil {
					return
				}
				time.Sleep(time.Second) // of the test's clock
			}
		}, SMTPGreeting, "the greeting did not come within 20s", smtpTimeout},
		"silent in TLS": {func(c net.Conn) {
			afterHello(func(*smtpPeer) {})(pipePeer(c))
			io.WriteString(c, "220 ready\r\n")
			silent(c)
		}, SMTPTLS, "the end of the TLS handshake did not come within 20s", smtpTimeout},
		"silent after QUIT": {func(c net.Conn) {
			io.WriteString(c, "554 go away\r\n")
			silent(c)
		}, SMTPGreeting, "the greeting is a refusal", quitTimeout},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				var servers sync.WaitGroup
				defer servers.Wait()
				p := New(Config{Name: "probe.example.test", Dial: func(ctx context.Context, _, _ string) (net.Conn, error) {
					if c.server == nil {
						<-ctx.Done()
						return nil, ctx.Err()
					}
					ours, theirs := net.Pipe()
					servers.Go(func() {
						defer theirs.Close()
						c.server(theirs)
					})
					return ours, nil
				}})
				start := time.Now()
				look := p.lookSMTP(t.Context(), mxHost, address{family: "IPv4", addr: netip.MustParseAddr("192.0.2.1")})
				if look.Stage != c.stage || look.Err == nil || !strings.HasPrefix(look.Err.Error(), c.err) {
					t.Errorf("stage %q, error %v, want %q, %q", look.Stage, look.Err, c.stage, c.err)
				}
				if took := time.Since(start); took != c.took {
					t.Errorf("it took %s, want %s", took, c.took)
				}
				if late := errors.Is(look.Err, context.DeadlineExceeded); late != (c.took != quitTimeout) {
					t.Errorf("error %v: is DeadlineExceeded: %v", look.Err, late)
				}
			})
		})
	}
}

// Whatever is waited for, a look ends at once when its context does, and leaves
// nothing behind.
func TestLookSMTPCancelled(t *testing.T) {
	for name, script := range map[string]func(*smtpPeer, context.CancelFunc){
		"greeting": func(c *smtpPeer, cancel context.CancelFunc) { cancel() },
		"EHLO": func(c *smtpPeer, cancel context.CancelFunc) {
			c.say("220 " + mxHost)
			c.hear()
			cancel()
		},
		"handshake": func(c *smtpPeer, cancel context.CancelFunc) {
			afterHello(func(c *smtpPeer) {
				c.say("220 ready")
				c.r.ReadByte()
				cancel()
			})(c)
		},
	} {
		t.Run(name, func(t *testing.T) {
			leaks := goleak.IgnoreCurrent()
			t.Cleanup(func() { goleak.VerifyNone(t, leaks) }) // after the server's end
			ctx, cancel := context.WithCancel(t.Context())
			defer cancel()
			s := serveSMTP(t, func(c *smtpPeer) {
				script(c, cancel)
				io.Copy(io.Discard, c) // until we hang up
			})
			p, a := smtpProber(nil, s)
			start := time.Now()
			look := p.lookSMTP(ctx, mxHost, a)
			if !errors.Is(look.Err, context.Canceled) || look.NoSNI != nil {
				t.Errorf("error %v, without SNI %+v", look.Err, look.NoSNI)
			}
			if took := time.Since(start); took > smtpTimeout/2 {
				t.Errorf("it took %s", took)
			}
			if len(p.conns.ours) != 0 {
				t.Errorf("%d connections are left open", len(p.conns.ours))
			}
		})
	}
}

func pipePeer(c net.Conn) *smtpPeer {
	return &smtpPeer{Conn: c, r: bufio.NewReader(c), server: &smtpServer{heard: make([][]string, 1)}}
}
