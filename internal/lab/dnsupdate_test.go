package lab_test

import (
	"context"
	"encoding/base64"
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/libdns/libdns"
	"github.com/libdns/rfc2136"
	"github.com/miekg/dns"

	"github.com/stshost/stshost/internal/lab"
)

func rr(t *testing.T, s string) dns.RR {
	t.Helper()
	rr, err := dns.NewRR(s)
	if err != nil || rr == nil {
		t.Fatalf("record %q: %v", s, err)
	}
	return rr
}

// update sends an UPDATE for example.test signed with key.
func update(t *testing.T, d *lab.DNS, key lab.TSIG, fill func(*dns.Msg)) (*dns.Msg, error) {
	t.Helper()
	m := new(dns.Msg).SetUpdate("example.test.")
	fill(m)
	c := &dns.Client{Net: "tcp", Timeout: 5 * time.Second}
	if key.Name != "" {
		m.SetTsig(key.Name, dns.Fqdn(key.Algorithm), 300, time.Now().Unix())
		c.TsigSecret = map[string]string{key.Name: key.Secret}
	}
	r, _, err := c.Exchange(m, d.Addr())
	return r, err
}

func TestUpdateSemantics(t *testing.T) {
	d := startDNS(t)
	steps := []struct {
		what  string
		fill  func(*dns.Msg)
		rcode int
		name  string
		want  []string // TXT at name afterwards
	}{
		{"add", func(m *dns.Msg) {
			m.Insert([]dns.RR{rr(t, `a.example.test. 60 TXT "1"`), rr(t, `A.example.test. 60 TXT "2"`)})
		},
			dns.RcodeSuccess, "a.example.test", []string{"1", "2"}},
		{"add again", func(m *dns.Msg) { m.Insert([]dns.RR{rr(t, `a.example.test. 99 TXT "2"`)}) },
			dns.RcodeSuccess, "a.example.test", []string{"1", "2"}},
		{"delete one", func(m *dns.Msg) { m.Remove([]dns.RR{rr(t, `a.example.test. 60 TXT "1"`)}) },
			dns.RcodeSuccess, "a.example.test", []string{"2"}},
		{"delete one that is not there", func(m *dns.Msg) { m.Remove([]dns.RR{rr(t, `a.example.test. 60 TXT "1"`)}) },
			dns.RcodeSuccess, "a.example.test", []string{"2"}},
		{"replace the set", func(m *dns.Msg) {
			m.RemoveRRset([]dns.RR{rr(t, `a.example.test. 60 TXT "x"`)})
			m.Insert([]dns.RR{rr(t, `a.example.test. 60 TXT "3"`)})
		}, dns.RcodeSuccess, "a.example.test", []string{"3"}},
		{"in use, holds", func(m *dns.Msg) {
			m.NameUsed([]dns.RR{rr(t, "a.example.test. A 192.0.2.1")})
			m.RRsetUsed([]dns.RR{rr(t, `a.example.test. TXT "any"`)})
			m.Used([]dns.RR{rr(t, `a.example.test. 60 TXT "3"`)})
			m.NameNotUsed([]dns.RR{rr(t, "b.example.test. A 192.0.2.1")})
			m.RRsetNotUsed([]dns.RR{rr(t, "a.example.test. A 192.0.2.1")})
			m.Insert([]dns.RR{rr(t, `a.example.test. 60 TXT "4"`)})
		}, dns.RcodeSuccess, "a.example.test", []string{"3", "4"}},
		{"exact set differs", func(m *dns.Msg) {
			m.Used([]dns.RR{rr(t, `a.example.test. 60 TXT "3"`)})
			m.Insert([]dns.RR{rr(t, `a.example.test. 60 TXT "5"`)})
		}, dns.RcodeNXRrset, "a.example.test", []string{"3", "4"}},
		{"name is not in use", func(m *dns.Msg) { m.NameUsed([]dns.RR{rr(t, "b.example.test. A 192.0.2.1")}) },
			dns.RcodeNameError, "a.example.test", []string{"3", "4"}},
		{"name is in use", func(m *dns.Msg) { m.NameNotUsed([]dns.RR{rr(t, "a.example.test. A 192.0.2.1")}) },
			dns.RcodeYXDomain, "a.example.test", []string{"3", "4"}},
		{"set is there", func(m *dns.Msg) { m.RRsetNotUsed([]dns.RR{rr(t, `a.example.test. TXT "x"`)}) },
			dns.RcodeYXRrset, "a.example.test", []string{"3", "4"}},
		{"set is not there", func(m *dns.Msg) { m.RRsetUsed([]dns.RR{rr(t, "a.example.test. A 192.0.2.1")}) },
			dns.RcodeNXRrset, "a.example.test", []string{"3", "4"}},
		{"whole or not at all", func(m *dns.Msg) {
			m.RemoveName([]dns.RR{rr(t, "a.example.test. A 192.0.2.1")})
			m.Insert([]dns.RR{rr(t, `a.elsewhere.test. 60 TXT "5"`)})
		}, dns.RcodeNotZone, "a.example.test", []string{"3", "4"}},
		{"CNAME beside other data is left out", func(m *dns.Msg) { m.Insert([]dns.RR{rr(t, "a.example.test. 60 CNAME b.example.test.")}) },
			dns.RcodeSuccess, "a.example.test", []string{"3", "4"}},
		{"delete the name", func(m *dns.Msg) { m.RemoveName([]dns.RR{rr(t, "a.example.test. A 192.0.2.1")}) },
			dns.RcodeSuccess, "a.example.test", nil},
		{"CNAME alone", func(m *dns.Msg) {
			m.Insert([]dns.RR{rr(t, "a.example.test. 60 CNAME b.example.test."), rr(t, `a.example.test. 60 TXT "5"`)})
		}, dns.RcodeSuccess, "a.example.test", nil},
		{"delete the apex", func(m *dns.Msg) {
			m.RemoveName([]dns.RR{rr(t, "example.test. A 192.0.2.1")})
			m.Remove([]dns.RR{rr(t, "example.test. 60 NS ns1.example.test.")})
			m.Insert([]dns.RR{rr(t, `example.test. 60 TXT "apex"`)})
		}, dns.RcodeSuccess, "example.test", []string{"apex"}},
		{"class of another world", func(m *dns.Msg) {
			m.Insert([]dns.RR{rr(t, `a.example.test. 60 TXT "5"`)})
			m.Ns[0].Header().Class = dns.ClassCHAOS
		}, dns.RcodeFormatError, "a.example.test", nil},
	}
	for _, s := range steps {
		r, err := update(t, d, d.Key(), s.fill)
		if err != nil {
			t.Fatalf("%s: %v", s.what, err)
		}
		if r.Rcode != s.rcode {
			t.Errorf("%s: %s, want %s", s.what, dns.RcodeToString[r.Rcode], dns.RcodeToString[s.rcode])
		}
		if r.IsTsig() == nil {
			t.Errorf("%s: the answer is not signed", s.what)
		}
		got := d.TXT(s.name)
		slices.Sort(got)
		if !slices.Equal(got, s.want) {
			t.Errorf("%s: %s has %q, want %q", s.what, s.name, got, s.want)
		}
	}
	if d.Records("example.test", "SOA") == nil || d.Records("example.test", "NS") == nil {
		t.Error("an update took the zone's SOA or NS away")
	}
	if got := d.Records("a.example.test", "CNAME"); !slices.Equal(got, []string{"b.example.test."}) {
		t.Errorf("CNAME = %q", got)
	}
}

func TestUpdateSignature(t *testing.T) {
	d := startDNS(t)
	key := d.Key()
	other := base64.StdEncoding.EncodeToString([]byte("another secret of no importance!"))
	insert := func(m *dns.Msg) { m.Insert([]dns.RR{rr(t, `a.example.test. 60 TXT "1"`)}) }
	tests := []struct {
		what string
		key  lab.TSIG
		code uint16 // in the TSIG record of the answer
	}{
		{"wrong secret", lab.TSIG{Name: key.Name, Algorithm: key.Algorithm, Secret: other}, dns.RcodeBadSig},
		{"wrong name", lab.TSIG{Name: "who.", Algorithm: key.Algorithm, Secret: key.Secret}, dns.RcodeBadKey},
		{"wrong algorithm", lab.TSIG{Name: key.Name, Algorithm: "hmac-sha512", Secret: key.Secret}, dns.RcodeBadKey},
	}
	for _, tt := range tests {
		r, err := update(t, d, tt.key, insert)
		if !errors.Is(err, dns.ErrAuth) || r == nil || r.Rcode != dns.RcodeNotAuth || r.IsTsig() == nil || r.IsTsig().Error != tt.code {
			t.Errorf("%s: error %v, answer %v; want NOTAUTH with TSIG error %d", tt.what, err, r, tt.code)
		}
	}
	r, err := update(t, d, lab.TSIG{}, insert)
	if err != nil || r.Rcode != dns.RcodeRefused {
		t.Errorf("unsigned: %v, %v; want REFUSED", r, err)
	}
	// A clock that is off by more than the fudge (RFC 8945 §5.2.3).
	m := new(dns.Msg).SetUpdate("example.test.")
	insert(m)
	m.SetTsig(key.Name, dns.HmacSHA256, 300, time.Now().Add(-time.Hour).Unix())
	c := &dns.Client{Net: "tcp", TsigSecret: map[string]string{key.Name: key.Secret}}
	if r, _, err = c.Exchange(m, d.Addr()); r == nil || r.IsTsig() == nil || r.IsTsig().Error != dns.RcodeBadTime {
		t.Errorf("old signature: %v, %v; want BADTIME", r, err)
	}
	if len(d.Updates()) != 0 || d.TXT("a.example.test") != nil {
		t.Error("an update without authority was done")
	}
}

func TestUpdateJournalAndFaults(t *testing.T) {
	seen := make(chan lab.Update, 1)
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	d, err := lab.StartDNS(lab.DNSConfig{
		Now:      func() time.Time { return now },
		OnUpdate: func(u lab.Update) { seen <- u },
	})
	must(t, err)
	defer d.Close()
	must(t, d.AddZone("example.test"))
	insert := func(m *dns.Msg) { m.Insert([]dns.RR{rr(t, `A.example.test. 60 TXT "v=STSv1; id=1;"`)}) }

	for what, f := range map[string]lab.DNSFault{
		"refused": {Updates: true, Name: "a.example.test", Rcode: dns.RcodeRefused},
		"broken":  {Updates: true, Rcode: dns.RcodeServerFailure},
		"ignored": {Updates: true, Ignore: true},
	} {
		undo := d.Fail(f)
		r, err := update(t, d, d.Key(), insert)
		if err != nil || r.Rcode != f.Rcode || d.TXT("a.example.test") != nil {
			t.Errorf("%s: %v, %v, TXT %q", what, r, err, d.TXT("a.example.test"))
		}
		undo()
	}
	if len(d.Updates()) != 0 {
		t.Errorf("updates that failed are in the journal: %v", d.Updates())
	}

	next := make(chan lab.Update, 1)
	go func() {
		u, err := d.NextUpdate(t.Context(), 0)
		if err == nil {
			next <- u
		}
		close(next)
	}()
	if _, err := update(t, d, d.Key(), insert); err != nil {
		t.Fatal(err)
	}
	for _, u := range []lab.Update{<-seen, <-next, d.Updates()[0]} {
		if !u.Time.Equal(now) || u.Zone != "example.test." || u.Serial != 2 || !slices.Equal(u.Names, []string{"a.example.test."}) {
			t.Errorf("update = %+v", u)
		}
		if len(u.Changes) != 1 || u.Changes[0].Type != "TXT" || u.Changes[0].Before != nil ||
			!slices.Equal(u.Changes[0].After, []string{"v=STSv1; id=1;"}) {
			t.Errorf("changes = %+v", u.Changes)
		}
	}
	// The same again counts as an update and changes nothing.
	if _, err := update(t, d, d.Key(), insert); err != nil {
		t.Fatal(err)
	}
	<-seen
	if u, err := d.NextUpdate(t.Context(), 1); err != nil || len(u.Changes) != 0 || u.Serial != 2 {
		t.Errorf("second update = %+v, %v", u, err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := d.NextUpdate(ctx, 2); !errors.Is(err, context.Canceled) {
		t.Errorf("NextUpdate after cancel: %v", err)
	}
}

// The real client of the product.
func TestLibdns(t *testing.T) {
	d := startDNS(t)
	ctx := t.Context()
	p := &rfc2136.Provider{Server: d.Addr(), KeyName: d.Key().Name, KeyAlg: d.Key().Algorithm, Key: d.Key().Secret}
	txt := func(text string) []libdns.Record {
		return []libdns.Record{libdns.TXT{Name: "_mta-sts", TTL: time.Minute, Text: text}}
	}
	want := func(what string, err error, texts ...string) {
		t.Helper()
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		got := d.TXT("_mta-sts.example.test")
		slices.Sort(got)
		if !slices.Equal(got, texts) {
			t.Errorf("%s: TXT = %q, want %q", what, got, texts)
		}
	}
	_, err := p.SetRecords(ctx, "example.test.", txt("v=STSv1; id=1;"))
	want("set", err, "v=STSv1; id=1;")
	_, err = p.SetRecords(ctx, "example.test.", txt("v=STSv1; id=2;"))
	want("set again", err, "v=STSv1; id=2;")
	_, err = p.AppendRecords(ctx, "example.test.", txt("other"))
	want("append", err, "other", "v=STSv1; id=2;")

	recs, err := p.GetRecords(ctx, "example.test.")
	if err != nil {
		t.Fatalf("get: %v", err)
	}
	found := 0
	for _, r := range recs {
		if r.RR().Name == "_mta-sts" && r.RR().Type == "TXT" {
			found++
		}
	}
	if found != 2 || len(recs) != 6 { // SOA, NS, A, two TXT, SOA
		t.Errorf("get: %d records, %d TXT; want 6 and 2", len(recs), found)
	}

	_, err = p.DeleteRecords(ctx, "example.test.", txt("v=STSv1; id=2;"))
	want("delete one", err, "other")
	_, err = p.DeleteRecords(ctx, "example.test.", []libdns.Record{libdns.RR{Name: "_mta-sts", Type: "TXT"}})
	want("delete the set", err)

	for what, bad := range map[string]*rfc2136.Provider{
		"wrong secret": {Server: d.Addr(), KeyName: d.Key().Name, KeyAlg: d.Key().Algorithm, Key: "c2VjcmV0"},
		"wrong name":   {Server: d.Addr(), KeyName: "who", KeyAlg: d.Key().Algorithm, Key: d.Key().Secret},
	} {
		if _, err := bad.SetRecords(ctx, "example.test.", txt("x")); !errors.Is(err, dns.ErrAuth) {
			t.Errorf("%s: %v, want ErrAuth", what, err)
		}
		if _, err := bad.GetRecords(ctx, "example.test."); err == nil {
			t.Errorf("%s: transfer succeeded", what)
		}
	}
	if _, err := p.SetRecords(ctx, "elsewhere.test.", txt("x")); err == nil {
		t.Error("update of a zone that is not here succeeded")
	}
	// Unsigned transfers are refused, and UDP has none.
	if r := ask(t, d, "tcp", "example.test", "AXFR"); r.Rcode != dns.RcodeRefused {
		t.Errorf("unsigned transfer: %s", dns.RcodeToString[r.Rcode])
	}
}
