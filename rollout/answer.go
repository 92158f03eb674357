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

// Horizon says when an MX host, or with mx "" the domain as a whole, can go without
// loss of mail.
func (m *Manager) Horizon(ctx context.Context, name, mx string) (state.Horizon, error) {
	if _, ok := m.get(name); !ok {
		if _, hosted := m.cfg.Reconciler.Snapshot(name); !hosted {
			return state.Horizon{}, errNotHosted(name)
		}
	}
	ledger, err := m.cfg.Store.Bodies(ctx, name)
	if err != nil {
		return state.Horizon{}, err
	}
	now := m.cfg.Now()
	if mx == "" {
		h := domainHorizon(name, ledger, now)
		if d, _ := m.get(name); h.Open && d.conf != nil && d.conf.pinned() {
			h.Remedy = fmt.Sprintf("remove its [[domain]] at %s and reload: that retires it; or take out its mode first, for `stshost retire %s`", d.conf.Wanted.Source, name)
		}
		return h, nil
	}
	served, _ := m.cfg.Served(name)
	seen, err := m.cfg.Prober.CheckMX(ctx, name, served.MX, mtasts.ModeEnforce)
	if err != nil {
		return state.Horizon{}, errNoMX(name, err)
	}
	return mxHorizon(name, strings.ToLower(strings.TrimSuffix(mx, ".")), seen, ledger, now), nil
}

// domainHorizon answers for a domain as a whole.
func domainHorizon(name string, ledger []state.Body, now time.Time) state.Horizon {
	h := state.Horizon{Domain: name}
	end, open := horizon(ledger, now)
	h.Bodies = bodies(ledger, now, func(b state.Body) (bool, string) {
		switch {
		case b.Mode == mtasts.ModeNone:
			return false, "says none: senders do as without a policy"
		case !until(b, now).After(now):
			return false, "has run out"
		case b.Mode == mtasts.ModeTesting:
			return true, "may be held; in testing it costs no mail, only reports"
		}
		return true, "may be held, and is enforced"
	})
	switch {
	case len(ledger) == 0:
		h.Text = fmt.Sprintf("%s has served no policy, so that nobody holds one: it can go now", name)
	case open:
		h.Open, h.Until = true, end
		h.Text = fmt.Sprintf("%s serves a policy that senders fetch and keep, so that there is no end: if it were retired now, the last of them would drop it at %s", name, stamp(end))
		h.Remedy = "`stshost retire " + name + "` begins, and does the rest by itself"
	case !end.IsZero():
		h.Until = end
		h.Text = fmt.Sprintf("%s can go from %s on: until then senders may hold a policy that it served before", name, stamp(end))
	default:
		h.Text = fmt.Sprintf("%s can go now: no sender holds a policy of it that says more than none", name)
	}
	return h
}

// mxHorizon answers for an MX host: those who hold a policy that is enforced and does
// not name the hosts that are left would have nowhere to deliver to, or not
// everywhere.
func mxHorizon(name, mx string, seen state.MXCheck, ledger []state.Body, now time.Time) state.Horizon {
	h := state.Horizon{Domain: name, MX: mx}
	live := seen.Hosts
	left := slices.DeleteFunc(slices.Clone(live), func(host string) bool { return host == mx })
	matters := func(b state.Body) bool { return enforced(b) && len(missing(names(b), left)) > 0 }
	h.Bodies = bodies(ledger, now, func(b state.Body) (bool, string) {
		switch lacks := missing(names(b), left); {
		case !enforced(b):
			return false, "is not enforced"
		case !until(b, now).After(now):
			return false, "has run out"
		case len(lacks) > 0:
			return true, "does not name " + strings.Join(lacks, ", ") + ": senders refuse it"
		}
		return false, "names every host that is left"
	})
	end := latest(ledger, now, matters)
	open := slices.ContainsFunc(ledger, func(b state.Body) bool { return matters(b) && b.LastServed.IsZero() })
	first := ""
	if !slices.Contains(live, mx) && len(live) > 0 {
		first = fmt.Sprintf("%s is no MX host of %s by the DNS, which has %s; ", mx, name, strings.Join(live, ", "))
	}
	switch {
	case !slices.Contains(live, mx) && !slices.ContainsFunc(ledger, func(b state.Body) bool { return covers(names(b), mx) }):
		h.Open = true
		h.Text = fmt.Sprintf("%s is no MX host of %s: neither the DNS nor a policy names it", mx, name)
		h.Remedy = "see that the name is right"
	case len(left) > 0 && len(failingHosts(left, seen.Findings)) == len(left):
		h.Open = true
		h.Text = fmt.Sprintf("%s cannot go: of the hosts that would be left (%s) none takes mail as the policy wants it", mx, strings.Join(left, ", "))
		h.Remedy = "`stshost check " + name + "` says what is wrong with them; mend one, and ask again"
	case len(left) == 0:
		h.Open = true
		h.Text = fmt.Sprintf("%s is the only MX host of %s: without it no mail can be delivered", mx, name)
		h.Remedy = "add the host that takes its place to the MX records and to mx in the config, and ask again"
	case open:
		h.Open = true
		h.Text = fmt.Sprintf("%s cannot go: the policy that is served does not name %s, and senders refuse it", mx, strings.Join(missing(servedNames(ledger), left), ", "))
		h.Remedy = "add it to mx in the config and reload, or `stshost mx accept " + name + "`; then ask again"
	case !end.IsZero():
		h.Until = end
		h.Text = first + fmt.Sprintf("%s can go from %s on: until then senders may hold a policy that does not name all of %s", mx, stamp(end), strings.Join(left, ", "))
	default:
		h.Text = first + fmt.Sprintf("%s can go now: every policy that senders may hold and enforce names %s; take it out of the MX records first, and switch it off when their TTL is over", mx, strings.Join(left, ", "))
	}
	return h
}

// failingHosts are those of the hosts of which a finding says that they fail.
func failingHosts(hosts []string, findings []state.Finding) (failing []string) {
	for _, host := range hosts {
		if _, fails := failureOf(host, findings); fails {
			failing = append(failing, host)
		}
	}
	return failing
}

// failureOf is the first finding by which a host fails, as a whole or at an address.
func failureOf(host string, findings []state.Finding) (state.Finding, bool) {
	i := slices.IndexFunc(findings, func(f state.Finding) bool {
		about, _, _ := strings.Cut(f.Subject, " (")
		return about == host && f.Status == state.CheckFail && !aboutNames(f.Code)
	})
	if i < 0 {
		return state.Finding{}, false
	}
	return findings[i], true
}

// servedNames are the MX patterns of the body that is served.
func servedNames(ledger []state.Body) []string {
	for _, b := range ledger {
		if b.LastServed.IsZero() {
			return names(b)
		}
	}
	return nil
}

// bodies lists a ledger with what each entry means for an answer.
func bodies(ledger []state.Body, now time.Time, judge func(state.Body) (bool, string)) []state.HorizonBody {
	all := make([]state.HorizonBody, 0, len(ledger))
	for _, b := range ledger {
		matters, why := judge(b)
		all = append(all, state.HorizonBody{
			SHA256: b.SHA256, Mode: string(b.Mode), MaxAge: seconds(b.MaxAge), MX: names(b),
			First: b.FirstServed, Last: b.LastServed, Until: until(b, now), Adopted: b.Adopted, Matters: matters, Why: why,
		})
	}
	return all
}
