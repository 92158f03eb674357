package lab_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stshost/stshost/internal/lab"
)

func TestStripper(t *testing.T) {
	root, err := lab.NewRoot("Test Root")
	must(t, err)
	const host = "mx1.mail.test"
	cert, err := root.Issue(time.Time{}, host)
	must(t, err)
	m, err := lab.StartMX(lab.MXConfig{Hosts: []string{host}, Certificate: &cert})
	must(t, err)
	defer m.Close()
	s, err := lab.StartStripper(t.Context(), m.Addr())
	must(t, err)
	conf := &tls.Config{ServerName: host, RootCAs: root.Pool()}

	// Who insists on TLS gets none, and says nothing.
	if err := send(s.Addr(), host, conf); err == nil || !strings.Contains(err.Error(), "502") {
		t.Errorf("STARTTLS through the attacker: %v", err)
	}
	if heard := s.Overheard(); len(heard) != 0 || len(m.Messages()) != 0 || s.Sessions() != 1 {
		t.Errorf("after a session without a message: %d sessions, %q overheard, %v delivered", s.Sessions(), heard, m.Messages())
	}
	// Who does not is served by the real host, and overheard.
	must(t, send(s.Addr(), host, nil))
	msgs := m.Messages()
	if len(msgs) != 1 || msgs[0].TLS || !strings.Contains(string(msgs[0].Data), "Hello.") {
		t.Errorf("delivered: %+v", msgs)
	}
	if heard := s.Overheard(); !slices.Equal(heard, []string{"Subject: hello", "", "Hello."}) {
		t.Errorf("overheard: %q", heard)
	}
	// On the direct way everything is as before.
	must(t, send(m.Addr(), host, conf))

	// A client that sends its commands together gets its replies in order, and
	// STARTTLS is taken out wherever it stands.
	conn, err := net.Dial("tcp", s.Addr())
	must(t, err)
	defer conn.Close()
	must(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
	fmt.Fprint(conn, "EHLO a.test\r\nMAIL FROM:<a@a.test>\r\nRCPT TO:<b@example.test>\r\nDATA\r\n")
	var codes []string
	r := bufio.NewReader(conn)
	for len(codes) < 5 {
		line, err := r.ReadString('\n')
		must(t, err)
		if strings.Contains(line, "STARTTLS") || strings.Contains(line, "CHUNKING") {
			t.Errorf("the attacker lets %q pass", line)
		}
		if line[3] == ' ' {
			codes = append(codes, line[:3])
		}
	}
	if !slices.Equal(codes, []string{"220", "250", "250", "250", "354"}) {
		t.Errorf("replies: %v", codes)
	}
	fmt.Fprint(conn, "..dots\r\n.\r\n")
	line, err := r.ReadString('\n')
	if heard := s.Overheard(); err != nil || !strings.HasPrefix(line, "250 ") || heard[len(heard)-1] != ".dots" {
		t.Errorf("message with a dot: %q, %v, overheard %q", line, err, heard)
	}

	must(t, s.Close())
	if _, err := r.ReadString('\n'); err == nil {
		t.Error("a session goes on after Close")
	}
	if conn, err := net.Dial("tcp", s.Addr()); err == nil {
		conn.Close()
		t.Error("it listens after Close")
	}
}

// The extension to hide is the last one, and after it nothing else is lost.
func TestStripperHidesTheLastLine(t *testing.T) {
	ln, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	defer ln.Close()
	go func() {
		conn, err := ln.Accept()
		if err != nil {
			return
		}
		defer conn.Close()
		fmt.Fprint(conn, "220 old.test\r\n250-old.test\r\n250-SIZE 1000\r\n250-starttls\r\n250 STARTTLS\r\n")
		_, _ = io.Copy(io.Discard, conn)
	}()
	ctx, cancel := context.WithCancel(t.Context())
	s, err := lab.StartStripper(ctx, ln.Addr().String())
	must(t, err)
	conn, err := net.Dial("tcp", s.Addr())
	must(t, err)
	defer conn.Close()
	must(t, conn.SetDeadline(time.Now().Add(20*time.Second)))
	fmt.Fprint(conn, "EHLO a.test\r\n")
	want := "220 old.test\r\n250-old.test\r\n250 SIZE 1000\r\n"
	got := make([]byte, len(want))
	if _, err := io.ReadFull(conn, got); err != nil || string(got) != want {
		t.Errorf("the client sees %q (%v), want %q", got, err, want)
	}
	cancel() // the end of the context is the end of the attack
	if rest, _ := io.ReadAll(conn); len(rest) != 0 {
		t.Errorf("and then %q", rest)
	}
	must(t, s.Close())
}
