package main

import (
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/server"
)

// narrow is what aligns a table.
var narrow = regexp.MustCompile(" +")

// onItsWay is a domain that is taken to enforce.
func onItsWay() server.DomainStatus {
	return server.DomainStatus{
		Domain: "a.example", Host: "mta-sts.a.example", Step: state.Confirmed, Since: deskTime, Mode: "enforce", ModeSource: "managed", MaxAge: 604800, ID: "1", InConfig: true,
		Stage: "enforce", Goal: "enforce", RolloutNext: deskTime,
	}
}

func TestStatusShowsTheRollout(t *testing.T) {
	heldUp, hint, out := onItsWay(), onItsWay(), onItsWay()
	heldUp.RolloutNews, heldUp.RolloutRemedy = "the gate mx-tls is unmet: \x1b[2J", "switch it\x07 on"
	hint.Goal, hint.Hint, hint.RolloutNext = "", "in testing since 2026-01-01: senders still deliver whatever they find", time.Time{}
	out.Stage, out.Goal, out.Mode, out.Hint = "retiring", "retire", "none", "the policy says none"
	for name, tt := range map[string]struct {
		d     server.DomainStatus
		table string
		all   []string
	}{
		"on its way":     {onItsWay(), "a.example  enforce 7d  confirmed", []string{"stage: enforce, on the way to its full max_age\n", "next look at gates: 2026-02-14 12:00:00 UTC\n"}},
		"held up":        {heldUp, `the gate mx-tls is unmet: \x1b[2J`, []string{`news: the gate mx-tls is unmet: \x1b[2J`, `rollout remedy: switch it\x07 on`}},
		"hint":           {hint, "enforce  confirmed", []string{"in testing since 2026-01-01"}},
		"on its way out": {out, "none  ", []string{"retiring, on the way out of MTA-STS"}},
	} {
		var table, all strings.Builder
		if err := printDomains(&table, []server.DomainStatus{tt.d}); err != nil || !strings.Contains(table.String(), tt.table) {
			t.Errorf("%s: %v, table\n%s\nwants %q", name, err, table.String(), tt.table)
		}
		if err := printDomain(&all, tt.d); err != nil {
			t.Error(err)
		}
		for _, want := range tt.all {
			if !strings.Contains(narrow.ReplaceAllString(all.String(), " "), want) {
				t.Errorf("%s: %q is not in\n%s", name, want, all.String())
			}
		}
		if strings.ContainsAny(table.String()+all.String(), "\x1b\x07") {
			t.Errorf("%s: hostile text", name)
		}
	}
}

func TestExplainTellsOfTheRollout(t *testing.T) {
	e := server.Explanation{
		Summary: "It is served.", Blocking: "the key is refused", Remedy: "see the account", NextRun: deskTime,
		Rollout: "the gate mx-tls is unmet: \x1b[2J.", RolloutRemedy: "switch it on", RolloutNext: deskTime,
	}
	hint := server.Explanation{Summary: "It is served.", Hint: "in testing for long", RolloutRemedy: "take it to enforce."}
	for want, e := range map[string]server.Explanation{
		`It is served.
What blocks it: the key is refused.
What to do: see the account.
It is tried again at 2026-02-14 12:00:00 UTC.
What holds its rollout up: the gate mx-tls is unmet: \x1b[2J.
What to do about that: switch it on.
Its gates are looked at again at 2026-02-14 12:00:00 UTC.
`: e,
		`It is served.
Hint: in testing for long.
What to do: take it to enforce.
`: hint,
	} {
		var got strings.Builder
		if err := printExplanation(&got, e); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(want, got.String()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}
