package acme

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"

	"github.com/stshost/stshost/internal/state"
)

// directoryLife is how long the CA's directory (RFC 8555 §7.1.1) is believed.
const directoryLife = 24 * time.Hour

// account is what every attempt needs of the CA.
type account struct {
	key *ecdsa.PrivateKey
	kid string // the account's URL (RFC 8555 §7.1.2)
	dir directory
}

// directory is the CA's directory as it came, and what of it is used here.
type directory struct {
	raw        []byte
	NewOrder   string `json:"newOrder"`
	NewAccount string `json:"newAccount"`
	// RenewalInfo is empty where the CA does not offer it (RFC 9773 §3).
	RenewalInfo string `json:"renewalInfo"`
	Meta        struct {
		ExternalAccountRequired bool              `json:"externalAccountRequired"`
		CAAIdentities           []string          `json:"caaIdentities"`
		Profiles                map[string]string `json:"profiles"` // description by name
	} `json:"meta"`
}

// storedAccount is the account in the store. KID is empty from when the key
// was made until the CA has registered it.
type storedAccount struct {
	Key   []byte `json:"key"` // SEC 1, DER
	KID   string `json:"kid"`
	Email string `json:"email"`
}

func accountKey(directory string) string { return "account/" + directory }

// accounts gives out the account, made and registered once.
type accounts struct {
	turn    chan struct{} // holds the only token; a mutex that ctx can end
	current *account
	fetched time.Time // of current.dir
}

func newAccounts() accounts {
	a := accounts{turn: make(chan struct{}, 1)}
	a.turn <- struct{}{}
	return a
}

// account returns the account, asking the store and the CA where it must.
func (c *authority) account(ctx context.Context) (*account, error) {
	a := &c.accounts
	select {
	case <-a.turn:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { a.turn <- struct{}{} }()

	if a.current != nil && c.now().Sub(a.fetched) < directoryLife {
		return a.current, nil
	}
	stored, err := c.storedAccount(ctx)
	if err != nil {
		return nil, err
	}
	key, err := x509.ParseECPrivateKey(stored.Key)
	if err != nil {
		return nil, &storeError{fmt.Errorf("the ACME account key is damaged: %w", err)}
	}
	dir, err := c.fetchDirectory(ctx)
	if err != nil {
		var ca *caError
		if errors.As(err, &ca) && ca.noDirectory && stored.KID == "" {
			// It never was one, as far as we know. Where we have an account
			// it is the CA that is broken.
			ca.remedy = "correct directory in " + c.section + " and restart"
		}
		return nil, err
	}
	if err := c.checkProfile(dir); err != nil {
		return nil, err
	}
	if stored.KID == "" {
		if dir.Meta.ExternalAccountRequired && c.EAB == nil {
			return nil, &caError{remedy: c.bindingRemedy(), problem: &problem{
				Type: "externalAccountRequired",
				Detail: fmt.Sprintf("%s takes only accounts that are bound to one you have there: write the key identifier and the HMAC key "+
					"that the CA gives you as eab_kid and eab_hmac in %s (RFC 8555 §7.3.4)", c.Directory, c.section),
			}}
		}
		if err := c.register(ctx, key, &stored); err != nil {
			return nil, err
		}
	} else if c.Email != "" && c.Email != stored.Email {
		c.updateContact(ctx, key, stored)
	}
	a.current = &account{key: key, kid: stored.KID, dir: *dir}
	a.fetched = c.now()
	return a.current, nil
}

// forgetAccount makes the next attempt look at the directory again and, if the
// CA says that it does not know the account, register its key anew.
func (c *authority) forgetAccount(ctx context.Context, unknown bool) error {
	a := &c.accounts
	select {
	case <-a.turn:
	case <-ctx.Done():
		return ctx.Err()
	}
	defer func() { a.turn <- struct{}{} }()
	a.current = nil
	if !unknown {
		return nil
	}
	stored, err := c.storedAccount(ctx)
	if err != nil {
		return err
	}
	stored.KID = ""
	return c.putAccount(ctx, stored)
}

// storedAccount reads the account, or makes its key: stored before it is
// shown to the CA, so that a crash in between does not lose the account.
func (c *authority) storedAccount(ctx context.Context) (storedAccount, error) {
	var stored storedAccount
	data, err := c.store.ACMEData(ctx, accountKey(c.Directory))
	if err == nil {
		if err := json.Unmarshal(data, &stored); err != nil {
			return stored, &storeError{fmt.Errorf("the ACME account is damaged: %w", err)}
		}
		return stored, nil
	}
	if !errors.Is(err, state.ErrNotFound) {
		return stored, &storeError{err}
	}
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return stored, err
	}
	if stored.Key, err = x509.MarshalECPrivateKey(key); err != nil {
		return stored, err
	}
	return stored, c.putAccount(ctx, stored)
}

func (c *authority) putAccount(ctx context.Context, stored storedAccount) error {
	data, err := json.Marshal(stored)
	if err != nil {
		return err
	}
	if err := c.store.PutACMEData(ctx, accountKey(c.Directory), data); err != nil {
		return &storeError{err}
	}
	return nil
}

// register makes the CA know the key (RFC 8555 §7.3) and stores the account's
// URL. A key that the CA knows already gets the URL of its account.
func (c *authority) register(ctx context.Context, key *ecdsa.PrivateKey, stored *storedAccount) error {
	client := c.client(key)
	account := &acme.Account{Contact: c.contact()}
	if c.EAB != nil {
		account.ExternalAccountBinding = &acme.ExternalAccountBinding{KID: c.EAB.KID, Key: c.EAB.Key}
	}
	_, err := client.Register(ctx, account, autocert.AcceptTOS)
	if err != nil && !errors.Is(err, acme.ErrAccountAlreadyExists) {
		if refused := (*acme.Error)(nil); errors.As(err, &refused) {
			ca := &caError{problem: &problem{Type: refused.ProblemType, Detail: refused.Detail, Status: refused.StatusCode}}
			if c.EAB != nil && refused.StatusCode < 500 && refused.StatusCode != http.StatusTooManyRequests {
				ca.problem.Detail += fmt.Sprintf(" (the CA refused the account: are eab_kid and eab_hmac in %s the ones it gave you? Many CAs take them once only)", c.section)
			}
			ca.retryAt, ca.asked = retryAfter(refused.Header, c.now())
			ca.remedy = c.registrationRemedy(ca.problem)
			return ca
		}
		return err
	}
	stored.KID, stored.Email = string(client.KID), c.Email
	if err := c.putAccount(ctx, *stored); err != nil {
		return err
	}
	c.log.Info("ACME account registered", "step", "account", "account", stored.KID, "directory", c.Directory)
	return nil
}

// registrationRemedy says what in the config has the CA refuse the account; ""
// if it is the CA's own trouble.
func (c *authority) registrationRemedy(p *problem) string {
	switch kind := p.kind(); {
	case p.Status >= 500, p.limits(), kind == "badNonce":
		return ""
	case kind == "invalidContact", kind == "unsupportedContact":
		return "correct email in " + c.section + " and restart"
	case c.EAB != nil, kind == "externalAccountRequired":
		return c.bindingRemedy()
	}
	return ""
}

// updateContact tells the CA a changed address (RFC 8555 §7.3.2). Certificates
// do not depend on it.
func (c *authority) updateContact(ctx context.Context, key *ecdsa.PrivateKey, stored storedAccount) {
	client := c.client(key)
	client.KID = acme.KeyID(stored.KID)
	_, err := client.UpdateReg(ctx, &acme.Account{Contact: c.contact()})
	if err == nil {
		stored.Email = c.Email
		err = c.putAccount(ctx, stored)
	}
	if err != nil {
		c.log.Warn("the CA was not told the new contact address; certificates do not depend on it", "step", "account", "err", err)
	}
}

// client speaks for the account outside of orders.
func (c *authority) client(key *ecdsa.PrivateKey) *acme.Client {
	return &acme.Client{
		Key: key, DirectoryURL: c.Directory, HTTPClient: c.HTTPClient,
		UserAgent: c.userAgent, RetryBackoff: retryBadNonce,
	}
}

func (c *authority) contact() []string {
	if c.Email == "" {
		return nil
	}
	return []string{"mailto:" + c.Email}
}

// retryBadNonce is an acme.Client.RetryBackoff that repeats nothing but a
// request refused for its nonce, which the CA has not looked at further
// (RFC 8555 §6.5). acme asks with status 400 for no other reason.
func retryBadNonce(n int, _ *http.Request, res *http.Response) time.Duration {
	if res.StatusCode == http.StatusBadRequest && n <= 3 {
		return 10 * time.Millisecond
	}
	return -1
}

func (c *authority) fetchDirectory(ctx context.Context) (*directory, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.Directory, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", c.userAgent)
	res, err := c.HTTPClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxBody))
	if err != nil {
		return nil, err
	}
	if res.StatusCode == http.StatusNotFound || res.StatusCode == http.StatusGone {
		return nil, &caError{noDirectory: true, problem: &problem{
			Status: res.StatusCode,
			Detail: fmt.Sprintf("there is no ACME directory at %s (HTTP status %d): check directory in %s", c.Directory, res.StatusCode, c.section),
		}}
	}
	if res.StatusCode != http.StatusOK {
		ca := &caError{problem: parseProblem(res.StatusCode, body)}
		ca.retryAt, ca.asked = retryAfter(res.Header, c.now())
		return nil, ca
	}
	dir := &directory{raw: body}
	if err := json.Unmarshal(body, dir); err != nil || dir.NewOrder == "" || dir.NewAccount == "" {
		return nil, &caError{noDirectory: true, problem: &problem{
			Detail: c.Directory + " is not an ACME directory (RFC 8555 §7.1.1): check directory in " + c.section,
		}}
	}
	return dir, nil
}

// caError is a refusal of the CA outside an order.
type caError struct {
	problem *problem
	retryAt time.Time // what Retry-After says, if asked
	asked   bool
	// remedy says what to correct in the config, which is at fault then; ""
	// if it is the CA's own trouble.
	remedy string
	// noDirectory is set if what answers at the directory's URL is none.
	noDirectory bool
}

func (e *caError) Error() string { return e.problem.String() }

// storeError is trouble of our own store: no fault of host or CA.
type storeError struct{ err error }

func (e *storeError) Error() string { return "store: " + e.err.Error() }
func (e *storeError) Unwrap() error { return e.err }
