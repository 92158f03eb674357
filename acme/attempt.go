package acme

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"

	"github.com/stshost/stshost/internal/state"
)

// attemptTimeout bounds an attempt; autocert's own bound is the same.
const attemptTimeout = 5 * time.Minute

// verdict says who has to wait after an attempt.
type verdict int

const (
	issued      verdict = iota // there is a certificate
	refused                    // the host is to blame, as far as the CA says
	limitedHost                // the CA limits this name: it waits until retryAt
	limited                    // the CA limits the account: everything waits until retryAt
	budget                     // our own limit is reached: everything waits until retryAt
	forbidden                  // the CA may not issue for the host: no order was sent
	unavailable                // the CA cannot be used: everything waits a little
	misset                     // the config does not fit the CA: everything waits a little, and goes to no other CA
	storeBroken                // our store cannot be used: everything waits a little
	stopped                    // we are shutting down
)

// outcome is how an attempt ended.
type outcome struct {
	verdict verdict
	ordered bool              // an order was opened, or may have been
	cert    state.Certificate // if issued
	problem string            // if not
	retryAt time.Time         // for limitedHost, limited, budget
	limits  bool              // the CA limits us and does not say for how long; for unavailable
	remedy  string            // for misset
}

// errBudget is admit's refusal of an order that the budget does not allow.
type errBudget struct{ retryAt time.Time }

func (e *errBudget) Error() string {
	return "the order budget is used up until " + stamp(e.retryAt)
}

var errStopping = errors.New("acme: shutting down")

// attempt tries once to get a certificate from ca: at most one order, one
// challenge type, which it notes in j. stop ends when no new order may be
// opened, ctx when an open one is to be abandoned.
func (i *Issuer) attempt(stop, ctx context.Context, ca *authority, j *state.CertJob) outcome {
	ctx, cancel := context.WithTimeout(ctx, attemptTimeout)
	defer cancel()

	// Making the account can wait for the next start.
	prepare, cancelPrepare := context.WithCancel(ctx)
	defer cancelPrepare()
	defer context.AfterFunc(stop, cancelPrepare)()
	acct, err := ca.account(prepare)
	if err != nil {
		return ca.withoutAccount(stop, err)
	}
	identity := CAIdentity{Directory: ca.Directory, Domains: acct.dir.Meta.CAAIdentities, AccountURI: acct.kid}
	err = i.permitted(prepare, identity, j)
	job := *j
	if err != nil {
		if stop.Err() != nil {
			return outcome{verdict: stopped}
		}
		return outcome{verdict: forbidden, problem: clean(err.Error())}
	}

	replaces := i.replaced(ctx, job, ca, &acct.dir)
	t := &orderTransport{
		next: ca.HTTPClient.Transport, acct: acct, challenge: job.Challenge,
		profile: ca.Profile, poll: i.cfg.PollInterval, now: i.now, ctx: ctx, cancel: cancel,
		replaces: replaces, free: replaces != "" && exempt(job, ca),
		admit: func(ctx context.Context, free bool) error {
			if stop.Err() != nil {
				return errStopping
			}
			if free {
				ca.orders.Add(1)
				return nil
			}
			return ca.debit(ctx, acct.kid)
		},
		authz: make(map[string]bool), settled: make(map[string][]byte), notUntil: make(map[string]time.Time),
	}
	cache := &jobCache{host: job.Host, open: func(typ string, ch challenge) {
		i.openChallenge(ctx, job.Host, typ, ch)
	}}
	m := &autocert.Manager{
		Prompt: autocert.AcceptTOS,
		Cache:  cache,
		Client: &acme.Client{
			Key: acct.key, KID: acme.KeyID(acct.kid), DirectoryURL: ca.Directory,
			HTTPClient:   &http.Client{Transport: t, Timeout: ca.HTTPClient.Timeout + pollMax},
			RetryBackoff: t.retry, UserAgent: i.cfg.UserAgent,
		},
		// The renewal timer ends itself when it fires (jobCache.Get): let it
		// fire as early as autocert allows.
		RenewBefore: 30 * 24 * time.Hour,
	}
	if job.Challenge == HTTP01 {
		m.HTTPHandler(nil) // makes autocert try http-01; the handler is not used
	}
	_, err = m.GetCertificate(ecdsaHello(job.Host))
	seen := t.close()
	tidy, cancelTidy := context.WithTimeout(context.WithoutCancel(ctx), writeTimeout)
	defer cancelTidy()
	i.closeChallenge(tidy, job.Host, job.Challenge)

	return i.judge(stop, ca, job, seen, cache.release(), err)
}

// permitted asks [IssuerConfig.Permit] for the challenge type of j, and for the
// other where only that is the matter.
func (i *Issuer) permitted(ctx context.Context, ca CAIdentity, j *state.CertJob) error {
	err := i.cfg.Permit(ctx, j.Host, ca, j.Challenge)
	var refusal interface{ OtherChallenge() bool }
	if other := i.other(j.Challenge); errors.As(err, &refusal) && refusal.OtherChallenge() && other != j.Challenge {
		if i.cfg.Permit(ctx, j.Host, ca, other) == nil {
			j.Challenge = other
			return nil
		}
	}
	return err
}

// debit takes one order from the account's budget.
func (c *authority) debit(ctx context.Context, account string) error {
	retryAt, ok, err := c.store.DebitOrder(ctx, account, c.now(), c.OrdersPer3Hours, orderWindow)
	if err != nil {
		return &storeError{err}
	}
	if !ok {
		return &errBudget{retryAt}
	}
	c.orders.Add(1)
	return nil
}

// withoutAccount judges an attempt that did not get as far as an order.
func (c *authority) withoutAccount(stop context.Context, err error) outcome {
	var ours *storeError
	var ca *caError
	switch {
	case stop.Err() != nil:
		return outcome{verdict: stopped}
	case errors.As(err, &ours):
		return outcome{verdict: storeBroken, problem: clean(err.Error())}
	case errors.As(err, &ca) && ca.remedy != "":
		return outcome{verdict: misset, problem: err.Error(), remedy: ca.remedy}
	case errors.As(err, &ca) && ca.asked:
		return outcome{verdict: limited, problem: err.Error(), retryAt: ca.retryAt}
	case errors.As(err, &ca):
		return outcome{verdict: unavailable, problem: err.Error(), limits: ca.problem.limits()}
	}
	return outcome{verdict: unavailable, problem: c.unreachable(err)}
}

// unreachable says that a request to the CA got no answer.
func (c *authority) unreachable(err error) string {
	if timeout := (interface{ Timeout() bool })(nil); errors.As(err, &timeout) && timeout.Timeout() {
		return fmt.Sprintf("the CA at %s did not answer in time", c.Directory)
	}
	// What differs from one request to the next would be news each time: our
	// port, and the URL, which may name a certificate.
	if request, ok := errors.AsType[*url.Error](err); ok {
		err = request.Err
	}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		err = &net.OpError{Op: op.Op, Net: op.Net, Addr: op.Addr, Err: op.Err}
	}
	return fmt.Sprintf("the CA at %s cannot be reached: %s", c.Directory, clean(err.Error()))
}

// judge decides what came of an attempt.
func (i *Issuer) judge(stop context.Context, ca *authority, job state.CertJob, seen sighting, pem []byte, err error) outcome {
	out := outcome{ordered: seen.ordered && !seen.rejected}
	if pem != nil && err == nil {
		return i.accept(ca, job.Host, pem, out)
	}

	var over *errBudget
	var ours *storeError
	switch {
	case errors.As(seen.refusal, &over):
		out.verdict, out.retryAt, out.problem = budget, over.retryAt, over.Error()
		return out
	case errors.As(seen.refusal, &ours):
		out.verdict, out.problem = storeBroken, clean(ours.Error())
		return out
	case stop.Err() != nil && seen.verdict == nil && (!seen.ordered || seen.problem == nil):
		out.verdict = stopped
		return out
	case seen.verdict != nil:
		// The CA has looked and said no.
		i.works(ca)
		out.verdict, out.problem = refused, seen.verdict.String()
		return out
	case seen.offered != nil:
		i.works(ca)
		out.verdict = refused
		out.problem = fmt.Sprintf("the CA offers no %s challenge for this name, only %s", job.Challenge, strings.Join(seen.offered, ", "))
		return out
	}
	return i.judgeFailure(ca, job, seen, err, out)
}

// judgeFailure decides whose fault a failed request was.
func (i *Issuer) judgeFailure(ca *authority, job state.CertJob, seen sighting, err error, out outcome) outcome {
	switch {
	case seen.problem != nil:
		out.problem = seen.problem.String()
	case seen.err != nil:
		out.problem = ca.unreachable(seen.err)
	case errors.Is(err, context.DeadlineExceeded):
		out.problem = "the CA did not finish the order in " + attemptTimeout.String()
	default:
		out.problem = clean(err.Error())
	}

	rateLimited := seen.status == http.StatusTooManyRequests || seen.problem.kind() == "rateLimited"
	// What the CA says of the account at newOrder holds for every host.
	ofAccount := slices.Contains([]string{"accountDoesNotExist", "userActionRequired", "invalidProfile"}, seen.problem.kind())
	switch kind := seen.problem.kind(); {
	case kind == "invalidProfile" && ca.Profile != "":
		out.verdict, out.remedy = misset, ca.profileRemedy()
	case kind == "externalAccountRequired":
		out.verdict, out.remedy = misset, ca.bindingRemedy()
	case rateLimited && seen.asked && aboutName(seen.problem, job.Host):
		out.verdict, out.retryAt = limitedHost, seen.retryAt
	case seen.asked && (rateLimited || seen.status == http.StatusServiceUnavailable):
		out.verdict, out.retryAt = limited, seen.retryAt
	case rateLimited, ofAccount, seen.err != nil, seen.status >= 500:
		out.verdict, out.limits = unavailable, rateLimited
	default:
		i.works(ca)
		out.verdict = refused
	}
	if out.verdict == unavailable || out.verdict == misset {
		ctx, cancel := context.WithTimeout(context.Background(), writeTimeout)
		defer cancel()
		if err := ca.forgetAccount(ctx, seen.problem.kind() == "accountDoesNotExist"); err != nil {
			i.log.Warn("the ACME account could not be reset", "step", "account", "err", err)
		}
	}
	return out
}

// accept checks a certificate before it may be stored.
func (i *Issuer) accept(ca *authority, host string, pem []byte, out outcome) outcome {
	i.works(ca)
	leaf, err := checkIssued(host, pem, i.now())
	if err != nil {
		out.verdict = refused
		out.problem = "the CA's certificate is unusable: " + clean(err.Error())
		return out
	}
	out.verdict = issued
	out.cert = state.Certificate{Host: host, PEM: pem, NotBefore: leaf.NotBefore, NotAfter: leaf.NotAfter}
	return out
}
