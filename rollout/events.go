package rollout

import (
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/stshost/stshost/internal/state"
)

func event(kind string, severity state.Severity, domain, text string) state.Event {
	return state.Event{Kind: kind, Severity: severity, Domain: domain, Text: text}
}

// stepEvent tells of a step, with every gate that it rests on.
func stepEvent(d domain, f facts, gates []state.Gate) state.Event {
	e := event(state.KindRolloutStep, state.SeverityInfo, d.name,
		fmt.Sprintf("the domain goes on from %s to %s: every gate is open", d.conf.name(f.at), d.conf.name(f.to)))
	e.Evidence = gateEvidence(gates)
	e.Evidence["from"], e.Evidence["to"] = d.conf.name(f.at), d.conf.name(f.to)
	e.Evidence["mx"] = strings.Join(f.served.MX, " ")
	e.Evidence["served_sha256"] = f.snapshot.State.BodySHA256
	var passed []string
	for _, g := range gates {
		if g.State == state.GateWaived {
			passed = append(passed, g.Name)
		}
	}
	if len(passed) > 0 {
		e.Text = fmt.Sprintf("the domain goes on from %s to %s: every gate is open, or was waived (%s)", d.conf.name(f.at), d.conf.name(f.to), strings.Join(passed, ", "))
	}
	return e
}

// heldEvent tells of a gate that somebody has to open.
func heldEvent(d domain, gates []state.Gate, g state.Gate) state.Event {
	e := event(state.KindRolloutHeld, state.SeverityWarning, d.name,
		fmt.Sprintf("the domain stays in %s, because the gate %s is %s: %s (wanted: %s)", d.conf.name(placeOf(*d.row)), g.Name, g.State, g.Value, g.Wanted))
	e.Remedy = g.Remedy
	e.Evidence = gateEvidence(gates)
	return e
}

func gateEvidence(gates []state.Gate) map[string]string {
	m := make(map[string]string, len(gates)+4)
	for _, g := range gates {
		m["gate."+g.Name] = fmt.Sprintf("%s: %s (wanted: %s)", g.State, g.Value, g.Wanted)
	}
	return m
}

// orderEvidence is what the operator wanted of a rollout.
func orderEvidence(row state.Rollout, evidence map[string]string) {
	evidence["now"] = strconv.FormatBool(row.Hasty)
	evidence["accept_no_reports"] = strconv.FormatBool(row.NoReports)
	for _, w := range row.Waivers {
		evidence["waived."+w.Gate] = w.Reason
	}
	if row.Evidence != nil {
		evidence["evidence"] = "a look from elsewhere at " + row.Evidence.Time.UTC().Format(time.RFC3339)
	}
}
