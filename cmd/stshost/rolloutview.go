package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/fatih/color"

	"github.com/stshost/stshost/internal/state"
)

// placeText is a stage as people say it.
func placeText(stage state.Stage, maxAge int64) string {
	switch stage {
	case "":
		return "no policy yet"
	case state.StageEnforce:
		return "enforce with a max_age of " + duration(time.Duration(maxAge)*time.Second)
	}
	return string(stage)
}

// arrived reports whether a domain is where a rollout takes it.
func arrived(s state.RolloutStatus) bool {
	return s.Full && !s.Confirmed.IsZero() && s.Goal != state.GoalRetire
}

// headline says where a domain is and where it goes.
func headline(s state.RolloutStatus) string {
	if s.Pinned != "" {
		return fmt.Sprintf("%s: %s, pinned in the config at %s", s.Domain, s.Mode, s.Pinned)
	}
	text := s.Domain + ": " + placeText(s.Stage, s.MaxAge)
	switch {
	case s.Stage == "" || s.Stage == state.StageRetired:
	case s.Confirmed.IsZero():
		text += ", not confirmed everywhere yet"
	default:
		text += ", confirmed everywhere since " + stamp(s.Confirmed)
	}
	switch {
	case s.Goal == state.GoalEnforce && !s.Full && len(s.Steps) > 0:
		last := s.Steps[len(s.Steps)-1]
		text += ", on the way to " + placeText(last.Stage, last.MaxAge)
	case s.Goal == state.GoalEnforce && !s.Full:
		text += ", on the way to enforce"
	case s.Goal == state.GoalRetire:
		text += ", on the way out of MTA-STS"
	}
	if s.Paused {
		text += ", paused"
	}
	return text
}

// rollout is all about a domain on its way.
func (st style) rollout(s state.RolloutStatus) string {
	gates := ""
	if len(s.Gates) > 0 {
		gates = st.gates(s.Gates)
	}
	return st.rolloutWith(gates, s)
}

// rolloutBrief is rollout for a terminal that is too low for it: of the gates that
// are open it has the names.
func (st style) rolloutBrief(s state.RolloutStatus) string {
	var open []string
	var closed []state.Gate
	for _, g := range s.Gates {
		if g.Open() {
			open = append(open, g.Name)
		} else {
			closed = append(closed, g)
		}
	}
	gates := ""
	if len(closed) > 0 {
		gates = st.gates(closed)
	}
	return st.rolloutWith(gates+st.pairs([2]string{"open gates", strings.Join(open, ", ")}), s)
}

func (st style) rolloutWith(gates string, s state.RolloutStatus) string {
	var b strings.Builder
	b.WriteString(st.wrapped(escaped(headline(s))) + "\n")
	if gates != "" {
		b.WriteString("\n" + gates)
	}
	if facts := st.pairs(
		[2]string{"awaits", s.Awaits}, [2]string{"what to do", s.Remedy},
		[2]string{"gates looked at", stamp(s.Checked)}, [2]string{"next look or step", stamp(s.Next)},
		[2]string{"mx accepted", strings.Join(s.MX, ", ")}, [2]string{"mx kept", keptText(s)},
	); facts != "" {
		b.WriteString("\n" + facts)
	}
	if len(s.Steps) > 1 {
		b.WriteString("\n" + st.steps(s.Steps))
	}
	return b.String()
}

// keptText says which names a policy keeps, and until when.
func keptText(s state.RolloutStatus) string {
	if len(s.Kept) == 0 {
		return ""
	}
	return fmt.Sprintf("%s, until %s, as senders may hold an older policy", strings.Join(s.Kept, ", "), stamp(s.Until))
}

// gates are the conditions for the next step, in a table.
func (st style) gates(all []state.Gate) string {
	var rows [][]cell
	for _, g := range all {
		value := g.Value
		if st.width == 0 { // the sentence about the gate that matters has it all
			value = glance(value)
		}
		row := cells(g.Name, string(g.State), value+awaitedText(g), g.Wanted)
		row[1].paint = gateColor(g)
		rows = append(rows, row)
	}
	return st.grid([]string{"GATE", "STATE", "VALUE", "WANTED"}, rows)
}

// awaitedText says of a gate that nobody has to open it.
func awaitedText(g state.Gate) string {
	switch {
	case !g.Awaited:
		return ""
	case g.At.IsZero():
		return "; opens by itself"
	}
	return "; opens by itself at " + stamp(g.At)
}

func gateColor(g state.Gate) []color.Attribute {
	switch {
	case g.State == state.GateMet:
		return []color.Attribute{color.FgGreen}
	case g.State == state.GateWaived:
		return []color.Attribute{color.FgCyan}
	case g.State == state.GateUnmet && !g.Awaited:
		return []color.Attribute{color.FgRed, color.Bold}
	}
	return []color.Attribute{color.FgYellow}
}

// steps are the stages from the present one to the goal, in a table.
func (st style) steps(all []state.RolloutStep) string {
	var rows [][]cell
	for i, step := range all {
		age := "-"
		if step.MaxAge > 0 {
			age = duration(time.Duration(step.MaxAge) * time.Second)
		}
		rows = append(rows, cells(string(step.Stage), dash(step.Mode), age, stepTime(step, i == 0)))
	}
	return st.grid([]string{"STAGE", "MODE", "MAX_AGE", "WHEN"}, rows)
}

func stepTime(step state.RolloutStep, present bool) string {
	switch {
	case !step.Since.IsZero():
		return "since " + stamp(step.Since)
	case present:
		return "now, not confirmed everywhere yet"
	case step.From.IsZero():
		return "-"
	}
	return stamp(step.From) + " at the earliest"
}

// rolloutPlan says what a rollout would do.
func (st style) rolloutPlan(s state.RolloutStatus) string {
	if arrived(s) {
		return st.wrapped(escaped(nothingLeft(s))) + "\n"
	}
	var b strings.Builder
	b.WriteString(st.wrapped(escaped(s.Domain+": what a rollout would do as things stand; nothing was changed")) + "\n")
	b.WriteString("\n" + st.gates(s.Gates) + "\n" + st.steps(s.Steps) + "\n")
	text := "It would start, and make the first step at once: every gate is open."
	g, closed := state.ClosedGate(s.Gates)
	switch {
	case s.Paused:
		text = "It would be refused: " + s.Awaits
		g, closed = state.Gate{Remedy: s.Remedy}, true
	case closed && g.Awaited:
		text = "It would start, and wait: " + s.Awaits
		if !g.At.IsZero() {
			text += ", until " + stamp(g.At)
		}
	case closed:
		text = "It would be refused: " + s.Awaits
	}
	b.WriteString(st.wrapped(escaped(text)) + "\n")
	if closed && g.Remedy != "" {
		b.WriteString(st.wrapped("What to do: "+escaped(g.Remedy)) + "\n")
	}
	return b.String()
}

// nothingLeft says of a domain that it has arrived.
func nothingLeft(s state.RolloutStatus) string {
	return headline(s) + "; there is nothing left to do"
}

// refusal is a refused rollout in one sentence.
func refusal(e *state.RefusedError) string {
	return "refused: " + withRemedy(e.Error(), e.Remedy())
}

// withRemedy is what is wrong and what can be done about it, in a line.
func withRemedy(text, remedy string) string {
	text = escaped(strings.TrimSuffix(text, "."))
	if remedy == "" {
		return text
	}
	return text + "; what to do: " + escaped(strings.TrimSuffix(remedy, "."))
}

// rolloutLine is a domain on its way in a line.
func rolloutLine(s state.RolloutStatus) string {
	text := headline(s)
	if s.Awaits != "" {
		text += "; " + s.Awaits
	}
	if !s.Next.IsZero() {
		text += "; next look or step: " + stamp(s.Next)
	}
	return withRemedy(text, s.Remedy)
}

// rolloutKey is the same for two statuses that differ in nothing but how much time
// has passed.
func rolloutKey(s state.RolloutStatus) string {
	key := fmt.Sprint(s.Stage, s.MaxAge, s.Goal, s.Confirmed, s.Paused, s.Refused, s.Pinned, s.MX, s.Kept)
	for _, g := range s.Gates {
		key += fmt.Sprint(" ", g.Name, g.State, g.Awaited)
	}
	if len(s.Gates) == 0 {
		key += s.Awaits
	}
	return key
}
