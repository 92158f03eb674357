// Package rollout decides what mode and max_age a managed domain has now, and why.
//
// It takes a domain from testing to enforce by stages: enforce with a max_age of a
// day, of a week, and in full, so that a mistake costs a day and not a month. Before
// each stage stand gates, and none is passed but on evidence that is minutes old.
// It takes a domain back to testing, and out of MTA-STS in the order of RFC 8461
// §8.3. What senders may still hold is computed from the ledger of all bodies that
// were served, and nothing that one of them needs is dropped before: an MX name that
// the config drops too early stays in the policy, of a pinned domain, too.
//
// Each change is in the store, together with the event that tells of it, before
// anybody acts on it: a crash costs time and nothing else.
package rollout

import (
	"context"
	"errors"
	"log/slog"
	"sync"
	"time"

	"github.com/stshost/stshost/internal/dispatch"
	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
	"github.com/stshost/stshost/reconcile"
)

// Store keeps rollouts, and has the ledger. When a method has returned nil its
// facts survive a crash. No two changes of one domain overlap.
type Store interface {
	Rollouts(ctx context.Context) ([]state.Rollout, error)
	// SaveRollout writes r and tells the events, both or neither.
	SaveRollout(ctx context.Context, r state.Rollout, events ...state.Event) error
	// RemoveRollout is SaveRollout for a domain that has none any more.
	RemoveRollout(ctx context.Context, domain string, events ...state.Event) error
	// Bodies returns a domain's ledger.
	Bodies(ctx context.Context, domain string) ([]state.Body, error)
	// Release drops the certificate of a domain's policy host. It may be called
	// again.
	Release(ctx context.Context, domain string) error
}

// Reconciler brings about what is decided here; package reconcile is the real one.
type Reconciler interface {
	SetDomains(ctx context.Context, wanted []reconcile.Wanted) (reconcile.Changes, error)
	Add(ctx context.Context, w reconcile.Wanted) error
	Set(w reconcile.Wanted)
	Leave(ctx context.Context, domain string, drop bool) error
	Snapshot(domain string) (reconcile.Snapshot, bool)
}

// Prober looks at MX hosts; package check is the real one.
type Prober interface {
	// CheckMX judges every address of every MX host of the domain by a policy with
	// these patterns and this mode. The error says that nothing could be said.
	CheckMX(ctx context.Context, domain string, patterns []string, mode mtasts.Mode) (state.MXCheck, error)
}

// Reports tells what senders reported of a domain since a time (RFC 8460). It
// returns nil where there is no report.
type Reports func(ctx context.Context, domain string, since time.Time) (*state.ReportSums, error)

// Config is what a Manager is made of. Store, Reconciler, Prober and Served are
// required.
type Config struct {
	Store      Store
	Reconciler Reconciler
	Prober     Prober
	Reports    Reports // nil: there are no reports

	// Served returns the policy that a domain serves now; false: it serves none.
	Served func(domain string) (mtasts.Policy, bool)
	// Place returns where the record of a domain is that the config does not name:
	// one that left before this start. The error says what to do.
	Place func(domain string) (state.Target, error)

	Workers int // domains looked at at a time; 0: 8
	Now     func() time.Time
	Logger  *slog.Logger
}

// Domain is a policy domain as the config has it.
type Domain struct {
	Wanted  reconcile.Wanted // without Stage, Withdraw and Left
	Profile string

	MaxAge    time.Duration   // of enforce in full
	Ramp      []time.Duration // max_age of enforce on the way, ascending, each below MaxAge
	Stay      []time.Duration // least time in testing, then in each stage of Ramp
	Reporters int             // organizations that must have reported success where any report
	Migrate   bool            // MX hosts that DNSSEC vouches for are accepted without being asked
}

func (d *Domain) pinned() bool { return d.Wanted.Mode != "" }

// Manager takes domains along their stages until its context ends. Its methods may
// be called from any goroutine.
type Manager struct {
	cfg Config
	log *slog.Logger

	looks chan struct{} // holds one for each look at gates that is under way

	change sync.Mutex // held while something is decided; taken before mu

	mu      sync.Mutex
	domains map[string]*domain
	queue   dispatch.Queue[*domain]
	kick    chan struct{}
}

// domain is a policy domain. Its fields are guarded by Manager.mu; conf and row are
// replaced and never changed.
type domain struct {
	name string
	conf *Domain        // nil: the config does not name it
	row  *state.Rollout // nil: it was never taken anywhere
	seen look           // the last look at the gates
	kept kept           // names that the policy keeps for those who hold an older one
	// drift are the MX hosts by the DNS, some of which the policy does not name and
	// is to: DNSSEC vouches for them. Empty: there is nothing to be done.
	drift []string
	// unsure says that a write failed, so that the store may have another row.
	unsure bool

	due     time.Time
	index   int // place in the queue; -1 when not queued
	running bool
	again   bool // woken while running
}

// look is what a look at the gates found.
type look struct {
	at    time.Time // zero: there was none
	gates []state.Gate
}

// New returns a Manager that knows what the store has.
func New(ctx context.Context, cfg Config) (*Manager, error) {
	if cfg.Store == nil || cfg.Reconciler == nil || cfg.Prober == nil || cfg.Served == nil {
		return nil, errors.New("rollout: Config needs Store, Reconciler, Prober and Served")
	}
	if cfg.Workers <= 0 {
		cfg.Workers = 8
	}
	if cfg.Reports == nil {
		cfg.Reports = func(context.Context, string, time.Time) (*state.ReportSums, error) { return nil, nil }
	}
	if cfg.Place == nil {
		cfg.Place = func(string) (state.Target, error) {
			return state.Target{}, errors.New("it is not known where its record is")
		}
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	m := &Manager{
		cfg: cfg, log: cfg.Logger, domains: make(map[string]*domain),
		looks: make(chan struct{}, cfg.Workers), kick: make(chan struct{}, 1),
	}
	rows, err := cfg.Store.Rollouts(ctx)
	if err != nil {
		return nil, err
	}
	now := cfg.Now()
	for _, row := range rows {
		// The clock was wrong; what is counted from then is counted from now.
		row.Entered, row.Confirmed = notAfter(row.Entered, now), notAfter(row.Confirmed, now)
		m.domains[row.Domain] = &domain{name: row.Domain, row: &row, index: -1}
	}
	return m, nil
}

// notAfter is t, or now if that is earlier.
func notAfter(t, now time.Time) time.Time {
	if t.After(now) {
		return now
	}
	return t
}
