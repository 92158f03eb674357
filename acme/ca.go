package acme

import (
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync/atomic"
	"time"
)

// CA is one certification authority and our account there.
type CA struct {
	Directory string // URL of the CA's directory (RFC 8555 §7.1.1)
	Email     string // contact of the account; may be empty

	// HTTPClient reaches the CA; its Transport has the roots that the
	// directory's certificate must chain to. nil means the system's roots.
	// Its Timeout is per request; 0 means 30 s.
	HTTPClient *http.Client

	// Profile is the certificate profile to order (draft-ietf-acme-profiles);
	// empty leaves the choice to the CA.
	Profile string
	// EAB binds the account to one that the operator has at the CA; nil: none.
	EAB *EAB
	// OrdersPer3Hours is the account's budget of new orders in any 3 hours;
	// 0 means 300, what Let's Encrypt grants.
	OrdersPer3Hours int
}

// EAB is an external account binding (RFC 8555 §7.3.4) as the CA gave it.
type EAB struct {
	KID string // key identifier
	Key []byte // HMAC key, decoded; a secret
}

// String names the binding without its key.
func (e EAB) String() string { return "external account binding " + e.KID }

// GoString is String: no verb shows the key.
func (e EAB) GoString() string { return e.String() }

// LogValue is String for slog.
func (e EAB) LogValue() slog.Value { return slog.StringValue(e.String()) }

// CAIdentity is what a CA says of itself, as far as it bears on the question
// whether it may issue (CAA, RFC 8659 §4.2 and RFC 8657 §3).
type CAIdentity struct {
	Directory  string   // URL of its directory
	Domains    []string // issuer domain names, meta.caaIdentities (RFC 8555 §7.1.1); empty if it names none
	AccountURI string   // URL of our account there
}

// authority is a CA at work: its account, and what holds it up.
type authority struct {
	CA
	section string // of the config, for messages

	store     Store
	log       *slog.Logger
	now       func() time.Time
	userAgent string

	accounts accounts
	pause    pause // the CA cannot be used, or asked us to wait
	spent    pause // our budget of orders there is used up
	asking   pause // the CA gives no renewal information

	orders, issued, failed atomic.Uint64
}

// newAuthorities returns those of the config, in their order.
func newAuthorities(cfg *IssuerConfig) ([]*authority, error) {
	var all []*authority
	for n, ca := range cfg.CAs {
		if ca.Directory == "" {
			return nil, errors.New("acme: a CA has no Directory")
		}
		if slices.ContainsFunc(all, func(a *authority) bool { return a.Directory == ca.Directory }) {
			return nil, fmt.Errorf("acme: the CA %s is there twice", ca.Directory)
		}
		var client http.Client
		if ca.HTTPClient != nil {
			client = *ca.HTTPClient
		}
		if client.Timeout == 0 {
			client.Timeout = 30 * time.Second
		}
		if client.Transport == nil {
			client.Transport = http.DefaultTransport
		}
		ca.HTTPClient = &client
		if ca.OrdersPer3Hours <= 0 {
			ca.OrdersPer3Hours = 300
		}
		section := "[acme]"
		if n > 0 {
			section = "[acme.fallback]"
		}
		all = append(all, &authority{
			CA: ca, section: section, store: cfg.Store, log: cfg.Logger, now: cfg.Now, userAgent: cfg.UserAgent,
			accounts: newAccounts(),
		})
	}
	if len(all) == 0 {
		return nil, errors.New("acme: IssuerConfig.CAs is empty")
	}
	return all, nil
}

// checkProfile says what is wrong with the profile of the config, before an
// order is spent on it.
func (c *authority) checkProfile(dir *directory) error {
	if c.Profile == "" {
		return nil
	}
	if _, ok := dir.Meta.Profiles[c.Profile]; ok {
		return nil
	}
	offered, remedy := "it offers none: remove profile from "+c.section, "remove profile from "+c.section+" and restart"
	if len(dir.Meta.Profiles) > 0 {
		offered = fmt.Sprintf("write one of these as profile in %s: %s", c.section,
			strings.Join(slices.Sorted(maps.Keys(dir.Meta.Profiles)), ", "))
		remedy = c.profileRemedy()
	}
	return &caError{remedy: remedy, problem: &problem{
		Detail: fmt.Sprintf("the CA at %s has no certificate profile %q; %s", c.Directory, c.Profile, offered),
	}}
}

func (c *authority) profileRemedy() string { return "correct profile in " + c.section + " and restart" }

func (c *authority) bindingRemedy() string {
	return "write the eab_kid and eab_hmac that the CA gives you in " + c.section + " and restart"
}
