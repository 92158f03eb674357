package reconcile

import (
	"cmp"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
)

// Events are told after the journal has what they are about, and never
// before: a kill in between loses one, and none is told a second time by the
// next process. Only that a domain is new is told before, as nothing was done
// for it yet: a process killed before the domain's first step leaves it to the
// next to tell it again.

// tell hands an event to whoever keeps them.
func (r *Reconciler) tell(e state.Event) {
	e.Time = r.cfg.Now()
	r.cfg.Event(e)
}

// evidence is what the journal says of a domain, and the given pairs of key and
// value. What is empty is left out.
func evidence(row state.Domain, more ...string) map[string]string {
	m := make(map[string]string)
	pairs := append([]string{
		"step", string(row.Step), "mode", string(row.Mode), "sha256", row.BodySHA256, "id", row.ID, "proof", row.Proof,
	}, more...)
	for pair := range slices.Chunk(pairs, 2) {
		if pair[1] != "" {
			m[pair[0]] = pair[1]
		}
	}
	return m
}

// tellStep says that the domain has reached the step of its row. Serving is
// told by tellServed.
func (t *task) tellStep() {
	e := state.Event{Kind: state.KindDomainStep, Severity: state.SeverityInfo, Domain: t.row.Name, Evidence: evidence(t.row)}
	switch t.row.Step {
	case state.WaitingCertificate:
		e.Host = mtasts.PolicyHost(t.row.Name)
		e.Text = fmt.Sprintf("a certificate for %s is being ordered", e.Host)
	case state.Proven:
		e.Host = mtasts.PolicyHost(t.row.Name)
		e.Text = fmt.Sprintf("the policy was fetched back from %s as a sender would (%s)", e.Host, t.row.Proof)
	case state.Announced:
		e.Text = fmt.Sprintf("the DNS provider took the record with the id %s", t.row.ID)
		e.Evidence["dns_account"] = t.wanted.Target.Account
	case state.Confirmed:
		e.Text = fmt.Sprintf("every authoritative server shows the record with the id %s", t.row.ID)
	case state.Withdrawn:
		e.Text = "no authoritative server shows an MTA-STS record of this domain's any more"
	default:
		e.Text = fmt.Sprintf("the domain has reached the step %s", t.row.Step)
	}
	t.tell(e)
}

// tellServed says that another body is served than before.
func (t *task) tellServed(before state.Domain, p mtasts.Policy) {
	e := state.Event{
		Kind: state.KindPolicyServed, Severity: state.SeverityInfo, Domain: t.row.Name, Host: mtasts.PolicyHost(t.row.Name),
		Text:     fmt.Sprintf("a first policy is served, in mode %s", p.Mode),
		Evidence: evidence(t.row, "max_age", strconv.FormatInt(int64(p.MaxAge/time.Second), 10), "replaced_sha256", before.BodySHA256),
	}
	switch {
	case before.BodySHA256 != "":
		e.Text = fmt.Sprintf("another policy is served, in mode %s; it is announced once it has been fetched back", p.Mode)
	case t.unseen != nil:
		e.Severity = state.SeverityWarning
		e.Text = fmt.Sprintf("a first policy is served, in mode %s, although a record announced one already, which could not be fetched: %v", p.Mode, t.unseen)
		e.Remedy = unseenRemedy
	case t.row.Adopted:
		e.Text = fmt.Sprintf("a first policy is served, in mode %s, which was taken over from the policy that was found published", p.Mode)
	}
	t.tell(e)
}

// tellRepaired says that the record was not as it should be and was pushed
// again.
func (t *task) tellRepaired(drift error) {
	t.tell(state.Event{
		Kind: state.KindRecordRepaired, Severity: state.SeverityWarning, Domain: t.row.Name,
		Text:     fmt.Sprintf("the announced record was not as it should be, and was pushed again: %v", drift),
		Remedy:   fmt.Sprintf("find out who else changes the TXT records at %s", cmp.Or(t.d.place, t.wanted.Target.Name)),
		Evidence: evidence(t.row, "found", drift.Error(), "dns_account", t.wanted.Target.Account),
	})
}

// troubled reports whether something is wrong with the domain or waits for a
// person; what comes by itself is no trouble.
func troubled(row state.Domain) bool {
	return row.LastError != "" && (row.Attempts > 0 || row.Remedy != "")
}

// tellOutcome says how a run ended, if that is news.
func (t *task) tellOutcome(before state.Domain) {
	row := t.row
	e := state.Event{Domain: row.Name, Remedy: row.Remedy}
	switch {
	case troubled(row) && before.LastError != row.LastError:
		e.Kind, e.Severity = state.KindDomainBlocked, state.SeverityWarning
		e.Evidence = evidence(row, "reason", row.LastError)
		verb := "blocked"
		switch {
		case row.Attempts == 0:
			verb = "it waits for a person"
		case row.Mode == mtasts.ModeEnforce && isAnnounced(row):
			e.Severity = state.SeverityCritical
		}
		e.Text = fmt.Sprintf("%s at the step %s: %s", verb, row.Step, row.LastError)
	case troubled(before) && !troubled(row):
		e.Kind, e.Severity, e.Remedy = state.KindDomainRecovered, state.SeverityInfo, ""
		e.Evidence = evidence(row, "reason", before.LastError)
		e.Text = "what blocked it is over: " + before.LastError
	default:
		return
	}
	t.tell(e)
}

// isAnnounced reports whether the record of the body that is served was taken
// by the DNS provider: a sender may act on it.
func isAnnounced(row state.Domain) bool { return !before(row.Step, state.Announced) }

// tellAdded says that the config names a domain anew.
func (r *Reconciler) tellAdded(d *domain) {
	text := "the domain is new in the config"
	if d.row.BodySHA256 != "" && d.row.Step != state.Withdrawn {
		text = "the domain is back in the config; its policy was served all the time"
	}
	is := wish(d.wanted)
	maps.DeleteFunc(is, func(_, value string) bool { return value == "" })
	r.tell(state.Event{Kind: state.KindDomainAdded, Severity: state.SeverityInfo, Domain: d.name, Text: text, Evidence: is})
}

// tellChanged says what else the config wants for a domain than old.
func (r *Reconciler) tellChanged(d *domain, old Wanted) {
	was, is := wish(old), wish(d.wanted)
	var changes []string
	for _, key := range wishKeys() {
		if was[key] != is[key] {
			changes = append(changes, fmt.Sprintf("%s was %s and is now %s", key, cmp.Or(was[key], "not set"), cmp.Or(is[key], "not set")))
			is["old_"+key] = was[key]
		}
	}
	if len(changes) == 0 {
		return // another stage, which is told by whoever takes it there
	}
	maps.DeleteFunc(is, func(_, value string) bool { return value == "" })
	r.tell(state.Event{
		Kind: state.KindDomainChanged, Severity: state.SeverityInfo, Domain: d.name,
		Text: fmt.Sprintf("the config wants something else for the domain: %s", strings.Join(changes, "; ")), Evidence: is,
	})
}

func (r *Reconciler) tellLeft(d *domain) {
	e := state.Event{
		Kind: state.KindDomainLeft, Severity: state.SeverityInfo, Domain: d.name, Evidence: evidence(d.row),
		Text: "the domain is no longer in the config; its policy goes on being served, because senders may hold it",
	}
	switch {
	case d.row.Step == state.Withdrawn:
		return // told by whoever took it there
	case d.drop:
		e.Severity = state.SeverityWarning
		e.Text = "the domain is served no longer, at once, although senders may hold its policy"
		e.Remedy = "remove its record from the DNS, if nobody else serves a policy for it"
	case d.row.ID == "":
		e.Text = "the domain is no longer in the config"
	}
	r.tell(e)
}

// wishKeys are the keys of wish, in the order in which changes are told.
func wishKeys() []string { return []string{"mode", "mx", "max_age", "dns_account", "zone", "ttl"} }

// wish is what the config wants for a domain, as evidence.
func wish(w Wanted) map[string]string {
	mode := string(w.Mode)
	if mode == "" {
		mode = "managed"
	}
	return map[string]string{
		"mode": mode, "mx": strings.Join(w.MX, " "), "max_age": strconv.FormatInt(int64(w.MaxAge/time.Second), 10),
		"dns_account": w.Target.Account, "zone": w.Target.Zone, "ttl": strconv.FormatInt(int64(w.Target.TTL/time.Second), 10),
	}
}
