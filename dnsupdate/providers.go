package dnsupdate

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Setting is one setting that a provider takes in its [dns.*] table.
type Setting struct {
	Key      string
	Required bool
	Secret   bool   // may be given as KEY_file; never shown
	Doc      string // one sentence for the operator
}

// providerType is an entry of the registry.
type providerType struct {
	settings []Setting
	open     func(settings map[string]string, env environment) (client, error)
}

// providers is the registry: every provider by the name it has in the config.
func providers() map[string]providerType {
	return map[string]providerType{
		"cloudflare": {cloudflareSettings(), openCloudflare},
		"desec":      {desecSettings(), openDeSEC},
		"hetzner":    {hetznerSettings(), openHetzner},
		"ionos":      {ionosSettings(), openIONOS},
		"netcup":     {netcupSettings(), openNetcup},
		"ovh":        {ovhSettings(), openOVH},
		"powerdns":   {powerdnsSettings(), openPowerDNS},
		"print":      {nil, openPrint},
		"rfc2136":    {rfc2136Settings(), openRFC2136},
		"route53":    {route53Settings(), openRoute53},
	}
}

// Providers returns the settings of every known provider.
func Providers() map[string][]Setting {
	all := make(map[string][]Setting)
	for name, p := range providers() {
		all[name] = p.settings
	}
	return all
}

func knownProviders() string {
	return strings.Join(slices.Sorted(maps.Keys(providers())), ", ")
}

// check reports settings that are missing or unknown.
func (p providerType) check(settings map[string]string) error {
	var errs []error
	known := make(map[string]bool)
	for _, s := range p.settings {
		known[s.Key] = true
		if s.Required && strings.TrimSpace(settings[s.Key]) == "" {
			errs = append(errs, fmt.Errorf("%s is missing: %s", s.Key, s.Doc))
		}
	}
	for _, key := range slices.Sorted(maps.Keys(settings)) {
		if !known[key] {
			errs = append(errs, fmt.Errorf("setting %s is not known to this provider", key))
		}
	}
	return errors.Join(errs...)
}
