package store_test

import (
	"testing"

	"github.com/stshost/stshost/internal/state"
)

// mxWatch has every field set.
func mxWatch(domain string) state.MXWatch {
	return state.MXWatch{
		Domain: domain, Time: day(1), Passed: true, Unknown: true, Summary: "mx1.example.net shows a certificate of another name",
		Attempts: 3,
		Trouble:  state.Trouble{Severity: state.SeverityCritical, Reason: "it is refused", Remedy: "mend it"},
		Faults: []state.MXFault{
			{Code: "STS-MX-CERT-NAME", Subject: "mx1.example.net (192.0.2.1:25)", Since: day(1), Seen: day(2), Harm: state.HarmLoss, Open: true, Told: true, Leads: true},
			{Code: "STS-MX-UNCOVERED", Subject: "mx2.example.net", Since: day(1), Seen: day(1)},
		},
		Told: state.MXTold{Kind: state.KindMXFailed, Time: day(1), Severity: state.SeverityWarning, Reason: "it was refused", Held: true},
		Hosts: []state.MXHostSeen{
			{Host: "mx1.example.net", Passed: day(1), Failing: day(2), Looks: 3, Told: day(3)}, {Host: "mx2.example.net", Passed: day(3)},
		},
		Drift: state.MXDrift{Hosts: []string{"mx8.example.net", "mx9.example.net"}, Time: day(3)},
	}
}

func TestMXCheckComesBackAsItWasSaved(t *testing.T) {
	path := newPath(t)
	s := open(t, path)
	full := mxWatch("b.example")
	empty := state.MXWatch{Domain: "a.example"}
	noError(t, s.SaveMXCheck(t.Context(), full))
	noError(t, s.SaveMXCheck(t.Context(), empty))
	equal(t, get[[]state.MXWatch](t)(s.MXChecks(t.Context())), []state.MXWatch{empty, full})

	// Every field is replaced, also by its zero value.
	noError(t, s.SaveMXCheck(t.Context(), state.MXWatch{Domain: "b.example"}))
	noError(t, s.Close())
	s = open(t, path)
	equal(t, get[[]state.MXWatch](t)(s.MXChecks(t.Context())), []state.MXWatch{empty, {Domain: "b.example"}})
}

func TestMXChecksAreForgotten(t *testing.T) {
	s := open(t, newPath(t))
	for _, domain := range []string{"a.example", "b.example", "c.example", "d.example"} {
		noError(t, s.SaveMXCheck(t.Context(), mxWatch(domain)))
		noError(t, s.SaveDomain(t.Context(), state.Domain{Name: domain}))
	}
	noError(t, s.RemoveMXChecks(t.Context(), []string{"a.example", "c.example", "nobody.example"}))
	noError(t, s.RemoveMXChecks(t.Context(), nil))
	noError(t, s.RemoveDomain(t.Context(), "d.example")) // and what belongs to it
	equal(t, get[[]state.MXWatch](t)(s.MXChecks(t.Context())), []state.MXWatch{mxWatch("b.example")})
}

// What was seen before hosts were remembered is seen still, and none is.
func TestMXChecksOfAnOlderVersion(t *testing.T) {
	path := newPath(t)
	makeVersion(t, path, 9)
	db := raw(t, path)
	mustExec(t, db, `INSERT INTO mx_checks VALUES ('a.example', 1735734615123456, 1, 0, 'fine', 0, 0, '', '', '', '', 0, 0, '', 0)`)
	noError(t, db.Close())
	s := open(t, path)
	equal(t, get[[]state.MXWatch](t)(s.MXChecks(t.Context())), []state.MXWatch{{Domain: "a.example", Time: day(1), Passed: true, Summary: "fine"}})
}
