package server

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"os"
	"time"

	"github.com/pires/go-proxyproto"
)

const (
	// headerTimeout is how long a balancer may take to send its PROXY protocol
	// header, which is the first thing that it says.
	headerTimeout = 5 * time.Second
	// headerBuffer holds the longest header of version 1 (107 bytes), and one of
	// version 2 with a few extensions.
	headerBuffer = 256
)

// readHeader reads the PROXY protocol header if one must come first, and reports
// whether the connection may go on. The caller closes it if not.
//
// https://www.haproxy.org/download/3.0/doc/proxy-protocol.txt, §2: a receiver
// must be told from whom to expect the header, and must not guess.
func (s *Server) readHeader(ctx context.Context, c *conn, listener string) bool {
	if !c.proxied {
		return true
	}
	silent, err := c.readHeader(ctx)
	switch {
	case err == nil:
		return true
	case errors.Is(ctx.Err(), context.Canceled): // we stop
	case silent && !errors.Is(err, os.ErrDeadlineExceeded):
		// It hung up without a word: a health check by TCP alone.
		s.log.Debug("a balancer closed its connection at once", "listener", listener, "remote", c.RemoteAddr().String())
	default:
		s.metrics.headerless.WithLabelValues(listener).Inc()
		s.headerless.warn(s, "a connection of a balancer did not begin with a PROXY protocol header and was closed", "listener", listener,
			"remote", c.RemoteAddr().String(), "error", headerReason(err),
			"remedy", "have it send the header, version 1 or 2, or take its address out of proxy_protocol in [listen]")
	}
	return false
}

// headerReason says why there was no header, in words for an operator.
func headerReason(err error) string {
	switch {
	case errors.Is(err, os.ErrDeadlineExceeded):
		return "no whole header came within " + headerTimeout.String()
	case errors.Is(err, proxyproto.ErrNoProxyProtocol):
		return "something else came first"
	}
	return clip(err.Error())
}

// readHeader takes the header off the connection. silent says that there was
// nothing at all.
func (c *conn) readHeader(ctx context.Context) (silent bool, err error) {
	defer context.AfterFunc(ctx, func() { c.Close() })()
	if err := c.Conn.SetReadDeadline(time.Now().Add(headerTimeout)); err != nil {
		return true, err
	}
	in := bufio.NewReaderSize(c.Conn, headerBuffer)
	if _, err := in.Peek(1); err != nil {
		return true, err
	}
	header, err := proxyproto.Read(in)
	if err != nil {
		return false, err
	}
	if err := c.Conn.SetReadDeadline(time.Time{}); err != nil {
		return false, err
	}
	// Of LOCAL, and of UNKNOWN in version 1, the addresses mean nothing (§2.2).
	if c.local = header.Command.IsLocal(); !c.local {
		c.limit.moved(c, header.SourceAddr)
	}
	if in.Buffered() > 0 {
		c.rest = in
	}
	return false, nil
}

// Read reads what the client says, after the header.
func (c *conn) Read(p []byte) (int, error) {
	if c.rest == nil {
		n, err := c.Conn.Read(p)
		if n > 0 && !c.spoke {
			c.spoke = true
			c.advance()
		}
		return n, err
	}
	n, err := io.LimitReader(c.rest, int64(c.rest.Buffered())).Read(p)
	if c.rest.Buffered() == 0 {
		c.rest = nil
	}
	return n, err
}

// RemoteAddr is the client's address: the one that the balancer named, or the
// peer's.
func (c *conn) RemoteAddr() net.Addr {
	if c.client != nil {
		return c.client
	}
	return c.Conn.RemoteAddr()
}
