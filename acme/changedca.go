package acme

import (
	"context"
	"errors"

	"github.com/stshost/stshost/internal/state"
)

// caKey is where the store has the directory of the CA that Run last worked
// with.
const caKey = "ca"

// changedCA reports whether the config named another CA when Run last worked.
// A first start is no change.
func (i *Issuer) changedCA(ctx context.Context) (bool, error) {
	data, err := i.store.ACMEData(ctx, caKey)
	if errors.Is(err, state.ErrNotFound) {
		return false, i.noteCA(ctx)
	}
	return err == nil && string(data) != i.cfg.Directory, err
}

func (i *Issuer) noteCA(ctx context.Context) error {
	return i.store.PutACMEData(ctx, caKey, []byte(i.cfg.Directory))
}

// afresh returns the job as it begins with another CA. A certificate of the
// old one, valid by its dates, may be one that no sender trusts: CAs have a
// directory for tries. So all are ordered anew, as fast as the budget allows
// and in the order of their expiry, and are served until then. What the old CA
// had against a host, or asked it to wait for, says nothing of the new one.
func (i *Issuer) afresh(job state.CertJob) state.CertJob {
	job.Running = false
	job.Due = i.now()
	job.Attempts = 0
	job.Problem = ""
	if !job.NotAfter.IsZero() {
		job.Problem = "[acme] directory was changed; a certificate of " + i.cfg.Directory + " takes the place of the old one"
	}
	return job
}
