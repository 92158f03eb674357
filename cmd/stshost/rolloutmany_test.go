package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/server"
)

// fleet is a desk with a domain for everything that can be with one, and two that
// can be started.
func fleet() *desk {
	paused, out, left, shop := waiting("paused.example"), inTesting("out.example"), inTesting("left.example"), inTesting("b.example")
	paused.Paused, out.Goal, left.Left, shop.Profile = true, state.GoalRetire, true, "shop"
	retired := state.RolloutStatus{Domain: "retired.example", Stage: state.StageRetired}
	d := newDesk(inTesting("a.example"), shop, there("done.example"), held("held.example"), inTesting("no.example"), left, out, paused, retired,
		state.RolloutStatus{Domain: "pin.example", Pinned: "config.toml:7", Profile: "office"}, waiting("way.example"), inTesting("zz.example"))
	d.refuses("no.example")
	d.refuses("held.example")
	d.onAsk = func(_ context.Context, what, domain string) error {
		if domain == "zz.example" && strings.HasSuffix(what, "Rollout") {
			return errors.New("disk full")
		}
		return nil
	}
	return d
}

const fleetSum = "11 domains: 2 started, 1 on their way already, 1 done already, 2 refused, 1 pinned in the config, 1 paused, 2 leaving MTA-STS, 1 failed\n"

// One bad domain keeps up no other; those that need nothing are not asked for.
func TestRolloutOfAllDomains(t *testing.T) {
	for _, flag := range []string{"", " --detach"} {
		d := fleet()
		got := d.said(t, "rollout --all"+flag)
		want := `DOMAIN        GATE    WHY NOT                                                  WHAT TO DO
held.example  mx-tls  mx2.example.org [192.0.2.2]: It does not offer STARTTLS  switch STARTTLS on at mx2.example.org
no.example    mx-tls  mx2.example.org [192.0.2.2]: It does not offer STARTTLS  switch STARTTLS on at mx2.example.org
zz.example    -       stshost could not answer; its log says why               -

` + fleetSum
		if got.code != 1 || got.errs != "" || got.out != want {
			t.Errorf("exit code %d, stderr %q (-want +got):\n%s", got.code, got.errs, cmp.Diff(want, got.out))
		}
		asked := d.questions("StartRollout")
		slices.Sort(asked)
		if want := []string{"a.example {}", "b.example {}", "held.example {}", "no.example {}", "zz.example {}"}; !slices.Equal(asked, want) {
			t.Errorf("asked for %q, want %q", asked, want)
		}
	}
}

func TestRolloutOfAProfile(t *testing.T) {
	d := fleet()
	d.said(t, "rollout --profile shop").wants(t, "a profile", 0, "2 domains: 1 started, 1 done already\n", "")
	if asked := d.questions("StartRollout"); !slices.Equal(asked, []string{"b.example {}"}) {
		t.Errorf("asked for %q", asked)
	}
	d.said(t, "rollout --profile ofice").wants(t, "a mistyped one", 1, "", `no domain has the profile "ofice"; the profiles are office, shop`)
	newDesk(there("a.example")).said(t, "rollout --all").wants(t, "all is done", 0, "1 domain: 1 done already\n", "")
	newDesk().said(t, "rollout --all").wants(t, "no domain", 1, "", "the server has no domain")
	newDesk().said(t, "rollout --profile x").wants(t, "no profile", 1, "", `no domain has the profile "x", or any`)
}

// With an order those that are on their way take it over.
func TestRolloutOfAllWithAnOrder(t *testing.T) {
	d := fleet()
	d.said(t, "rollout --all --accept-no-reports").wants(t, "an order", 1, strings.Replace(fleetSum, "way already", "way already, which have the new order", 1), "")
	if asked := d.questions("StartRollout"); !slices.Contains(asked, `way.example {"accept_no_reports":true}`) || len(asked) != 6 {
		t.Errorf("asked for %q", asked)
	}
}

// A batch starts so many that are not on their way, in the order of their names,
// whatever is refused between them, and the next one goes on from there.
func TestRolloutInBatches(t *testing.T) {
	d := newDesk(waiting("a00.example"))
	for i := range 30 {
		d.set(inTesting(fmt.Sprintf("d%02d.example", i)))
	}
	for i := range 5 {
		d.refuses(fmt.Sprintf("d%02d.example", i))
	}
	for i, want := range []string{
		"31 domains: 10 started, 1 on their way already, 5 refused, 15 not started yet; run it again for the next ones\n",
		"31 domains: 10 started, 11 on their way already, 5 refused, 5 not started yet; run it again for the next ones\n",
		"31 domains: 5 started, 21 on their way already, 5 refused\n",
		"31 domains: 26 on their way already, 5 refused\n",
	} {
		got := d.said(t, "rollout --all --batch 10")
		got.wants(t, fmt.Sprintf("batch %d", i+1), 1, want, "")
		if on := d.domains["d14.example"].Goal == state.GoalEnforce; !on || i == 0 && d.domains["d15.example"].Goal != "" {
			t.Errorf("batch %d started others", i+1)
		}
	}
	if d.most > turnsAtOnce {
		t.Errorf("%d at once", d.most)
	}
}

func TestRolloutStartsSoManyAtOnce(t *testing.T) {
	d := newDesk()
	for i := range 20 {
		d.set(inTesting(fmt.Sprintf("d%02d.example", i)))
	}
	arrived, all := make(chan struct{}, 20), make(chan struct{})
	d.onAsk = func(_ context.Context, what, _ string) error {
		if what == "StartRollout" {
			if arrived <- struct{}{}; len(arrived) == turnsAtOnce {
				close(all)
			}
			<-all
		}
		return nil
	}
	d.said(t, "rollout --all").wants(t, "all", 0, "20 domains: 20 started\n", "")
	if d.most != turnsAtOnce {
		t.Errorf("%d at once", d.most)
	}
}

// Domains that are named are asked for, whatever is known of them.
func TestRolloutOfNamedDomains(t *testing.T) {
	d := fleet()
	got := d.said(t, "rollout zz.example mta-sts.a.example a.example paused.example done.example x.example pin.example way.example")
	got.wants(t, "named", 1, "7 domains: 2 started, 1 on their way already, 1 done already, 1 pinned in the config, 2 failed\n", "")
	for _, want := range []string{"x.example ", "pin.example ", "is pinned at config.toml:7", "does not know this domain"} {
		if !strings.Contains(got.out, want) {
			t.Errorf("%q is not in\n%s", want, got.out)
		}
	}
	asked := d.questions("StartRollout")
	slices.Sort(asked)
	if want := []string{"a.example {}", "paused.example {}", "pin.example {}", "x.example {}", "zz.example {}"}; !slices.Equal(asked, want) {
		t.Errorf("asked for %q, want %q", asked, want)
	}
	newDesk(inTesting("a.example"), state.RolloutStatus{Domain: "pin.example", Pinned: "config.toml:7"}).said(t, "rollout a.example pin.example").
		wants(t, "one of them pinned", 1, "pin.example  -     the mode of pin.example is pinned", "")
}

func TestRolloutPlanOfAll(t *testing.T) {
	d := fleet()
	got := d.said(t, "rollout --all --plan")
	got.wants(t, "plan", 1, "11 domains: 2 can start, 1 on their way already, 1 done already, 2 refused, 1 pinned in the config, 1 paused, 2 leaving MTA-STS, 1 failed; nothing was changed\n", "")
	if want := "no.example    enforce with a max_age of 24h  2026-02-18 12:00:00 UTC  mx-tls: mx2.example.org"; !strings.Contains(got.out, want) {
		t.Errorf("%q is not in\n%s", want, got.out)
	}
	if len(d.questions("StartRollout")) > 0 {
		t.Error("something was started")
	}
	d = newDesk(inTesting("a.example"), inTesting("no.example"))
	d.refuses("no.example")
	d.said(t, "rollout --all --plan").wants(t, "a plan with a closed gate", 0, "2 domains: 1 can start, 1 refused; nothing was changed\n", "")
}

func TestRolloutOfAllAsJSON(t *testing.T) {
	got := fleet().said(t, "rollout --all --json")
	var a roundAnswer
	if err := json.Unmarshal([]byte(got.out), &a); err != nil || got.code != 1 || got.errs != "" {
		t.Fatalf("exit code %d, stderr %q, %v", got.code, got.errs, err)
	}
	want := map[turnOutcome]int{turnStarted: 2, turnOnItsWay: 1, turnDone: 1, turnRefused: 2, turnPinned: 1, turnPaused: 1, turnLeaving: 2, turnFailed: 1}
	if diff := cmp.Diff(want, a.Counts); diff != "" || len(a.Domains) != 11 {
		t.Errorf("%d domains (-want +got):\n%s", len(a.Domains), diff)
	}
	for _, x := range a.Domains {
		if x.Domain == "no.example" && (x.Gate == nil || x.Gate.Name != state.GateTLS || x.Remedy == "" || len(x.Rollout.Gates) != 6) {
			t.Errorf("refused: %+v", x)
		}
	}
}

// A server that goes away ends it at once: nothing is asked of nobody.
func TestRolloutOfAllWithoutTheServer(t *testing.T) {
	d := newDesk()
	for i := range 100 {
		d.set(inTesting(fmt.Sprintf("d%02d.example", i)))
	}
	r := &roller{client: d, rolloutSettings: rolloutSettings{selection: selection{all: true}}, screen: screen{out: new(bytes.Buffer), errOut: new(bytes.Buffer)}}
	d.onAsk = func(_ context.Context, what, domain string) error {
		if what == "StartRollout" && domain > "d20" {
			return fmt.Errorf("%w (unix:x)", server.ErrNotRunning)
		}
		return nil
	}
	err := r.many(t.Context())
	if err == nil || !strings.Contains(err.Error(), "the server went away before every domain was asked for") || errors.Is(err, server.ErrNotRunning) {
		t.Errorf("ended with %v", err)
	}
	if n := len(d.questions("StartRollout")); n > 20+turnsAtOnce {
		t.Errorf("%d questions", n)
	}
	if out := r.out.(*bytes.Buffer).String(); !strings.Contains(out, "100 domains: 20 started, 80 not started yet\n") {
		t.Errorf("shown: %s", out)
	}
}

// On a terminal it goes on with how far they are, until none gets on any more.
func TestRolloutOfAllOnATerminal(t *testing.T) {
	for _, tt := range []struct {
		last  state.RolloutStatus
		order state.RolloutOrder
		began string
		tail  string
		err   error
	}{
		{there("b.example"), state.RolloutOrder{}, "1 on their way already", "", nil},
		{there("b.example"), state.RolloutOrder{AcceptNoReports: true}, "1 on their way already, which have the new order", "", nil},
		{held("b.example"), state.RolloutOrder{}, "1 on their way already", "b.example  the gate mx-tls is unmet", exitError(1)},
	} {
		synctest.Test(t, func(t *testing.T) {
			term := &fakeTerminal{}
			d := newDesk(inTesting("a.example"), waiting("b.example"), there("c.example"), waiting("not-chosen.example"))
			named := selection{named: []string{"a.example", "b.example", "c.example"}}
			r := &roller{client: d, rolloutSettings: rolloutSettings{selection: named}, order: tt.order, screen: screen{out: term, errOut: new(bytes.Buffer), live: true}}
			ended := make(chan error, 1)
			go func() { ended <- r.many(t.Context()) }()
			settle(time.Minute)
			began := "3 domains: 1 started, " + tt.began + ", 1 done already\n\n"
			want := began + "STAGE    DOMAINS\ntesting  2\n\nnext look or step:  2026-02-18 12:00:00 UTC\n" + style{}.footer()
			if diff := cmp.Diff(want, term.String()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			d.set(there("a.example"), tt.last)
			if err := <-ended; !errors.Is(err, tt.err) {
				t.Errorf("ended with %v", err)
			}
			if got := term.String(); !strings.HasPrefix(got, began+"STAGE ") || strings.Contains(got, "Ctrl-C") || !strings.Contains(got, "\ndone") || !strings.Contains(got, tt.tail) {
				t.Errorf("the terminal has\n%s", got)
			}
		})
	}
}
