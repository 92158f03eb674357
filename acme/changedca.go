package acme

import (
	"context"
	"encoding/json"
	"errors"
	"strings"

	"github.com/stshost/stshost/internal/state"
)

// caKey is where the store has the storedCA.
const caKey = "ca"

// storedCA is the first CA that Run last worked with.
type storedCA struct {
	Directory string `json:"directory"`
}

// formerCA returns the directory of the first CA when Run last worked, if the
// config names another as the first one now, and "" if not. A first start is
// no change.
func (i *Issuer) formerCA(ctx context.Context) (string, error) {
	data, err := i.store.ACMEData(ctx, caKey)
	if errors.Is(err, state.ErrNotFound) {
		return "", i.noteCA(ctx)
	}
	if err != nil {
		return "", err
	}
	var last storedCA
	if err := json.Unmarshal(data, &last); err != nil {
		return "", i.noteCA(ctx) // no longer known
	}
	if last.Directory == i.cas[0].Directory {
		return "", nil
	}
	return last.Directory, nil
}

// ours reports whether a CA of the config, the first or another, issued the
// certificate that the job is to replace.
func (i *Issuer) ours(job state.CertJob) bool {
	return !job.NotAfter.IsZero() && i.authorityAt(job.CA) != nil
}

func (i *Issuer) noteCA(ctx context.Context) error {
	data, err := json.Marshal(storedCA{Directory: i.cas[0].Directory})
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
// Certificates of a CA that is still in the config, now as the fall-back, are
// good and stay: see ours.
func (i *Issuer) afresh(job state.CertJob) state.CertJob {
	job.Running = false
	job.Due = i.now()
	job.Attempts = 0
	job.Problem = ""
	if !job.NotAfter.IsZero() {
		job.Problem = changedCA + i.cas[0].Directory + " takes the place of the old one"
	}
	return job
}

// changedCA begins the Problem of a job that afresh has put there.
const changedCA = "[acme] directory was changed; a certificate of "

func waitsForAnother(job state.CertJob) bool {
	return job.Attempts == 0 && strings.HasPrefix(job.Problem, changedCA)
}

// keep undoes afresh: the CA that issued the certificate is in the config
// again, perhaps because the other one would not have us. Nothing is ordered.
func (i *Issuer) keep(ctx context.Context, job state.CertJob) (state.CertJob, error) {
	leaf, err := i.leaf(ctx, job)
	var ours *storeError
	switch {
	case errors.As(err, &ours):
		return job, err
	case err == nil:
		job.Problem, job.Due = "", renewalDue(job.Host, leaf.NotBefore, leaf.NotAfter)
	}
	return job, nil
}
