package lab

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"sync"
)

// Stripper is an attacker on the path to a mail host: a TCP proxy that takes
// STARTTLS out of what the host offers, so that who does not insist on TLS
// sends in the clear (RFC 3207 §6). CHUNKING goes too, so that every message
// passes by DATA, and is overheard there. It is safe for concurrent use.
type Stripper struct {
	target string
	ln     net.Listener
	ctx    context.Context // the life of the attacker
	cancel context.CancelFunc
	wg     sync.WaitGroup

	mu       sync.Mutex
	sessions int
	heard    []string
}

// StartStripper puts an attacker in front of the mail host at target, a
// host:port. It listens on a free port of 127.0.0.1 until Close or the end of ctx.
func StartStripper(ctx context.Context, target string) (*Stripper, error) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("listen for mail to %s: %w", target, err)
	}
	s := &Stripper{target: target, ln: ln}
	s.ctx, s.cancel = context.WithCancel(ctx)
	context.AfterFunc(s.ctx, func() { ln.Close() })
	s.wg.Go(func() {
		for {
			conn, err := ln.Accept()
			if err != nil {
				return
			}
			s.wg.Go(func() { s.serve(conn) })
		}
	})
	return s, nil
}

// Addr is the host:port it listens on.
func (s *Stripper) Addr() string { return s.ln.Addr().String() }

// Target is the host:port that it is in front of.
func (s *Stripper) Target() string { return s.target }

// Sessions is how many connections went through it.
func (s *Stripper) Sessions() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sessions
}

// Overheard are the lines of all messages that passed in the clear, headers
// included, without line ends.
func (s *Stripper) Overheard() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.heard)
}

// Close ends the attack; connections are cut.
func (s *Stripper) Close() error {
	s.cancel()
	s.ln.Close() // at once, and not only soon
	s.wg.Wait()
	return nil
}

// DialFunc is the route to the mail hosts, as in net.Dialer.DialContext.
type DialFunc = func(ctx context.Context, network, addr string) (net.Conn, error)

// Route is a route with attackers on it: it leads to the target of each by way
// of the attacker, and directly to everybody else. DNS stays as it is.
func Route(attackers ...*Stripper) DialFunc {
	return func(ctx context.Context, network, addr string) (net.Conn, error) {
		for _, a := range attackers {
			if a.target == addr {
				addr = a.Addr()
				break
			}
		}
		return new(net.Dialer).DialContext(ctx, network, addr)
	}
}

// serve relays one connection.
func (s *Stripper) serve(client net.Conn) {
	defer client.Close()
	s.mu.Lock()
	s.sessions++
	s.mu.Unlock()
	host, err := new(net.Dialer).DialContext(s.ctx, "tcp", s.target)
	if err != nil {
		return
	}
	defer host.Close()
	defer context.AfterFunc(s.ctx, func() {
		client.Close()
		host.Close()
	})()
	r := &relay{
		fromClient: bufio.NewReader(client), toClient: bufio.NewWriter(client),
		fromHost: bufio.NewReader(host), toHost: bufio.NewWriter(host),
		hear: s.hear,
	}
	_ = r.run() // ends when either side does
}

func (s *Stripper) hear(line string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.heard = append(s.heard, line)
}

// relay is one SMTP session through the attacker: command by command, each with
// its reply, which pipelining does not mind (RFC 2920 §3.2).
type relay struct {
	fromClient, fromHost *bufio.Reader
	toClient, toHost     *bufio.Writer
	hear                 func(line string)
}

func (r *relay) run() error {
	if _, err := r.reply(nil); err != nil { // the greeting
		return err
	}
	for {
		line, err := r.fromClient.ReadString('\n')
		if err != nil {
			return err
		}
		verb, _, _ := strings.Cut(strings.ToUpper(strings.TrimRight(line, "\r\n")), " ")
		if verb == "STARTTLS" {
			// For those that try it unasked.
			if err := send(r.toClient, "502 5.5.1 STARTTLS is not implemented\r\n"); err != nil {
				return err
			}
			continue
		}
		if err := send(r.toHost, line); err != nil {
			return err
		}
		var hidden []string
		if verb == "EHLO" {
			hidden = []string{"STARTTLS", "CHUNKING"}
		}
		code, err := r.reply(hidden)
		if err == nil && verb == "DATA" && code == "354" {
			err = r.message()
		}
		if err != nil {
			return err
		}
	}
}

// reply relays a reply without the extensions that are hidden, and returns its
// code (RFC 5321 §4.2.1).
func (r *relay) reply(hidden []string) (code string, err error) {
	var lines []string
	for more := true; more; {
		line, err := r.fromHost.ReadString('\n')
		if err != nil {
			return "", err
		}
		line = strings.TrimRight(line, "\r\n")
		if len(line) < 3 {
			return "", fmt.Errorf("%q is no reply", line)
		}
		more = strings.HasPrefix(line[3:], "-")
		keyword, _, _ := strings.Cut(strings.ToUpper(line[min(4, len(line)):]), " ")
		// The first line has the name of the host.
		if len(lines) == 0 || !slices.Contains(hidden, keyword) {
			lines = append(lines, line)
		}
	}
	for i, line := range lines {
		sep := "-"
		if i == len(lines)-1 {
			sep = " " // also where the last line was hidden
		}
		if _, err := fmt.Fprintf(r.toClient, "%s%s%s\r\n", line[:3], sep, line[min(4, len(line)):]); err != nil {
			return "", err
		}
	}
	return lines[0][:3], r.toClient.Flush()
}

// message relays what follows on DATA, and the reply to it.
func (r *relay) message() error {
	for {
		line, err := r.fromClient.ReadString('\n')
		if err != nil {
			return err
		}
		if _, err := io.WriteString(r.toHost, line); err != nil {
			return err
		}
		line = strings.TrimRight(line, "\r\n")
		if line == "." {
			break
		}
		r.hear(strings.TrimPrefix(line, ".")) // RFC 5321 §4.5.2
	}
	if err := r.toHost.Flush(); err != nil {
		return err
	}
	_, err := r.reply(nil)
	return err
}

func send(w *bufio.Writer, line string) error {
	if _, err := w.WriteString(line); err != nil {
		return err
	}
	return w.Flush()
}
