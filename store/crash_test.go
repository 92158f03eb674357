package store_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/store"
)

// writerEnv makes TestMain a process that writes to the store it names.
const writerEnv = "STSHOST_TEST_STORE_WRITER"

func TestMain(m *testing.M) {
	if path := os.Getenv(writerEnv); path != "" {
		writeUntilKilled(path)
	}
	if path := os.Getenv(eventWriterEnv); path != "" {
		addUntilKilled(path)
	}
	if path := os.Getenv(rolloutWriterEnv); path != "" {
		takeUntilKilled(path)
	}
	os.Exit(m.Run())
}

// writeUntilKilled changes the store and reports each change that was made.
func writeUntilKilled(path string) {
	ctx := context.Background()
	s, err := store.Open(ctx, path)
	for i := 0; err == nil; i++ {
		sha := fmt.Sprintf("%08d", i)
		if err = s.ServeBody(ctx, serving("example.com", sha), body("example.com", sha), day(1).Add(time.Duration(i)*time.Second)); err == nil {
			fmt.Println(sha)
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func TestKilledWriterLosesNothingItReported(t *testing.T) {
	path := newPath(t)
	made := 0
	for range 3 {
		writer := exec.CommandContext(t.Context(), os.Args[0])
		writer.Env = append(os.Environ(), writerEnv+"="+path)
		writer.Stderr = os.Stderr
		out, err := writer.StdoutPipe()
		noError(t, err)
		noError(t, writer.Start())
		lines := bufio.NewScanner(out)
		var last string
		for n := 0; lines.Scan(); n++ {
			last = lines.Text()
			if n == 50 {
				noError(t, writer.Process.Kill()) // SIGKILL; what it reported until then is still read
			}
		}
		_ = writer.Wait()

		s := open(t, path)
		d := get[state.Domain](t)(s.Domain(t.Context(), "example.com"))
		current := get[[]state.Body](t)(s.CurrentBodies(t.Context()))
		if len(current) != 1 || current[0].SHA256 != d.BodySHA256 {
			t.Fatalf("the journal names body %q, the ledger has %v", d.BodySHA256, current)
		}
		if d.BodySHA256 < last {
			t.Errorf("body %s was reported, %s is there", last, d.BodySHA256)
		}
		bodies := get[[]state.Body](t)(s.Bodies(t.Context(), "example.com"))
		if len(bodies) < made || len(bodies) < 50 {
			t.Errorf("the ledger has %d bodies", len(bodies))
		}
		made = len(bodies)
		noError(t, s.Close())
	}
}

// After a power loss there is the database and its log, and no -shm.
func TestReopenFromFileAndLog(t *testing.T) {
	path := newPath(t)
	s := open(t, path)
	noError(t, s.SaveDomain(t.Context(), fullDomain("example.com")))
	rescued := filepath.Join(t.TempDir(), "stshost.db")
	for _, suffix := range []string{"", "-wal"} {
		noError(t, os.WriteFile(rescued+suffix, get[[]byte](t)(os.ReadFile(path+suffix)), 0o600))
	}
	readOnly, err := store.OpenReadOnly(t.Context(), rescued)
	noError(t, err)
	equal(t, get[state.Domain](t)(readOnly.Domain(t.Context(), "example.com")), fullDomain("example.com"))
	noError(t, readOnly.Close())
	equal(t, get[state.Domain](t)(open(t, rescued).Domain(t.Context(), "example.com")), fullDomain("example.com"))
}

func TestManyStartAtOnce(t *testing.T) {
	path := newPath(t)
	var wg sync.WaitGroup
	stores := make([]*store.Store, 8)
	secrets := make([]string, len(stores))
	for i := range stores {
		wg.Go(func() {
			s, err := store.Open(t.Context(), path)
			if err != nil {
				t.Error(err)
				return
			}
			stores[i] = s
			secret, err := s.Secret(t.Context(), "probe")
			if err != nil {
				t.Error(err)
			}
			secrets[i] = string(secret)
		})
	}
	wg.Wait()
	for i, s := range stores {
		if s == nil {
			continue
		}
		if secrets[i] != secrets[0] {
			t.Error("two starts made two secrets")
		}
		noError(t, s.Close())
	}
}

func TestManyAtOnce(t *testing.T) {
	s := open(t, newPath(t))
	ctx := t.Context()
	const workers, rounds = 8, 25
	var wg sync.WaitGroup
	for w := range workers {
		name := fmt.Sprintf("domain%d.example", w)
		wg.Go(func() {
			for i := range rounds {
				sha := fmt.Sprintf("%02d", i%3)
				if err := s.ServeBody(ctx, serving(name, sha), body(name, sha), day(2)); err != nil {
					t.Error(err)
				}
				if _, _, err := s.DebitOrder(ctx, "account", day(1), workers*rounds/2, time.Hour); err != nil {
					t.Error(err)
				}
				if err := s.FinishCertJob(ctx, certificate(name, day(20)), state.CertJob{Host: name, Due: day(1)}); err != nil {
					t.Error(err)
				}
			}
		})
		wg.Go(func() {
			for range rounds {
				// One body for each domain, at any moment.
				seen := map[string]bool{}
				current, err := s.CurrentBodies(ctx)
				if err != nil {
					t.Error(err)
				}
				for _, b := range current {
					if seen[b.Domain] {
						t.Errorf("%s serves two bodies", b.Domain)
					}
					seen[b.Domain] = true
				}
				if _, err := s.DueCertJobs(ctx, day(3), 4); err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
	_, ok, err := s.DebitOrder(ctx, "account", day(1), workers*rounds/2, time.Hour)
	if ok || err != nil {
		t.Errorf("got %v, %v after the budget was spent", ok, err)
	}
	equal(t, len(get[[]state.Domain](t)(s.Domains(ctx))), workers)
}
