package server_test

import (
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/server"
)

var gatesNext = time.Date(2026, 1, 3, 0, 0, 0, 0, time.UTC)

// held is a domain that a closed gate holds up and that is well otherwise.
func held() server.DomainStatus {
	return server.DomainStatus{
		Domain: "a.example", Host: "mta-sts.a.example", Step: state.Confirmed, Mode: "testing", InConfig: true, NextRun: rolloutTime,
		Stage: "testing", Goal: "enforce", RolloutNews: "it stays in testing: mx2 fails", RolloutRemedy: "mend mx2", RolloutNext: gatesNext,
	}
}

// hinted is a domain that is well and could be taken further.
func hinted() server.DomainStatus {
	return server.DomainStatus{
		Domain: "a.example", Host: "mta-sts.a.example", Step: state.Confirmed, Mode: "testing", InConfig: true, NextRun: rolloutTime,
		Stage: "testing", Hint: "it could be taken to enforce", RolloutRemedy: "run the rollout",
	}
}

// leaving is a domain that has left the config and is being retired.
func leaving() server.DomainStatus {
	return server.DomainStatus{
		Domain: "a.example", Host: "mta-sts.a.example", Step: state.Confirmed, Mode: "none", NextRun: rolloutTime, Stage: "retiring", Goal: "retire",
	}
}

// What holds a rollout up is trouble, after what is wrong with the domain as it
// stands; a hint is none.
func TestTroubleOfRollouts(t *testing.T) {
	for _, tc := range []struct {
		name          string
		domain        server.DomainStatus
		edit          func(*server.DomainStatus)
		trouble, news string
	}{
		{"held", held(), func(*server.DomainStatus) {}, "it stays in testing: mx2 fails", "it stays in testing: mx2 fails"},
		{"held, and an error", held(), func(d *server.DomainStatus) { d.LastError = "two found" },
			"two found; and of the rollout: it stays in testing: mx2 fails", "two found; and of the rollout: it stays in testing: mx2 fails"},
		{"held, and MX hosts", held(), func(d *server.DomainStatus) { d.MX, d.MXTrouble = "mx2 is bad", true },
			"mx2 is bad; and of the rollout: it stays in testing: mx2 fails", "mx2 is bad; and of the rollout: it stays in testing: mx2 fails"},
		{"held, and both", held(), func(d *server.DomainStatus) {
			d.LastError, d.MX, d.MXTrouble, d.MXSeverity = "two found", "mx2 is bad", true, state.SeverityCritical
		}, "mx2 is bad; and: two found; and of the rollout: it stays in testing: mx2 fails", "mx2 is bad; and: two found; and of the rollout: it stays in testing: mx2 fails"},
		{"held, and a change waits", held(), func(d *server.DomainStatus) { d.ConfigWaits = rolloutTime },
			"it stays in testing: mx2 fails", "a change of the config waits to be taken up; before: it stays in testing: mx2 fails"},
		{"hint", hinted(), func(*server.DomainStatus) {}, "", "it could be taken to enforce"},
		{"hint, and an error", hinted(), func(d *server.DomainStatus) { d.LastError = "two found" }, "two found", "two found"},
		{"hint, and a change waits", hinted(), func(d *server.DomainStatus) { d.ConfigWaits = rolloutTime }, "", "a change of the config waits to be taken up"},
		{"leaving", leaving(), func(*server.DomainStatus) {}, "", "no longer in the config, and being retired; served until no sender can hold an older policy"},
		{"leaving, and an error", leaving(), func(d *server.DomainStatus) { d.LastError, d.MX, d.MXTrouble = "two found", "mx2 is bad", true },
			"two found", "no longer in the config, and being retired; but: two found"},
		{"left and withdrawing", leaving(), func(d *server.DomainStatus) { d.Stage, d.LastError = "withdrawing", "it is still there" },
			"it is still there", "no longer in the config, and being retired; but: it is still there"},
		{"left and retired", leaving(), func(d *server.DomainStatus) { d.Stage, d.LastError = "retired", "two found" }, "", "no longer in the config, and retired"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			tc.edit(&tc.domain)
			same(t, tc.domain.Trouble(), tc.trouble, nil)
			same(t, tc.domain.News(), tc.news, nil)
		})
	}
}

// A closed gate is explained as what blocks the domain if nothing else is wrong,
// and beside that otherwise.
func TestExplainRollout(t *testing.T) {
	e := server.Explain(held())
	if e.Blocking != "it stays in testing: mx2 fails" || e.Remedy != "mend mx2" || !e.NextRun.Equal(gatesNext) || e.Rollout != "" || e.RolloutRemedy != "" {
		t.Errorf("nothing else: %+v", e)
	}
	for name, edit := range map[string]func(*server.DomainStatus){
		"an error":  func(d *server.DomainStatus) { d.LastError, d.Remedy = "two records", "remove one" },
		"MX hosts":  func(d *server.DomainStatus) { d.MX, d.MXTrouble, d.MXRemedy = "mx2 is bad", true, "switch it on" },
		"a change":  func(d *server.DomainStatus) { d.ConfigWaits = rolloutTime },
		"the proof": func(d *server.DomainStatus) { d.Step = state.Serving },
	} {
		d := held()
		edit(&d)
		e := server.Explain(d)
		if e.Blocking == "" || e.Blocking == d.RolloutNews || e.Rollout != d.RolloutNews || e.RolloutRemedy != "mend mx2" || !e.RolloutNext.Equal(gatesNext) {
			t.Errorf("%s: %+v", name, e)
		}
	}
	going := held()
	going.RolloutNews, going.RolloutRemedy = "", ""
	e = server.Explain(going)
	if want := "It is in testing, on the way to enforce, and looked at next at 2026-01-03 00:00:00 UTC"; e.Blocking != "" || !strings.Contains(e.Summary, want) {
		t.Errorf("on its way: %+v", e)
	}
	e = server.Explain(hinted())
	if e.Blocking != "" || e.Hint != "it could be taken to enforce" || e.RolloutRemedy != "run the rollout" || e.Rollout != "" {
		t.Errorf("a hint: %+v", e)
	}
	d := hinted()
	d.LastError = "two records"
	if e := server.Explain(d); e.Hint != "" || e.RolloutRemedy != "" || e.Blocking != "two records" {
		t.Errorf("a hint where something is wrong: %+v", e)
	}
}

func TestExplainLeaving(t *testing.T) {
	for _, tc := range []struct {
		name    string
		edit    func(*server.DomainStatus)
		summary []string // are in it
		hidden  string   // is not
		block   string
	}{
		{"retiring", func(d *server.DomainStatus) { d.InConfig = true }, []string{"on its way out of MTA-STS", "until no sender can hold an earlier one"}, "no longer in the configuration", ""},
		{"left", func(*server.DomainStatus) {}, []string{"a.example is no longer in the configuration. ", "on its way out of MTA-STS"}, "nothing else is looked after", ""},
		{"left, with trouble", func(d *server.DomainStatus) { d.LastError, d.MX, d.MXTrouble = "two records", "mx2 is bad", true },
			[]string{"no longer in the configuration", "gone wrong since"}, "", "two records"},
		{"left, announcing none", func(d *server.DomainStatus) { d.Step = state.Announced }, []string{"no longer in the configuration", "record is pushed"}, "", "authoritative server"},
		{"withdrawing", func(d *server.DomainStatus) { d.Stage = "withdrawing" }, []string{"the record is being taken out of the DNS"}, "nothing else is looked after", ""},
		{"withdrawn", func(d *server.DomainStatus) { d.Stage, d.Step = "withdrawing", state.Withdrawn }, []string{"The record is out of the DNS", "go next"}, "state", ""},
		{"retired", func(d *server.DomainStatus) { d.Stage, d.Step, d.InConfig = "retired", state.Withdrawn, true },
			[]string{"a.example was taken out of MTA-STS", "no record, no policy and no certificate"}, "no longer", ""},
		{"left and retired", func(d *server.DomainStatus) { d.Stage, d.Step, d.LastError = "retired", state.Withdrawn, "two records" },
			[]string{"no longer in the configuration", "no record, no policy and no certificate"}, "goes on being served", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := leaving()
			tc.edit(&d)
			e := server.Explain(d)
			for _, want := range tc.summary {
				if !strings.Contains(e.Summary, want) {
					t.Errorf("%q is missing in %q", want, e.Summary)
				}
			}
			if tc.hidden != "" && strings.Contains(e.Summary, tc.hidden) {
				t.Errorf("%q is in %q", tc.hidden, e.Summary)
			}
			if !strings.Contains(e.Blocking, tc.block) || (tc.block == "") != (e.Blocking == "") || e.MX != "" {
				t.Errorf("blocking %q, MX %q", e.Blocking, e.MX)
			}
		})
	}
}

// The pages show where a domain is on its way, and what holds it up.
func TestPagesShowRollouts(t *testing.T) {
	a, b, c, d := held(), hinted(), leaving(), leaving()
	a.RolloutNews, b.Hint = "mx2 offers <no> TLS", "it could be taken to <enforce>"
	b.Domain, c.Domain, d.Domain = "b.example", "c.example", "d.example"
	d.Stage, d.Step, d.Mode, d.InConfig = "retired", state.Withdrawn, "", true
	addr, _ := startRollouts(t, &backend{domains: []server.DomainStatus{a, b, c, d}})
	for path, wants := range map[string][]string{
		"/": {
			`testing<p class="dim">testing, on the way to enforce</p>`, `<p class="error">mx2 offers &lt;no&gt; TLS</p>`,
			`<span class="badge good">confirmed</span><p class="dim">it could be taken to &lt;enforce&gt;</p>`,
			`none<p class="dim">retiring, on the way out of MTA-STS</p>`, `<span class="badge wait">confirmed</span><p class="dim">no longer in the configuration</p>`,
			`<span class="badge good">withdrawn</span>`, `–<p class="dim">retired</p>`,
			`<strong>1</strong> confirmed`, `<strong>1</strong> on the way`, `<strong>1</strong> need attention`, `<strong>1</strong> retired`,
		},
		"/domains/a.example": {
			`<dd>testing, on the way to enforce<p class="error">mx2 offers &lt;no&gt; TLS</p><p><strong>What to do:</strong> mend mx2</p></dd>`,
			`<dt>Next look at the gates</dt><dd><time datetime="2026-01-03T00:00:00Z">`,
		},
		"/domains/b.example": {`<dd>testing<p>it could be taken to &lt;enforce&gt;</p><p><strong>What to do:</strong> run the rollout</p></dd>`},
		"/domains/c.example": {`<dt>Stage</dt><dd>retiring, on the way out of MTA-STS</dd>`, "on its way out of MTA-STS: its policy says none"},
		"/domains/d.example": {`<dt>Stage</dt><dd>retired</dd>`, "was taken out of MTA-STS"},
	} {
		_, body := do(t, http.DefaultClient, "GET", "http://"+addr+path)
		for _, want := range wants {
			if !strings.Contains(body, want) {
				t.Errorf("%s: %q is missing in:\n%s", path, want, body)
			}
		}
	}
	if _, body := do(t, http.DefaultClient, "GET", "http://"+addr+"/domains/b.example"); strings.Contains(body, "Next look at the gates") {
		t.Error("gates are to be looked at of a domain that goes nowhere")
	}
}
