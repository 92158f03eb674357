package acme

import (
	"context"
	"encoding/json"
	"errors"

	"github.com/stshost/stshost/internal/state"
)

// caKey is where the store has the storedCA.
const caKey = "ca"

// storedCA is the CA that Run last worked with.
type storedCA struct {
	Directory string `json:"directory"`
}

// changedCA reports whether the config named another CA when Run last worked.
// A first start is no change.
func (i *Issuer) changedCA(ctx context.Context) (bool, error) {
	data, err := i.store.ACMEData(ctx, caKey)
	if errors.Is(err, state.ErrNotFound) {
		return false, i.noteCA(ctx)
	}
	if err != nil {
		return false, err
	}
	var last storedCA
	if err := json.Unmarshal(data, &last); err != nil {
		return false, i.noteCA(ctx) // no longer known
	}
	return last.Directory != i.cfg.Directory, nil
}

func (i *Issuer) noteCA(ctx context.Context) error {
	data, err := json.Marshal(storedCA{Directory: i.cfg.Directory})
	if err != nil {
		return err
	}
	return i.store.PutACMEData(ctx, caKey, data)
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
