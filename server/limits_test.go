package server_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stshost/stshost/mtasts"
	"github.com/stshost/stshost/server"
)

// raw sends a request as it stands and returns the answer.
func raw(t *testing.T, addr, request string) *http.Response {
	t.Helper()
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	io.WriteString(conn, request)
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp
}

// pipes is a net.Listener of connections in memory, for tests under synctest.
type pipes struct {
	conns chan net.Conn
	done  chan struct{}
}

func newPipes() *pipes { return &pipes{conns: make(chan net.Conn), done: make(chan struct{})} }

func (p *pipes) dial() net.Conn {
	c, s := net.Pipe()
	p.conns <- s
	return c
}

// dialEager is dial for a client whose peer need not wait for it to read, as with
// a socket: each side of a TLS handshake may write while the other does.
func (p *pipes) dialEager() net.Conn {
	e := &eager{Conn: p.dial(), chunks: make(chan []byte, 100)}
	go func() {
		defer close(e.chunks)
		for {
			b := make([]byte, 4096)
			n, err := e.Conn.Read(b)
			if err != nil {
				return
			}
			e.chunks <- b[:n]
		}
	}()
	return e
}

type eager struct {
	net.Conn
	chunks chan []byte
	rest   []byte
}

func (e *eager) Read(b []byte) (int, error) {
	if len(e.rest) == 0 {
		var ok bool
		if e.rest, ok = <-e.chunks; !ok {
			return 0, io.EOF
		}
	}
	n := copy(b, e.rest)
	e.rest = e.rest[n:]
	return n, nil
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.conns:
		return c, nil
	case <-p.done:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	select {
	case <-p.done:
	default:
		close(p.done)
	}
	return nil
}

func (p *pipes) Addr() net.Addr { return pipeAddr{} }

type pipeAddr struct{}

func (pipeAddr) Network() string { return "pipe" }
func (pipeAddr) String() string  { return "pipe" }

// TestSlowClients: whoever is silent or slow is cut off, in fake time.
func TestSlowClients(t *testing.T) {
	authority := newCA(t)
	cert := authority.issue(t, "mta-sts.a.example")
	secure := func(c net.Conn) net.Conn {
		return tls.Client(c, &tls.Config{ServerName: "mta-sts.a.example", RootCAs: authority.roots})
	}
	request := "GET " + mtasts.PolicyPath + " HTTP/1.1\r\nHost: mta-sts.a.example\r\n\r\n"
	for _, tc := range []struct {
		name  string
		talk  func(net.Conn) net.Conn // what the client does before it falls silent
		limit time.Duration
	}{
		{"no handshake", func(c net.Conn) net.Conn { return c }, 10 * time.Second},
		{"half a record", func(c net.Conn) net.Conn { c.Write([]byte{22, 3, 1, 1}); return c }, 10 * time.Second},
		{"no request", func(c net.Conn) net.Conn { s := secure(c); s.Write(nil); return s }, 5 * time.Second},
		{"half a header", func(c net.Conn) net.Conn { s := secure(c); io.WriteString(s, request[:30]); return s }, 5 * time.Second},
		{"idle after a request", func(c net.Conn) net.Conn {
			s := secure(c)
			io.WriteString(s, request)
			resp, err := http.ReadResponse(bufio.NewReader(s), nil)
			if err != nil {
				t.Error(err)
				return s
			}
			io.Copy(io.Discard, resp.Body)
			return s
		}, 30 * time.Second},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				policies := server.NewPolicies()
				policies.Set("a.example", []byte(policyA))
				s := newServer(t, server.Config{Policies: policies, GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) { return cert, nil }})
				ln := newPipes()
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error, 1)
				go func() { done <- s.ServeHTTPS(ctx, ln) }()
				c := tc.talk(ln.dialEager())
				begun := time.Now()
				io.Copy(io.Discard, c)
				if took := time.Since(begun); took > tc.limit+time.Second {
					t.Errorf("cut off after %s, want %s", took, tc.limit)
				}
				c.Close()
				cancel()
				if err := <-done; err != nil {
					t.Error(err)
				}
			})
		})
	}
}

// TestDrain: after a stop, a request in flight is answered; one that does not end
// is cut off after 8 seconds; new connections are refused.
func TestDrain(t *testing.T) {
	for _, stuck := range []bool{false, true} {
		t.Run(fmt.Sprintf("stuck=%v", stuck), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				release := make(chan struct{})
				policies := server.NewPolicies()
				policies.Set("a.example", []byte(policyA))
				s := newServer(t, server.Config{Policies: policies, Probe: func(string, string) string { <-release; return "late" }})
				ln := newPipes()
				ctx, cancel := context.WithCancel(t.Context())
				done := make(chan error, 1)
				go func() { done <- s.ServeHTTP(ctx, ln) }()
				silent := ln.dial()
				defer silent.Close()
				c := ln.dial()
				defer c.Close()
				io.WriteString(c, "GET /.well-known/stshost/x HTTP/1.1\r\nHost: mta-sts.a.example\r\n\r\n")
				synctest.Wait() // the request is in its handler

				begun := time.Now()
				cancel()
				synctest.Wait()
				select {
				case err := <-done:
					t.Fatalf("stopped with a request in flight: %v", err)
				default:
				}
				if !stuck {
					close(release)
					resp, err := http.ReadResponse(bufio.NewReader(c), nil)
					if err != nil {
						t.Fatal(err)
					}
					if body, _ := io.ReadAll(resp.Body); string(body) != "late" {
						t.Errorf("body %q", body)
					}
				}
				if err := <-done; err != nil {
					t.Errorf("stopped with %v", err)
				}
				took := time.Since(begun)
				if stuck != (took >= 8*time.Second) || took > 9*time.Second || !stuck && took > 2*time.Second {
					t.Errorf("stopping took %s", took)
				}
				if stuck {
					close(release)
				}
			})
		})
	}
}

// TestConnectionLimit: at the limit the connection that has been without a
// request for longest goes; busy ones stay, and make a new one wait.
func TestConnectionLimit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		policies := server.NewPolicies()
		policies.Set("a.example", []byte(policyA))
		s := newServer(t, server.Config{Policies: policies, MaxConnections: 2, Probe: func(host, nonce string) string {
			if nonce == "wait" {
				<-release
			}
			return nonce
		}})
		ln := newPipes()
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.ServeHTTP(ctx, ln) }()
		dial := func(nonce string) (net.Conn, *bufio.Reader) {
			c := ln.dial()
			if nonce != "" {
				io.WriteString(c, "GET /.well-known/stshost/"+nonce+" HTTP/1.1\r\nHost: mta-sts.a.example\r\n\r\n")
			}
			return c, bufio.NewReader(c)
		}
		expect := func(r *bufio.Reader, want string) {
			t.Helper()
			resp, err := http.ReadResponse(r, nil)
			if err != nil {
				t.Fatal(err)
			}
			if body, _ := io.ReadAll(resp.Body); string(body) != want {
				t.Errorf("answer %q, want %q", body, want)
			}
			synctest.Wait()
		}
		begun := time.Now()

		_, first := dial("1")
		expect(first, "1")
		_, second := dial("") // never says anything
		synctest.Wait()
		_, third := dial("wait")
		synctest.Wait()
		if _, err := first.ReadByte(); err == nil {
			t.Error("the connection that was idle longest is still open")
		}
		_, fourth := dial("wait")
		synctest.Wait()
		if _, err := second.ReadByte(); err == nil {
			t.Error("the silent connection is still open")
		}
		var fifth *bufio.Reader
		asked := make(chan struct{})
		go func() { _, fifth = dial("5"); close(asked) }() // both places are busy
		time.Sleep(time.Second)                            // fake time
		select {
		case <-asked:
			t.Error("a third connection was served")
		default:
		}
		close(release)
		expect(third, "wait")
		expect(fourth, "wait")
		<-asked
		expect(fifth, "5")
		if took := time.Since(begun); took > time.Second {
			t.Errorf("it took %s", took)
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}

// TestFloodOfSilentConnections: senders get through although many connect and
// say nothing.
func TestFloodOfSilentConnections(t *testing.T) {
	w := start(t, func(c *server.Config) { c.MaxConnections = 8 })
	for range 100 {
		c, err := net.Dial("tcp", w.https)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
	}
	c := w.client(t, w.https, "mta-sts.a.example", true)
	if resp, body := do(t, c, "GET", "https://mta-sts.a.example"+mtasts.PolicyPath); resp.StatusCode != 200 || !strings.Contains(body, "STSv1") {
		t.Errorf("%d %q", resp.StatusCode, body)
	}
}

func TestListenerThatFailsIsReported(t *testing.T) {
	s := newServer(t, server.Config{Policies: server.NewPolicies()})
	ln := newPipes()
	ln.Close()
	if err := s.ServeHTTP(context.Background(), ln); err == nil || !strings.Contains(err.Error(), "listener") {
		t.Errorf("error %v", err)
	}
}
