package check

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/stshost/stshost/internal/lab"
	"github.com/stshost/stshost/internal/resolver"
	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
)

// manyMX gives the domain 10 MX hosts with 4 addresses each, every other of which
// swallows what is sent to it.
func manyMX(w *world) {
	var records []string
	policy := "version: STSv1\r\nmode: enforce\r\n"
	for i := range 10 {
		host := fmt.Sprintf("m%d.example.test", i)
		records = append(records, fmt.Sprintf("%d %s.", i, host))
		policy += "mx: " + host + "\r\n"
		var addrs []string
		for k := range 4 {
			ip := fmt.Sprintf("198.51.100.%d", 4*i+k)
			addrs = append(addrs, ip)
			if k%2 == 0 {
				w.breaks(ip+":25", errHole)
			} else {
				w.mail(ip, dialogue{tls: w.certificate(host)})
			}
		}
		w.set(host, "A", addrs...)
	}
	w.set("example.test", "MX", records...)
	w.policy(policy + "max_age: 2419200\r\n")
}

// An examination ends in 30 seconds, whatever does not answer, and loses nothing
// of the rest.
func TestExamineHoles(t *testing.T) {
	if testing.Short() {
		t.Skip("waits for addresses that never answer")
	}
	t.Parallel()
	w := newWorld(t)
	manyMX(w)
	w.breaks("["+web6+"]:443", errHole)
	r := w.examine()
	if r.Seconds > 30 {
		t.Errorf("it took %.1f s", r.Seconds)
	}
	counts := make(map[string]int)
	for _, f := range r.Findings {
		counts[f.Code]++
	}
	if counts[MXOK] != 20 || counts[MXConnect] != 20 || counts[HostOK] != 1 || counts[HostConnect] != 1 {
		t.Errorf("found %v", counts)
	}
	if r.Verdict != state.VerdictEnforce {
		t.Errorf("verdict %s: %s", r.Verdict, r.Summary)
	}
}

// What did not come to an end in the time that was given is not called broken.
func TestExamineOutOfTime(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.breaks(web4+":443", errHole)
	w.breaks("["+web6+"]:443", errHole)
	w.breaks(mx2+":25", errHole)
	ctx, cancel := context.WithTimeout(t.Context(), 8*time.Second)
	defer cancel()
	r, err := New(w.cfg).Examine(ctx, "example.test")
	if err != nil {
		t.Fatal(err)
	}
	if r.Verdict != state.VerdictUnknown || len(texts(r, HostNotTried)) == 0 || len(texts(r, MXNotTried)) == 0 || texts(r, MXOK) == "" {
		t.Errorf("verdict %s (%s), problems %q", r.Verdict, r.Summary, problems(r))
	}
}

// Whoever breaks an examination off is not kept waiting.
func TestExamineCancelled(t *testing.T) {
	w := newWorld(t)
	dialled := make(chan struct{}, 100)
	dial := w.cfg.Dial
	w.cfg.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		dialled <- struct{}{}
		return dial(ctx, network, address)
	}
	for _, address := range []string{web4 + ":443", "[" + web6 + "]:443", mx1 + ":25", mx2 + ":25"} {
		w.breaks(address, errHole)
	}
	ignore := goleak.IgnoreCurrent()
	ctx, cancel := context.WithCancelCause(t.Context())
	done := make(chan error, 1)
	go func() {
		_, err := New(w.cfg).Examine(ctx, "example.test")
		done <- err
	}()
	for range 4 {
		<-dialled
	}
	enough := errors.New("enough")
	cancel(enough)
	if err := <-done; !errors.Is(err, enough) {
		t.Errorf("it ended with %v", err)
	}
	goleak.VerifyNone(t, ignore)
}

func TestExamineNoDomain(t *testing.T) {
	if _, err := New(Config{}).Examine(t.Context(), "not a domain"); err == nil {
		t.Error("no error")
	}
}

// For strangers nothing that is not of the public Internet is connected to, nor
// asked: not by address, not by CNAME, not as a name server.
func TestExaminePublicOnly(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.cfg.PublicOnly = true
	dial := w.cfg.Dial
	w.cfg.Dial = func(ctx context.Context, network, address string) (net.Conn, error) {
		t.Errorf("connected to %s", address)
		return dial(ctx, network, address)
	}
	w.set("mta-sts.example.test", "A", "127.0.0.1", "10.0.0.1", "169.254.169.254", "100.64.0.1")
	w.set("mta-sts.example.test", "AAAA", "::1", "fe80::1", "fc00::1", "::ffff:127.0.0.1")
	w.alias("mx1.example.test", "inside.example.net.")
	w.set("inside.example.net", "A", "192.168.1.1")
	w.set("mx2.example.test", "AAAA", "64:ff9b::7f00:1")
	w.set("mx2.example.test", "A", "0.0.0.0")
	w.set("control.example.net", "A", "127.0.0.1")
	r := w.examine()
	if got := strings.Join(problems(r), " "); !strings.Contains(got, HostNotTried) || !strings.Contains(got, MXNotTried) || !strings.Contains(got, RecordServersSkipped) {
		t.Errorf("found %s", got)
	}
	if r.Verdict != state.VerdictUnknown {
		t.Errorf("verdict %s", r.Verdict)
	}
}

// The watch asks for the MX hosts alone, by a policy that it knows.
func TestCheckMX(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.mail(mx2, dialogue{tls: w.certificate("mail.example.test")})
	p := New(w.cfg)
	patterns := []string{"mx1.example.test", "mx2.example.test"}
	c, err := p.CheckMX(t.Context(), "example.test", patterns, mtasts.ModeEnforce)
	if err != nil || c.Passed || c.Unknown || len(c.Findings) != 1 || c.Findings[0].Code != MXCertName || c.Findings[0].Harm != state.HarmLoss {
		t.Errorf("%+v, %v", c, err)
	}
	w.mail(mx2, dialogue{tls: w.certificate("mx2.example.test")})
	w.pass(badFor)
	if c, err = p.CheckMX(t.Context(), "example.test", patterns, mtasts.ModeEnforce); err != nil || !c.Passed || len(c.Findings) != 0 {
		t.Errorf("%+v, %v", c, err)
	}
	w.set("example.test", "MX", "10 mx1.example.test.", "20 mx3.example.test.")
	w.set("mx3.example.test", "A", mx1)
	if c, err = p.CheckMX(t.Context(), "example.test", patterns, mtasts.ModeTesting); err != nil || c.Passed || !strings.Contains(c.Summary, "mx3") {
		t.Errorf("%+v, %v", c, err)
	}
	w.dns.Fail(lab.DNSFault{Name: "example.test", Rcode: 2})
	if _, err = p.CheckMX(t.Context(), "example.test", patterns, mtasts.ModeEnforce); !errors.Is(err, resolver.ErrServerFailure) {
		t.Error(err)
	}
}

// Domains that share MX hosts share the looks at them: a good one serves for a
// while, a bad one for a short while.
func TestCheckMXShared(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	p := New(w.cfg)
	visits := func() int {
		t.Helper()
		before := w.visits()
		if _, err := p.CheckMX(t.Context(), "example.test", []string{"*.example.test"}, mtasts.ModeEnforce); err != nil {
			t.Fatal(err)
		}
		return w.visits() - before
	}
	if n := visits(); n != 4 {
		t.Errorf("%d connections at first, want 4: two hosts, with SNI and without", n)
	}
	if n := visits(); n != 0 {
		t.Errorf("%d connections for the next domain", n)
	}
	w.pass(goodFor)
	w.mail(mx2, dialogue{ehlo: "250 mx2"})
	if n := visits(); n != 3 {
		t.Errorf("%d connections after a while, want 3", n)
	}
	w.pass(badFor)
	if n := visits(); n != 1 {
		t.Errorf("%d connections a little later, want 1, to the host that was bad", n)
	}
}

// The hosts of others that tell whether the mail port is closed on our side are
// asked once for all domains, and with a greeting and a farewell.
func TestControlAskedOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	control := serveSMTP(t, dialogue{}.script)
	w.route("192.0.2.99:25", net.TCPAddrFromAddrPort(control.addr))
	w.breaks(mx1+":25", syscall.ECONNREFUSED)
	w.breaks(mx2+":25", syscall.ECONNREFUSED)
	p := New(w.cfg)
	for range 5 {
		if c, err := p.CheckMX(t.Context(), "example.test", []string{"*.example.test"}, mtasts.ModeEnforce); err != nil || c.Passed || c.Unknown {
			t.Fatalf("%+v, %v", c, err)
		}
		w.pass(badFor)
		p.ForgetLooks()
	}
	if said := control.commands(0); !slices.Equal(said, []string{"QUIT"}) || len(control.commands(2)) > 0 {
		t.Errorf("it heard %q, and later %q", said, control.commands(2))
	}
	if n := control.connections(); n != 1 {
		t.Errorf("%d connections, want 1", n)
	}
}

// Every rule can be found, is complete, and has a code of its own.
func TestRules(t *testing.T) {
	codes := make(map[string]bool)
	for i, r := range Rules() {
		if codes[r.Code] || !strings.HasPrefix(r.Code, "STS-") || area(r) == "" {
			t.Errorf("rule %s has the code %q", strconv.Itoa(i), r.Code)
		}
		codes[r.Code] = true
		bad := r.Status == fail || r.Status == warn
		if r.Title == "" || r.Why == "" || !strings.HasPrefix(r.Section, "RFC ") || bad && r.Remedy == "" || r.Status == fail && r.Harm == none {
			t.Errorf("rule %s is not complete: %+v", r.Code, r)
		}
	}
	for _, b := range slices.Concat(recordWorlds(), hostWorlds(), policyWorlds(), mxWorlds(), otherWorlds()) {
		for _, code := range b.codes {
			delete(codes, code)
		}
	}
	for _, c := range evaluations(exhibits{}) {
		for _, code := range append(c.codes, c.passes...) {
			delete(codes, code)
		}
	}
	for _, code := range dnssecCodes() {
		delete(codes, code)
	}
	for code := range codes {
		if r := Rules()[indexOf(Rules())[code]]; r.Status != pass {
			t.Errorf("no test has %s", code)
		}
	}
}
