package store_test

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/store"
)

// BenchmarkBackup copies a store of 100,000 domains that is in use, and shows
// the longest that a writer waited meanwhile.
func BenchmarkBackup(b *testing.B) {
	s, path := filled(b)
	for range b.N {
		stop, worst := make(chan struct{}), make(chan time.Duration)
		go func() {
			var longest time.Duration
			for {
				select {
				case <-stop:
					worst <- longest
					return
				default:
				}
				begun := time.Now()
				if err := s.SaveDomain(b.Context(), state.Domain{Name: "domain000001.example"}); err != nil {
					b.Error(err)
				}
				longest = max(longest, time.Since(begun))
			}
		}()
		file := filepath.Join(b.TempDir(), "backup.db")
		sum := get[store.Summary](b)(store.Backup(b.Context(), path, file, false))
		close(stop)
		b.ReportMetric(float64(<-worst)/float64(time.Millisecond), "ms-longest-write")
		b.ReportMetric(float64(sum.Size)/1e6, "MB")
	}
}
