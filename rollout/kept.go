package rollout

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
)

// lookAgain is the time between two looks whether a name that the config dropped is
// still that of an MX host.
const lookAgain = 24 * time.Hour

// dropKept has the policy name no longer what it named for those only who held an
// older one, once nobody does. A name of which the DNS still has an MX host stays:
// every sender would refuse that host from then on.
func (m *Manager) dropKept(ctx context.Context, d domain) error {
	if len(d.kept.names) == 0 || d.conf == nil || m.cfg.Now().Before(d.kept.due()) {
		return nil
	}
	seen, err := m.cfg.Prober.CheckMX(ctx, d.name, m.namedBy(d), mtasts.ModeEnforce)
	if err != nil {
		return err // it is not known, and they stay
	}
	m.change.Lock()
	defer m.change.Unlock()
	now, ok := m.get(d.name)
	if !ok || now.row != d.row || now.conf != d.conf || !slices.Equal(now.kept.names, d.kept.names) {
		return nil // it is looked at again
	}
	w, k, err := m.wanted(ctx, d.conf, d.row)
	if err != nil {
		return err
	}
	if m.cfg.Now().Before(k.until) { // what was served when it was reckoned was served for longer
		m.setKept(d.name, m.goOn(d.kept, k))
		return nil
	}
	live := living(k.names, missing(m.namedBy(d), seen.Hosts))
	w.MX = slices.DeleteFunc(w.MX, func(name string) bool {
		return slices.Contains(k.names, name) && !slices.Contains(live, name)
	})
	next := kept{}
	if len(live) > 0 {
		next = kept{names: live, until: m.cfg.Now().Add(lookAgain), told: true, since: d.kept.since}
	}
	if next.told && !d.kept.told {
		if err := m.tellLive(ctx, d, live); err != nil {
			return err
		}
	}
	m.setKept(d.name, next)
	m.cfg.Reconciler.Set(w)
	return nil
}

// goOn is what is kept from now on, after what was kept before.
func (m *Manager) goOn(before, k kept) kept {
	switch {
	case len(k.names) == 0:
		return kept{}
	case slices.Equal(before.names, k.names):
		k.since, k.told = before.since, before.told
	case !k.until.After(m.cfg.Now()):
		k.since = m.cfg.Now()
	}
	return k
}

func (m *Manager) setKept(name string, k kept) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if d := m.domains[name]; d != nil {
		d.kept = k
	}
}

// living are those of the names that one of the hosts needs.
func living(names, hosts []string) (needed []string) {
	for _, name := range names {
		if slices.ContainsFunc(hosts, func(host string) bool { return covers([]string{name}, host) }) {
			needed = append(needed, name)
		}
	}
	return needed
}

// tellLive says that names stay which the config has dropped. The caller holds
// m.change.
func (m *Manager) tellLive(ctx context.Context, d domain, live []string) error {
	names := strings.Join(live, ", ")
	e := event(state.KindMXDrift, state.SeverityWarning, d.name,
		fmt.Sprintf("the config does not name %s any more, but the DNS still has it as an MX host: the policy goes on naming it, as senders would refuse it otherwise", names))
	e.Remedy = "remove its MX record, or add it to mx in the config again"
	e.Evidence = map[string]string{"new_mx": strings.Join(live, " "), "mx": strings.Join(m.namedBy(d), " ")}
	if d.conf.pinned() {
		return m.store(ctx, nil, d.name, e)
	}
	row, err := m.rowOf(ctx, &d)
	if err != nil {
		return err
	}
	return m.note(ctx, d, row, e)
}
