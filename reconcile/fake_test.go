package reconcile

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
)

// errKilled is what every call returns after the process was "killed": from
// then on it can change nothing.
var errKilled = errors.New("killed")

// lab is a small world for one reconciler: a durable part that survives a
// kill (journal, DNS, certificates) and the part that dies with the process
// (what is served). Each call of the reconciler is one step at which it can be
// killed.
type lab struct {
	mu    sync.Mutex
	calls int // calls so far in this process
	kill  int // the process dies before this call; 0: never
	dead  bool

	rows   map[string]state.Domain
	ledger map[string][]state.Body

	served  map[string][]byte // what the listener serves; gone with the process
	certs   map[string]time.Time
	orders  map[string]int
	problem string // the CA refuses with this

	txt      map[string][]string // by owner name, on every name server
	pushes   []push
	removals []string // names whose record was withdrawn
	manual   bool
	own      string // file of the own certificate of every host; "" for none
	proxy    bool   // TLS ends at a proxy, which has the certificates

	elsewhere  map[string]string // policies of another host, by domain, seen while we serve none or the host leads there
	leads      bool              // policy hosts lead here
	recordErr  error
	pushErr    error
	fetchErr   error
	journal    error // the store refuses writes
	doubt      error // the store takes a body and reports this
	unreadable error // the store refuses reads
	onOrder    func(host string)
	lookups    int            // fetches of a policy so far
	failures   map[string]int // failed orders in a row, by host
	ahead      time.Duration  // of the wall clock, as the process sees it
	hairpin    bool           // [prove] via: FetchBack sees what we serve wherever the host leads
	silent     error          // the name servers do not answer
	slow       time.Duration  // a fetch of the policy takes this long
	fetching   map[string]int // fetches under way, by domain
	faults     []string       // broken invariants
	events     []state.Event  // told so far, by any process

	hosts   map[string]struct{} // those that may have certificates
	dropped []string            // hosts whose orders were given up

	// sees makes of what there is what the name servers show; nil: just that.
	sees func(views []state.ServerTXT) ([]state.ServerTXT, error)

	lives     *Reconciler     // the last that was started
	adopted   []mtasts.Policy // later policies that were told of
	onAdopted func(r *Reconciler, p mtasts.Policy) error
}

// push is one change of the announcement, with what was served at that moment.
type push struct {
	name, txt string
	body      string
}

// deafAccount is the DNS account of a provider that never answers.
const deafAccount = "deaf"

func newLab() *lab {
	return &lab{
		rows: map[string]state.Domain{}, ledger: map[string][]state.Body{},
		served: map[string][]byte{}, certs: map[string]time.Time{}, orders: map[string]int{},
		txt: map[string][]string{}, fetching: map[string]int{}, elsewhere: map[string]string{}, failures: map[string]int{}, leads: true,
	}
}

// step counts a call and says whether the process still lives. The caller
// holds l.mu.
func (l *lab) step() error {
	l.calls++
	if l.calls == l.kill {
		l.dead = true
	}
	if l.dead {
		return errKilled
	}
	return nil
}

func (l *lab) write() error {
	if err := l.step(); err != nil {
		return err
	}
	return l.journal
}

func (l *lab) Domains(context.Context) ([]state.Domain, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Collect(maps.Values(l.rows)), l.unreadable
}

func (l *lab) SaveDomain(_ context.Context, d state.Domain) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.write(); err != nil {
		return err
	}
	l.rows[d.Name] = d
	return nil
}

func (l *lab) RemoveDomain(_ context.Context, name string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.write(); err != nil {
		return err
	}
	delete(l.rows, name)
	return nil
}

func (l *lab) ServeBody(_ context.Context, d state.Domain, b state.Body, at time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.write(); err != nil {
		return err
	}
	l.rows[d.Name] = d
	entries := l.ledger[d.Name]
	known := false
	for i := range entries {
		if entries[i].SHA256 == b.SHA256 {
			entries[i].LastServed, known = time.Time{}, true
		} else if entries[i].LastServed.IsZero() {
			entries[i].LastServed = at
		}
	}
	if !known {
		entries = append(entries, b)
	}
	l.ledger[d.Name] = entries
	return l.doubt
}

func (l *lab) AddBody(_ context.Context, b state.Body) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.write(); err != nil {
		return err
	}
	for i, known := range l.ledger[b.Domain] {
		if known.SHA256 == b.SHA256 {
			if !known.LastServed.IsZero() {
				l.ledger[b.Domain][i].LastServed = b.LastServed
			}
			return nil
		}
	}
	l.ledger[b.Domain] = append(l.ledger[b.Domain], b)
	return nil
}

func (l *lab) CloseBody(_ context.Context, domain string, at time.Time) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.write(); err != nil {
		return err
	}
	for i, b := range l.ledger[domain] {
		if b.LastServed.IsZero() {
			l.ledger[domain][i].LastServed = at
		}
	}
	return nil
}

func (l *lab) Bodies(_ context.Context, domain string) ([]state.Body, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.ledger[domain]), cmp.Or(l.step(), l.unreadable)
}

func (l *lab) CurrentBodies(context.Context) ([]state.Body, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	var open []state.Body
	for _, entries := range l.ledger {
		for _, b := range entries {
			if b.LastServed.IsZero() {
				open = append(open, b)
			}
		}
	}
	return open, nil
}

func (l *lab) Set(domain string, body []byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.step() != nil {
		return
	}
	l.served[domain] = body
}

// serving is the body that senders get now, for a test to look at while runs
// are under way.
func (l *lab) serving(domain string) []byte {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.served[domain]
}

// ordered is how many orders were opened for example.com's policy host.
func (l *lab) ordered() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.orders[mtasts.PolicyHost(example)]
}

func (l *lab) SetAll(bodies map[string][]byte) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.served = bodies
}

func (l *lab) Remove(domain string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.served, domain)
}

func (l *lab) Push(ctx context.Context, t state.Target, txt string) error {
	if t.Account == deafAccount {
		<-ctx.Done()
		return ctx.Err()
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.step(); err != nil {
		return err
	}
	if l.manual {
		return fmt.Errorf("print: %w", state.ErrManual)
	}
	if l.pushErr != nil {
		return l.pushErr
	}
	domain := t.Name[len("_mta-sts."):]
	rec, err := mtasts.ParseRecord(txt)
	if err != nil || !mtasts.Announces(rec.ID, l.served[domain]) {
		l.faults = append(l.faults, fmt.Sprintf("pushed %q while serving %q", txt, l.served[domain]))
	}
	keep := slices.DeleteFunc(slices.Clone(l.txt[t.Name]), mtasts.IsRecord)
	l.txt[t.Name] = append(keep, txt)
	l.pushes = append(l.pushes, push{t.Name, txt, string(l.served[domain])})
	return nil
}

func (l *lab) Withdraw(_ context.Context, t state.Target) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.step(); err != nil {
		return err
	}
	if l.manual {
		return fmt.Errorf("print: %w", state.ErrManual)
	}
	if l.pushErr != nil {
		return l.pushErr
	}
	l.txt[t.Name] = slices.DeleteFunc(slices.Clone(l.txt[t.Name]), mtasts.IsRecord)
	l.removals = append(l.removals, t.Name)
	return nil
}

func (l *lab) Observe(_ context.Context, t state.Target) ([]state.ServerTXT, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.step(); err != nil {
		return nil, err
	}
	views := []state.ServerTXT{
		{Server: "name server ns1.example (192.0.2.53:53)", TXT: slices.Clone(l.txt[t.Name]), Err: l.silent},
		{Server: "name server ns2.example (198.51.100.53:53)", TXT: slices.Clone(l.txt[t.Name]), Err: l.silent},
	}
	if l.sees != nil {
		return l.sees(views)
	}
	return views, nil
}

func (l *lab) Record(_ context.Context, domain string) ([]string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.step(); err != nil {
		return nil, err
	}
	return slices.Clone(l.txt[mtasts.RecordName(domain)]), l.recordErr
}

func (l *lab) FetchPolicy(ctx context.Context, domain string) ([]state.Fetch, error) {
	l.mu.Lock()
	l.fetching[domain]++
	l.lookups++
	if l.fetching[domain] > 1 {
		l.faults = append(l.faults, "two runs of "+domain+" at a time")
	}
	slow := l.slow
	l.mu.Unlock()
	time.Sleep(slow)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.fetching[domain]--
	if err := cmp.Or(l.step(), ctx.Err()); err != nil {
		return nil, err
	}
	f := state.Fetch{Family: "IPv4", Address: "192.0.2.1:443", Err: l.fetchErr}
	body, ok := l.served[domain]
	ok = ok && l.leads
	if ok && !l.proxy && l.own == "" && !time.Now().Before(l.certs[mtasts.PolicyHost(domain)]) {
		f.Err = errors.New("no certificate")
	}
	if !ok {
		if old, found := l.elsewhere[domain]; found {
			body = []byte(old)
		} else {
			f.Err = errors.New("answered 404")
		}
	}
	if f.Err == nil {
		f.Body = body
	}
	return []state.Fetch{f, {Family: "IPv6", Skipped: "no IPv6 route from this machine"}}, nil
}

func (l *lab) FetchBack(ctx context.Context, domain string) ([]state.Fetch, error) {
	if !l.hairpin {
		return l.FetchPolicy(ctx, domain)
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	return []state.Fetch{{Family: "via 127.0.0.1:443", Address: "127.0.0.1:443", Body: l.served[domain]}}, l.step()
}

func (l *lab) reach() ([]state.Fetch, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.step(); err != nil {
		return nil, err
	}
	f := state.Fetch{Family: "IPv4", Address: "192.0.2.1:80"}
	if !l.leads {
		f.Err = errors.New("192.0.2.1:80 answers, but it is another server (HTTP status 404)")
	}
	return []state.Fetch{f}, nil
}

func (l *lab) Reach(context.Context, string, string, string) ([]state.Fetch, error) {
	return l.reach()
}
func (l *lab) Open(context.Context, string) ([]state.Fetch, error) { return l.reach2() }

// reach2 is the HTTPS port: it takes connections wherever the host leads.
func (l *lab) reach2() ([]state.Fetch, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return []state.Fetch{{Family: "IPv4", Address: "192.0.2.1:443"}}, l.step()
}

// labCerts is the lab as a CA that issues at once.
type labCerts struct{ *lab }

func (l labCerts) SetHosts(hosts map[string]struct{}) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.hosts = hosts
}

func (l labCerts) Drop(_ context.Context, host string) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.step(); err != nil {
		return err
	}
	delete(l.failures, host)
	l.dropped = append(l.dropped, host)
	return nil
}

func (l labCerts) Request(ctx context.Context, host, _ string) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	l.mu.Lock()
	if err := l.step(); err != nil {
		l.mu.Unlock()
		return err
	}
	wake := l.onOrder
	ok := l.problem == ""
	switch {
	case l.failures[host] > 0 && !ok:
		wake = func(string) {} // waits out its backoff
	case ok:
		l.orders[host]++
		delete(l.failures, host)
		l.certs[host] = time.Now().Add(90 * 24 * time.Hour)
	default:
		l.orders[host]++
		l.failures[host]++
	}
	l.mu.Unlock()
	wake(host)
	return nil
}

func (l labCerts) Status(_ context.Context, host string) (state.CertStatus, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.proxy {
		return state.CertStatus{Host: host, External: true}, l.step()
	}
	if l.own != "" {
		return state.CertStatus{Host: host, NotAfter: time.Now().Add(24 * time.Hour), NextTry: time.Now().Add(time.Hour), Own: l.own}, l.step()
	}
	status := state.CertStatus{Host: host, NotAfter: l.certs[host], NextTry: l.certs[host]}
	if n := l.failures[host]; n > 0 {
		status.Pending, status.Problem, status.Attempts = true, l.problem, n
	}
	return status, l.step()
}

// now is the wall clock, without the reading of time.Now that runs on when the
// clock is set.
func (l *lab) now() time.Time {
	l.mu.Lock()
	defer l.mu.Unlock()
	return time.Now().Add(l.ahead).Round(0)
}

// jump sets the wall clock.
func (l *lab) jump(by time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.ahead += by
}

// noteAdopted is Config.Adopted.
func (l *lab) noteAdopted(_ context.Context, _ string, p mtasts.Policy) error {
	l.mu.Lock()
	err, note, r := l.step(), l.onAdopted, l.lives
	if err == nil {
		l.adopted = append(l.adopted, p)
	}
	l.mu.Unlock()
	if err != nil || note == nil {
		return err
	}
	return note(r, p)
}

// process is one life of a reconciler in the lab.
type process struct {
	*Reconciler
	lab   *lab
	stop  func()
	first map[string][]byte // the bodies by domain that were served before anything ran
}

// start begins a life; everything that a process holds in memory is new.
func (l *lab) start(t *testing.T, wanted ...Wanted) *process {
	t.Helper()
	l.mu.Lock()
	l.calls, l.dead, l.served = 0, false, map[string][]byte{}
	l.mu.Unlock()
	r, err := New(t.Context(), Config{
		Journal: l, Certificates: labCerts{l}, Publisher: l, World: l, DNS: l,
		Probe: func(string) (string, string) { return "/probe", "token" },
		Now:   l.now,
		HTTP:  true, Hairpin: l.hairpin, Interval: time.Hour, Workers: 2, Event: l.event, Adopted: l.noteAdopted,
	})
	if err != nil {
		t.Fatal(err)
	}
	l.lives, l.onOrder = r, r.WakeHost
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	p := &process{Reconciler: r, lab: l, stop: func() { cancel(); <-done }}
	p.set(t, wanted...)
	p.first = maps.Clone(l.served) // nothing runs yet
	go func() {
		defer close(done)
		r.Run(ctx)
	}()
	return p
}

func (p *process) set(t *testing.T, wanted ...Wanted) Changes {
	t.Helper()
	c, err := p.SetDomains(t.Context(), wanted)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// settleFor lets d pass on the fake clock and everything come to rest.
func settleFor(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (p *process) state(t *testing.T, domain string) state.Domain {
	t.Helper()
	s, ok := p.Snapshot(domain)
	if !ok {
		t.Fatalf("%s is not known", domain)
	}
	return s.State
}

func want(domain string, mx ...string) Wanted {
	return Wanted{Domain: domain, MX: mx, MaxAge: 7 * 24 * time.Hour,
		Target: state.Target{Account: "main", Name: mtasts.RecordName(domain), TTL: 5 * time.Minute}}
}
