package main

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/stshost/stshost/check"
	"github.com/stshost/stshost/config"
	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
	"github.com/stshost/stshost/reconcile"
	"github.com/stshost/stshost/rollout"
	"github.com/stshost/stshost/server"
)

// wireRollouts makes the part that takes domains along their stages.
func (s *service) wireRollouts(ctx context.Context, cfg *config.Config, now func() time.Time) error {
	eyes, err := looking(cfg.Net)
	if err != nil {
		return err
	}
	eyes.ReuseFor = time.Minute // a step rests on what is so now, for however many domains
	world := check.New(eyes)
	forgetOthers := s.forgetBadLooks
	s.forgetBadLooks = func() { forgetOthers(); world.ForgetLooks() }
	s.rollouts, err = rollout.New(ctx, rollout.Config{
		Store: toldRollouts{s}, Reconciler: s.reconciler, Prober: world,
		Served: s.servedPolicy, Place: s.placeOfLeft, Now: now, Logger: s.log,
	})
	return err
}

// adopted is told by the reconciler of a policy that it took over.
func (s *service) adopted(ctx context.Context, domain string, p mtasts.Policy) error {
	return s.rollouts.Adopted(ctx, domain, p)
}

// placeOfLeft is where the record of a domain is that the config has not named since
// the start.
func (s *service) placeOfLeft(domain string) (state.Target, error) {
	cfg := s.config()
	account := config.PrintAccount
	for name := range cfg.DNS {
		switch {
		case name == config.PrintAccount:
		case account != config.PrintAccount:
			return state.Target{}, fmt.Errorf("%s left the config while no server ran, and there are several DNS accounts: put its [[domain]] back, reload, and retire it then", domain)
		default:
			account = name
		}
	}
	return state.Target{Account: account, Name: mtasts.RecordName(domain), TTL: cfg.Records.TTL}, nil
}

// toldRollouts keeps rollouts in the store, each change together with the events
// that tell of it.
type toldRollouts struct{ s *service }

var _ rollout.Store = toldRollouts{}

func (t toldRollouts) Rollouts(ctx context.Context) ([]state.Rollout, error) {
	return t.s.store.Rollouts(ctx)
}

func (t toldRollouts) Bodies(ctx context.Context, domain string) ([]state.Body, error) {
	return t.s.store.Bodies(ctx, domain)
}

func (t toldRollouts) SaveRollout(ctx context.Context, r state.Rollout, events ...state.Event) error {
	return t.told(events, func() ([]int64, error) { return t.s.store.SaveRollout(ctx, r, events...) })
}

func (t toldRollouts) RemoveRollout(ctx context.Context, domain string, events ...state.Event) error {
	return t.told(events, func() ([]int64, error) { return t.s.store.RemoveRollout(ctx, domain, events...) })
}

// told has save store events, and tells those who wait for them.
func (t toldRollouts) told(events []state.Event, save func() ([]int64, error)) error {
	for i := range events {
		events[i] = t.s.events.Prepare(events[i])
	}
	if len(events) > 0 {
		if err := t.s.events.Flush(); err != nil { // what led to them comes before them
			return err
		}
	}
	ids, err := save()
	if err != nil {
		return err
	}
	for i := range ids {
		events[i].ID = ids[i]
	}
	t.s.events.Stored(events...)
	return nil
}

// Release drops the certificate of a domain that nobody serves any more, unless the
// host is one of extra_hosts.
func (t toldRollouts) Release(ctx context.Context, domain string) error {
	host := mtasts.PolicyHost(domain)
	if slices.Contains(t.s.config().ACME.ExtraHosts, host) {
		return nil
	}
	t.s.certs.Forget(host)
	return t.s.store.RemoveCertificate(ctx, host)
}

// rolloutDomains are the domains of cfg as rollouts take them.
func rolloutDomains(cfg *config.Config) []rollout.Domain {
	all := make([]rollout.Domain, 0, len(cfg.Domains))
	ages := make(map[string][]time.Duration) // one for the many that have the same
	for _, d := range cfg.Domains {
		r := d.Rollout
		key := fmt.Sprint(r.MaxAge, r.Ramp)
		if ages[key] == nil {
			ages[key] = append(slices.Clone(r.Ramp), r.MaxAge)
		}
		next := rollout.Domain{
			Wanted: wantedOf(cfg, d), Profile: d.Profile,
			MaxAge: r.MaxAge, Ramp: r.Ramp, Stay: r.Stay, Reporters: r.Reporters, Migrate: r.Migrate,
		}
		next.Wanted.MaxAges = ages[key]
		all = append(all, next)
	}
	return all
}

// retired are those of cfg that have left MTA-STS: the reconciler knows nothing of
// them any more.
func (f facts) retired() (all []server.DomainStatus) {
	for _, d := range f.cfg.Domains {
		if r, ok := f.rollout(d.Name); ok && r.Stage == state.StageRetired {
			all = append(all, server.DomainStatus{
				Domain: d.Name, Host: mtasts.PolicyHost(d.Name), ModeSource: "managed", Step: state.Withdrawn, Stage: string(r.Stage), InConfig: true,
				Since: r.Entered, Hint: r.Awaits, RolloutRemedy: r.Remedy, DNSAccount: d.Account, DNSProvider: f.cfg.DNS[d.Account].Provider,
			})
		}
	}
	return all
}

// longInTesting is after how long in testing a domain is worth a hint: people forget
// that testing protects nobody.
const longInTesting = 14 * 24 * time.Hour

// showRollout puts into d how far it has been taken.
func (f facts) showRollout(d *server.DomainStatus, s reconcile.Snapshot) {
	r, taken := f.rollout(d.Domain)
	if len(r.Kept) > 0 {
		d.Hint = fmt.Sprintf("the policy goes on naming %s until %s at least, which the config does not: senders may hold an older policy, or older MX records", strings.Join(r.Kept, ", "), stamp(r.Until))
	}
	if s.Wanted.Mode != "" {
		return // pinned
	}
	switch {
	case taken:
		d.Stage, d.Goal, d.RolloutNext = string(r.Stage), string(r.Goal), r.Next
		switch {
		case r.Refused, r.Paused:
			d.RolloutNews, d.RolloutRemedy = r.Awaits, r.Remedy
		case r.Goal == state.GoalRetire:
			d.Hint = r.Awaits
		}
	}
	if d.Stage == "" && s.State.BodySHA256 != "" && s.State.Mode != mtasts.ModeNone {
		d.Stage = string(s.State.Mode)
	}
	quiet := d.Stage == string(state.StageTesting) && d.Goal == "" && s.State.Step == state.Confirmed && !s.Orphan
	if quiet && f.now().Sub(s.State.Since) > longInTesting {
		d.Hint = "in testing since " + day(s.State.Since) + ": senders still deliver whatever they find"
		d.RolloutRemedy = "`stshost rollout " + d.Domain + "` takes it to enforce, or says what is missing"
	}
}
