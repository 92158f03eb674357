package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/stshost/stshost/internal/lab"
	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
	"github.com/stshost/stshost/server"
)

const (
	oneDay  = 24 * time.Hour
	oneWeek = 7 * oneDay
)

// stagedWorld is a world whose rollouts, and the ledger, have a clock of their own,
// which a test sets ahead by weeks.
type stagedWorld struct {
	*world
	s *running // the present life of stshost

	mu     sync.Mutex
	weeks  time.Duration // how far that clock is ahead of ours
	stands time.Time     // where it has been stopped; zero: it runs
}

// newStagedWorld is newWorld where no domain needs an order: there is one
// certificate for all of them.
func newStagedWorld(t *testing.T, domains ...string) *stagedWorld {
	t.Helper()
	w := newWorld(t, domains...)
	var hosts []string
	for i, d := range domains {
		hosts = append(hosts, mtasts.PolicyHost(d))
		w.domains[i].mx = []string{"mx1.mail.test", "mx2.mail.test"}
	}
	w.bringCertificate(time.Now().AddDate(2, 0, 0), hosts...)
	return staged(w)
}

func staged(w *world) *stagedWorld { return &stagedWorld{world: w} }

// rolloutNow is that clock, as exact as the store keeps times.
func (w *stagedWorld) rolloutNow() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.stands.IsZero() {
		return w.stands
	}
	return time.Now().Add(w.weeks).Truncate(time.Microsecond)
}

// start is world.start with the clock of the rollouts.
func (w *stagedWorld) start() {
	w.t.Helper()
	w.s = w.startIn(environment{rolloutNow: w.rolloutNow})
}

// restart ends stshost's life and begins another.
func (w *stagedWorld) restart() {
	w.t.Helper()
	if err := w.s.stop(); err != nil {
		w.t.Fatal(err)
	}
	w.start()
}

// set makes it another time, by the clock of the rollouts, which runs on from there.
func (w *stagedWorld) set(now time.Time) {
	w.mu.Lock()
	w.weeks, w.stands = time.Until(now), time.Time{}
	w.mu.Unlock()
	w.s.rollouts.WakeAll()
}

// stop makes it this moment and no later, by the clock of the rollouts, until set.
func (w *stagedWorld) stop(at time.Time) {
	w.mu.Lock()
	w.stands = at
	w.mu.Unlock()
	w.s.rollouts.WakeAll()
}

// confirmed is world.confirmed where no change waits to be taken up either.
func (w *stagedWorld) confirmed(domain string) server.DomainStatus {
	w.t.Helper()
	return w.await(domain, "confirmed, with no change to come", func(d server.DomainStatus) bool {
		return d.Step == state.Confirmed && d.LastError == "" && d.ConfigWaits.IsZero()
	})
}

// confirmedAnew is confirmed with another id than before.
func (w *stagedWorld) confirmedAnew(before server.DomainStatus) server.DomainStatus {
	w.t.Helper()
	return w.await(before.Domain, "confirmed with a new id", func(d server.DomainStatus) bool {
		return d.Step == state.Confirmed && d.LastError == "" && d.ConfigWaits.IsZero() && d.ID != before.ID
	})
}

// rollout is how the domain stands on its way.
func (w *stagedWorld) rollout(domain string) state.RolloutStatus {
	w.t.Helper()
	r, err := w.client().Rollout(w.t.Context(), domain)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// awaitRollout waits until the domain stands on its way as accept wants it.
func (w *stagedWorld) awaitRollout(domain, what string, accept func(state.RolloutStatus) bool) state.RolloutStatus {
	w.t.Helper()
	var last state.RolloutStatus
	eventually(w.t, func() error {
		var err error
		if last, err = w.client().Rollout(w.t.Context(), domain); err != nil {
			return err
		}
		if !accept(last) {
			return fmt.Errorf("%s: want %s, have %+v", domain, what, last)
		}
		return nil
	})
	return last
}

// at waits until the domain is confirmed at a stage with this max_age.
func (w *stagedWorld) at(domain string, stage state.Stage, maxAge time.Duration) state.RolloutStatus {
	w.t.Helper()
	return w.awaitRollout(domain, fmt.Sprintf("%s with a max_age of %s", stage, maxAge), func(r state.RolloutStatus) bool {
		return r.Stage == stage && r.MaxAge == int64(maxAge/time.Second) && !r.Confirmed.IsZero()
	})
}

// full waits until the last stage on the way to enforce is confirmed.
func (w *stagedWorld) full(domain string) state.RolloutStatus {
	w.t.Helper()
	return w.awaitRollout(domain, "enforce in full", func(r state.RolloutStatus) bool {
		return r.Full && r.Goal == state.GoalStay && !r.Confirmed.IsZero()
	})
}

// begin has the domain taken to enforce.
func (w *stagedWorld) begin(domain string, o state.RolloutOrder) state.RolloutStatus {
	w.t.Helper()
	r, err := w.client().StartRollout(w.t.Context(), domain, o)
	if err != nil {
		w.t.Fatal(err)
	}
	return r
}

// hasty is an order that waits for nothing but the probes.
func hasty() state.RolloutOrder { return state.RolloutOrder{Now: true, AcceptNoReports: true} }

// enforced takes the domain to enforce in full without waiting.
func (w *stagedWorld) enforced(domain string) server.DomainStatus {
	w.t.Helper()
	w.confirmed(domain)
	w.begin(domain, hasty())
	w.full(domain)
	return w.confirmed(domain)
}

// refusedBy wants the domain not to be taken anywhere because of this gate and no
// other, and nothing to have changed.
func (w *stagedWorld) refusedBy(domain, gate string, o state.RolloutOrder) state.Gate {
	w.t.Helper()
	before, stood, told := w.status(domain), w.rollout(domain), len(w.news(domain))
	updates := len(w.updates(domain))
	_, err := w.client().StartRollout(w.t.Context(), domain, o)
	var refused *state.RefusedError
	if !errors.As(err, &refused) {
		w.t.Fatalf("%s: want a refusal by the gate %s, have %v", domain, gate, err)
	}
	for _, g := range refused.Status.Gates {
		if g.Open() == (g.Name == gate) {
			w.t.Errorf("%s: the gate %s is %s: %s", domain, g.Name, g.State, g.Value)
		}
	}
	if g := refused.Gate; g.Name != gate || g.Value == "" || g.Wanted == "" || g.Remedy == "" || refused.Remedy() != g.Remedy {
		w.t.Errorf("%s is refused by %+v", domain, g)
	}
	after, stands := w.status(domain), w.rollout(domain)
	if after.ID != before.ID || after.Body != before.Body || stands.Stage != stood.Stage || stands.Goal != stood.Goal || !stands.Entered.Equal(stood.Entered) {
		w.t.Errorf("%s was refused, and changed from %+v to %+v", domain, stood, stands)
	}
	if n, m := len(w.news(domain)), len(w.updates(domain)); n != told || m != updates {
		w.t.Errorf("%s was refused, with %d events and %d updates of the DNS", domain, n-told, m-updates)
	}
	return refused.Gate
}

// updates are those of the domain's record that the lab's DNS has taken.
func (w *world) updates(domain string) []lab.Update {
	return slices.DeleteFunc(w.lab.DNS.Updates(), func(u lab.Update) bool { return !slices.Contains(u.Names, "_mta-sts."+domain+".") })
}

// noError ends the test if there is one.
func (w *world) noError(err error) {
	w.t.Helper()
	if err != nil {
		w.t.Fatal(err)
	}
}

// status is the status of a domain now.
func (w *world) status(domain string) server.DomainStatus {
	w.t.Helper()
	d, err := w.client().Domain(w.t.Context(), domain)
	if err != nil {
		w.t.Fatal(err)
	}
	return d
}

// news are the events of the domain's rollout, the oldest first.
func (w *stagedWorld) news(domain string) []server.Event {
	w.t.Helper()
	all, err := w.client().Events(w.t.Context(), state.EventQuery{Domain: domain, Limit: 1000}, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	return slices.DeleteFunc(all, func(e server.Event) bool { return !strings.HasPrefix(e.Kind, "rollout.") })
}

// kinds are the kinds of events.
func kinds(events []server.Event) []string {
	var all []string
	for _, e := range events {
		all = append(all, e.Kind)
	}
	return all
}

// policyOf is the policy that a status says is served.
func (w *world) policyOf(d server.DomainStatus) mtasts.Policy {
	w.t.Helper()
	p, err := mtasts.ParsePolicy([]byte(d.Body))
	if err != nil {
		w.t.Fatalf("%s serves %q: %v", d.Domain, d.Body, err)
	}
	return p
}

// mailHost is an MX host of one domain alone.
type mailHost struct {
	w    *world
	name string
	addr string // host:port
	mx   *lab.MX
}

// mailHost gives the domain, and its entry in the config, one MX host at an
// address of its own, 127.0.0.n.
func (w *world) mailHost(domain string, n int) *mailHost {
	w.t.Helper()
	h := &mailHost{w: w, name: "mx." + domain, addr: fmt.Sprintf("127.0.0.%d:%d", n, w.lab.SMTPPort)}
	h.leadTo(fmt.Sprintf("127.0.0.%d", n))
	if err := w.lab.DNS.Set(domain, "MX", "10 "+h.name+"."); err != nil {
		w.t.Fatal(err)
	}
	for i := range w.domains {
		if w.domains[i].name == domain {
			w.domains[i].mx = []string{h.name}
		}
	}
	h.offer(time.Time{}, h.name)
	w.t.Cleanup(func() { h.mx.Close() })
	return h
}

// leadTo gives the host another address in the DNS.
func (h *mailHost) leadTo(ip string) {
	h.w.t.Helper()
	if err := h.w.lab.DNS.Set(h.name, "A", ip); err != nil {
		h.w.t.Fatal(err)
	}
}

// offer has the host offer STARTTLS with a certificate for these names; without
// names it offers none.
func (h *mailHost) offer(notAfter time.Time, names ...string) {
	h.w.t.Helper()
	if h.mx != nil {
		h.mx.Close()
	}
	cfg := lab.MXConfig{Hosts: []string{h.name}, Addr: h.addr}
	if len(names) > 0 {
		cert, err := h.w.lab.Mail.Issue(notAfter, names...)
		if err != nil {
			h.w.t.Fatal(err)
		}
		cfg.Certificate = &cert
	}
	mx, err := lab.StartMX(cfg)
	if errors.Is(err, syscall.EADDRINUSE) {
		// Somebody else on this machine has the port, maybe since the host was closed:
		// it moves, as a host may.
		h.addr = strings.Replace(h.addr, "127.0.0.", "127.0.1.", 1)
		cfg.Addr = h.addr
		h.leadTo(strings.TrimSuffix(h.addr, fmt.Sprintf(":%d", h.w.lab.SMTPPort)))
		mx, err = lab.StartMX(cfg)
	}
	if err != nil {
		h.w.t.Fatal(err)
	}
	h.mx = mx
}

// dnsDown has the DNS refuse changes of a domain's record until up.
func (w *world) dnsDown(domain string) (up func()) {
	return w.lab.DNS.Fail(lab.DNSFault{Updates: true, Name: "_mta-sts." + domain, Rcode: dns.RcodeRefused})
}
