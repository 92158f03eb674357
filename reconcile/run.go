package reconcile

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
)

// blocked is why a domain does not get further, and what the operator can do.
type blocked struct {
	step   state.Step // where a domain without a body stands now; "" where it stood
	err    error
	remedy string
	retry  time.Duration // when to look again; 0: by the backoff
	wait   bool          // nothing is wrong, something has to happen first
}

func (b *blocked) Error() string { return b.err.Error() }
func (b *blocked) Unwrap() error { return b.err }

// task is one run of one domain. It changes row as it goes, each time in the
// journal first.
type task struct {
	*Reconciler
	d      *domain
	wanted Wanted
	change int // which wish of the config wanted is, see domain.change
	row    state.Domain
	proxy  bool   // TLS ends at a reverse proxy, which has the certificate
	own    string // file of the operator's own certificate; "" if it is the CA's
	unseen error  // why a policy that is announced could not be seen before the first body
}

// run takes the domain as far along the way as the world allows. It returns
// nil when the announcement is confirmed.
func (t *task) run(ctx context.Context) error {
	if now := t.cfg.Now(); t.row.Since.After(now) {
		t.row.Since = now // the clock was wrong; what is counted from then is counted from now
	}
	if t.wanted.Withdraw {
		return t.withdraw(ctx)
	}
	if t.row.Step == state.Withdrawn { // it returns: what follows the proof is to be done again
		next := t.row
		next.Step, next.Since = state.Serving, t.cfg.Now()
		if t.wanted.Mode == "" && t.wanted.Stage.Mode == "" {
			next.Mode, next.MaxAge, next.ConfigMaxAge = "", 0, 0 // which was the mode to leave with
		}
		if err := t.save(ctx, next); err != nil {
			return err
		}
	}
	if t.row.BodySHA256 == "" {
		if err := t.decideFirst(ctx); err != nil {
			return err
		}
		t.d.compared = true // what is out there decided
	}
	if !t.d.compared {
		t.d.asOf = cmp.Or(t.d.asOf, knownUntil(t.row))
		// Name servers that cannot be asked hold nothing up yet: announce asks
		// them again, and changes nothing there before they answer.
		views, err := t.cfg.DNS.Observe(ctx, t.wanted.Target)
		if ctx.Err() != nil { // but for a process that is about to end
			return ctx.Err()
		}
		if err == nil {
			t.notePlace(views)
			if err := t.catchUp(ctx, views); err != nil {
				return err
			}
		}
	}
	policy, body, err := t.policy(t.wanted, t.row)
	if err != nil {
		return &blocked{err: err, remedy: "correct the domain's entry in the config"}
	}
	if policy.Mode == mtasts.ModeNone && t.row.BodySHA256 != "" {
		// A domain that leaves may have moved, and no certificate be had for it:
		// what it served before must end all the same.
		if err := t.serve(ctx, policy, body); err != nil {
			return err
		}
	}
	if err := t.ensureCertificate(ctx); err != nil {
		return err
	}
	if err := t.serve(ctx, policy, body); err != nil {
		return err
	}
	unproven := t.prove(ctx, body)
	if unproven != nil && before(t.row.Step, state.Announced) {
		return unproven
	}
	// What was announced before is kept right in any case: a second record
	// would switch MTA-STS off for those who can fetch.
	return cmp.Or(unproven, t.announce(ctx, body))
}

// policy is the policy that the domain should serve now, and its bytes.
func (r *Reconciler) policy(w Wanted, row state.Domain) (mtasts.Policy, []byte, error) {
	p := mtasts.Policy{Mode: w.Mode, MX: w.MX, MaxAge: w.MaxAge}
	switch {
	case p.Mode != "":
	case w.Stage.Mode != "":
		p.Mode, p.MaxAge = w.Stage.Mode, cmp.Or(w.Stage.MaxAge, w.MaxAge)
	default:
		p.Mode = cmp.Or(row.Mode, mtasts.ModeTesting)
		if row.MaxAge != 0 && row.ConfigMaxAge == w.MaxAge {
			p.MaxAge = row.MaxAge
		}
	}
	body, err := p.Render()
	return p, body, err
}

// ensureCertificate waits for a certificate for the policy host. As long as
// there is none it makes sure that an order can succeed before it asks for one.
func (t *task) ensureCertificate(ctx context.Context) error {
	host := mtasts.PolicyHost(t.wanted.Domain)
	certs := t.cfg.Certificates
	status, err := certs.Status(ctx, host)
	if err != nil {
		return err
	}
	if t.proxy = status.External; t.proxy {
		return nil // the proof, a fetch from outside, tells whether it is right
	}
	t.own = status.Own
	if status.Valid(t.cfg.Now()) {
		if status.NextTry.IsZero() {
			// Nobody looks after its renewal: the host was away for a while.
			return certs.Request(ctx, host, "")
		}
		return nil
	}
	if status.Own != "" {
		return ownExpired(status)
	}
	challenge := ""
	if t.row.BodySHA256 == "" && !status.Running { // a host that served before led here
		var since time.Time
		if t.row.Step == state.WaitingDNS {
			since = t.row.Since
		}
		if challenge, err = t.preflight(ctx, host, status, since); err != nil {
			return err
		}
		if t.row.Step == state.WaitingDNS && status.Attempts > 0 {
			// The failures were those of a host that led elsewhere: their
			// backoff, of up to a day, is not for one that leads here now.
			if err := certs.Drop(ctx, host); err != nil {
				return err
			}
			status = state.CertStatus{Host: host}
		}
	}
	if err := t.enter(ctx, state.WaitingCertificate); err != nil {
		return err
	}
	if err := certs.Request(ctx, host, challenge); err != nil {
		return err
	}
	return notIssued(host, status)
}

// ownExpired is the block of a host whose certificate is the operator's own and
// not valid. Whoever brings one along does not want the CA's silently in its
// place.
func ownExpired(status state.CertStatus) *blocked {
	return &blocked{step: state.WaitingCertificate, err: errors.New(status.Problem), remedy: state.OwnRemedy, retry: time.Minute}
}

// notIssued is the block of a host whose certificate was requested.
func notIssued(host string, status state.CertStatus) *blocked {
	if status.Problem != "" && !status.Running {
		return &blocked{
			step:   state.WaitingCertificate,
			err:    fmt.Errorf("there is no certificate for %s yet: %s", host, status.Problem),
			remedy: cmp.Or(status.Remedy, state.CertificateRemedy),
			retry:  time.Minute,
		}
	}
	// The issuing side wakes the domain when the order has ended.
	return &blocked{step: state.WaitingCertificate, err: errors.New("the certificate is being ordered"), retry: time.Minute, wait: true}
}

// serve makes body the one that is served. The ledger has it before any
// sender can.
func (t *task) serve(ctx context.Context, policy mtasts.Policy, body []byte) error {
	digest := mtasts.Digest(body)
	if t.row.BodySHA256 == digest {
		t.cfg.Publisher.Set(t.wanted.Domain, body)
		t.tookUp()
		return nil
	}
	now := t.cfg.Now()
	next := t.row
	next.BodySHA256 = digest
	next.ID, next.FormerID = "", cmp.Or(t.row.ID, t.row.FormerID) // the new body gets its own, once it is proven
	next.Mode = policy.Mode
	if next.ConfigMaxAge != t.wanted.MaxAge || t.wanted.Mode != "" {
		next.MaxAge, next.ConfigMaxAge = 0, 0 // the config was edited, and what it says holds again
	}
	next.Step, next.Since = state.Serving, now
	t.writable(&next)
	b := state.Body{
		Domain: t.wanted.Domain, SHA256: digest, Body: body,
		Mode: policy.Mode, MaxAge: policy.MaxAge, FirstServed: now,
	}
	if t.d.unsure {
		if err := t.stillServed(ctx, now); err != nil {
			return err
		}
	}
	if err := t.cfg.Journal.ServeBody(ctx, next, b, now); err != nil {
		t.d.unsure = true
		return err
	}
	t.d.unsure = false
	before := t.row
	t.commit(next)
	t.cfg.Publisher.Set(t.wanted.Domain, body)
	t.tookUp()
	t.tellServed(before, policy)
	t.log.Info("policy served", "domain", t.wanted.Domain, "step", next.Step, "mode", policy.Mode)
	if t.unseen != nil {
		t.log.Warn("a record announced a policy that could not be fetched, so the domain starts in testing", "domain", t.wanted.Domain,
			"reason", t.unseen, "remedy", unseenRemedy)
	}
	return nil
}

// stillServed enters in the ledger that the body before was served until now: a write
// that came back as failed may have closed it too early.
func (t *task) stillServed(ctx context.Context, now time.Time) error {
	ledger, err := t.cfg.Journal.Bodies(ctx, t.wanted.Domain)
	if err != nil {
		return err
	}
	for _, b := range ledger {
		if b.SHA256 == t.row.BodySHA256 {
			b.LastServed = now
			return t.cfg.Journal.AddBody(ctx, b)
		}
	}
	return nil
}

// unseenRemedy helps where the mode of an announced policy could not be known.
const unseenRemedy = `if it was in enforce, set mode = "enforce" for it in the config`

// enter journals that the domain has reached step, if that is news. For one
// body a domain goes forward only: what goes wrong later is an error at the
// step that it had reached.
func (t *task) enter(ctx context.Context, step state.Step) error {
	if !before(t.row.Step, step) {
		return nil
	}
	next := t.row
	next.Step, next.Since = step, t.cfg.Now()
	if err := t.save(ctx, next); err != nil {
		return err
	}
	t.tellStep()
	return nil
}

// save journals next and makes it what the status shows.
func (t *task) save(ctx context.Context, next state.Domain) error {
	t.writable(&next)
	if err := t.cfg.Journal.SaveDomain(ctx, next); err != nil {
		return err
	}
	t.commit(next)
	return nil
}

// writable takes out of next, the row of a run under way, an outcome that the
// journal does not have: it was not told.
func (t *task) writable(next *state.Domain) {
	if was := t.d.unwritten; was != nil {
		next.LastError, next.Remedy, next.Attempts = was.LastError, was.Remedy, was.Attempts
	}
}

// commit makes next, which the journal has, the state that others see.
func (t *task) commit(next state.Domain) {
	t.row = next
	t.mu.Lock()
	t.d.row = next
	t.mu.Unlock()
}

// conclude notes how the run ended and when the next one is due.
func (t *task) conclude(ctx context.Context, err error) {
	before := t.row
	next := t.row
	next.LastRun = t.cfg.Now()
	if err == nil {
		next.LastError, next.Remedy, next.Attempts = "", "", 0
		next.NextRun = next.LastRun.Add(t.jitter(t.cfg.Interval))
	} else {
		t.blockedBy(&next, err)
	}
	if err := t.cfg.Journal.SaveDomain(ctx, next); err != nil {
		// The look-up went well or not: without a journal nothing can go on.
		next.LastError, next.Remedy = err.Error(), remedyOf(err, byItself)
		next.Attempts = before.Attempts + 1
		next.NextRun = next.LastRun.Add(t.backoff(next.Attempts))
		if before.LastError != next.LastError {
			t.log.Error("cannot write the journal; what is served goes on being served", "domain", next.Name, "error", err)
		}
		if t.d.unwritten == nil {
			t.d.unwritten = &before
		}
		t.row = next
		return // what the journal does not have is not told
	}
	t.commit(next) // whoever is told finds it so
	t.tellOutcome(*cmp.Or(t.d.unwritten, &before))
	t.d.unwritten = nil
	switch waits := err != nil && next.Attempts == 0; {
	case next.LastError == before.LastError: // said before
	case err == nil && before.Attempts > 0:
		t.log.Info("all is well again", "domain", next.Name, "step", next.Step)
	case err == nil:
	case waits:
		t.log.Info("waiting", "domain", next.Name, "step", next.Step, "reason", next.LastError)
	default:
		t.log.Warn("blocked", "domain", next.Name, "step", next.Step, "reason", next.LastError, "remedy", next.Remedy)
	}
}

// blockedBy notes in next why the domain does not get further, and when it is
// looked at again.
func (t *task) blockedBy(next *state.Domain, err error) {
	b := &blocked{err: err, remedy: remedyOf(err, byItself)}
	errors.As(err, &b)
	next.Attempts++
	if b.wait {
		next.Attempts = 0
	}
	next.LastError, next.Remedy = b.Error(), b.remedy
	if b.step != "" && b.step != next.Step && next.BodySHA256 == "" {
		next.Step, next.Since = b.step, next.LastRun
	}
	retry := t.backoff(next.Attempts)
	if b.retry > 0 {
		retry = t.jitter(b.retry)
	}
	next.NextRun = next.LastRun.Add(retry)
	var paused interface{ RetryAt() time.Time }
	if errors.As(err, &paused) && paused.RetryAt().After(next.NextRun) {
		next.NextRun = paused.RetryAt() // a limit of the DNS provider
	}
}

// remedyOf is the advice that an error carries, as those of the store do, or
// else the given one.
func remedyOf(err error, or string) string {
	var e interface{ Remedy() string }
	if errors.As(err, &e) && e.Remedy() != "" {
		return e.Remedy()
	}
	return or
}

// byItself is the remedy for what needs none.
const byItself = "it is tried again by itself"
