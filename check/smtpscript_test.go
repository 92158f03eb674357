package check

import (
	"bufio"
	"crypto/tls"
	"io"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stshost/stshost/internal/lab"
)

const mxHost = "mx.example.test"

// smtpServer is a server on loopback that behaves as a script says.
type smtpServer struct {
	addr netip.AddrPort

	mu    sync.Mutex
	heard [][]string // commands, by connection
	names []string   // SNI, by TLS handshake
}

// smtpPeer is one connection of a smtpServer.
type smtpPeer struct {
	net.Conn
	r      *bufio.Reader
	n      int // 0 is the first
	server *smtpServer
}

// serveSMTP runs script on each connection, until the test ends.
func serveSMTP(t *testing.T, script func(*smtpPeer)) *smtpServer {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &smtpServer{addr: netip.MustParseAddrPort(ln.Addr().String())}
	var running sync.WaitGroup
	running.Go(func() {
		for n := 0; ; n++ {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			s.mu.Lock()
			s.heard = append(s.heard, nil)
			s.mu.Unlock()
			running.Go(func() {
				defer conn.Close()
				script(&smtpPeer{Conn: conn, r: bufio.NewReader(conn), n: n, server: s})
			})
		}
	})
	t.Cleanup(func() {
		ln.Close()
		running.Wait()
	})
	return s
}

// say sends lines, which are separated by a line feed.
func (c *smtpPeer) say(lines string) {
	io.WriteString(c, strings.ReplaceAll(lines, "\n", "\r\n")+"\r\n")
}

// hear waits for a command; "" is the end of the connection.
func (c *smtpPeer) hear() string {
	line, err := c.r.ReadString('\n')
	if err != nil {
		return ""
	}
	line = strings.TrimSpace(line)
	c.server.mu.Lock()
	defer c.server.mu.Unlock()
	c.server.heard[c.n] = append(c.server.heard[c.n], line)
	return line
}

// startTLS does the handshake and goes on over TLS.
func (c *smtpPeer) startTLS(cfg *tls.Config) error {
	cfg = cfg.Clone()
	cfg.GetConfigForClient = func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		c.server.mu.Lock()
		defer c.server.mu.Unlock()
		c.server.names = append(c.server.names, hello.ServerName)
		return nil, nil
	}
	conn := tls.Server(c.Conn, cfg)
	if err := conn.Handshake(); err != nil {
		io.Copy(io.Discard, c.Conn) // a reset would overtake the alert
		return err
	}
	c.Conn, c.r = conn, bufio.NewReader(conn)
	return nil
}

// connections is how many there were.
func (s *smtpServer) connections() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.heard)
}

// commands are what was heard on connection n.
func (s *smtpServer) commands(n int) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if n >= len(s.heard) {
		return nil
	}
	return s.heard[n]
}

// dialogue is what an orderly server says. What is empty is as good servers
// have it.
type dialogue struct {
	greeting, ehlo, starttls, ehloTLS string

	tls *tls.Config
}

func (d dialogue) script(c *smtpPeer) {
	or := func(text, usual string) string {
		if text == "" {
			return usual
		}
		return text
	}
	c.say(or(d.greeting, "220 "+mxHost+" ESMTP ready"))
	secure := false
	for {
		switch verb, _, _ := strings.Cut(c.hear(), " "); {
		case verb == "":
			return
		case verb == "EHLO" && secure:
			c.say(or(d.ehloTLS, "250-"+mxHost+"\n250 SIZE 1000"))
		case verb == "EHLO":
			c.say(or(d.ehlo, "250-"+mxHost+"\n250-PIPELINING\n250-STARTTLS\n250 SIZE 1000"))
		case verb == "STARTTLS":
			reply := or(d.starttls, "220 2.0.0 ready")
			c.say(reply)
			if strings.HasPrefix(reply, "220") {
				if c.startTLS(d.tls) != nil {
					return
				}
				secure = true
			}
		case verb == "QUIT":
			c.say("221 2.0.0 bye")
			return
		default:
			c.say("502 5.5.1 not here")
		}
	}
}

// smtpProber returns a Prober that finds the server at its port, and the way to it.
func smtpProber(root *lab.Root, s *smtpServer) (*Prober, address) {
	cfg := Config{SMTPPort: int(s.addr.Port()), Name: "probe.example.test"}
	if root != nil {
		cfg.Roots = root.Pool()
	}
	return New(cfg), address{family: "IPv4", addr: s.addr.Addr()}
}

// testRoot returns a root, and what a server under it needs for mxHost.
func testRoot(t *testing.T) (*lab.Root, *tls.Config) {
	t.Helper()
	root, err := lab.NewRoot("Test Root")
	if err != nil {
		t.Fatal(err)
	}
	cert, err := root.Issue(time.Time{}, mxHost)
	if err != nil {
		t.Fatal(err)
	}
	return root, &tls.Config{Certificates: []tls.Certificate{cert}}
}
