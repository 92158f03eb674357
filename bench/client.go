package main

import (
	"bufio"
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"

	"golang.org/x/sync/errgroup"

	"github.com/stshost/stshost/mtasts"
)

// client fetches one policy, again and again. It does as little as it can on
// its side, so that the server is what is busy.
type client struct {
	host    string         // policy host
	roots   *x509.CertPool // of its certificate
	leaf    []byte         // the certificate, DER
	body    []byte         // the policy
	workers int            // connections at one time
}

// config makes full TLS 1.3 handshakes over X25519: without a session cache
// nothing is ever resumed, and no tickets are asked for.
func (c *client) config() *tls.Config {
	return &tls.Config{
		ServerName:       c.host,
		RootCAs:          c.roots,
		MinVersion:       tls.VersionTLS13,
		CurvePreferences: []tls.CurveID{tls.X25519},
		NextProtos:       []string{"http/1.1"},
	}
}

// check fetches once with full verification, as a sender would.
func (c *client) check(ctx context.Context, addr string) error {
	transport := &http.Transport{
		TLSClientConfig:   c.config(),
		DisableKeepAlives: true,
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, addr)
		},
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "https://"+c.host+mtasts.PolicyPath, nil)
	if err != nil {
		return err
	}
	resp, err := transport.RoundTrip(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	switch {
	case err != nil:
		return err
	case resp.StatusCode != http.StatusOK || !bytes.Equal(body, c.body):
		return fmt.Errorf("answered %s with %q", resp.Status, body)
	case !bytes.Equal(resp.TLS.PeerCertificates[0].Raw, c.leaf):
		return errors.New("has another certificate")
	case resp.TLS.CurveID != tls.X25519 || resp.TLS.CipherSuite != tls.TLS_AES_128_GCM_SHA256:
		return fmt.Errorf("chose %s with %s", resp.TLS.CurveID, tls.CipherSuiteName(resp.TLS.CipherSuite))
	}
	return nil
}

// dial makes a connection. The chain was verified by check; from then on the
// certificate must be the very same, which is cheaper to see.
func (c *client) dial(ctx context.Context, addr string) (*tls.Conn, error) {
	raw, err := new(net.Dialer).DialContext(ctx, "tcp", addr)
	if err != nil {
		return nil, err
	}
	config := c.config()
	config.InsecureSkipVerify = true
	config.VerifyConnection = func(s tls.ConnectionState) error {
		if !bytes.Equal(s.PeerCertificates[0].Raw, c.leaf) {
			return errors.New("another certificate than before")
		}
		return nil
	}
	conn := tls.Client(raw, config)
	if err := conn.HandshakeContext(ctx); err != nil {
		raw.Close()
		return nil, err
	}
	return conn, nil
}

func (c *client) request(more string) []byte {
	return []byte("GET " + mtasts.PolicyPath + " HTTP/1.1\r\nHost: " + c.host + "\r\nUser-Agent: bench\r\n" + more + "\r\n")
}

// share runs f on as many goroutines as there are workers, n times in all.
func (c *client) share(ctx context.Context, n int, f func(ctx context.Context, times int) error) error {
	g, ctx := errgroup.WithContext(ctx)
	for i := range c.workers {
		times := (n + i) / c.workers
		g.Go(func() error { return f(ctx, times) })
	}
	return g.Wait()
}

// connections makes n connections with one GET each, which the server closes.
func (c *client) connections(ctx context.Context, addr string, n int) error {
	request := c.request("Connection: close\r\n")
	return c.share(ctx, n, func(ctx context.Context, times int) error {
		for range times {
			conn, err := c.dial(ctx, addr)
			if err != nil {
				return err
			}
			conn.Write(request) // an error shows in what is read
			answer, err := io.ReadAll(conn)
			conn.Close()
			if err != nil {
				return err
			}
			if err := c.right(answer); err != nil {
				return err
			}
		}
		return nil
	})
}

// requests makes n GETs over connections that stay open.
func (c *client) requests(ctx context.Context, addr string, n int) error {
	request := c.request("")
	return c.share(ctx, n, func(ctx context.Context, times int) error {
		conn, err := c.dial(ctx, addr)
		if err != nil {
			return err
		}
		defer conn.Close()
		r := bufio.NewReader(conn)
		var answer []byte // all are of the same length, as the first tells
		for i := range times {
			if _, err := conn.Write(request); err != nil {
				return err
			}
			if i == 0 {
				answer, err = c.first(r)
			} else {
				_, err = io.ReadFull(r, answer)
			}
			if err != nil {
				return err
			}
			if err := c.right(answer); err != nil {
				return err
			}
		}
		return nil
	})
}

// first reads an answer of unknown length.
func (c *client) first(r *bufio.Reader) ([]byte, error) {
	var head []byte
	for !bytes.HasSuffix(head, []byte("\r\n\r\n")) {
		line, err := r.ReadBytes('\n')
		if err != nil {
			return nil, err
		}
		head = append(head, line...)
	}
	answer := append(head, make([]byte, len(c.body))...)
	_, err := io.ReadFull(r, answer[len(head):])
	return answer, err
}

func (c *client) right(answer []byte) error {
	if !bytes.HasPrefix(answer, []byte("HTTP/1.1 200 ")) || !bytes.HasSuffix(answer, c.body) {
		return fmt.Errorf("not the policy: %q", answer)
	}
	return nil
}
