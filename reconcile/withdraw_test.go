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

// withdrawn is example.com on its way out, with its record removed.
func withdrawn() Wanted {
	w := at(mtasts.ModeNone, NoneMaxAge)
	w.Withdraw = true
	return w
}

var recordName = mtasts.RecordName(example)

// leaving is example.com after testing, enforce and a policy that says none, which
// is confirmed. It returns their ids.
func leaving(t *testing.T, l *lab, p *process) (ids []string) {
	t.Helper()
	for _, w := range []Wanted{at(mtasts.ModeEnforce, day), at(mtasts.ModeNone, NoneMaxAge)} {
		settleFor(time.Minute)
		wantStep(t, p, state.Confirmed)
		ids = append(ids, live(t, l))
		p.Set(w)
	}
	settleFor(time.Minute)
	ids = append(ids, wantStage(t, p, at(mtasts.ModeNone, NoneMaxAge)))
	l.tail()
	return ids
}

func txtOf(id string) string { return mtasts.Record{ID: id}.String() }

// The record is removed and looked for on every name server: then, and once, the
// domain is withdrawn. What is served stays, and so do other people's records.
func TestWithdraw(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		l.txt[recordName] = []string{"somebody else's note"}
		p := l.start(t, at(mtasts.ModeTesting, 0))
		defer func() { p.stop() }()
		ids := leaving(t, l, p)
		p.Set(withdrawn())
		settleFor(time.Minute)
		if d := wantStep(t, p, state.Withdrawn); d.LastError != "" || d.ID != ids[2] {
			t.Errorf("error %q, id %s", d.LastError, d.ID)
		}
		if left := l.txt[recordName]; !slices.Equal(left, []string{"somebody else's note"}) || len(l.removals) != 1 {
			t.Errorf("the DNS has %q after %d removals", left, len(l.removals))
		}
		if body := string(l.serving(example)); body != policyOf(t, withdrawn()) {
			t.Errorf("serves %q", body)
		}
		if s, _ := p.Snapshot(example); !s.Waits.IsZero() {
			t.Error("the wish still waits")
		}
		says(t, l.told(t, "domain.step info")[0], "step:withdrawn", "no authoritative server shows")

		// From then on the DNS is somebody else's.
		l.change(func() { l.txt[recordName] = []string{txtOf(ids[2]), "v=STSv1; id=theirs;"} })
		p.Set(withdrawn())
		p.Wake(example)
		settleFor(26 * time.Hour)
		p.stop()
		p = l.start(t, withdrawn())
		settleFor(26 * time.Hour)
		wantStep(t, p, state.Withdrawn)
		if len(l.removals) != 1 || len(l.pushes) != 3 || len(l.txt[recordName]) != 2 {
			t.Errorf("%d removals, %d pushes, the DNS has %q", len(l.removals), len(l.pushes), l.txt[recordName])
		}
		l.told(t)
	})
}

// Who made the record that is found decides what becomes of it.
func TestWithdrawTouchesOwnRecordsOnly(t *testing.T) {
	const theirs = "v=STSv1; id=20200101T000000;"
	type finding struct {
		txt     func(ids []string) []string // ids of testing, enforce and none
		removed bool
		blocked func(ids []string) string // the record that the remedy of the error names
	}
	for name, c := range map[string]finding{
		"nothing":            {txt: func([]string) []string { return nil }},
		"ours":               {txt: func(ids []string) []string { return []string{txtOf(ids[2])} }, removed: true},
		"ours, spelled anew": {txt: func(ids []string) []string { return []string{"v=STSv1;id=" + ids[2] + " ;"} }, removed: true},
		"ours of long ago":   {txt: func(ids []string) []string { return []string{txtOf(ids[0])} }, removed: true},
		"two of ours":        {txt: func(ids []string) []string { return []string{txtOf(ids[0]), txtOf(ids[2])} }, removed: true},
		"somebody else's":    {txt: func([]string) []string { return []string{theirs} }},
		"not to be read":     {txt: func([]string) []string { return []string{"v=STSv1;"} }},
		"another installation's": {txt: func([]string) []string {
			return []string{txtOf(mtasts.NewID(time.Now(), []byte("version: STSv1\r\n")))}
		}},
		"ours and somebody else's": {txt: func(ids []string) []string { return []string{theirs, txtOf(ids[2])} },
			blocked: func(ids []string) string { return txtOf(ids[2]) }},
		"an old one of ours and somebody else's": {txt: func(ids []string) []string { return []string{txtOf(ids[1]), theirs} },
			blocked: func(ids []string) string { return txtOf(ids[1]) }},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLab()
				p := l.start(t, at(mtasts.ModeTesting, 0))
				defer p.stop()
				ids := leaving(t, l, p)
				found := append(c.txt(ids), "somebody else's note")
				l.change(func() { l.txt[recordName] = found })
				p.Set(withdrawn())
				settleFor(time.Hour)
				if c.blocked != nil {
					d := wantStep(t, p, state.Confirmed)
					ours := c.blocked(ids)
					if !strings.Contains(d.LastError, ours) || !strings.Contains(d.LastError, theirs) || !strings.Contains(d.Remedy, "the first of the two") ||
						strings.Index(d.LastError, ours) > strings.Index(d.LastError, theirs) {
						t.Errorf("error %q, remedy %q", d.LastError, d.Remedy)
					}
					says(t, l.told(t, "domain.blocked warning")[0], ours)
					if len(l.removals) != 0 || !slices.Equal(l.txt[recordName], found) {
						t.Errorf("%d removals, the DNS has %q", len(l.removals), l.txt[recordName])
					}
					found = slices.DeleteFunc(slices.Clone(found), func(txt string) bool { return txt == ours })
					l.change(func() { l.txt[recordName] = found })
					settleFor(15 * time.Minute)
					l.told(t, "domain.step info", "domain.recovered info")
				} else {
					l.told(t, "domain.step info")
				}
				wantStep(t, p, state.Withdrawn)
				left := found
				if c.removed {
					left = []string{"somebody else's note"}
				}
				if removed := len(l.removals) == 1; removed != c.removed || !slices.Equal(l.txt[recordName], left) {
					t.Errorf("%d removals, the DNS has %q, want %q", len(l.removals), l.txt[recordName], left)
				}
			})
		})
	}
}

// A record that announces a policy which was found published is not ours, though
// it was made as ours are.
func TestWithdrawLeavesTheEarlierHostsRecord(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		old := render(t, mtasts.Policy{Mode: mtasts.ModeTesting, MX: []string{"old.example.com"}, MaxAge: day})
		theirs := txtOf(mtasts.NewID(time.Now(), []byte(old)))
		l.txt[recordName], l.elsewhere[example] = []string{theirs}, old
		p := l.start(t, at(mtasts.ModeTesting, 0))
		defer p.stop()
		leaving(t, l, p)
		l.change(func() { l.txt[recordName] = []string{theirs} }) // they are back
		p.Set(withdrawn())
		settleFor(time.Minute)
		wantStep(t, p, state.Withdrawn)
		if len(l.removals) != 0 || !slices.Equal(l.txt[recordName], []string{theirs}) {
			t.Errorf("%d removals, the DNS has %q", len(l.removals), l.txt[recordName])
		}
	})
}

// What the withdrawal has to wait for.
func TestWithdrawWaits(t *testing.T) {
	for name, c := range map[string]struct {
		trouble func(l *lab)
		over    func(l *lab)
		says    string // the error
		remedy  string
		removed bool // by the provider, before the trouble is over
		person  bool // nothing is wrong, somebody has to do something
	}{
		"no name server answers": {
			trouble: func(l *lab) { l.silent = errors.New("no answer") },
			says:    "no answer", remedy: "name server",
		},
		"one does not answer": {
			trouble: func(l *lab) {
				l.sees = func(v []state.ServerTXT) ([]state.ServerTXT, error) {
					v[1] = state.ServerTXT{Server: v[1].Server, Err: errors.New("no answer")}
					return v, nil
				}
			},
			says: "no answer", remedy: "name server", removed: true,
		},
		"one is slow to follow": {
			trouble: func(l *lab) {
				old := slices.Clone(l.txt[recordName])
				l.sees = func(v []state.ServerTXT) ([]state.ServerTXT, error) {
					v[1].TXT = old
					return v, nil
				}
			},
			says: "still shows", remedy: "until no name server shows it", removed: true,
		},
		"the zone is not found": {
			trouble: func(l *lab) {
				l.sees = func([]state.ServerTXT) ([]state.ServerTXT, error) { return nil, errors.New("no such zone") }
			},
			says: "no such zone", remedy: "the zone exists",
		},
		"there is no name server": {
			trouble: func(l *lab) {
				l.sees = func([]state.ServerTXT) ([]state.ServerTXT, error) { return nil, nil }
			},
			says: "no name server to ask", remedy: "name server",
		},
		"the provider does not work": {
			trouble: func(l *lab) { l.pushErr = errors.New("the provider's API answered 502") },
			over:    func(l *lab) { l.pushErr = nil },
			says:    "502", remedy: "remove it: " + recordName,
		},
		"the provider is a person": {
			trouble: func(l *lab) { l.manual = true },
			over:    func(l *lab) { l.txt[recordName] = []string{"somebody else's note"} },
			says:    "by hand", remedy: "remove it: " + recordName, person: true,
		},
		"the ledger cannot be read": {
			trouble: func(l *lab) { l.unreadable = errors.New("the store is locked") },
			says:    "the store is locked", remedy: "tried again by itself",
		},
		"the journal cannot be written": {
			trouble: func(l *lab) { l.journal = errors.New("disk full") },
			says:    "disk full", remedy: "tried again by itself", removed: true,
		},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l := newLab()
				l.txt[recordName] = []string{"somebody else's note"}
				p := l.start(t, at(mtasts.ModeTesting, 0))
				defer p.stop()
				ids := leaving(t, l, p)
				l.change(func() { c.trouble(l) })
				p.Set(withdrawn())
				settleFor(12 * time.Hour)

				d := wantStep(t, p, state.Confirmed)
				if !strings.Contains(d.LastError, c.says) || !strings.Contains(d.Remedy, c.remedy) {
					t.Errorf("error %q, remedy %q", d.LastError, d.Remedy)
				}
				if strings.HasPrefix(c.remedy, "remove") && !strings.Contains(d.Remedy, txtOf(ids[2])) {
					t.Errorf("the remedy %q does not say which record", d.Remedy)
				}
				if waits := d.Attempts == 0; waits != c.person {
					t.Errorf("%d attempts", d.Attempts)
				}
				left := []string{"somebody else's note", txtOf(ids[2])}
				if c.removed {
					left = left[:1]
				}
				if got := l.txt[recordName]; !slices.Equal(got, left) || c.removed == (len(l.removals) == 0) {
					t.Errorf("the DNS has %q after %d removals, want %q", got, len(l.removals), left)
				}
				if l.serving(example) == nil {
					t.Error("its policy is not served any more")
				}
				// It is looked at again and again, though not all the time.
				calls := l.done()
				settleFor(12 * time.Hour)
				if n := l.done() - calls; n < 20 || n > 12*8*6 {
					t.Errorf("%d calls in twelve hours", n)
				}
				said := []string{"domain.blocked warning"}
				if l.journal != nil {
					said = nil
				}
				l.told(t, said...)

				l.change(func() {
					l.silent, l.sees, l.unreadable, l.journal = nil, nil, nil, nil
					if c.over != nil {
						c.over(l)
					}
				})
				settleFor(15 * time.Minute)
				if d := wantStep(t, p, state.Withdrawn); d.LastError != "" {
					t.Errorf("error %q", d.LastError)
				}
				if got := l.txt[recordName]; !slices.Equal(got, []string{"somebody else's note"}) {
					t.Errorf("the DNS has %q", got)
				}
				said = []string{"domain.step info", "domain.recovered info"}
				if c.says == "disk full" {
					said = said[:1] // the trouble was not told, so its end is not
				}
				l.told(t, said...)
			})
		})
	}
}

// A domain that leaves may have moved: it has no certificate any more, and its host
// leads elsewhere. What it served ends all the same, and then its record goes.
func TestDomainThatMovedLeaves(t *testing.T) {
	for _, restart := range []bool{false, true} {
		synctest.Test(t, func(t *testing.T) {
			l := newLab()
			enforce, none := at(mtasts.ModeEnforce, 0), at(mtasts.ModeNone, NoneMaxAge)
			p := l.start(t, enforce)
			defer func() { p.stop() }()
			settleFor(time.Minute)
			id := wantStage(t, p, enforce)
			l.change(func() {
				l.leads, l.problem = false, "the CA saw another server"
				l.certs[mtasts.PolicyHost(example)] = time.Now()
			})
			settleFor(3 * time.Hour)
			ended := time.Now()
			if restart {
				p.stop()
				p = l.start(t, none)
			} else {
				p.Set(none)
			}
			settleFor(30 * time.Hour)
			d := wantStep(t, p, state.Serving)
			if body := string(l.serving(example)); body != policyOf(t, none) || d.Mode != mtasts.ModeNone || d.LastError == "" {
				t.Errorf("serves %q, mode %s, error %q", body, d.Mode, d.LastError)
			}
			if b := l.ledger[example]; len(b) != 2 || !b[0].LastServed.Equal(ended) || !b[1].LastServed.IsZero() {
				t.Errorf("ledger %+v, want the first closed at %s", b, ended)
			}
			if live(t, l) != id || len(l.pushes) != 1 {
				t.Errorf("announces %s, which nobody could fetch", live(t, l))
			}

			p.Set(withdrawn())
			settleFor(time.Minute)
			wantStep(t, p, state.Withdrawn)
			if len(l.txt[recordName]) != 0 || len(l.removals) != 1 {
				t.Errorf("the DNS has %q", l.txt[recordName])
			}
			p.leave(t, false)
			wantForgotten(t, p)
		})
	}
}

// A domain that comes back from there is announced anew, once that is proven, with
// an id of its own, be the policy one that it had before or the one that is served
// still.
func TestBackFromTheWithdrawal(t *testing.T) {
	other := at(mtasts.ModeTesting, 0)
	other.MX = []string{"mx2.example.com"}
	for name, w := range map[string]Wanted{
		"to testing":              at(mtasts.ModeTesting, 0),
		"to testing with another": other,
		"to enforce":              at(mtasts.ModeEnforce, day),
		"to what it serves":       at(mtasts.ModeNone, NoneMaxAge),
	} {
		for _, restart := range []bool{false, true} {
			t.Run(name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					l := newLab()
					p := l.start(t, at(mtasts.ModeTesting, 0))
					defer func() { p.stop() }()
					ids := leaving(t, l, p)
					p.Set(withdrawn())
					settleFor(time.Hour)
					wantStep(t, p, state.Withdrawn)

					l.change(func() { l.fetchErr = errors.New("connection refused") })
					if restart {
						p.stop()
						p = l.start(t, w)
					} else {
						p.Set(w)
					}
					settleFor(time.Hour)
					wantStep(t, p, state.Serving)
					if len(l.txt[recordName]) != 0 {
						t.Errorf("announces %q unproven", l.txt[recordName])
					}
					l.change(func() { l.fetchErr = nil })
					settleFor(15 * time.Minute)
					id := wantStage(t, p, w)
					if same := w.Stage.Mode == mtasts.ModeNone; same != slices.Contains(ids, id) {
						t.Errorf("announces %s, before it was %q", id, ids)
					}
					pushes := len(l.pushes)
					settleFor(3 * time.Hour)
					if len(l.pushes) != pushes || pushes != 4 || len(l.removals) != 1 || len(l.faults) > 0 {
						t.Errorf("%d pushes, %d removals, faults %v", len(l.pushes), len(l.removals), l.faults)
					}
				})
			})
		}
	}
}

// A withdrawal that waits can be called off.
func TestWithdrawalIsCalledOff(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newLab()
		p := l.start(t, at(mtasts.ModeTesting, 0))
		defer p.stop()
		ids := leaving(t, l, p)
		l.change(func() { l.pushErr = errors.New("502") })
		p.Set(withdrawn())
		settleFor(time.Hour)
		p.Set(at(mtasts.ModeTesting, 0))
		settleFor(time.Hour)
		if id := live(t, l); id != ids[2] {
			t.Errorf("the DNS shows %s, want %s still", id, ids[2])
		}
		l.change(func() { l.pushErr = nil })
		settleFor(15 * time.Minute)
		if id := wantStage(t, p, at(mtasts.ModeTesting, 0)); slices.Contains(ids, id) || len(l.removals) != 0 {
			t.Errorf("announces %s after %d removals", id, len(l.removals))
		}
	})
}
