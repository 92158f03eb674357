// Package dnsupdate makes the TXT record that announces a policy stand in the
// DNS, alone of its kind, and looks whether it does.
//
// Two records that begin with "v=STSv1;" switch MTA-STS off for a domain
// (RFC 8461 §3.1), and other TXT records at the name belong to somebody else.
// So a push reads what the provider holds at the name, changes only our kind
// of record there, and writes nothing if all is right already. Observe asks
// every authoritative server of the zone; only what they say is confirmed.
//
// Cloudflare is driven through libdns, Route 53 and Hetzner through the
// providers' own modules. Elsewhere the requests are our own: foreign records
// must stay the same bytes, a wrong key be told from a wrong secret, and one
// name be read instead of a whole zone, and the libdns modules do none of it.
package dnsupdate

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"sync"
	"time"

	"github.com/miekg/dns"

	"github.com/stshost/stshost/internal/resolver"
	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
)

// Account is one [dns.*] table of the config: a provider and its settings,
// secrets already read.
type Account struct {
	Provider string
	Settings map[string]string
}

// Config is what an Updater needs.
type Config struct {
	Accounts  map[string]Account
	Resolver  *resolver.Resolver
	Transport http.RoundTripper // for providers with an HTTP API; nil: http.DefaultTransport
	Timeout   time.Duration     // for one push or removal, waiting in line for the same name excluded; 0: 60 s
	Logger    *slog.Logger      // nil: slog.Default()
	// Announcer is the domain that has announced this id, as far as is known: the
	// one asked about if it has, else another, "" if none: nobody else's record is
	// overwritten by way of a CNAME. It is asked at every look at such a domain and
	// must be quick. nil: none is known.
	Announcer func(ctx context.Context, id, domain string) string
	Now       func() time.Time // nil: time.Now
}

// Updater changes and observes records. It is safe for concurrent use:
// changes of one name happen one after another, and each account is paced.
type Updater struct {
	cfg    Config
	locks  nameLocks
	owners owners

	mu       sync.RWMutex
	accounts map[string]*account
}

// account is an Account with the one client that is kept for it.
type account struct {
	Account
	client  client
	secrets redactor
	silence silence
	counters
}

// defaultTTL is used where a Target gives none.
const defaultTTL = 5 * time.Minute

// New returns an Updater. Its error lists every account whose settings cannot
// be right, without showing secrets.
func New(cfg Config) (*Updater, error) {
	if cfg.Resolver == nil {
		return nil, errors.New("dnsupdate needs a resolver")
	}
	if cfg.Transport == nil {
		cfg.Transport = http.DefaultTransport
	}
	if cfg.Timeout <= 0 {
		cfg.Timeout = time.Minute
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	u := &Updater{cfg: cfg}
	if err := u.SetAccounts(cfg.Accounts); err != nil {
		return nil, err
	}
	return u, nil
}

// SetAccounts replaces all accounts. One that is unchanged keeps its client,
// and with it its pacing and what it has learnt about zones. An account that did
// not answer is asked again at once. On an error nothing is replaced.
func (u *Updater) SetAccounts(accounts map[string]Account) error {
	u.mu.Lock()
	defer u.mu.Unlock()
	next := make(map[string]*account, len(accounts))
	var errs []error
	for _, name := range slices.Sorted(maps.Keys(accounts)) {
		a := accounts[name]
		if old, ok := u.accounts[name]; ok && old.Provider == a.Provider && maps.Equal(old.Settings, a.Settings) {
			next[name] = old
			continue
		}
		acc, err := open(a, environment{transport: u.cfg.Transport, now: u.cfg.Now})
		if err != nil {
			errs = append(errs, fmt.Errorf("dns account %s: %w", name, err))
			continue
		}
		next[name] = acc
	}
	if len(errs) > 0 {
		return errors.Join(errs...)
	}
	for _, a := range next {
		a.silence.end()
	}
	u.accounts = next
	return nil
}

// Check says what cannot be right about an account's settings, without showing
// secrets and without asking anyone.
func Check(a Account) error {
	_, err := open(a, environment{transport: http.DefaultTransport, now: time.Now})
	return err
}

func open(a Account, env environment) (*account, error) {
	p, ok := providers()[a.Provider]
	if why, ok := RefusedProviders()[a.Provider]; ok {
		return nil, fmt.Errorf("provider %q is not offered: %s", a.Provider, why)
	}
	if !ok {
		return nil, fmt.Errorf("provider %q is not known; known are %s", a.Provider, knownProviders())
	}
	if err := p.check(a.Settings); err != nil {
		return nil, err
	}
	acc := &account{
		Account: Account{Provider: a.Provider, Settings: maps.Clone(a.Settings)},
		secrets: newRedactor(p, a.Settings),
	}
	c, err := p.open(acc.Settings, env)
	if err != nil {
		return nil, acc.secrets.error(err)
	}
	acc.client = c
	return acc, nil
}

// Push makes txt the only record of its kind at the target. It does nothing if
// that is so already, and never touches other TXT records. For an account
// whose provider is "print" it returns an error that wraps state.ErrManual
// unless the authoritative servers show the record already. An error leaves
// the state unknown: push again, or look. A CNAME at the name is followed, see
// Observe; the record is written where it leads, with the same account. While
// the account does not answer it fails at once, with a *SilentError.
func (u *Updater) Push(ctx context.Context, target state.Target, txt string) error {
	if !mtasts.IsRecord(txt) {
		return fmt.Errorf("push %s: %q is not an MTA-STS record", target.Name, txt)
	}
	return u.change(ctx, target, txt)
}

// Withdraw removes every record of our kind at the target, and nothing else.
// With provider "print" it returns an error that wraps state.ErrManual as long
// as a server shows such a record.
func (u *Updater) Withdraw(ctx context.Context, target state.Target) error {
	return u.change(ctx, target, "")
}

// Zone returns the apex of the zone that the target's record stands in, with
// trailing dot: for a name that is no CNAME the zone the target names, or the
// one that the SOA walk finds; for a CNAME that of the name it leads to.
func (u *Updater) Zone(ctx context.Context, target state.Target) (string, error) {
	r, err := u.follow(ctx, target)
	if err != nil {
		return "", err
	}
	return r.zone, r.split
}

// ownZone is the zone that the target's own name lies in.
func (u *Updater) ownZone(ctx context.Context, target state.Target) (string, error) {
	if target.Zone == "" {
		return u.cfg.Resolver.FindZone(ctx, target.Name)
	}
	zone := dns.CanonicalName(target.Zone)
	if !dns.IsSubDomain(zone, dns.CanonicalName(target.Name)) {
		return "", fmt.Errorf("%s does not lie in zone %s; correct `zone` in the config", target.Name, zone)
	}
	return zone, nil
}

func (u *Updater) account(name string) (*account, error) {
	u.mu.RLock()
	defer u.mu.RUnlock()
	a, ok := u.accounts[name]
	if !ok {
		return nil, fmt.Errorf("no dns account %q is configured", name)
	}
	return a, nil
}

// change brings the name to hold want as its only record of our kind; want ""
// is none.
func (u *Updater) change(ctx context.Context, target state.Target, want string) error {
	a, err := u.account(target.Account)
	if err != nil {
		return err
	}
	a.pushes.Add(1)
	err = u.changeWith(ctx, a, target, want)
	u.noteRefusal(target, err, true)
	if err != nil {
		a.failures.Add(1)
	}
	return err
}

func (u *Updater) changeWith(ctx context.Context, a *account, target state.Target, want string) error {
	r, err := u.follow(ctx, target)
	if err != nil && (r == nil || a.client == nil || ctx.Err() != nil) {
		return err
	}
	if r.split != nil {
		return r.split
	}
	if err := u.mayUse(ctx, r, r.shown()); err != nil {
		return err
	}
	if a.client == nil {
		return r.byHand(want)
	}
	ttl := target.TTL
	if ttl <= 0 {
		ttl = defaultTTL
	}
	unlock, err := u.locks.lock(ctx, r.name)
	if err != nil {
		return fmt.Errorf("dns account %s: wait for another change of %s: %w", target.Account, trimDot(r.name), err)
	}
	fresh, err := u.claim(r)
	if err != nil {
		unlock()
		return err
	}
	err = u.heard(ctx, a, target.Account, unlock, func(ctx context.Context) error {
		return u.apply(ctx, a.client, target.Account, r, ttl, want)
	})
	if err == nil {
		return nil
	}
	if fresh {
		u.release(r)
	}
	if errors.As(err, new(*SilentError)) {
		return err
	}
	err = fmt.Errorf("dns account %s (%s): %w", target.Account, a.Provider, err)
	if errors.As(err, new(*noZoneError)) && r.aliased() {
		return r.foreign(target.Account, err)
	}
	return err
}

// heard runs f within the timeout, unless the account does not answer these
// minutes, and calls done when f has really ended.
func (u *Updater) heard(ctx context.Context, a *account, name string, done func(), f func(context.Context) error) error {
	probe, err := a.silence.enter(u.cfg.Now(), name, a.Provider)
	if err != nil {
		done()
		return err
	}
	err = a.secrets.error(within(ctx, u.cfg.Timeout, done, f))
	return a.silence.leave(u.cfg.Now(), name, a.Provider, probe, ctx.Err() != nil, err)
}

// apply reads, compares and writes.
func (u *Updater) apply(ctx context.Context, c client, account string, r *route, ttl time.Duration, want string) error {
	at := site{zone: r.zone, name: r.name, ttl: ttl}
	have, err := c.read(ctx, at)
	if err != nil {
		return err
	}
	e := plan(have, want)
	if e.empty() {
		return nil
	}
	// The name servers may have been silent, or behind the provider.
	if err := u.mayUse(ctx, r, e.dropped()); err != nil {
		return err
	}
	if len(e.keep) > 0 && e.keep[0].ttl > 0 {
		at.ttl = e.keep[0].ttl // RFC 2181 §5.2: the records of one set share their TTL
	}
	if err := c.write(ctx, at, e); err != nil {
		return err
	}
	u.cfg.Logger.DebugContext(ctx, "dns record changed", "host", trimDot(at.name), "account", account,
		"txt", want, "removed", len(e.drop), "kept", len(e.keep))
	return nil
}

// plan is the smallest edit after which want is the only record of our kind.
func plan(have []record, want string) edit {
	e := edit{add: want}
	for _, r := range have {
		switch {
		case r.disabled || !mtasts.IsRecord(r.text):
			e.keep = append(e.keep, r)
		case r.text == want && e.add != "":
			e.add = ""
			e.keep = append(e.keep, r)
		default:
			e.drop = append(e.drop, r)
		}
	}
	return e
}

func trimDot(s string) string {
	if len(s) > 1 && s[len(s)-1] == '.' {
		return s[:len(s)-1]
	}
	return s
}
