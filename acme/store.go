package acme

import (
	"context"
	"time"

	"github.com/stshost/stshost/internal/state"
)

// CertificateStore is what the serving side reads. Implementations are safe
// for concurrent use, return soon after ctx ends, and say that something does
// not exist with an error that is state.ErrNotFound.
type CertificateStore interface {
	// Certificate returns the host's certificate with its PEM.
	Certificate(ctx context.Context, host string) (state.Certificate, error)
	// ACMEData returns a value put by PutACMEData.
	ACMEData(ctx context.Context, key string) ([]byte, error)
}

// Store is what the issuing side keeps. What CertificateStore says of
// concurrency and errors holds here too. When a writing method returns nil,
// the fact survives a crash of the process and of the machine.
type Store interface {
	CertificateStore

	// PutACMEData stores a small value under key, replacing what was there.
	PutACMEData(ctx context.Context, key string, value []byte) error
	// DeleteACMEData removes key; a key that does not exist is no error.
	DeleteACMEData(ctx context.Context, key string) error

	// CertJob returns the host's job.
	CertJob(ctx context.Context, host string) (state.CertJob, error)
	// CertJobs returns every job.
	CertJobs(ctx context.Context) ([]state.CertJob, error)
	// DueCertJobs returns up to limit jobs that are due at now and not
	// running: those that never tried for a certificate first, then the
	// earliest expiry, then those that tried and failed.
	DueCertJobs(ctx context.Context, now time.Time, limit int) ([]state.CertJob, error)
	// DueSuggested returns up to limit of those jobs of DueCertJobs whose
	// certificate is of the CA with this directory, and has a renewal window
	// suggested by it: the earliest expiry first.
	DueSuggested(ctx context.Context, directory string, now time.Time, limit int) ([]state.CertJob, error)
	// DueExpiring returns up to limit of those jobs of DueCertJobs whose
	// certificate expires before the given time: the earliest expiry first.
	DueExpiring(ctx context.Context, now, before time.Time, limit int) ([]state.CertJob, error)
	// AskCertJobs returns up to limit jobs that are not running, have a
	// certificate to replace, and whose AskAt has come: the longest overdue
	// first.
	AskCertJobs(ctx context.Context, now time.Time, limit int) ([]state.CertJob, error)
	// CountCertJobs counts the queue at now.
	CountCertJobs(ctx context.Context, now time.Time) (state.CertJobCounts, error)
	// PutCertJob creates or replaces the job of job.Host.
	PutCertJob(ctx context.Context, job state.CertJob) error
	// DeleteCertJob removes the host's job; none is no error.
	DeleteCertJob(ctx context.Context, host string) error
	// FinishCertJob stores a new certificate and the job of its renewal in
	// one transaction.
	FinishCertJob(ctx context.Context, cert state.Certificate, renewal state.CertJob) error

	// DebitOrder takes one order from the account's budget of limit orders
	// per window, in one transaction. When nothing is left it takes nothing
	// and says when the next order fits.
	DebitOrder(ctx context.Context, account string, at time.Time, limit int, window time.Duration) (retryAt time.Time, ok bool, err error)
	// OrdersSince counts the account's orders debited after since.
	OrdersSince(ctx context.Context, account string, since time.Time) (int, error)
}
