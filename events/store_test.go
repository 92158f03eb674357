package events_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"testing"

	"github.com/stshost/stshost/events"
	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/store"
)

// recorderEnv makes TestMain a process that records into the store it names.
const recorderEnv = "STSHOST_TEST_EVENT_RECORDER"

func TestMain(m *testing.M) {
	if path := os.Getenv(recorderEnv); path != "" {
		recordUntilKilled(path)
	}
	os.Exit(m.Run())
}

// recordUntilKilled records without end, and reports what a follower is given.
func recordUntilKilled(path string) {
	ctx := context.Background()
	s, err := store.Open(ctx, path)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	l := events.New(events.Config{Store: s})
	last, _ := s.Events(ctx, state.EventQuery{Newest: true, Limit: 1})
	var after int64
	if len(last) > 0 {
		after = last[0].ID
	}
	for n := 0; n < 10; n++ { // so that there is always something to do
		l.Record(happened(n))
	}
	for e, err := range l.Follow(ctx, after) {
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(e.ID)
		l.Record(happened(int(e.ID)))
	}
}

// Whatever a follower was given is there after a kill, and one that goes on
// from its cursor then misses none.
func TestWhatAFollowerSawSurvivesAKill(t *testing.T) {
	path := filepath.Join(t.TempDir(), "stshost.db")
	for range 3 {
		recorder := exec.CommandContext(t.Context(), os.Args[0])
		recorder.Env = append(os.Environ(), recorderEnv+"="+path)
		recorder.Stderr = os.Stderr
		out, err := recorder.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := recorder.Start(); err != nil {
			t.Fatal(err)
		}
		var seen int64
		lines := bufio.NewScanner(out)
		for n := 0; lines.Scan(); n++ {
			if seen, err = strconv.ParseInt(lines.Text(), 10, 64); err != nil {
				t.Fatal(err)
			}
			if n == 35 {
				recorder.Process.Kill() // SIGKILL; what it reported until then is still read
			}
		}
		_ = recorder.Wait()
		if seen == 0 {
			t.Fatal("the process reported nothing")
		}

		s, err := store.Open(t.Context(), path)
		if err != nil {
			t.Fatal(err)
		}
		l := events.New(events.Config{Store: s})
		l.Record(happened(1))
		next := int64(1)
		for e, err := range l.Follow(t.Context(), 0) {
			if err != nil || e.ID != next {
				t.Fatalf("event %d, %v; want %d", e.ID, err, next)
			}
			if next++; e.ID > seen { // one of after the kill
				break
			}
		}
		if err := l.Close(t.Context()); err != nil {
			t.Error(err)
		}
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	}
}
