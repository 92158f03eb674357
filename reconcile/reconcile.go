// Package reconcile takes each policy domain along the one safe way and keeps
// it there: certificate, policy served, policy fetched back as a sender would,
// record announced, record seen on every authoritative server. The order is
// RFC 8461 §8.1's: an id never shows in DNS before the body it stands for is
// served.
//
// Each step is written to the journal before the world can see it, so that a
// process killed anywhere goes on where it was: no second id for one body, no
// id ahead of its body, no second order at the CA.
package reconcile

import (
	"cmp"
	"context"
	"log/slog"
	"math/rand/v2"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
)

// Journal is the durable memory of the reconciler. When a method has returned
// nil its facts survive a crash of the process and of the machine. Methods
// are safe for concurrent use; no two calls for one domain overlap.
type Journal interface {
	// Domains returns the journal of every domain ever worked on and not removed.
	Domains(ctx context.Context) ([]state.Domain, error)
	SaveDomain(ctx context.Context, d state.Domain) error
	RemoveDomain(ctx context.Context, name string) error
	// ServeBody enters b in the ledger as served from at on, closes any other
	// open body of the domain at that time, and saves d, all or nothing.
	ServeBody(ctx context.Context, d state.Domain, b state.Body, at time.Time) error
	// AddBody enters a body that was served by someone else until now.
	AddBody(ctx context.Context, b state.Body) error
	// CloseBody notes that the domain's open body, if it has one, is served no
	// longer.
	CloseBody(ctx context.Context, domain string, at time.Time) error
	// Bodies returns a domain's ledger.
	Bodies(ctx context.Context, domain string) ([]state.Body, error)
	// CurrentBodies returns the bodies that were being served when the
	// journal was last written.
	CurrentBodies(ctx context.Context) ([]state.Body, error)
}

// Certificates gets and renews certificates for policy hosts.
type Certificates interface {
	// SetHosts replaces the set of hosts that may have certificates at all.
	SetHosts(hosts map[string]struct{})
	// Request makes sure that an order for host is under way if it has no
	// valid certificate; challenge is the type to try first.
	Request(ctx context.Context, host, challenge string) error
	// Status tells where host stands. It asks the store, not the CA.
	Status(ctx context.Context, host string) (state.CertStatus, error)
	// Drop forgets whatever waits for host.
	Drop(ctx context.Context, host string) error
}

// Publisher serves policy bodies. A body is served to every new request once
// Set has returned.
type Publisher interface {
	Set(domain string, body []byte)
	SetAll(bodies map[string][]byte)
	Remove(domain string)
}

// World is the view from outside; package check is the real one.
type World interface {
	// Record returns the TXT records at _mta-sts.<domain>; none is no error.
	Record(ctx context.Context, domain string) ([]string, error)
	// FetchPolicy fetches the policy over each address as a sender does.
	FetchPolicy(ctx context.Context, domain string) ([]state.Fetch, error)
	// FetchBack is FetchPolicy by way of [prove] via, where that is set: it
	// tells what this installation serves, not who else is out there.
	FetchBack(ctx context.Context, domain string) ([]state.Fetch, error)
	// Reach asks each address of host for path over port 80 and compares the
	// answer with token.
	Reach(ctx context.Context, host, path, token string) ([]state.Fetch, error)
	// Open connects to the HTTPS port of each address of host.
	Open(ctx context.Context, host string) ([]state.Fetch, error)
}

// DNS changes and observes the announcement.
type DNS interface {
	// Push makes txt the only MTA-STS record at the target and leaves every
	// other record alone. It wraps state.ErrManual where only a person can.
	Push(ctx context.Context, t state.Target, txt string) error
	// Withdraw removes every MTA-STS record at the target, and leaves every other
	// record alone. It wraps state.ErrManual where only a person can.
	Withdraw(ctx context.Context, t state.Target) error
	// Observe asks every authoritative server of the target's zone.
	Observe(ctx context.Context, t state.Target) ([]state.ServerTXT, error)
}

// Wanted is a policy domain as the operator wants it.
type Wanted struct {
	Domain string
	MX     []string
	MaxAge time.Duration
	Mode   mtasts.Mode // "": a managed domain
	Source string      // where the mode is pinned, e.g. "config.toml:12"
	Target state.Target

	// Stage is what a managed domain has been taken to. One without a mode leaves
	// mode and max_age to the journal.
	Stage Stage
	// MaxAges are those that the domain may have been announced with besides MaxAge
	// and Stage.MaxAge. They are not changed.
	MaxAges []time.Duration
	// Withdraw has the record taken out of the DNS; what is served stays.
	Withdraw bool
	// Left says that the config names the domain no longer.
	Left bool
}

// Stage is the mode and the max_age that a managed domain has been taken to.
type Stage struct {
	Mode   mtasts.Mode
	MaxAge time.Duration // 0: Wanted.MaxAge
}

func (w Wanted) equal(o Wanted) bool {
	return w.Domain == o.Domain && slices.Equal(w.MX, o.MX) && w.MaxAge == o.MaxAge && w.Mode == o.Mode && w.Target == o.Target &&
		w.Stage == o.Stage && w.Withdraw == o.Withdraw
}

// Config wires a Reconciler to the rest.
type Config struct {
	Journal      Journal
	Certificates Certificates
	Publisher    Publisher
	World        World
	DNS          DNS

	// Probe returns the path and the token by which host is recognised as
	// leading to this installation. Each call gives a fresh pair.
	Probe func(host string) (path, token string)
	// HTTP says that there is a port-80 listener to answer Probe.
	HTTP bool
	// Hairpin says that fetches go by way of [prove] via, because this
	// machine cannot reach its own public address.
	Hairpin bool

	// Adopted takes note that a domain with a Stage was found published with a
	// later policy than the journal knows, which the run under way takes over. It
	// calls Set, so that the stage is that policy's from then on. nil: nobody sets
	// stages.
	Adopted func(ctx context.Context, domain string, p mtasts.Policy) error

	// Event takes what happened. It is called with the locks of the Reconciler
	// held: it returns at once and does not call back. nil discards.
	Event func(state.Event)

	Interval time.Duration // between two looks at a domain that is confirmed; 0: 1 h
	Workers  int           // domains worked on at a time; 0: 8
	Now      func() time.Time
	Logger   *slog.Logger
}

// Reconciler works on domains until its context ends.
type Reconciler struct {
	cfg    Config
	log    *slog.Logger
	random func(n int64) int64 // from 0 to n-1

	repairs atomic.Uint64

	mu      sync.Mutex
	domains map[string]*domain
	listed  bool             // SetDomains was called before
	lanes   map[string]*lane // the queue, by DNS account
	looked  time.Time        // when the queue was last looked at
	kick    chan struct{}    // the queue may have another head

	extra     map[string]*extraHost // hosts beside the policy hosts
	kickExtra chan struct{}         // one of them may be due
}

// domain is a policy domain in memory. Its fields are guarded by
// Reconciler.mu, but for row, which the worker that runs the domain owns and
// gives back under the lock.
type domain struct {
	name    string
	wanted  Wanted
	orphan  bool // no longer in the config, still served
	row     state.Domain
	due     time.Time
	soon    bool      // due by now, and goes before what only has its time
	lane    *lane     // the queue that it is in, or was when a worker got it
	index   int       // place in the queue; -1 when not queued
	running bool      // a worker has it
	change  int       // counts what the config has wanted of it
	waits   time.Time // since when the latest of that waits to be taken up; zero if it does not
	// compared says that the journal has been held against DNS in this life, or
	// that the id was made in it. It belongs to the worker, as row does.
	compared bool
	// unsure says that the journal may have taken another body although it reported
	// failure. It belongs to the worker.
	unsure bool
	place  string             // where the record stood when it was last seen; "" if not in this life
	moved  bool               // that is another place than before, and no push came after it
	asOf   time.Time          // until then the journal knew of every announcement; zero: not looked at yet
	again  bool               // woken while running
	drop   bool               // it is to be forgotten, whatever senders hold
	cancel context.CancelFunc // ends the run under way
	// unwritten is the row with the last outcome that the journal has, while it
	// did not take those since: nil if it has the last. It belongs to the worker.
	unwritten *state.Domain
}

// New returns a Reconciler with what the journal knows: bodies that were
// served before are served again from now on, before any look at the world.
func New(ctx context.Context, cfg Config) (*Reconciler, error) {
	if cfg.Interval <= 0 {
		cfg.Interval = time.Hour
	}
	if cfg.Workers <= 0 {
		cfg.Workers = 8
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Adopted == nil {
		cfg.Adopted = func(context.Context, string, mtasts.Policy) error { return nil }
	}
	if cfg.Event == nil {
		cfg.Event = func(state.Event) {}
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	r := &Reconciler{
		cfg:     cfg,
		log:     cfg.Logger,
		random:  rand.Int64N,
		domains: make(map[string]*domain),
		lanes:   make(map[string]*lane),
		kick:    make(chan struct{}, 1),

		extra:     make(map[string]*extraHost),
		kickExtra: make(chan struct{}, 1),
	}
	rows, err := cfg.Journal.Domains(ctx)
	if err != nil {
		return nil, err
	}
	current, err := cfg.Journal.CurrentBodies(ctx)
	if err != nil {
		return nil, err
	}
	bodies := make(map[string][]byte, len(current))
	ledger := make(map[string]state.Body, len(current))
	for _, b := range current {
		bodies[b.Domain], ledger[b.Domain] = b.Body, b
	}
	if err := r.closeForgotten(ctx, rows, bodies); err != nil {
		return nil, err
	}
	for _, row := range rows {
		if b, ok := ledger[row.Name]; ok && b.SHA256 != row.BodySHA256 {
			// A change of the body was written although the store said that
			// it was not. What is served is what the ledger says, and the
			// row's id is not for it.
			row.BodySHA256, row.ID, row.FormerID, row.Mode = b.SHA256, "", cmp.Or(row.ID, row.FormerID), b.Mode
			row.Step, row.Since = state.Serving, cfg.Now()
		}
		if row.BodySHA256 == "" {
			continue // nothing served yet; it counts again when the config names it
		}
		r.domains[row.Name] = &domain{name: row.Name, row: row, orphan: true, index: -1}
	}
	cfg.Publisher.SetAll(bodies)
	return r, nil
}
