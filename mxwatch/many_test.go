package mxwatch_test

import (
	"fmt"
	"runtime"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
	"github.com/stshost/stshost/mxwatch"
)

// However many domains there are, none takes a goroutine or timer of its own.
func TestManyDomains(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const many = 20_000
		l := newLab()
		domains := make([]string, many)
		for i := range domains {
			domains[i] = fmt.Sprintf("d%d.example", i)
		}
		l.serve(mtasts.ModeEnforce, domains...)
		before := runtime.NumGoroutine()
		w := l.start(t, interval, domains...)
		defer w.stop()
		pass(0)
		same(t, "looks", len(l.looked()), many)
		pass(interval / 2)
		if n := len(l.looked()); n != 0 {
			t.Errorf("%d looks in the first half of the interval after the first", n)
		}
		if more := runtime.NumGoroutine() - before; more > 10 {
			t.Errorf("%d goroutines more", more)
		}
		pass(interval)
		same(t, "looks in an interval", len(l.looked()), many)
		same(t, "at a time", l.most <= 3, true)
	})
}

// A look wakes its domain alone, whatever else is due.
func TestLooksDoNotPileUp(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		l.takes = time.Second
		l.serve(mtasts.ModeEnforce, example)
		w := l.start(t, interval, example)
		defer w.stop()
		for range 100 {
			w.Look(example)
			w.LookAtFailing()
		}
		pass(time.Minute)
		if n := len(l.looked()); n > 2 {
			t.Errorf("%d looks", n)
		}
	})
}

// What is known of a domain in order takes little memory, whether it was looked
// at or comes from the store, and whosever MX hosts it has.
func TestMemory(t *testing.T) {
	const many, most = 50_000, 300 // bytes for each
	for whose, format := range map[string]string{"shared": "mx%d.provider%d.example", "its own": "mx%d.d%d.example", "named after it": "d%[2]d-example.mail%[1]d.provider.example"} {
		t.Run(whose, func(t *testing.T) {
			l := newLab()
			domains := make([]string, many)
			now := time.Now()
			for i := range domains {
				domains[i] = fmt.Sprintf("d%d.example", i)
				number := i
				if whose == "shared" {
					number %= 50
				}
				l.rows[domains[i]] = state.MXWatch{
					Domain: domains[i], Time: now, Passed: true, Summary: fmt.Sprintf("%d MX hosts are covered and have authenticated TLS", i%5),
					Hosts: []state.MXHostSeen{{Host: fmt.Sprintf(format, 1, number), Passed: now}, {Host: fmt.Sprintf(format, 2, number), Passed: now}},
				}
			}
			heap := func() uint64 {
				runtime.GC()
				runtime.GC()
				var m runtime.MemStats
				runtime.ReadMemStats(&m)
				return m.HeapAlloc
			}
			before := heap()
			w, err := mxwatch.New(t.Context(), mxwatch.Config{Prober: l, Store: l, Policy: l.policy, Interval: interval})
			if err != nil {
				t.Fatal(err)
			}
			if err := w.SetDomains(t.Context(), domains); err != nil {
				t.Fatal(err)
			}
			if each := (heap() - before) / many; each > most {
				t.Errorf("%d bytes for a domain", each)
			} else {
				t.Logf("%d bytes for a domain", each)
			}
			for _, domain := range domains[:100] {
				if last, _ := w.Last(domain); !slices.Equal(last.Hosts, l.rows[domain].Hosts) {
					t.Errorf("%s: %+v", domain, last.Hosts)
				}
			}
			runtime.KeepAlive(w)
			runtime.KeepAlive(l)
		})
	}
}

// What is known of the hosts of a domain in order is what was seen of them, however
// little room it takes.
func TestWhatIsRememberedOfHosts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l, w := guarding(t, mtasts.ModeEnforce)
		defer w.stop()
		var want []state.MXHostSeen
		for i, c := range []state.MXCheck{
			hosts(mxOne+"ok", mxTwo+"?"), hosts(mxOne+"ok", mxTwo+"ok"), unknown(), hosts(mxOne+"?", mxTwo+"ok"), hosts(mxTwo + "ok"),
		} {
			pass(time.Second)
			l.sees(w, c)
			now := time.Now()
			switch i {
			case 0:
				want = []state.MXHostSeen{{Host: "mx1.example.com", Passed: now}}
			case 1:
				want = []state.MXHostSeen{{Host: "mx1.example.com", Passed: now}, {Host: "mx2.example.com", Passed: now}}
			case 3:
				want = []state.MXHostSeen{want[0], {Host: "mx2.example.com", Passed: now}}
			case 4:
				want = []state.MXHostSeen{{Host: "mx2.example.com", Passed: now}}
			}
			last, _ := w.Last(example)
			same(t, fmt.Sprintf("known after look %d", i+1), last.Hosts, want)
			same(t, fmt.Sprintf("stored after look %d", i+1), l.rows[example].Hosts, want)
		}
	})
}
