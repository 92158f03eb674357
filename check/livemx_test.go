package check

import (
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/stshost/stshost/internal/dnstest"
	"github.com/stshost/stshost/internal/lab"
	"github.com/stshost/stshost/internal/resolver"
	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
)

// checkMX is a look at the MX hosts of the world by its good policy.
func (w *world) checkMX() state.MXCheck {
	w.t.Helper()
	c, err := New(w.cfg).CheckMX(w.t.Context(), "example.test", []string{"mx1.example.test", "mx2.example.test"}, mtasts.ModeEnforce)
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

// Which hosts take the mail is told as the DNS has them.
func TestCheckMXNamesTheHosts(t *testing.T) {
	for name, tc := range map[string]struct {
		change func(w *world)
		hosts  string
	}{
		"in order":      {func(*world) {}, "mx1.example.test mx2.example.test"},
		"by preference": {func(w *world) { w.set("example.test", "MX", "20 mx1.example.test.", "10 mx2.example.test.") }, "mx2.example.test mx1.example.test"},
		"lower case, each once": {func(w *world) {
			w.set("example.test", "MX", "5 MX2.Example.Test.", "10 mx1.example.test.", "20 mx2.example.test.")
		}, "mx2.example.test mx1.example.test"},
		"uncovered":              {func(w *world) { w.set("example.test", "MX", "10 mx1.example.test.", "20 mx9.example.test.") }, "mx1.example.test mx9.example.test"},
		"without address":        {func(w *world) { w.set("mx2.example.test", "A") }, "mx1.example.test mx2.example.test"},
		"not to be looked up":    {func(w *world) { w.dns.Fail(lab.DNSFault{Name: "mx2.example.test", Rcode: dns.RcodeServerFailure}) }, "mx1.example.test mx2.example.test"},
		"an address is no host":  {func(w *world) { w.set("example.test", "MX", "10 mx1.example.test.", "20 192.0.2.26.") }, "mx1.example.test"},
		"null MX":                {func(w *world) { w.set("example.test", "MX", "0 .") }, ""},
		"null MX beside another": {func(w *world) { w.set("example.test", "MX", "0 .", "10 mx1.example.test.") }, "mx1.example.test"},
		"the domain itself":      {func(w *world) { w.set("example.test", "MX"); w.set("example.test", "A", mx1) }, "example.test"},
		"nowhere":                {func(w *world) { w.set("example.test", "MX") }, ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			tc.change(w)
			c := w.checkMX()
			if got := strings.Join(c.Hosts, " "); got != tc.hosts {
				t.Errorf("hosts %q, want %q", got, tc.hosts)
			}
			if c.Validated {
				t.Error("a resolver that validates nothing has vouched for them")
			}
		})
	}
}

// Only a resolver that is believed, and has validated the answer, vouches for it.
func TestCheckMXSaysWhetherItIsValidated(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.breaks(mx1+":25", syscall.ECONNREFUSED)
	records := []string{"@ MX 10 mx1", "@ MX 20 mx2", "mx1 A " + mx1, "mx2 A " + mx2}
	for _, signed := range []bool{true, false} {
		tree := dnstest.SignedWorld(t, dnstest.Zone{Name: "test"}, dnstest.Zone{Name: "example.test", Unsigned: !signed, Records: records})
		for _, server := range []string{tree.ResolverAddr, w.dns.Addr()} {
			var err error
			w.cfg.Resolver, err = resolver.New(resolver.Config{Servers: []string{server}, AuthPort: tree.AuthPort, Timeout: 3 * time.Second})
			if err != nil {
				t.Fatal(err)
			}
			c := w.checkMX()
			if want := signed && server == tree.ResolverAddr; c.Validated != want || !slices.Equal(c.Hosts, []string{"mx1.example.test", "mx2.example.test"}) {
				t.Errorf("signed %v, by a resolver that validates %v: validated %v, hosts %q", signed, server == tree.ResolverAddr, c.Validated, c.Hosts)
			}
		}
	}
}

// What to do about a host that the policy does not name is said for a domain that
// stshost hosts; but an alias is still to be replaced by what it leads to.
func TestCheckMXSaysWhatToDoAboutAnUncoveredHost(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.set("example.test", "MX", "10 mx1.example.test.", "20 mx9.example.test.", "30 alias.example.test.")
	w.alias("alias.example.test", "mx2.example.test.")
	remedies := make(map[string]string)
	for _, f := range w.checkMX().Findings {
		if f.Code == MXUncovered {
			remedies[f.Subject] = f.Remedy
		}
	}
	if r := remedies["mx9.example.test"]; !strings.Contains(r, "`stshost mx accept example.test`") || !strings.Contains(r, "forging") {
		t.Errorf("a host that is new: %q", r)
	}
	if r := remedies["alias.example.test"]; !strings.HasPrefix(r, "write mx2.example.test") {
		t.Errorf("an alias: %q", r)
	}
}
