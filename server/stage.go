package server

import (
	"cmp"
	"fmt"

	"github.com/stshost/stshost/internal/state"
)

// nothingLeft is what there is of a domain that was retired.
const nothingLeft = "there is no record, no policy and no certificate of it any more."

// retiring reports whether a domain is being taken out of MTA-STS (RFC 8461
// §8.3), and is not out yet.
func (d DomainStatus) retiring() bool {
	return d.Stage == string(state.StageRetiring) || d.Stage == string(state.StageWithdrawing)
}

// tended reports whether a domain is looked after: if it is configured, and
// after that until it is retired.
func (d DomainStatus) tended() bool { return d.InConfig || d.retiring() }

// leftNews is News for a domain that has left the configuration.
func (d DomainStatus) leftNews(trouble string) string {
	switch {
	case d.retiring() && trouble != "":
		return "no longer in the config, and being retired; but: " + trouble
	case d.retiring():
		return "no longer in the config, and being retired; served until no sender can hold an older policy"
	case d.Stage == string(state.StageRetired):
		return "no longer in the config, and retired"
	}
	return "no longer in the config; served on for senders that hold its policy"
}

// onItsWay says how far a domain is on its way to enforce.
func onItsWay(d DomainStatus) string {
	text := d.StageText()
	if !d.RolloutNext.IsZero() {
		text += ", and looked at next at " + utc(d.RolloutNext)
	}
	return "in " + text
}

// StageText says where a domain is on its way, and where it goes; "" if it has not set
// out.
func (d DomainStatus) StageText() string {
	stage := cmp.Or(d.Stage, "new")
	switch state.Goal(d.Goal) {
	case state.GoalEnforce:
		if d.Stage == string(state.StageEnforce) {
			return stage + ", on the way to its full max_age"
		}
		return stage + ", on the way to enforce"
	case state.GoalRetire:
		if d.Stage != string(state.StageRetired) {
			return stage + ", on the way out of MTA-STS"
		}
	}
	return d.Stage
}

// explainWithdrawn is the explanation for a domain whose record is out of the
// DNS.
func explainWithdrawn(d DomainStatus) Explanation {
	if d.Stage == string(state.StageRetired) {
		return Explanation{Summary: fmt.Sprintf("%s was taken out of MTA-STS: %s", d.Domain, nothingLeft)}
	}
	return Explanation{Summary: "The record is out of the DNS, as the domain leaves MTA-STS; its policy and its certificate go next."}
}

// explainRollout adds what holds a domain up on its way, which comes after all
// that is wrong with it as it stands, or the hint if nothing is wrong.
func explainRollout(e Explanation, d DomainStatus) Explanation {
	switch {
	case d.RolloutNews == "" && d.Trouble() == "" && d.Hint != "":
		e.Hint, e.RolloutRemedy = d.Hint, d.RolloutRemedy
	case d.RolloutNews == "" && d.Goal == string(state.GoalEnforce) && d.Trouble() == "":
		e.Summary += " It is " + onItsWay(d) + "; the server takes it there by itself."
	case d.RolloutNews == "":
	case e.Blocking == "":
		e.Blocking, e.Remedy, e.NextRun = d.RolloutNews, d.RolloutRemedy, d.RolloutNext
	default:
		e.Rollout, e.RolloutRemedy, e.RolloutNext = d.RolloutNews, d.RolloutRemedy, d.RolloutNext
	}
	return e
}
