package rollout

import (
	"testing"
	"time"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
	"github.com/stshost/stshost/reconcile"
)

const oneDay = 24 * time.Hour

var noon = time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)

// inOrder are facts by which every gate is open.
func inOrder() facts {
	conf := &Domain{
		Wanted: reconcile.Wanted{Domain: "example.com", MX: []string{"mx1.example.com"}, MaxAge: 7 * oneDay},
		MaxAge: 28 * oneDay, Ramp: []time.Duration{oneDay, 7 * oneDay}, Stay: []time.Duration{7 * oneDay, 2 * oneDay, 7 * oneDay}, Reporters: 2,
	}
	return facts{
		now: noon, conf: conf, at: inTesting, to: place{state.StageEnforce, oneDay},
		row:      state.Rollout{Domain: "example.com", Stage: state.StageTesting, Goal: state.GoalEnforce},
		snapshot: reconcile.Snapshot{State: state.Domain{Step: state.Confirmed, BodySHA256: "1"}},
		served:   mtasts.Policy{Mode: mtasts.ModeTesting, MX: conf.Wanted.MX, MaxAge: 7 * oneDay},
		since:    noon.Add(-8 * oneDay),
		seen:     state.MXCheck{Passed: true, Hosts: []string{"mx1.example.com"}, Judged: []string{"mx1.example.com (192.0.2.1:25)"}},
		reports:  &state.ReportSums{Reporters: 2, Successful: 100},
	}
}

func finding(code string, status state.CheckStatus) state.Finding {
	return state.Finding{Code: code, Status: status, Subject: "mx1.example.com (192.0.2.1:25)", Text: "It is so.", Remedy: "mend it"}
}

// elsewhereFound is what a look elsewhere found.
func elsewhereFound(age time.Duration, findings ...state.Finding) *state.Evidence {
	return &state.Evidence{Time: noon.Add(-age), MX: []string{"mx1.example.com"}, Findings: findings}
}

// Each gate, in each of its states: all others are open.
func TestGates(t *testing.T) {
	blind := func(f *facts) {
		f.seen = state.MXCheck{Unknown: true, Summary: "Port 25 is closed here.", Hosts: f.seen.Hosts, Open: f.seen.Hosts}
	}
	for name, c := range map[string]struct {
		change func(f *facts)
		gate   string
		want   state.GateState
	}{
		"all in order":                    {func(*facts) {}, "", state.GateMet},
		"nothing is served":               {func(f *facts) { f.snapshot.State.BodySHA256 = "" }, state.GatePolicy, state.GateUnmet},
		"another max_age is served":       {func(f *facts) { f.served.MaxAge = oneDay }, state.GatePolicy, state.GateUnmet},
		"announced, not confirmed":        {func(f *facts) { f.snapshot.State.Step = state.Announced }, state.GatePolicy, state.GateUnmet},
		"a wish waits":                    {func(f *facts) { f.snapshot.Waits = noon }, state.GatePolicy, state.GateUnmet},
		"trouble at confirmed":            {func(f *facts) { f.snapshot.State.LastError, f.snapshot.State.Attempts = "drift", 1 }, state.GatePolicy, state.GateUnmet},
		"an MX host is not named":         {func(f *facts) { f.seen.Findings = []state.Finding{finding("STS-MX-UNCOVERED", state.CheckFail)} }, state.GateCovered, state.GateUnmet},
		"no MX look-up":                   {func(f *facts) { f.seen.Open = []string{state.MXAnything} }, state.GateCovered, state.GateUnknown},
		"no STARTTLS":                     {func(f *facts) { f.seen.Findings = []state.Finding{finding("STS-MX-NO-STARTTLS", state.CheckFail)} }, state.GateTLS, state.GateUnmet},
		"a certificate expires soon":      {func(f *facts) { f.seen.Findings = []state.Finding{finding(expires, state.CheckWarn)} }, state.GateCertificates, state.GateUnmet},
		"too early":                       {func(f *facts) { f.since = noon.Add(-7*oneDay + time.Second) }, state.GateTime, state.GateUnmet},
		"just in time":                    {func(f *facts) { f.since = noon.Add(-7 * oneDay) }, state.GateTime, state.GateMet},
		"never seen everywhere":           {func(f *facts) { f.since = time.Time{} }, state.GateTime, state.GateUnmet},
		"--now":                           {func(f *facts) { f.since, f.row.Hasty = noon, true }, state.GateTime, state.GateWaived},
		"no reports":                      {func(f *facts) { f.reports = nil }, state.GateReports, state.GateUnmet},
		"too few reports":                 {func(f *facts) { f.reports.Reporters = 1 }, state.GateReports, state.GateUnmet},
		"no reports, which was accepted":  {func(f *facts) { f.reports, f.row.NoReports = nil, true }, state.GateReports, state.GateWaived},
		"no reports wanted":               {func(f *facts) { f.reports, f.conf.Reporters = nil, 0 }, state.GateReports, state.GateMet},
		"a failure, whatever is accepted": {func(f *facts) { f.reports.Failed, f.row.NoReports = 1, true }, state.GateReports, state.GateUnmet},
		"blind here, reports are enough":  {blind, state.GateTLS, state.GateMet},
		"blind here, and no reports":      {func(f *facts) { blind(f); f.reports, f.row.NoReports = nil, true }, state.GateTLS, state.GateUnknown},
		"an address nobody saw, beside a failure": {func(f *facts) {
			f.seen.Judged, f.seen.Findings, f.reports, f.row.NoReports = nil, []state.Finding{finding("STS-MX-UNCOVERED", state.CheckFail)}, nil, true
		}, state.GateTLS, state.GateUnknown},
		"seen elsewhere": {func(f *facts) {
			blind(f)
			f.reports, f.row.NoReports, f.row.Evidence = nil, true, elsewhereFound(time.Hour, finding("STS-MX-OK", state.CheckPass))
		}, state.GateTLS, state.GateMet},
		"seen elsewhere two days ago": {func(f *facts) {
			blind(f)
			f.reports, f.row.NoReports, f.row.Evidence = nil, true, elsewhereFound(2*oneDay, finding("STS-MX-OK", state.CheckPass))
		}, state.GateTLS, state.GateUnknown},
		"fails elsewhere": {func(f *facts) {
			f.row.Evidence = elsewhereFound(time.Hour, finding("STS-MX-NO-STARTTLS", state.CheckFail))
		}, state.GateTLS, state.GateUnmet},
		"waived": {func(f *facts) {
			f.seen.Findings = []state.Finding{finding("STS-MX-NO-STARTTLS", state.CheckFail)}
			f.row.Waivers = []state.Waiver{{Gate: state.GateTLS, Reason: "it is a test"}}
		}, state.GateTLS, state.GateWaived},
	} {
		t.Run(name, func(t *testing.T) {
			f := inOrder()
			c.change(&f)
			for _, g := range judge(f) {
				if g.Name == c.gate && g.State != c.want {
					t.Errorf("%s is %s (%s), want %s", g.Name, g.State, g.Value, c.want)
				}
				if c.gate == "" && g.State != state.GateMet {
					t.Errorf("%s is %s: %s", g.Name, g.State, g.Value)
				}
				if !g.Open() && !g.Awaited && g.Remedy == "" && g.Name != state.GatePolicy {
					t.Errorf("%s is %s, and no remedy", g.Name, g.State)
				}
			}
		})
	}
}

// A policy that nobody serves cannot be waived.
func TestNothingServedIsNotWaived(t *testing.T) {
	f := inOrder()
	f.served, f.snapshot = mtasts.Policy{}, reconcile.Snapshot{}
	f.row.Waivers = []state.Waiver{{Gate: state.GatePolicy, Reason: "why not"}}
	if g := judge(f)[0]; g.State != state.GateUnmet {
		t.Errorf("%+v", g)
	}
}
