package reconcile

import (
	"bytes"
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

// modelWorld is the lab as TestModel sees it: calls take time, a CA works
// by itself, and each call is held against what the package promises.
type modelWorld struct {
	*lab

	watch   sync.Mutex // guards what follows; taken before lab.mu where both are needed
	delay   time.Duration
	fates   map[string]*fate
	broken  []string          // broken promises
	busy    map[string]string // by domain, the call under way
	lies    bool              // pushes are carried out and reported as failed
	silent  bool              // one name server does not answer
	unsure  bool              // the store reports failure for what it did
	refuses bool              // the CA refuses
	jobs    map[string]*caJob
	told    map[string]bool   // hosts whose certificate was said to be valid, at the last question
	left    map[string]bool   // hosts whose renewal nobody looks after
	wake    func(host string) // the process that lives
}

// fate is what the model remembers of one domain, over all lives.
type fate struct {
	wanted  Wanted
	inUse   bool      // in the config
	removed time.Time // when it left the config

	// The serving period: from the moment a body is served until another one
	// is, whatever happens to the process meanwhile.
	body    []byte
	next    map[string]bool // bodies ever journalled
	proven  bool            // fetched back since, in this life or in one that could journal it
	noted   bool            // that is journalled
	ids     []string
	before  map[string]bool // ids that DNS had shown when the period began
	exempt  bool            // the store was lost before the period
	seen    map[string]bool // ids that DNS has shown
	foreign []string        // records of somebody else's

	lost  bool // the store was lost, and no body was served since
	guard bool // enforce was announced when the store was lost, and nobody has decided otherwise
}

type caJob struct {
	problem  string
	attempts int
	next     time.Time
}

func newModelWorld() *modelWorld {
	return &modelWorld{
		lab: newLab(), fates: map[string]*fate{}, busy: map[string]string{}, jobs: map[string]*caJob{}, left: map[string]bool{}, told: map[string]bool{},
		wake: func(string) {},
	}
}

// fault notes a broken promise. what must be the same for the same fault in
// another run, so that the sequence can be minimised.
func (w *modelWorld) fault(domain, what string, detail ...any) {
	w.broken = append(w.broken, fmt.Sprintf("%s: %s", domain, what)+"\x00"+fmt.Sprintln(detail...))
}

// enter begins a call about domain: it takes time, and no other call about the
// domain may be under way.
func (w *modelWorld) enter(ctx context.Context, domain, call string, delay bool) (leave func(), err error) {
	w.watch.Lock()
	f := w.fates[domain]
	if call == "Record" && !f.inUse { // a last question about a domain that is being dropped
		w.watch.Unlock()
		return func() {}, ctx.Err()
	}
	if other := w.busy[domain]; other != "" {
		w.fault(domain, "two runs at a time", other, call)
	}
	if !f.inUse && time.Since(f.removed) > 0 && ctx.Err() == nil && call != "Set" {
		w.fault(domain, "worked on after it left the config", call)
	}
	w.busy[domain] = call
	wait := w.delay
	w.watch.Unlock()
	if delay && wait > 0 {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			time.Sleep(10 * time.Millisecond) // nobody stops at once
		}
	}
	return func() {
		w.watch.Lock()
		delete(w.busy, domain)
		w.watch.Unlock()
	}, ctx.Err()
}

func (w *modelWorld) SaveDomain(ctx context.Context, d state.Domain) error {
	leave, err := w.enter(ctx, d.Name, "SaveDomain", false)
	defer leave()
	if err != nil {
		return err
	}
	if err := w.lab.SaveDomain(ctx, d); err != nil {
		return err
	}
	w.watch.Lock()
	defer w.watch.Unlock()
	if f := w.fates[d.Name]; d.ID != "" && d.BodySHA256 == mtasts.Digest(f.body) {
		if !w.unsure { // else the id may yet be given up, unseen
			w.useID(d.Name, f, d.ID)
		}
		f.noted = f.proven && !before(d.Step, state.Proven)
	}
	return w.outcome()
}

// outcome is what the store says of a write that it did.
func (w *modelWorld) outcome() error {
	if w.unsure {
		return errors.New("the outcome of the commit is not known")
	}
	return nil
}

// useID notes that id stands for the body of the present serving period.
func (w *modelWorld) useID(domain string, f *fate, id string) {
	if slices.Contains(f.ids, id) {
		return
	}
	if len(f.ids) > 0 {
		w.fault(domain, "a second id for a body that was served all the time", f.ids, id)
	}
	if f.before[id] && !f.exempt {
		w.fault(domain, "an id from before another body was served", id)
	}
	f.ids = append(f.ids, id)
}

func (w *modelWorld) ServeBody(ctx context.Context, d state.Domain, b state.Body, at time.Time) error {
	leave, err := w.enter(ctx, d.Name, "ServeBody", false)
	defer leave()
	if err != nil {
		return err
	}
	if err := w.lab.ServeBody(ctx, d, b, at); err != nil {
		return err
	}
	w.watch.Lock()
	defer w.watch.Unlock()
	w.fates[d.Name].next[string(b.Body)] = true
	return w.outcome()
}

func (w *modelWorld) AddBody(ctx context.Context, b state.Body) error {
	leave, err := w.enter(ctx, b.Domain, "AddBody", false)
	defer leave()
	if err != nil {
		return err
	}
	return w.lab.AddBody(ctx, b)
}

func (w *modelWorld) Set(domain string, body []byte) {
	leave, _ := w.enter(context.Background(), domain, "Set", false)
	defer leave()
	w.watch.Lock()
	defer w.watch.Unlock()
	w.lab.Set(domain, body)
	if !w.isDead() {
		w.serves(domain, body)
	}
}

func (w *modelWorld) SetAll(bodies map[string][]byte) {
	w.watch.Lock()
	defer w.watch.Unlock()
	w.lab.SetAll(bodies)
	for domain, body := range bodies {
		w.fates[domain].proven = w.fates[domain].noted
		w.serves(domain, body)
	}
}

// serves notes that senders get body from now on.
func (w *modelWorld) serves(domain string, body []byte) {
	f := w.fates[domain]
	if bytes.Equal(f.body, body) {
		return
	}
	if !f.next[string(body)] {
		w.fault(domain, "served before it was journalled", string(body))
	}
	w.lab.mu.Lock()
	if w.leads {
		delete(w.elsewhere, domain) // the move from an earlier host is done
	}
	w.lab.mu.Unlock()
	f.body, f.proven, f.noted, f.ids = body, false, false, nil
	f.before, f.exempt, f.lost = maps.Clone(f.seen), f.lost, false
	if p, err := mtasts.ParsePolicy(body); err != nil {
		w.fault(domain, "not a policy", err)
	} else if f.guard && p.Mode != mtasts.ModeEnforce {
		w.fault(domain, "a lost store lowered enforce", string(body))
	}
	f.guard = false
}

func (w *modelWorld) Remove(domain string) {
	w.watch.Lock()
	defer w.watch.Unlock()
	f := w.fates[domain]
	switch {
	case w.isDead(), w.serving(domain) == nil:
		return
	case f.inUse:
		w.fault(domain, "taken out of service while in the config")
	case w.announced(domain):
		w.fault(domain, "taken out of service although senders may hold a policy")
	}
	f.body, f.ids, f.proven, f.noted, f.lost = nil, nil, false, false, f.lost || f.exempt
	f.lost = f.lost || f.exempt // what the lost store knew is still unknown
	w.lab.Remove(domain)
}

// announced reports whether a sender may hold a policy of the domain, as far as
// can be known: after a lost store only DNS can tell.
func (w *modelWorld) announced(domain string) bool {
	f := w.fates[domain]
	w.lab.mu.Lock()
	defer w.lab.mu.Unlock()
	name := mtasts.RecordName(domain)
	pushed := slices.ContainsFunc(w.pushes, func(p push) bool { return p.name == name })
	return pushed && (!f.exempt && !f.lost || len(mtasts.Records(w.txt[name])) > 0)
}

// Withdraw is never asked for here: rollouts do that, and have a model of their own.
func (w *modelWorld) Withdraw(context.Context, state.Target) error {
	panic("nobody wanted a record withdrawn")
}

func (w *modelWorld) Push(ctx context.Context, t state.Target, txt string) error {
	domain := strings.TrimPrefix(t.Name, mtasts.RecordName(""))
	leave, err := w.enter(ctx, domain, "Push", true)
	defer leave()
	if err != nil {
		return err
	}
	w.watch.Lock()
	defer w.watch.Unlock()
	f := w.fates[domain]
	switch rec, err := mtasts.ParseRecord(txt); {
	case w.isDead():
	case err != nil || !mtasts.Announces(rec.ID, w.serving(domain)):
		w.fault(domain, "pushed an id of another body than the one served", txt, string(f.body))
	case !f.proven:
		w.fault(domain, "pushed before the body was fetched back", txt)
	default:
		w.useID(domain, f, rec.ID)
	}
	if err := w.lab.Push(ctx, t, txt); err != nil {
		return err
	}
	w.look(domain)
	if w.lies {
		return errors.New("the connection to the provider broke")
	}
	return nil
}

// look holds the record set against the model after each change.
func (w *modelWorld) look(domain string) {
	w.lab.mu.Lock()
	defer w.lab.mu.Unlock()
	f := w.fates[domain]
	txts := w.txt[mtasts.RecordName(domain)]
	for _, txt := range announcements(txts) {
		if rec, err := mtasts.ParseRecord(txt); err == nil {
			f.seen[rec.ID] = true
		}
	}
}

func (w *modelWorld) Observe(ctx context.Context, t state.Target) ([]state.ServerTXT, error) {
	leave, err := w.enter(ctx, strings.TrimPrefix(t.Name, mtasts.RecordName("")), "Observe", true)
	defer leave()
	if err != nil {
		return nil, err
	}
	views, err := w.lab.Observe(ctx, t)
	if w.silent && err == nil {
		views[1] = state.ServerTXT{Server: "ns2", Err: errors.New("timeout")}
	}
	return views, err
}

func (w *modelWorld) Record(ctx context.Context, domain string) ([]string, error) {
	leave, err := w.enter(ctx, domain, "Record", true)
	defer leave()
	if err != nil {
		return nil, err
	}
	txts, err := w.lab.Record(ctx, domain)
	if err != nil {
		return nil, err
	}
	return txts, nil
}

func (w *modelWorld) FetchPolicy(ctx context.Context, domain string) ([]state.Fetch, error) {
	leave, err := w.enter(ctx, domain, "FetchPolicy", true)
	defer leave()
	if err != nil {
		return nil, err
	}
	fetches, err := w.lab.FetchPolicy(ctx, domain)
	w.watch.Lock()
	defer w.watch.Unlock()
	if f := w.fates[domain]; err == nil && fetches[0].Err == nil {
		if bytes.Equal(fetches[0].Body, f.body) {
			f.proven = true
		} else {
			f.guard = false // another host answers senders now
		}
	}
	return fetches, err
}

func (w *modelWorld) FetchBack(ctx context.Context, domain string) ([]state.Fetch, error) {
	return w.FetchPolicy(ctx, domain)
}

// modelCerts is a CA with a queue of its own: an order takes some seconds, a
// refused one is tried again after some minutes, and certificates are renewed
// in time.
type modelCerts struct{ *modelWorld }

const (
	caTakes   = 5 * time.Second
	caRetries = 5 * time.Minute
	certLife  = 90 * 24 * time.Hour
)

func (w modelCerts) SetHosts(map[string]struct{}) {}

func (w modelCerts) Drop(_ context.Context, host string) error {
	w.lab.mu.Lock()
	defer w.lab.mu.Unlock()
	if err := w.write(); err != nil {
		return err
	}
	delete(w.jobs, host)
	return nil
}

func (w modelCerts) Request(ctx context.Context, host, _ string) error {
	domain := strings.TrimPrefix(host, mtasts.PolicyHost(""))
	leave, err := w.enter(ctx, domain, "Request", false)
	defer leave()
	if err != nil {
		return err
	}
	w.watch.Lock()
	defer w.watch.Unlock()
	w.lab.mu.Lock()
	defer w.lab.mu.Unlock()
	if err := w.write(); err != nil {
		return err
	}
	if time.Now().Before(w.certs[host]) {
		if w.left[host] {
			delete(w.left, host)
			return nil
		}
		if w.told[host] { // else it came in the meantime
			w.fault(domain, "asked for a certificate although one is valid")
		}
		return nil
	}
	if w.jobs[host] == nil {
		job := new(caJob)
		w.jobs[host] = job
		job.next = time.Now()
		time.AfterFunc(caTakes, func() { w.attempt(host, job) })
	}
	return nil
}

// attempt is the end of an order at the CA.
func (w modelCerts) attempt(host string, job *caJob) {
	w.watch.Lock()
	w.lab.mu.Lock()
	defer func() {
		wake := w.wake
		w.lab.mu.Unlock()
		w.watch.Unlock()
		wake(host)
	}()
	if w.jobs[host] != job {
		return // lost or dropped
	}
	w.orders[host]++
	if w.refuses {
		job.attempts++
		job.next = time.Now().Add(caRetries)
		job.problem = "urn:ietf:params:acme:error:unauthorized"
		time.AfterFunc(caRetries, func() { w.attempt(host, job) })
		return
	}
	w.certs[host] = time.Now().Add(certLife)
	delete(w.jobs, host)
	delete(w.left, host)
}

func (w modelCerts) Status(ctx context.Context, host string) (state.CertStatus, error) {
	leave, err := w.enter(ctx, strings.TrimPrefix(host, mtasts.PolicyHost("")), "Status", false)
	defer leave()
	if err != nil {
		return state.CertStatus{}, err
	}
	w.watch.Lock()
	defer w.watch.Unlock()
	w.lab.mu.Lock()
	defer w.lab.mu.Unlock()
	s := state.CertStatus{Host: host, NotAfter: w.certs[host]}
	if left := time.Until(s.NotAfter); left > 0 && !w.left[host] {
		if left < certLife/3 {
			s.NotAfter = time.Now().Add(certLife)
			w.certs[host] = s.NotAfter
		}
		s.NextTry = s.NotAfter.Add(-certLife / 3)
	}
	w.told[host] = s.Valid(time.Now())
	if job := w.jobs[host]; job != nil {
		s.Running = !job.next.After(time.Now())
		s.Pending, s.Problem, s.Attempts, s.NextTry = true, job.problem, job.attempts, job.next
	}
	return s, w.step()
}

// announcements are the MTA-STS records among txts.
func announcements(txts []string) []string {
	return slices.DeleteFunc(slices.Clone(txts), func(txt string) bool { return !mtasts.IsRecord(txt) })
}

// event wants what is told of a step to be in the journal.
func (w *modelWorld) event(e state.Event) {
	w.lab.event(e)
	w.lab.mu.Lock()
	row := w.rows[e.Domain]
	dead := w.dead
	w.lab.mu.Unlock()
	if dead {
		return
	}
	w.watch.Lock()
	defer w.watch.Unlock()
	switch e.Kind {
	case state.KindDomainStep, state.KindPolicyServed, state.KindRecordRepaired:
		if e.Evidence["step"] != string(row.Step) || e.Evidence["sha256"] != row.BodySHA256 || e.Evidence["id"] != row.ID {
			w.fault(e.Domain, "told of something that is not in the journal", e, row)
		}
	}
}

func (w *modelWorld) isDead() bool {
	w.lab.mu.Lock()
	defer w.lab.mu.Unlock()
	return w.dead
}
