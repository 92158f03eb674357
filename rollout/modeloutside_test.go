package rollout

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
)

// CheckMX is the prober: what it finds was so when it began.
func (w *modelWorld) CheckMX(ctx context.Context, domain string, patterns []string, _ mtasts.Mode) (state.MXCheck, error) {
	w.mu.Lock()
	seen, err := w.look(domain, patterns, w.closed), w.resolver
	w.mu.Unlock()
	if err := w.outside(ctx); err != nil {
		return state.MXCheck{}, err
	}
	return seen, err
}

// look judges the MX hosts of a domain as they are. The caller holds w.mu.
func (w *modelWorld) look(domain string, patterns []string, closed bool) state.MXCheck {
	f := w.fates[domain]
	c := state.MXCheck{Domain: domain, Time: time.Now(), Passed: true, Hosts: slices.Clone(f.hosts), Validated: f.validated}
	found := func(code string, status state.CheckStatus, host, text string) {
		c.Findings = append(c.Findings, state.Finding{Code: code, Status: status, Subject: host, Text: text, Remedy: "mend it"})
		c.Passed = c.Passed && status != state.CheckFail
	}
	for _, host := range f.hosts {
		address := host + " (192.0.2.25)" // as package check names what it has judged
		if !(mtasts.Policy{MX: patterns}).Covers(host) {
			found("STS-MX-UNCOVERED", state.CheckFail, host, "the policy does not name it")
		}
		switch {
		case closed:
			c.Unknown, c.Open = true, append(c.Open, host)
			found("STS-MX-UNREACHABLE", state.CheckUnknown, host, "port 25 cannot be reached from here")
		case f.ill[host] == "fails":
			c.Judged = append(c.Judged, address)
			found("STS-MX-CERT-EXPIRED", state.CheckFail, address, "its certificate has expired")
		case f.ill[host] == "expires":
			c.Judged = append(c.Judged, address)
			found(expires, state.CheckWarn, address, "its certificate expires soon")
		default:
			c.Judged = append(c.Judged, address)
		}
	}
	c.Summary = fmt.Sprintf("%d MX hosts were looked at.", len(f.hosts))
	return c
}

// report is what `stshost check --json` finds elsewhere now, where port 25 can be
// reached.
func (w *modelWorld) report(domain string, age time.Duration) *state.Report {
	w.mu.Lock()
	defer w.mu.Unlock()
	p, _ := w.policyOf(domain)
	seen := w.look(domain, p.MX, false)
	r := &state.Report{Domain: domain, Time: time.Now().Add(-age), MX: p.MX, Findings: seen.Findings}
	for _, address := range seen.Judged {
		if !slices.ContainsFunc(seen.Findings, func(o state.Finding) bool { return o.Subject == address && o.Status == state.CheckFail }) {
			r.Findings = append(r.Findings, state.Finding{Code: "STS-MX-TLS", Status: state.CheckPass, Subject: address, Text: "verified"})
		}
	}
	return r
}

// policyOf is the policy that a domain serves now. The caller holds w.mu.
func (w *modelWorld) policyOf(domain string) (mtasts.Policy, bool) {
	if w.served[domain] == nil {
		return mtasts.Policy{}, false
	}
	p, err := mtasts.ParsePolicy(w.served[domain])
	return p, err == nil
}

func (w *modelWorld) servedPolicy(domain string) (mtasts.Policy, bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.policyOf(domain)
}

func (w *modelWorld) sums(ctx context.Context, domain string, since time.Time) (*state.ReportSums, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.step(); err != nil {
		return nil, err
	}
	return w.fates[domain].sums(since), w.reportErr
}

// event takes what the reconciler tells, as the service does.
func (w *modelWorld) event(wake func(domain string)) func(state.Event) {
	return func(e state.Event) {
		switch e.Kind {
		case state.KindPolicyServed, state.KindDomainStep, state.KindDomainBlocked, state.KindDomainRecovered:
			wake(e.Domain)
		}
	}
}

// lastFetches has senders fetch before the process ends. The caller holds w.mu.
func (w *modelWorld) lastFetches() {
	for domain := range w.fates {
		w.fetched(domain)
	}
}

// sendersLook has some of the senders look at a domain as RFC 8461 §3.3 and §3.1
// want it: at the record, and at the policy if that has another id or the one they
// have has run out. The caller holds w.mu.
func (w *modelWorld) sendersLook(domain string, who int) {
	f := w.fates[domain]
	had := f.some[who]
	rec, err := mtasts.FindRecord(w.txt[mtasts.RecordName(domain)])
	if had != nil && had.until.After(time.Now()) && (err != nil || rec.ID == had.id) {
		return
	}
	if c := w.fetchNow(domain); c != nil {
		f.some[who] = c
	} else if had != nil && !had.until.After(time.Now()) {
		f.some[who] = nil
	}
}

// modelFault is something that can be wrong with the world for a while.
type modelFault struct {
	name string
	set  func(w *modelWorld, on error)
}

var modelFaults = []modelFault{
	{"the DNS provider is down", func(w *modelWorld, on error) { w.pushErr = on }},
	{"the DNS provider reports failure for what it did", func(w *modelWorld, on error) { w.lies = on != nil }},
	{"the DNS provider is a person", func(w *modelWorld, on error) { w.manual = on != nil }},
	{"one name server is silent", func(w *modelWorld, on error) {
		w.silent = 0
		if on != nil {
			w.silent = 1
		}
	}},
	{"both name servers are silent", func(w *modelWorld, on error) {
		w.silent = 0
		if on != nil {
			w.silent = 2
		}
	}},
	{"the recursor fails", func(w *modelWorld, on error) { w.recordErr = on }},
	{"fetches fail", func(w *modelWorld, on error) { w.fetchErr = on }},
	{"the policy hosts lead elsewhere", func(w *modelWorld, on error) { w.elsewhere = on != nil }},
	{"the CA refuses", func(w *modelWorld, on error) { w.refuses = on != nil }},
	{"the store refuses writes", func(w *modelWorld, on error) { w.storeErr = on }},
	{"the store refuses the next write", func(w *modelWorld, on error) { w.failOnce = on != nil }},
	{"the store reports failure for what it did", func(w *modelWorld, on error) { w.unsure = on != nil }},
	{"port 25 is closed", func(w *modelWorld, on error) { w.closed = on != nil }},
	{"the MX records cannot be looked up", func(w *modelWorld, on error) { w.resolver = on }},
	{"the reports cannot be read", func(w *modelWorld, on error) { w.reportErr = on }},
	{"the outside is slow", func(w *modelWorld, on error) {
		w.slow = 0
		if on != nil {
			w.slow = 20 * time.Second
		}
	}},
}

// setFault begins or ends a fault. The caller holds w.mu.
func (w *modelWorld) setFault(f modelFault, on bool) {
	w.lastFetches()
	var err error
	if on {
		err = errors.New(f.name)
	}
	f.set(w, err)
	for _, fate := range w.fates {
		fate.changed = time.Now()
	}
}
