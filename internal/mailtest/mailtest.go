// Package mailtest is a mail server on loopback for tests, which wants a
// password and keeps what it is sent.
package mailtest

import (
	"errors"
	"io"
	"net"
	"slices"
	"sync"
	"testing"

	"github.com/emersion/go-sasl"
	"github.com/emersion/go-smtp"
)

// User is who may send.
const User = "stshost"

// Server is a running mail server.
type Server struct {
	Addr string // host:port

	password string
	mu       sync.Mutex
	mails    []string
	greeting string
}

// Start runs a server until the test ends. It takes mail from whoever has the
// password, and tells others the password that they tried: the worst of answers.
func Start(t testing.TB, password string) *Server {
	t.Helper()
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	s := &Server{Addr: ln.Addr().String(), password: password}
	srv := smtp.NewServer(s)
	srv.AllowInsecureAuth = true
	var done sync.WaitGroup
	done.Go(func() { srv.Serve(ln) })
	t.Cleanup(func() {
		srv.Close()
		done.Wait()
	})
	return s
}

// URL is how shoutrrr sends mail here.
func (s *Server) URL(password string) string {
	return "smtp://" + User + ":" + password + "@" + s.Addr + "/?from=stshost@mx.test&to=ops@example.test"
}

// Mails are the mails that came, as they are on the wire.
func (s *Server) Mails() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.mails)
}

// Greeting is the name that the last client gave in its EHLO.
func (s *Server) Greeting() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.greeting
}

// NewSession implements smtp.Backend.
func (s *Server) NewSession(c *smtp.Conn) (smtp.Session, error) {
	return &session{server: s, conn: c}, nil
}

type session struct {
	server *Server
	conn   *smtp.Conn
	known  bool
}

func (s *session) AuthMechanisms() []string { return []string{sasl.Plain} }

func (s *session) Auth(string) (sasl.Server, error) {
	return sasl.NewPlainServer(func(_, user, password string) error {
		if user != User || password != s.server.password {
			return errors.New("you are not " + user + " with " + password)
		}
		s.known = true
		return nil
	}), nil
}

func (s *session) Mail(string, *smtp.MailOptions) error {
	if !s.known {
		return smtp.ErrAuthRequired
	}
	return nil
}

func (s *session) Rcpt(string, *smtp.RcptOptions) error { return nil }

func (s *session) Data(r io.Reader) error {
	b, err := io.ReadAll(r)
	s.server.mu.Lock()
	defer s.server.mu.Unlock()
	s.server.mails = append(s.server.mails, string(b))
	s.server.greeting = s.conn.Hostname()
	return err
}

func (s *session) Reset()        {}
func (s *session) Logout() error { return nil }
