package main

import (
	"context"
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/server"
)

// awaitMX waits for a look at the MX hosts that ends as wanted.
func (w *world) awaitMX(domain string, trouble bool) server.DomainStatus {
	w.t.Helper()
	what := "MX hosts that pass"
	if trouble {
		what = "MX hosts that fail"
	}
	return w.await(domain, what, func(d server.DomainStatus) bool { return !d.MXChecked.IsZero() && d.MXTrouble == trouble })
}

// An MX host breaks unawares: it is seen, told, shown wherever one looks, also
// without a server and after a restart, and is over when it is mended.
func TestMXHostsAreWatched(t *testing.T) {
	w := newWorld(t, example)
	w.mxWatch = "6h"
	w.domains[0].mx = []string{"mx1.mail.test", "mx2.mail.test"}
	w.domains[0].lines = `mode = "enforce"`
	s := w.start()
	w.sees(w.confirmed(example))
	good := w.awaitMX(example, false)
	if good.MX == "" || good.Trouble() != "" {
		t.Errorf("MX hosts that pass: %+v", good)
	}

	right, err := w.lab.Mail.Issue(time.Time{}, "mx2.mail.test")
	if err != nil {
		t.Fatal(err)
	}
	wrong, err := w.lab.Mail.Issue(time.Time{}, "other.mail.test")
	if err != nil {
		t.Fatal(err)
	}
	w.lab.MX[1].SetCertificate(wrong)
	s.mx.Look(example) // as when its time has come
	bad := w.awaitMX(example, true)
	if !strings.Contains(bad.MX, "mx2.mail.test") || bad.MXRemedy == "" || bad.Trouble() != bad.MX || bad.LastError != "" {
		t.Errorf("an MX host with a certificate of another name: %+v", bad)
	}
	e := w.event(state.KindMXFailed, 1)
	if e.Severity != state.SeverityCritical || e.Domain != example || !strings.Contains(e.Text, "mx2.mail.test") || e.Remedy == "" ||
		e.Evidence["mode"] != "enforce" || e.Evidence["mx"] != "mx1.mail.test mx2.mail.test" {
		t.Errorf("event %+v", e)
	}
	w.explains(example, "mx2.mail.test", "not every MX host is as it promises")
	if failing, unknown := w.metric("stshost_domains_mx_failing"), w.metric("stshost_domains_mx_unknown"); failing != 1 || unknown != 0 {
		t.Errorf("%v fail and %v are unknown", failing, unknown)
	}
	if page := w.adminGet("/"); !strings.Contains(page, `<strong>1</strong> need attention`) {
		t.Errorf("the status page:\n%s", page)
	}
	if !s.stands(state.KindMXFailed, example) || s.stands(state.KindMXFailed, "other.test") {
		t.Error("what stands and what does not is mixed up")
	}
	for _, running := range []bool{true, false} {
		for args, want := range map[string]string{
			"status --trouble": "\n" + example + " ", "status " + example: "MX remedy: ", "explain " + example: "mx2.mail.test",
		} {
			if out := w.must(strings.Fields(args)...); !strings.Contains("\n"+out, want) {
				t.Errorf("%s, server runs: %v\n%s", args, running, out)
			}
		}
		if running {
			if err := s.stop(); err != nil {
				t.Fatal(err)
			}
		}
	}

	// A restart tells nothing anew, and a reload has it looked at.
	w.lab.MX[1].SetCertificate(right)
	s = w.start()
	if again := w.awaitMX(example, true); !again.MXChecked.Equal(bad.MXChecked.Truncate(time.Microsecond)) {
		t.Errorf("looked at %s, and at %s after a restart", bad.MXChecked, again.MXChecked)
	}
	s.reload()
	mended := w.awaitMX(example, false)
	if mended.Trouble() != "" || mended.MXRemedy != "" || !mended.MXChecked.After(bad.MXChecked) {
		t.Errorf("mended: %+v", mended)
	}
	w.event(state.KindMXRecovered, 1)

	// Another policy is another measure.
	w.domains[0].mx = []string{"mx1.mail.test"}
	s.reload()
	w.awaitMX(example, true)
	w.event(state.KindMXFailed, 2)

	// What has left is forgotten.
	w.domains[0] = entry{name: "other.test", mx: []string{"mx1.mail.test"}}
	s.reload()
	if rows, err := s.store.MXChecks(t.Context()); err != nil || len(rows) != 0 {
		t.Errorf("still there: %+v %v", rows, err)
	}
	if d := w.await(example, "a domain that has left", func(d server.DomainStatus) bool { return !d.InConfig }); d.MX != "" || d.MXTrouble {
		t.Errorf("it has left: %+v", d)
	}
}

// The API examines any domain, and goes nowhere but to the public Internet
// unless it is told to.
func TestCheckByTheAPI(t *testing.T) {
	w := newWorld(t, example, "other.test")
	w.domains = w.domains[:1]
	w.domains[0].mx = []string{"mx1.mail.test", "mx2.mail.test"}
	w.domains[0].lines = `mode = "enforce"`
	w.start()
	d := w.confirmed(example)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	report, err := w.client().Check(ctx, example, true)
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.MarshalIndent(report, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	if report.Verdict != state.VerdictEnforce || report.RecordID != d.ID || report.Policy != d.Body {
		t.Errorf("our own domain:\n%s", text)
	}
	if report, err = w.client().Check(ctx, "other.test", true); err != nil || report.Verdict != state.VerdictNone {
		t.Errorf("a domain without: %s %s %v", report.Verdict, report.Summary, err)
	}
	report, err = w.client().Check(ctx, example, false) // whose hosts are all on loopback
	if err != nil || report.Verdict == state.VerdictEnforce || report.Policy != "" {
		t.Errorf("on behalf of strangers: %s %q %v", report.Verdict, report.Policy, err)
	}
	if _, err := w.client().Check(ctx, "192.0.2.1", true); err == nil || !strings.Contains(err.Error(), "192.0.2.1") {
		t.Errorf("no domain: %v", err)
	}
}

func TestHorizon(t *testing.T) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	const day = 24 * time.Hour
	for name, tc := range map[string]struct {
		bodies []state.Body
		want   time.Time
	}{
		"nothing":          {nil, time.Time{}},
		"testing":          {[]state.Body{{Mode: "testing", MaxAge: day}}, time.Time{}},
		"served":           {[]state.Body{{Mode: "enforce", MaxAge: day}}, now.Add(day)},
		"has run out":      {[]state.Body{{Mode: "enforce", MaxAge: day, LastServed: now.Add(-day)}}, time.Time{}},
		"the longest":      {[]state.Body{{Mode: "enforce", MaxAge: day}, {Mode: "enforce", MaxAge: 9 * day, LastServed: now.Add(-day)}}, now.Add(8 * day)},
		"before a testing": {[]state.Body{{Mode: "testing", MaxAge: 9 * day}, {Mode: "enforce", MaxAge: 2 * day, LastServed: now.Add(-day)}}, now.Add(day)},
	} {
		if got := horizon(tc.bodies, now); !got.Equal(tc.want) {
			t.Errorf("%s: %s, want %s", name, got, tc.want)
		}
	}
}
