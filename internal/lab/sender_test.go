package lab_test

import (
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stshost/stshost/internal/lab"
)

const secret = "The code of the vault is 4711."

// policyLab is a lab with one policy domain, example.test, whose policy is served.
type policyLab struct {
	*lab.Lab
	t    *testing.T
	body string // of the policy
}

func newPolicyLab(t *testing.T) *policyLab {
	t.Helper()
	c := &policyLab{Lab: startLab(t, lab.Config{Domains: []string{"example.test"}}), t: t}
	if len(c.MX) < 2 {
		t.Skip("this machine has one address on loopback, and the mail hosts share it")
	}
	cert, err := c.Mail.Issue(time.Time{}, "mta-sts.example.test")
	must(t, err)
	ln, err := tls.Listen("tcp", c.HTTPSAddr, &tls.Config{Certificates: []tls.Certificate{cert}})
	must(t, err)
	srv := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/plain")
		fmt.Fprint(w, c.body)
	})}
	go srv.Serve(ln)
	t.Cleanup(func() { srv.Close() })
	return c
}

// announce publishes a policy, before anybody asks for it.
func (c *policyLab) announce(id, mode string, mx ...string) {
	c.t.Helper()
	c.body = "version: STSv1\nmode: " + mode + "\nmx: " + strings.Join(mx, "\nmx: ") + "\nmax_age: 86400\n"
	must(c.t, c.DNS.SetTXT("_mta-sts.example.test", "v=STSv1; id="+id+";"))
}

// attack puts an attacker in front of the first n mail hosts.
func (c *policyLab) attack(n int) []*lab.Stripper {
	c.t.Helper()
	var all []*lab.Stripper
	for _, mx := range c.MX[:n] {
		s, err := lab.StartStripper(c.t.Context(), mx.Addr())
		must(c.t, err)
		c.t.Cleanup(func() { s.Close() })
		all = append(all, s)
	}
	return all
}

// show puts a certificate for a name into the first mail host; "": none that
// TLS could come to.
func (c *policyLab) show(name string, notAfter time.Time) {
	c.t.Helper()
	var cert tls.Certificate
	if name != "" {
		var err error
		cert, err = c.Mail.Issue(notAfter, name)
		must(c.t, err)
	}
	c.MX[0].SetCertificate(cert)
}

func (c *policyLab) send(s *lab.Sender) lab.Delivery {
	c.t.Helper()
	d, err := s.Send(c.t.Context(), "alice@sender.test", "bob@example.test", []byte("Subject: vault\r\n\r\n"+secret+"\r\n"))
	must(c.t, err)
	return d
}

// delivered are the messages at all mail hosts.
func (c *policyLab) delivered() []lab.Message {
	var all []lab.Message
	for _, mx := range c.MX {
		all = append(all, mx.Messages()...)
	}
	return all
}

func TestSender(t *testing.T) {
	const mx1, mx2 = "mx1.mail.test", "mx2.mail.test"
	tests := []struct {
		name          string
		mode          string // of the policy; "": there is none
		mx            []string
		opportunistic bool
		attacked      int // mail hosts
		show          func(*policyLab)
		want          lab.Delivery // Reason: a part of it
	}{
		{name: "enforce", mode: "enforce", mx: []string{mx1, mx2},
			want: lab.Delivery{Outcome: lab.VerifiedTLS, Host: mx1}},
		{name: "enforce, wildcard", mode: "enforce", mx: []string{"*.mail.test"},
			want: lab.Delivery{Outcome: lab.VerifiedTLS, Host: mx1}},
		{name: "enforce, both stripped", mode: "enforce", mx: []string{mx1, mx2}, attacked: 2,
			want: lab.Delivery{Outcome: lab.Refused, Reason: "mx1.mail.test does not offer STARTTLS; mx2.mail.test does not offer STARTTLS"}},
		{name: "enforce, one stripped", mode: "enforce", mx: []string{mx1, mx2}, attacked: 1,
			want: lab.Delivery{Outcome: lab.VerifiedTLS, Host: mx2, Reason: "mx1.mail.test does not offer STARTTLS"}},
		{name: "enforce, MX not named", mode: "enforce", mx: []string{mx2},
			want: lab.Delivery{Outcome: lab.VerifiedTLS, Host: mx2, Reason: "the policy does not name mx1.mail.test"}},
		{name: "enforce, no MX named", mode: "enforce", mx: []string{"mx.example.test"},
			want: lab.Delivery{Outcome: lab.Refused, Reason: "the policy does not name mx2.mail.test"}},
		{name: "enforce, other name", mode: "enforce", mx: []string{mx1},
			show: func(c *policyLab) { c.show("other.mail.test", time.Time{}) },
			want: lab.Delivery{Outcome: lab.Refused, Reason: "valid for other.mail.test, not mx1.mail.test"}},
		{name: "enforce, expired", mode: "enforce", mx: []string{mx1},
			show: func(c *policyLab) { c.show(mx1, time.Now().Add(-time.Hour)) },
			want: lab.Delivery{Outcome: lab.Refused, Reason: "expired"}},
		{name: "enforce, no handshake", mode: "enforce", mx: []string{mx1},
			show: func(c *policyLab) { c.show("", time.Time{}) },
			want: lab.Delivery{Outcome: lab.Refused, Reason: "STARTTLS at mx1.mail.test failed"}},

		{name: "testing", mode: "testing", mx: []string{mx1},
			want: lab.Delivery{Outcome: lab.VerifiedTLS, Host: mx1}},
		{name: "testing, stripped", mode: "testing", mx: []string{mx1, mx2}, attacked: 2,
			want: lab.Delivery{Outcome: lab.InTheClear, Host: mx1, Reason: "does not offer STARTTLS"}},
		{name: "testing, other name", mode: "testing", mx: []string{mx1},
			show: func(c *policyLab) { c.show("other.mail.test", time.Time{}) },
			want: lab.Delivery{Outcome: lab.UnverifiedTLS, Host: mx1, Reason: "not mx1.mail.test"}},
		{name: "testing, no handshake", mode: "testing", mx: []string{mx1},
			show: func(c *policyLab) { c.show("", time.Time{}) },
			want: lab.Delivery{Outcome: lab.InTheClear, Host: mx1, Reason: "STARTTLS at mx1.mail.test failed"}},
		{name: "testing, no MX named", mode: "testing", mx: []string{"mx.example.test"},
			want: lab.Delivery{Outcome: lab.VerifiedTLS, Host: mx1, Reason: "the policy does not name mx1.mail.test"}},

		{name: "none", mode: "none", mx: []string{"mx.example.test"},
			want: lab.Delivery{Outcome: lab.UnverifiedTLS, Host: mx1}},
		{name: "none, stripped", mode: "none", mx: []string{mx1}, attacked: 2,
			want: lab.Delivery{Outcome: lab.InTheClear, Host: mx1}},
		{name: "no policy",
			want: lab.Delivery{Outcome: lab.UnverifiedTLS, Host: mx1, Reason: "no policy: "}},
		{name: "opportunistic", opportunistic: true, mode: "enforce", mx: []string{mx1},
			want: lab.Delivery{Outcome: lab.UnverifiedTLS, Host: mx1}},
		{name: "opportunistic, other name", opportunistic: true, mode: "enforce", mx: []string{mx1},
			show: func(c *policyLab) { c.show("other.mail.test", time.Time{}) },
			want: lab.Delivery{Outcome: lab.UnverifiedTLS, Host: mx1}},
		{name: "opportunistic, stripped", opportunistic: true, mode: "enforce", mx: []string{mx1}, attacked: 2,
			want: lab.Delivery{Outcome: lab.InTheClear, Host: mx1}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			c := newPolicyLab(t)
			if tt.mode != "" {
				c.announce("1", tt.mode, tt.mx...)
			}
			if tt.show != nil {
				tt.show(c)
			}
			sender, want := c.STSSender(), tt.want
			want.Mode = tt.mode
			if tt.opportunistic {
				sender, want.Mode = c.OpportunisticSender(), ""
			}
			attackers := c.attack(tt.attacked)
			sender.Dial = lab.Route(attackers...)

			got := c.send(sender)
			if got.Outcome != want.Outcome || got.Host != want.Host || got.Mode != want.Mode ||
				!strings.Contains(got.Reason, want.Reason) || want.Reason == "" && tt.attacked == 0 && got.Reason != "" {
				t.Errorf("%+v, want %+v", got, want)
			}
			// Its word against that of the mail hosts and of the attackers.
			messages := c.delivered()
			switch {
			case want.Outcome == lab.Refused:
				if len(messages) > 0 {
					t.Errorf("delivered: %+v", messages)
				}
			case len(messages) != 1 || messages[0].TLS != (want.Outcome != lab.InTheClear) || !strings.Contains(string(messages[0].Data), secret):
				t.Errorf("delivered: %+v", messages)
			}
			var heard []string
			for _, a := range attackers {
				heard = append(heard, a.Overheard()...)
			}
			if leak := want.Outcome == lab.InTheClear && tt.attacked > 0; leak != slices.Contains(heard, secret) || !leak && len(heard) > 0 {
				t.Errorf("overheard: %q", heard)
			}
			if tt.attacked > 0 && attackers[0].Sessions() == 0 {
				t.Error("the attacker was not on the path")
			}
		})
	}
}

// Who has seen a policy is not rid of it by an attacker who hides it (RFC 8461
// §5.1), and takes a new one.
func TestSenderKeepsThePolicy(t *testing.T) {
	c := newPolicyLab(t)
	c.announce("1", "enforce", "mx1.mail.test")
	sender := c.STSSender()
	if d := c.send(sender); d.Outcome != lab.VerifiedTLS {
		t.Fatal(d)
	}
	attackers := c.attack(2)
	sender.Dial = lab.Route(attackers...)
	must(t, c.DNS.Remove("_mta-sts.example.test", "TXT"))
	if d := c.send(sender); d.Outcome != lab.Refused || d.Mode != "enforce" {
		t.Errorf("the record is hidden: %s", d)
	}
	first := c.STSSender()
	first.Dial = sender.Dial
	if d := c.send(first); d.Outcome != lab.InTheClear || !strings.Contains(d.Reason, "no policy") {
		t.Errorf("a sender that comes for the first time: %s", d)
	}
	c.announce("2", "testing", "mx1.mail.test")
	if d := c.send(sender); d.Outcome != lab.InTheClear || d.Mode != "testing" {
		t.Errorf("after a new policy: %s", d)
	}
}

func TestSenderWithoutAnywhereToSendTo(t *testing.T) {
	c := newPolicyLab(t)
	for _, to := range []string{"nobody", "bob@elsewhere.test"} {
		if d, err := c.STSSender().Send(t.Context(), "alice@sender.test", to, nil); err == nil {
			t.Errorf("to %s: %s", to, d)
		}
	}
	for _, mx := range c.MX {
		must(t, mx.Close())
	}
	if d := c.send(c.OpportunisticSender()); d.Outcome != lab.Refused || !strings.Contains(d.Reason, "refused") {
		t.Errorf("no mail host answers: %s", d)
	}
	ln, err := net.Listen("tcp", c.MX[1].Addr())
	must(t, err)
	defer ln.Close()
	go func() {
		if conn, err := ln.Accept(); err == nil {
			fmt.Fprint(conn, "554 5.7.1 no\r\n")
			conn.Close()
		}
	}()
	if d := c.send(c.OpportunisticSender()); d.Outcome != lab.Refused || !strings.Contains(d.Reason, "554") {
		t.Errorf("a mail host refuses: %s", d)
	}
}

func TestDeliveryInASentence(t *testing.T) {
	for want, d := range map[string]lab.Delivery{
		"not delivered (policy mode enforce): mx.test does not offer STARTTLS": {
			Outcome: lab.Refused, Mode: "enforce", Reason: "mx.test does not offer STARTTLS"},
		"delivered to mx.test over verified TLS (policy mode enforce)": {
			Outcome: lab.VerifiedTLS, Host: "mx.test", Mode: "enforce"},
		"delivered to mx.test over unverified TLS": {Outcome: lab.UnverifiedTLS, Host: "mx.test"},
		"delivered to mx.test in the clear: it does not offer STARTTLS": {
			Outcome: lab.InTheClear, Host: "mx.test", Reason: "it does not offer STARTTLS"},
	} {
		if got := d.String(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}
