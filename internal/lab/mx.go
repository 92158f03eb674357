package lab

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/emersion/go-smtp"
)

// MXConfig configures a mail host.
type MXConfig struct {
	// Hosts are the host names that it goes by; the first is in its greeting.
	// At least one.
	Hosts []string
	// Addr is the host:port it listens on; empty: a free port on 127.0.0.1.
	Addr string
	// Certificate is shown after STARTTLS. Without one there is no STARTTLS.
	Certificate *tls.Certificate
	// Log takes what goes wrong in the server; nil: nothing is logged.
	Log io.Writer
}

// MX is a mail host that takes every message and keeps it in memory. It is
// safe for concurrent use.
type MX struct {
	cfg MXConfig
	ln  net.Listener
	wg  sync.WaitGroup

	mu       sync.Mutex
	cert     *tls.Certificate
	server   *smtp.Server
	messages []Message
	news     chan struct{} // closed and replaced at each message
}

// Message is a message that was delivered.
type Message struct {
	Time time.Time
	From string
	To   []string
	TLS  bool   // it came after STARTTLS
	SNI  string // the name that the client asked for in TLS; may be empty
	Data []byte
}

// StartMX starts a mail host.
func StartMX(cfg MXConfig) (*MX, error) {
	if len(cfg.Hosts) == 0 {
		return nil, errors.New("start a mail host: it needs a name")
	}
	if cfg.Addr == "" {
		cfg.Addr = "127.0.0.1:0"
	}
	ln, err := net.Listen("tcp", cfg.Addr)
	if err != nil {
		return nil, fmt.Errorf("listen for mail to %s: %w", cfg.Hosts[0], err)
	}
	return serveMX(cfg, ln), nil
}

// serveMX starts a mail host on a listener.
func serveMX(cfg MXConfig, ln net.Listener) *MX {
	if cfg.Log == nil {
		cfg.Log = io.Discard
	}
	m := &MX{cfg: cfg, ln: ln, cert: cfg.Certificate, news: make(chan struct{})}
	m.server = smtp.NewServer(smtp.BackendFunc(func(c *smtp.Conn) (smtp.Session, error) {
		return &session{mx: m, conn: c}, nil
	}))
	m.server.Domain = cfg.Hosts[0]
	m.server.MaxMessageBytes = 1 << 20
	m.server.ReadTimeout = 30 * time.Second
	m.server.WriteTimeout = 30 * time.Second
	m.server.ErrorLog = log.New(cfg.Log, "mx "+cfg.Hosts[0]+": ", 0)
	if m.cert != nil {
		m.server.TLSConfig = &tls.Config{MinVersion: tls.VersionTLS12, GetCertificate: m.certificate}
	}
	m.wg.Go(func() { _ = m.server.Serve(ln) }) // ends by Close
	return m
}

func (m *MX) certificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.cert, nil
}

// SetCertificate changes the certificate that new connections get, so that it
// can be expired, or for another name. The host must have been started with
// one.
func (m *MX) SetCertificate(cert tls.Certificate) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.cert = &cert
}

// Hosts are the names of the host.
func (m *MX) Hosts() []string { return slices.Clone(m.cfg.Hosts) }

// Addr is the host:port it listens on.
func (m *MX) Addr() string { return m.ln.Addr().String() }

// Messages lists what was delivered, oldest first.
func (m *MX) Messages() []Message {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Clone(m.messages)
}

// NextMessage waits for the message after the first n and returns it.
func (m *MX) NextMessage(ctx context.Context, n int) (Message, error) {
	for {
		m.mu.Lock()
		messages, news := m.messages, m.news
		m.mu.Unlock()
		if n < len(messages) {
			return messages[n], nil
		}
		select {
		case <-news:
		case <-ctx.Done():
			return Message{}, context.Cause(ctx)
		}
	}
}

// Close stops the host; connections are cut.
func (m *MX) Close() error {
	err := m.server.Close()
	m.ln.Close() // go-smtp knows it only once Serve has begun
	m.wg.Wait()
	if err != nil && !errors.Is(err, smtp.ErrServerClosed) {
		return err
	}
	return nil
}

// session is one SMTP session (RFC 5321).
type session struct {
	mx   *MX
	conn *smtp.Conn
	msg  Message
}

func (s *session) Reset()        { s.msg = Message{} }
func (s *session) Logout() error { return nil }

func (s *session) Mail(from string, _ *smtp.MailOptions) error {
	s.msg = Message{From: from}
	return nil
}

func (s *session) Rcpt(to string, _ *smtp.RcptOptions) error {
	s.msg.To = append(s.msg.To, strings.ToLower(to))
	return nil
}

func (s *session) Data(r io.Reader) error {
	data, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	s.msg.Data = data
	s.msg.Time = time.Now()
	if state, ok := s.conn.TLSConnectionState(); ok {
		s.msg.TLS, s.msg.SNI = true, state.ServerName
	}
	s.mx.mu.Lock()
	defer s.mx.mu.Unlock()
	s.mx.messages = append(s.mx.messages, s.msg)
	close(s.mx.news)
	s.mx.news = make(chan struct{})
	return nil
}
