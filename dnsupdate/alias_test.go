package dnsupdate_test

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stshost/stshost/dnsupdate"
	"github.com/stshost/stshost/internal/dnstest"
	"github.com/stshost/stshost/internal/state"
)

// TestAlias shows that a CNAME at the name is followed at every provider: the
// record is written, kept alone and removed at the target, and other people's
// records there stay.
func TestAlias(t *testing.T) {
	backends(t, func(t *testing.T, b *backend) {
		ctx, at := t.Context(), target("alias")
		b.alias(t, "alias", "_mta-sts.real."+zone)
		b.add(t, "real", `"foreign"`)
		b.add(t, "real", `"`+stale+`"`)
		for _, txt := range []string{first, second} {
			if err := b.Push(ctx, at, txt); err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff([]string{`"foreign"`, `"` + txt + `"`}, b.show(t, "real")); diff != "" {
				t.Fatal(diff)
			}
			b.confirmed(t, at, txt)
		}
		if got, err := b.RecordPlace(at); err != nil || got != "_mta-sts.real."+zone {
			t.Errorf("the record's place is %s", got)
		}
		if err := b.Withdraw(ctx, at); err != nil {
			t.Fatal(err)
		}
		b.confirmed(t, at, "")
		if diff := cmp.Diff([]string{`"foreign"`}, b.show(t, "real")); diff != "" {
			t.Error(diff)
		}
	})
}

// customer is a zone of somebody who delegates by CNAME.
const customer = "customer.test"

// delegating starts Knot with the zones of host and customers, and an updater
// whose account may change records in all of them.
func delegating(t *testing.T) (*dnstest.Server, *backend) {
	s := dnstest.StartKnot(t, zone, customer)
	return s, overUpdate(t, s)
}

func cname(name, target string) string { return name + ". 60 IN CNAME " + target + "." }

func at(name string) state.Target { return state.Target{Account: account, Name: name} }

// TestAliasZone shows that the zone of an alias is that of its target, though
// the config names that of the domain.
func TestAliasZone(t *testing.T) {
	s, b := delegating(t)
	s.AddRecord(t, cname("_mta-sts."+customer, "one."+customer), cname("one."+customer, "c._mta-sts."+zone))
	own := at("_mta-sts." + customer)
	own.Zone = customer
	if got, err := b.Zone(t.Context(), own); got != zone+"." || err != nil {
		t.Errorf("zone %q, %v", got, err)
	}
	if err := b.Push(t.Context(), own, first); err != nil {
		t.Fatal(err)
	}
	b.confirmed(t, own, first)
	if got := s.TXT(t, "c._mta-sts."+zone); len(got) != 1 {
		t.Errorf("at the target stands %q", got)
	}
}

// TestAliasErrors shows what an operator reads about a chain that leads nowhere.
func TestAliasErrors(t *testing.T) {
	s, b := delegating(t)
	s.AddRecord(t,
		cname("a."+zone, "b."+zone), cname("b."+zone, "a."+zone),
		cname("gone."+zone, "_mta-sts.nowhere.invalid"),
		cname("star."+zone, "*."+zone), cname("dot."+zone, `_mta-sts\.victim.`+zone))
	for i := range 9 {
		s.AddRecord(t, cname(fmt.Sprintf("l%d.%s", i, zone), fmt.Sprintf("l%d.%s", i+1, zone)))
	}
	for name, want := range map[string][]string{
		"a":    {"a.example.test is a CNAME to b.example.test, that one to a.example.test", "circle"},
		"l0":   {"l0.example.test is a CNAME to l1", "more than 8"},
		"star": {"star.example.test is a CNAME to *.example.test", "no record is written at such a name"},
		"dot":  {`dot.example.test is a CNAME to _mta-sts\.victim.example.test`, "no record is written at such a name"},
		"gone": {"gone.example.test is a CNAME to _mta-sts.nowhere.invalid", "find the zone"},
	} {
		err := b.Push(t.Context(), at(name+"."+zone), first)
		_, seen := b.Observe(t.Context(), at(name+"."+zone))
		for _, err := range []error{err, seen} {
			var advice interface{ Remedy() string }
			if !errors.As(err, &advice) || !strings.Contains(advice.Remedy(), "CNAME") {
				t.Errorf("%s: no advice in %v", name, err)
				continue
			}
			for _, w := range want {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%s: %q is not in %v", name, w, err)
				}
			}
		}
	}
}

// TestAliasForeignZone shows what an operator reads if the account cannot
// change the zone that a CNAME leads to, for each kind of provider.
func TestAliasForeignZone(t *testing.T) {
	all := dnstest.StartPowerDNS(t, zone, customer) // what the world sees
	all.AddRecord(t, cname("_mta-sts."+zone, "_mta-sts."+customer))
	for name, start := range map[string]func(testing.TB, ...string) *dnstest.Server{
		"knot": dnstest.StartKnot, "bind": dnstest.StartBIND, "powerdns": dnstest.StartPowerDNS,
	} {
		t.Run(name, func(t *testing.T) {
			s := start(t, zone) // what the account changes
			a := dnsupdate.Account{Provider: "rfc2136", Settings: map[string]string{
				"server": s.Addr, "key_name": s.TSIGName, "key_alg": s.TSIGAlgorithm, "key": s.TSIGSecret,
			}}
			if name == "powerdns" {
				a = dnsupdate.Account{Provider: name, Settings: map[string]string{"url": s.APIURL, "api_key": s.APIKey}}
			}
			b := open(t, dnsupdate.Config{
				Accounts: map[string]dnsupdate.Account{account: a},
				Resolver: newResolver(t, all.Addr, all.Port),
			})
			err := b.Push(t.Context(), at("_mta-sts."+zone), first)
			if err == nil {
				t.Fatal("no error")
			}
			for _, w := range []string{"_mta-sts.example.test is a CNAME to _mta-sts.customer.test", "zone customer.test.",
				"name servers ns1.customer.test", "account main cannot change it"} {
				if !strings.Contains(err.Error(), w) {
					t.Errorf("%q is not in %v", w, err)
				}
			}
			var advice interface{ Remedy() string }
			if !errors.As(err, &advice) || !strings.HasPrefix(advice.Remedy(), "either ") {
				t.Errorf("no advice in %v", err)
			}
			// Nobody is told to enter the record there, also not after a look that went well.
			if _, err := b.Observe(t.Context(), at("_mta-sts."+zone)); err != nil {
				t.Fatal(err)
			}
			if _, err := b.RecordPlace(at("_mta-sts." + zone)); err == nil || !strings.Contains(err.Error(), "account main cannot change it") {
				t.Errorf("the place of the record is given, with %v", err)
			}
		})
	}
}

// TestAliasShared shows that no record is written for two domains: whoever was
// first keeps the name, and a domain its own.
func TestAliasShared(t *testing.T) {
	s, b := delegating(t)
	shared, own := "shared."+zone, "_mta-sts."+zone
	a, c := at("_mta-sts.a."+customer), at("_mta-sts.c."+customer)
	s.AddRecord(t, cname(a.Name, shared), cname(c.Name, shared), cname("_mta-sts.thief."+customer, own))
	names := map[string]string{a.Name: "a." + customer, c.Name: "c." + customer, own: zone}
	b.SetOwners(names)
	if err := b.Push(t.Context(), a, first); err != nil {
		t.Fatal(err)
	}
	refused := func(err error, texts ...string) {
		t.Helper()
		var advice interface{ Remedy() string }
		if !errors.As(err, &advice) || !strings.Contains(advice.Remedy(), "a target of its own") {
			t.Fatalf("no advice in %v", err)
		}
		for _, w := range texts {
			if !strings.Contains(err.Error(), w) {
				t.Errorf("%q is not in %v", w, err)
			}
		}
	}
	refused(b.Push(t.Context(), c, second), "_mta-sts.c.customer.test is a CNAME to shared.example.test", "_mta-sts.a.customer.test leads there too")
	refused(b.Withdraw(t.Context(), c), "a.customer.test")
	_, err := b.Observe(t.Context(), c)
	refused(err, "a.customer.test")
	refused(b.Push(t.Context(), at("_mta-sts.thief."+customer), second), "name of the domain example.test")
	_, err = b.RecordPlace(c)
	refused(err, "_mta-sts.a.customer.test leads there too")
	if place, err := b.RecordPlace(a); place != shared || err != nil {
		t.Errorf("the place of the first is %s, %v", place, err)
	}
	b.confirmed(t, a, first)

	// The first one moves away, and the name is free once that was seen.
	s.RemoveRecord(t, cname(a.Name, shared))
	s.AddRecord(t, cname(a.Name, "other."+zone))
	if seen, err := b.Observe(t.Context(), a); err != nil || len(seen) != 1 || len(seen[0].TXT) != 0 {
		t.Errorf("after the move: %v, %v", seen, err)
	}
	if log := b.log.String(); !strings.Contains(log, "leads elsewhere than before") || !strings.Contains(log, "former=shared."+zone) {
		t.Errorf("the move is not told in %s", log)
	}
	if err := b.Push(t.Context(), c, second); err != nil {
		t.Fatal(err)
	}
	b.confirmed(t, c, second)
	if place, err := b.RecordPlace(c); place != shared || err != nil {
		t.Errorf("the place is %s, %v, after the name had become free", place, err)
	}

	// A domain that leaves the config gives its claim up.
	s.RemoveRecord(t, cname(a.Name, "other."+zone))
	s.AddRecord(t, cname(a.Name, shared))
	refused(b.Push(t.Context(), a, first), "c.customer.test")
	delete(names, c.Name)
	b.SetOwners(names)
	if err := b.Push(t.Context(), a, first); err != nil {
		t.Error(err)
	}
}

// TestAliasAfterRestart shows that the record of another domain is not
// overwritten by an updater that knows of it only from the journal.
func TestAliasAfterRestart(t *testing.T) {
	s := dnstest.StartKnot(t, zone, customer)
	announced := map[string]string{first: "a." + customer} // by record
	s.AddRecord(t, cname("_mta-sts.a."+customer, "shared."+zone), cname("_mta-sts.c."+customer, "shared."+zone), `shared.`+zone+`. 60 IN TXT "`+first+`"`)
	b := open(t, dnsupdate.Config{
		Accounts: map[string]dnsupdate.Account{account: {Provider: "rfc2136", Settings: map[string]string{
			"server": s.Addr, "key_name": s.TSIGName, "key_alg": s.TSIGAlgorithm, "key": s.TSIGSecret,
		}}},
		Resolver: newResolver(t, s.Addr, s.Port),
		Announcer: func(_ context.Context, id, _ string) string {
			for txt, domain := range announced {
				if strings.Contains(txt, id) {
					return domain
				}
			}
			return ""
		},
	})
	c := at("_mta-sts.c." + customer)
	if err := b.Push(t.Context(), c, second); err == nil || !strings.Contains(err.Error(), "that of the domain a.customer.test") {
		t.Errorf("push: %v", err)
	}
	if _, err := b.Observe(t.Context(), c); err == nil || !strings.Contains(err.Error(), "that of the domain a.customer.test") {
		t.Errorf("observe: %v", err)
	}
	// The other one has a new id by now, which is not in DNS yet.
	a := at("_mta-sts.a." + customer)
	if _, err := b.Observe(t.Context(), a); err != nil {
		t.Fatal(err)
	}
	delete(announced, first)
	if err := b.Push(t.Context(), c, second); err == nil || !strings.Contains(err.Error(), "_mta-sts.a.customer.test leads there too") {
		t.Errorf("push: %v", err)
	}
	b.SetOwners(map[string]string{c.Name: "c." + customer}) // it leaves
	s.RemoveRecord(t, `shared.`+zone+`. 60 IN TXT "`+first+`"`)
	if err := b.Push(t.Context(), c, second); err != nil {
		t.Error(err)
	}
}

// TestAliasUnseen shows that the record of another domain is not overwritten
// where the provider holds it and the name servers do not show it.
func TestAliasUnseen(t *testing.T) {
	m := desecModel()
	b := startModel(t, m)
	b.alias(t, "c", "shared."+zone)
	m.mu.Lock()
	m.staged = true
	m.add("shared", "TXT", `"`+first+`"`, 3600)
	m.mu.Unlock()
	again := open(t, dnsupdate.Config{
		Accounts: map[string]dnsupdate.Account{account: m.account}, Resolver: b.resolver, Transport: b.transport,
		Announcer: func(context.Context, string, string) string { return "a." + customer },
	})
	if err := again.Push(t.Context(), target("c"), second); err == nil || !strings.Contains(err.Error(), "that of the domain a.customer.test") {
		t.Errorf("push: %v", err)
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if got := m.at("shared", "TXT"); len(got) != 1 || got[0].value != `"`+first+`"` {
		t.Errorf("there stands %v", got)
	}
}

// TestAliasByHand shows that the operator is told the target's name.
func TestAliasByHand(t *testing.T) {
	s := dnstest.StartKnot(t, zone, customer)
	s.AddRecord(t, cname("_mta-sts."+customer, "c._mta-sts."+zone))
	b := open(t, dnsupdate.Config{
		Accounts: map[string]dnsupdate.Account{account: {Provider: "print"}},
		Resolver: newResolver(t, s.Addr, s.Port),
	})
	err := b.Push(t.Context(), at("_mta-sts."+customer), first)
	var manual *dnsupdate.ManualError
	if !errors.Is(err, state.ErrManual) || !errors.As(err, &manual) || manual.Name != "c._mta-sts."+zone ||
		!strings.Contains(manual.Remedy(), "c._mta-sts."+zone+`. IN TXT "`+first) {
		t.Fatalf("error %v", err)
	}
	s.AddRecord(t, "c._mta-sts."+zone+`. 60 IN TXT "`+first+`"`)
	if err := b.Push(t.Context(), at("_mta-sts."+customer), first); err != nil {
		t.Error(err)
	}
}

// TestAliasDisagreement shows that a server which does not show the alias that
// others show, or cannot be asked, stands in the way of a confirmation, and of a
// push where it is not clear where that belongs.
func TestAliasDisagreement(t *testing.T) {
	// Two servers at one port and two addresses.
	s := dnstest.StartKnot(t, zone, customer)
	name := "_mta-sts." + customer
	s.AddRecord(t, cname(name, "c."+zone))
	b := overUpdate(t, s)
	if err := b.Push(t.Context(), at(name), first); err != nil {
		t.Fatal(err)
	}
	s.AddRecord(t, customer+". 60 IN NS ns2."+customer+".", "ns2."+customer+". 60 IN A 127.0.0.9")
	wrong := func() (silent []string) {
		t.Helper()
		seen, err := b.Observe(t.Context(), at(name))
		if err != nil {
			t.Fatal(err)
		}
		for _, v := range seen {
			if v.Err != nil {
				silent = append(silent, v.Err.Error())
			}
		}
		return silent
	}
	// One that is down does not hide where the others lead, and is told.
	if got := wrong(); len(got) != 1 || !strings.Contains(got[0], "127.0.0.9") {
		t.Errorf("a server that is down: %q", got)
	}
	if err := b.Push(t.Context(), at(name), second); err != nil {
		t.Errorf("a server that is down: %v", err)
	}
	for what, records := range map[string]string{
		"no CNAME":             name + `. 60 IN TXT "` + second + `"`,
		"a CNAME to d." + zone: cname(name, "d."+zone),
	} {
		stop := answerAt(t, "127.0.0.9", s.Port, customer, records)
		got := wrong()
		if !slices.ContainsFunc(got, func(e string) bool { return strings.Contains(e, "unlike others") }) {
			t.Errorf("%s: %q", what, got)
		}
		if err := b.Push(t.Context(), at(name), first); err == nil || !strings.Contains(err.Error(), "do not agree") || !strings.Contains(err.Error(), what) {
			t.Errorf("%s: %v", what, err)
		}
		stop()
	}
}
