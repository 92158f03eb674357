package main

import (
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stshost/stshost/internal/lab"
	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
	"github.com/stshost/stshost/server"
)

// retire has a domain retired, and waits until senders see the policy that says
// none.
func (w *stagedWorld) retire(before server.DomainStatus) server.DomainStatus {
	w.t.Helper()
	r, err := w.client().Retire(w.t.Context(), before.Domain)
	if err != nil {
		w.t.Fatal(err)
	}
	if r.Stage != state.StageRetiring || r.Goal != state.GoalRetire {
		w.t.Errorf("the answer is %+v", r)
	}
	return w.none(before)
}

// none waits until the policy that says none is announced in place of another.
func (w *stagedWorld) none(before server.DomainStatus) server.DomainStatus {
	w.t.Helper()
	d := w.confirmedAnew(before)
	if p := w.policyOf(d); p.Mode != mtasts.ModeNone || p.MaxAge != oneDay {
		w.t.Errorf("on its way out %s serves %+v", d.Domain, p)
	}
	w.sees(d)
	return d
}

// until waits until the driver knows until when an earlier policy may be held, and
// wants that to be what the ledger says, to the second.
func (w *stagedWorld) until(domain string) time.Time {
	w.t.Helper()
	r := w.awaitRollout(domain, "to wait for the horizon", func(r state.RolloutStatus) bool { return !r.Until.IsZero() && r.Next.Equal(r.Until) })
	h, err := w.client().Horizon(w.t.Context(), domain, "")
	if err != nil {
		w.t.Fatal(err)
	}
	var last time.Time
	for _, b := range h.Bodies {
		if b.Mode == "none" {
			continue
		}
		if until := b.Last.Add(time.Duration(b.MaxAge) * time.Second); b.Last.IsZero() || !b.Until.Equal(until) {
			w.t.Errorf("a body in the ledger: %+v", b)
		} else if until.After(last) {
			last = until
		}
	}
	if !r.Until.Equal(last) || !h.Until.Equal(last) || h.Open {
		w.t.Errorf("%s is served until %s, by the horizon %s (open: %t), by its bodies %s", domain, r.Until, h.Until, h.Open, last)
	}
	return last
}

// gone waits until the domain has left MTA-STS, and wants nothing to be left of it.
func (w *stagedWorld) gone(before server.DomainStatus, accept func(state.RolloutStatus, error) bool) {
	w.t.Helper()
	eventually(w.t, func() error {
		r, err := w.client().Rollout(w.t.Context(), before.Domain)
		if !accept(r, err) {
			return fmt.Errorf("%s: %+v, %v", before.Domain, r, err)
		}
		return nil
	})
	if txt := mtasts.Records(w.lab.DNS.TXT("_mta-sts." + before.Domain)); len(txt) > 0 {
		w.t.Errorf("the DNS still says %q", txt)
	}
	eventually(w.t, func() error { return w.refused(&tls.Config{RootCAs: w.lab.Roots(), ServerName: before.Host}) })
	if _, err := w.s.store.Certificate(w.t.Context(), before.Host); !errors.Is(err, state.ErrNotFound) {
		w.t.Errorf("the certificate of %s is there: %v", before.Host, err)
	}
	if job, err := w.s.store.CertJob(w.t.Context(), before.Host); !errors.Is(err, state.ErrNotFound) {
		w.t.Errorf("something is to be done about the certificate of %s: %+v, %v", before.Host, job, err)
	}
}

func isRetired(r state.RolloutStatus, err error) bool {
	return err == nil && r.Stage == state.StageRetired && r.Goal == state.GoalStay
}

// A domain is taken out of MTA-STS in the order of RFC 8461 §8.3: mode none until
// nobody can hold another policy, to the second; then the record, on every name
// server; then all the rest. No restart changes anything about it.
func TestRetire(t *testing.T) {
	t.Parallel()
	w := staged(newWorld(t, example))
	w.domains[0].mx = []string{"mx1.mail.test", "mx2.mail.test"}
	w.start()
	before := w.enforced(example)
	if h, err := w.client().Horizon(t.Context(), example, ""); err != nil || !h.Open || !strings.Contains(h.Remedy, "retire") {
		t.Errorf("the horizon in enforce: %+v, %v", h, err)
	}
	none := w.retire(before)
	until := w.until(example)
	w.restart()
	if again := w.until(example); !again.Equal(until) {
		t.Errorf("until %s, and after a restart until %s", until, again)
	}

	// In the middle of it it falls back to testing, and is retired after all.
	if _, err := w.client().Rollback(t.Context(), example); err != nil {
		t.Fatal(err)
	}
	inTesting := w.confirmedAnew(none)
	if p := w.policyOf(inTesting); p.Mode != mtasts.ModeTesting || !slices.Equal(p.MX, w.domains[0].mx) {
		t.Errorf("back from retiring: %+v", p)
	}
	w.sees(inTesting)
	w.restart()
	if r := w.rollout(example); r.Stage != state.StageTesting || r.Goal != state.GoalStay {
		t.Errorf("back from retiring, after a restart: %+v", r)
	}
	none = w.retire(inTesting)
	if again := w.until(example); !again.Equal(until) {
		t.Errorf("until %s, and retired anew until %s", until, again)
	}

	// The last second.
	second := w.secondServer(example)
	w.stop(until.Add(-time.Second))
	w.restart()
	w.until(example)
	w.sees(none)

	// The record goes, as far as the DNS lets it. The policy stays as long as one
	// name server has the record.
	up := w.dnsDown(example)
	w.noError(w.lab.DNS.AddTXT("_mta-sts."+example, note))
	w.set(until)
	withdrawing := func(why string) {
		t.Helper()
		d := w.await(example, "a record that stays", blockedBy(why))
		if r := w.rollout(example); r.Stage != state.StageWithdrawing || !strings.Contains(r.Awaits, why) || r.Remedy == "" || d.Body != none.Body {
			t.Errorf("withdrawing: %+v, serving %q", r, d.Body)
		}
		if _, body, err := w.visitor("", "h2").fetch(t.Context(), "GET", "https://"+none.Host+mtasts.PolicyPath); err != nil || body != none.Body {
			t.Errorf("withdrawing, it serves %q, %v", body, err)
		}
	}
	withdrawing("refuses the update")
	w.restart()
	withdrawing("refuses the update")
	up()
	w.s.reload()
	withdrawing("still shows")
	if txt := w.lab.DNS.TXT("_mta-sts." + example); !slices.Equal(txt, []string{note}) {
		t.Errorf("the first name server has %q", txt)
	}
	w.noError(second.Remove("_mta-sts."+example, "TXT"))
	w.s.reload()
	w.gone(none, isRetired)
	if txt := w.lab.DNS.TXT("_mta-sts." + example); !slices.Equal(txt, []string{note}) {
		t.Errorf("of what is not ours there is %q", txt)
	}
	w.restart()
	w.gone(none, isRetired)
	for _, args := range [][]string{{"status"}, {"status", example}} {
		if out := w.must(args...); !strings.Contains(out, "retired") {
			t.Errorf("%v does not say that it is retired:\n%s", args, out)
		}
	}
	var stage *state.StageError
	if _, err := w.client().StartRollout(t.Context(), example, hasty()); !errors.As(err, &stage) || !strings.Contains(err.Error(), "rollback") {
		t.Errorf("a rollout of what has left: %v", err)
	}

	w.domains = nil
	w.s.reload()
	if all, err := w.client().Domains(t.Context()); err != nil || len(all) != 0 {
		t.Errorf("%+v is left (%v)", all, err)
	}
	if rows, err := w.s.store.Rollouts(t.Context()); err != nil || len(rows) != 0 {
		t.Errorf("%+v is left in the store (%v)", rows, err)
	}
	if n := w.lab.CA.TotalOrders(); n != 1 {
		t.Errorf("%d orders, want 1", n)
	}
}

// secondServer gives the zone a second name server, which has what the first one
// has now and is told of no change.
func (w *world) secondServer(zone string) *lab.DNS {
	w.t.Helper()
	const ip = "127.0.0.9"
	second, err := lab.StartDNS(lab.DNSConfig{Addr: net.JoinHostPort(ip, strconv.Itoa(w.dnsPort))})
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(func() { second.Close() })
	w.noError(second.AddZone(zone))
	w.noError(second.SetTXT("_mta-sts."+zone, w.lab.DNS.TXT("_mta-sts."+zone)...))
	w.noError(w.lab.DNS.Set("ns2."+zone, "A", ip))
	w.noError(w.lab.DNS.Add(zone, "NS", "ns2."+zone+"."))
	return second
}

// A domain that has left MTA-STS begins anew by a rollback: from nothing, in
// testing. What was only ever in testing leaves after its own max_age.
func TestRetiredBeginsAnew(t *testing.T) {
	t.Parallel()
	w := staged(newWorld(t, example))
	w.domains[0].mx = []string{"*.mail.test"}
	w.start()
	before := w.confirmed(example)
	none := w.retire(before)
	until := w.until(example)
	w.set(until)
	w.gone(none, isRetired)
	if _, err := w.client().Rollback(t.Context(), example); err != nil {
		t.Fatal(err)
	}
	after := w.confirmedAnew(none)
	if p := w.policyOf(after); p.Mode != mtasts.ModeTesting || w.lab.CA.TotalOrders() != 2 {
		t.Errorf("anew with %+v, and %d orders in all", p, w.lab.CA.TotalOrders())
	}
	w.sees(after)
	w.begin(example, hasty())
	w.full(example)

	var retired []server.Event
	for _, e := range w.news(example) {
		if e.Kind == state.KindRolloutRetired {
			retired = append(retired, e)
		}
	}
	if len(retired) != 3 || retired[0].Severity != state.SeverityWarning || !strings.Contains(retired[0].Remedy, "rollback") || !strings.Contains(retired[2].Remedy, "config") {
		t.Errorf("told were %+v", retired)
	}
}
