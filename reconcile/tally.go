package reconcile

import (
	"cmp"
	"time"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
)

// Tally is how all domains stand, in numbers.
type Tally struct {
	Steps   map[state.Step]int  // by the step reached; "" for those nobody has looked at yet
	Modes   map[mtasts.Mode]int // by the mode served, or that will be; "" while it is not decided
	Waiting int                 // a change of the config that concerns them has not been taken up; the new ones are among them
	Failing int                 // something is wrong with them
	Left    int                 // no longer in the config, still served; in none of the above

	Due     int           // wait for a worker
	Overdue time.Duration // how long the one that has waited longest has been due
	Running int           // worked on now
}

// Tally counts the domains. troubled tells of those that Tally would count as
// in order whether something else is wrong with them; it must return at once.
func (r *Reconciler) Tally(troubled func(domain string) bool) Tally {
	t := Tally{Steps: make(map[state.Step]int), Modes: make(map[mtasts.Mode]int)}
	r.mu.Lock()
	defer r.mu.Unlock()
	now := r.cfg.Now()
	for name, d := range r.domains {
		if d.orphan || d.wanted.Left {
			t.Left++
			continue
		}
		step := d.row.Step
		if step == state.WaitingDNS && d.row.LastRun.IsZero() {
			step = ""
		}
		t.Steps[step]++
		t.Modes[cmp.Or(d.wanted.Mode, d.row.Mode)]++
		if d.row.LastError != "" || troubled(name) {
			t.Failing++
		}
		if !d.waits.IsZero() {
			t.Waiting++
		}
		if d.running {
			t.Running++
		}
	}
	for _, l := range r.lanes {
		for _, d := range l.Queue {
			if !d.due.After(now) {
				t.Due++
				t.Overdue = max(t.Overdue, now.Sub(d.due))
			}
		}
	}
	return t
}
