package main

import (
	"github.com/stshost/stshost/acme"
	"github.com/stshost/stshost/config"
	"github.com/stshost/stshost/dnsupdate"
	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
	"github.com/stshost/stshost/notify"
	"github.com/stshost/stshost/reconcile"
)

// loadConfig reads the config with the DNS providers that this binary has, and
// has each provider look at its settings.
func loadConfig(path string) (*config.Config, error) {
	return config.Load(path, configOptions())
}

// loadConfigToStart is loadConfig for a server that starts: what can wait keeps
// it from nothing.
func loadConfigToStart(path string) (*config.Config, error) {
	opts := configOptions()
	opts.Starting = true
	return config.Load(path, opts)
}

func configOptions() config.Options {
	return config.Options{
		Providers: providers(),
		Refused:   dnsupdate.RefusedProviders(),
		CheckAccount: func(provider string, settings map[string]string) error {
			return dnsupdate.Check(dnsupdate.Account{Provider: provider, Settings: settings})
		},
		CheckCertificate: acme.CheckOwn,
		CheckNotify:      notify.Check,
	}
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

// accounts are the DNS accounts of cfg as dnsupdate takes them.
func accounts(cfg *config.Config) map[string]dnsupdate.Account {
	all := make(map[string]dnsupdate.Account, len(cfg.DNS))
	for name, a := range cfg.DNS {
		all[name] = dnsupdate.Account{Provider: a.Provider, Settings: a.Settings}
	}
	return all
}

// wantedOf is a domain of cfg as the reconciler takes it.
func wantedOf(cfg *config.Config, d config.Domain) reconcile.Wanted {
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
	return w
}
