package store_test

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"testing"
	"time"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/store"
)

// rollout has every field set.
func rollout(domain string) state.Rollout {
	return state.Rollout{
		Domain: domain, Stage: state.StageEnforce, MaxAge: 86400 * time.Second, Entered: day(1), Confirmed: day(2),
		Goal: state.GoalEnforce, Paused: true, Hasty: true, NoReports: true,
		Waivers: []state.Waiver{{Gate: state.GateReports, Reason: "they go \"elsewhere\"", Time: day(3)}, {Gate: state.GateTime}},
		Evidence: &state.Evidence{
			Time: day(4), MX: []string{"mx1.example.net", "*.example.org"},
			Findings: []state.Finding{{
				Code: "STS-MX-UNCOVERED", Status: state.CheckFail, Harm: state.HarmLoss, Subject: "mx2.example.net",
				Text: "it is refused", Evidence: map[string]string{"mx": "mx2.example.net"}, Section: "RFC 8461 §4.1", Remedy: "name it",
			}, {Code: "STS-MX-TLS", Status: state.CheckPass, Subject: "mx1.example.net"}},
		},
		MX:   []string{"mx3.example.net", "mx4.example.net"},
		Left: true, Target: state.Target{Account: "main", Zone: "example.com.", Name: "_mta-sts.example.com", TTL: 5 * time.Minute},
		Back: &state.Back{Stage: state.StageTesting, MaxAge: 7 * 24 * time.Hour, Goal: state.GoalEnforce},
		Held: "the gate time is unmet",
	}
}

func save(t testing.TB, s *store.Store, r state.Rollout, events ...state.Event) []int64 {
	t.Helper()
	return get[[]int64](t)(s.SaveRollout(t.Context(), r, events...))
}

func rollouts(t testing.TB, s *store.Store) []state.Rollout {
	t.Helper()
	return get[[]state.Rollout](t)(s.Rollouts(t.Context()))
}

// step is an event that tells of a rollout.
func step(n int) state.Event {
	return event(n, state.KindRolloutStep, state.SeverityInfo, "example.com")
}

func told(t testing.TB, s *store.Store) (texts []string) {
	t.Helper()
	for _, e := range get[[]state.Event](t)(s.Events(t.Context(), state.EventQuery{Limit: 1_000_000})) {
		texts = append(texts, e.Text)
	}
	return texts
}

func TestRolloutComesBackAsItWasSaved(t *testing.T) {
	full := rollout("b.example")
	for _, v := range []reflect.Value{reflect.ValueOf(full), reflect.ValueOf(full.Target), reflect.ValueOf(*full.Back), reflect.ValueOf(*full.Evidence)} {
		for i := range v.NumField() {
			if v.Field(i).IsZero() {
				t.Errorf("the test does not set %s.%s", v.Type(), v.Type().Field(i).Name)
			}
		}
	}
	path := newPath(t)
	s := open(t, path)
	empty := state.Rollout{Domain: "a.example"}
	equal(t, save(t, s, full), []int64(nil))
	save(t, s, empty)
	equal(t, rollouts(t, s), []state.Rollout{empty, full})

	// Every field is replaced, also by its zero value; and none is not the same
	// as one without anything in it.
	save(t, s, state.Rollout{Domain: "b.example"})
	nearly := state.Rollout{Domain: "c.example", Evidence: &state.Evidence{}, Back: &state.Back{}}
	save(t, s, nearly)
	noError(t, s.Close())
	readOnly, err := store.OpenReadOnly(t.Context(), path)
	noError(t, err)
	defer readOnly.Close()
	equal(t, rollouts(t, readOnly), []state.Rollout{empty, {Domain: "b.example"}, nearly})
	_, err = readOnly.SaveRollout(t.Context(), full)
	errorSays(t, err, "b.example", "opened for reading only")
}

// Those in the texts, too.
func TestTimesOfARolloutComeBackInUTCToTheMicrosecond(t *testing.T) {
	s := open(t, newPath(t))
	there := time.Date(2025, 6, 1, 1, 2, 3, 4999, time.FixedZone("there", -7*3600))
	save(t, s, state.Rollout{Domain: "example.com", Waivers: []state.Waiver{{Time: there}}, Evidence: &state.Evidence{Time: there}})
	want := time.Date(2025, 6, 1, 8, 2, 3, 4000, time.UTC)
	got := rollouts(t, s)[0]
	for _, at := range []time.Time{got.Waivers[0].Time, got.Evidence.Time} {
		if at != want { // not Equal: the location counts
			t.Errorf("got %v, want %v", at, want)
		}
	}
}

func TestRolloutAndItsEventsAreOne(t *testing.T) {
	path := newPath(t)
	s := open(t, path)
	ctx := t.Context()
	first := rollout("example.com")
	equal(t, save(t, s, first, step(1), step(2)), []int64{1, 2})
	second := first
	second.Stage, second.Held = state.StageRetiring, ""

	unchanged := func(what string) {
		t.Helper()
		if got := rollouts(t, s); len(got) != 1 || got[0].Stage != first.Stage {
			t.Errorf("%s: the rollouts are %+v", what, got)
		}
		equal(t, told(t, s), []string{"event of day 1", "event of day 2"})
	}
	_, err := s.SaveRollout(ctx, second, step(3), state.Event{Kind: state.KindRolloutStep, Time: day(3)})
	errorSays(t, err, "example.com", "severity")
	unchanged("a faulty event")
	_, err = s.RemoveRollout(ctx, "example.com", step(3), state.Event{Time: day(3), Severity: state.SeverityInfo})
	errorSays(t, err, "example.com", "kind")
	unchanged("a faulty event at the removal")
	unstorable := second
	unstorable.Evidence = &state.Evidence{Time: time.Date(10_000, 1, 1, 0, 0, 0, 0, time.UTC)}
	_, err = s.SaveRollout(ctx, unstorable, step(3))
	errorSays(t, err, "example.com", "year")
	unchanged("a rollout that cannot be stored")

	// The database itself refuses one of the two.
	other := raw(t, path)
	mustExec(t, other, `CREATE TRIGGER no_event BEFORE INSERT ON events WHEN NEW.text = 'event of day 4'
		BEGIN SELECT raise(FAIL, 'event fault'); END`)
	_, err = s.SaveRollout(ctx, second, step(3), step(4))
	errorSays(t, err, "example.com", "event fault")
	unchanged("an event that is refused")
	_, err = s.RemoveRollout(ctx, "example.com", step(3), step(4))
	errorSays(t, err, "example.com", "event fault")
	unchanged("an event that is refused at the removal")
	mustExec(t, other, `CREATE TRIGGER no_rollout BEFORE UPDATE ON rollouts BEGIN SELECT raise(FAIL, 'rollout fault'); END`)
	_, err = s.SaveRollout(ctx, second, step(3))
	errorSays(t, err, "example.com", "rollout fault")
	unchanged("a rollout that is refused")
	mustExec(t, other, `DROP TRIGGER no_event`)
	mustExec(t, other, `DROP TRIGGER no_rollout`)

	// Ids go on as if nothing of that had been.
	equal(t, save(t, s, second, step(3)), []int64{3})
	equal(t, rollouts(t, s), []state.Rollout{second})
	equal(t, get[[]int64](t)(s.RemoveRollout(ctx, "example.com", step(4))), []int64{4})
	equal(t, get[[]int64](t)(s.RemoveRollout(ctx, "example.com", step(5))), []int64{5}) // without a row
	equal(t, get[[]int64](t)(s.RemoveRollout(ctx, "example.com")), []int64(nil))
	equal(t, rollouts(t, s), []state.Rollout(nil))
	equal(t, len(told(t, s)), 5)
}

func TestRolloutStaysWithoutItsJournal(t *testing.T) {
	s := open(t, newPath(t))
	noError(t, s.SaveDomain(t.Context(), fullDomain("example.com")))
	save(t, s, rollout("example.com"))
	noError(t, s.RemoveDomain(t.Context(), "example.com"))
	equal(t, rollouts(t, s), []state.Rollout{rollout("example.com")})
}

func TestBackupAndRestoreCarryRollouts(t *testing.T) {
	path := newPath(t)
	s := open(t, path)
	save(t, s, rollout("example.com"), step(1))
	file := filepath.Join(t.TempDir(), "backup.db")
	get[store.Summary](t)(store.Backup(t.Context(), path, file, false))
	get[[]int64](t)(s.RemoveRollout(t.Context(), "example.com", step(2)))
	noError(t, s.Close())

	get[store.Restored](t)(store.Restore(t.Context(), file, path, day(3)))
	s = open(t, path)
	equal(t, rollouts(t, s), []state.Rollout{rollout("example.com")})
	if got := told(t, s); len(got) != 2 || got[0] != "event of day 1" { // and that of the restore
		t.Errorf("the events are %q", got)
	}
}

// rolloutWriterEnv makes TestMain a process that takes a domain along in the
// store it names.
const rolloutWriterEnv = "STSHOST_TEST_ROLLOUT_WRITER"

// takeUntilKilled takes a domain on, and out at each third step, and reports
// each step.
func takeUntilKilled(path string) {
	ctx := context.Background()
	s, err := store.Open(ctx, path)
	var ids []int64
	if err == nil {
		ids, err = s.AddEvents(ctx, []state.Event{event(1, state.KindServerStarted, state.SeverityInfo, "")})
	}
	for err == nil {
		n := ids[0] + 1 // the id that the next event will have
		e := event(1, state.KindRolloutStep, state.SeverityInfo, "example.com")
		e.Text = fmt.Sprint(n)
		if n%3 == 0 {
			e.Kind = state.KindRolloutRetired
			ids, err = s.RemoveRollout(ctx, "example.com", e)
		} else {
			ids, err = s.SaveRollout(ctx, state.Rollout{Domain: "example.com", Held: e.Text}, e)
		}
		if err == nil {
			fmt.Println(e.Text)
		}
	}
	fmt.Fprintln(os.Stderr, err)
	os.Exit(1)
}

func TestKilledWriterLeavesNoStageUntold(t *testing.T) {
	path := newPath(t)
	for round := range 3 {
		writer := exec.CommandContext(t.Context(), os.Args[0])
		writer.Env = append(os.Environ(), rolloutWriterEnv+"="+path)
		writer.Stderr = os.Stderr
		out, err := writer.StdoutPipe()
		noError(t, err)
		noError(t, writer.Start())
		lines := bufio.NewScanner(out)
		var reported int64
		for n := 0; lines.Scan(); n++ {
			_, err := fmt.Sscan(lines.Text(), &reported)
			noError(t, err)
			if n == 40+round {
				noError(t, writer.Process.Kill()) // SIGKILL; what it reported until then is still read
			}
		}
		_ = writer.Wait()

		s := open(t, path)
		last := get[[]state.Event](t)(s.Events(t.Context(), state.EventQuery{Newest: true, Limit: 1}))[0]
		if last.ID < reported || reported == 0 {
			t.Errorf("event %d was reported, the last is %d", reported, last.ID)
		}
		want := []state.Rollout{{Domain: "example.com", Held: last.Text}}
		if last.Kind == state.KindRolloutRetired {
			want = nil
		}
		equal(t, rollouts(t, s), want)
		noError(t, s.Close())
	}
}
