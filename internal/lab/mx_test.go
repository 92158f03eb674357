package lab_test

import (
	"bytes"
	"crypto/tls"
	"net"
	"net/smtp"
	"strings"
	"testing"
	"time"

	"github.com/stshost/stshost/internal/lab"
)

// send delivers a message as a sender with MTA-STS does: STARTTLS by name.
func send(addr, host string, conf *tls.Config) error {
	conn, err := net.Dial("tcp", addr)
	if err != nil {
		return err
	}
	c, err := smtp.NewClient(conn, host)
	if err != nil {
		return err
	}
	defer c.Close()
	if conf != nil {
		if err := c.StartTLS(conf); err != nil {
			return err
		}
	}
	for _, step := range []func() error{
		func() error { return c.Mail("alice@sender.test") },
		func() error { return c.Rcpt("Bob@example.test") },
	} {
		if err := step(); err != nil {
			return err
		}
	}
	w, err := c.Data()
	if err != nil {
		return err
	}
	if _, err := w.Write([]byte("Subject: hello\r\n\r\nHello.\r\n")); err != nil {
		return err
	}
	if err := w.Close(); err != nil {
		return err
	}
	return c.Quit()
}

func TestMX(t *testing.T) {
	root, err := lab.NewRoot("Test Root")
	must(t, err)
	const host = "mx1.mail.test"
	cert, err := root.Issue(time.Time{}, host)
	must(t, err)
	m, err := lab.StartMX(lab.MXConfig{Hosts: []string{host}, Certificate: &cert})
	must(t, err)
	defer func() { must(t, m.Close()) }()
	conf := &tls.Config{ServerName: host, RootCAs: root.Pool()}

	must(t, send(m.Addr(), host, conf))
	msg, err := m.NextMessage(t.Context(), 0)
	must(t, err)
	if msg.From != "alice@sender.test" || len(msg.To) != 1 || msg.To[0] != "bob@example.test" ||
		!msg.TLS || msg.SNI != host || !bytes.Contains(msg.Data, []byte("Hello.")) {
		t.Errorf("message = %+v", msg)
	}
	must(t, send(m.Addr(), host, nil))
	if msgs := m.Messages(); len(msgs) != 2 || msgs[1].TLS {
		t.Errorf("messages = %+v, want a second one without TLS", msgs)
	}

	expired, err := root.Issue(time.Now().Add(-time.Minute), host)
	must(t, err)
	m.SetCertificate(expired)
	if err := send(m.Addr(), host, conf); err == nil || !strings.Contains(err.Error(), "expired") {
		t.Errorf("expired certificate: %v", err)
	}
	wrong, err := root.Issue(time.Time{}, "mx2.mail.test")
	must(t, err)
	m.SetCertificate(wrong)
	if err := send(m.Addr(), host, conf); err == nil || !strings.Contains(err.Error(), "mx2.mail.test") {
		t.Errorf("certificate for another name: %v", err)
	}

	plain, err := lab.StartMX(lab.MXConfig{Hosts: []string{host}})
	must(t, err)
	defer plain.Close()
	if err := send(plain.Addr(), host, conf); err == nil {
		t.Error("STARTTLS without a certificate")
	}
	must(t, send(plain.Addr(), host, nil))

	if _, err := lab.StartMX(lab.MXConfig{}); err == nil {
		t.Error("a mail host without a name started")
	}
}
