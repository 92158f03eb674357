package check

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"time"
)

const (
	// smtpTimeout bounds a whole look at one address. Senders have minutes of
	// patience with every single reply (RFC 5321 §4.5.3.2); somebody who waits
	// for a diagnosis has not.
	smtpTimeout = 20 * time.Second
	// smtpConnectTimeout bounds the connecting within it.
	smtpConnectTimeout = 10 * time.Second
	// quitTimeout is how long the reply to QUIT is waited for. Nothing hangs on
	// it, but a client should not run away before (RFC 5321 §4.1.1.10).
	quitTimeout = 2 * time.Second
)

var (
	// errSMTPTimeout is why a context ends after smtpTimeout.
	errSMTPTimeout = errors.New("the look took too long")
	errNoSTARTTLS  = errors.New("STARTTLS is not offered (RFC 3207 §4)")
	// errGarbled is errNoSTARTTLS with a reason that an operator would not find
	// in the mail server: firewalls overwrite what they do not know with X.
	errGarbled = fmt.Errorf("%w: a firewall on the way seems to have overwritten it in the reply to EHLO", errNoSTARTTLS)
	// errInjected: what comes in the clear after the reply would be taken as
	// said under TLS by whoever does not look.
	errInjected = errors.New("sent data in the clear after its reply to STARTTLS (response injection, RFC 3207 §4.2, compare CVE-2011-0411)")
)

// smtpError is a failure in an operator's words, with the error beneath it for
// errors.Is: syscall.ECONNREFUSED, context.DeadlineExceeded, io.EOF and so on.
type smtpError struct {
	text string
	err  error
}

func (e *smtpError) Error() string { return e.text }
func (e *smtpError) Unwrap() error { return e.err }

// lookSMTP looks at one address of an MX host as a sender does: greeting, EHLO,
// STARTTLS, the TLS handshake, EHLO again and QUIT. It never comes to MAIL. If
// the server has a certificate, a second session looks what those senders get
// that send no SNI.
func (p *Prober) lookSMTP(ctx context.Context, host string, a address) SMTPLook {
	look := SMTPLook{Family: a.family, Address: p.smtpAddress(a)}
	ctx, cancel := context.WithTimeoutCause(ctx, smtpTimeout, errSMTPTimeout)
	defer cancel()
	p.smtpSession(ctx, host, host, &look)
	if look.TLS == nil || len(look.TLS.Chain) == 0 {
		return look
	}
	second := SMTPLook{Address: look.Address}
	p.smtpSession(ctx, "", host, &second)
	if ctx.Err() == nil { // else it would look as if the server were at fault
		look.NoSNI = second.TLS
	}
	return look
}

// smtpSession connects, speaks and hangs up. name is the SNI to send, "" for
// none; host is what the certificate has to be for.
func (p *Prober) smtpSession(ctx context.Context, name, host string, look *SMTPLook) {
	look.Stage = SMTPConnect
	conn, err := p.connectSMTP(ctx, look.Address)
	if err != nil {
		look.Err = err
		return
	}
	defer conn.Close()
	// Closing ends whatever read or write is going on when ctx ends.
	defer context.AfterFunc(ctx, func() { conn.Close() })()
	s := newSMTPConn(conn)
	look.Err = p.speak(ctx, s, name, host, look)
	s.quit()
}

func (p *Prober) connectSMTP(ctx context.Context, address string) (net.Conn, error) {
	dialing, cancel := context.WithTimeout(ctx, smtpConnectTimeout)
	defer cancel()
	conn, err := p.cfg.Dial(dialing, "tcp", address)
	if err == nil {
		return conn, nil
	}
	var timeout net.Error
	switch {
	case ctx.Err() == nil && errors.As(err, &timeout) && timeout.Timeout():
		return nil, &smtpError{fmt.Sprintf("no connection within %s: the host is down, or a firewall drops what is sent to the port", smtpConnectTimeout), context.DeadlineExceeded}
	case errors.Is(err, syscall.ECONNREFUSED):
		return nil, &smtpError{"connection refused: nothing listens at the port, or a firewall turns us away", err}
	}
	return nil, lost(ctx, "the greeting", err)
}

// speak goes through a session up to what a sender does before MAIL, and says
// why it came no further.
func (p *Prober) speak(ctx context.Context, s *smtpConn, name, host string, look *SMTPLook) error {
	step := func(stage SMTPStage, command, due string) (smtpReply, error) {
		look.Stage = stage
		reply, err := s.ask(ctx, command, due)
		if err != nil {
			look.Reply = reply.String()
		}
		return reply, err
	}
	greeting, err := step(SMTPGreeting, "", "the greeting")
	look.Greeting = greeting.first()
	if err != nil {
		return err
	}
	ehlo := "EHLO " + p.ehloName(s.conn.LocalAddr())
	hello, err := step(SMTPEHLO, ehlo, "the reply to EHLO")
	if err != nil {
		return err // without EHLO no STARTTLS: HELO would lead nowhere
	}
	if look.STARTTLS = hello.offers("STARTTLS"); !look.STARTTLS {
		look.Stage, look.Reply = SMTPSTARTTLS, hello.String()
		if hello.garbled() {
			return errGarbled
		}
		return errNoSTARTTLS
	}
	if _, err := step(SMTPSTARTTLS, "STARTTLS", "the reply to STARTTLS"); err != nil {
		return err
	}
	if more := s.unread(); len(more) > 0 {
		s.dead = true
		look.Reply = printable(string(more))
		return errInjected
	}
	look.Stage = SMTPTLS
	client, tlsLook := p.handshake(ctx, s.conn, name, host)
	look.TLS = tlsLook
	if client == nil {
		s.dead = true
		tlsLook.Err = lost(ctx, "the end of the TLS handshake", tlsLook.Err)
		return tlsLook.Err
	}
	s.use(client)
	// In TLS 1.3 a server that wants a certificate of ours says so only after
	// the handshake.
	if _, err := step(SMTPTLS, ehlo, "the reply to EHLO over TLS"); err != nil {
		return err
	}
	look.Stage = SMTPDone
	return nil
}

// ehloName is what we call ourselves: a name that others can look up or, if the
// machine has none, its address (RFC 5321 §4.1.4).
func (p *Prober) ehloName(local net.Addr) string {
	if p.cfg.Name != "" {
		return p.cfg.Name
	}
	if name, err := os.Hostname(); err == nil && fullName(name) {
		return name
	}
	return addressLiteral(local)
}

// addressLiteral is how an address is written where a name belongs (RFC 5321
// §4.1.3).
func addressLiteral(local net.Addr) string {
	end, err := netip.ParseAddrPort(local.String())
	if err != nil {
		return "[127.0.0.1]"
	}
	addr := end.Addr().Unmap().WithZone("")
	if addr.Is6() {
		return "[IPv6:" + addr.String() + "]"
	}
	return "[" + addr.String() + "]"
}

// fullName reports whether name is more than a machine's nickname.
func fullName(name string) bool {
	odd := strings.IndexFunc(name, func(r rune) bool {
		return r != '.' && r != '-' && (r < '0' || r > '9') && (r < 'a' || r > 'z') && (r < 'A' || r > 'Z')
	})
	return odd < 0 && strings.Contains(strings.Trim(name, "."), ".")
}

// lost says in words why what was due did not come. An error that speaks for
// itself, as those of TLS, is left as it is.
func lost(ctx context.Context, due string, err error) error {
	cause := context.Cause(ctx)
	switch {
	case errors.Is(cause, errSMTPTimeout):
		return &smtpError{fmt.Sprintf("%s did not come within %s; senders are more patient (RFC 5321 §4.5.3.2)", due, smtpTimeout), context.DeadlineExceeded}
	case cause != nil:
		return &smtpError{"ended before " + due + ": " + cause.Error(), cause}
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return &smtpError{"the server closed the connection before " + due, err}
	case errors.Is(err, syscall.ECONNRESET), errors.Is(err, syscall.EPIPE):
		return &smtpError{"the connection was reset before " + due, err}
	}
	return shorten(err)
}

// smtpConn is our side of an SMTP session.
type smtpConn struct {
	conn net.Conn // a *tls.Conn after STARTTLS
	r    *bufio.Reader
	dead bool // no command would be understood any more
}

func newSMTPConn(conn net.Conn) *smtpConn {
	s := &smtpConn{}
	s.use(conn)
	return s
}

// use goes on over conn. What came before is forgotten (RFC 3207 §4.2).
func (s *smtpConn) use(conn net.Conn) {
	s.conn, s.r = conn, bufio.NewReaderSize(conn, maxReplyLine)
}

// ask sends a command, or none, and reads the reply that is due. A reply that
// is no approval is returned with an error that says so.
func (s *smtpConn) ask(ctx context.Context, command, due string) (smtpReply, error) {
	if command != "" {
		if _, err := io.WriteString(s.conn, command+"\r\n"); err != nil {
			s.dead = true
			return smtpReply{}, lost(ctx, due, err)
		}
	}
	reply, err := readReply(s.r)
	if err != nil {
		s.dead = true
		if fault, ok := errors.AsType[replyFault](err); ok {
			return reply, errors.New(due + string(fault))
		}
		return reply, lost(ctx, due, err)
	}
	switch reply.code / 100 {
	case 2:
		return reply, nil
	case 4:
		return reply, errors.New(due + " is a temporary refusal")
	case 5:
		return reply, errors.New(due + " is a refusal")
	}
	return reply, errors.New(due + " is neither approval nor refusal (RFC 5321 §4.2.1)")
}

// unread is what the server has sent beyond its last reply.
func (s *smtpConn) unread() []byte {
	more, _ := s.r.Peek(s.r.Buffered())
	return more
}

// quit takes leave, if there is somebody to take leave of.
func (s *smtpConn) quit() {
	if s.dead {
		return
	}
	s.conn.SetDeadline(time.Now().Add(quitTimeout))
	if _, err := io.WriteString(s.conn, "QUIT\r\n"); err == nil {
		_, _ = readReply(s.r) // whatever it says
	}
	s.conn.Close() // ends TLS in order, too
}
