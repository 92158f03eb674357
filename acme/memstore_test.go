package acme_test

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/stshost/stshost/acme"
	"github.com/stshost/stshost/internal/state"
)

// errDisk is what a broken memStore answers.
var errDisk = errors.New("disk full: free some space")

// memStore is an acme.Store in memory that counts and can break.
type memStore struct {
	mu     sync.Mutex
	data   map[string][]byte
	certs  map[string]state.Certificate
	jobs   map[string]state.CertJob
	debits map[string][]time.Time
	reads  int // of Certificate and ACMEData
	broken bool
	stall  chan struct{} // if not nil, Certificate waits for it
}

var _ acme.Store = (*memStore)(nil)

func newMemStore() *memStore {
	return &memStore{
		data: map[string][]byte{}, certs: map[string]state.Certificate{}, jobs: map[string]state.CertJob{},
		debits: map[string][]time.Time{},
	}
}

func (s *memStore) setBroken(broken bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.broken = broken
}

func (s *memStore) readCount() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reads
}

func (s *memStore) job(host string) state.CertJob {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.jobs[host]
}

// write runs f as a transaction.
func (s *memStore) write(f func()) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.broken {
		return errDisk
	}
	f()
	return nil
}

func get[V any](s *memStore, m map[string]V, key string) (V, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	v, ok := m[key]
	if !ok {
		return v, fmt.Errorf("%s: %w", key, state.ErrNotFound)
	}
	return v, nil
}

func (s *memStore) Certificate(ctx context.Context, host string) (state.Certificate, error) {
	s.mu.Lock()
	s.reads++
	stall, broken := s.stall, s.broken
	s.mu.Unlock()
	if stall != nil {
		select {
		case <-stall:
		case <-ctx.Done():
			return state.Certificate{}, ctx.Err()
		}
	}
	if broken {
		return state.Certificate{}, errDisk
	}
	return get(s, s.certs, host)
}

func (s *memStore) ACMEData(_ context.Context, key string) ([]byte, error) {
	s.mu.Lock()
	s.reads++
	broken := s.broken
	s.mu.Unlock()
	if broken {
		return nil, errDisk
	}
	return get(s, s.data, key)
}

func (s *memStore) PutACMEData(_ context.Context, key string, value []byte) error {
	return s.write(func() { s.data[key] = slices.Clone(value) })
}

func (s *memStore) DeleteACMEData(_ context.Context, key string) error {
	return s.write(func() { delete(s.data, key) })
}

func (s *memStore) CertJob(_ context.Context, host string) (state.CertJob, error) {
	return get(s, s.jobs, host)
}

func (s *memStore) CertJobs(context.Context) ([]state.CertJob, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Collect(maps.Values(s.jobs)), nil
}

func (s *memStore) DueCertJobs(_ context.Context, now time.Time, limit int) ([]state.CertJob, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var due []state.CertJob
	for _, job := range s.jobs {
		if !job.Running && !job.Due.After(now) {
			due = append(due, job)
		}
	}
	slices.SortFunc(due, func(a, b state.CertJob) int {
		return cmp.Or(a.NotAfter.Compare(b.NotAfter), a.Due.Compare(b.Due), cmp.Compare(a.Host, b.Host))
	})
	return due[:min(limit, len(due))], nil
}

func (s *memStore) DueSuggested(ctx context.Context, directory string, now time.Time, limit int) ([]state.CertJob, error) {
	due, err := s.DueCertJobs(ctx, now, 1<<30)
	due = slices.DeleteFunc(due, func(j state.CertJob) bool { return j.CA != directory || j.WindowEnd.IsZero() })
	return due[:min(limit, len(due))], err
}

func (s *memStore) DueExpiring(ctx context.Context, now, before time.Time, limit int) ([]state.CertJob, error) {
	due, err := s.DueCertJobs(ctx, now, 1<<30)
	due = slices.DeleteFunc(due, func(j state.CertJob) bool { return j.NotAfter.IsZero() || !j.NotAfter.Before(before) })
	return due[:min(limit, len(due))], err
}

func (s *memStore) AskCertJobs(_ context.Context, now time.Time, limit int) ([]state.CertJob, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	var due []state.CertJob
	for _, job := range s.jobs {
		if !job.Running && !job.NotAfter.IsZero() && !job.AskAt.After(now) {
			due = append(due, job)
		}
	}
	slices.SortFunc(due, func(a, b state.CertJob) int { return cmp.Or(a.AskAt.Compare(b.AskAt), cmp.Compare(a.Host, b.Host)) })
	return due[:min(limit, len(due))], nil
}

func (s *memStore) CountCertJobs(_ context.Context, now time.Time) (c state.CertJobCounts, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, job := range s.jobs {
		switch {
		case job.Running:
			c.Running++
		case !job.Due.After(now):
			c.Due++
		case job.Attempts > 0 || job.Problem != "":
			c.Retrying++
		default:
			c.Scheduled++
		}
	}
	return c, nil
}

func (s *memStore) OrdersSince(_ context.Context, account string, since time.Time) (n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, at := range s.debits[account] {
		if at.After(since) {
			n++
		}
	}
	return n, nil
}

func (s *memStore) PutCertJob(_ context.Context, job state.CertJob) error {
	return s.write(func() { s.jobs[job.Host] = job })
}

func (s *memStore) DeleteCertJob(_ context.Context, host string) error {
	return s.write(func() { delete(s.jobs, host) })
}

func (s *memStore) FinishCertJob(_ context.Context, cert state.Certificate, renewal state.CertJob) error {
	return s.write(func() { s.certs[cert.Host], s.jobs[cert.Host] = cert, renewal })
}

func (s *memStore) DebitOrder(_ context.Context, account string, at time.Time, limit int, window time.Duration) (retryAt time.Time, ok bool, err error) {
	err = s.write(func() {
		kept := slices.DeleteFunc(s.debits[account], func(d time.Time) bool { return !d.After(at.Add(-window)) })
		if len(kept) < limit {
			kept, ok = append(kept, at), true
		} else {
			retryAt = kept[0].Add(window)
		}
		s.debits[account] = kept
	})
	return retryAt, ok && err == nil, err
}
