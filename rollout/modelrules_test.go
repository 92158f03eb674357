package rollout

import (
	"bytes"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
)

// fate is what the model remembers of one domain, over all lives of the process.
type fate struct {
	conf  modelConf
	inUse bool    // in the config
	live  *Domain // as the process that lives was given it; nil: it was not

	// The MX hosts as they are.
	hosts     []string          // by the DNS
	ill       map[string]string // what is wrong with a host: "fails" or "expires"
	reports   []modelReport
	changed   time.Time // when this last changed
	validated bool

	// What the operator has ordered, as far as it holds.
	climbs    bool // to enforce, or so it may be: a killed process does not say
	sure      bool // that it is
	paused    bool
	hasty     bool // --now
	noReports bool
	waived    map[string]bool // gates, for the next step
	evidence  *state.Evidence
	abandoned bool
	back      *place // where it was when it left the config

	stepWaived map[string]bool // what was waived for the step that was made last
	stepping   bool            // that is not served yet
	shown      time.Time       // when the policy of the stage was first announced; zero: it was not
	wasShown   time.Time       // the same of the stage before

	ids  map[string]string // id → body, of all that DNS has ever named by us
	held []*fetch          // what senders may have in their caches
	some []*fetch          // the caches of a few of them, who look now and then

	// unsure says that the store has told an untruth of the last write. The process
	// goes on with what it had before, and so do the times of the stage.
	unsure               bool
	knows                *state.Rollout
	knowsShown, knowsWas time.Time

	lost     bool // a store was lost or restored, so that what is known of it may be too little
	restored bool // an older store was restored
	asks     bool // what is announced may be unknown to the store, so that the domain waits for the operator's word
	guard    bool // enforce was announced when a store was lost, and nobody has decided otherwise
}

// fetch is a policy in the cache of a sender (RFC 8461 §3.2, §3.3).
type fetch struct {
	id     string
	body   []byte
	policy mtasts.Policy
	until  time.Time
	lost   bool // the store that knew of it is gone, or the operator does not care
}

type modelReport struct {
	at     time.Time
	who    string
	failed int64
}

// slack is how old what a step rests on may be: a look takes time.
const slack = 5 * time.Minute

// fault notes a broken rule. what is the same for the same fault in another run, so
// that the sequence can be minimised.
func (w *modelWorld) fault(domain, what string, detail ...any) {
	w.broken = append(w.broken, domain+": "+what+"\x00"+fmt.Sprintln(detail...))
}

// fetched has senders fetch what is served at this moment, if a record announces
// anything: the ledger must know of the last of them. The caller holds w.mu.
func (w *modelWorld) fetched(domain string) {
	f := w.fates[domain]
	c := w.fetchNow(domain)
	if c == nil {
		return
	}
	c.lost = f.abandoned
	for i, h := range f.held {
		if bytes.Equal(h.body, c.body) {
			f.held[i] = c
			return
		}
	}
	f.held = append(f.held, c)
}

// fetchNow is what a sender gets now; nil: nothing. The caller holds w.mu.
func (w *modelWorld) fetchNow(domain string) *fetch {
	body := w.served[domain]
	rec, err := mtasts.FindRecord(w.txt[mtasts.RecordName(domain)])
	if w.dead || body == nil || err != nil || w.elsewhere || !time.Now().Before(w.db.certs[mtasts.PolicyHost(domain)]) {
		return nil
	}
	p, err := mtasts.ParsePolicy(body)
	if err != nil {
		w.fault(domain, "not a policy", string(body))
		return nil
	}
	return &fetch{id: rec.ID, body: body, policy: p, until: time.Now().Add(p.MaxAge)}
}

// holds are the policies of a domain that senders may hold and that the store knows
// of.
func (f *fate) holds(matters func(mtasts.Policy) bool) bool {
	return slices.ContainsFunc(f.held, func(c *fetch) bool { return !c.lost && c.until.After(time.Now()) && matters(c.policy) })
}

func saysMore(p mtasts.Policy) bool { return p.Mode != mtasts.ModeNone }

// The publisher.

func (w *modelWorld) SetAll(bodies map[string][]byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.step() == nil {
		w.served = maps.Clone(bodies)
		for domain := range w.fates {
			w.noteShown(domain)
		}
	}
}

func (w *modelWorld) Set(domain string, body []byte) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.step() != nil {
		return
	}
	if !bytes.Equal(w.served[domain], body) {
		w.fetched(domain)
		w.serves(domain, w.served[domain], body)
		w.served[domain] = body
		w.noteShown(domain)
	}
}

// serves holds another body against the rules.
func (w *modelWorld) serves(domain string, old, body []byte) {
	f := w.fates[domain]
	p, err := mtasts.ParsePolicy(body)
	if err != nil {
		w.fault(domain, "not a policy", string(body))
		return
	}
	// A lost or older store lowers no enforce that was announced. As long as no name
	// server answers nobody can know of it: the store's own mode is served, and
	// announced to nobody (see noteShown).
	if f.guard && w.silent < 2 && p.Mode != mtasts.ModeEnforce {
		w.fault(domain, "a lost or older store lowered enforce", string(body))
	}
	stepping := f.stepping
	f.stepping = false
	q, err := mtasts.ParsePolicy(old)
	if err != nil || f.live == nil || p.Mode != mtasts.ModeEnforce {
		return
	}
	// No step to enforce is served on what the MX hosts were long ago.
	if stepping && !f.live.pinned() && f.steady() {
		if reason := w.unfit(f, p.MX, f.stepWaived); reason != "" {
			w.fault(domain, "a step is served although "+reason, string(body), f.hosts, f.ill)
		}
	}
	if q.Mode != mtasts.ModeEnforce {
		return
	}
	row := w.db.rollouts[domain]
	// What an older policy names stays while somebody holds one that lacks a name
	// of the new.
	wanted := union(f.live.Wanted.MX, row.MX)
	lacks := func(held mtasts.Policy) bool {
		return held.Mode == mtasts.ModeEnforce && slices.ContainsFunc(wanted, func(name string) bool { return !named(held, name) })
	}
	for _, name := range q.MX {
		if !named(p, name) && f.holds(lacks) {
			w.fault(domain, "an MX name that an older policy needs was dropped", name, p.MX, wanted)
		}
	}
	// Nobody who gets through is refused after a change that nobody ordered now.
	if f.steady() && w.delivers(f, q) && !w.delivers(f, p) && !f.edited() {
		w.fault(domain, "senders get through by the old policy, and by the new one no more", q.MX, p.MX, f.hosts, f.ill)
	}
}

// named reports whether p names all that the pattern name stands for.
func named(p mtasts.Policy, name string) bool {
	return slices.Contains(p.MX, name) || !strings.HasPrefix(name, "*") && p.Covers(name)
}

// steady reports whether nothing that gates look at has changed for a while.
func (f *fate) steady() bool { return time.Since(f.changed) > slack }

// edited reports whether the config was edited just now.
func (f *fate) edited() bool { return time.Since(f.conf.edited) < slack }

// delivers reports whether a sender that holds p gets through to an MX host.
func (w *modelWorld) delivers(f *fate, p mtasts.Policy) bool {
	return p.Mode != mtasts.ModeEnforce || slices.ContainsFunc(f.hosts, func(host string) bool { return f.ill[host] != "fails" && p.Covers(host) })
}

// unfit says why the MX hosts are not fit for enforce by a policy with these
// patterns, as far as it can be known here; "": they are, or it was waived.
func (w *modelWorld) unfit(f *fate, patterns []string, waived map[string]bool) string {
	p := mtasts.Policy{MX: patterns}
	elsewhere := f.evidence != nil && time.Since(f.evidence.Time) < freshness+slack && slices.Equal(slices.Sorted(slices.Values(f.evidence.MX)), slices.Sorted(slices.Values(patterns)))
	sums := f.sums(f.wasShown.Add(-slack)) // of the stage that ends
	reported := sums != nil && sums.Failed == 0 && sums.Reporters >= max(1, f.live.Reporters)
	if w.resolver != nil {
		switch {
		case !elsewhere && !waived[state.GateCovered]:
			return "nothing is known of the MX hosts"
		case !elsewhere && !reported && !(waived[state.GateTLS] && waived[state.GateCertificates]):
			return "nothing is known of the TLS of the MX hosts"
		}
		return ""
	}
	for _, host := range f.hosts {
		switch {
		case !waived[state.GateCovered] && !p.Covers(host):
			return "an MX host is not covered"
		case w.closed && !elsewhere && !reported && !waived[state.GateTLS]:
			return "port 25 cannot be reached from here"
		case !w.closed && !waived[state.GateTLS] && f.ill[host] == "fails":
			return "an MX host fails"
		case !w.closed && !waived[state.GateCertificates] && f.ill[host] == "expires":
			return "the certificate of an MX host expires soon"
		}
	}
	return ""
}

// sums are the reports of a domain since a time; nil: there is none.
func (f *fate) sums(since time.Time) *state.ReportSums {
	var s state.ReportSums
	who := map[string]bool{}
	any := false
	for _, r := range f.reports {
		if r.at.Before(since) {
			continue
		}
		any = true
		if r.failed > 0 {
			s.Failed, s.Cause = s.Failed+r.failed, "certificate-expired"
			continue
		}
		s.Successful++
		who[r.who] = true
	}
	if !any {
		return nil
	}
	s.Reporters = len(who)
	return &s
}

func (w *modelWorld) Remove(domain string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.step() != nil || w.served[domain] == nil {
		return
	}
	w.fetched(domain)
	f := w.fates[domain]
	// Nothing is removed before its horizon (RFC 8461 §8.3).
	if !f.abandoned && f.holds(saysMore) {
		w.fault(domain, "taken out of service although senders may hold its policy")
	}
	delete(w.served, domain)
}

// withdrawn holds the removal of a record against the rules. The caller holds w.mu.
func (w *modelWorld) withdrawn(domain string) {
	w.fetched(domain)
	if w.fates[domain].holds(saysMore) {
		w.fault(domain, "its record is removed although senders may hold its policy")
	}
}

// pushed holds a record that is pushed against the rules: it names a body that is
// served, and no other body has had its id. The caller holds w.mu.
func (w *modelWorld) pushed(domain, txt string) {
	w.fetched(domain)
	f := w.fates[domain]
	body := w.served[domain]
	rec, err := mtasts.ParseRecord(txt)
	if err != nil || !mtasts.Announces(rec.ID, body) {
		w.fault(domain, "a record names another body than the one that is served", txt, string(body))
		return
	}
	if was, ok := f.ids[rec.ID]; ok && was != string(body) {
		w.fault(domain, "an id has named two bodies", txt)
	}
	f.ids[rec.ID] = string(body)
	if p, err := mtasts.ParsePolicy(body); err == nil && f.guard && p.Mode != mtasts.ModeEnforce {
		w.fault(domain, "after a lost or older store, a lower policy was announced than enforce", string(body))
	}
}

// noteShown notes when the policy of a stage was first announced. The caller holds
// w.mu.
func (w *modelWorld) noteShown(domain string) {
	f := w.fates[domain]
	rec, err := mtasts.FindRecord(w.txt[mtasts.RecordName(domain)])
	if f.shown.IsZero() && err == nil && mtasts.Announces(rec.ID, w.served[domain]) {
		f.shown = time.Now()
	}
}
