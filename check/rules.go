package check

import (
	"slices"

	"github.com/stshost/stshost/internal/state"
)

// Rule is one thing that an examination can find. Codes are stable: what a code
// means does not change, and none is used again for something else.
type Rule struct {
	Code    string // STS-…
	Status  state.CheckStatus
	Harm    state.Harm // as a rule; what else is found may make it more or less
	Section string     // the standard that it is held against
	Title   string     // what is the case, a few words
	Why     string     // what causes it and what it does to mail
	Remedy  string     // what to do, one sentence; "" if nothing is to be done
}

// Rules returns all that can be found, in the order of docs/check.md.
func Rules() []Rule {
	return slices.Concat(recordRules(), hostRules(), policyRules(), mxRules(), otherRules())
}

// indexOf finds the place of each rule by its code.
func indexOf(rules []Rule) map[string]int {
	index := make(map[string]int, len(rules))
	for i, r := range rules {
		index[r.Code] = i
	}
	return index
}

const (
	pass    = state.CheckPass
	warn    = state.CheckWarn
	fail    = state.CheckFail
	unknown = state.CheckUnknown
	skipped = state.CheckSkipped

	lose    = state.HarmLoss
	ignored = state.HarmIgnored
	partial = state.HarmPartial
	risk    = state.HarmRisk
	none    = state.HarmNone
)
