package rollout

import (
	"cmp"
	"time"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
	"github.com/stshost/stshost/reconcile"
)

// noneMaxAge is for how long senders keep the policy that says none (RFC 8461
// §8.3 wants it small).
const noneMaxAge = reconcile.NoneMaxAge

// place is a stage with the max_age that goes with it.
type place struct {
	stage  state.Stage
	maxAge time.Duration // of enforce; 0: in full
}

var (
	inTesting = place{stage: state.StageTesting}
	inFull    = place{stage: state.StageEnforce}
)

func placeOf(r state.Rollout) place { return place{r.Stage, r.MaxAge} }

// policy is what a domain serves at p.
func (d *Domain) policy(p place) reconcile.Stage {
	switch p.stage {
	case state.StageTesting:
		return reconcile.Stage{Mode: mtasts.ModeTesting}
	case state.StageEnforce:
		if p.maxAge == 0 || p.maxAge > d.MaxAge {
			return reconcile.Stage{Mode: mtasts.ModeEnforce, MaxAge: d.MaxAge}
		}
		return reconcile.Stage{Mode: mtasts.ModeEnforce, MaxAge: p.maxAge}
	}
	return reconcile.Stage{Mode: mtasts.ModeNone, MaxAge: noneMaxAge}
}

// maxAge is the max_age of the policy at p.
func (d *Domain) maxAge(p place) time.Duration { return cmp.Or(d.policy(p).MaxAge, d.Wanted.MaxAge) }

// is reports whether served is the policy at p, whatever MX hosts it names.
func (d *Domain) is(served mtasts.Policy, p place) bool {
	return served.Mode == d.policy(p).Mode && served.MaxAge == d.maxAge(p)
}

// full reports whether p is the last place on the way to enforce.
func (d *Domain) full(p place) bool {
	return p.stage == state.StageEnforce && (p.maxAge == 0 || p.maxAge >= d.MaxAge)
}

// next is the place after p on the way to enforce; false: there is none. One that
// was adopted with a max_age of its own goes on with the next longer one.
func (d *Domain) next(p place) (place, bool) {
	switch {
	case p.stage != state.StageTesting && p.stage != state.StageEnforce:
		return inTesting, true
	case d.full(p):
		return place{}, false
	}
	for _, age := range d.Ramp {
		if p.stage == state.StageTesting || age > p.maxAge {
			return place{state.StageEnforce, age}, true
		}
	}
	return inFull, true
}

// stay is the least time at p.
func (d *Domain) stay(p place) time.Duration {
	if p.stage != state.StageEnforce {
		return d.Stay[0]
	}
	for i, age := range d.Ramp {
		if p.maxAge <= age {
			return d.Stay[i+1]
		}
	}
	return d.Stay[len(d.Stay)-1]
}

// found is where a domain is that was never taken anywhere, by what it serves: it
// began in testing, or with the policy that was published before. since is since
// when, by the ledger.
func (d *Domain) found(served mtasts.Policy, ledger []state.Body) (p place, since time.Time) {
	switch served.Mode {
	case mtasts.ModeTesting:
		p = inTesting
	case mtasts.ModeEnforce:
		p = place{state.StageEnforce, served.MaxAge}
		if served.MaxAge >= d.MaxAge {
			p = inFull
		}
	default:
		p = place{stage: state.StageRetiring}
	}
	var other time.Time // until when another mode was served
	for _, b := range ledger {
		if b.Mode != served.Mode && b.LastServed.After(other) {
			other = b.LastServed
		}
	}
	for _, b := range ledger {
		first := b.FirstServed
		switch {
		case b.Mode != served.Mode:
			continue
		case first.Before(other) && !b.LastServed.IsZero():
			continue
		case first.Before(other): // it is served once more, after the other mode
			first = other
		}
		if since.IsZero() || first.Before(since) {
			since = first
		}
	}
	return p, since
}

// name is a place as people say it.
func (d *Domain) name(p place) string {
	if p.stage != state.StageEnforce {
		return string(p.stage)
	}
	return "enforce with a max_age of " + span(d.policy(p).MaxAge)
}
