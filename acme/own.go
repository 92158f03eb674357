package acme

import (
	"cmp"
	"context"
	"crypto/sha256"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/stshost/stshost/internal/state"
)

// OwnPair names the PEM files of a certificate of the operator's own, with its
// chain, and of its private key. They may be one file.
type OwnPair struct{ CertFile, KeyFile string }

// OwnConfig says how an Own works.
type OwnConfig struct {
	// Every is the time between two looks at the files; 0 means 30 s.
	Every time.Duration
	// Now is the clock; nil means time.Now.
	Now    func() time.Time
	Logger *slog.Logger // nil means slog.Default()
	// Event is told when a certificate was loaded, refused, or runs out. It
	// returns at once. It may be nil.
	Event func(state.Event)
	// OnChange is called when what is served has changed. concerned reports
	// whether a host has another certificate than before, or none any more. It
	// must return soon. It may be nil.
	OnChange func(concerned func(host string) bool)
}

// Own are the certificates that the operator brings along, in files. A host
// that one of them is for is served it, and never ordered one for. It is safe
// for concurrent use; a nil *Own has no certificates.
type Own struct {
	cfg   OwnConfig
	index atomic.Pointer[ownIndex]

	mu    sync.Mutex // held while the files are looked at
	pairs []*ownPair
}

// ownPair is a pair of files and what was made of it. Its fields are guarded
// by Own.mu.
type ownPair struct {
	files OwnPair
	cert  *ownCert          // what is served; nil as long as nothing could be
	sum   [sha256.Size]byte // of the files that cert came from
	fault error             // why the files as they are now are not used
	cried time.Time         // when it was last said that cert runs out
}

// ownCert is a certificate that was loaded. It never changes.
type ownCert struct {
	files     OwnPair
	cert      *tls.Certificate
	names     []string // its dNSNames, in lower case
	notBefore time.Time
	notAfter  time.Time
}

func (c *ownCert) valid(now time.Time) bool {
	return !now.Before(c.notBefore) && now.Before(c.notAfter)
}

// runsOut is from when on somebody must be told that c ends: 7 days before, and
// for one that lives for less than three weeks in the last third of its life.
func (c *ownCert) runsOut() time.Time {
	return c.notAfter.Add(-min(7*24*time.Hour, c.notAfter.Sub(c.notBefore)/3))
}

// NewOwn returns an Own without certificates: see [Own.Set].
func NewOwn(cfg OwnConfig) *Own {
	if cfg.Every <= 0 {
		cfg.Every = 30 * time.Second
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.Default()
	}
	if cfg.Event == nil {
		cfg.Event = func(state.Event) {}
	}
	if cfg.OnChange == nil {
		cfg.OnChange = func(func(string) bool) {}
	}
	return &Own{cfg: cfg}
}

// Covers reports whether one of the certificates is for host, valid or not.
func (o *Own) Covers(host string) bool { return o.lookup(host) != nil }

// lookup returns the certificate that is served for host, a name in lower-case
// A-labels, or nil.
func (o *Own) lookup(host string) *ownCert {
	if o == nil {
		return nil
	}
	return o.index.Load().find(host, o.cfg.Now())
}

// status is what Issuer.Status says of a host that an own certificate is for.
func (o *Own) status(host string) (state.CertStatus, bool) {
	c := o.lookup(host)
	if c == nil {
		return state.CertStatus{}, false
	}
	now := o.cfg.Now()
	s := state.CertStatus{Host: host, Own: c.files.CertFile, NotBefore: c.notBefore, NotAfter: c.notAfter}
	fault := o.faultOf(c)
	switch {
	case !now.Before(c.notAfter):
		s.Problem = c.String() + " expired at " + stamp(c.notAfter)
	case now.Before(c.notBefore):
		s.Problem = c.String() + " is not valid before " + stamp(c.notBefore) + ": is this machine's clock right?"
	case !now.Before(c.runsOut()):
		s.Problem = c.String() + " expires at " + stamp(c.notAfter) + " and nobody has renewed it"
	case fault != nil:
		s.Problem = c.String() + " stays in use, for its files have changed and cannot be used"
	}
	if s.Problem != "" && fault != nil {
		s.Problem += ": " + fault.Error()
	}
	return s, true
}

func (c *ownCert) String() string { return "the own certificate " + c.files.CertFile }

// stamp writes a time for people and events.
func stamp(t time.Time) string { return t.UTC().Format(time.RFC3339) }

// faultOf is why the files of c as they are now are not used; nil if they are.
func (o *Own) faultOf(c *ownCert) error {
	for _, p := range o.index.Load().pairs {
		if p.cert == c {
			return p.fault
		}
	}
	return nil
}

// Refused counts the pairs whose files cannot be used as they are: what was
// loaded of them before is served, or nothing.
func (o *Own) Refused() int {
	n := 0
	if x := o.index.Load(); x != nil {
		for _, p := range x.pairs {
			if p.fault != nil {
				n++
			}
		}
	}
	return n
}

// ownIndex finds certificates by name. It never changes.
type ownIndex struct {
	byName map[string][]*ownCert // by dNSName, "*." and all; the latest expiry first
	pairs  []ownPair             // copies, for their faults
}

func newOwnIndex(pairs []*ownPair) *ownIndex {
	x := &ownIndex{byName: make(map[string][]*ownCert)}
	for _, p := range pairs {
		x.pairs = append(x.pairs, *p)
		if p.cert == nil {
			continue
		}
		for _, name := range p.cert.names {
			x.byName[name] = append(x.byName[name], p.cert)
		}
	}
	for _, certs := range x.byName {
		slices.SortStableFunc(certs, func(a, b *ownCert) int { return b.notAfter.Compare(a.notAfter) })
	}
	return x
}

// same reports whether x and y serve the same.
func (x *ownIndex) same(y *ownIndex) bool {
	return x != nil && slices.EqualFunc(x.pairs, y.pairs, func(a, b ownPair) bool { return a.cert == b.cert })
}

// find returns the certificate for host: one that is valid before one that is
// not, then one with the very name before a wildcard, then the latest expiry.
// A wildcard stands for the left-most label, whole and alone (RFC 9525 §6.3).
func (x *ownIndex) find(host string, now time.Time) *ownCert {
	if x == nil || len(x.byName) == 0 {
		return nil
	}
	exact := x.byName[host]
	var wild []*ownCert
	if _, parent, ok := strings.Cut(host, "."); ok {
		wild = x.byName["*."+parent]
	}
	var best *ownCert
	for _, certs := range [][]*ownCert{exact, wild} {
		for _, c := range certs {
			if c.valid(now) {
				return c
			}
			best = cmp.Or(best, c)
		}
	}
	return best
}

// evidence is what a log and an event show of a certificate.
func (c *ownCert) evidence() map[string]string {
	return map[string]string{
		"cert_file": c.files.CertFile, "names": strings.Join(c.names, " "), "not_after": stamp(c.notAfter),
	}
}

// ordered reports whether host is one to order certificates for: known, and
// without one of the operator's own.
func (c *Certificates) ordered(host string) bool { return c.Known(host) && !c.own.Covers(host) }

// whyNotOrdered is said of a host whose certificate is no longer renewed.
func (c *Certificates) whyNotOrdered(host string) string {
	if own := c.own.lookup(host); own != nil {
		return fmt.Sprintf("%s is served in its place", own)
	}
	return "the host was removed"
}

// leaveAlone drops the job of a host that has a certificate of the operator's
// own. An attempt under way goes on: its order is paid for.
func (i *Issuer) leaveAlone(ctx context.Context, host, _ string) error {
	i.jobs.Lock()
	defer i.jobs.Unlock()
	job, err := i.store.CertJob(ctx, host)
	if errors.Is(err, state.ErrNotFound) || err == nil && job.Running {
		return nil
	}
	if err != nil {
		return err
	}
	return i.store.DeleteCertJob(ctx, host)
}
