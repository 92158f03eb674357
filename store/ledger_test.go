package store_test

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/stshost/stshost/internal/state"
)

// entry is what a test of the ledger looks at.
type entry struct {
	SHA         string
	First, Last time.Time
	Adopted     bool
}

func entries(bodies []state.Body) []entry {
	var all []entry
	for _, b := range bodies {
		all = append(all, entry{b.SHA256, b.FirstServed, b.LastServed, b.Adopted})
	}
	return all
}

func TestServeBodyKeepsTheLedger(t *testing.T) {
	const domain = "example.com"
	s := open(t, newPath(t))
	serve := func(sha string, first, at time.Time) {
		t.Helper()
		b := body(domain, sha)
		b.FirstServed = first
		b.LastServed = day(28) // is ignored: the body is served now
		noError(t, s.ServeBody(t.Context(), serving(domain, sha), b, at))
		equal(t, get[state.Domain](t)(s.Domain(t.Context(), domain)).BodySHA256, sha)
	}
	ledger := func() []entry { return entries(get[[]state.Body](t)(s.Bodies(t.Context(), domain))) }

	serve("aa", time.Time{}, day(1))
	equal(t, ledger(), []entry{{SHA: "aa", First: day(1)}})
	serve("bb", day(2), day(2))
	equal(t, ledger(), []entry{{SHA: "bb", First: day(2)}, {SHA: "aa", First: day(1), Last: day(2)}})
	serve("cc", day(3), day(3))
	equal(t, ledger(), []entry{{SHA: "cc", First: day(3)}, {SHA: "bb", First: day(2), Last: day(3)}, {SHA: "aa", First: day(1), Last: day(2)}})
	// A body that comes back is the same entry, open again.
	serve("aa", day(4), day(4))
	equal(t, ledger(), []entry{{SHA: "aa", First: day(1)}, {SHA: "cc", First: day(3), Last: day(4)}, {SHA: "bb", First: day(2), Last: day(3)}})
	// Served again as it is, nothing but the journal changes.
	serve("aa", day(5), day(5))
	equal(t, ledger()[0], entry{SHA: "aa", First: day(1)})
	// A clock that was set back does not end a body before it began.
	serve("bb", day(1), day(1))
	serve("cc", day(1), day(1))
	equal(t, ledger(), []entry{{SHA: "cc", First: day(3)}, {SHA: "bb", First: day(2), Last: day(2)}, {SHA: "aa", First: day(1), Last: day(1)}})

	noError(t, s.CloseBody(t.Context(), domain, day(6)))
	equal(t, ledger()[0], entry{SHA: "cc", First: day(3), Last: day(6)})
	noError(t, s.CloseBody(t.Context(), domain, day(7)))
	equal(t, ledger()[0], entry{SHA: "cc", First: day(3), Last: day(6)})
}

func TestBodyComesBackAsItWasServed(t *testing.T) {
	s := open(t, newPath(t))
	want := body("example.com", "aa")
	want.Body = []byte("version: STSv1\r\n\x00\xff")
	noError(t, s.ServeBody(t.Context(), serving("example.com", "aa"), want, day(1)))
	equal(t, get[[]state.Body](t)(s.Bodies(t.Context(), "example.com")), []state.Body{want})
	noError(t, s.ServeBody(t.Context(), serving("a.example", "aa"), body("a.example", "aa"), day(1)))
	noError(t, s.ServeBody(t.Context(), serving("b.example", "bb"), body("b.example", "bb"), day(1)))
	noError(t, s.CloseBody(t.Context(), "b.example", day(2)))
	equal(t, get[[]state.Body](t)(s.CurrentBodies(t.Context())), []state.Body{body("a.example", "aa"), want})
}

func TestAddBody(t *testing.T) {
	const domain = "example.com"
	s := open(t, newPath(t))
	add := func(sha string, first, last time.Time) {
		t.Helper()
		b := body(domain, sha)
		b.FirstServed, b.LastServed, b.Adopted = first, last, true
		noError(t, s.AddBody(t.Context(), b))
	}
	ledger := func() []entry { return entries(get[[]state.Body](t)(s.Bodies(t.Context(), domain))) }

	add("aa", day(3), day(3))
	add("aa", day(3), day(3)) // again, after a kill
	equal(t, ledger(), []entry{{"aa", day(3), day(3), true}})
	equal(t, len(get[[]state.Body](t)(s.CurrentBodies(t.Context()))), 0)
	add("aa", day(2), day(2))
	add("aa", day(4), day(5))
	equal(t, ledger(), []entry{{"aa", day(2), day(5), true}})

	// Served by us now, it stays noted as found, and seeing it does not close it.
	noError(t, s.ServeBody(t.Context(), serving(domain, "aa"), body(domain, "aa"), day(6)))
	add("aa", day(7), day(7))
	want := []entry{{SHA: "aa", First: day(2), Adopted: true}}
	if diff := cmp.Diff(want, ledger(), cmpopts.EquateEmpty()); diff != "" {
		t.Fatal(diff)
	}
}

func TestTheLedgerRefusesWhatContradictsTheJournal(t *testing.T) {
	s := open(t, newPath(t))
	err := s.ServeBody(t.Context(), serving("example.com", "aa"), body("example.net", "aa"), day(1))
	errorSays(t, err, "example.com", "example.net")
	err = s.ServeBody(t.Context(), serving("example.com", "aa"), body("example.com", "bb"), day(1))
	errorSays(t, err, `"aa"`, `"bb"`)
	err = s.ServeBody(t.Context(), serving("example.com", "aa"), body("example.com", "aa"), time.Time{})
	errorSays(t, err, "no time")
	errorSays(t, s.AddBody(t.Context(), body("example.com", "aa")), "times")
	errorSays(t, s.CloseBody(t.Context(), "example.com", time.Time{}), "no time")
	equal(t, len(get[[]state.Domain](t)(s.Domains(t.Context()))), 0)
	equal(t, len(get[[]state.Body](t)(s.CurrentBodies(t.Context()))), 0)
}
