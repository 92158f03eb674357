package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/server"
)

// outOfReach are domains that no rollback takes back unless they are named.
func outOfReach() []state.RolloutStatus {
	out, retired, left := inTesting("out.example"), state.RolloutStatus{Domain: "retired.example", Stage: state.StageRetired}, there("left.example")
	out.Goal, out.Stage, left.Left = state.GoalRetire, state.StageRetiring, true
	return []state.RolloutStatus{
		inTesting("a.example"), {Domain: "none.example", Mode: "none", MaxAge: 86400}, out, retired, left,
		{Domain: "pin.example", Pinned: "config.toml:7", Mode: "testing", Profile: "office"},
	}
}

// refuge is a desk with a domain for everything that a rollback of many meets.
func refuge() *desk {
	paused, step := waiting("b.example"), waiting("step.example")
	paused.Paused = true
	step.Stage, step.Mode, step.MaxAge = state.StageEnforce, "enforce", 86400
	d := newDesk(append(outOfReach(), paused, step, there("zz.example"), held("held.example"), there("bad.example"),
		state.RolloutStatus{Domain: "hard.example", Pinned: "config.toml:9", Mode: "enforce"})...)
	d.onAsk = func(_ context.Context, what, domain string) error {
		if domain == "bad.example" && what == "Rollback" {
			return errors.New("disk full")
		}
		return nil
	}
	return d
}

// What senders may refuse now or soon is taken back, and first of all what they do
// now. One that cannot be taken back is told, and holds up no other.
func TestRollbackOfAllDomains(t *testing.T) {
	for _, flag := range []string{"", " --detach"} {
		d := refuge()
		got := d.said(t, "rollback --all --yes"+flag)
		pin := &state.PinnedError{Domain: "hard.example", Mode: "testing", Source: "config.toml:9"}
		want := `DOMAIN        WHY NOT` + strings.Repeat(" ", len(pin.Error())-len("WHY NOT")+2) + `WHAT TO DO
bad.example   stshost could not answer; its log says why` + strings.Repeat(" ", len(pin.Error())-len("stshost could not answer; its log says why")+2) + `-
hard.example  ` + pin.Error() + `  -

11 domains: 4 going back to testing, 1 in testing already, 2 pinned in the config, 3 leaving MTA-STS, 1 failed
The server goes on by itself; ` + "`stshost status`" + ` shows how far each domain is.
`
		if got.code != 1 || got.errs != "" || got.out != want {
			t.Errorf("exit code %d, stderr %q (-want +got):\n%s", got.code, got.errs, cmp.Diff(want, got.out))
		}
		asked := d.questions("Rollback")
		if len(asked) == 6 {
			slices.Sort(asked[:3])
			slices.Sort(asked[3:])
		}
		if want := []string{"bad.example", "step.example", "zz.example", "b.example", "hard.example", "held.example"}; !slices.Equal(asked, want) {
			t.Errorf("asked for %q, want %q", asked, want)
		}
	}
	d := refuge()
	d.said(t, "rollback --profile shop --yes").wants(t, "a profile", 1, "2 domains: 1 going back to testing, 1 failed\n", "")
	d.said(t, "rollback --profile shp --yes").wants(t, "a mistyped one", 1, "", `no domain has the profile "shp"; the profiles are office, shop`)
	newDesk(outOfReach()...).said(t, "rollback --all --yes").wants(t, "nothing to take back", 0,
		"5 domains: 1 in testing already, 1 pinned in the config, 3 leaving MTA-STS\n", "")
	newDesk(there("a.example"), state.RolloutStatus{Domain: "hard.example", Pinned: "config.toml:9", Mode: "enforce"}).said(t, "rollback --all --yes").
		wants(t, "pinned in enforce, and not named", 1, "2 domains: 1 going back to testing, 1 pinned in the config\n", "")
}

// What is named is taken back wherever it is, without a question.
func TestRollbackOfNamedDomains(t *testing.T) {
	d := refuge()
	got := d.said(t, "rollback mta-sts.step.example zz.example step.example out.example retired.example a.example x.example hard.example")
	got.wants(t, "named", 1, "7 domains: 4 going back to testing, 1 in testing already, 1 pinned in the config, 1 failed\n", "")
	for _, want := range []string{"x.example ", "does not know this domain", "is pinned at config.toml:9"} {
		if !strings.Contains(got.out, want) {
			t.Errorf("%q is not in\n%s", want, got.out)
		}
	}
	asked := d.questions("Rollback")
	slices.Sort(asked)
	if want := []string{"a.example", "hard.example", "out.example", "retired.example", "step.example", "x.example", "zz.example"}; !slices.Equal(asked, want) {
		t.Errorf("asked for %q, want %q", asked, want)
	}
	d.said(t, "rollback zz.example hard.example").wants(t, "one of them pinned", 1, "2 domains: 1 going back to testing, 1 pinned in the config\n", "")
	d.said(t, "rollback zz.example retired.example").wants(t, "all is well", 0, "2 domains: 2 going back to testing\n", "")
}

func TestRollbackOfAllAsJSON(t *testing.T) {
	got := refuge().said(t, "rollback --all --yes --json")
	var a roundAnswer
	if err := json.Unmarshal([]byte(got.out), &a); err != nil || got.code != 1 || got.errs != "" {
		t.Fatalf("exit code %d, stderr %q, %v", got.code, got.errs, err)
	}
	want := map[turnOutcome]int{turnBack: 4, turnDone: 1, turnPinned: 2, turnLeaving: 3, turnFailed: 1}
	if diff := cmp.Diff(want, a.Counts); diff != "" || len(a.Domains) != 11 {
		t.Errorf("%d domains (-want +got):\n%s", len(a.Domains), diff)
	}
	for _, x := range a.Domains {
		switch {
		case x.Domain == "hard.example" && (x.Error == "" || x.Rollout == nil || x.Rollout.Pinned != "config.toml:9"):
			t.Errorf("pinned: %+v", x)
		case x.Domain == "bad.example" && (x.Outcome != turnFailed || x.Error == ""):
			t.Errorf("failed: %+v", x)
		}
	}
	for _, args := range []string{"rollback --all --yes --json", "rollout pause --all --json", "rollout resume --all --json"} {
		newDesk(inTesting("a.example")).said(t, args).wants(t, args, 0, `"domains": [`, "")
	}
}

// confirming is a rollback of all domains of a desk by somebody who is asked first.
func confirming(d *desk, answer string) (m *manyRollbacks, out, errs *bytes.Buffer) {
	out, errs = new(bytes.Buffer), new(bytes.Buffer)
	return &manyRollbacks{
		rollbackSettings: rollbackSettings{selection: selection{all: true}}, client: d, in: strings.NewReader(answer), screen: screen{out: out, errOut: errs},
	}, out, errs
}

func TestRollbackOfAllIsConfirmed(t *testing.T) {
	for answer, goes := range map[string]bool{"y\n": true, " YES \n": true, "y": true, "n\n": false, "\n": false, "": false, "yeah\n": false} {
		d := refuge()
		m, out, errs := confirming(d, answer)
		err := m.many(t.Context())
		if !strings.HasPrefix(errs.String(), "5 domains go back to testing, 3 of them from enforce. Pinned in enforce by the config, and staying there: 1. Go on? [y/N] ") {
			t.Errorf("%q: asked was %q", answer, errs)
		}
		if done := len(d.questions("Rollback")) > 0; done != goes || (out.Len() > 0) != goes {
			t.Errorf("%q: taken back: %t, shown: %s", answer, done, out)
		}
		if !goes && (err == nil || err.Error() != "nothing was changed") || goes && !errors.Is(err, exitError(1)) {
			t.Errorf("%q: ended with %v", answer, err)
		}
	}
	for want, all := range map[string][]state.RolloutStatus{
		"": outOfReach(),
		"1 domain goes back to testing, from enforce. Go on? ":                                                                         {there("a.example")},
		"1 domain goes back to testing, not from enforce. Go on? ":                                                                     {held("a.example"), inTesting("b.example")},
		"2 domains go back to testing, all of them from enforce. Go on? ":                                                              {there("a.example"), there("b.example")},
		"2 domains go back to testing, none of them from enforce. Go on? [y/N] ":                                                       {held("a.example"), waiting("b.example")},
		"2 domains go back to testing, 1 of them from enforce. Pinned in enforce by the config, and staying there: 1. Go on? [y/N] \n": {there("a.example"), waiting("b.example"), {Domain: "pin.example", Pinned: "c:1", Mode: "enforce"}},
	} {
		m, _, errs := confirming(newDesk(all...), "")
		if m.many(t.Context()); !strings.HasPrefix(errs.String(), want) || want == "" && errs.Len() > 0 {
			t.Errorf("asked was %q, want %q", errs, want)
		}
	}
}

func TestRollbackIsInterruptedBeforeTheAnswer(t *testing.T) {
	d := refuge()
	m, out, _ := confirming(d, "")
	in, person := io.Pipe() // who types nothing
	defer person.Close()
	m.in = in
	ctx, stop := context.WithCancel(t.Context())
	d.onAsk = func(context.Context, string, string) error { stop(); return nil }
	if err := m.many(ctx); err == nil || err.Error() != "interrupted: nothing was changed" || out.Len() > 0 || len(d.questions("Rollback")) > 0 {
		t.Errorf("ended with %v, shown: %s", err, out)
	}
}

// A server that goes away while those in enforce are asked for ends it at once, and
// those that are left are counted.
func TestRollbackOfAllWithoutTheServer(t *testing.T) {
	d := newDesk()
	for i := range 50 {
		d.set(there(fmt.Sprintf("a%02d.example", i)), waiting(fmt.Sprintf("b%02d.example", i)))
	}
	d.onAsk = func(_ context.Context, what, domain string) error {
		if what == "Rollback" && domain >= "a20" {
			return fmt.Errorf("%w (unix:x)", server.ErrNotRunning)
		}
		return nil
	}
	m, out, _ := confirming(d, "y\n")
	if err := m.many(t.Context()); err == nil || !strings.Contains(err.Error(), "the server went away before every domain was asked for") || errors.Is(err, server.ErrNotRunning) {
		t.Errorf("ended with %v", err)
	}
	if n := len(d.questions("Rollback")); n > 20+turnsAtOnce {
		t.Errorf("%d questions", n)
	}
	if !strings.Contains(out.String(), "100 domains: 20 going back to testing, 80 not asked for yet\n") {
		t.Errorf("shown: %s", out)
	}
}

func TestPauseAndResumeOfManyDomains(t *testing.T) {
	paused := waiting("paused.example")
	paused.Paused = true
	all := append(outOfReach(), waiting("way.example"), held("held.example"), paused, there("done.example"))
	for _, tt := range []struct {
		args, what string
		code       int
		out        string
		asked      []string
	}{
		{"rollout pause --all", "PauseRollout", 0, "9 domains: 2 paused, 1 paused already, 3 not on their way, 1 pinned in the config, 2 leaving MTA-STS\n", []string{"held.example", "way.example"}},
		{"rollout resume --all", "ResumeRollout", 0, "9 domains: 1 resumed, 2 on their way already, 3 not on their way, 1 pinned in the config, 2 leaving MTA-STS\n", []string{"paused.example"}},
		{"rollout pause --profile shop", "PauseRollout", 0, "1 domain: 1 not on their way\n", nil},
		{"rollout resume --profile office", "ResumeRollout", 0, "6 domains: 1 resumed", []string{"paused.example"}},
		{"rollout pause way.example paused.example", "PauseRollout", 0, "2 domains: 1 paused, 1 paused already\n", []string{"paused.example", "way.example"}},
		{"rollout resume way.example mta-sts.paused.example", "ResumeRollout", 0, "2 domains: 1 resumed, 1 on their way already\n", []string{"paused.example", "way.example"}},
		{"rollout pause way.example pin.example a.example", "PauseRollout", 1, "a.example    a.example is not on its way", []string{"a.example", "pin.example", "way.example"}},
		{"rollout pause way.example pin.example a.example", "PauseRollout", 1, "3 domains: 1 paused, 1 pinned in the config, 1 failed\n", []string{"a.example", "pin.example", "way.example"}},
	} {
		d := newDesk(all...)
		d.onAsk = func(_ context.Context, what, domain string) error {
			if domain == "a.example" && what == tt.what {
				return &state.StageError{Text: "a.example is not on its way to enforce"}
			}
			return nil
		}
		d.said(t, tt.args).wants(t, tt.args, tt.code, tt.out, "")
		asked := d.questions(tt.what)
		if slices.Sort(asked); !slices.Equal(asked, tt.asked) {
			t.Errorf("%s: asked for %q, want %q", tt.args, asked, tt.asked)
		}
	}
}
