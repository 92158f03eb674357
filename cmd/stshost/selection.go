package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
)

// selection is which domains a command is for.
type selection struct {
	all     bool
	profile string
	named   []string // on the command line; nil: all of a profile, or of the config
}

// flags gives a command the flags of a selection.
func (s *selection) flags(cmd *cobra.Command) {
	cmd.Flags().BoolVar(&s.all, "all", false, "all managed domains")
	cmd.Flags().StringVar(&s.profile, "profile", "", "the managed domains of this `profile`")
}

// complete takes the arguments of a command, and says what is wrong with them and
// the flags.
func (s *selection) complete(cmd *cobra.Command, args []string) error {
	named, profile := len(args) > 0, cmd.Flags().Changed("profile")
	switch {
	case s.all && profile, named && (s.all || profile):
		return usageError{errors.New("name domains, or use --all or --profile; not two of them")}
	case !named && !s.all && s.profile == "":
		return usageError{fmt.Errorf("%s needs DOMAIN, --all or --profile NAME", cmd.CommandPath())}
	}
	var list domainList
	for _, arg := range args {
		list.add("", arg)
	}
	if len(list.faults) > 0 {
		return usageError{errors.Join(list.faults...)}
	}
	s.named = list.names
	return nil
}

// of are the domains that are selected of those that the server has.
func (s *selection) of(ctx context.Context, c interface {
	Rollouts(ctx context.Context) ([]state.RolloutStatus, error)
}) ([]state.RolloutStatus, error) {
	all, err := c.Rollouts(ctx)
	switch {
	case err != nil:
		return nil, err
	case s.named != nil:
		return ofNames(all, s.named), nil
	}
	return s.chosen(all)
}

// chosen are the domains that --all or --profile means: those of the config.
func (s *selection) chosen(all []state.RolloutStatus) ([]state.RolloutStatus, error) {
	var profiles []string
	all = slices.DeleteFunc(all, func(d state.RolloutStatus) bool {
		if d.Profile != "" && !slices.Contains(profiles, d.Profile) {
			profiles = append(profiles, d.Profile)
		}
		return d.Left || !s.all && d.Profile != s.profile
	})
	switch {
	case len(all) > 0:
		return all, nil
	case s.all:
		return nil, errors.New("the server has no domain; add a [[domain]] to the config and reload")
	case len(profiles) == 0:
		return nil, fmt.Errorf("no domain has the profile %q, or any", s.profile)
	}
	slices.Sort(profiles)
	return nil, fmt.Errorf("no domain has the profile %q; the profiles are %s", s.profile, strings.Join(profiles, ", "))
}

// ofNames are the domains of these names. Of one that is not among all only the
// name is known, and the server says what is wrong with it.
func ofNames(all []state.RolloutStatus, names []string) []state.RolloutStatus {
	known := make(map[string]state.RolloutStatus, len(all))
	for _, s := range all {
		known[s.Domain] = s
	}
	var chosen []state.RolloutStatus
	taken := map[string]bool{}
	for _, name := range slices.Sorted(slices.Values(names)) {
		s, ok := known[name]
		if domain, host := mtasts.PolicyDomain(name); !ok && host {
			s, ok = known[domain] // as with askDomain
		}
		if !ok {
			s = state.RolloutStatus{Domain: name}
		}
		if !taken[s.Domain] {
			taken[s.Domain] = true
			chosen = append(chosen, s)
		}
	}
	return chosen
}
