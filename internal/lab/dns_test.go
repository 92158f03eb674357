package lab_test

import (
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/stshost/stshost/internal/lab"
)

// startDNS starts a name server with the zone example.test.
func startDNS(t *testing.T) *lab.DNS {
	t.Helper()
	d, err := lab.StartDNS(lab.DNSConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := d.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
	must(t, d.AddZone("example.test"))
	return d
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// ask sends one query; network is "udp" or "tcp".
func ask(t *testing.T, d *lab.DNS, network, name, qtype string, opts ...func(*dns.Msg)) *dns.Msg {
	t.Helper()
	m := new(dns.Msg).SetQuestion(dns.Fqdn(name), dns.StringToType[qtype])
	m.RecursionDesired = false
	for _, o := range opts {
		o(m)
	}
	c := &dns.Client{Net: network, Timeout: 5 * time.Second}
	r, _, err := c.Exchange(m, d.Addr())
	if err != nil {
		t.Fatalf("%s %s over %s: %v", name, qtype, network, err)
	}
	return r
}

func recursive(m *dns.Msg) { m.RecursionDesired = true }

func edns(size uint16) func(*dns.Msg) {
	return func(m *dns.Msg) { m.SetEdns0(size, false) }
}

func TestDNSQueries(t *testing.T) {
	d := startDNS(t)
	must(t, d.AddZone("other.test."))
	must(t, d.AddZone("child.example.test"))
	must(t, d.Set("www.example.test", "A", "192.0.2.1", "192.0.2.2"))
	must(t, d.Set("a.b.c.example.test", "A", "192.0.2.3"))
	must(t, d.Set("x.child.example.test", "A", "192.0.2.9"))
	must(t, d.Set("alias.example.test", "CNAME", "alias2.other.test."))
	must(t, d.Set("alias2.other.test", "CNAME", "www.example.test."))
	must(t, d.Set("dangling.example.test", "CNAME", "nowhere.example.test."))
	must(t, d.Set("outside.example.test", "CNAME", "host.elsewhere.invalid."))
	must(t, d.Set("loop.example.test", "CNAME", "loop.example.test."))
	must(t, d.Set("*.wild.example.test", "A", "192.0.2.4"))
	must(t, d.Set("real.wild.example.test", "TXT", `"here"`))

	tests := []struct {
		name, qtype string
		rd          bool
		rcode       int
		aa          bool
		answer      []string // types and data in order
		authority   string   // owner of the SOA in it
	}{
		{name: "example.test", qtype: "SOA", aa: true, answer: []string{"SOA"}},
		{name: "example.test", qtype: "NS", aa: true, answer: []string{"NS ns1.example.test."}},
		{name: "ns1.example.test", qtype: "A", aa: true, answer: []string{"A 127.0.0.1"}},
		{name: "www.example.test", qtype: "A", aa: true, answer: []string{"A 192.0.2.1", "A 192.0.2.2"}},
		{name: "WWW.Example.TEST", qtype: "A", aa: true, answer: []string{"A 192.0.2.1", "A 192.0.2.2"}},
		{name: "www.example.test", qtype: "AAAA", aa: true, authority: "example.test."},
		{name: "nope.example.test", qtype: "A", aa: true, rcode: dns.RcodeNameError, authority: "example.test."},
		{name: "c.example.test", qtype: "A", aa: true, authority: "example.test."},
		{name: "b.c.example.test", qtype: "TXT", aa: true, authority: "example.test."},
		{name: "z.c.example.test", qtype: "TXT", aa: true, rcode: dns.RcodeNameError, authority: "example.test."},
		{name: "x.child.example.test", qtype: "A", aa: true, answer: []string{"A 192.0.2.9"}},
		{name: "y.child.example.test", qtype: "A", aa: true, rcode: dns.RcodeNameError, authority: "child.example.test."},
		{name: "alias.example.test", qtype: "A", aa: true,
			answer: []string{"CNAME alias2.other.test.", "CNAME www.example.test.", "A 192.0.2.1", "A 192.0.2.2"}},
		{name: "alias.example.test", qtype: "CNAME", aa: true, answer: []string{"CNAME alias2.other.test."}},
		{name: "alias.example.test", qtype: "TXT", aa: true,
			answer: []string{"CNAME alias2.other.test.", "CNAME www.example.test."}, authority: "example.test."},
		{name: "dangling.example.test", qtype: "A", aa: true, rcode: dns.RcodeNameError,
			answer: []string{"CNAME nowhere.example.test."}, authority: "example.test."},
		{name: "outside.example.test", qtype: "A", aa: true, answer: []string{"CNAME host.elsewhere.invalid."}},
		{name: "outside.example.test", qtype: "A", rd: true, aa: true, rcode: dns.RcodeNameError,
			answer: []string{"CNAME host.elsewhere.invalid."}, authority: "."},
		{name: "loop.example.test", qtype: "A", rd: true, aa: true, rcode: dns.RcodeServerFailure},
		{name: "any.wild.example.test", qtype: "A", aa: true, answer: []string{"A 192.0.2.4"}},
		{name: "deep.any.wild.example.test", qtype: "A", aa: true, answer: []string{"A 192.0.2.4"}},
		{name: "any.wild.example.test", qtype: "TXT", aa: true, authority: "example.test."},
		{name: "real.wild.example.test", qtype: "A", aa: true, authority: "example.test."},
		{name: "x.real.wild.example.test", qtype: "A", aa: true, rcode: dns.RcodeNameError, authority: "example.test."},
		{name: "example.invalid", qtype: "A", rcode: dns.RcodeRefused},
		{name: "example.invalid", qtype: "A", rd: true, rcode: dns.RcodeNameError, authority: "."},
		{name: "test", qtype: "SOA", rd: true, rcode: dns.RcodeNameError, authority: "."},
	}
	for _, network := range []string{"udp", "tcp"} {
		for _, tt := range tests {
			r := ask(t, d, network, tt.name, tt.qtype, func(m *dns.Msg) { m.RecursionDesired = tt.rd })
			what := network + " " + tt.name + " " + tt.qtype
			if r.Rcode != tt.rcode {
				t.Errorf("%s: rcode %s, want %s", what, dns.RcodeToString[r.Rcode], dns.RcodeToString[tt.rcode])
			}
			if r.Authoritative != tt.aa {
				t.Errorf("%s: AA %v, want %v", what, r.Authoritative, tt.aa)
			}
			var answer []string
			for _, rr := range r.Answer {
				s := dns.TypeToString[rr.Header().Rrtype]
				if s != "SOA" {
					s += " " + strings.TrimPrefix(rr.String(), rr.Header().String())
				}
				answer = append(answer, s)
			}
			if !slices.Equal(answer, tt.answer) {
				t.Errorf("%s: answer %q, want %q", what, answer, tt.answer)
			}
			if len(r.Answer) > 0 && r.Answer[0].Header().Name != dns.Fqdn(tt.name) {
				t.Errorf("%s: answer is for %s", what, r.Answer[0].Header().Name)
			}
			authority := ""
			for _, rr := range r.Ns {
				if rr.Header().Rrtype == dns.TypeSOA {
					authority = rr.Header().Name
				}
			}
			if authority != tt.authority {
				t.Errorf("%s: authority SOA of %q, want %q", what, authority, tt.authority)
			}
		}
	}
}

func TestDNSSizes(t *testing.T) {
	d := startDNS(t)
	long := strings.Repeat("long text ", 90) // more than 512 bytes, in strings of 255
	must(t, d.SetTXT("big.example.test", long))
	must(t, d.SetTXT("huge.example.test", long, long+"2"))

	r := ask(t, d, "udp", "big.example.test", "TXT")
	if !r.Truncated || len(r.Answer) > 0 || r.Len() > 512 {
		t.Errorf("without EDNS: truncated %v with %d records, want a truncated answer", r.Truncated, len(r.Answer))
	}
	r = ask(t, d, "udp", "big.example.test", "TXT", edns(4096))
	if r.Truncated || r.IsEdns0() == nil {
		t.Errorf("with EDNS: truncated %v, OPT %v; want a whole answer with OPT", r.Truncated, r.IsEdns0())
	}
	if txt := r.Answer[0].(*dns.TXT); len(txt.Txt) != 4 || strings.Join(txt.Txt, "") != long {
		t.Errorf("TXT has %d strings, want the text in 4", len(txt.Txt))
	}
	// However much a client allows, the server stays below what fits a packet.
	if r = ask(t, d, "udp", "huge.example.test", "TXT", edns(4096)); !r.Truncated {
		t.Error("answer above 1232 bytes was not truncated")
	}
	if r = ask(t, d, "tcp", "huge.example.test", "TXT"); r.Truncated || len(r.Answer) != 2 {
		t.Errorf("over TCP: truncated %v, %d records; want both", r.Truncated, len(r.Answer))
	}
	r = ask(t, d, "udp", "example.test", "SOA", edns(1232), func(m *dns.Msg) { m.IsEdns0().SetVersion(7) })
	if r.Rcode != dns.RcodeBadVers {
		t.Errorf("EDNS version 7: rcode %d, want BADVERS", r.Rcode)
	}
}

func TestDNSRecords(t *testing.T) {
	d := startDNS(t)
	name := "_mta-sts.example.test"
	texts := []string{`v=STSv1; id=1;`, `with "quotes", \ and ö`}
	must(t, d.SetTXT(name, texts...))
	if got := d.TXT(name); !slices.Equal(got, texts) {
		t.Errorf("TXT = %q, want %q", got, texts)
	}
	must(t, d.AddTXT(name, "third"))
	if got := d.TXT(name + "."); len(got) != 3 {
		t.Errorf("TXT after AddTXT = %q, want three", got)
	}
	must(t, d.Remove(name, "TXT"))
	if got := d.TXT(name); got != nil {
		t.Errorf("TXT after Remove = %q", got)
	}
	if r := ask(t, d, "udp", name, "TXT"); r.Rcode != dns.RcodeNameError {
		t.Errorf("after Remove: rcode %s, want NXDOMAIN", dns.RcodeToString[r.Rcode])
	}
	must(t, d.Set("www.example.test", "A", "192.0.2.1"))
	must(t, d.SetTXT("www.example.test", "x"))
	must(t, d.Remove("www.example.test", ""))
	if d.TXT("www.example.test") != nil || d.Records("www.example.test", "A") != nil {
		t.Error("Remove of every type left something")
	}
	before := ask(t, d, "udp", "example.test", "SOA").Answer[0].(*dns.SOA).Serial
	must(t, d.Set("mail.example.test", "MX", "10 mx.example.test."))
	if after := ask(t, d, "udp", "example.test", "SOA").Answer[0].(*dns.SOA).Serial; after <= before {
		t.Errorf("serial went from %d to %d", before, after)
	}
	if got := d.Records("mail.example.test", "mx"); !slices.Equal(got, []string{"10 mx.example.test."}) {
		t.Errorf("Records = %q", got)
	}
	for _, err := range []error{
		d.Set("www.elsewhere.test", "A", "192.0.2.1"),
		d.Set("www.example.test", "A", "not an address"),
		d.Set("www.example.test", "NOTYPE", "x"),
		d.AddZone("bad..name"),
	} {
		if err == nil {
			t.Error("nonsense was accepted")
		}
	}
	d.RemoveZone("example.test")
	if got := d.Zones(); len(got) != 0 {
		t.Errorf("zones after RemoveZone: %v", got)
	}
}

func TestDNSFaults(t *testing.T) {
	d := startDNS(t)
	must(t, d.SetTXT("www.example.test", "x"))

	undo := d.Fail(lab.DNSFault{Name: "WWW.example.test.", Rcode: dns.RcodeServerFailure})
	if r := ask(t, d, "udp", "www.example.test", "TXT"); r.Rcode != dns.RcodeServerFailure || len(r.Answer) != 0 {
		t.Errorf("rcode %d with %d records, want SERVFAIL", r.Rcode, len(r.Answer))
	}
	if r := ask(t, d, "udp", "example.test", "SOA"); r.Rcode != dns.RcodeSuccess {
		t.Errorf("fault hit another name: rcode %d", r.Rcode)
	}
	undo()

	undo = d.Fail(lab.DNSFault{Type: dns.TypeTXT, Truncate: true})
	if r := ask(t, d, "udp", "www.example.test", "TXT"); !r.Truncated || len(r.Answer) != 0 {
		t.Error("UDP was not truncated")
	}
	if r := ask(t, d, "tcp", "www.example.test", "TXT"); r.Truncated || len(r.Answer) != 1 {
		t.Error("TCP was truncated")
	}
	undo()

	undo = d.Fail(lab.DNSFault{Silent: true})
	c := &dns.Client{Timeout: 50 * time.Millisecond}
	_, _, err := c.Exchange(new(dns.Msg).SetQuestion("www.example.test.", dns.TypeTXT), d.Addr())
	if ne, ok := err.(net.Error); !ok || !ne.Timeout() {
		t.Errorf("silent server: %v, want a timeout", err)
	}
	undo()
	undo() // twice does no harm

	if r := ask(t, d, "udp", "www.example.test", "TXT", recursive); len(r.Answer) != 1 {
		t.Error("fault was not undone")
	}
}
