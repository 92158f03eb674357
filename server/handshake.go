package server

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"strings"
	"sync"
	"syscall"
	"time"
)

// acmeALPN is the protocol of a tls-alpn-01 validation (RFC 8737 §6.2). The
// handshake is the whole validation: nothing is said after it.
const acmeALPN = "acme-tls/1"

// handshakeTimeout bounds a TLS handshake. Senders give up after about a minute
// for the whole fetch (RFC 8461 §3.3); honest handshakes take a second.
const handshakeTimeout = 10 * time.Second

// tlsListener is a net.Listener whose connections have made their TLS handshake.
// Handshakes run here, rather than in http.Server, because there a failure is
// only a line of text in a log, and we want to know whose policy it kept a
// sender from fetching.
type tlsListener struct {
	*connLimit
	config *tls.Config
	failed func(c *conn, err error)

	ctx    context.Context // ends when the listener is closed
	cancel context.CancelFunc
	ready  chan accepted
	wg     sync.WaitGroup
}

type accepted struct {
	conn net.Conn
	err  error
}

// newTLSListener starts to accept on inner. The connections of inner must be
// closed by its *conn. config is not copied.
func newTLSListener(inner *connLimit, config *tls.Config, failed func(*conn, error)) *tlsListener {
	l := &tlsListener{connLimit: inner, config: config, failed: failed, ready: make(chan accepted)}
	l.ctx, l.cancel = context.WithCancel(context.Background())
	l.wg.Go(l.acceptAll)
	return l
}

// Accept returns the next connection whose handshake has been made.
func (l *tlsListener) Accept() (net.Conn, error) {
	select {
	case a := <-l.ready:
		return a.conn, a.err
	case <-l.ctx.Done():
		return nil, net.ErrClosed
	}
}

// Close stops accepting and breaks handshakes off; wait waits until they ended.
func (l *tlsListener) Close() error {
	l.cancel()
	return l.connLimit.Close()
}

func (l *tlsListener) wait() { l.wg.Wait() }

func (l *tlsListener) acceptAll() {
	for {
		nc, err := l.connLimit.Accept()
		if err != nil {
			// http.Server waits after a temporary error before it accepts again,
			// and so do we, as nobody takes the error before.
			if !l.hand(accepted{err: err}) || errors.Is(err, net.ErrClosed) {
				return
			}
			continue
		}
		l.wg.Go(func() { l.handshake(nc.(*conn)) })
	}
}

// hand gives a to Accept and reports whether anybody took it.
func (l *tlsListener) hand(a accepted) bool {
	select {
	case l.ready <- a:
		return true
	case <-l.ctx.Done():
		return false
	}
}

func (l *tlsListener) handshake(c *conn) {
	ctx, cancel := context.WithTimeout(l.ctx, handshakeTimeout)
	defer cancel()
	t := tls.Server(c, l.config)
	if err := t.HandshakeContext(ctx); err != nil {
		answerPlainHTTP(err)
		c.Close()
		if l.ctx.Err() == nil {
			l.failed(c, err)
		}
		return
	}
	if t.ConnectionState().NegotiatedProtocol == acmeALPN || !l.hand(accepted{conn: t}) {
		t.Close()
	}
}

// answerPlainHTTP tells a person who typed http:// for an HTTPS port so.
func answerPlainHTTP(err error) {
	var rec tls.RecordHeaderError
	if !errors.As(err, &rec) || rec.Conn == nil {
		return
	}
	switch string(rec.RecordHeader[:]) {
	case "GET /", "HEAD ", "POST ", "PUT /", "OPTIO":
		rec.Conn.SetWriteDeadline(time.Now().Add(time.Second))
		io.WriteString(rec.Conn, "HTTP/1.0 400 Bad Request\r\nContent-Type: text/plain\r\n\r\nThis port speaks HTTPS.\n")
	}
}

// tlsConfig is the configuration of the HTTPS listener.
func (s *Server) tlsConfig() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12, // RFC 8461 §3.3
		NextProtos: []string{"h2", "http/1.1", acmeALPN},
		// A sender fetches once a day, so resumption saves nothing; and a full
		// handshake each time means that each asks for the certificate anew.
		SessionTicketsDisabled: true,
		GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
			if c, ok := hello.Conn.(*conn); ok {
				c.sni = strings.ToLower(hello.ServerName)
			}
			return nil, nil
		},
		// Neither a certificate nor an error makes crypto/tls send the alert
		// unrecognized_name (RFC 6066 §3).
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if !s.known(strings.ToLower(hello.ServerName)) {
				return nil, nil
			}
			return s.cfg.GetCertificate(hello)
		},
	}
}

// handshakeFailed counts a failed handshake. One that asked for a host of ours
// may have been a sender, so it is kept and logged, though at most once a minute
// for a host; the rest are scanners.
func (s *Server) handshakeFailed(c *conn, err error) {
	known := c.sni != "" && s.known(c.sni)
	s.metrics.handshakeFailed(known)
	remote := c.RemoteAddr().String()
	if !known {
		s.log.Debug("TLS handshake for no host of ours failed", "host", clip(c.sni), "remote", remote, "error", err)
		return
	}
	reason := handshakeReason(err)
	total, quiet := s.fetches.failedHandshake(c.sni, FetchEvent{Time: s.now(), Remote: remote, Reason: reason})
	if !quiet {
		s.log.Info("a client failed to make a TLS connection", "host", c.sni, "domain", policyDomain(c.sni),
			"remote", remote, "error", reason, "failed_so_far", total)
	}
}

// handshakeReason says why a handshake failed, in words for an operator.
func handshakeReason(err error) string {
	var op *net.OpError
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return "the handshake took longer than " + handshakeTimeout.String()
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrClosedPipe), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "the client closed the connection during the handshake"
	case errors.Is(err, net.ErrClosed):
		return "the connection was closed to make room for others"
	case errors.As(err, &op) && op.Op == "remote error": // an alert, as crypto/tls reports it
		return "the client refused: " + op.Err.Error()
	}
	return clip(err.Error())
}
