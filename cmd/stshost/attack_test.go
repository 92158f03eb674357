package main

import (
	"net/netip"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stshost/stshost/internal/lab"
	"github.com/stshost/stshost/internal/mtatest"
)

const secret = "The code of the vault is 4711."

// What it is all for: Postfix, which looks up the policy with
// postfix-mta-sts-resolver, sends to a domain of a running stshost, and an
// attacker on the path takes STARTTLS away. The mode that stshost serves decides
// whether the message is overheard or kept back.
func TestAttackOnPostfix(t *testing.T) {
	t.Parallel()
	nameserver := netip.MustParseAddr("127.0.0.53")
	if !mtatest.OwnNetwork(t, nameserver) {
		return
	}
	w := newWorld(t, example)
	if err := w.lab.DNS.Set(example, "MX", "10 mx1.mail.test."); err != nil {
		t.Fatal(err)
	}
	p := w.startPostfix(nameserver)

	w.domains[0].lines = `mode = "testing"`
	s := w.start()
	before := w.confirmed(example)
	p.attacked.Store(true)
	p.sends("testing, STARTTLS stripped", "sent", "2.0.0", "250")
	p.wantOverheard(1)
	p.wantDelivered(1, false)

	w.domains[0].lines = `mode = "enforce"`
	s.reload()
	w.confirmedAnew(before)
	p.sends("enforce, STARTTLS stripped", "deferred", "4.7.4", "TLS is required, but was not offered")
	p.wantOverheard(1) // and no more
	p.wantDelivered(1, false)

	p.attacked.Store(false)
	log := p.sends("enforce, nobody on the path", "sent", "2.0.0", "250")
	if !strings.Contains(log, "Verified TLS connection established to mx1.mail.test[127.0.0.2]:25") {
		t.Errorf("Postfix does not say that it verified the MX host:\n%s", log)
	}
	p.wantDelivered(2, true)

	cert, err := w.lab.Mail.Issue(time.Time{}, "attacker.test")
	if err != nil {
		t.Fatal(err)
	}
	w.lab.MX[0].SetCertificate(cert)
	p.sends("enforce, certificate of another name", "deferred", "4.7.5", "Server certificate not verified")
	p.wantDelivered(2, true)
}

// postfix is a Postfix that sends in the world, and what it sends to.
type postfix struct {
	t        *testing.T
	sender   *mtatest.Sender
	mx       *lab.MX
	attacker *lab.Stripper
	attacked atomic.Bool // whether the attacker is on the path
	sessions int         // through the attacker, as far as was looked
}

// startPostfix leads the well-known ports to the world and starts a Postfix.
func (w *world) startPostfix(nameserver netip.Addr) *postfix {
	w.t.Helper()
	p := &postfix{t: w.t, mx: w.lab.MX[0]}
	var err error
	if p.attacker, err = lab.StartStripper(w.t.Context(), p.mx.Addr()); err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { p.attacker.Close() })
	mtatest.ForwardUDP(w.t, netip.AddrPortFrom(nameserver, 53).String(), w.lab.DNS.Addr())
	mtatest.ForwardTCP(w.t, "127.0.0.1:443", func() string { return w.lab.HTTPSAddr })
	mtatest.ForwardTCP(w.t, "127.0.0.2:25", func() string {
		if p.attacked.Load() {
			return p.attacker.Addr()
		}
		return p.mx.Addr()
	})
	p.sender = mtatest.PostfixSender(w.t, mtatest.SenderConfig{
		Host: "sender.test", RootsFile: w.lab.RootsFile, Policies: mtatest.MTASTSDaemon(w.t, w.lab.RootsFile),
	})
	return p
}

// sends has Postfix send a message, wants the outcome, and returns the log.
func (p *postfix) sends(when, status, code, text string) string {
	p.t.Helper()
	a := p.sender.Send(p.t, "alice@sender.test", "bob@"+example, "Subject: vault\n\n"+secret+"\n")
	log := strings.Join(a.Log, "\n")
	if a.Status != status || a.Code != code || !strings.Contains(a.Text, text) {
		p.t.Errorf("%s: %s %s (%s), want %s %s (%s); log:\n%s", when, a.Status, a.Code, a.Text, status, code, text, log)
	}
	before := p.sessions
	p.sessions = p.attacker.Sessions()
	if on := p.sessions > before; on != p.attacked.Load() {
		p.t.Errorf("%s: the attacker on the path: %t", when, on)
	}
	return log
}

// wantOverheard wants the attacker to have heard the message n times, and
// nothing else.
func (p *postfix) wantOverheard(n int) {
	p.t.Helper()
	heard := p.attacker.Overheard()
	secrets := slices.DeleteFunc(slices.Clone(heard), func(line string) bool { return line != secret })
	subjects := slices.DeleteFunc(slices.Clone(heard), func(line string) bool { return !strings.HasPrefix(line, "Subject:") })
	if len(secrets) != n || len(subjects) != n {
		p.t.Errorf("overheard %q, want %d messages", heard, n)
	}
}

// wantDelivered wants n messages at the MX host, the last with TLS or without.
func (p *postfix) wantDelivered(n int, tls bool) {
	p.t.Helper()
	m := p.mx.Messages()
	if len(m) != n || m[n-1].TLS != tls || !strings.Contains(string(m[n-1].Data), secret) {
		p.t.Errorf("the MX host has %+v, want %d messages, the last with TLS: %t", m, n, tls)
	}
}
