package store_test

import (
	"errors"
	"testing"

	"github.com/stshost/stshost/internal/state"
)

// mxWatch has every field set.
func mxWatch(domain string) state.MXWatch {
	return state.MXWatch{
		MXCheck: state.MXCheck{
			Domain: domain, Time: day(1), Passed: true, Unknown: true, Summary: "mx1.example.net shows a certificate of another name",
			Findings: []state.Finding{{
				Code: "STS-MX-NAME", Status: state.CheckFail, Harm: state.HarmLoss, Subject: "mx1.example.net", Text: "it is for another name",
				Evidence: map[string]string{"names": "other.example"}, Section: "RFC 8461 §4.2", Remedy: "get one for mx1.example.net",
			}},
		},
		Attempts: 3,
		Told:     state.Trouble{Severity: state.SeverityCritical, Reason: "it was refused", Remedy: "mend it"},
	}
}

func TestMXCheckComesBackAsItWasSaved(t *testing.T) {
	path := newPath(t)
	s := open(t, path)
	full := mxWatch("b.example")
	empty := state.MXWatch{MXCheck: state.MXCheck{Domain: "a.example"}}
	noError(t, s.SaveMXCheck(t.Context(), full))
	noError(t, s.SaveMXCheck(t.Context(), empty))
	equal(t, get[state.MXWatch](t)(s.MXCheck(t.Context(), "b.example")), full)
	equal(t, get[[]state.MXWatch](t)(s.MXChecks(t.Context())), []state.MXWatch{empty, full})
	if _, err := s.MXCheck(t.Context(), "c.example"); !errors.Is(err, state.ErrNotFound) {
		t.Errorf("of nobody: %v", err)
	}

	// Every field is replaced, also by its zero value.
	noError(t, s.SaveMXCheck(t.Context(), state.MXWatch{MXCheck: state.MXCheck{Domain: "b.example"}}))
	noError(t, s.Close())
	s = open(t, path)
	equal(t, get[state.MXWatch](t)(s.MXCheck(t.Context(), "b.example")), state.MXWatch{MXCheck: state.MXCheck{Domain: "b.example"}})
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
