package main

import (
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"
	"unicode"

	"github.com/google/go-cmp/cmp"

	"github.com/stshost/stshost/internal/state"
)

// fullHorizon has every field.
func fullHorizon() state.Horizon {
	return state.Horizon{
		Domain: "example.org", MX: "mx1.example.org", Until: deskTime.AddDate(0, 0, 20), Open: false,
		Text:   "mx1.example.org can go from 2026-03-06 12:00 UTC on: until then senders may hold a policy that does not name all of mx2.example.org",
		Remedy: "wait",
		Bodies: []state.HorizonBody{
			{SHA256: "00", Mode: "enforce", MaxAge: 604800, MX: []string{"mx1.example.org", "mx2.example.org"}, First: deskTime.AddDate(0, 0, -8), Until: deskTime.AddDate(0, 0, 7), Why: "names every host that is left"},
			{SHA256: "01", Mode: "enforce", MaxAge: 2419200, MX: []string{"mx1.example.org"}, First: deskTime.AddDate(0, -2, 0), Last: deskTime.AddDate(0, 0, -8), Until: deskTime.AddDate(0, 0, 20), Matters: true, Why: "does not name mx2.example.org: senders refuse it"},
			{SHA256: "02", Mode: "testing", MaxAge: 86400, First: deskTime.AddDate(0, -3, 0), Last: deskTime.AddDate(0, -2, 0), Until: deskTime.AddDate(0, -2, 1), Adopted: true, Why: "is not enforced"},
		},
	}
}

// fullMany has every outcome.
func fullMany(plan bool) *manyRollouts {
	wait, no := waiting("wait.example"), held("no.example")
	m := &manyRollouts{roller: &roller{rolloutSettings: rolloutSettings{plan: plan, batch: 1}}, round: round{turns: []turn{
		{Domain: "wait.example", Outcome: turnStarted, Rollout: &wait},
		{Domain: "no.example", Outcome: turnRefused, Gate: &badTLS, Error: "no.example stays in testing: …", Remedy: badTLS.Remedy, Rollout: &no},
		{Domain: "broken.example", Outcome: turnFailed, Error: "stshost could not answer; its log says why"},
		{Domain: "way.example", Outcome: turnOnItsWay}, {Domain: "done.example", Outcome: turnDone}, {Domain: "pin.example", Outcome: turnPinned},
		{Domain: "paused.example", Outcome: turnPaused}, {Domain: "out.example", Outcome: turnLeaving},
		{Domain: "z1.example", Outcome: turnLeft}, {Domain: "z2.example", Outcome: turnLeft},
	}}}
	if plan {
		m.turns[0].Outcome = turnStartable
	}
	return m
}

// fullBack is a rollback with every outcome.
func fullBack() *manyRollbacks {
	pin := &state.PinnedError{Domain: "pin.example", Mode: "enforce", Source: "config.toml:7"}
	return &manyRollbacks{round: round{turns: []turn{
		{Domain: "a.example", Outcome: turnBack}, {Domain: "b.example", Outcome: turnBack},
		{Domain: "broken.example", Outcome: turnFailed, Error: "stshost could not answer; its log says why"},
		{Domain: "pin.example", Outcome: turnPinned, Error: pin.Error()}, {Domain: "soft.example", Outcome: turnPinned},
		{Domain: "quiet.example", Outcome: turnDone}, {Domain: "out.example", Outcome: turnLeaving}, {Domain: "z.example", Outcome: turnLeft},
	}}}
}

// fullCrowd has domains at every place.
func fullCrowd() crowd {
	all := []state.RolloutStatus{waiting("a.example"), waiting("b.example"), there("c.example"), held("d.example"), inTesting("e.example")}
	onTheirWay := map[string]bool{"gone.example": true}
	for i, age := range []int64{604800, 86400} {
		s := waiting(fmt.Sprintf("f%d.example", i))
		s.Stage, s.MaxAge, s.Next = state.StageEnforce, age, s.Next.Add(time.Duration(i)*time.Hour)
		all = append(all, s)
	}
	for _, s := range all {
		onTheirWay[s.Domain] = true
	}
	return crowdOf(append(all, waiting("not-ours.example")), onTheirWay)
}

func TestRolloutGoldenTexts(t *testing.T) {
	kept := waiting("example.org")
	kept.MX, kept.Kept, kept.Until, kept.Paused = []string{"mx3.example.org"}, []string{"mx0.example.org"}, deskTime.AddDate(0, 0, 6), true
	open := waiting("example.org")
	open.Gates, open.Awaits = openGates(), "every gate is open"
	retiring := state.RolloutStatus{Domain: "example.org", Stage: state.StageRetiring, Goal: state.GoalRetire, Mode: "none", MaxAge: 86400, Until: deskTime.AddDate(0, 0, 28)}
	withdrawing := state.RolloutStatus{Domain: "example.org", Stage: state.StageWithdrawing, Goal: state.GoalRetire, Left: true, Awaits: "a name server still shows the record", Remedy: "remove it by hand"}
	retired := state.RolloutStatus{Domain: "example.org", Stage: state.StageRetired, Remedy: "remove its [[domain]] from the config"}
	crowd := fullCrowd()
	for file, got := range map[string]string{
		"view.txt":         style{}.rollout(waiting("example.org")),
		"view-80.txt":      style{width: 80}.rollout(held("example.org")),
		"view-brief.txt":   style{width: 80}.rolloutBrief(held("example.org")),
		"view-50.txt":      style{width: 50}.rollout(kept),
		"plan.txt":         style{}.rolloutPlan(waiting("example.org")),
		"plan-open.txt":    style{width: 100}.rolloutPlan(open),
		"plan-refused.txt": style{width: 100}.rolloutPlan(held("example.org")),
		"plan-done.txt":    style{}.rolloutPlan(there("example.org")),
		"lines.txt": strings.Join([]string{rolloutLine(waiting("example.org")), rolloutLine(held("example.org")), rolloutLine(kept), rolloutLine(inTesting("example.org")),
			rolloutLine(there("example.org")), rolloutLine(retiring), rolloutLine(withdrawing), rolloutLine(retired), rolloutLine(state.RolloutStatus{Domain: "example.org", Awaits: "no policy is served yet"}),
			rolloutLine(state.RolloutStatus{Domain: "example.org", Mode: "enforce", Pinned: "config.toml:7"}), ""}, "\n"),
		"refusal.txt":     refusal(&state.RefusedError{Status: held("example.org"), Gate: badTLS}) + "\n",
		"many.txt":        fullMany(false).text(style{}),
		"many-100.txt":    fullMany(false).text(style{width: 100}),
		"many-plan.txt":   fullMany(true).text(style{width: 120}),
		"many-back.txt":   fullBack().text(style{width: 100}),
		"crowd.txt":       crowd.text(style{}),
		"crowd-held.txt":  crowd.heldTable(style{width: 100}),
		"horizon.txt":     style{}.horizon(fullHorizon()),
		"horizon-100.txt": style{width: 100}.horizon(fullHorizon()),
		"retire.txt":      retireText(style{}, retiring) + "\n" + retireText(style{}, withdrawing) + "\n" + retireText(style{}, retired),
	} {
		path := "testdata/rollout/" + file
		want, err := os.ReadFile(path)
		if err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(string(want), got); diff != "" {
			t.Errorf("%s (-want +got):\n%s", file, diff)
		}
	}
}

// What strangers have in their DNS, or say, is harmless text wherever it is shown.
func TestNothingHostileReachesTheTerminalOfARollout(t *testing.T) {
	gate := state.Gate{Name: hostile, State: hostile, Value: hostile, Wanted: hostile, Remedy: hostile}
	s := state.RolloutStatus{
		Domain: hostile, Stage: hostile, Goal: state.GoalEnforce, Mode: hostile, Gates: []state.Gate{gate}, Awaits: hostile, Remedy: hostile,
		Steps: []state.RolloutStep{{Stage: hostile, Mode: hostile}, {Stage: hostile, Mode: hostile}}, MX: []string{hostile}, Kept: []string{hostile}, Refused: true,
	}
	h := state.Horizon{Text: hostile, Remedy: hostile, Bodies: []state.HorizonBody{{Mode: hostile, MX: []string{hostile}, Why: hostile}}}
	m := &manyRollouts{roller: &roller{rolloutSettings: rolloutSettings{plan: true}}, round: round{turns: []turn{
		{Domain: hostile, Outcome: turnFailed, Error: hostile, Remedy: hostile}, {Domain: hostile, Outcome: turnRefused, Gate: &gate, Error: hostile, Rollout: &s},
	}}}
	back := &manyRollbacks{round: round{turns: []turn{{Domain: hostile, Outcome: turnFailed, Error: hostile, Remedy: hostile}}}}
	_, stalled := rolloutOver(s)
	for name, got := range map[string]string{
		"view": style{}.rollout(s), "view, wrapped": style{width: 60}.rollout(s), "plan": style{}.rolloutPlan(s), "line": rolloutLine(s),
		"refusal": refusal(&state.RefusedError{Status: s, Gate: gate}), "held": stalled.Error(), "horizon": style{width: 90}.horizon(h),
		"plan of many": m.text(style{}), "rollback of many": back.text(style{}), "held of many": crowd{held: []state.RolloutStatus{s}}.heldTable(style{}), "retire": retireText(style{}, s), "retire line": retireLine(s),
	} {
		if !strings.Contains(got, `\x1b`) {
			t.Errorf("%s does not show it: %q", name, got)
		}
		for _, c := range got {
			if c != '\n' && !unicode.IsPrint(c) {
				t.Errorf("%s has %U", name, c)
				break
			}
		}
	}
}

func TestGridFitsTheTerminal(t *testing.T) {
	rows := [][]cell{cells("a.example", strings.Repeat("word ", 40), strings.Repeat("x", 90)), cells("b.example", "-", "y")}
	for _, width := range []int{40, 60, 80, 120} {
		got := style{width: width}.grid([]string{"DOMAIN", "WORDS", "LONG"}, rows)
		for line := range strings.Lines(got) {
			if n := len([]rune(strings.TrimSuffix(line, "\n"))); n > width {
				t.Errorf("at %d columns a line has %d: %q", width, n, line)
			}
		}
		for _, letter := range []string{"w", "x"} {
			if strings.Count(got, letter) != map[string]int{"w": 40, "x": 90 + 2}[letter] { // two in "example"
				t.Errorf("at %d columns text is lost:\n%s", width, got)
			}
		}
	}
	if got := (style{width: 10}).grid(nil, rows); !strings.HasPrefix(got, "a.exampl  word  xxxxxxxx\n") {
		t.Errorf("on a very narrow terminal:\n%s", got)
	}
	coloured := style{color: true, width: 80}.gates(held("example.org").Gates)
	if !strings.Contains(coloured, "\x1b[31;1munmet\x1b") || !strings.Contains(coloured, "\x1b[32mmet\x1b") {
		t.Errorf("states have no colour: %q", coloured)
	}
	plain := ansi.ReplaceAllString(coloured, "")
	if want := (style{width: 80}).gates(held("example.org").Gates); plain != want {
		t.Errorf("colours change the text (-want +got):\n%s", cmp.Diff(want, plain))
	}
}

// wrapping takes away what switches the breaking of long lines off and on.
var wrapping = strings.NewReplacer("\x1b[?7l", "", "\x1b[?7h", "")

// fakeTerminal understands what liveView needs of one.
type fakeTerminal struct {
	lines []string
	row   int
}

func (f *fakeTerminal) Write(p []byte) (int, error) {
	for s := string(p); s != ""; {
		switch {
		case strings.HasPrefix(s, "\x1b["):
			end := strings.IndexFunc(s[2:], unicode.IsLetter) + 2
			if s[end] == 'A' {
				n, err := strconv.Atoi(s[2:end])
				if f.row -= n; err != nil || f.row < 0 {
					return 0, fmt.Errorf("%q leads above the terminal", s[:end+1])
				}
			} else if s[2:end+1] == "J" {
				f.lines = f.lines[:f.row]
			}
			s = s[end+1:]
		case s[0] == '\r':
			s = s[1:]
		default:
			line, rest, _ := strings.Cut(s, "\n")
			line = wrapping.Replace(line)
			if f.row != len(f.lines) {
				return 0, fmt.Errorf("%q is written over %q", line, f.lines[f.row])
			}
			f.lines = append(f.lines, line)
			f.row++
			s = rest
		}
	}
	return len(p), nil
}

func (f *fakeTerminal) String() string { return strings.Join(f.lines, "\n") + "\n" }

func TestLiveViewIsDrawnInItsPlace(t *testing.T) {
	term := &fakeTerminal{}
	fmt.Fprint(term, "$ stshost rollout\n")
	v := liveView{w: term}
	for _, text := range []string{"one\n", "one\ntwo\nthree\n", "one\n\n", "a\nb\nc\nd\ne\nf\n", "end\n"} {
		if err := v.draw(text, 5); err != nil {
			t.Fatal(err)
		}
		want := text
		if strings.HasPrefix(text, "a\n") {
			want = "a\nb\nc\n…\n" // the terminal has 5 lines, and the cursor is on one of them
		}
		if want = "$ stshost rollout\n" + want; term.String() != want {
			t.Errorf("the terminal has\n%s\nwant\n%s", term, want)
		}
	}
}

// Whatever a status is about, it is not said twice, unless something has changed.
func TestRolloutKey(t *testing.T) {
	a := waiting("example.org")
	later := waiting("example.org")
	later.Gates[4].Value, later.Awaits, later.Checked, later.Next = "4 days", "the gate time is unmet: 4 days", deskTime.AddDate(0, 0, 1), deskTime
	if rolloutKey(a) != rolloutKey(later) {
		t.Error("time alone is news")
	}
	for name, change := range map[string]func(*state.RolloutStatus){
		"stage": func(s *state.RolloutStatus) { s.Stage = state.StageEnforce }, "max_age": func(s *state.RolloutStatus) { s.MaxAge++ },
		"confirmed": func(s *state.RolloutStatus) { s.Confirmed = time.Time{} }, "paused": func(s *state.RolloutStatus) { s.Paused = true },
		"gate": func(s *state.RolloutStatus) { s.Gates[0].State = state.GateUnknown }, "goal": func(s *state.RolloutStatus) { s.Goal = "" },
		"mx": func(s *state.RolloutStatus) { s.Kept = []string{"mx"} },
	} {
		s := waiting("example.org")
		if change(&s); rolloutKey(s) == rolloutKey(a) {
			t.Errorf("a change of %s is no news", name)
		}
	}
}

// ansi is what gives text a colour.
var ansi = regexp.MustCompile("\x1b\\[[0-9;]*m")
