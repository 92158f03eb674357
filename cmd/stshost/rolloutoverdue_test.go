package main

import (
	"net"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
	"github.com/stshost/stshost/server"
)

// overdueWorld is a world in which a step can be decided and not be served: the only
// worker of the reconciler is with a domain whose policy host does not answer.
type overdueWorld struct {
	*stagedWorld
	files ownFiles // the certificate of all domains
	hosts []string // which it is for
}

const slow = "slow.test"

func newOverdueWorld(t *testing.T, domains ...string) *overdueWorld {
	t.Helper()
	domains = append(domains, slow)
	w := &overdueWorld{stagedWorld: staged(newWorld(t, domains...))}
	w.workers = 1
	for i, d := range domains {
		w.hosts = append(w.hosts, mtasts.PolicyHost(d))
		w.domains[i].mx = []string{"mx1.mail.test", "mx2.mail.test"}
	}
	w.files = w.bringCertificate(time.Now().AddDate(2, 0, 0), w.hosts...)
	return w
}

// busy has the reconciler wait for an answer until free.
func (w *overdueWorld) busy() (free func()) {
	w.t.Helper()
	const ip = "127.0.0.77"
	host := mtasts.PolicyHost(slow)
	was := w.lab.DNS.Records(host, "A")
	ln, err := net.Listen("tcp", net.JoinHostPort(ip, strconv.Itoa(w.lab.HTTPSPort)))
	w.noError(err)
	w.noError(w.lab.DNS.Set(host, "A", ip))
	w.s.reconciler.Wake(slow)
	conn, err := ln.Accept() // a fetch, which waits for 20 seconds
	w.noError(err)
	free = sync.OnceFunc(func() {
		w.noError(w.lab.DNS.Set(host, "A", was...))
		ln.Close()
		conn.Close()
	})
	w.t.Cleanup(free)
	return free
}

// decided waits until the next stage is decided, and wants it not to be served.
func (w *overdueWorld) decided(before server.DomainStatus, maxAge time.Duration) {
	w.t.Helper()
	w.awaitRollout(before.Domain, "a step that is not served", func(r state.RolloutStatus) bool {
		return r.Stage == state.StageEnforce && r.MaxAge == int64(maxAge/time.Second) && r.Confirmed.IsZero()
	})
	w.stays(before)
}

// stays wants the domain to be served and announced as before.
func (w *overdueWorld) stays(before server.DomainStatus) {
	w.t.Helper()
	if d := w.status(before.Domain); d.ID != before.ID || d.Body != before.Body {
		w.t.Errorf("%s has the id %s with %q, want %s with %q", d.Domain, d.ID, d.Body, before.ID, before.Body)
	}
	w.sees(before)
}

// back waits until the domain has been taken back to what is served, and returns how
// that was told: once, as the last thing.
func (w *overdueWorld) back(domain string) server.Event {
	w.t.Helper()
	var told []server.Event
	w.awaitRollout(domain, "to be taken back", func(state.RolloutStatus) bool {
		told = slices.DeleteFunc(w.news(domain), func(e server.Event) bool { return e.Kind != state.KindRolloutBack })
		return len(told) > 0
	})
	if e := told[0]; len(told) > 1 || e.Severity != state.SeverityWarning || !strings.Contains(e.Text, "was not served in time") {
		w.t.Errorf("told was %+v", told)
	}
	w.gatesTold(told[0])
	return told[0]
}

// Steps were decided, and before they were served the server was down for a day. The
// gates are looked at again, and what has changed meanwhile counts: no sender ever
// sees a stage that rests on what was so a day ago.
func TestOverdueAfterAStop(t *testing.T) {
	t.Parallel()
	const broken, fine, further = "broken.test", "fine.test", "further.test"
	w := newOverdueWorld(t, broken, fine, further)
	mail := map[string]*mailHost{}
	for i, d := range []string{broken, fine, further} {
		mail[d] = w.mailHost(d, 40+i)
	}
	w.start()
	before := map[string]server.DomainStatus{}
	for _, d := range []string{broken, fine, further} {
		before[d] = w.confirmed(d)
	}
	w.confirmed(slow)
	// One domain has come a stage further than the others.
	r := w.begin(further, state.RolloutOrder{AcceptNoReports: true})
	w.set(r.Confirmed.Add(oneWeek))
	r = w.at(further, state.StageEnforce, oneDay)
	before[further] = w.confirmedAnew(before[further])

	free := w.busy()
	w.set(r.Confirmed.Add(2 * oneDay))
	w.decided(before[further], oneWeek)
	for _, d := range []string{broken, fine} {
		w.begin(d, state.RolloutOrder{AcceptNoReports: true})
		w.decided(before[d], oneDay)
	}
	w.noError(w.s.stop())
	free()
	for _, d := range []string{broken, further} {
		mail[d].offer(time.Time{})
	}
	w.weeks += oneDay
	w.start()

	for d, at := range map[string]string{broken: "testing", further: "enforce with a max_age of 1 day"} {
		if e := w.back(d); !strings.HasSuffix(e.Text, "the domain goes on in "+at) || !strings.Contains(e.Text, "the gate mx-tls is unmet") {
			t.Errorf("%s: told was %q", d, e.Text)
		}
		w.confirmed(d)
		w.stays(before[d])
	}
	if r := w.rollout(broken); r.Stage != state.StageTesting || r.Goal != state.GoalEnforce {
		t.Errorf("taken back: %+v", r)
	}
	if r := w.rollout(further); r.Stage != state.StageEnforce || r.MaxAge != int64(oneDay/time.Second) || r.Goal != state.GoalEnforce {
		t.Errorf("taken back: %+v", r)
	}

	// Where all gates are open still the step is made, and told with what it rests on now.
	w.at(fine, state.StageEnforce, oneDay)
	w.sees(w.confirmedAnew(before[fine]))
	news := w.news(fine)
	if got := kinds(news); !slices.Equal(got, []string{state.KindRolloutStarted, state.KindRolloutStep, state.KindRolloutStep}) {
		t.Fatalf("told were %q", got)
	}
	w.gatesTold(news[2])

	// Once the MX hosts are mended the others go on by themselves.
	for _, d := range []string{broken, further} {
		mail[d].offer(time.Time{}, mail[d].name)
	}
	w.s.forgetBadLooks()
	w.set(w.rolloutNow().Add(time.Hour))
	w.at(broken, state.StageEnforce, oneDay)
	w.sees(w.confirmedAnew(before[broken]))
	w.at(further, state.StageEnforce, oneWeek)
	w.sees(w.confirmedAnew(before[further]))
}

// The certificate is gone when a step is to be served. The step is made all the same
// if there is one again within ten minutes and nobody has paused it, and else the
// domain goes on where it is.
func TestOverdueWithoutACertificate(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		meanwhile func(w *overdueWorld, before server.DomainStatus, entered time.Time)
		told      []string
	}{
		"ten minutes": {(*overdueWorld).inTime, []string{state.KindRolloutStarted, state.KindRolloutStep}},
		"longer": {(*overdueWorld).late,
			[]string{state.KindRolloutStarted, state.KindRolloutStep, state.KindRolloutBack, state.KindRolloutHeld, state.KindRolloutStep}},
		"paused": {(*overdueWorld).paused,
			[]string{state.KindRolloutStarted, state.KindRolloutStep, state.KindRolloutPaused, state.KindRolloutPaused}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newOverdueWorld(t, example)
			w.files.write(time.Now().Add(6*oneDay), w.hosts...)
			w.start()
			before := w.confirmed(example)
			w.confirmed(slow)
			free := w.busy()
			w.set(w.begin(example, state.RolloutOrder{AcceptNoReports: true}).Confirmed.Add(oneWeek))
			w.decided(before, oneDay)
			w.ahead.Store(int64(oneWeek))
			free()
			w.expired(before)
			c.meanwhile(w, before, w.rollout(example).Entered)
			w.at(example, state.StageEnforce, oneDay)
			w.sees(w.confirmedAnew(before))
			if got := kinds(w.news(example)); !slices.Equal(got, c.told) {
				t.Errorf("told were %q, want %q", got, c.told)
			}
		})
	}
}

// The reconciler is busy for more than ten minutes, and then free: the step goes on, or
// is taken back, at once and not half an hour later.
func TestOverdueIsTakenUp(t *testing.T) {
	t.Parallel()
	w := newOverdueWorld(t, example)
	w.start()
	before := w.confirmed(example)
	w.confirmed(slow)
	free := w.busy()
	w.set(w.begin(example, state.RolloutOrder{AcceptNoReports: true}).Confirmed.Add(oneWeek))
	w.decided(before, oneDay)
	w.set(w.rollout(example).Entered.Add(11 * time.Minute))
	w.awaitRollout(example, "a look", func(r state.RolloutStatus) bool { return !r.Checked.IsZero() })
	free()
	w.confirmed(example)
	w.at(example, state.StageEnforce, oneDay)
}

// expired waits until the domain lacks a certificate, and wants it to be served and
// announced as before.
func (w *overdueWorld) expired(before server.DomainStatus) {
	w.t.Helper()
	w.await(before.Domain, "an expired certificate", func(d server.DomainStatus) bool {
		return strings.Contains(d.LastError, "expired at") && d.ConfigWaits.IsZero()
	})
	w.stays(before)
}

// mend brings a certificate that is valid.
func (w *overdueWorld) mend() {
	w.t.Helper()
	w.ahead.Store(0)
	w.files.write(time.Now().AddDate(2, 0, 0), w.hosts...)
}

func (w *overdueWorld) inTime(before server.DomainStatus, entered time.Time) {
	w.t.Helper()
	w.stop(entered.Add(10 * time.Minute))
	w.awaitRollout(before.Domain, "the step still", func(r state.RolloutStatus) bool {
		return r.Stage == state.StageEnforce && r.Entered.Equal(entered) && r.Next.After(entered.Add(10*time.Minute))
	})
	w.mend()
}

func (w *overdueWorld) late(before server.DomainStatus, entered time.Time) {
	w.t.Helper()
	w.set(entered.Add(10*time.Minute + time.Second))
	if e := w.back(before.Domain); !strings.HasSuffix(e.Text, "the domain goes on in testing") || !strings.Contains(e.Evidence["gate.policy"], "expired at") {
		w.t.Errorf("told was %+v", e)
	}
	w.expired(before)
	w.awaitRollout(before.Domain, "to be held up", func(r state.RolloutStatus) bool {
		return r.Stage == state.StageTesting && r.Refused && strings.Contains(r.Awaits, state.GatePolicy)
	})
	w.mend()
	w.confirmed(before.Domain)
}

func (w *overdueWorld) paused(before server.DomainStatus, _ time.Time) {
	w.t.Helper()
	if _, err := w.client().PauseRollout(w.t.Context(), before.Domain); err != nil {
		w.t.Fatal(err)
	}
	w.expired(before)
	w.mend()
	w.confirmed(before.Domain)
	w.stays(before)
	if _, err := w.client().ResumeRollout(w.t.Context(), before.Domain); err != nil {
		w.t.Fatal(err)
	}
}
