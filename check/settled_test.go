package check

import (
	"errors"
	"net"
	"slices"
	"testing"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
)

// What a look at MX hosts could not tell is named, so that nobody takes it for
// mended.
func TestWhatIsNotKnownOfMXHosts(t *testing.T) {
	refused := &net.OpError{Op: "dial", Err: errors.New("connection refused")}
	address := func(addr string, l SMTPLook) SMTPLook {
		l.Family, l.Address = "IPv4", addr
		return l
	}
	noTLS := SMTPLook{Stage: SMTPSTARTTLS, Err: errors.New("no STARTTLS")}
	noWay := SMTPLook{Stage: SMTPConnect, Err: refused}
	block := SMTPLook{Stage: SMTPGreeting, Err: errors.New("554"), Reply: "554 go away"}
	known := TLSAEvidence{Judged: true}
	ev := Evidence{Domain: "example.test", MX: MXEvidence{Hosts: []MXHost{
		{Name: "mx1.test", TLSA: known, Addresses: []SMTPLook{address("192.0.2.1:25", noTLS), address("192.0.2.2:25", noWay)}},
		{Name: "mx2.test", TLSA: known, Addresses: []SMTPLook{address("192.0.2.3:25", noTLS), address("192.0.2.4:25", block)}},
		{Name: "mx3.test", TLSA: known, Err: errors.New("no answer")},
		{Name: "mx4.test", TLSA: known, More: 3, Addresses: []SMTPLook{address("192.0.2.5:25", noTLS)}},
		{Name: "mx5.test", TLSA: TLSAEvidence{Err: errors.New("no answer")}, Addresses: []SMTPLook{address("192.0.2.6:25", noTLS)}},
		{Name: "mx6.test", TLSA: known, Untried: true},
		{Name: "192.0.2.9"},
	}}}
	c := judgeMXOnly(ev, mtasts.Policy{Mode: mtasts.ModeEnforce, MX: []string{"*.test"}})
	judged := []string{"mx1.test (192.0.2.1:25)", "mx1.test (192.0.2.2:25)", "mx2.test (192.0.2.3:25)", "mx4.test (192.0.2.5:25)", "mx5.test (192.0.2.6:25)"}
	open := []string{"mx2.test", "mx3.test", "mx4.test", "_25._tcp.mx5.test", "mx6.test"}
	if !slices.Equal(c.Judged, judged) || !slices.Equal(c.Open, open) {
		t.Errorf("judged %q\nopen   %q", c.Judged, c.Open)
	}
	// They are named as in findings.
	for _, f := range c.Findings {
		if (f.Code == MXNoSTARTTLS || f.Code == MXConnect) && !slices.Contains(c.Judged, f.Subject) {
			t.Errorf("%s of %q, which is not judged", f.Code, f.Subject)
		}
	}

	c = judgeMXOnly(Evidence{Domain: "example.test", MX: MXEvidence{Err: errors.New("no answer")}}, mtasts.Policy{Mode: mtasts.ModeEnforce})
	if !slices.Equal(c.Open, []string{state.MXAnything}) {
		t.Errorf("nothing is known: %+v", c)
	}
}
