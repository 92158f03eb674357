package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/signal"
	"reflect"
	"slices"
	"syscall"

	"github.com/stshost/stshost/config"
	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/rollout"
	"github.com/stshost/stshost/server"
)

// Reload reads the config again and, if it is right, swaps it in whole.
func (s *service) Reload(ctx context.Context, o server.ReloadOrder) (server.ReloadResult, error) {
	s.reloading.Lock()
	defer s.reloading.Unlock()
	defer s.tellReload()()
	res, err := s.reload(ctx, o)
	s.noteReload(res, err)
	s.meters.reload(err)
	return res, err
}

func (s *service) reload(ctx context.Context, o server.ReloadOrder) (server.ReloadResult, error) {
	old := s.config()
	next, err := loadConfig(old.File)
	if err != nil {
		invalid := server.NewInvalidConfigError(err)
		s.log.Error("the config was not reloaded, the running one stays", "faults", invalid.Errors)
		return server.ReloadResult{}, invalid
	}
	if err := abandonable(next, o.Abandon); err != nil {
		return server.ReloadResult{}, err
	}
	if err := s.dns.SetAccounts(accounts(next)); err != nil {
		return server.ReloadResult{}, err
	}
	s.dns.SetOwners(owners(next, append(s.rollouts.Left(), domainNames(old)...)...)) // of which some may retire
	s.own.Set(ownPairs(next))                                                        // before a new domain is looked at that one is for
	changes, err := s.rollouts.SetDomains(ctx, rolloutDomains(next), rollout.Abandon{All: o.AbandonAll, Domains: o.Abandon, RetireMany: o.RetireMany})
	if err != nil {
		s.own.Set(ownPairs(old))
		s.dns.SetOwners(owners(old, s.rollouts.Left()...))
		return server.ReloadResult{}, errors.Join(err, s.dns.SetAccounts(accounts(old)))
	}
	s.dns.SetOwners(owners(next, s.rollouts.Left()...))
	if err := s.reconciler.SetExtraHosts(ctx, next.ACME.ExtraHosts); err != nil {
		s.log.Error("what waited for a host that left the config could not be dropped; it is dropped when it is due", "error", err)
	}
	s.mx.SetInterval(next.Watch.MXInterval)
	if err := s.mx.SetDomains(ctx, domainNames(next)); err != nil {
		s.log.Error("what was seen of the MX hosts of domains that left the config could not be forgotten; the next start does", "error", err)
	}
	s.notifier.SetTargets(targets(next.Notify))
	s.mu.Lock()
	s.cfg = next
	s.mu.Unlock()
	res := server.ReloadResult{
		Added: changes.Added, Changed: changes.Changed, Removed: changes.Removed,
		Retiring: changes.Retiring, Abandoned: changes.Abandoned,
		Unchanged: len(next.Domains) - len(changes.Added) - len(changes.Changed),
		Settings:  changedSettings(old, next),
		Restart:   needRestart(s.started, next),
	}
	for _, w := range next.Warnings {
		res.Warnings = append(res.Warnings, w.Error())
	}
	// Whoever reloads may have mended something elsewhere just now.
	res.TriedAgain = s.tryAgain(ctx)
	s.reconciler.WakeBlocked()
	s.rollouts.WakeAll()
	s.forgetBadLooks()
	s.mx.LookAtFailing()
	if res.Empty() {
		s.log.Info("config reloaded: nothing changed", "tried_again", res.TriedAgain)
		return res, nil
	}
	for _, l := range [][]string{res.Added, res.Changed, res.Removed, res.Retiring, res.Abandoned} {
		slices.Sort(l)
	}
	for _, w := range next.Warnings {
		s.log.Warn(w.Error())
	}
	s.log.Info("config reloaded", "added", len(res.Added), "changed", len(res.Changed), "removed", len(res.Removed),
		"settings", res.Settings, "restart", res.Restart, "tried_again", res.TriedAgain)
	return res, nil
}

// abandonable says which of the domains that are to be abandoned stays in the config.
func abandonable(next *config.Config, domains []string) error {
	for _, d := range next.Domains {
		if slices.Contains(domains, d.Name) {
			return &state.StageError{Text: fmt.Sprintf("%s is in the config at %s: remove its [[domain]] there, and abandon it with the reload after that", d.Name, d.At)}
		}
	}
	return nil
}

// tryAgain has certificates tried again that could not be had, and returns how
// many.
func (s *service) tryAgain(ctx context.Context) int {
	if s.started.Listen.ProxyTLS() {
		return 0
	}
	n, err := s.issuer.TryAgain(ctx)
	if err != nil {
		s.log.Error("certificates that could not be had wait for their own time", "step", "certificate", "error", err)
	}
	return n
}

// hangups delivers SIGHUP from now on, so that none ends the process while it
// starts or stops.
func hangups() (hup <-chan os.Signal, stop func()) {
	c := make(chan os.Signal, 1)
	signal.Notify(c, syscall.SIGHUP)
	return c, func() { signal.Stop(c) }
}

// reloadOn reloads the config on each signal until ctx ends.
func (s *service) reloadOn(ctx context.Context, hup <-chan os.Signal) error {
	for {
		select {
		case <-hup:
			var invalid *server.InvalidConfigError
			if _, err := s.Reload(ctx, server.ReloadOrder{}); err != nil && !errors.As(err, &invalid) { // which is in the log
				s.log.Error("the config was not reloaded, the running one stays", "error", err)
			}
		case <-ctx.Done():
			return nil
		}
	}
}

// changedSettings names the settings that differ and are in force after a
// reload. The domains are told apart one by one elsewhere.
func changedSettings(old, next *config.Config) []string {
	var changed []string
	if !maps.EqualFunc(old.DNS, next.DNS, func(a, b config.DNSAccount) bool {
		return a.Provider == b.Provider && maps.Equal(a.Settings, b.Settings)
	}) {
		changed = append(changed, "dns")
	}
	if !reflect.DeepEqual(old.Records, next.Records) {
		changed = append(changed, "records")
	}
	if !reflect.DeepEqual(targets(old.Notify), targets(next.Notify)) {
		changed = append(changed, "notify")
	}
	if !slices.Equal(ownPairs(old), ownPairs(next)) {
		changed = append(changed, "certificate")
	}
	if !slices.Equal(old.ACME.ExtraHosts, next.ACME.ExtraHosts) {
		changed = append(changed, "extra_hosts")
	}
	if old.Watch.MXInterval != next.Watch.MXInterval {
		changed = append(changed, "mx_interval")
	}
	return changed
}

// needRestart names the tables that differ and are read at the start only.
func needRestart(old, next *config.Config) []string {
	var changed []string
	for _, t := range []struct {
		name      string
		old, next any
	}{
		{"listen", old.Listen, next.Listen},
		{"store", old.Store, next.Store},
		{"acme", issuing(old.ACME), issuing(next.ACME)},
		{"net", old.Net, next.Net},
		{"prove", old.Prove, next.Prove},
		{"watch", watching(old.Watch), watching(next.Watch)},
	} {
		if !reflect.DeepEqual(t.old, t.next) {
			changed = append(changed, t.name)
		}
	}
	return changed
}

// issuing is what of [acme] is read at the start only.
func issuing(a config.ACME) config.ACME {
	a.ExtraHosts = nil
	return a
}

// watching is what of [watch] is read at the start only.
func watching(w config.Watch) config.Watch {
	w.MXInterval = 0
	return w
}
