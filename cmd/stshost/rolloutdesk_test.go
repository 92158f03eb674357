package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
	"github.com/stshost/stshost/server"
)

// desk is a server.Rollouts for tests, whose domains do what the test says. It is
// the Backend, too, of the server in front of it.
type desk struct {
	server.Backend // answers nothing else

	mu      sync.Mutex
	domains map[string]state.RolloutStatus
	refused map[string]*state.RefusedError
	asked   []string // what was asked for with what

	now, most int // starts under way, and the most at a time

	// onAsk, if it is there, is called with each question before it is answered.
	onAsk func(ctx context.Context, what, domain string) error

	horizon state.Horizon
	change  state.MXChange
	status  server.DomainStatus
	reload  server.ReloadResult
}

var deskTime = time.Date(2026, 2, 14, 12, 0, 0, 0, time.UTC)

func (d *desk) ask(ctx context.Context, what, domain string, args ...any) (state.RolloutStatus, error) {
	d.mu.Lock()
	d.asked = append(d.asked, strings.TrimSpace(what+" "+domain+" "+strings.TrimSpace(fmt.Sprintln(args...))))
	onAsk := d.onAsk
	d.mu.Unlock()
	if onAsk != nil {
		if err := onAsk(ctx, what, domain); err != nil {
			return state.RolloutStatus{}, err
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	s, ok := d.domains[domain]
	switch {
	case !ok:
		return s, fmt.Errorf("the domain %s: %w", domain, state.ErrNotFound)
	case s.Pinned != "" && !slices.Contains([]string{"Rollout", "Horizon"}, what):
		return s, &state.PinnedError{Domain: domain, Mode: mtasts.ModeTesting, Source: s.Pinned}
	}
	return s, nil
}

// questions are those that were asked of that kind.
func (d *desk) questions(what string) (all []string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, q := range d.asked {
		if strings.HasPrefix(q, what+" ") {
			all = append(all, strings.TrimPrefix(q, what+" "))
		}
	}
	return all
}

func (d *desk) set(all ...state.RolloutStatus) {
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range all {
		d.domains[s.Domain] = s
	}
}

func (d *desk) Rollout(ctx context.Context, domain string) (state.RolloutStatus, error) {
	return d.ask(ctx, "Rollout", domain)
}

func (d *desk) Rollouts(ctx context.Context) (all []state.RolloutStatus, err error) {
	if d.onAsk != nil {
		if err := d.onAsk(ctx, "Rollouts", ""); err != nil {
			return nil, err
		}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	for _, s := range d.domains {
		s.Gates, s.Steps = nil, nil
		all = append(all, s)
	}
	slices.SortFunc(all, func(a, b state.RolloutStatus) int { return strings.Compare(a.Domain, b.Domain) })
	return all, nil
}

func (d *desk) order(ctx context.Context, what, domain string, o state.RolloutOrder) (state.RolloutStatus, error) {
	d.mu.Lock()
	d.now++
	d.most = max(d.most, d.now)
	d.mu.Unlock()
	defer func() {
		d.mu.Lock()
		d.now--
		d.mu.Unlock()
	}()
	text, err := json.Marshal(o)
	if err != nil {
		return state.RolloutStatus{}, err
	}
	s, err := d.ask(ctx, what, domain, string(text))
	if err != nil {
		return s, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if e := d.refused[domain]; e != nil {
		if what == "PlanRollout" {
			return e.Status, nil
		}
		return s, e
	}
	s.Goal = state.GoalEnforce
	if what == "StartRollout" && !arrived(s) {
		d.domains[domain] = s
	}
	return s, nil
}

func (d *desk) StartRollout(ctx context.Context, domain string, o state.RolloutOrder) (state.RolloutStatus, error) {
	return d.order(ctx, "StartRollout", domain, o)
}

func (d *desk) PlanRollout(ctx context.Context, domain string, o state.RolloutOrder) (state.RolloutStatus, error) {
	return d.order(ctx, "PlanRollout", domain, o)
}

func (d *desk) PauseRollout(ctx context.Context, domain string) (state.RolloutStatus, error) {
	s, err := d.ask(ctx, "PauseRollout", domain)
	s.Paused, s.Awaits, s.Remedy = true, "the rollout is paused", "`stshost rollout resume "+domain+"` has it go on"
	return s, err
}

func (d *desk) ResumeRollout(ctx context.Context, domain string) (state.RolloutStatus, error) {
	return d.ask(ctx, "ResumeRollout", domain)
}

func (d *desk) Rollback(ctx context.Context, domain string) (state.RolloutStatus, error) {
	return d.ask(ctx, "Rollback", domain)
}

func (d *desk) Retire(ctx context.Context, domain string) (state.RolloutStatus, error) {
	return d.ask(ctx, "Retire", domain)
}

func (d *desk) Horizon(ctx context.Context, domain, mx string) (state.Horizon, error) {
	_, err := d.ask(ctx, "Horizon", domain, mx)
	return d.horizon, err
}

func (d *desk) AcceptMX(ctx context.Context, domain string, hosts ...string) (state.MXChange, error) {
	_, err := d.ask(ctx, strings.Join(append([]string{"AcceptMX"}, hosts...), " "), domain)
	return d.change, err
}

func (d *desk) Domain(ctx context.Context, name string) (server.DomainStatus, error) {
	_, err := d.ask(ctx, "Domain", name)
	return d.status, err
}

func (d *desk) Reload(ctx context.Context, o server.ReloadOrder) (server.ReloadResult, error) {
	text, err := json.Marshal(o)
	if err != nil {
		return d.reload, err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.asked = append(d.asked, "Reload "+string(text))
	return d.reload, nil
}

// newDesk is a desk with these domains.
func newDesk(all ...state.RolloutStatus) *desk {
	d := &desk{domains: map[string]state.RolloutStatus{}, refused: map[string]*state.RefusedError{}}
	d.set(all...)
	return d
}

// behind puts d behind the admin listener of a real server, whose config is at the
// path that it returns.
func (d *desk) behind(t *testing.T) (config string) {
	t.Helper()
	// Not t.TempDir: a unix socket's path has 107 bytes at most.
	dir, err := os.MkdirTemp("", "stshost")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	s, err := server.New(server.Config{Policies: server.NewPolicies(), Backend: d, Rollouts: d, Now: func() time.Time { return deskTime }})
	if err != nil {
		t.Fatal(err)
	}
	ln, err := net.Listen("unix", filepath.Join(dir, "admin.sock"))
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- s.ServeAdmin(ctx, ln) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Errorf("the server ended with %v", err)
		}
	})
	config = filepath.Join(dir, "config.toml")
	writeFile(t, config, "[listen]\nadmin = \"unix:admin.sock\"\n")
	return config
}

// run runs a command line that asks the desk.
func (d *desk) run(t *testing.T, ctx context.Context, stdin string, args ...string) outcome {
	t.Helper()
	root := newRoot(nil)
	root.SetIn(strings.NewReader(stdin))
	var out, errs strings.Builder
	code := execute(ctx, root, append(args, "--config", d.behind(t)), &out, &errs)
	return outcome{code, out.String(), errs.String()}
}

// said is a shorter run.
func (d *desk) said(t *testing.T, args string) outcome {
	t.Helper()
	return d.run(t, t.Context(), "", strings.Fields(args)...)
}

// wants wants an exit code, and texts in the output or on stderr.
func (o outcome) wants(t *testing.T, what string, code int, out, errs string) {
	t.Helper()
	if o.code != code || !strings.Contains(o.out, out) || !strings.Contains(o.errs, errs) || errs == "" && o.errs != "" {
		t.Errorf("%s: exit code %d, want %d; stdout\n%s\nwants %q; stderr\n%s\nwants %q", what, o.code, code, o.out, out, o.errs, errs)
	}
}

// openGates are all gates, open.
func openGates() []state.Gate {
	return []state.Gate{
		{Name: state.GatePolicy, State: state.GateMet, Value: "confirmed since 2026-02-01 12:00 UTC", Wanted: "confirmed on every authoritative server"},
		{Name: state.GateCovered, State: state.GateMet, Value: "mx1.example.org, mx2.example.org", Wanted: "every MX host is named by the policy"},
		{Name: state.GateTLS, State: state.GateMet, Value: "4 addresses verified", Wanted: "verified TLS at every address of every MX host"},
		{Name: state.GateCertificates, State: state.GateMet, Value: "none expires before that", Wanted: "every MX certificate is valid for 14 days more"},
		{Name: state.GateTime, State: state.GateMet, Value: "13 days", Wanted: "7 days in this stage"},
		{Name: state.GateReports, State: state.GateWaived, Value: "no reports: resting on probes only, which was accepted", Wanted: "success from 2 organizations, no failure unexplained"},
	}
}

// waiting is a domain on its way that waits for the gate of time.
func waiting(domain string) state.RolloutStatus {
	gates := openGates()
	gates[4] = state.Gate{Name: state.GateTime, State: state.GateUnmet, Value: "3 days", Wanted: "7 days in this stage", Awaited: true, At: deskTime.AddDate(0, 0, 4)}
	return state.RolloutStatus{
		Domain: domain, Stage: state.StageTesting, Goal: state.GoalEnforce, Mode: "testing", MaxAge: 604800, Profile: "office",
		Entered: deskTime.AddDate(0, 0, -3), Confirmed: deskTime.AddDate(0, 0, -3), Gates: gates, Checked: deskTime,
		Awaits: "the gate time is unmet: 3 days (wanted: 7 days in this stage)", Next: deskTime.AddDate(0, 0, 4), Steps: stepsFrom(deskTime.AddDate(0, 0, -3)),
	}
}

func stepsFrom(since time.Time) []state.RolloutStep {
	return []state.RolloutStep{
		{Stage: state.StageTesting, Mode: "testing", MaxAge: 604800, Since: since},
		{Stage: state.StageEnforce, Mode: "enforce", MaxAge: 86400, From: since.AddDate(0, 0, 7)},
		{Stage: state.StageEnforce, Mode: "enforce", MaxAge: 604800, From: since.AddDate(0, 0, 9)},
		{Stage: state.StageEnforce, Mode: "enforce", MaxAge: 2419200, From: since.AddDate(0, 0, 16)},
	}
}

// inTesting is a domain that goes nowhere.
func inTesting(domain string) state.RolloutStatus {
	s := waiting(domain)
	s.Goal, s.Gates, s.Checked, s.Awaits, s.Next, s.Steps = "", nil, time.Time{}, "", time.Time{}, stepsFrom(s.Confirmed)
	return s
}

// there is a domain that has arrived.
func there(domain string) state.RolloutStatus {
	return state.RolloutStatus{Domain: domain, Stage: state.StageEnforce, Mode: "enforce", MaxAge: 2419200, Full: true, Profile: "shop",
		Entered: deskTime.AddDate(0, -1, 0), Confirmed: deskTime.AddDate(0, -1, 0)}
}

// badTLS is a closed gate that somebody has to open.
var badTLS = state.Gate{
	Name: state.GateTLS, State: state.GateUnmet, Value: "mx2.example.org [192.0.2.2]: It does not offer STARTTLS", Wanted: "verified TLS at every address of every MX host",
	Remedy: "switch STARTTLS on at mx2.example.org",
}

// held is a domain on its way that such a gate holds up.
func held(domain string) state.RolloutStatus {
	s := waiting(domain)
	s.Gates[2] = badTLS
	s.Refused, s.Remedy = true, badTLS.Remedy
	s.Awaits = "the gate mx-tls is unmet: " + badTLS.Value + " (wanted: " + badTLS.Wanted + ")"
	return s
}

// refuses has the rollout of a domain refused.
func (d *desk) refuses(domain string) {
	d.refused[domain] = &state.RefusedError{Status: held(domain), Gate: badTLS}
}
