package rollout

import (
	"context"
	"fmt"
	"slices"
	"strings"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
)

// AcceptMX has the policy of a domain name the MX hosts that the DNS has and it does
// not, beside those that it names; with hosts: these of them, and no other. It is the
// operator who vouches for them: a forged answer must not enter a policy by itself.
func (m *Manager) AcceptMX(ctx context.Context, name string, hosts ...string) (state.MXChange, error) {
	d, ok := m.get(name)
	switch {
	case !ok || d.conf == nil:
		return state.MXChange{}, errNotHosted(name)
	case d.row != nil && (d.row.Goal == state.GoalRetire || d.row.Stage == state.StageRetired):
		return state.MXChange{}, &state.StageError{Text: fmt.Sprintf("%s leaves MTA-STS: its policy names no MX host that matters", name)}
	}
	served, _ := m.cfg.Served(name)
	seen, err := m.cfg.Prober.CheckMX(ctx, name, served.MX, mtasts.ModeEnforce)
	if err != nil {
		return state.MXChange{}, errNoMX(name, err)
	}
	m.change.Lock()
	defer m.change.Unlock()
	if d, ok = m.get(name); !ok || d.conf == nil {
		return state.MXChange{}, errNotHosted(name)
	}
	mx, there := m.namedBy(d), nameable(seen.Hosts)
	fresh := missing(mx, there)
	if hosts = union(nil, hosts); len(hosts) > 0 {
		if unknown := slices.DeleteFunc(slices.Clone(hosts), func(h string) bool { return slices.Contains(there, h) }); len(unknown) > 0 {
			return state.MXChange{}, &state.StageError{Text: fmt.Sprintf("the DNS has no MX record of %s with %s; what the policy is to name before that goes into its mx in the config",
				name, strings.Join(unknown, ", "))}
		}
		fresh = missing(mx, hosts)
	}
	change := state.MXChange{Domain: name, Accepted: append([]string{}, fresh...), MX: append([]string{}, mx...)}
	switch {
	case len(fresh) == 0:
		change.Text = "the policy names " + namedAll(hosts) + "; nothing was changed"
		return change, nil
	case d.conf.pinned():
		return change, &state.StageError{Text: fmt.Sprintf("the config decides the policy of %s, as it pins its mode at %s: add %s to its mx there and reload",
			name, d.conf.Wanted.Source, strings.Join(fresh, ", "))}
	}
	if err := m.accept(ctx, d, fresh, "accepted by the operator"); err != nil {
		return change, err
	}
	change.MX = append(change.MX, fresh...)
	change.Text = fmt.Sprintf("the policy names %s from now on, beside %s; write what is new into mx in the config when it suits you%s",
		strings.Join(fresh, ", "), strings.Join(mx, ", "), doubts(seen, fresh))
	return change, nil
}

func namedAll(hosts []string) string {
	if len(hosts) == 0 {
		return "every MX host that the DNS has"
	}
	return strings.Join(hosts, ", ") + " already"
}

// doubts is what to know of MX hosts that a policy names from now on.
func doubts(seen state.MXCheck, fresh []string) (text string) {
	for _, host := range fresh {
		if f, fails := failureOf(host, seen.Findings); fails {
			text += "; senders refuse " + host + " all the same: " + strings.TrimSuffix(strings.TrimPrefix(f.Text, host+": "), ".")
		}
	}
	if !seen.Validated {
		text += "; DNSSEC does not vouch for the MX records, so see that the names are yours"
	}
	return text
}

// nameable are those of the hosts that a policy can name: an MX record may have
// anything, and a wildcard among it must not become a pattern.
func nameable(hosts []string) (good []string) {
	for _, h := range hosts {
		if p, err := mtasts.ParsePattern(h); err == nil && !strings.HasPrefix(p, "*.") {
			good = append(good, p)
		}
	}
	return good
}

// errNoMX says that the MX hosts of a domain could not be looked at.
func errNoMX(name string, err error) error {
	return &state.StageError{Text: fmt.Sprintf("the MX records of %s cannot be looked up: %v; see that the resolver answers", name, err)}
}

// namedBy are the MX patterns of a domain as far as they are decided, without those
// that are kept for a while.
func (m *Manager) namedBy(d domain) []string {
	if d.row == nil {
		return d.conf.Wanted.MX
	}
	return union(d.conf.Wanted.MX, d.row.MX)
}

// accept adds MX hosts to the policy. The caller holds m.change.
func (m *Manager) accept(ctx context.Context, d domain, fresh []string, how string) error {
	row, err := m.rowOf(ctx, &d)
	if err != nil {
		return err
	}
	row.MX = union(row.MX, fresh)
	p := d.conf.policy(placeOf(row))
	if _, err := (mtasts.Policy{Mode: p.Mode, MX: union(m.namedBy(d), fresh), MaxAge: d.conf.MaxAge}).Render(); err != nil {
		return &state.StageError{Text: fmt.Sprintf("the policy cannot name %s: %v", strings.Join(fresh, ", "), err)}
	}
	e := event(state.KindMXAccepted, state.SeverityInfo, d.name, fmt.Sprintf("the policy names %s from now on: %s", strings.Join(fresh, ", "), how))
	e.Evidence = map[string]string{"new_mx": strings.Join(fresh, " "), "mx": strings.Join(union(m.namedBy(d), fresh), " ")}
	return m.put(ctx, d, row, e)
}

// Drift takes note of a look at the MX hosts of a domain that found some which its
// policy does not name. It returns at once. Only what DNSSEC vouches for enters a
// policy without being asked, and only where the operator wants that.
func (m *Manager) Drift(name string, seen state.MXCheck) {
	m.mu.Lock()
	defer m.mu.Unlock()
	d := m.domains[name]
	if d == nil || d.conf == nil || !d.conf.Migrate || d.conf.pinned() || !seen.Validated || len(seen.Hosts) == 0 {
		return
	}
	d.drift = slices.Clone(seen.Hosts)
	m.arrange(d)
}

// migrate takes into the policy what Drift has found, and lets go of what was
// accepted before and is an MX host no longer; keep sees to it that those who hold
// an older policy lose nothing by that.
func (m *Manager) migrate(ctx context.Context, d domain) error {
	if len(d.drift) == 0 || d.conf == nil {
		return nil
	}
	m.change.Lock()
	defer m.change.Unlock()
	d, ok := m.get(d.name)
	if !ok || d.conf == nil {
		return nil
	}
	m.mu.Lock()
	if known := m.domains[d.name]; known != nil {
		known.drift = nil
	}
	m.mu.Unlock()
	retires := d.row != nil && (d.row.Goal == state.GoalRetire || d.row.Stage == state.StageRetired)
	fresh := missing(m.namedBy(d), nameable(d.drift))
	if len(fresh) == 0 || retires || !d.conf.Migrate || d.conf.pinned() {
		return nil
	}
	if d.row != nil {
		row := *d.row
		row.MX = slices.DeleteFunc(slices.Clone(row.MX), func(name string) bool { return !slices.Contains(d.drift, name) })
		d.row = &row
	}
	return m.accept(ctx, d, fresh, `DNSSEC vouches for the MX records, and mx_migration is "auto"`)
}
