package dispatch_test

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stshost/stshost/internal/dispatch"
)

// timetable is things that have their time.
type timetable struct {
	mu   sync.Mutex
	due  []time.Time
	done []time.Duration // since the start
	most int
	busy int
}

func (t *timetable) next() (*time.Time, time.Duration) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if len(t.due) == 0 {
		return nil, time.Hour
	}
	first := t.due[0]
	if ahead := time.Until(first); ahead > 0 {
		return nil, ahead
	}
	t.due = t.due[1:]
	return &first, 0
}

func TestWhatIsDueIsDoneInTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		table := &timetable{}
		for _, at := range []int{0, 0, 0, 10, 20} {
			table.due = append(table.due, start.Add(time.Duration(at)*time.Second))
		}
		kick := make(chan struct{}, 1)
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan struct{})
		go func() {
			defer close(ended)
			dispatch.Run(ctx, 2, kick, table.next, func(ctx context.Context, _ *time.Time) {
				table.mu.Lock()
				table.done = append(table.done, time.Since(start))
				table.busy++
				table.most = max(table.most, table.busy)
				table.mu.Unlock()
				select {
				case <-time.After(4 * time.Second):
				case <-ctx.Done():
				}
				table.mu.Lock()
				table.busy--
				table.mu.Unlock()
			})
		}()
		time.Sleep(30 * time.Second)
		synctest.Wait()
		table.mu.Lock()
		table.due = append(table.due, time.Now()) // which nobody waits for
		table.mu.Unlock()
		kick <- struct{}{}
		synctest.Wait()
		cancel()
		<-ended
		want := []time.Duration{0, 0, 4, 10, 20, 30}
		if len(table.done) != len(want) || table.most != 2 || table.busy != 0 {
			t.Fatalf("done at %v, %d at a time, %d not ended", table.done, table.most, table.busy)
		}
		for i, at := range table.done {
			if at != want[i]*time.Second {
				t.Errorf("done at %v, want %v seconds", table.done, want)
			}
		}
	})
}

// A stop waits for no worker that would take what is due.
func TestAStopWhileAllWork(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		table := &timetable{due: []time.Time{time.Now(), time.Now(), time.Now()}}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		dispatch.Run(ctx, 1, nil, table.next, func(ctx context.Context, _ *time.Time) {
			<-ctx.Done()
			table.done = append(table.done, 0)
		})
		if len(table.done) != 1 {
			t.Errorf("%d done", len(table.done))
		}
	})
}
