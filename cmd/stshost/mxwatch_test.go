package main

import (
	"context"
	"database/sql"
	"encoding/json"
	"io"
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
	s.forgetBadLooks()
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
	if !bad.MXNext.After(bad.MXChecked) || bad.MXSeverity != state.SeverityCritical || strings.Count(bad.MXRemedy, "`stshost check "+example+"`") != 1 {
		t.Errorf("when next, how grave, and what to do: %+v", bad)
	}
	if out := w.must("explain", example); !strings.Contains(out, "It is tried again at "+stamp(bad.MXNext)) {
		t.Errorf("when next:\n%s", out)
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

	// In enforce the name of an MX host stays, pinned or not.
	w.domains[0].mx = []string{"mx1.mail.test"}
	s.reload()
	kept := w.await(example, "a name that stays", func(d server.DomainStatus) bool {
		return strings.Contains(d.Hint, "the policy goes on naming mx2.mail.test")
	})
	if !strings.Contains(kept.Body, "mx2.mail.test") {
		t.Errorf("the policy is %q", kept.Body)
	}

	// Another policy is another measure.
	w.domains[0].mx, w.domains[0].lines = []string{"mx1.mail.test"}, `mode = "testing"`
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

// A reload takes over another interval between looks, and none.
func TestReloadOfTheMXInterval(t *testing.T) {
	w := newWorld(t, example)
	w.domains[0].mx = []string{"mx1.mail.test"}
	s := w.start()
	w.sees(w.confirmed(example))
	for _, c := range []struct {
		interval string
		looks    bool
	}{{"6h", true}, {"12h", true}, {"0s", false}} {
		w.mxWatch = c.interval
		w.writeConfig()
		out := w.must("reload")
		if !strings.Contains(out, "mx_interval") || strings.Contains(out, "watch") {
			t.Errorf("%s:\n%s", c.interval, out)
		}
		w.await(example, "MX hosts that are looked at or not", func(d server.DomainStatus) bool { return d.MXChecked.IsZero() != c.looks })
	}
	if rows, err := s.store.MXChecks(t.Context()); err != nil || len(rows) != 0 {
		t.Errorf("nothing is looked at: %+v %v", rows, err)
	}
}

// A crash between what is known of MX hosts and the event of it loses none: the
// next start tells it. A stop in order has nothing told twice.
func TestMXEventsSurviveACrash(t *testing.T) {
	w := newWorld(t, example)
	w.mxWatch = "6h"
	w.domains[0].mx = []string{"mx1.mail.test"} // and there is a second MX host
	s := w.start()
	w.sees(w.confirmed(example))
	w.awaitMX(example, true)
	first := w.event(state.KindMXFailed, 1)
	for _, crash := range []bool{true, false} {
		if err := s.stop(); err != nil {
			t.Fatal(err)
		}
		if crash { // which comes before the event is stored
			db, err := sql.Open("sqlite", w.storePath())
			if err != nil {
				t.Fatal(err)
			}
			if _, err := db.Exec(`DELETE FROM events WHERE kind = ?`, state.KindMXFailed); err != nil {
				t.Fatal(err)
			}
			if err := db.Close(); err != nil {
				t.Fatal(err)
			}
		}
		s = w.start()
		again := w.event(state.KindMXFailed, 1)
		if again.ID == first.ID || again.Text != first.Text {
			t.Errorf("crash %v: %+v, and %+v before", crash, again, first)
		}
	}
	if all, err := w.client().Events(t.Context(), state.EventQuery{Kind: state.KindMXFailed}, 0); err != nil || len(all) != 1 {
		t.Errorf("told twice: %+v %v", all, err)
	}
}

// Where this machine may not connect to port 25, that is seen by whoever looks.
func TestMXHostsOfWhichNothingIsKnown(t *testing.T) {
	all := []server.DomainStatus{
		{Domain: "a.example", InConfig: true, MX: "not known: port 25 is closed", MXUnknown: true},
		{Domain: "b.example", InConfig: true, MX: "1 MX host is covered"},
		{Domain: "c.example", InConfig: true, MX: "mx1 fails", MXUnknown: true, MXTrouble: true},
	}
	for n, want := range map[int]string{3: "1 of 3 domains; `stshost status DOMAIN` says why", 0: ""} {
		var b strings.Builder
		if err := printDomains(&b, all[:n]); err != nil {
			t.Fatal(err)
		}
		if has := strings.Contains(b.String(), "It could not be told at the last look how the MX hosts are"); has != (want != "") || !strings.Contains(b.String(), want) {
			t.Errorf("%s", b.String())
		}
	}
	var b strings.Builder
	if err := printDomain(&b, all[0]); err != nil || !strings.Contains(b.String(), "MX hosts:  not known: port 25 is closed") {
		t.Errorf("%v\n%s", err, b.String())
	}
}

// What a stranger's server or certificate has written obeys no terminal.
func TestStrangersTextIsEscaped(t *testing.T) {
	const evil = "\x1b[2Jmx1 \u202e fails"
	d := server.DomainStatus{
		Domain: "a.example", Step: state.Confirmed, InConfig: true, Mode: "enforce", MX: evil, MXTrouble: true, MXRemedy: evil,
		MXSeverity: state.SeverityCritical, MXNext: time.Date(2026, 1, 2, 9, 0, 0, 0, time.UTC),
	}
	other := d
	other.LastError, other.Remedy = "two records", "remove one"
	for name, print := range map[string]func(io.Writer) error{
		"status":             func(w io.Writer) error { return printDomains(w, []server.DomainStatus{d}) },
		"status DOMAIN":      func(w io.Writer) error { return printDomain(w, d) },
		"explain":            func(w io.Writer) error { return printExplanation(w, server.Explain(d)) },
		"explain, and more":  func(w io.Writer) error { return printExplanation(w, server.Explain(other)) },
		"status, and more":   func(w io.Writer) error { return printDomains(w, []server.DomainStatus{other}) },
		"status of one, too": func(w io.Writer) error { return printDomain(w, other) },
	} {
		var b strings.Builder
		if err := print(&b); err != nil || strings.ContainsAny(b.String(), "\x1b\u202e") || !strings.Contains(b.String(), `\x1b[2Jmx1 \u202e fails`) {
			t.Errorf("%s: %v\n%q", name, err, b.String())
		}
	}
	var b strings.Builder
	if err := printExplanation(&b, server.Explain(other)); err != nil || !strings.Contains(b.String(), "What to do: remove one.\nWhat is wrong with its MX hosts: ") ||
		!strings.Contains(b.String(), "They are looked at again at 2026-01-02 09:00:00 UTC.") {
		t.Errorf("%v\n%s", err, b.String())
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
