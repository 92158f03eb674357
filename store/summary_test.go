package store_test

import (
	"testing"
	"time"

	"github.com/stshost/stshost/internal/state"
)

func TestSummary(t *testing.T) {
	s := open(t, newPath(t))
	for i, host := range []string{"mta-sts.a.test", "mta-sts.b.test"} {
		c := certificate(host, day(1+i))
		noError(t, s.FinishCertJob(t.Context(), c, state.CertJob{Host: host, Due: day(20)}))
	}
	noError(t, s.PutCertJob(t.Context(), state.CertJob{Host: "mta-sts.c.test", Due: day(1), Attempts: 1, Problem: "no"}))

	got := make(map[string][2]time.Time)
	noError(t, s.Validities(t.Context(), func(host string, notBefore, notAfter time.Time) { got[host] = [2]time.Time{notBefore, notAfter} }))
	want := make(map[string][2]time.Time)
	for host := range map[string]bool{"mta-sts.a.test": true, "mta-sts.b.test": true} {
		c := get[state.Certificate](t)(s.Certificate(t.Context(), host))
		want[host] = [2]time.Time{c.NotBefore, c.NotAfter}
	}
	equal(t, got, want)
	equal(t, get[[]string](t)(s.TroubledHosts(t.Context())), []string{"mta-sts.c.test"})
}

// Operations are measured; that something is not there is no fault of the store.
func TestObserve(t *testing.T) {
	path := newPath(t)
	s := open(t, path)
	var ops []string
	faults := 0
	s.Observe(func(op string, took time.Duration, fault error) {
		ops = append(ops, op)
		if fault != nil {
			faults++
		}
		if took <= 0 {
			t.Errorf("a %s took %s", op, took)
		}
	})
	noError(t, s.PutNotifyState(t.Context(), "ops", []byte("x")))
	if _, err := s.NotifyState(t.Context(), "nobody"); err == nil {
		t.Error("nobody was told something")
	}
	equal(t, ops, []string{"write", "read"})
	equal(t, faults, 0)
	mustExec(t, raw(t, path), "DROP TABLE notify_state")
	if err := s.PutNotifyState(t.Context(), "ops", []byte("x")); err == nil {
		t.Error("there was no table to write to")
	}
	equal(t, ops, []string{"write", "read", "write"})
}
