package main

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/stshost/stshost/internal/dnstest"
	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/server"
)

// Whatever becomes of the record at a real server, the steady re-check makes
// it right again: with the same id, and leaving others' TXT records alone.
func TestDriftIsRepaired(t *testing.T) {
	t.Parallel() // it waits more than it works
	const name, repaired = "_mta-sts." + example + ".", "the record had drifted and was pushed again"
	w := newWorld(t, example)
	w.watch = "1s"
	knot := dnstest.StartKnot(t, example)
	z := w.useRFC2136(knot)
	s := w.start()
	w.confirmed(example)
	z.note()
	txt := func(s string) string { return name + ` 60 IN TXT "` + s + `"` }
	for _, c := range []struct {
		name string
		harm func(t *testing.T, knot *dnstest.Server, record string)
	}{
		{"removed", func(t *testing.T, knot *dnstest.Server, record string) {
			knot.RemoveRecord(t, txt(record))
		}},
		{"doubled", func(t *testing.T, knot *dnstest.Server, record string) {
			knot.AddRecord(t, txt("v=STSv1; id=20200101T000000;"))
		}},
		{"changed", func(t *testing.T, knot *dnstest.Server, record string) {
			knot.RemoveRecord(t, txt(record))
			knot.AddRecord(t, txt("v=STSv1; id=20200101T000000;"))
		}},
		{"given a field more", func(t *testing.T, knot *dnstest.Server, record string) {
			knot.RemoveRecord(t, txt(record))
			knot.AddRecord(t, txt(record+" x=y;"))
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			before := w.confirmed(example)
			repairs := strings.Count(s.log.String(), repaired)
			c.harm(t, knot, recordOf(before))
			eventually(t, func() error { return z.only(note, recordOf(before)) })
			seen := w.now() // the look that repaired it ends later
			after := w.await(example, "the end of the repair", func(d server.DomainStatus) bool {
				return d.Step == state.Confirmed && d.LastError == "" && d.LastRun.After(seen)
			})
			if after.ID != before.ID || after.Body != before.Body {
				t.Errorf("repaired with the id %s, want %s", after.ID, before.ID)
			}
			if n := strings.Count(s.log.String(), repaired) - repairs; n != 1 {
				t.Errorf("the drift was told %d times", n)
			}
		})
	}

	// Where all is well a look changes nothing.
	serial := knot.Serial(t, example)
	w.looked(example)
	if knot.Serial(t, example) != serial {
		t.Error("the zone was changed without need")
	}
}

// looked waits until stshost has, by itself, looked at the domain from
// beginning to end.
func (w *world) looked(domain string) {
	w.t.Helper()
	last := w.now()
	for range 2 { // the first may have begun before
		d := w.await(domain, "a look", func(d server.DomainStatus) bool { return d.LastRun.After(last) })
		last = d.LastRun
	}
}

// only reports whether exactly these records stand at the name.
func (z zone) only(want ...string) error {
	got := z.txt()
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		return fmt.Errorf("the TXT records are %q, want %q", got, want)
	}
	return nil
}
