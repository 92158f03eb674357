package main

import (
	"bytes"
	"context"
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
	"github.com/stshost/stshost/server"
)

// onlooker is a roller that watches a.example at a desk, in fake time, and what it
// shows.
type onlooker struct {
	*desk
	r         *roller
	out, errs bytes.Buffer
	stop      func()
	ended     chan error
}

// watch follows a.example from a status on.
func watch(t *testing.T, from state.RolloutStatus) *onlooker {
	w := &onlooker{desk: newDesk(from), ended: make(chan error, 1)}
	began := time.Now()
	w.r = &roller{client: w.desk, screen: screen{out: &w.out, errOut: &w.errs, now: func() time.Time { return deskTime.Add(time.Since(began)) }}}
	ctx, stop := context.WithCancel(t.Context())
	w.stop = stop
	go func() { w.ended <- w.r.follow(ctx, "a.example") }()
	t.Cleanup(stop)
	settle(500 * time.Millisecond)
	return w
}

// then puts a status in the place of the last one.
func (w *onlooker) then(s state.RolloutStatus) {
	w.set(s)
	settle(time.Minute)
}

func (w *onlooker) fails(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.onAsk = func(context.Context, string, string) error { return err }
}

// In a pipe there is a line when something has changed, and none when it was only
// time that passed.
func TestRolloutFollowedInAPipe(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, waiting("a.example"))
		later := waiting("a.example")
		later.Gates[4].Value = "4 days"
		w.then(later)
		next := waiting("a.example")
		next.Stage, next.MaxAge, next.Confirmed, next.Gates, next.Awaits, next.Next = state.StageEnforce, 86400, time.Time{}, nil, "the gates are being looked at", time.Time{}
		w.then(next)
		w.fails(errors.New("connection refused"))
		settle(time.Hour)
		w.fails(nil)
		w.then(there("a.example"))
		if err := <-w.ended; err != nil {
			t.Errorf("ended with %v", err)
		}
		want := `2026-02-14 12:00:00 UTC  ` + rolloutLine(waiting("a.example")) + `
2026-02-14 12:01:01 UTC  a.example: enforce with a max_age of 24h, not confirmed everywhere yet, on the way to enforce with a max_age of 4w; the gates are being looked at
2026-02-14 13:02:01 UTC  a.example: enforce with a max_age of 4w, confirmed everywhere since 2026-01-14 12:00:00 UTC
done: a.example: enforce with a max_age of 4w, confirmed everywhere since 2026-01-14 12:00:00 UTC; there is nothing left to do
`
		if diff := cmp.Diff(want, w.out.String()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
		if want := "the server does not answer any more; waiting for it to come back\nthe server is back\n"; w.errs.String() != want {
			t.Errorf("stderr %q, want %q", w.errs.String(), want)
		}
	})
}

// A rollout that does not go on by itself ends the command, which says why.
func TestRolloutFollowedUntilItStops(t *testing.T) {
	paused, back, pinned, retiring := waiting("a.example"), inTesting("a.example"), inTesting("a.example"), inTesting("a.example")
	paused.Paused, paused.Awaits, paused.Remedy = true, "the rollout is paused", "resume it"
	pinned.Pinned, retiring.Goal = "config.toml:7", state.GoalRetire
	for want, s := range map[string]state.RolloutStatus{
		"held up: a.example stays in testing: the gate mx-tls is unmet: mx2.example.org [192.0.2.2]: It does not offer STARTTLS (wanted: verified TLS at every address of every MX host); what to do: switch STARTTLS on at mx2.example.org\n": held("a.example"),
		"paused: a.example: testing, confirmed everywhere since 2026-02-11 12:00:00 UTC, on the way to enforce with a max_age of 4w, paused; what to do: resume it\n":                                                                          paused,
		"called off: a.example: testing, confirmed everywhere since 2026-02-11 12:00:00 UTC\n":                                                                                                                                                 back,
		"called off: a.example: testing, pinned in the config at config.toml:7\n":                                                                                                                                                              pinned,
		"called off: a.example: testing, confirmed everywhere since 2026-02-11 12:00:00 UTC, on the way out of MTA-STS\n":                                                                                                                      retiring,
	} {
		synctest.Test(t, func(t *testing.T) {
			w := watch(t, waiting("a.example"))
			w.then(s)
			if err := <-w.ended; !errors.Is(err, exitError(1)) || w.errs.String() != want {
				t.Errorf("ended with %v, stderr %q, want %q", err, w.errs.String(), want)
			}
		})
	}
	synctest.Test(t, func(t *testing.T) {
		w := watch(t, waiting("a.example"))
		w.fails(state.ErrNotFound)
		if err := <-w.ended; !errors.Is(err, state.ErrNotFound) {
			t.Errorf("of a domain that is gone: %v", err)
		}
	})
}

func TestRolloutFollowedUntilInterrupted(t *testing.T) {
	for name, away := range map[string]error{"": nil, "without a server": errors.New("connection refused")} {
		synctest.Test(t, func(t *testing.T) {
			w := watch(t, waiting("a.example"))
			w.fails(away)
			settle(time.Minute)
			w.stop()
			if err := <-w.ended; err != nil || !strings.HasSuffix(w.errs.String(), goesOn("a.example")+"\n") {
				t.Errorf("%s: ended with %v, stderr %q", name, err, w.errs.String())
			}
		})
	}
}

// On a terminal all there is to see stands in its place, and what follows below it.
func TestRolloutFollowedOnATerminal(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		term := &fakeTerminal{}
		d := newDesk(waiting("a.example"))
		r := &roller{client: d, screen: screen{out: term, errOut: term, live: true}}
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		ended := make(chan error, 1)
		go func() { ended <- r.follow(ctx, "a.example") }()
		sees := func(want string) {
			t.Helper()
			settle(time.Minute)
			if diff := cmp.Diff(want, term.String()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		}
		sees(style{}.rollout(waiting("a.example")) + style{}.footer())
		short := waiting("a.example")
		short.Gates, short.Steps = nil, nil
		d.set(short)
		sees(style{}.rollout(short) + style{}.footer())
		d.mu.Lock()
		d.onAsk = func(context.Context, string, string) error { return errors.New("connection\x1b[2J refused") }
		d.mu.Unlock()
		sees(style{}.rollout(short) + style{}.footer() + "\nthe server does not answer any more; waiting for it to come back: connection\\x1b[2J refused\n")
		d.mu.Lock()
		d.onAsk = nil
		d.mu.Unlock()
		d.set(there("a.example"))
		sees(style{}.rollout(there("a.example")) + style{}.footer() + "done: " + nothingLeft(there("a.example")) + "\n")
		if err := <-ended; err != nil {
			t.Errorf("ended with %v", err)
		}
	})
}

// goers for tests.
type backDesk struct {
	*desk
	domain server.DomainStatus
}

func (b *backDesk) Domain(ctx context.Context, name string) (server.DomainStatus, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.domain, nil
}

// A domain on its way back is watched until the new id is everywhere.
func TestRollbackFollowed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		back := inTesting("a.example")
		back.Confirmed = time.Time{}
		d := &backDesk{newDesk(back), server.DomainStatus{Domain: "a.example", Step: state.Confirmed, Mode: "enforce", InConfig: true}}
		var out, errs bytes.Buffer
		ended := make(chan error, 1)
		go func() {
			ended <- followBack(t.Context(), screen{out: &out, errOut: &errs, now: func() time.Time { return deskTime }}, d, "a.example")
		}()
		then := func(change func(*server.DomainStatus)) {
			settle(time.Minute)
			d.mu.Lock()
			defer d.mu.Unlock()
			change(&d.domain)
		}
		then(func(s *server.DomainStatus) { s.Mode = "testing" }) // and the step is that of before
		then(func(s *server.DomainStatus) {
			s.Step, s.LastError, s.Remedy = state.Proven, "the key is refused: \x1b[2J", "see the account"
		})
		then(func(s *server.DomainStatus) { s.Step, s.LastError, s.Remedy = state.Announced, "", "" })
		then(func(s *server.DomainStatus) { s.Step, s.ID = state.Confirmed, "new" })
		settle(time.Minute)
		d.set(inTesting("a.example"))
		if err := <-ended; err != nil {
			t.Errorf("ended with %v", err)
		}
		const at = "2026-02-14 12:00:00 UTC  a.example: "
		want := at + "back to testing, not served yet\n" +
			at + "back to testing, served, not announced yet\n" +
			at + "back to testing, proven; the key is refused: \\x1b[2J; what to do: see the account\n" +
			at + "back to testing, announced\n" +
			at + "back to testing, served, not announced yet\n" +
			at + "testing, confirmed everywhere; senders deliver again whatever the MX hosts offer, as soon as they see the id new\n"
		if diff := cmp.Diff(want, out.String()); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	})
	synctest.Test(t, func(t *testing.T) { // a domain that had left is back: its rollout knows of no time
		back := inTesting("a.example")
		back.Confirmed = time.Time{}
		body := "version: STSv1\r\nmode: testing\r\nmx: mx1.a.example\r\nmax_age: 86400\r\n"
		id := mtasts.NewID(deskTime, []byte(body))
		d := &backDesk{newDesk(back), server.DomainStatus{Domain: "a.example", Step: state.Confirmed, Mode: "testing", Body: body, ID: id, InConfig: true}}
		var out, errs bytes.Buffer
		if err := followBack(t.Context(), screen{out: &out, errOut: &errs, now: time.Now}, d, "a.example"); err != nil || !strings.Contains(out.String(), "confirmed everywhere; ") || !strings.Contains(out.String(), id) {
			t.Errorf("ended with %v: %s", err, out.String())
		}
	})
	synctest.Test(t, func(t *testing.T) { // somebody else takes it somewhere else
		gone := there("a.example")
		d := &backDesk{newDesk(gone), server.DomainStatus{Domain: "a.example"}}
		var out, errs bytes.Buffer
		err := followBack(t.Context(), screen{out: &out, errOut: &errs, now: time.Now}, d, "a.example")
		if !errors.Is(err, exitError(1)) || !strings.HasPrefix(errs.String(), "no longer on its way back: a.example: enforce") {
			t.Errorf("ended with %v, stderr %q", err, errs.String())
		}
	})
}

// A domain on its way out is watched until it is out.
func TestRetireFollowed(t *testing.T) {
	retiring := state.RolloutStatus{Domain: "a.example", Stage: state.StageRetiring, Goal: state.GoalRetire, Confirmed: deskTime,
		Until: deskTime.AddDate(0, 0, 28), Awaits: "the policy says none; senders may hold an earlier policy until 2026-03-14 12:00 UTC, then the record goes"}
	withdrawing := state.RolloutStatus{Domain: "a.example", Stage: state.StageWithdrawing, Goal: state.GoalRetire, Awaits: "the record is being removed"}
	for _, tt := range []struct {
		last       state.RolloutStatus
		out, trail string
		err        error
	}{
		{state.RolloutStatus{Domain: "a.example", Stage: state.StageRetired}, "2026-02-14 12:00:00 UTC  a.example has left MTA-STS: it has no record, no policy and no certificate any more\n", "", nil},
		{inTesting("a.example"), "", "called off: a.example: testing", exitError(1)},
	} {
		synctest.Test(t, func(t *testing.T) {
			d := newDesk(retiring)
			var out, errs bytes.Buffer
			ended := make(chan error, 1)
			go func() {
				ended <- followOut(t.Context(), screen{out: &out, errOut: &errs, now: func() time.Time { return deskTime }}, d, retiring)
			}()
			settle(time.Minute)
			d.set(withdrawing)
			settle(time.Minute)
			d.set(tt.last)
			if err := <-ended; !errors.Is(err, tt.err) || !strings.HasPrefix(errs.String(), tt.trail) {
				t.Errorf("ended with %v, stderr %q", err, errs.String())
			}
			want := "2026-02-14 12:00:00 UTC  " + rolloutLine(retiring) + "\n2026-02-14 12:00:00 UTC  " + rolloutLine(withdrawing) + "\n" + tt.out
			if got := out.String(); !strings.HasPrefix(got, want) {
				t.Errorf("shown\n%s\nwant\n%s", got, want)
			}
		})
	}
}
