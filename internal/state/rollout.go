package state

import (
	"fmt"
	"time"

	"github.com/stshost/stshost/mtasts"
)

// Goal is where a managed domain is being taken.
type Goal string

// The goals.
const (
	// GoalStay: it stays at the stage that it has.
	GoalStay Goal = ""
	// GoalEnforce: stage by stage to enforce with the full max_age.
	GoalEnforce Goal = "enforce"
	// GoalRetire: out of MTA-STS (RFC 8461 §8.3).
	GoalRetire Goal = "retire"
)

// Stage is how far a domain has been taken on the way to its goal.
type Stage string

// The stages, in the order of a domain's life.
const (
	// StageTesting: senders report and refuse nothing.
	StageTesting Stage = "testing"
	// StageEnforce: senders refuse what does not fit, for the max_age that goes
	// with the stage.
	StageEnforce Stage = "enforce"
	// StageRetiring: the policy says none, until no sender can hold an earlier one.
	StageRetiring Stage = "retiring"
	// StageWithdrawing: the record is being taken out of the DNS.
	StageWithdrawing Stage = "withdrawing"
	// StageRetired: there is no record, no policy and no certificate any more.
	StageRetired Stage = "retired"
)

// Rollout is the durable part of how a domain is taken along its stages. A
// managed domain that was never taken anywhere has none.
type Rollout struct {
	Domain string
	Stage  Stage
	MaxAge time.Duration // of StageEnforce on its way; 0: the full one, as the config has it

	Entered   time.Time // when the stage was decided
	Confirmed time.Time // when the policy of the stage was first seen everywhere; zero: not yet

	Goal   Goal
	Paused bool // no step is made; what is served goes on being kept right

	Hasty     bool      // waiting times are skipped until the goal is reached (--now)
	NoReports bool      // that there are no reports was accepted (--accept-no-reports)
	Waivers   []Waiver  // for the next step
	Evidence  *Evidence // a look at the MX hosts that was made elsewhere (--evidence)

	MX []string // MX hosts that were accepted beside those of the config

	// Left says that the config names the domain no longer, and Target where its
	// record is, which is known from nowhere else then.
	Left   bool
	Target Target
	// Back is the goal and the stage that the domain had before it left, for the
	// case that it comes back; nil: it did not leave.
	Back *Back

	// Held is why the last look at the gates led to no step, as it was told; "":
	// nothing was.
	Held string
}

// Waiver is a gate that the operator wants passed unmet.
type Waiver struct {
	Gate   string    `json:"gate" doc:"Name of the gate"`
	Reason string    `json:"reason" doc:"Why, in the operator's words"`
	Time   time.Time `json:"time,omitzero" doc:"When it was waived"`
}

// Evidence is a look at the MX hosts that was made elsewhere.
type Evidence struct {
	Time     time.Time `json:"time"`     // of the look
	MX       []string  `json:"mx"`       // MX patterns that it was judged by
	Findings []Finding `json:"findings"` // about MX hosts, passes among them
}

// Back is where a domain that left the config was.
type Back struct {
	Stage  Stage         `json:"stage"`
	MaxAge time.Duration `json:"max_age"`
	Goal   Goal          `json:"goal"`
}

// GateState is how a gate stands.
type GateState string

// The states of a gate.
const (
	GateMet     GateState = "met"
	GateUnmet   GateState = "unmet"
	GateUnknown GateState = "unknown" // it cannot be told from here
	GateWaived  GateState = "waived"  // the operator has decided
)

// The gates before a step, in their order.
const (
	GatePolicy       = "policy"          // the policy of the stage is confirmed everywhere
	GateCovered      = "mx-covered"      // the policy names every MX host
	GateTLS          = "mx-tls"          // every MX host passes at each of its addresses
	GateCertificates = "mx-certificates" // their certificates are valid for 14 days more
	GateTime         = "time"            // the stage has lasted for its minimum time
	GateReports      = "reports"         // senders report success, and no failure unexplained
)

// Gates returns the names of the gates, in their order.
func Gates() []string {
	return []string{GatePolicy, GateCovered, GateTLS, GateCertificates, GateTime, GateReports}
}

// Gate is one condition for the next step.
type Gate struct {
	Name   string    `json:"name" enum:"policy,mx-covered,mx-tls,mx-certificates,time,reports" doc:"Name of the gate"`
	State  GateState `json:"state" enum:"met,unmet,unknown,waived"`
	Value  string    `json:"value" doc:"What there is, in a few words"`
	Wanted string    `json:"wanted" doc:"What there has to be"`
	Remedy string    `json:"remedy,omitempty" doc:"What can be done about it; absent if nothing is to be done"`
	// Awaited says that an unmet gate will be met by itself, and At when, if that
	// is known.
	Awaited bool      `json:"awaited,omitempty" doc:"Whether it is met by itself in time"`
	At      time.Time `json:"at,omitzero" doc:"When it is met by itself, if that is known"`
}

// Open reports whether the gate lets a step pass.
func (g Gate) Open() bool { return g.State == GateMet || g.State == GateWaived }

// ClosedGate is the first of the gates that keeps a domain from its next step and is
// not met by itself, or else the one that is met by itself last; false: all are open.
func ClosedGate(gates []Gate) (last Gate, closed bool) {
	for _, g := range gates {
		switch {
		case g.Open():
		case !g.Awaited:
			return g, true
		case !closed || g.At.After(last.At):
			last, closed = g, true
		}
	}
	return last, closed
}

// RolloutStep is one stage of a plan.
type RolloutStep struct {
	Stage  Stage     `json:"stage"`
	Mode   string    `json:"mode" doc:"Mode that the policy has in this stage"`
	MaxAge int64     `json:"max_age,omitempty" doc:"max_age that the policy has in this stage, in seconds; absent where there is no policy"`
	Since  time.Time `json:"since,omitzero" doc:"Since when the domain has been in this stage; absent for those to come"`
	From   time.Time `json:"from,omitzero" doc:"When the domain can be there at the earliest; absent if that is not known"`
}

// RolloutStatus is how a domain stands on its way.
type RolloutStatus struct {
	Domain  string `json:"domain" doc:"Policy domain in A-labels"`
	Stage   Stage  `json:"stage,omitempty" doc:"Stage reached: testing, enforce, retiring, withdrawing or retired; absent before the first policy"`
	Goal    Goal   `json:"goal,omitempty" doc:"Where the domain is being taken: enforce or retire; absent if it stays"`
	Profile string `json:"profile,omitempty" doc:"Profile of the domain in the configuration"`
	Pinned  string `json:"pinned,omitempty" doc:"Where the configuration pins the mode, as file:line; then nothing here can change it"`

	Mode      string    `json:"mode,omitempty" doc:"Mode of the stage"`
	MaxAge    int64     `json:"max_age,omitempty" doc:"max_age of the stage, in seconds"`
	Full      bool      `json:"full,omitempty" doc:"Whether the last stage on the way to enforce is reached"`
	Entered   time.Time `json:"entered,omitzero" doc:"When the stage was decided"`
	Confirmed time.Time `json:"confirmed,omitzero" doc:"When the policy of the stage was first seen everywhere"`

	Paused bool `json:"paused,omitempty" doc:"Whether the way is paused"`
	Left   bool `json:"left,omitempty" doc:"Whether the configuration names the domain no longer"`

	Gates   []Gate    `json:"gates,omitempty" doc:"Conditions for the next step, as they were last looked at"`
	Checked time.Time `json:"checked,omitzero" doc:"When they were looked at"`
	Refused bool      `json:"refused,omitempty" doc:"Whether a gate holds the domain up that will not be met by itself"`
	Awaits  string    `json:"awaits,omitempty" doc:"What is awaited, or what holds the domain up, one sentence"`
	Remedy  string    `json:"remedy,omitempty" doc:"What can be done about that, one sentence"`
	Next    time.Time `json:"next,omitzero" doc:"When the gates are looked at next, or the next step can be made"`

	Steps []RolloutStep `json:"steps,omitempty" doc:"The stages from the present one to the goal"`
	MX    []string      `json:"mx,omitempty" doc:"MX hosts that were accepted beside those of the configuration"`
	Kept  []string      `json:"kept,omitempty" doc:"MX hosts that the policy goes on naming although the configuration does not, because senders may hold an older policy"`
	Until time.Time     `json:"until,omitzero" doc:"Until when they do, or until when a policy is served that says none"`
}

// RolloutOrder is what the operator wants of a rollout beyond that it be.
type RolloutOrder struct {
	Now             bool     `json:"now,omitempty" doc:"Skip the waiting times; never the probes"`
	AcceptNoReports bool     `json:"accept_no_reports,omitempty" doc:"Rest on probes alone where there are no TLS reports"`
	Waive           []Waiver `json:"waive,omitempty" maxItems:"6" doc:"Gates to pass unmet at the next step"`
	Evidence        *Report  `json:"evidence,omitempty" doc:"What 'stshost check --json' found elsewhere, not more than a day ago"`
}

// RefusedError says that a rollout does not begin. Nothing has changed.
type RefusedError struct {
	Status RolloutStatus // with the gates
	Gate   Gate          // the first that is closed
}

func (e *RefusedError) Error() string {
	return fmt.Sprintf("%s stays in %s: the gate %s is %s (%s; wanted: %s)", e.Status.Domain, e.Status.Stage, e.Gate.Name, e.Gate.State, e.Gate.Value, e.Gate.Wanted)
}

// Remedy says what can be done about it.
func (e *RefusedError) Remedy() string { return e.Gate.Remedy }

// PinnedError says that the config decides the mode.
type PinnedError struct {
	Domain string
	Mode   mtasts.Mode
	Source string // file:line
}

func (e *PinnedError) Error() string {
	return fmt.Sprintf("the mode of %s is pinned at %s (mode = %q); remove that line and reload, and stshost takes it from the mode that it has; for another mode, write it there and reload", e.Domain, e.Source, e.Mode)
}

// StageError says that a domain is at a stage at which a command means nothing.
type StageError struct{ Text string }

func (e *StageError) Error() string { return e.Text }

// Horizon is until when senders may act on policies that a domain has served.
type Horizon struct {
	Domain string        `json:"domain"`
	MX     string        `json:"mx,omitempty" doc:"The MX host asked about; absent if it was the domain as a whole"`
	Until  time.Time     `json:"until,omitzero" doc:"From then on it can go without loss of mail; absent if it can go now, or if Open"`
	Open   bool          `json:"open,omitempty" doc:"Whether there is no end as things stand: the text says what to do first"`
	Text   string        `json:"text" doc:"The answer, one sentence"`
	Remedy string        `json:"remedy,omitempty" doc:"What to do first, one sentence"`
	Bodies []HorizonBody `json:"bodies" nullable:"false" doc:"What the answer rests on: every policy served, the latest first"`
}

// HorizonBody is a policy that senders may hold.
type HorizonBody struct {
	SHA256  string    `json:"sha256" doc:"Digest of the body, lower-case hex"`
	Mode    string    `json:"mode"`
	MaxAge  int64     `json:"max_age" doc:"Seconds"`
	MX      []string  `json:"mx,omitempty"`
	First   time.Time `json:"first_served"`
	Last    time.Time `json:"last_served,omitzero" doc:"Absent while it is served"`
	Until   time.Time `json:"until" doc:"A sender that fetched it at the last moment holds it until then; while it is served, counted from now"`
	Adopted bool      `json:"adopted,omitempty" doc:"Whether it was found published before this installation served it"`
	Matters bool      `json:"matters" doc:"Whether the answer depends on it"`
	Why     string    `json:"why" doc:"Why it does, or does not, in a few words"`
}

// MXChange is what was done about MX hosts that a policy does not name.
type MXChange struct {
	Domain   string   `json:"domain"`
	Accepted []string `json:"accepted" nullable:"false" doc:"MX hosts that the policy names from now on"`
	MX       []string `json:"mx" nullable:"false" doc:"All that it names then"`
	Text     string   `json:"text" doc:"What was done, one sentence"`
}

// ReportSums is what TLS reports (RFC 8460) say of a domain in a window of time.
type ReportSums struct {
	Reporters  int    // distinct organizations that report success and are verified
	Successful int64  // sessions
	Failed     int64  // sessions that failed for a cause that is not explained, verified or not
	Cause      string // of these failures, one sentence
}
