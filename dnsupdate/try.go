package dnsupdate

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/miekg/dns"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
)

// Step is a step of Try that has ended.
type Step struct {
	Name string        // one word: "find", "add", "replace", "remove", …
	Text string        // what was done, or was to be done
	Took time.Duration // how long it took
	Err  error         // nil if it went well
}

const (
	// tryPrefix begins the name that Try uses; nothing else is touched.
	tryPrefix = "_stshost-test-"
	// tryCleanup is how long Try goes on removing after its context has ended.
	tryCleanup = 30 * time.Second
	// Between two looks at the name servers.
	tryFirstPause, tryLongestPause = 250 * time.Millisecond, 10 * time.Second
)

// Try shows whether an account can do in a zone what a domain needs. At a name
// that nobody uses it adds a record in exactly the way of Push, replaces it, and
// removes it, and each time waits until every authoritative server shows just
// that. The first error ends it; what it has planted is removed in any case, also
// if ctx ends. report is told each step as it ends, on the caller's goroutine.
func (u *Updater) Try(ctx context.Context, account, zone string, report func(Step)) error {
	a, err := u.account(account)
	if err != nil {
		return err
	}
	if a.client == nil {
		return fmt.Errorf("the account %s has nothing to test: its provider is print, and you enter its records by hand", account)
	}
	wrote := &noting{client: a.client}
	u = u.onlyWith(account, a, wrote)
	t := &trial{u: u, report: report, target: state.Target{
		Account: account, Zone: dns.Fqdn(zone), TTL: time.Minute,
		Name: tryPrefix + strings.ToLower(rand.Text()[:12]) + "." + trimDot(dns.CanonicalName(zone)),
	}}
	one := mtasts.Record{ID: mtasts.NewID(u.cfg.Now(), []byte("first"))}.String()
	two := mtasts.Record{ID: mtasts.NewID(u.cfg.Now().Add(time.Second), []byte("second"))}.String()
	if err := t.find(ctx); err != nil {
		return err
	}
	err = t.plant(ctx, one, two)
	if err == nil || !wrote.any.Load() {
		return err // nothing can stand there
	}
	// Whatever went wrong, the ctrl-C of an operator included: leave nothing.
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), tryCleanup)
	defer cancel()
	left := t.do("clean", "remove what was planted at "+t.target.Name, func() error { return u.Withdraw(ctx, t.target) })
	switch {
	case left == nil:
		return err
	case left.Error() == err.Error():
		return fmt.Errorf("%w; a test record may be left at %s: look, and remove it by hand", err, t.target.Name)
	}
	return fmt.Errorf("%w; a test record may be left at %s: look, and remove it by hand, for it could not be removed: %w", err, t.target.Name, left)
}

// onlyWith is an updater with one account, which has another client.
func (u *Updater) onlyWith(name string, a *account, c client) *Updater {
	return &Updater{cfg: u.cfg, accounts: map[string]*account{name: {Account: a.Account, client: c, secrets: a.secrets}}}
}

// noting is a client that notes whether it was ever told to write. Before that
// nothing of ours can stand anywhere; after it, whatever the error says, it may.
type noting struct {
	client
	any atomic.Bool
}

func (n *noting) write(ctx context.Context, at site, e edit) error {
	n.any.Store(true)
	return n.client.write(ctx, at, e)
}

// trial is one run of Try.
type trial struct {
	u      *Updater
	report func(Step)
	target state.Target
}

// do runs a step and reports it.
func (t *trial) do(name, text string, f func() error) error {
	start := t.u.cfg.Now()
	err := f()
	t.report(Step{Name: name, Text: text, Took: t.u.cfg.Now().Sub(start), Err: err})
	return err
}

// find looks the name servers up, and that the name is free.
func (t *trial) find(ctx context.Context) error {
	return t.do("find", "ask the name servers of "+t.target.Zone, func() error {
		r, err := t.u.follow(ctx, t.target)
		switch {
		case err != nil:
			return err
		case r.split != nil:
			return r.split
		case r.aliased():
			return fmt.Errorf("%s: a name made up a moment ago exists already", r.chain())
		}
		for _, v := range r.views {
			if v.Err != nil {
				return v.Err
			}
		}
		return nil
	})
}

// plant adds, replaces and removes.
func (t *trial) plant(ctx context.Context, one, two string) error {
	for _, s := range []struct {
		name, text, want string
		change           func() error
	}{
		{"add", "add a TXT record at " + t.target.Name, one, func() error { return t.u.Push(ctx, t.target, one) }},
		{"replace", "replace it by another", two, func() error { return t.u.Push(ctx, t.target, two) }},
		{"remove", "remove it", "", func() error { return t.u.Withdraw(ctx, t.target) }},
	} {
		if err := t.do(s.name, s.text, s.change); err != nil {
			return err
		}
		see := "see it alone on every name server"
		if s.want == "" {
			see = "see it gone from every name server"
		}
		if err := t.do("see", see, func() error { return t.see(ctx, s.want) }); err != nil {
			return err
		}
	}
	return nil
}

// see waits until every name server shows want as the only record of our kind;
// "" is none.
func (t *trial) see(ctx context.Context, want string) error {
	start := t.u.cfg.Now()
	var last error
	for pause := tryFirstPause; ; pause = min(2*pause, tryLongestPause) {
		seen, err := t.u.Observe(ctx, t.target)
		if ctx.Err() == nil || last == nil {
			if err == nil {
				err = differs(seen, want)
			}
			if err == nil {
				return nil
			}
			last = err
		}
		timer := time.NewTimer(pause)
		select {
		case <-timer.C:
		case <-ctx.Done():
			timer.Stop()
			if errors.Is(ctx.Err(), context.DeadlineExceeded) {
				return fmt.Errorf("after %s, %w", t.u.cfg.Now().Sub(start).Round(time.Second), last)
			}
			return ctx.Err()
		}
	}
}

// differs says which server does not show want.
func differs(seen []state.ServerTXT, want string) error {
	if len(seen) == 0 {
		return errors.New("the zone has no name server that can be asked")
	}
	for _, s := range seen {
		if s.Err != nil {
			return s.Err
		}
		ours := mtasts.Records(s.TXT)
		switch {
		case want == "" && len(ours) > 0:
			return fmt.Errorf("%s still shows %s", s.Server, listed(ours))
		case want != "" && len(ours) == 0:
			return fmt.Errorf("%s shows no record there, and not %q", s.Server, want)
		case want != "" && !slices.Equal(ours, []string{want}):
			return fmt.Errorf("%s shows %s, and not %q alone", s.Server, listed(ours), want)
		}
	}
	return nil
}

// listed are texts as a sentence has them.
func listed(texts []string) string {
	var all []string
	for _, text := range texts {
		all = append(all, strconv.Quote(text))
	}
	return strings.Join(all, " and ")
}
