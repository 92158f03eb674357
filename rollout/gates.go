package rollout

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
	"github.com/stshost/stshost/reconcile"
)

// facts are what gates are judged by.
type facts struct {
	now  time.Time
	conf *Domain
	row  state.Rollout // with the order of the operator
	at   place
	to   place

	snapshot reconcile.Snapshot
	served   mtasts.Policy
	since    time.Time // since when the policy of the stage has been seen everywhere; zero: it is not

	seen    state.MXCheck
	seenErr error // nothing was seen

	reports    *state.ReportSums // nil: there are none
	reportsErr error
}

// judge says how each gate stands. It is a pure function of the facts.
func judge(f facts) []state.Gate {
	gates := []state.Gate{f.policyGate()}
	if f.to != inTesting { // which refuses nothing
		gates = append(gates, f.coveredGate(), f.tlsGate(), f.certificateGate(), f.timeGate(), f.reportsGate())
	}
	for i := range gates {
		g := &gates[i]
		if w := slices.IndexFunc(f.row.Waivers, func(w state.Waiver) bool { return w.Gate == g.Name }); w >= 0 && !g.Open() && (f.served.Mode != "" || g.Name != state.GatePolicy) {
			g.Value = fmt.Sprintf("%s; waived: %s", g.Value, f.row.Waivers[w].Reason)
			g.State, g.Remedy, g.Awaited, g.At = state.GateWaived, "", false, time.Time{}
		}
	}
	return gates
}

// policyGate: what is to be lengthened must be what senders see.
func (f facts) policyGate() state.Gate {
	g := state.Gate{Name: state.GatePolicy, Wanted: "confirmed on every authoritative server"}
	s := f.snapshot.State
	switch served := s.BodySHA256 != ""; {
	case !served:
		g.State, g.Value = state.GateUnmet, "no policy is served yet"
		g.Remedy = cmp.Or(s.Remedy, "wait until `stshost status "+f.conf.Wanted.Domain+"` shows the state confirmed")
	case s.LastError != "" && s.Attempts > 0:
		g.State, g.Value, g.Remedy = state.GateUnmet, s.LastError, s.Remedy
	case s.LastError != "":
		g.State, g.Value, g.Remedy, g.Awaited = state.GateUnmet, s.LastError, s.Remedy, true
	case s.Step != state.Confirmed || !f.snapshot.Waits.IsZero() || !f.conf.is(f.served, f.at):
		g.State, g.Value, g.Awaited = state.GateUnmet, "on its way: "+string(s.Step), true
	default:
		g.State, g.Value = state.GateMet, "confirmed since "+stamp(s.Since)
	}
	return g
}

// aboutNames says whether a finding is about names in the MX records, which a policy
// covers or not, and not about the hosts.
func aboutNames(code string) bool { return code == "STS-MX-UNCOVERED" || code == "STS-MX-LITERAL" }

// expires is the code of a certificate that is not valid for 14 days more.
const expires = "STS-MX-CERT-EXPIRES"

func (f facts) coveredGate() state.Gate {
	g := state.Gate{Name: state.GateCovered, Wanted: "every MX host is named by the policy"}
	bad := f.failing(func(code string) bool { return aboutNames(code) })
	switch {
	case len(bad) > 0:
		g.State, g.Value = state.GateUnmet, texts(bad)
		g.Remedy = "add the hosts to mx in the config, or have `stshost mx accept " + f.conf.Wanted.Domain + "` do it; or remove the MX records, if nobody wanted them"
	case f.seenErr == nil && !slices.Contains(f.seen.Open, state.MXAnything):
		g.State, g.Value = state.GateMet, hosts(f.seen.Hosts)
	default:
		g.State, g.Value = state.GateUnknown, f.unseen()
		g.Remedy = "see that the resolver answers; it is looked at again by itself"
	}
	return g
}

func (f facts) tlsGate() state.Gate {
	g := state.Gate{Name: state.GateTLS, Wanted: "verified TLS at every address of every MX host"}
	bad := f.failing(func(code string) bool { return !aboutNames(code) })
	switch {
	case len(bad) > 0:
		g.State, g.Value = state.GateUnmet, texts(bad)
		g.Remedy = cmp.Or(bad[0].Remedy, "`stshost check "+f.conf.Wanted.Domain+"` says more")
	case f.seenAll():
		g.State, g.Value = state.GateMet, fmt.Sprintf("%s verified%s", counted(len(f.seen.Judged), "address", "addresses"), untried(f.seen.Findings))
	default:
		f.otherwise(&g)
	}
	return g
}

func (f facts) certificateGate() state.Gate {
	g := state.Gate{Name: state.GateCertificates, Wanted: "every MX certificate is valid for 14 days more"}
	soon := slices.DeleteFunc(slices.Concat(f.seen.Findings, f.findingsElsewhere()), func(o state.Finding) bool { return o.Code != expires })
	switch {
	case len(soon) > 0:
		g.State, g.Value, g.Remedy = state.GateUnmet, texts(soon), soon[0].Remedy
	case f.seenAll():
		g.State, g.Value = state.GateMet, "none expires before that"
	default:
		f.otherwise(&g)
	}
	return g
}

// seenAll reports whether every MX host was looked at from here, and nothing was left
// open at any of its addresses. One that cannot be tried from here, for want of IPv6,
// leaves nothing open if another of the host could be.
func (f facts) seenAll() bool {
	if f.seenErr != nil || slices.ContainsFunc(f.seen.Findings, func(o state.Finding) bool { return o.Status == state.CheckUnknown && aboutMX(o.Code) }) {
		return false
	}
	for _, host := range f.seen.Hosts {
		if slices.Contains(f.seen.Open, host) || !slices.ContainsFunc(f.seen.Judged, func(subject string) bool { return strings.HasPrefix(subject, host+" (") }) {
			return false
		}
	}
	return !slices.Contains(f.seen.Open, state.MXAnything)
}

// otherwise is how a gate about MX hosts stands that could not be looked at from
// here: what was seen elsewhere counts, or what verified reports say.
func (f facts) otherwise(g *state.Gate) {
	switch {
	case f.seenElsewhere():
		g.State, g.Value = state.GateMet, "seen elsewhere at "+stamp(f.row.Evidence.Time)
	case f.reported():
		g.State, g.Value = state.GateMet, fmt.Sprintf("%s reported verified TLS", counted(f.reports.Reporters, "organization", "organizations"))
	default:
		g.State, g.Value = state.GateUnknown, f.unseen()
		g.Remedy = fmt.Sprintf("run `stshost check %s --json > evidence.json` on a machine that may connect to port 25, and pass the file on with --evidence evidence.json within a day",
			f.conf.Wanted.Domain)
	}
}

// seenElsewhere reports whether all of the MX hosts that there are were looked at
// elsewhere, and nothing was left open.
func (f facts) seenElsewhere() bool {
	found := f.findingsElsewhere()
	if len(found) == 0 || slices.ContainsFunc(found, func(o state.Finding) bool { return o.Status == state.CheckUnknown }) {
		return false
	}
	for _, host := range f.seen.Hosts {
		if !slices.ContainsFunc(found, func(o state.Finding) bool { return judgedAddress(o) && strings.HasPrefix(o.Subject, host+" (") }) {
			return false
		}
	}
	return true
}

// judgedAddress reports whether a finding judges an MX host at one of its addresses,
// and does not rest on the DNS alone.
func judgedAddress(o state.Finding) bool {
	return strings.HasSuffix(o.Subject, ")") && strings.Contains(o.Subject, " (") && (o.Status == state.CheckPass || o.Status == state.CheckFail)
}

// freshness is for how long a look that was made elsewhere counts.
const freshness = 24 * time.Hour

// elsewhere is the look that was made elsewhere, as long as it counts: it is fresh,
// and was held against the policy that is served.
func (f facts) elsewhere() *state.Evidence {
	e := f.row.Evidence
	if e == nil || f.now.Sub(e.Time).Abs() > freshness || !slices.Equal(slices.Sorted(slices.Values(e.MX)), slices.Sorted(slices.Values(f.served.MX))) {
		return nil
	}
	return e
}

func (f facts) findingsElsewhere() []state.Finding {
	if e := f.elsewhere(); e != nil {
		return e.Findings
	}
	return nil
}

// failing are the findings that fail, from here and from elsewhere, with such a
// code.
func (f facts) failing(code func(string) bool) (bad []state.Finding) {
	for _, o := range slices.Concat(f.seen.Findings, f.findingsElsewhere()) {
		if o.Status == state.CheckFail && code(o.Code) {
			bad = append(bad, o)
		}
	}
	return bad
}

// unseen is why it is not known how the MX hosts are.
func (f facts) unseen() string {
	if f.seenErr != nil {
		return f.seenErr.Error()
	}
	return strings.TrimSuffix(f.seen.Summary, ".")
}

// reported says whether enough senders have reported success, and none a failure.
func (f facts) reported() bool {
	return f.reports != nil && f.reports.Failed == 0 && f.reports.Reporters >= max(1, f.conf.Reporters)
}

func (f facts) timeGate() state.Gate {
	stay := f.conf.stay(f.at)
	g := state.Gate{Name: state.GateTime, Wanted: span(stay) + " in this stage"}
	lasted := max(0, f.now.Sub(f.since)) // the clock may have been ahead
	switch {
	case f.row.Hasty:
		g.State, g.Value = state.GateWaived, "waiting is skipped (--now)"
	case f.row.Back != nil:
		g.State, g.Value = state.GateWaived, "the domain was there before it left the config"
	case f.since.IsZero():
		g.State, g.Value, g.Awaited = state.GateUnmet, "it has not begun: the policy is not confirmed", true
	case lasted < stay:
		g.State, g.Value, g.Awaited, g.At = state.GateUnmet, span(lasted), true, f.since.Add(stay)
	default:
		g.State, g.Value = state.GateMet, span(lasted)
	}
	return g
}

func (f facts) reportsGate() state.Gate {
	g := state.Gate{Name: state.GateReports, Wanted: fmt.Sprintf("success from %s, no failure unexplained", counted(f.conf.Reporters, "organization", "organizations"))}
	const rest = "--accept-no-reports rests on probes alone; or wait for reports"
	accepted := f.row.NoReports || f.row.Back != nil
	switch {
	case f.reportsErr != nil:
		g.State, g.Value, g.Remedy = state.GateUnknown, f.reportsErr.Error(), "see the log of the server"
	case f.reports != nil && f.reports.Failed > 0:
		g.State, g.Value = state.GateUnmet, fmt.Sprintf("%d sessions failed: %s", f.reports.Failed, f.reports.Cause)
		g.Remedy = "find out why with `stshost check " + f.conf.Wanted.Domain + "`, and mend it"
	case f.conf.Reporters == 0:
		g.State, g.Value = state.GateMet, "none are wanted"
	case f.reports != nil && f.reports.Reporters >= f.conf.Reporters:
		g.State, g.Value = state.GateMet, fmt.Sprintf("%s, %d sessions", counted(f.reports.Reporters, "organization", "organizations"), f.reports.Successful)
	case accepted && f.reports == nil:
		g.State, g.Value = state.GateWaived, "no reports: resting on probes only, which was accepted"
	case accepted:
		g.State, g.Value = state.GateWaived, fmt.Sprintf("%s: too few, which was accepted", counted(f.reports.Reporters, "organization", "organizations"))
	case f.reports == nil:
		g.State, g.Value, g.Remedy = state.GateUnmet, "no reports: resting on probes only", rest
	default:
		g.State, g.Value, g.Remedy = state.GateUnmet, counted(f.reports.Reporters, "organization", "organizations"), rest
	}
	return g
}

// untried says how many addresses could not be tried from here.
func untried(findings []state.Finding) string {
	n := 0
	for _, o := range findings {
		if o.Status == state.CheckSkipped && strings.HasPrefix(o.Code, "STS-MX-") {
			n++
		}
	}
	if n == 0 {
		return ""
	}
	return fmt.Sprintf(", %d not tried", n)
}

// hosts says which MX hosts there are.
func hosts(all []string) string {
	const most = 4
	switch {
	case len(all) == 0:
		return "there is no MX host"
	case len(all) > most:
		return fmt.Sprintf("%s and %d more", strings.Join(all[:most], ", "), len(all)-most)
	}
	return strings.Join(all, ", ")
}

// texts says what findings found: the first, and how many more there are.
func texts(bad []state.Finding) string {
	text := bad[0].Subject + ": " + strings.TrimSuffix(bad[0].Text, ".")
	if more := len(bad) - 1; more > 0 {
		text = fmt.Sprintf("%s; and %d more", text, more)
	}
	return text
}

func counted(n int, one, many string) string {
	if n == 1 {
		return "1 " + one
	}
	return fmt.Sprintf("%d %s", n, many)
}

// span is a time as people say it, to the largest unit that leaves little out.
func span(d time.Duration) string {
	for _, u := range []struct {
		d    time.Duration
		name string
	}{{7 * 24 * time.Hour, "week"}, {24 * time.Hour, "day"}, {time.Hour, "hour"}, {time.Minute, "minute"}} {
		if n := int(d / u.d); n >= 1 && (d%u.d == 0 || n >= 2) {
			return counted(n, u.name, u.name+"s")
		}
	}
	return counted(int(d/time.Second), "second", "seconds")
}

func stamp(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }
