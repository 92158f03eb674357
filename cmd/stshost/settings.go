package main

import (
	"cmp"
	"maps"
	"reflect"
	"slices"
	"strings"

	"github.com/stshost/stshost/config"
	"github.com/stshost/stshost/dnsupdate"
	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
	"github.com/stshost/stshost/reconcile"
)

// loadConfig reads the config with the DNS providers that this binary has, and
// has each provider look at its settings.
func loadConfig(path string) (*config.Config, error) {
	cfg, err := config.Load(path, config.Options{Providers: providers()})
	if err != nil {
		return nil, err
	}
	var faults config.Errors
	for name, a := range accounts(cfg) {
		if err := dnsupdate.Check(a); err != nil {
			for fault := range strings.Lines(err.Error()) { // one a line
				faults = append(faults, config.Error{Pos: cfg.DNS[name].At, What: "in [dns." + name + "] " + strings.TrimSpace(fault)})
			}
		}
	}
	if len(faults) > 0 {
		slices.SortFunc(faults, func(a, b config.Error) int {
			return cmp.Or(cmp.Compare(a.Pos.Line, b.Pos.Line), cmp.Compare(a.What, b.What))
		})
		return nil, faults
	}
	return cfg, nil
}

func providers() map[string][]config.Setting {
	all := make(map[string][]config.Setting)
	for name, settings := range dnsupdate.Providers() {
		list := make([]config.Setting, 0, len(settings))
		for _, s := range settings {
			list = append(list, config.Setting(s))
		}
		all[name] = list
	}
	return all
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
		{"acme", old.ACME, next.ACME},
		{"net", old.Net, next.Net},
		{"prove", old.Prove, next.Prove},
		{"watch", old.Watch, next.Watch},
	} {
		if !reflect.DeepEqual(t.old, t.next) {
			changed = append(changed, t.name)
		}
	}
	return changed
}

// accounts are the DNS accounts of cfg as dnsupdate takes them.
func accounts(cfg *config.Config) map[string]dnsupdate.Account {
	all := make(map[string]dnsupdate.Account, len(cfg.DNS))
	for name, a := range cfg.DNS {
		all[name] = dnsupdate.Account{Provider: a.Provider, Settings: a.Settings}
	}
	return all
}

// wanted are the domains of cfg as the reconciler takes them.
func wanted(cfg *config.Config) []reconcile.Wanted {
	all := make([]reconcile.Wanted, 0, len(cfg.Domains))
	for _, d := range cfg.Domains {
		w := reconcile.Wanted{
			Domain: d.Name,
			MX:     d.MX,
			MaxAge: d.MaxAge,
			Mode:   d.Mode,
			Target: state.Target{Account: d.Account, Zone: d.Zone, Name: mtasts.RecordName(d.Name), TTL: cfg.Records.TTL},
		}
		if !d.Managed() {
			w.Source = d.ModeAt.String()
		}
		all = append(all, w)
	}
	return all
}
