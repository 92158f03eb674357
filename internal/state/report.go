package state

import (
	"time"

	"github.com/stshost/stshost/mtasts"
)

// Report is what an examination of a policy domain found: what senders will do,
// and why. Its JSON is stable and described by docs/check.schema.json: fields
// may be added, none changes its meaning.
type Report struct {
	Domain   string    `json:"domain" doc:"Policy domain in A-labels"`
	Verdict  Verdict   `json:"verdict" enum:"enforce,test,ignore,lose-mail,none,unknown" doc:"What senders will do with mail to the domain"`
	Summary  string    `json:"summary" doc:"The verdict and its main reason, one sentence"`
	Time     time.Time `json:"time" doc:"When the examination began"`
	Seconds  float64   `json:"seconds" doc:"How long it took"`
	RecordID string    `json:"record_id,omitempty" doc:"The id that the one valid record announces"`
	Mode     string    `json:"mode,omitempty" doc:"Mode of the policy as senders read it; absent if none could be read"`
	MaxAge   int64     `json:"max_age,omitempty" doc:"max_age of that policy, in seconds"`
	MX       []string  `json:"mx,omitempty" doc:"MX patterns of that policy"`
	Policy   string    `json:"policy,omitempty" doc:"Body of that policy"`
	Findings []Finding `json:"findings" nullable:"false" doc:"Everything that was looked at, what does most harm first"`
}

// Verdict is what senders will do with mail to a domain.
type Verdict string

// The verdicts.
const (
	// VerdictEnforce: they deliver over authenticated TLS only, and that works.
	VerdictEnforce Verdict = "enforce"
	// VerdictTest: they deliver as ever and report what would fail.
	VerdictTest Verdict = "test"
	// VerdictIgnore: they deliver as if there were no policy, although there is
	// something of one.
	VerdictIgnore Verdict = "ignore"
	// VerdictLoseMail: they refuse to deliver to an MX host of the domain.
	VerdictLoseMail Verdict = "lose-mail"
	// VerdictNone: the domain has no MTA-STS.
	VerdictNone Verdict = "none"
	// VerdictUnknown: it could not be found out from here.
	VerdictUnknown Verdict = "unknown"
)

// CheckStatus is how one thing that was looked at stands.
type CheckStatus string

// The statuses.
const (
	CheckPass    CheckStatus = "pass"    // as it should be
	CheckWarn    CheckStatus = "warn"    // works, but is a risk or keeps some senders away
	CheckFail    CheckStatus = "fail"    // broken
	CheckUnknown CheckStatus = "unknown" // could not be found out; its text says why
	CheckSkipped CheckStatus = "skipped" // not looked at; its text says why
)

// Harm is what a finding does to mail, as things stand.
type Harm string

// The harms, from the worst.
const (
	HarmLoss    Harm = "lose-mail"    // senders refuse to deliver, or cannot
	HarmIgnored Harm = "ignored"      // senders treat the domain as without a policy
	HarmPartial Harm = "some-senders" // one of the two for some senders, or some of the time
	HarmRisk    Harm = "risk"         // nothing yet
	HarmNone    Harm = ""
)

// Rank orders harms: 4 for the worst, 0 for none.
func (h Harm) Rank() int {
	switch h {
	case HarmLoss:
		return 4
	case HarmIgnored:
		return 3
	case HarmPartial:
		return 2
	case HarmRisk:
		return 1
	}
	return 0
}

// Finding is one thing that was looked at.
type Finding struct {
	Code     string            `json:"code" doc:"What was found, e.g. STS-MX-UNCOVERED; docs/check.md explains each"`
	Status   CheckStatus       `json:"status" enum:"pass,warn,fail,unknown,skipped"`
	Harm     Harm              `json:"harm,omitempty" enum:"lose-mail,ignored,some-senders,risk" doc:"What it does to mail"`
	Subject  string            `json:"subject" doc:"What it is about: a name, a host, or a host with its address"`
	Text     string            `json:"text" doc:"What was found, one sentence"`
	Evidence map[string]string `json:"evidence,omitempty" doc:"What the text rests on, by short keys"`
	Section  string            `json:"section" doc:"The standard that it is held against, e.g. RFC 8461 §3.1"`
	Remedy   string            `json:"remedy,omitempty" doc:"What to do about it, one sentence; absent if nothing is to be done"`
}

// Served is what a store remembers of the bodies that a hosted domain has
// served, for an examination to hold against what is published.
type Served struct {
	ID      string    // the id announced last
	SHA256  string    // of the body served now, lower-case hex
	Horizon time.Time // until when senders may hold an enforce policy that was served; zero: none
	Mode    mtasts.Mode
}

// MXCheck is what a look at the MX hosts of a hosted domain found.
type MXCheck struct {
	Domain   string
	Time     time.Time
	Passed   bool      // no MX host would be refused, as far as could be told
	Unknown  bool      // it could not be told, e.g. port 25 is closed on our side
	Summary  string    // one sentence
	Findings []Finding // those that are no pass

	// Hosts are the MX hosts by the DNS, as far as they were looked at, and
	// Validated says that DNSSEC vouches for them. A null MX (RFC 7505) is none.
	Hosts     []string
	Validated bool

	// Judged are the addresses of MX hosts that could be judged, named as the
	// subjects of findings are.
	Judged []string
	// Open are the hosts with something that could not be judged, and the names
	// of TLSA records that could not; MXAnything is everything.
	Open []string
}

// MXAnything in MXCheck.Open says that nothing is known, not even which hosts
// there are.
const MXAnything = "*"
