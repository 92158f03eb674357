package store

import (
	"context"
	"time"

	"github.com/stshost/stshost/internal/state"
)

// CertJob returns a host's place in the certificate queue, or
// state.ErrNotFound.
func (s *Store) CertJob(ctx context.Context, host string) (state.CertJob, error) {
	return one(ctx, s, "read the certificate job of "+host, scanCertJob, s.dialect.statements.certJob, host)
}

// CertJobs returns the whole queue, ordered by host.
func (s *Store) CertJobs(ctx context.Context) ([]state.CertJob, error) {
	return list(ctx, s, "read the certificate jobs", scanCertJob, s.dialect.statements.certJobs)
}

// DueCertJobs returns up to limit jobs that are due at now and not running.
// Hosts that never tried for a certificate come first, then the certificates
// that expire first, then hosts that tried and failed: those may fail for
// ever, and must not use up the orders that renewals need. Among equals the
// job that has been due for longest comes first.
func (s *Store) DueCertJobs(ctx context.Context, now time.Time, limit int) ([]state.CertJob, error) {
	if limit <= 0 {
		return nil, nil
	}
	return list(ctx, s, "read the due certificate jobs", scanCertJob, s.dialect.statements.dueCertJobs, fromTime(now), limit)
}

// DueSuggested returns up to limit of the due jobs whose certificate is of the
// CA with this directory URL, and for which that CA suggested a renewal window:
// the certificates that expire first come first.
func (s *Store) DueSuggested(ctx context.Context, directory string, now time.Time, limit int) ([]state.CertJob, error) {
	return list(ctx, s, "read the due renewals that a CA suggested", scanCertJob, s.dialect.statements.dueSuggested, directory, fromTime(now), limit)
}

// DueExpiring returns up to limit of the due jobs whose certificate expires
// before the given time: those that expire first come first.
func (s *Store) DueExpiring(ctx context.Context, now, before time.Time, limit int) ([]state.CertJob, error) {
	return list(ctx, s, "read the due certificate jobs that cannot wait", scanCertJob, s.dialect.statements.dueExpiring, fromTime(now), fromTime(before), limit)
}

// AskCertJobs returns up to limit jobs of certificates whose CA is to be asked
// for renewal information at now, those that have waited for longest first.
func (s *Store) AskCertJobs(ctx context.Context, now time.Time, limit int) ([]state.CertJob, error) {
	return list(ctx, s, "read the jobs to ask renewal information for", scanCertJob, s.dialect.statements.askCertJobs, fromTime(now), limit)
}

// CountCertJobs counts the queue at now: jobs that are due, those that wait for
// another try, those that wait for their time without trouble, and those
// running.
func (s *Store) CountCertJobs(ctx context.Context, now time.Time) (state.CertJobCounts, error) {
	scan := func(row scanner) (c state.CertJobCounts, err error) {
		err = row.Scan(&c.Due, &c.Retrying, &c.Scheduled, &c.Running)
		return c, err
	}
	at := fromTime(now)
	return one(ctx, s, "count the certificate jobs", scan, s.dialect.statements.countCertJobs, at, at, at)
}

// PutCertJob writes a host's job, new or not.
func (s *Store) PutCertJob(ctx context.Context, j state.CertJob) error {
	return s.exec(ctx, "save the certificate job of "+j.Host, s.dialect.statements.putCertJob, certJobArgs(j)...)
}

// DeleteCertJob takes a host out of the queue; without a job it does nothing.
func (s *Store) DeleteCertJob(ctx context.Context, host string) error {
	return s.exec(ctx, "delete the certificate job of "+host, s.dialect.statements.deleteCertJob, host)
}

func certJobArgs(j state.CertJob) []any {
	return []any{
		j.Host, fromTime(j.Due), fromTime(j.NotAfter), j.Attempts, j.Challenge, j.Problem,
		fromTime(j.LastAttempt), fromBool(j.Running),
		j.CA, fromTime(j.AskAt), fromTime(j.WindowStart), fromTime(j.WindowEnd), j.Explanation,
	}
}

func scanCertJob(row scanner) (state.CertJob, error) {
	var j state.CertJob
	var due, notAfter, lastAttempt, askAt, windowStart, windowEnd int64
	err := row.Scan(&j.Host, &due, &notAfter, &j.Attempts, &j.Challenge, &j.Problem, &lastAttempt, &j.Running,
		&j.CA, &askAt, &windowStart, &windowEnd, &j.Explanation)
	j.Due, j.NotAfter, j.LastAttempt = toTime(due), toTime(notAfter), toTime(lastAttempt)
	j.AskAt, j.WindowStart, j.WindowEnd = toTime(askAt), toTime(windowStart), toTime(windowEnd)
	return j, err
}
