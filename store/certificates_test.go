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

func TestRemoveCertificateForgetsKeyAndRenewal(t *testing.T) {
	const host, other = "mta-sts.example.com", "mta-sts.example.net"
	path := newPath(t)
	s := open(t, path)
	for _, host := range []string{host, other} {
		noError(t, s.FinishCertJob(t.Context(), certificate(host, day(20)), state.CertJob{Host: host, Due: day(10)}))
	}
	here := func() (n int) {
		t.Helper()
		for _, what := range []string{"certificates", "cert_jobs"} {
			var rows int
			noError(t, raw(t, path).QueryRow(`SELECT count(*) FROM `+what+` WHERE host = ?`, host).Scan(&rows))
			n += rows
		}
		return n
	}
	db := raw(t, path)
	mustExec(t, db, `CREATE TRIGGER no_job BEFORE DELETE ON cert_jobs BEGIN SELECT raise(FAIL, 'queue fault'); END`)
	errorSays(t, s.RemoveCertificate(t.Context(), host), host, "queue fault")
	equal(t, here(), 2) // both or neither
	mustExec(t, db, `DROP TRIGGER no_job`)

	noError(t, s.RemoveCertificate(t.Context(), host))
	equal(t, here(), 0)
	noError(t, s.RemoveCertificate(t.Context(), host)) // nothing is left to forget
	equal(t, get[state.Certificate](t)(s.Certificate(t.Context(), other)), certificate(other, day(20)))
	get[state.CertJob](t)(s.CertJob(t.Context(), other))

	// A host that never had a certificate only waits for one.
	noError(t, s.PutCertJob(t.Context(), state.CertJob{Host: host}))
	noError(t, s.RemoveCertificate(t.Context(), host))
	equal(t, here(), 0)
}

func TestCertJobComesBackAsItWasPut(t *testing.T) {
	s := open(t, newPath(t))
	full := state.CertJob{
		Host: "mta-sts.example.com", Due: day(1), NotAfter: day(2), Attempts: 3, Challenge: "http-01",
		Problem: "urn:ietf:params:acme:error:dns: NXDOMAIN", LastAttempt: day(4), Running: true,
		CA: "https://ca.example/directory", AskAt: day(5), WindowStart: day(6), WindowEnd: day(7), Explanation: "https://ca.example/why",
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

// What the questions about renewals and the metrics read of the queue.
func TestQueueByQuestions(t *testing.T) {
	const first, second = "https://first.example/dir", "https://second.example/dir"
	s := open(t, newPath(t))
	for _, j := range []state.CertJob{
		{Host: "a-first", Due: day(1)}, // no certificate: nothing to ask about
		{Host: "b-suggested", Due: day(2), NotAfter: day(20), CA: first, WindowStart: day(1), WindowEnd: day(3), AskAt: day(4)},
		{Host: "c-suggested", Due: day(3), NotAfter: day(10), CA: first, WindowStart: day(1), WindowEnd: day(3), AskAt: day(2)},
		{Host: "d-others", Due: day(1), NotAfter: day(20), CA: second, WindowStart: day(1), WindowEnd: day(3), AskAt: day(6).Add(time.Microsecond)},
		{Host: "e-own-time", Due: day(1), NotAfter: day(20), CA: first},
		{Host: "f-running", Due: day(1), NotAfter: day(20), CA: first, WindowEnd: day(3), Running: true},
		{Host: "g-later", Due: day(9), NotAfter: day(20), CA: first, WindowEnd: day(10), AskAt: day(1)},
		{Host: "h-failed", Due: day(9), Attempts: 1, Problem: "no"},
	} {
		noError(t, s.PutCertJob(t.Context(), j))
	}
	hosts := func(jobs []state.CertJob, err error) []string {
		t.Helper()
		noError(t, err)
		var all []string
		for _, j := range jobs {
			all = append(all, j.Host)
		}
		return all
	}
	equal(t, hosts(s.DueSuggested(t.Context(), first, day(6), 10)), []string{"c-suggested", "b-suggested"})
	equal(t, hosts(s.DueSuggested(t.Context(), first, day(6), 1)), []string{"c-suggested"})
	equal(t, hosts(s.DueSuggested(t.Context(), second, day(6), 10)), []string{"d-others"})
	equal(t, hosts(s.DueExpiring(t.Context(), day(6), day(20), 10)), []string{"c-suggested"})
	equal(t, hosts(s.DueExpiring(t.Context(), day(6), day(21), 3)), []string{"c-suggested", "d-others", "e-own-time"})
	equal(t, hosts(s.AskCertJobs(t.Context(), day(6), 10)), []string{"e-own-time", "g-later", "c-suggested", "b-suggested"})
	equal(t, hosts(s.AskCertJobs(t.Context(), day(6), 2)), []string{"e-own-time", "g-later"})
	equal(t, get[state.CertJobCounts](t)(s.CountCertJobs(t.Context(), day(6))), state.CertJobCounts{Due: 5, Retrying: 1, Scheduled: 1, Running: 1})
	equal(t, get[state.CertJobCounts](t)(open(t, newPath(t)).CountCertJobs(t.Context(), day(6))), state.CertJobCounts{})
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
