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

// Area is the part of a domain that the rule is about, the second word of its
// code: RECORD, HOST, POLICY, READERS, MX, TLSRPT, DANE, LIFE.
func (r Rule) Area() string {
	rest := r.Code[len("STS-"):]
	for i := range rest {
		if rest[i] == '-' {
			return rest[:i]
		}
	}
	return rest
}

// Rules returns all that can be found, in the order of docs/check.md.
func Rules() []Rule {
	return slices.Concat(recordRules(), hostRules(), policyRules(), mxRules(), otherRules())
}

// ruleIndex finds rules and their place by code.
func ruleIndex() map[string]int {
	index := make(map[string]int)
	for i, r := range Rules() {
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
