package mxwatch_test

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
	"github.com/stshost/stshost/mxwatch"
)

const (
	example  = "example.com"
	interval = 6 * time.Hour
)

// lab is a small world for a Watch: what survives a stop, and what is seen.
type lab struct {
	mu       sync.Mutex
	rows     map[string]state.MXWatch
	storeErr error
	policies map[string]mtasts.Policy
	seen     map[string]state.MXCheck // what a look finds; a domain without has no trouble
	checkErr error
	takes    time.Duration // one look
	looks    []look
	running  int
	most     int // looks at a time
	events   []state.Event
	kept     []state.Event // that the log of events has
	loses    bool          // what is told, as by a crash
	drifts   []string      // what Config.Drift was told, domain and hosts
}

type look struct {
	domain string
	at     time.Time
	mx     []string
	mode   mtasts.Mode
}

func newLab() *lab {
	return &lab{rows: map[string]state.MXWatch{}, policies: map[string]mtasts.Policy{}, seen: map[string]state.MXCheck{}}
}

func (l *lab) CheckMX(ctx context.Context, domain string, patterns []string, mode mtasts.Mode) (state.MXCheck, error) {
	l.mu.Lock()
	l.looks = append(l.looks, look{domain, time.Now(), patterns, mode})
	l.running++
	l.most = max(l.most, l.running)
	takes := l.takes
	l.mu.Unlock()
	select {
	case <-time.After(takes):
	case <-ctx.Done():
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.running--
	if err := ctx.Err(); err != nil {
		return state.MXCheck{}, err
	}
	c, ok := l.seen[domain]
	if !ok {
		c = passed()
	}
	return c, l.checkErr
}

func (l *lab) MXChecks(context.Context) ([]state.MXWatch, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Collect(maps.Values(l.rows)), nil
}

func (l *lab) SaveMXCheck(_ context.Context, w state.MXWatch) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.storeErr == nil {
		l.rows[w.Domain] = w
	}
	return l.storeErr
}

func (l *lab) RemoveMXChecks(_ context.Context, domains []string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(domains) > 0 && l.storeErr != nil {
		return l.storeErr
	}
	for _, domain := range domains {
		delete(l.rows, domain)
	}
	return nil
}

func (l *lab) Events(_ context.Context, q state.EventQuery) (found []state.Event, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, e := range l.kept {
		if e.ID > q.After && (q.Kind == "" || e.Kind == q.Kind) && !e.Time.Before(q.Since) && len(found) < q.Limit {
			found = append(found, e)
		}
	}
	return found, nil
}

func (l *lab) policy(domain string) (mtasts.Policy, bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	p, ok := l.policies[domain]
	return p, ok
}

func (l *lab) event(e state.Event) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.events = append(l.events, e)
	if e.ID = int64(len(l.kept) + 1); !l.loses {
		e.Time = e.Time.Truncate(time.Microsecond) // as the store has it
		l.kept = append(l.kept, e)
	}
}

func (l *lab) drift(domain string, seen state.MXCheck) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.drifts = append(l.drifts, domain+": "+strings.Join(seen.Hosts, " "))
}

// serve has the domains serve a policy.
func (l *lab) serve(mode mtasts.Mode, domains ...string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	for _, d := range domains {
		l.policies[d] = mtasts.Policy{Mode: mode, MX: []string{"mx1." + d}, MaxAge: time.Hour}
	}
}

// finds has looks at a domain find this from now on.
func (l *lab) finds(domain string, c state.MXCheck) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.seen[domain] = c
}

// fails has the store fail from now on, or not.
func (l *lab) fails(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.storeErr = err
}

// probes has looks take so long and end with err from now on.
func (l *lab) probes(takes time.Duration, err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.takes, l.checkErr = takes, err
}

// looked returns the looks since the last call.
func (l *lab) looked() []look {
	l.mu.Lock()
	defer l.mu.Unlock()
	all := l.looks
	l.looks = nil
	return all
}

// told returns the events since the last call, as kind and severity.
func (l *lab) told() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	var all []string
	for _, e := range l.events {
		all = append(all, e.Kind+" "+string(e.Severity))
	}
	l.events = nil
	return all
}

func passed() state.MXCheck { return state.MXCheck{Passed: true, Summary: "All MX hosts pass."} }

func unknown() state.MXCheck {
	return state.MXCheck{Unknown: true, Summary: "Port 25 is closed from here.", Open: []string{state.MXAnything}}
}

func failed() state.MXCheck {
	return state.MXCheck{Summary: "mx1.example.com offers no STARTTLS.", Findings: []state.Finding{
		{Code: "STS-MX-ADDRESS", Status: state.CheckFail, Harm: state.HarmPartial, Subject: "mx2.example.com", Text: "It has no address."},
		{Code: "STS-MX-STARTTLS", Status: state.CheckFail, Harm: state.HarmLoss, Subject: "mx1.example.com", Text: "It offers no STARTTLS.",
			Evidence: map[string]string{"address": "192.0.2.1", "mode": "overwritten"}, Remedy: "Switch STARTTLS on."},
		{Code: "STS-MX-AGE", Status: state.CheckWarn, Harm: state.HarmRisk, Subject: "mx1.example.com", Text: "It is old."},
	}}
}

// hosts is what a look finds at these MX hosts. Each is a name and, for each of its
// addresses, "ok", "?" for what could not be told, or the code of what fails there;
// with "!" before it, of what fails at the host as a whole.
func hosts(all ...string) state.MXCheck {
	c := state.MXCheck{Summary: "All MX hosts pass."}
	fail := func(code, subject string) {
		c.Findings = append(c.Findings, state.Finding{
			Code: code, Status: state.CheckFail, Harm: state.HarmLoss, Subject: subject, Text: "It fails.", Remedy: "Mend it.",
			Evidence: map[string]string{"reply": "454"},
		})
		c.Summary = subject + " fails by " + code + "."
	}
	for i, h := range all {
		words := strings.Fields(h)
		host := words[0]
		c.Hosts = append(c.Hosts, host)
		for k, found := range words[1:] {
			address := fmt.Sprintf("%s (192.0.%d.%d:25)", host, i, k)
			switch code, whole := strings.CutPrefix(found, "!"); {
			case whole:
				fail(code, host)
			case found == "?":
				c.Open = append(c.Open, host)
			default:
				c.Judged = append(c.Judged, address)
				if found != "ok" {
					fail(found, address)
				}
			}
		}
	}
	c.Passed = len(c.Findings)+len(c.Open) == 0
	c.Unknown = len(c.Findings) == 0 && len(c.Open) > 0
	return c
}

// process is one life of a Watch.
type process struct {
	*mxwatch.Watch
	stop func()
}

func (l *lab) start(t *testing.T, every time.Duration, domains ...string) process {
	t.Helper()
	w, err := mxwatch.New(t.Context(), mxwatch.Config{Prober: l, Store: l, Policy: l.policy, Event: l.event, Drift: l.drift, Interval: every, Workers: 3})
	if err != nil {
		t.Fatal(err)
	}
	if err := w.SetDomains(t.Context(), domains); err != nil {
		t.Fatal(err)
	}
	return run(t, w)
}

func run(t *testing.T, w *mxwatch.Watch) process {
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- w.Run(ctx) }()
	return process{w, func() {
		t.Helper()
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	}}
}

// pass lets the time pass and what is due be done.
func pass(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}
