package server

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"os"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// acmeALPN is the protocol of a tls-alpn-01 validation (RFC 8737 §6.2). The
// handshake is the whole validation: nothing is said after it.
const acmeALPN = "acme-tls/1"

// handshakeTimeout bounds a TLS handshake. Senders give up after about a minute
// for the whole fetch (RFC 8461 §3.3); honest handshakes take a second.
const handshakeTimeout = 10 * time.Second

// handshake makes the TLS handshake of a connection. It returns nil if that
// failed, or was all that the client wanted.
func (s *Server) handshake(ctx context.Context, c *conn, config *tls.Config) net.Conn {
	t := tls.Server(c, config)
	if err := t.HandshakeContext(ctx); err != nil {
		answerPlainHTTP(err)
		if !errors.Is(ctx.Err(), context.Canceled) { // as it is when we stop
			s.handshakeFailed(c, err)
		}
		return nil
	}
	if t.ConnectionState().NegotiatedProtocol == acmeALPN {
		t.Close()
		return nil
	}
	c.advance()
	return t
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
				// Asked now, for we may have hung up by the time it has failed.
				c.own = s.cfg.OwnConn != nil && s.cfg.OwnConn(c.RemoteAddr())
			}
			return nil, nil
		},
		// Neither a certificate nor an error makes crypto/tls send the alert
		// unrecognized_name (RFC 6066 §3).
		GetCertificate: func(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
			if !s.known(strings.ToLower(hello.ServerName)) {
				return nil, nil
			}
			cert, err := s.cfg.GetCertificate(hello)
			if err != nil {
				return nil, &certificateError{err}
			}
			return cert, nil
		},
	}
}

// handshakeFailed counts a failed handshake. One that asked for a host of ours
// may have been a sender, so it is kept and logged, though at most once a minute
// for a host; the rest are scanners.
func (s *Server) handshakeFailed(c *conn, err error) {
	if c.local && c.sni == "" {
		return // a balancer's health check ends here
	}
	if c.own {
		return // whoever looked says what is wrong
	}
	known := c.sni != "" && s.known(c.sni)
	word, reason := handshakeReason(err)
	if !known && word == "protocol" {
		word = "unknown_name" // with no certificate to show, nothing else can come of it
	}
	s.metrics.handshakes.WithLabelValues(strconv.FormatBool(known), word).Inc()
	remote := c.RemoteAddr().String()
	if !known {
		s.log.Debug("TLS handshake for no host of ours failed", "host", clip(c.sni), "remote", remote, "error", err)
		return
	}
	total, quiet := s.fetches.failedHandshake(c.sni, FetchEvent{Time: s.now(), Remote: remote, Reason: reason})
	if !quiet {
		s.log.Info("a client failed to make a TLS connection", "host", c.sni, "domain", policyDomain(c.sni),
			"remote", remote, "error", reason, "failed_so_far", total)
	}
}

// handshakeReason says why a handshake failed, in a word for the metrics and in
// words for an operator.
func handshakeReason(err error) (word, text string) {
	var op *net.OpError
	var record tls.RecordHeaderError
	var ours *certificateError
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded), errors.Is(err, context.DeadlineExceeded):
		return "timeout", "the handshake took longer than " + handshakeTimeout.String()
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrClosedPipe), errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return "closed", "the client closed the connection during the handshake"
	case errors.Is(err, net.ErrClosed):
		return "evicted", "the connection was closed to make room for others"
	case errors.As(err, &op) && op.Op == "remote error": // an alert, as crypto/tls reports it
		return "refused", "the client refused: " + op.Err.Error()
	case errors.As(err, &ours):
		return "no_certificate", clip(err.Error())
	case errors.As(err, &record):
		return "not_tls", clip(err.Error())
	}
	return "protocol", clip(err.Error())
}

// handshakeReasons are the words of handshakeReason, and that of a handshake
// that named no host of ours.
func handshakeReasons() []string {
	return []string{"timeout", "closed", "evicted", "refused", "no_certificate", "not_tls", "protocol", "unknown_name"}
}

// certificateError is why there is no certificate for a host of ours.
type certificateError struct{ error }

func (e *certificateError) Unwrap() error { return e.error }
