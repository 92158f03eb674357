package mxwatch_test

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
	"github.com/stshost/stshost/mxwatch"
)

func same(t *testing.T, what string, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s (-want +got):\n%s", what, diff)
	}
}

func TestADomainIsLookedAtAsSoonAsItServes(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		w := l.start(t, interval, example)
		defer w.stop()
		pass(24 * time.Hour)
		same(t, "looks at a domain that serves nothing", len(l.looked()), 0)

		l.serve(mtasts.ModeTesting, example)
		w.Look(example)
		w.Look("nobody.example")
		pass(0)
		got := l.looked()
		same(t, "looks", len(got), 1)
		same(t, "held against", append(got[0].mx, string(got[0].mode)), []string{"mx1.example.com", "testing"})
		last, ok := w.Last(example)
		same(t, "known", ok && last.Passed && last.Time.Equal(time.Now()) && last.Domain == example, true)
		same(t, "next", last.Next.After(time.Now()) && last.Next.Before(time.Now().Add(2*interval)), true)
		last.Next = time.Time{}
		same(t, "stored", l.rows[example], last)
		if _, ok := w.Last("nobody.example"); ok {
			t.Error("something is known of nobody")
		}

		// Another policy has it looked at anew, and not otherwise before its time.
		l.serve(mtasts.ModeEnforce, example)
		w.Look(example)
		pass(interval / 3)
		got = l.looked()
		same(t, "looks after a change", len(got), 1)
		same(t, "mode", got[0].mode, mtasts.ModeEnforce)
		same(t, "events", l.told(), []string(nil))
	})
}

// A look that is under way when the policy changes was at the old one.
func TestAChangeDuringALookHasAnother(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		l.takes = time.Minute
		l.serve(mtasts.ModeTesting, example)
		w := l.start(t, interval, example)
		defer w.stop()
		pass(time.Second)
		l.serve(mtasts.ModeEnforce, example)
		w.Look(example)
		pass(2 * time.Minute)
		var modes []mtasts.Mode
		for _, k := range l.looked() {
			modes = append(modes, k.mode)
		}
		same(t, "modes", modes, []mtasts.Mode{mtasts.ModeTesting, mtasts.ModeEnforce})
	})
}

// Domains that came together spread over the interval, each with one look in
// each, and keep that over restarts.
func TestLooksAreSpreadOverTheInterval(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const many = 3000
		l := newLab()
		l.takes = time.Second
		var domains []string
		for i := range many {
			domains = append(domains, fmt.Sprintf("d%d.example", i))
		}
		l.serve(mtasts.ModeEnforce, domains...)
		w := l.start(t, interval, domains...)
		pass(many / 3 * time.Second)
		same(t, "looks", len(l.looked()), many)
		same(t, "at a time", l.most, 3)

		w.stop()
		w = l.start(t, interval, domains...)
		defer func() { w.stop() }()
		pass(time.Minute)
		same(t, "looks after a restart", len(l.looked()), 0)

		pass(2*interval - time.Minute)
		l.looked()
		hours := make(map[int]int)
		start := time.Now()
		pass(interval)
		w.stop() // mid-way, and looked at on: what was due meanwhile is not due at once
		counts := make(map[string]int)
		for _, k := range l.looked() {
			counts[k.domain]++
			hours[int(k.at.Sub(start)/time.Hour)]++
		}
		for _, d := range domains {
			if n := counts[d]; n != 1 {
				t.Fatalf("%d looks at %s in an interval", n, d)
			}
		}
		for hour, n := range hours {
			if n < many/6*8/10 || n > many/6*12/10 {
				t.Errorf("%d looks in hour %d of 6, of %d", n, hour, many)
			}
		}

		pass(30 * 24 * time.Hour)
		w = l.start(t, interval, domains...)
		pass(time.Minute)
		if n := len(l.looked()); n == 0 || n > many/20 {
			t.Errorf("%d of %d looks in the first minute after a month", n, many)
		}
		pass(interval / 10)
		if n := len(l.looked()); n < many*9/10 {
			t.Errorf("%d of %d looks in the first tenth of the interval after a month", n, many)
		}
	})
}

// A new domain does not wait for those that are overdue.
func TestNewDomainsGoFirst(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		l.takes = time.Minute
		var domains []string
		for i := range 300 {
			domains = append(domains, fmt.Sprintf("d%d.example", i))
		}
		l.serve(mtasts.ModeEnforce, append(domains, example)...)
		w := l.start(t, 10*time.Minute, domains...) // of which 30 can be looked at
		defer w.stop()
		pass(5 * time.Hour)
		l.looked()
		if err := w.SetDomains(t.Context(), append(domains, example)); err != nil {
			t.Fatal(err)
		}
		pass(90 * time.Second)
		if !slices.ContainsFunc(l.looked(), func(k look) bool { return k.domain == example }) {
			t.Error("it has not been looked at")
		}
	})
}

// Looks come sooner while something is wrong, and then less and less often.
func TestRecoveryIsSeenSoon(t *testing.T) {
	for name, finds := range map[string]state.MXCheck{"failed": failed(), "unknown": unknown()} {
		synctest.Test(t, func(t *testing.T) {
			l := newLab()
			l.serve(mtasts.ModeTesting, example)
			l.finds(example, finds)
			w := l.start(t, interval, example)
			defer w.stop()
			pass(24 * time.Hour)
			var waits []time.Duration
			got := l.looked()
			for i := range got[1:] {
				waits = append(waits, got[i+1].at.Sub(got[i].at))
			}
			want := 10 * time.Minute
			for i, wait := range waits {
				if wait < want*9/10 || wait > want*11/10 {
					t.Errorf("%s: wait %d is %s, want about %s", name, i, wait, want)
				}
				want = min(2*want, interval)
			}
			if len(waits) < 7 {
				t.Errorf("%s: %d looks in a day", name, len(waits)+1)
			}
		})
	}
}

func TestAReloadLooksAtWhatFails(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		l.serve(mtasts.ModeTesting, example, "b.example", "c.example")
		l.finds(example, failed())
		l.finds("b.example", unknown())
		w := l.start(t, interval, example, "b.example", "c.example")
		defer w.stop()
		pass(0)
		same(t, "counts", w.Counts(), mxwatch.Counts{Failing: 1, Unknown: 1})
		l.looked()
		l.finds(example, passed())
		w.LookAtFailing()
		pass(0)
		got := l.looked()
		same(t, "looks", len(got) == 1 && got[0].domain == example, true)
		same(t, "told", l.told(), []string{"mx.failed warning", "mx.recovered info"})
	})
}

func TestAProberThatCannotSay(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		l.serve(mtasts.ModeTesting, example)
		l.probes(0, errors.New("no resolver answers"))
		w := l.start(t, interval, example)
		defer w.stop()
		pass(0)
		last, _ := w.Last(example)
		same(t, "known", last.Unknown && strings.Contains(last.Summary, "no resolver answers"), true)

		// Nor can one that never comes back.
		l.probes(time.Hour, nil)
		pass(20 * time.Minute)
		last, _ = w.Last(example)
		same(t, "known", last.Unknown && strings.Contains(last.Summary, "deadline exceeded"), true)
		same(t, "told", l.told(), []string(nil))
	})
}

func TestDomainsThatLeaveAreForgotten(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		l.takes = time.Minute
		l.serve(mtasts.ModeEnforce, example, "b.example", "c.example")
		w := l.start(t, interval, example, "b.example", "c.example")
		pass(2 * time.Minute)
		same(t, "stored", len(l.rows), 3)
		w.Look("b.example")
		pass(time.Second) // it is being looked at
		if err := w.SetDomains(t.Context(), []string{example}); err != nil {
			t.Fatal(err)
		}
		pass(time.Hour)
		same(t, "stored", slices.Collect(maps.Keys(l.rows)), []string{example})
		if _, ok := w.Last("b.example"); ok {
			t.Error("what was seen of b.example is still known")
		}
		l.looked()
		pass(3 * interval)
		same(t, "looks", slices.ContainsFunc(l.looked(), func(k look) bool { return k.domain != example }), false)

		// One that comes back is looked at anew.
		l.finds("b.example", failed())
		if err := w.SetDomains(t.Context(), []string{"b.example"}); err != nil {
			t.Fatal(err)
		}
		pass(2 * time.Minute)
		same(t, "told", l.told(), []string{"mx.failed critical"})
		w.stop()

		// So it is with those that leave while no server runs.
		w = l.start(t, interval, "c.example")
		pass(2 * time.Minute)
		w.stop()
		same(t, "stored", slices.Collect(maps.Keys(l.rows)), []string{"c.example"})

		// And with all where nothing is to be looked at.
		w = l.start(t, 0, example, "c.example")
		pass(24 * time.Hour)
		w.stop()
		same(t, "stored", len(l.rows), 0)
	})
}

// A clock that is set back while no server runs makes nobody wait for the time
// that was.
func TestClockSetBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		l.serve(mtasts.ModeTesting, example)
		l.rows[example] = state.MXWatch{Domain: example, Time: time.Now().Add(365 * 24 * time.Hour), Passed: true}
		w := l.start(t, interval, example)
		defer w.stop()
		pass(interval * 3 / 2)
		same(t, "looks", len(l.looked()), 1)
	})
}

func TestNewRefuses(t *testing.T) {
	if _, err := mxwatch.New(t.Context(), mxwatch.Config{Prober: newLab()}); err == nil {
		t.Error("no store, no policy, and no error")
	}
}
