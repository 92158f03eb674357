package check

import (
	"fmt"
	"strings"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
)

// verdict says what senders will do, and the main reason.
func (j *judgement) verdict() (state.Verdict, string) {
	switch {
	case j.announced == recordUnknown:
		return state.VerdictUnknown, "what stands at " + mtasts.RecordName(j.ev.Domain) + " could not be found out"
	case j.announced == recordAbsent && j.ev.MX.Answer.Missing && j.has(MXNone):
		return state.VerdictNone, "the domain does not exist in the DNS; is it spelt right?"
	case j.announced == recordAbsent:
		if j.fetched {
			return state.VerdictNone, "a policy is served, and no record announces it"
		}
		return state.VerdictNone, "there is no record at " + mtasts.RecordName(j.ev.Domain)
	case j.announced == recordBroken:
		return state.VerdictIgnore, j.worst("STS-RECORD-", "the record is not valid") + j.others()
	case !j.fetched && j.untried != "":
		return state.VerdictUnknown, j.untried
	case !j.fetched:
		return state.VerdictIgnore, j.worst("STS-HOST-", "no policy can be fetched")
	case j.policy == nil:
		return state.VerdictIgnore, j.worst("STS-POLICY-", "the policy is not valid") + j.others()
	case j.policy.Mode == mtasts.ModeNone:
		return state.VerdictIgnore, "the policy has mode none: the domain is leaving MTA-STS"
	}
	return j.delivery()
}

// delivery is the verdict where senders have the policy.
func (j *judgement) delivery() (state.Verdict, string) {
	if code := j.loses(); code != "" {
		return state.VerdictLoseMail, j.worst("STS-", "") + j.howMuch()
	}
	rest := j.others()
	if j.policy.Mode == mtasts.ModeTesting {
		if len(j.refused) > 0 {
			return state.VerdictTest, "mail is delivered as ever; in enforce senders would refuse " + list(j.refused) + rest
		}
		if j.unheard != "" {
			return state.VerdictTest, "mail is delivered as ever, and nobody is told what fails (" + j.unheard + ")" + rest
		}
		return state.VerdictTest, "mail is delivered as ever, and what fails is reported" + rest
	}
	if j.mxUnknown != "" {
		return state.VerdictUnknown, "the policy is in mode enforce, and whether the MX hosts pass could not be found out: " + j.mxUnknown
	}
	if len(j.ev.MX.Hosts) == 0 {
		return state.VerdictEnforce, "there is no MX host to which mail could go" + rest
	}
	if j.has(MXNotTried) {
		rest = ", as far as could be seen from here" + rest
	}
	return state.VerdictEnforce, "no MX host that takes mail would be refused" + rest
}

// loses returns the code of a finding by which mail is lost; "" if there is none.
func (j *judgement) loses() string {
	for _, f := range j.found {
		if f.Harm == lose && f.Status == fail {
			return f.Code
		}
	}
	return ""
}

// howMuch says what part of the mail is lost.
func (j *judgement) howMuch() string {
	switch {
	case j.has(MXNone):
		return ""
	case j.enforcing() && j.lostAll:
		return "; no MX host is left that mail may go to"
	case j.enforcing() && len(j.refused) > 0:
		return "; mail gets through only by the other addresses and MX hosts"
	}
	return ""
}

// others says that not all senders will do what the verdict says.
func (j *judgement) others() string {
	for _, code := range []string{ReadersLose, ReadersLenient, ReadersPolicy, ReadersRecord} {
		if j.has(code) {
			return "; not so for some senders, who read it otherwise (" + code + ")"
		}
	}
	for _, status := range []state.CheckStatus{fail, warn} {
		for _, f := range j.found {
			if f.Harm == partial && f.Status == status {
				return "; not so for some senders, or some of the time (" + f.Code + ")"
			}
		}
	}
	return ""
}

// worst is the text of the gravest failure whose code begins so.
func (j *judgement) worst(prefix, fallback string) string {
	var best *state.Finding
	for i := range j.found {
		f := &j.found[i]
		if f.Status == fail && strings.HasPrefix(f.Code, prefix) && (best == nil || f.Harm.Rank() > best.Harm.Rank()) {
			best = f
		}
	}
	if best == nil {
		return fallback
	}
	if strings.HasPrefix(best.Text, best.Subject+" ") {
		return best.Text
	}
	return fmt.Sprintf("%s: %s", best.Subject, best.Text)
}

func list(items []string) string {
	const most = 5
	if len(items) <= most {
		return strings.Join(items, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(items[:most], ", "), len(items)-most)
}
