package rollout

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
)

// errKilled is what every call returns after the process was "killed": from then
// on it can change nothing.
var errKilled = errors.New("killed")

// modelWorld is the world around one process of stshost: a part that survives a
// kill (the store, DNS, the MX hosts, senders) and the part that dies with the
// process (what is served). Each call is one step at which it can be killed, and
// is held against the rules in modelrules_test.go.
type modelWorld struct {
	mu    sync.Mutex
	calls int // calls so far in this process
	kill  int // the process dies before this call; 0: never
	dead  bool

	moment time.Time // of the last look at the clock
	atOnce int       // looks at that moment
	halt   func()    // stops the process

	db     *database
	served map[string][]byte // gone with the process
	txt    map[string][]string
	pushes int
	orders int
	fates  map[string]*fate
	broken []string // broken rules

	// What can be wrong with the world.
	storeErr  error // the store refuses writes
	failOnce  bool  // it refuses the next one
	unsure    bool  // it reports failure for what it did
	pushErr   error
	manual    bool // the DNS provider is a person
	lies      bool // pushes are carried out and reported as failed
	silent    int  // so many of the two name servers do not answer
	recordErr error
	fetchErr  error
	elsewhere bool // policy hosts lead to somebody else, who serves nothing
	refuses   bool // the CA issues nothing
	closed    bool // port 25 cannot be reached from here
	resolver  error
	reportErr error
	slow      time.Duration // calls about the outside take this long
	strained  bool          // something of that, or a kill, may fail calls

	wake func(host string) // the process that lives
}

// database is what the store has. It is copied for a backup.
type database struct {
	rows     map[string]state.Domain
	ledger   map[string][]state.Body
	rollouts map[string]state.Rollout
	certs    map[string]time.Time
	jobs     map[string]int // orders that are wanted, by attempts
	events   []state.Event
	orders   map[string]fate // of the operator, at the time of a backup
}

func newDatabase() *database {
	return &database{rows: map[string]state.Domain{}, ledger: map[string][]state.Body{}, rollouts: map[string]state.Rollout{},
		certs: map[string]time.Time{}, jobs: map[string]int{}}
}

func (d *database) clone() *database {
	c := &database{rows: maps.Clone(d.rows), ledger: map[string][]state.Body{}, rollouts: maps.Clone(d.rollouts),
		certs: maps.Clone(d.certs), jobs: map[string]int{}, events: slices.Clone(d.events)}
	for name, bodies := range d.ledger {
		c.ledger[name] = slices.Clone(bodies)
	}
	return c
}

// asStored is r without anything in common with the row in memory.
func asStored(r state.Rollout) state.Rollout {
	r.Waivers, r.MX = slices.Clone(r.Waivers), slices.Clone(r.MX)
	if r.Evidence != nil {
		e := *r.Evidence
		r.Evidence = &e
	}
	if r.Back != nil {
		b := *r.Back
		r.Back = &b
	}
	return r
}

// step counts a call and says whether the process still lives. The caller holds
// w.mu.
func (w *modelWorld) step() error {
	w.calls++
	if w.calls == w.kill {
		w.lastFetches()
		w.dead = true
	}
	if w.dead {
		return errKilled
	}
	return nil
}

// now is the clock of the rollouts. Here it stands still while anybody is busy, so
// that who is busy without end has to be stopped.
func (w *modelWorld) now() time.Time {
	w.mu.Lock()
	defer w.mu.Unlock()
	now := time.Now()
	if !now.Equal(w.moment) {
		w.moment, w.atOnce = now, 0
	}
	if w.atOnce++; w.atOnce == 20_000 {
		w.fault("the process", "it is busy without end")
		w.halt()
	}
	return now
}

// write is step for a write of the store.
func (w *modelWorld) write() error {
	if err := w.step(); err != nil {
		return err
	}
	if w.failOnce {
		w.failOnce = false
		return errors.New("the store refuses a write")
	}
	return w.storeErr
}

// outcome is what the store says of a write that it did.
func (w *modelWorld) outcome() error {
	if w.unsure {
		return errors.New("the outcome of the commit is not known")
	}
	return nil
}

// outside begins a call about the world outside: it takes time.
func (w *modelWorld) outside(ctx context.Context) error {
	w.mu.Lock()
	err, wait := w.step(), w.slow
	w.mu.Unlock()
	if err != nil || wait == 0 {
		return err
	}
	select {
	case <-time.After(wait):
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// The journal of the reconciler.

func (w *modelWorld) Domains(context.Context) ([]state.Domain, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Collect(maps.Values(w.db.rows)), w.step()
}

func (w *modelWorld) SaveDomain(_ context.Context, d state.Domain) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.write(); err != nil {
		return err
	}
	w.db.rows[d.Name] = d
	return w.outcome()
}

func (w *modelWorld) RemoveDomain(_ context.Context, name string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.write(); err != nil {
		return err
	}
	delete(w.db.rows, name)
	return w.outcome()
}

func (w *modelWorld) ServeBody(_ context.Context, d state.Domain, b state.Body, at time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.write(); err != nil {
		return err
	}
	w.db.rows[d.Name] = d
	known := false
	entries := w.db.ledger[d.Name]
	for i, e := range entries {
		if e.SHA256 == b.SHA256 {
			entries[i].LastServed, known = time.Time{}, true
		} else if e.LastServed.IsZero() {
			entries[i].LastServed = at
		}
	}
	if !known {
		entries = append(entries, b)
	}
	w.db.ledger[d.Name] = entries
	return w.outcome()
}

func (w *modelWorld) AddBody(_ context.Context, b state.Body) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.write(); err != nil {
		return err
	}
	for i, e := range w.db.ledger[b.Domain] {
		if e.SHA256 == b.SHA256 {
			if !e.LastServed.IsZero() && b.LastServed.After(e.LastServed) {
				w.db.ledger[b.Domain][i].LastServed = b.LastServed
			}
			return w.outcome()
		}
	}
	w.db.ledger[b.Domain] = append(w.db.ledger[b.Domain], b)
	return w.outcome()
}

func (w *modelWorld) CloseBody(_ context.Context, domain string, at time.Time) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.write(); err != nil {
		return err
	}
	for i, e := range w.db.ledger[domain] {
		if e.LastServed.IsZero() {
			w.db.ledger[domain][i].LastServed = at
		}
	}
	return w.outcome()
}

func (w *modelWorld) Bodies(_ context.Context, domain string) ([]state.Body, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.db.ledger[domain]), w.step()
}

func (w *modelWorld) CurrentBodies(context.Context) ([]state.Body, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var open []state.Body
	for _, entries := range w.db.ledger {
		for _, e := range entries {
			if e.LastServed.IsZero() {
				open = append(open, e)
			}
		}
	}
	return open, w.step()
}

// The rollouts in the same store.

func (w *modelWorld) Rollouts(context.Context) ([]state.Rollout, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	var all []state.Rollout
	for _, r := range w.db.rollouts {
		all = append(all, asStored(r))
	}
	return all, w.step()
}

func (w *modelWorld) SaveRollout(_ context.Context, r state.Rollout, events ...state.Event) error {
	return w.saveRollout(r.Domain, &r, events)
}

func (w *modelWorld) RemoveRollout(_ context.Context, domain string, events ...state.Event) error {
	return w.saveRollout(domain, nil, events)
}

func (w *modelWorld) saveRollout(domain string, next *state.Rollout, events []state.Event) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.write(); err != nil {
		return err
	}
	var before *state.Rollout
	if r, ok := w.db.rollouts[domain]; ok {
		before = &r
	}
	f := w.fates[domain]
	shown, wasShown, unsure := f.shown, f.wasShown, f.unsure
	w.decided(domain, before, next, events)
	if next == nil {
		delete(w.db.rollouts, domain)
	} else {
		w.db.rollouts[domain] = asStored(*next)
	}
	w.db.events = append(w.db.events, events...)
	if err := w.outcome(); err != nil {
		if f.unsure = true; !unsure {
			f.knows, f.knowsShown, f.knowsWas = before, shown, wasShown
		}
		return err
	}
	if next == nil && before != nil && before.Stage == state.StageWithdrawing {
		f.out()
	}
	return nil
}

func (w *modelWorld) Release(_ context.Context, domain string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if err := w.write(); err != nil {
		return err
	}
	if f := w.fates[domain]; w.served[domain] != nil && !f.abandoned && f.holds(saysMore) {
		w.fault(domain, "its certificate is dropped while it is served")
	}
	delete(w.db.certs, mtasts.PolicyHost(domain))
	return w.outcome()
}

// DNS, with two name servers.

func (w *modelWorld) Push(ctx context.Context, t state.Target, txt string) error {
	return w.provider(ctx, t, func(domain string) {
		w.pushed(domain, txt)
		w.setRecords(domain, txt)
	})
}

func (w *modelWorld) Withdraw(ctx context.Context, t state.Target) error {
	return w.provider(ctx, t, func(domain string) {
		w.withdrawn(domain)
		w.setRecords(domain)
	})
}

// provider has the DNS provider change the records of a target.
func (w *modelWorld) provider(ctx context.Context, t state.Target, change func(domain string)) error {
	if err := w.outside(ctx); err != nil {
		return err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	switch {
	case w.dead:
		return errKilled
	case w.manual:
		return fmt.Errorf("print: %w", state.ErrManual)
	case w.pushErr != nil:
		return w.pushErr
	}
	change(strings.TrimPrefix(t.Name, mtasts.RecordName("")))
	w.pushes++
	if w.lies {
		return errors.New("the connection to the provider broke")
	}
	return nil
}

// setRecords makes these the MTA-STS records of a domain. The caller holds w.mu.
func (w *modelWorld) setRecords(domain string, records ...string) {
	name := mtasts.RecordName(domain)
	w.txt[name] = append(slices.DeleteFunc(slices.Clone(w.txt[name]), mtasts.IsRecord), records...)
	w.noteShown(domain)
}

func (w *modelWorld) Observe(ctx context.Context, t state.Target) ([]state.ServerTXT, error) {
	if err := w.outside(ctx); err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	views := []state.ServerTXT{{Server: "ns1", TXT: slices.Clone(w.txt[t.Name])}, {Server: "ns2", TXT: slices.Clone(w.txt[t.Name])}}
	for i := range w.silent {
		views[i] = state.ServerTXT{Server: views[i].Server, Err: errors.New("timeout")}
	}
	return views, nil
}

// The view from outside.

func (w *modelWorld) Record(ctx context.Context, domain string) ([]string, error) {
	if err := w.outside(ctx); err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.txt[mtasts.RecordName(domain)]), w.recordErr
}

func (w *modelWorld) FetchPolicy(ctx context.Context, domain string) ([]state.Fetch, error) {
	if err := w.outside(ctx); err != nil {
		return nil, err
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	f := state.Fetch{Family: "IPv4", Address: "192.0.2.1:443", Err: w.fetchErr}
	switch {
	case f.Err != nil:
	case w.elsewhere || w.served[domain] == nil:
		f.Err = errors.New("answered 404")
	case !time.Now().Before(w.db.certs[mtasts.PolicyHost(domain)]):
		f.Err = errors.New("no certificate")
	default:
		f.Body = w.served[domain]
	}
	return []state.Fetch{f}, nil
}

func (w *modelWorld) FetchBack(ctx context.Context, domain string) ([]state.Fetch, error) {
	return w.FetchPolicy(ctx, domain)
}

func (w *modelWorld) Reach(context.Context, string, string, string) ([]state.Fetch, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f := state.Fetch{Family: "IPv4", Address: "192.0.2.1:80"}
	if w.elsewhere {
		f.Err = errors.New("it is another server")
	}
	return []state.Fetch{f}, w.step()
}

func (w *modelWorld) Open(context.Context, string) ([]state.Fetch, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	return []state.Fetch{{Family: "IPv4", Address: "192.0.2.1:443"}}, w.step()
}
