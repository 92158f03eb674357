package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stshost/stshost/internal/dnstest"
	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
	"github.com/stshost/stshost/server"
)

// horizon asks until when an MX host is needed, and wants the answer to say so.
func (w *stagedWorld) horizon(domain, mx, says string) state.Horizon {
	w.t.Helper()
	h, err := w.client().Horizon(w.t.Context(), domain, mx)
	if err != nil {
		w.t.Fatal(err)
	}
	if !strings.Contains(h.Text, says) || h.Open != (h.Remedy != "") {
		w.t.Errorf("the horizon of %s: %+v, want %q", mx, h, says)
	}
	return h
}

// names wants the policy of a domain to name these MX hosts, in any order.
func (w *world) names(d server.DomainStatus, mx ...string) {
	w.t.Helper()
	if got := slices.Sorted(slices.Values(w.policyOf(d).MX)); !slices.Equal(got, mx) {
		w.t.Errorf("the policy of %s names %q, want %q", d.Domain, got, mx)
	}
}

// renamed waits until the policy of a domain names these MX hosts, which is
// confirmed then.
func (w *stagedWorld) renamed(before server.DomainStatus, mx ...string) server.DomainStatus {
	w.t.Helper()
	d := w.confirmedAnew(before)
	w.names(d, mx...)
	w.sees(d)
	return d
}

// A domain in enforce moves to another MX host. What is new in the DNS is told and
// enters the policy when the operator says so; the old name leaves it when nobody
// can hold a policy without the new one.
func TestMXMigration(t *testing.T) {
	t.Parallel()
	const before, after = "mx1.mail.test", "mx2.mail.test"
	w := newStagedWorld(t, example)
	w.mxWatch = "6h"
	w.domains[0].mx = []string{before}
	w.noError(w.lab.DNS.Set(example, "MX", "10 "+before+"."))
	w.start()
	old := w.enforced(example)
	w.horizon(example, before, "only MX host")

	// The new host is in the DNS.
	w.noError(w.lab.DNS.Add(example, "MX", "20 "+after+"."))
	w.s.mx.Look(example)
	e := w.event(state.KindMXDrift, 1)
	if e.Domain != example || e.Evidence["new_mx"] != after || e.Evidence["proposed_mx"] != before+" "+after || e.Evidence["validated"] != "no" || !strings.Contains(e.Remedy, "stshost mx accept "+example) {
		t.Errorf("told was %+v", e)
	}
	if w.status(example).ID != old.ID {
		t.Error("what the DNS says entered the policy by itself")
	}
	w.sees(old)
	w.horizon(example, before, "does not name "+after)

	change, err := w.client().AcceptMX(t.Context(), example)
	if err != nil || !slices.Equal(change.Accepted, []string{after}) || !slices.Equal(change.MX, []string{before, after}) || !strings.Contains(change.Text, "DNSSEC does not vouch") {
		t.Fatalf("accepted: %+v, %v", change, err)
	}
	both := w.renamed(old, before, after)
	if p := w.policyOf(both); p.Mode != mtasts.ModeEnforce || p.MaxAge != 4*oneWeek {
		t.Errorf("with both hosts: %+v", p)
	}
	if e := w.event(state.KindMXAccepted, 1); e.Domain != example || e.Evidence["new_mx"] != after || e.Evidence["mx"] != before+" "+after {
		t.Errorf("told was %+v", e)
	}
	if again, err := w.client().AcceptMX(t.Context(), example); err != nil || len(again.Accepted) > 0 || !slices.Equal(again.MX, []string{before, after}) {
		t.Errorf("accepted once more: %+v, %v", again, err)
	}
	h := w.horizon(example, before, "can go from")
	i := slices.IndexFunc(h.Bodies, func(b state.HorizonBody) bool { return b.Mode == "enforce" && b.Matters && b.Until.Equal(h.Until) })
	if i < 0 || h.Bodies[i].MaxAge != int64(4*oneWeek/time.Second) || !h.Until.Equal(h.Bodies[i].Last.Add(4*oneWeek)) {
		t.Fatalf("the horizon: %+v", h)
	}
	until := h.Until

	// The config forgets the old host too early.
	w.domains[0].mx = []string{after}
	w.s.reload()
	w.names(w.confirmed(example), before, after)
	kept := w.awaitRollout(example, "to keep the old host", func(r state.RolloutStatus) bool { return len(r.Kept) > 0 })
	if !slices.Equal(kept.Kept, []string{before}) || !kept.Until.Equal(until) || !kept.Full {
		t.Errorf("kept: %+v, until %s", kept, until)
	}
	w.stop(until.Add(-time.Second))
	w.restart()
	w.awaitRollout(example, "to wait for the horizon", func(r state.RolloutStatus) bool { return r.Next.Equal(until) })
	both = w.confirmed(example)
	w.names(both, before, after)
	w.sees(both)
	w.horizon(example, before, "can go from")

	// Nobody needs the old name for what he holds any more, but the DNS still has the
	// host, which every sender would refuse without it.
	w.set(until)
	if e := w.event(state.KindMXDrift, 2); e.Domain != example || e.Severity != state.SeverityWarning || !strings.Contains(e.Text, before) || e.Remedy == "" {
		t.Errorf("told was %+v", e)
	}
	kept = w.awaitRollout(example, "to keep the old host", func(r state.RolloutStatus) bool { return r.Until.After(until) })
	w.names(w.confirmed(example), before, after)
	w.noError(w.lab.DNS.Set(example, "MX", "20 "+after+"."))
	w.set(kept.Until)
	alone := w.renamed(both, after)
	w.horizon(example, before, "can go now")
	if r := w.rollout(example); len(r.Kept) > 0 || !r.Until.IsZero() || !r.Full || r.Stage != state.StageEnforce {
		t.Errorf("in the end: %+v", r)
	}

	// Of two that are new one is named, and the other, which nobody vouches for, is not
	// taken along.
	const third, forged = "mx3.mail.test", "mx.evil.test"
	w.noError(w.lab.DNS.Set(example, "MX", "20 "+after+".", "30 "+third+".", "40 "+forged+"."))
	if _, err := w.client().AcceptMX(t.Context(), example, "mx7."+example); err == nil || !strings.Contains(err.Error(), "no MX record of "+example+" with mx7."+example) {
		t.Errorf("a host that the DNS does not have was accepted: %v", err)
	}
	change, err = w.client().AcceptMX(t.Context(), example, third)
	if err != nil || !slices.Equal(change.Accepted, []string{third}) || !slices.Equal(change.MX, []string{after, third}) {
		t.Errorf("accepted by name: %+v, %v", change, err)
	}
	w.renamed(alone, after, third)
}

// With mx_migration = "auto" an MX host enters the policy by itself where DNSSEC
// vouches for it, and nowhere else: a forged answer must not.
func TestMXMigrationByDNSSEC(t *testing.T) {
	t.Parallel()
	const plain = "plain.test"
	w := newStagedWorld(t, example, plain)
	records := make(map[string][]string)
	for _, d := range []string{example, plain} {
		records[d] = []string{"mta-sts A 127.0.0.1", "@ MX 10 mx1.mail.test."}
	}
	signed := dnstest.SignedWorld(t, dnstest.Zone{Name: "test"},
		dnstest.Zone{Name: "mail.test", Records: []string{"mx1 A 127.0.0.2", "mx2 A 127.0.0.3"}},
		dnstest.Zone{Name: example, Records: records[example]},
		dnstest.Zone{Name: plain, Records: records[plain], Unsigned: true})
	w.dnsAddr, w.dnsPort, w.account, w.mxWatch = signed.ResolverAddr, signed.AuthPort, "provider = \"print\"\n", "6h"
	for i := range w.domains {
		w.domains[i].mx, w.domains[i].lines = []string{"mx1.mail.test"}, "mx_migration = \"auto\"\n"
	}
	w.start()
	served := make(map[string]server.DomainStatus)
	for _, d := range []string{example, plain} {
		served[d] = w.await(d, "the record to enter", func(d server.DomainStatus) bool { return d.Step == state.Proven && d.ID != "" })
		records[d] = append(records[d], fmt.Sprintf("_mta-sts TXT %q", recordOf(served[d])), "@ MX 20 mx2.mail.test.")
		signed.Set(t, d, records[d]...)
	}
	for _, d := range []string{example, plain} {
		w.s.reconciler.Wake(d)
		w.s.mx.Look(d)
	}
	var told []string
	eventually(t, func() error {
		all, err := w.client().Events(t.Context(), state.EventQuery{Kind: state.KindMXDrift}, 0)
		if err == nil && len(all) < 2 {
			err = fmt.Errorf("told were %+v", all)
		}
		told = nil
		for _, e := range all {
			told = append(told, e.Domain+" "+e.Evidence["validated"])
		}
		return err
	})
	if slices.Sort(told); !slices.Equal(told, []string{example + " yes", plain + " no"}) {
		t.Errorf("told were %q", told)
	}
	d := w.await(example, "a policy with the new host", func(d server.DomainStatus) bool {
		return strings.Contains(d.Body, "mx: mx1.mail.test\r\nmx: mx2.mail.test\r\n") && d.ID != "" && d.ID != served[example].ID
	})
	if e := w.event(state.KindMXAccepted, 1); e.Domain != example || !strings.Contains(e.Text, "DNSSEC") {
		t.Errorf("told was %+v", e)
	}
	records[example][2] = fmt.Sprintf("_mta-sts TXT %q", recordOf(d))
	signed.Set(t, example, records[example]...)
	w.s.reconciler.Wake(example)
	w.renamed(served[example], "mx1.mail.test", "mx2.mail.test")

	// The other has been looked at, and again, and is as it was.
	w.s.mx.Look(plain)
	if d := w.confirmed(plain); d.Body != served[plain].Body || d.ID != served[plain].ID {
		t.Errorf("what nobody vouches for entered the policy: %+v", d)
	}
	if all, err := w.client().Events(t.Context(), state.EventQuery{Kind: state.KindMXAccepted}, 0); err != nil || len(all) != 1 {
		t.Errorf("accepted were %+v, %v", all, err)
	}
}
