package reconcile

import (
	"errors"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
)

func TestAdoption(t *testing.T) {
	enforce := mtasts.Policy{Mode: mtasts.ModeEnforce, MX: []string{"old.example.com"}, MaxAge: 28 * 24 * time.Hour}
	ours := mtasts.Policy{Mode: mtasts.ModeEnforce, MX: []string{"mx1.example.com"}, MaxAge: 24 * time.Hour}
	for name, c := range map[string]struct {
		txt       []string
		elsewhere string
		pinned    mtasts.Mode
		mode      mtasts.Mode
		maxAge    time.Duration
	}{
		"nothing published":                    {mode: mtasts.ModeTesting, maxAge: 7 * 24 * time.Hour},
		"enforce at an earlier host":           {txt: []string{"v=STSv1; id=1;"}, elsewhere: render(t, enforce), mode: mtasts.ModeEnforce, maxAge: 28 * 24 * time.Hour},
		"enforce with doubled records":         {txt: []string{"v=STSv1; id=1;", "v=STSv1; id=2;"}, elsewhere: render(t, enforce), mode: mtasts.ModeEnforce, maxAge: 28 * 24 * time.Hour},
		"a policy that was never announced":    {elsewhere: render(t, enforce), mode: mtasts.ModeTesting, maxAge: 7 * 24 * time.Hour},
		"a policy that cannot be read":         {txt: []string{"v=STSv1; id=1;"}, elsewhere: "version: STSv1\r\nmode: enforce\r\n", mode: mtasts.ModeTesting, maxAge: 7 * 24 * time.Hour},
		"our id, the host is already this one": {txt: []string{mtasts.Record{ID: mtasts.NewID(time.Unix(1, 0), []byte(render(t, ours)))}.String()}, mode: mtasts.ModeEnforce, maxAge: 24 * time.Hour},
		"a pin is stronger":                    {txt: []string{"v=STSv1; id=1;"}, elsewhere: render(t, enforce), pinned: mtasts.ModeTesting, mode: mtasts.ModeTesting, maxAge: 7 * 24 * time.Hour},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLab()
				if c.txt != nil {
					l.txt["_mta-sts.example.com"] = c.txt
				}
				if c.elsewhere != "" {
					l.elsewhere[example] = c.elsewhere
				}
				w := want(example, "mx1.example.com")
				w.Mode = c.pinned
				p := l.start(t, w)
				defer p.stop()
				settleFor(time.Minute)
				wantStep(t, p, state.Confirmed)
				got, err := mtasts.ParsePolicy(l.served[example])
				if err != nil || got.Mode != c.mode || got.MaxAge != c.maxAge {
					t.Errorf("serves %+v (%v), want mode %s, max_age %s", got, err, c.mode, c.maxAge)
				}
			})
		})
	}
}

func TestAdoptedMaxAgeEndsWithAnEdit(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		l.txt["_mta-sts.example.com"] = []string{"v=STSv1; id=1;"}
		l.elsewhere[example] = render(t, mtasts.Policy{Mode: mtasts.ModeEnforce, MX: []string{"mx1.example.com"}, MaxAge: 28 * 24 * time.Hour})
		p := l.start(t, want(example, "mx1.example.com"))
		defer p.stop()
		settleFor(time.Minute)
		edited := want(example, "mx1.example.com")
		edited.MaxAge = 14 * 24 * time.Hour
		p.set(t, edited)
		settleFor(time.Minute)
		got, err := mtasts.ParsePolicy(l.served[example])
		if err != nil || got.Mode != mtasts.ModeEnforce || got.MaxAge != 14*24*time.Hour {
			t.Errorf("serves %+v (%v), want enforce with the edited max_age", got, err)
		}
	})
}

// A lost store forces no new id: the record in DNS names today's body.
func TestLostStoreKeepsModeAndID(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		w := want(example, "mx1.example.com")
		w.Mode = mtasts.ModeEnforce
		p := l.start(t, w)
		settleFor(time.Minute)
		before := live(t, l)
		p.stop()

		l.rows, l.ledger = map[string]state.Domain{}, map[string][]state.Body{}
		l.certs = map[string]time.Time{}
		w.Mode = "" // the pin has gone, too
		p = l.start(t, w)
		defer p.stop()
		settleFor(time.Minute)
		d := wantStep(t, p, state.Confirmed)
		if d.Mode != mtasts.ModeEnforce || live(t, l) != before {
			t.Errorf("mode %s, id %s; want enforce and the old id %s", d.Mode, live(t, l), before)
		}
	})
}

// If the lost body cannot be told, nothing is lowered by a guess.
func TestLostStoreAndChangedConfigWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		gone := mtasts.Policy{Mode: mtasts.ModeEnforce, MX: []string{"gone.example.com"}, MaxAge: time.Hour}
		l.txt["_mta-sts.example.com"] = []string{mtasts.Record{ID: mtasts.NewID(time.Now(), []byte(render(t, gone)))}.String()}
		p := l.start(t, want(example, "mx1.example.com"))
		defer p.stop()
		settleFor(time.Hour)
		d := p.state(t, example)
		if len(l.served) != 0 || !strings.Contains(d.Remedy, `mode = "enforce"`) {
			t.Errorf("serves %q, remedy %q; want nothing and the question", l.served, d.Remedy)
		}
		w := want(example, "mx1.example.com")
		w.Mode = mtasts.ModeEnforce
		p.set(t, w)
		settleFor(time.Minute)
		wantStep(t, p, state.Confirmed)
	})
}

// A backup from between the adoption and the first body knows of no later policy,
// however often the domain was tried since.
func TestOlderAdoptionIsNotBelieved(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		early := mtasts.Policy{Mode: mtasts.ModeTesting, MX: []string{"mx1.example.com"}, MaxAge: time.Hour}
		l.txt["_mta-sts.example.com"] = []string{"v=STSv1; id=1;"}
		l.elsewhere[example], l.problem = render(t, early), "refused"
		p := l.start(t, want(example, "mx1.example.com"))
		settleFor(time.Minute)
		wantStep(t, p, state.WaitingCertificate)
		restore := l.backUp()
		p.stop()

		time.Sleep(30 * day)
		late := mtasts.Policy{Mode: mtasts.ModeEnforce, MX: []string{"gone.example.com"}, MaxAge: time.Hour}
		l.txt["_mta-sts.example.com"] = []string{mtasts.Record{ID: mtasts.NewID(time.Now(), []byte(render(t, late)))}.String()}
		delete(l.elsewhere, example)
		restore()
		l.recordErr = errors.New("server failure")
		p = l.start(t, want(example, "mx1.example.com"))
		defer p.stop()
		settleFor(time.Hour)
		l.change(func() { l.recordErr, l.problem = nil, "" })
		settleFor(day)
		if d := p.state(t, example); len(l.served) != 0 || !strings.Contains(d.Remedy, `mode = "enforce"`) {
			t.Errorf("serves %q, remedy %q; want nothing and the question", l.served, d.Remedy)
		}
	})
}

func TestUnknownRecordBlocksTheFirstBody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		l.recordErr = errors.New("server failure")
		p := l.start(t, want(example, "mx1.example.com"))
		defer p.stop()
		settleFor(time.Hour)
		wantStep(t, p, state.WaitingDNS)
		if l.ordered() != 0 {
			t.Error("ordered a certificate before the mode could be known")
		}
		l.mu.Lock()
		l.recordErr = nil
		l.mu.Unlock()
		settleFor(20 * time.Minute)
		wantStep(t, p, state.Confirmed)
	})
}
