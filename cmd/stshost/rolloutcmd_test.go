package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/stshost/stshost/internal/state"
)

func TestRolloutUsageErrors(t *testing.T) {
	dir := t.TempDir()
	bad, two, none := filepath.Join(dir, "bad"), filepath.Join(dir, "two"), filepath.Join(dir, "none")
	writeFile(t, bad, "enforce")
	writeFile(t, two, `{"domain":"a.example","findings":[]}{"domain":"b.example","findings":[]}`)
	writeFile(t, none, `{"domains":[]}`)
	d := newDesk(inTesting("a.example"))
	for args, want := range map[string]string{
		"rollout":                                   "stshost rollout needs DOMAIN, --all or --profile NAME",
		"rollout --profile=":                        "stshost rollout needs DOMAIN, --all or --profile NAME",
		"rollout a.example --all":                   "not two of them",
		"rollout --all --profile office":            "not two of them",
		"rollout a.example --profile office":        "not two of them",
		"rollout 192.0.2.1":                         "it is an IP address",
		"rollout puase a.example":                   `"puase" is no domain; the subcommands of rollout are pause and resume`,
		"rollout a.example --batch 3":               "--batch goes with --all or --profile",
		"rollout --all --batch 0":                   "--batch 0 starts nothing",
		"rollout --all --batch x":                   `--batch wants a number, and got "x"`,
		"rollout a.example --force mx-tls":          "--force needs --reason",
		"rollout a.example --reason x":              "--reason goes with --force",
		"rollout a.example --force mx --reason x":   `--force "mx" is no gate; the gates are policy, mx-covered, mx-tls, mx-certificates, time, reports`,
		"rollout --all --evidence -":                "--evidence is about one domain",
		"rollout a.example b.example --evidence -":  "--evidence is about one domain",
		"rollout a.example --evidence " + bad:       bad + " is not what `stshost check DOMAIN --json` prints",
		"rollout a.example --evidence " + none:      none + " is not what `stshost check DOMAIN --json` prints",
		"rollout a.example --evidence " + two:       two + " has more in it than what",
		"rollout a.example --evidence " + dir + "/": "the evidence cannot be read",
		"rollout a.example --evidence -":            "standard input is not what",
		"rollout a.example --hurry":                 "unknown flag",
		"rollout pause":                             "stshost rollout pause needs DOMAIN, --all or --profile NAME",
		"rollout pause a.example 192.0.2.1":         "it is an IP address",
		"rollout resume a.example --all":            "not two of them",
		"rollout resume --all --batch 3":            "unknown flag",
		"rollback":                                  "stshost rollback needs DOMAIN, --all or --profile NAME",
		"rollback --all":                            "--all and --profile ask before they take domains back, and there is no terminal to ask at; --yes has it done unasked",
		"rollback --profile office":                 "--yes has it done unasked",
		"rollback a.example --profile office":       "not two of them",
		"rollback 192.0.2.1":                        "it is an IP address",
		"retire":                                    "stshost retire needs DOMAIN",
		"horizon a.example --mx 192.0.2.1":          "it is an IP address",
		"horizon":                                   "stshost horizon needs DOMAIN",
		"mx accept":                                 "stshost mx accept needs DOMAIN",
		"mx agree a.example":                        `unknown command "agree"`,
		"reload --abandon 192.0.2.1":                "it is an IP address",
	} {
		got := d.said(t, args)
		if got.code != 2 || got.out != "" || !strings.Contains(got.errs, want) {
			t.Errorf("%s: exit code %d, stdout %q, stderr %q; want 2, and %q", args, got.code, got.out, got.errs, want)
		}
	}
	if len(d.asked) > 0 {
		t.Errorf("the server was asked: %s", d.asked)
	}
}

func TestCommandsThatNeedAServerSaySo(t *testing.T) {
	dir := t.TempDir()
	config := filepath.Join(dir, "config.toml")
	writeFile(t, config, "[listen]\nadmin = \"unix:admin.sock\"\n[store]\nurl = \"sqlite:"+dir+"/stshost.db\"\n[acme]\naccept_terms = true\n[[domain]]\nname = \"a.example\"\nmx = [\"mx1.a.example\"]\n")
	for _, args := range []string{
		"rollout a.example", "rollout a.example --plan", "rollout --all", "rollout pause a.example", "rollout pause --all", "rollout resume a.example", "rollback a.example", "rollback --all --yes",
		"retire a.example", "horizon a.example", "mx accept a.example", "reload",
	} {
		var out, errs strings.Builder
		code := run(t.Context(), append(strings.Fields(args), "--config", config), &out, &errs)
		want := "stshost: no server is running at unix:" + dir + "/admin.sock; start it with 'stshost serve --config " + config + "'\n"
		if code != 1 || out.Len() > 0 || errs.String() != want {
			t.Errorf("%s: exit code %d, stdout %q, stderr %q", args, code, out.String(), errs.String())
		}
	}
}

// The order arrives as it was given, and the name in the form that the server
// knows.
func TestRolloutOrder(t *testing.T) {
	report := state.Report{Domain: "a.example", Verdict: state.VerdictTest, Time: deskTime, MX: []string{"mx1.a.example"}, Findings: []state.Finding{
		{Code: "STS-MX-TLS", Status: state.CheckPass, Subject: "mx1.a.example", Text: "fine", Section: "RFC 8461 §4.2"},
	}}
	text, err := json.MarshalIndent(report, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "evidence.json")
	writeFile(t, file, string(text))
	waivers := []state.Waiver{{Gate: state.GateReports, Reason: "few mails", Time: deskTime}, {Gate: state.GateTime, Reason: "few mails", Time: deskTime}}
	for _, tt := range []struct {
		args  []string
		stdin string
		want  state.RolloutOrder
	}{
		{[]string{}, "", state.RolloutOrder{}},
		{[]string{"--now", "--accept-no-reports"}, "", state.RolloutOrder{Now: true, AcceptNoReports: true}},
		{[]string{"--force", "time", "--force", "reports", "--force=time", "--reason", " few mails "}, "", state.RolloutOrder{Waive: waivers}},
		{[]string{"--evidence", file}, "", state.RolloutOrder{Evidence: &report}},
		{[]string{"--evidence", "-"}, string(text) + "\n", state.RolloutOrder{Evidence: &report}},
	} {
		for verb, flag := range map[string]string{"StartRollout": "--detach", "PlanRollout": "--plan"} {
			d := newDesk(inTesting("a.example"))
			got := d.run(t, t.Context(), tt.stdin, append([]string{"rollout", "mta-sts.A.Example.", flag}, tt.args...)...)
			order, err := json.Marshal(tt.want)
			if err != nil {
				t.Fatal(err)
			}
			asked := d.questions(verb)
			if got.code != 0 || len(asked) != 1 || asked[0] != "a.example "+string(order) {
				t.Errorf("%s %q: exit code %d, stderr %q; asked\n%q\nwant\n%s", flag, tt.args, got.code, got.errs, asked, order)
			}
		}
	}
}

func TestRolloutOfOneDomain(t *testing.T) {
	d := newDesk(inTesting("a.example"), there("done.example"), held("held.example"))
	d.refuses("no.example")
	d.set(inTesting("no.example"), state.RolloutStatus{Domain: "pin.example", Mode: "enforce", Pinned: "config.toml:7"})
	d.onAsk = func(_ context.Context, _, domain string) error {
		if domain == "retired.example" {
			return &state.StageError{Text: "retired.example has left MTA-STS; `stshost rollback retired.example` takes it back to testing"}
		}
		return nil
	}
	for _, tt := range []struct {
		args      string
		code      int
		out, errs string
	}{
		{"rollout a.example --detach", 0, "a.example: testing, confirmed everywhere since 2026-02-11 12:00:00 UTC, on the way to enforce with a max_age of 4w\n", ""},
		{"rollout a.example --detach", 0, "The server goes on with a.example by itself; `stshost status a.example` shows how far it is", ""},
		{"rollout done.example", 0, "done.example: enforce with a max_age of 4w, confirmed everywhere since 2026-01-14 12:00:00 UTC; there is nothing left to do\n", ""},
		{"rollout no.example", 1, "mx-tls           unmet   mx2.example.org", "refused: no.example stays in testing: the gate mx-tls is unmet (mx2.example.org [192.0.2.2]: It does not offer STARTTLS; wanted: verified TLS at every address of every MX host); what to do: switch STARTTLS on at mx2.example.org\n"},
		{"rollout no.example --detach --json", 1, `"refused": true`, "refused: no.example stays in testing"},
		{"rollout no.example --plan", 0, "It would be refused: the gate mx-tls is unmet", ""},
		{"rollout a.example --plan", 0, "a.example: what a rollout would do as things stand; nothing was changed\n", ""},
		{"rollout done.example --plan", 0, "there is nothing left to do\n", ""},
		{"rollout pin.example", 1, "", "stshost: the mode of pin.example is pinned at config.toml:7 (mode = \"testing\"); remove that line and reload"},
		{"rollout pin.example --plan", 1, "", "is pinned at config.toml:7"},
		{"rollout retired.example", 1, "", "stshost: retired.example has left MTA-STS; `stshost rollback retired.example` takes it back to testing\n"},
		{"rollout x.example", 1, "", "the server does not know this domain"},
		{"rollout held.example", 1, "", "held up: held.example stays in testing: the gate mx-tls is unmet: mx2.example.org [192.0.2.2]: It does not offer STARTTLS (wanted: verified TLS at every address of every MX host); what to do: switch STARTTLS on at mx2.example.org\n"},
		{"rollout pause a.example", 0, "a.example: testing, confirmed everywhere since 2026-02-11 12:00:00 UTC, on the way to enforce with a max_age of 4w, paused; the rollout is paused", ""},
		{"rollout resume a.example", 0, "a.example: testing, ", ""},
		{"rollout pause a.example --json", 0, `"paused": true`, ""},
		{"rollout pause pin.example", 1, "", "is pinned at config.toml:7"},
	} {
		d.said(t, tt.args).wants(t, tt.args, tt.code, tt.out, tt.errs)
	}
	if got := d.questions("PlanRollout"); len(got) != 4 {
		t.Errorf("plans: %q", got)
	}
	if d.domains["no.example"].Goal != "" {
		t.Error("a plan started a rollout")
	}
}

func TestRolloutJSONOfOneDomain(t *testing.T) {
	d := newDesk(waiting("a.example"))
	got := d.said(t, "rollout a.example --detach --json")
	var s state.RolloutStatus
	if err := json.Unmarshal([]byte(got.out), &s); err != nil || got.code != 0 || rolloutKey(s) != rolloutKey(waiting("a.example")) || !strings.Contains(got.out, "\n  \"domain\"") {
		t.Errorf("exit code %d, %v: %s", got.code, err, got.out)
	}
	// Followed, it is a line for each change.
	d.onAsk = func(_ context.Context, what, domain string) error {
		if what == "Rollout" && len(d.questions("Rollout")) == 2 {
			d.set(there(domain))
		}
		return nil
	}
	got = d.said(t, "rollout a.example --json")
	lines := strings.SplitAfter(got.out, "\n")
	var first, last state.RolloutStatus
	if got.code != 0 || got.errs != "" || len(lines) != 3 || errors.Join(json.Unmarshal([]byte(lines[0]), &first), json.Unmarshal([]byte(lines[1]), &last)) != nil || arrived(first) || !arrived(last) {
		t.Errorf("exit code %d, stderr %q, stdout %s", got.code, got.errs, got.out)
	}
}

// Whoever stops watching is told that it goes on, and that is no failure; whoever
// stops before there is an answer is told how to see what has become of it.
func TestRolloutInterrupted(t *testing.T) {
	for _, tt := range []struct {
		args, at  string
		code      int
		out, errs string
	}{
		{"rollout a.example", "Rollout", 0, "", "The server goes on with a.example by itself; `stshost status a.example` shows how far it is, and `stshost rollout a.example` follows it.\n"},
		{"rollout a.example --json", "Rollout", 0, "", "The server goes on with a.example by itself"},
		{"rollout a.example", "StartRollout", 1, "", "interrupted before the server had answered; `stshost status a.example` says whether the rollout was started"},
		{"rollout a.example --plan", "PlanRollout", 1, "", "interrupted before the server had answered\n"},
		{"rollout --all --plan", "PlanRollout", 1, "1 domain: 1 not started yet; nothing was changed\n", "interrupted before every domain was asked for"},
		{"rollout --all", "StartRollout", 1, "1 domain: 1 not started yet\n", "interrupted before every domain was asked for; run it again for those that are left"},
		{"rollback a.example", "Rollout", 0, "", "The server goes on by itself; `stshost status a.example` shows how far it is.\n"},
		{"retire a.example --follow", "Rollout", 0, "", "The server goes on by itself"},
	} {
		d := newDesk(inTesting("a.example"))
		ctx, stop := context.WithCancel(t.Context())
		d.onAsk = func(ctx context.Context, what, _ string) error {
			if what != tt.at {
				return nil
			}
			stop()
			<-ctx.Done() // the server gives up what nobody waits for
			return ctx.Err()
		}
		d.run(t, ctx, "", strings.Fields(tt.args)...).wants(t, tt.args, tt.code, tt.out, tt.errs)
		stop()
	}
}

// Ctrl-C ends the command and not the rollout.
func TestRolloutEndsOnASignal(t *testing.T) {
	d := newDesk(inTesting("a.example"))
	cmd := exec.Command("stshost", "rollout", "a.example", "--config", d.behind(t))
	var errs strings.Builder
	cmd.Stderr = &errs
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(out).ReadString('\n')
	if err := errors.Join(err, cmd.Process.Signal(os.Interrupt)); err != nil || !strings.Contains(line, "  a.example: testing, ") {
		t.Errorf("%v; the first line is %q", err, line)
	}
	if err := cmd.Wait(); err != nil || errs.String() != goesOn("a.example")+"\n" {
		t.Errorf("ended with %v, stderr %q", err, errs.String())
	}
	if d.domains["a.example"].Goal != state.GoalEnforce {
		t.Error("the rollout does not go on")
	}
}

func TestRollbackCommand(t *testing.T) {
	d := newDesk(inTesting("a.example"), state.RolloutStatus{Domain: "pin.example", Pinned: "config.toml:7"})
	d.status.Domain, d.status.Step, d.status.Mode, d.status.ID, d.status.InConfig = "a.example", state.Confirmed, "testing", "20260214T120000Z0123456789abcdef", true
	d.said(t, "rollback a.example --detach").wants(t, "detached", 0, "a.example: testing, confirmed everywhere since", "")
	d.said(t, "rollback a.example --detach --json").wants(t, "as JSON", 0, `"stage": "testing"`, "")
	d.said(t, "rollback a.example").wants(t, "followed", 0, "a.example: testing, confirmed everywhere; senders deliver again whatever the MX hosts offer, as soon as they see the id 20260214T120000Z0123456789abcdef\n", "")
	d.said(t, "rollback a.example --json").wants(t, "followed as JSON", 0, `{"domain":"a.example","stage":"testing"`, "")
	d.said(t, "rollback pin.example").wants(t, "pinned", 1, "", "is pinned at config.toml:7")
	d.said(t, "rollback x.example").wants(t, "unknown", 1, "", "the server does not know this domain")
}

func TestRetireCommand(t *testing.T) {
	retiring := state.RolloutStatus{Domain: "a.example", Stage: state.StageRetiring, Goal: state.GoalRetire, Until: deskTime.AddDate(0, 0, 28)}
	retired := state.RolloutStatus{Domain: "b.example", Stage: state.StageRetired, Remedy: "remove its [[domain]] from the config"}
	d := newDesk(retiring, retired, state.RolloutStatus{Domain: "pin.example", Pinned: "config.toml:7"})
	d.said(t, "retire a.example").wants(t, "retire", 0, "Until 2026-03-14 12:00:00 UTC senders may hold an earlier policy", "")
	d.said(t, "retire a.example --json").wants(t, "as JSON", 0, `"until": "2026-03-14T12:00:00Z"`, "")
	for _, flag := range []string{"", " --follow"} {
		d.said(t, "retire b.example"+flag).wants(t, "is out"+flag, 0, "b.example has left MTA-STS", "")
	}
	d.said(t, "retire pin.example").wants(t, "pinned", 1, "", "is pinned at config.toml:7")
	// Followed, a domain that is in the config stays known, and one that left does not.
	retiring.Left, retiring.Domain = true, "left.example"
	d.set(retiring)
	d.onAsk = func(_ context.Context, what, domain string) error {
		if what == "Rollout" {
			d.mu.Lock()
			delete(d.domains, domain)
			d.mu.Unlock()
		}
		return nil
	}
	d.said(t, "retire left.example --follow").wants(t, "that left", 0, "left.example has left MTA-STS", "")
	d.said(t, "retire a.example --follow").wants(t, "that was forgotten", 1, "", "the server does not know this domain")
}

func TestHorizonCommand(t *testing.T) {
	d := newDesk(inTesting("a.example"))
	for _, tt := range []struct {
		h    state.Horizon
		code int
	}{
		{state.Horizon{Text: "it can go now"}, 0},
		{state.Horizon{Text: "not yet", Until: deskTime}, 1},
		{state.Horizon{Text: "no end", Open: true, Until: deskTime, Remedy: "retire it"}, 1},
		{state.Horizon{Text: "the only one", Open: true, Remedy: "add another"}, 1},
	} {
		d.horizon = tt.h
		want := sentence(tt.h.Text) + "\n"
		if tt.h.Remedy != "" {
			want += "What to do: " + tt.h.Remedy + ".\n"
		}
		if got := d.said(t, "horizon a.example"); got != (outcome{tt.code, want, ""}) {
			t.Errorf("%+v: %+v", tt.h, got)
		}
		got := d.said(t, "horizon a.example --mx MX1.Example.Org. --json")
		var h state.Horizon
		if err := json.Unmarshal([]byte(got.out), &h); err != nil || got.code != tt.code || h.Text != tt.h.Text {
			t.Errorf("%+v as JSON: %v, %+v", tt.h, err, got)
		}
	}
	if got := d.questions("Horizon"); got[0] != "a.example" || got[1] != "a.example mx1.example.org" {
		t.Errorf("asked for %q", got[:2])
	}
}

func TestMXCommand(t *testing.T) {
	d := newDesk(inTesting("a.example"), state.RolloutStatus{Domain: "pin.example", Pinned: "config.toml:7"})
	d.change = state.MXChange{Domain: "a.example", Accepted: []string{"mx2.a.example"}, Text: "the policy names mx2.a.example\x1b[2J from now on"}
	d.said(t, "mx accept a.example").wants(t, "accept", 0, `a.example: the policy names mx2.a.example\x1b[2J from now on.`+"\n", "")
	d.said(t, "mx accept a.example --json").wants(t, "as JSON", 0, `"accepted": [`, "")
	d.said(t, "mx accept pin.example").wants(t, "pinned", 1, "", "is pinned at config.toml:7")
	d.said(t, "mx").wants(t, "help", 0, "stshost mx [command]", "")
}

func TestReloadAbandons(t *testing.T) {
	d := newDesk()
	d.reload.Removed = []string{"a.example", "b.example", "c.example"}
	d.reload.Retiring, d.reload.Abandoned = []string{"b.example"}, []string{"a.example"}
	d.said(t, "reload --abandon A.Example.").wants(t, "reload", 0, `no longer in the config, and being retired (record, policy and certificate go when no sender can hold an earlier policy; put it back into the config to undo): b.example
no longer in the config, and forgotten (no sender can hold a policy of it): c.example
abandoned (no longer served; its record is yours to remove from the DNS, and senders that hold its policy go by it until that runs out): a.example
`, "")
	d.said(t, "reload --abandon a.example --abandon z.example --abandon-all").wants(t, "of an unknown domain", 1, "b.example", "not abandoned, as the server does not serve it: z.example\n")
	d.said(t, "reload --json").wants(t, "as JSON", 0, `"abandoned": [`, "")
	if want := []string{`{"abandon":["a.example"]}`, `{"abandon":["a.example","z.example"],"abandon_all":true}`, `{}`}; !slices.Equal(d.questions("Reload"), want) {
		t.Errorf("asked for %q, want %q", d.questions("Reload"), want)
	}
}

func TestRolloutCompletion(t *testing.T) {
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"rollout", "a.example", "--force", ""}, strings.Join(state.Gates(), "\n") + "\n:4\n"},
		{[]string{"rollout", "pause", ""}, ":4\n"},
		{[]string{"rollout", "resume", "a.example", ""}, ":4\n"},
		{[]string{"rollback", "a.example", ""}, ":4\n"},
		{[]string{"retire", ""}, ":4\n"},
	} {
		var out, errs strings.Builder
		if code := run(t.Context(), append([]string{"__complete"}, tt.args...), &out, &errs); code != 0 || out.String() != tt.want {
			t.Errorf("%q gives %q (exit code %d), want %q", tt.args, out.String(), code, tt.want)
		}
	}
}

// What is paused is not started again by a rollout, which its plan says.
func TestRolloutPlanOfAPausedDomain(t *testing.T) {
	paused, other := waiting("paused.example"), inTesting("b.example")
	paused.Paused, paused.Awaits, paused.Remedy = true, "the rollout is paused", "`stshost rollout resume paused.example` has it go on"
	d := newDesk(paused, other)
	d.said(t, "rollout paused.example --plan").wants(t, "one", 0,
		"It would be refused: the rollout is paused\nWhat to do: `stshost rollout resume paused.example` has it go on\n", "")
	d.said(t, "rollout paused.example b.example --plan").wants(t, "two", 0, "2 domains: 1 can start, 1 paused; nothing was changed\n", "")
}
