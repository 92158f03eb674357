package store_test

import (
	"errors"
	"testing"
	"time"

	"github.com/stshost/stshost/internal/state"
)

func TestACMEData(t *testing.T) {
	s := open(t, newPath(t))
	noError(t, s.PutACMEData(t.Context(), "acme_account+key", []byte("one")))
	noError(t, s.PutACMEData(t.Context(), "acme_account+key", []byte("two\x00")))
	noError(t, s.PutACMEData(t.Context(), "empty", nil))
	equal(t, get[[]byte](t)(s.ACMEData(t.Context(), "acme_account+key")), []byte("two\x00"))
	equal(t, len(get[[]byte](t)(s.ACMEData(t.Context(), "empty"))), 0)
	noError(t, s.DeleteACMEData(t.Context(), "acme_account+key"))
	if _, err := s.ACMEData(t.Context(), "acme_account+key"); !errors.Is(err, state.ErrNotFound) {
		t.Errorf("got %v, want %v", err, state.ErrNotFound)
	}
	noError(t, s.DeleteACMEData(t.Context(), "acme_account+key"))
}

func TestFinishCertJobKeepsCertificateAndRenewal(t *testing.T) {
	const host = "mta-sts.example.com"
	s := open(t, newPath(t))
	noError(t, s.PutCertJob(t.Context(), state.CertJob{Host: host, Due: day(1), Running: true, Attempts: 2, Problem: "timeout"}))
	first := certificate(host, day(20))
	renewal := state.CertJob{Host: host, Due: day(10), NotAfter: first.NotAfter, Challenge: "tls-alpn-01", LastAttempt: day(1)}
	noError(t, s.FinishCertJob(t.Context(), first, renewal))
	equal(t, get[state.Certificate](t)(s.Certificate(t.Context(), host)), first)
	equal(t, get[state.CertJob](t)(s.CertJob(t.Context(), host)), renewal)

	second := certificate(host, day(28))
	renewal.NotAfter = second.NotAfter
	noError(t, s.FinishCertJob(t.Context(), second, renewal))
	other := certificate("mta-sts.example.net", day(25))
	noError(t, s.FinishCertJob(t.Context(), other, state.CertJob{Host: other.Host}))
	equal(t, get[state.Certificate](t)(s.Certificate(t.Context(), host)), second)

	errorSays(t, s.FinishCertJob(t.Context(), other, state.CertJob{Host: host}), other.Host, host)
}

func TestCertJobComesBackAsItWasPut(t *testing.T) {
	s := open(t, newPath(t))
	full := state.CertJob{
		Host: "mta-sts.example.com", Due: day(1), NotAfter: day(2), Attempts: 3, Challenge: "http-01",
		Problem: "urn:ietf:params:acme:error:dns: NXDOMAIN", LastAttempt: day(4), Running: true,
	}
	noError(t, s.PutCertJob(t.Context(), full))
	equal(t, get[state.CertJob](t)(s.CertJob(t.Context(), full.Host)), full)
	empty := state.CertJob{Host: "mta-sts.a.example"}
	noError(t, s.PutCertJob(t.Context(), empty))
	equal(t, get[[]state.CertJob](t)(s.CertJobs(t.Context())), []state.CertJob{empty, full})
	noError(t, s.PutCertJob(t.Context(), state.CertJob{Host: full.Host}))
	equal(t, get[state.CertJob](t)(s.CertJob(t.Context(), full.Host)), state.CertJob{Host: full.Host})
	noError(t, s.DeleteCertJob(t.Context(), full.Host))
	noError(t, s.DeleteCertJob(t.Context(), full.Host))
	equal(t, get[[]state.CertJob](t)(s.CertJobs(t.Context())), []state.CertJob{empty})
}

func TestDueCertJobsInTheOrderOfNeed(t *testing.T) {
	s := open(t, newPath(t))
	for _, j := range []state.CertJob{
		{Host: "renew-late", Due: day(1), NotAfter: day(20)},
		{Host: "renew-soon", Due: day(5), NotAfter: day(10)},
		{Host: "first-b", Due: day(4)},
		{Host: "first-a", Due: day(3)},
		{Host: "failed-first", Due: day(2), Attempts: 1},
		{Host: "failed-renewal", Due: day(1), NotAfter: day(12), Attempts: 3},
		{Host: "first-c", Due: day(4)},
		{Host: "not-due", Due: day(6).Add(time.Microsecond)},
		{Host: "running", Due: day(1), Running: true},
		{Host: "on-the-dot", Due: day(6), NotAfter: day(30)},
	} {
		noError(t, s.PutCertJob(t.Context(), j))
	}
	all := []string{"first-a", "first-b", "first-c", "renew-soon", "failed-renewal", "renew-late", "on-the-dot", "failed-first"}
	for limit, want := range map[int][]string{-1: nil, 0: nil, 1: all[:1], 4: all[:4], 8: all, 100: all} {
		var hosts []string
		for _, j := range get[[]state.CertJob](t)(s.DueCertJobs(t.Context(), day(6), limit)) {
			hosts = append(hosts, j.Host)
		}
		equal(t, hosts, want)
	}
}

func TestSecretIsMadeOnce(t *testing.T) {
	path := newPath(t)
	s := open(t, path)
	probe := get[[]byte](t)(s.Secret(t.Context(), "probe"))
	if len(probe) != 32 {
		t.Fatalf("got %d bytes, want 32", len(probe))
	}
	if other := get[[]byte](t)(s.Secret(t.Context(), "other")); string(other) == string(probe) {
		t.Error("two names have one secret")
	}
	noError(t, s.Close())
	equal(t, get[[]byte](t)(open(t, path).Secret(t.Context(), "probe")), probe)
	if other := get[[]byte](t)(open(t, newPath(t)).Secret(t.Context(), "probe")); string(other) == string(probe) {
		t.Error("two installations have one secret")
	}
}
