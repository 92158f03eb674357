package reconcile

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
)

// takeNote has whoever knows the stages take note of a later policy: it is the
// stage of w from then on.
func (l *lab) takeNote(w Wanted) {
	l.change(func() {
		l.onAdopted = func(r *Reconciler, found mtasts.Policy) error {
			w.Stage = Stage{Mode: found.Mode, MaxAge: found.MaxAge}
			r.Set(w)
			return nil
		}
	})
}

// An older store is restored, with the stages in it. A later policy in the DNS that
// is stricter, or that senders hold for longer, is where the domain goes on, and
// whoever knows the stages is told. Any other is only entered in the ledger.
func TestOlderStageIsRestored(t *testing.T) {
	full := at(mtasts.ModeEnforce, 0)
	full.MaxAges = []time.Duration{day, 2 * day, 4 * day}
	stage := func(mode mtasts.Mode, maxAge time.Duration, mx ...string) Wanted {
		w := full
		w.Stage = Stage{Mode: mode, MaxAge: maxAge}
		if mx != nil {
			w.MX = mx
		}
		return w
	}
	for name, c := range map[string]struct {
		earlier Wanted // before the stage that the backup has; zero: nothing
		before  Wanted // when the backup was made
		since   []Wanted
		adopts  bool // what was announced last
	}{
		"enforce after testing":       {before: stage("testing", 0), since: []Wanted{stage("enforce", day)}, adopts: true},
		"enforce of before":           {earlier: stage("enforce", 2*day), before: stage("testing", 0), since: []Wanted{stage("enforce", 2*day)}, adopts: true},
		"all the way":                 {before: stage("testing", 0), since: []Wanted{stage("enforce", day), stage("enforce", 4*day), stage("enforce", 0)}, adopts: true},
		"a longer max_age":            {before: stage("enforce", day), since: []Wanted{stage("enforce", 4*day)}, adopts: true},
		"the full max_age":            {before: stage("enforce", 2*day), since: []Wanted{stage("enforce", 0)}, adopts: true},
		"back from its way out":       {before: stage("none", NoneMaxAge), since: []Wanted{stage("testing", 0)}, adopts: true},
		"a shorter max_age":           {before: stage("enforce", 4*day), since: []Wanted{stage("enforce", 2*day)}},
		"a shorter one than the full": {before: stage("enforce", 0), since: []Wanted{stage("enforce", day)}},
		"testing with another max_age, that the config had": {before: stage("testing", 0), since: []Wanted{stage("testing", 4*day)}},
		"the same with another mx":                          {earlier: stage("enforce", day, "mx2.example.com"), before: stage("enforce", day), since: []Wanted{stage("enforce", day, "mx2.example.com")}},
		"the same, after another":                           {before: stage("enforce", day), since: []Wanted{stage("testing", 0), stage("enforce", day)}},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLab()
				first := c.before
				if c.earlier.Domain != "" {
					first = c.earlier
				}
				p := l.start(t, first)
				defer func() { p.stop() }()
				settleFor(time.Minute)
				p.Set(c.before)
				settleFor(time.Minute)
				wantStep(t, p, state.Confirmed)
				restore := l.backUp()
				for _, w := range c.since {
					p.Set(w)
					settleFor(time.Minute)
					wantStep(t, p, state.Confirmed)
				}
				last := c.since[len(c.since)-1]
				held, lastID := string(l.serving(example)), live(t, l)
				p.stop()

				restore()
				l.takeNote(c.before)
				p = l.start(t, c.before)
				restored := time.Now()
				settleFor(15 * time.Minute)
				serves := c.before
				var told []mtasts.Policy
				if c.adopts {
					serves, told = last, []mtasts.Policy{{Mode: last.Stage.Mode, MX: last.MX, MaxAge: last.Stage.MaxAge}}
					if told[0].MaxAge == 0 {
						told[0].MaxAge = last.MaxAge
					}
				}
				if !slices.EqualFunc(l.adopted, told, func(a, b mtasts.Policy) bool {
					return a.Mode == b.Mode && a.MaxAge == b.MaxAge && slices.Equal(a.MX, b.MX)
				}) {
					t.Errorf("told of %+v, want %+v", l.adopted, told)
				}
				id := wantStage(t, p, serves)
				if same := policyOf(t, serves) == held; !same && id == lastID {
					t.Errorf("the id %s of another policy stands", id)
				}
				// Senders hold what was announced last from now on, as far as can be known.
				i := slices.IndexFunc(l.ledger[example], func(b state.Body) bool { return string(b.Body) == held })
				if i < 0 || !l.ledger[example][i].LastServed.IsZero() && l.ledger[example][i].LastServed.Before(restored) {
					t.Errorf("the ledger does not know since %s of %q: %+v", restored, held, l.ledger[example])
				}
				if len(l.faults) > 0 {
					t.Error(l.faults)
				}

				// It stays so.
				pushes := len(l.pushes)
				now, _ := p.Snapshot(example)
				p.stop()
				p = l.start(t, now.Wanted)
				settleFor(26 * time.Hour)
				if wantStage(t, p, serves) != id || len(l.pushes) != pushes || len(l.adopted) != len(told) {
					t.Errorf("later it announces %s after %d pushes more, told of %+v", live(t, l), len(l.pushes)-pushes, l.adopted)
				}
			})
		})
	}
}

// A later policy that is less strict than what the store has lowers nothing: the
// operator is asked.
func TestOlderStageIsNotLowered(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		before := at(mtasts.ModeEnforce, day)
		p := l.start(t, before)
		defer func() { p.stop() }()
		settleFor(time.Minute)
		restore := l.backUp()
		p.Set(at(mtasts.ModeNone, NoneMaxAge))
		settleFor(time.Minute)
		id := wantStage(t, p, at(mtasts.ModeNone, NoneMaxAge))
		p.stop()
		restore()
		p = l.start(t, before)
		settleFor(time.Hour)
		d := p.state(t, example)
		if !strings.Contains(d.Remedy, `mode = "none" or mode = "enforce"`) || len(l.adopted) != 0 || live(t, l) != id {
			t.Errorf("error %q, remedy %q, told of %+v, announces %s", d.LastError, d.Remedy, l.adopted, live(t, l))
		}
		if body := string(l.serving(example)); body != policyOf(t, before) {
			t.Errorf("serves %q", body)
		}
	})
}

// As long as nobody could take note of the later policy, nothing is changed.
func TestLaterPolicyThatCannotBeNoted(t *testing.T) {
	for name, silent := range map[string]bool{"at once": false, "after a silence": true} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLab()
				before, since := at(mtasts.ModeTesting, 0), at(mtasts.ModeEnforce, day)
				p := l.start(t, before)
				defer func() { p.stop() }()
				settleFor(time.Minute)
				restore := l.backUp()
				p.Set(since)
				settleFor(time.Minute)
				id := wantStage(t, p, since)
				p.stop()

				restore()
				row := l.rows[example]
				l.onAdopted = func(*Reconciler, mtasts.Policy) error { return errors.New("the store of the stages is locked") }
				if silent {
					l.silent = errors.New("no answer")
				}
				p = l.start(t, before)
				settleFor(10 * time.Minute)
				l.change(func() { l.silent = nil })
				settleFor(time.Hour)
				d := p.state(t, example)
				if !strings.Contains(d.LastError, "the stages is locked") || d.Remedy == "" || d.Attempts == 0 {
					t.Errorf("error %q, remedy %q, %d attempts", d.LastError, d.Remedy, d.Attempts)
				}
				if d.Step != row.Step || d.Mode != row.Mode || d.ID != row.ID || d.BodySHA256 != row.BodySHA256 || d.Adopted {
					t.Errorf("the journal has %+v, it had %+v", d, row)
				}
				if body := string(l.serving(example)); body != policyOf(t, before) || live(t, l) != id || len(l.pushes) != 2 {
					t.Errorf("serves %q, announces %s after %d pushes", body, live(t, l), len(l.pushes))
				}
				if len(l.adopted) < 2 {
					t.Errorf("it was tried %d times", len(l.adopted))
				}

				l.takeNote(before)
				settleFor(15 * time.Minute)
				wantStage(t, p, since)
			})
		})
	}
}

// The first policy of a domain with a stage is the one that is found published, as
// for any managed domain, and whoever knows the stages is told.
func TestFirstPolicyIsFoundAtAStage(t *testing.T) {
	for name, c := range map[string]struct {
		wish Wanted
		told bool
	}{
		"at a stage":  {at(mtasts.ModeTesting, 0), true},
		"without one": {want(example, "mx1.example.com"), false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLab()
				l.txt[recordName] = []string{"v=STSv1; id=1;"}
				l.elsewhere[example] = render(t, mtasts.Policy{Mode: mtasts.ModeEnforce, MX: []string{"mx1.example.com"}, MaxAge: 28 * day})
				l.takeNote(c.wish)
				p := l.start(t, c.wish)
				defer p.stop()
				settleFor(15 * time.Minute)
				wantStage(t, p, at(mtasts.ModeEnforce, 28*day))
				if told := len(l.adopted) > 0; told != c.told {
					t.Errorf("told of %+v", l.adopted)
				}
				if len(l.pushes) != 1 {
					t.Errorf("%d pushes for one policy", len(l.pushes))
				}
			})
		})
	}
}

// The process is killed before each of its calls in turn, while a domain goes on
// from a later policy than its store knows. What the next life wants is what was
// taken note of before.
func TestLaterStageKilledAtEveryStep(t *testing.T) {
	for kill := 1; ; kill++ {
		reached := false
		synctest.Test(t, func(t *testing.T) {
			l := newLab()
			before, since := at(mtasts.ModeTesting, 0), at(mtasts.ModeEnforce, day)
			p := l.start(t, before)
			defer func() { p.stop() }()
			settleFor(time.Minute)
			restore := l.backUp()
			p.Set(since)
			settleFor(time.Minute)
			p.stop()

			restore()
			noted := before
			l.onAdopted = func(r *Reconciler, found mtasts.Policy) error {
				noted.Stage = Stage{Mode: found.Mode, MaxAge: found.MaxAge}
				r.Set(noted)
				return nil
			}
			l.kill = kill
			p = l.start(t, noted)
			settleFor(15 * time.Minute)
			if reached = l.dead; reached {
				l.kill = 0
				p.stop()
				p = l.start(t, noted)
				settleFor(15 * time.Minute)
			}
			wantReached(t, p, since, kill)
			if len(l.pushes) > 3 || len(l.faults) > 0 {
				t.Errorf("kill before call %d: %d pushes, faults %v", kill, len(l.pushes), l.faults)
			}
			for _, push := range l.pushes[1:] {
				if push.body != policyOf(t, since) {
					t.Errorf("kill before call %d: announced %q", kill, push.body)
				}
			}
		})
		if !reached {
			if kill < 10 {
				t.Fatalf("only %d calls were made: the kill point is not exercised", kill)
			}
			return
		}
	}
}
