package store_test

import (
	"errors"
	"testing"
	"time"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/store"
)

func TestDomainComesBackAsItWasSaved(t *testing.T) {
	path := newPath(t)
	s := open(t, path)
	full, empty := fullDomain("b.example"), state.Domain{Name: "a.example"}
	noError(t, s.SaveDomain(t.Context(), full))
	noError(t, s.SaveDomain(t.Context(), empty))

	equal(t, get[state.Domain](t)(s.Domain(t.Context(), "b.example")), full)
	equal(t, get[state.Domain](t)(s.Domain(t.Context(), "a.example")), empty)
	equal(t, get[[]state.Domain](t)(s.Domains(t.Context())), []state.Domain{empty, full})

	// Every field is replaced, also by its zero value.
	noError(t, s.SaveDomain(t.Context(), state.Domain{Name: "b.example"}))
	noError(t, s.Close())
	s = open(t, path)
	equal(t, get[state.Domain](t)(s.Domain(t.Context(), "b.example")), state.Domain{Name: "b.example"})
}

func TestTimesComeBackInUTCToTheMicrosecond(t *testing.T) {
	s := open(t, newPath(t))
	there := time.FixedZone("there", -7*3600)
	for _, c := range []struct{ saved, want time.Time }{
		{time.Time{}, time.Time{}},
		{time.Date(2025, 6, 1, 1, 2, 3, 4999, there), time.Date(2025, 6, 1, 8, 2, 3, 4000, time.UTC)},
		{time.Date(1969, 12, 31, 23, 59, 59, 0, time.UTC), time.Date(1969, 12, 31, 23, 59, 59, 0, time.UTC)},
		{time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC), time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)},
	} {
		noError(t, s.SaveDomain(t.Context(), state.Domain{Name: "example.com", NextRun: c.saved}))
		got := get[state.Domain](t)(s.Domain(t.Context(), "example.com")).NextRun
		if got != c.want { // not Equal: the location counts
			t.Errorf("saved %v: got %v, want %v", c.saved, got, c.want)
		}
	}
}

func TestRemoveDomainKeepsItsBodies(t *testing.T) {
	s := open(t, newPath(t))
	noError(t, s.ServeBody(t.Context(), serving("example.com", "aa"), body("example.com", "aa"), day(1)))
	noError(t, s.RemoveDomain(t.Context(), "example.com"))
	if _, err := s.Domain(t.Context(), "example.com"); !errors.Is(err, state.ErrNotFound) {
		t.Errorf("got %v, want %v", err, state.ErrNotFound)
	}
	equal(t, len(get[[]state.Body](t)(s.Bodies(t.Context(), "example.com"))), 1)
	noError(t, s.RemoveDomain(t.Context(), "example.com"))
}

func TestWhatIsNotThereIsErrNotFound(t *testing.T) {
	path := newPath(t)
	writable := open(t, path)
	readOnly, err := store.OpenReadOnly(t.Context(), path)
	noError(t, err)
	defer readOnly.Close()
	for name, s := range map[string]*store.Store{"writable": writable, "read-only": readOnly} {
		_, domain := s.Domain(t.Context(), "example.com")
		_, data := s.ACMEData(t.Context(), "key")
		_, cert := s.Certificate(t.Context(), "mta-sts.example.com")
		_, job := s.CertJob(t.Context(), "mta-sts.example.com")
		for what, err := range map[string]error{"domain": domain, "data": data, "certificate": cert, "job": job} {
			if !errors.Is(err, state.ErrNotFound) {
				t.Errorf("%s, %s: got %v, want %v", name, what, err, state.ErrNotFound)
			}
		}
		bodies, err := s.Bodies(t.Context(), "example.com")
		if len(bodies) != 0 || err != nil {
			t.Errorf("%s: got bodies %v, %v", name, bodies, err)
		}
	}
}
