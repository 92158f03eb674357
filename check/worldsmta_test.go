package check

import (
	"net"
	"slices"
	"testing"

	"github.com/stshost/stshost/internal/mtatest"
	"github.com/stshost/stshost/internal/state"
)

// Postfix and Exim are the two MX hosts.
func TestWorldMTAs(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	first, second := w.certificate("mx1.example.test"), w.certificate("mx2.example.test")
	postfix := mtatest.Postfix(t, mtatest.Config{Host: "mx1.example.test", Certificate: &first.Certificates[0]})
	exim := mtatest.Exim(t, mtatest.Config{Host: "mx2.example.test", Certificate: &second.Certificates[0]})
	w.route(mx1+":25", net.TCPAddrFromAddrPort(postfix.Addr))
	w.route(mx2+":25", net.TCPAddrFromAddrPort(exim.Addr))
	if r := w.examine(); len(problems(r)) > 0 || r.Verdict != state.VerdictEnforce {
		t.Errorf("verdict %s (%s), found %q", r.Verdict, r.Summary, problems(r))
	}

	wrong := w.certificate("mail.example.test")
	exim = mtatest.Exim(t, mtatest.Config{Host: "mx2.example.test", Certificate: &wrong.Certificates[0]})
	w.route(mx2+":25", net.TCPAddrFromAddrPort(exim.Addr))
	bare := mtatest.Postfix(t, mtatest.Config{Host: "mx1.example.test"})
	w.route(mx1+":25", net.TCPAddrFromAddrPort(bare.Addr))
	r := w.examine()
	if want := []string{MXCertName, MXNoSTARTTLS}; !slices.Equal(problems(r), want) || r.Verdict != state.VerdictLoseMail {
		t.Errorf("verdict %s (%s), found %q", r.Verdict, r.Summary, problems(r))
	}
}
