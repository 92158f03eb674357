package rollout

import (
	"context"
	"time"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
)

const (
	caTakes   = 5 * time.Second
	caRetries = 5 * time.Minute
	certLife  = 90 * 24 * time.Hour
)

// modelCerts is a CA with a queue: an order takes some seconds, a refused one is
// tried again after some minutes, and certificates are renewed in time.
type modelCerts struct{ *modelWorld }

func (w modelCerts) SetHosts(map[string]struct{}) {}

func (w modelCerts) Drop(_ context.Context, host string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.write(); err != nil {
		return err
	}
	delete(w.db.jobs, host)
	return nil
}

func (w modelCerts) Request(_ context.Context, host, _ string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.write(); err != nil {
		return err
	}
	if _, waits := w.db.jobs[host]; waits || time.Now().Before(w.db.certs[host]) {
		return nil
	}
	w.db.jobs[host] = 0
	w.attempt(host, w.db, caTakes)
	return nil
}

// attempt has an order end after a while. The caller holds w.mu.
func (w modelCerts) attempt(host string, db *database, after time.Duration) {
	time.AfterFunc(after, func() {
		w.mu.Lock()
		attempts, waits := db.jobs[host]
		wake := w.wake
		switch {
		case db != w.db || !waits: // that store was lost, or the order dropped
			w.mu.Unlock()
			return
		case w.refuses:
			db.jobs[host] = attempts + 1
			w.attempt(host, db, caRetries)
		default:
			db.certs[host] = time.Now().Add(certLife)
			delete(db.jobs, host)
		}
		w.orders++
		w.mu.Unlock()
		wake(host)
	})
}

func (w modelCerts) Status(_ context.Context, host string) (state.CertStatus, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	s := state.CertStatus{Host: host, NotAfter: w.db.certs[host]}
	if left := time.Until(s.NotAfter); left > 0 {
		if left < certLife/3 && !w.refuses {
			s.NotAfter = time.Now().Add(certLife)
			w.db.certs[host] = s.NotAfter
		}
		s.NextTry = s.NotAfter.Add(-certLife / 3)
	}
	if n, ok := w.db.jobs[host]; ok {
		s.Pending, s.Running, s.Attempts = true, n == 0, n
		if n > 0 {
			s.Problem = "urn:ietf:params:acme:error:unauthorized"
		}
	}
	return s, w.step()
}

// expire has the certificate of a domain expire now.
func (w *modelWorld) expire(domain string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if host := mtasts.PolicyHost(domain); !w.db.certs[host].IsZero() {
		w.db.certs[host] = time.Now()
	}
}
