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

// directory is the CA's directory as it came, and the two URLs that the
// transport tells apart.
type directory struct {
	raw        []byte
	NewOrder   string `json:"newOrder"`
	NewAccount string `json:"newAccount"`
	Meta       struct {
		ExternalAccountRequired bool `json:"externalAccountRequired"`
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
func (i *Issuer) account(ctx context.Context) (*account, error) {
	a := &i.accounts
	select {
	case <-a.turn:
	case <-ctx.Done():
		return nil, ctx.Err()
	}
	defer func() { a.turn <- struct{}{} }()

	if a.current != nil && i.now().Sub(a.fetched) < directoryLife {
		return a.current, nil
	}
	stored, err := i.storedAccount(ctx)
	if err != nil {
		return nil, err
	}
	key, err := x509.ParseECPrivateKey(stored.Key)
	if err != nil {
		return nil, &storeError{fmt.Errorf("the ACME account key is damaged: %w", err)}
	}
	dir, err := i.fetchDirectory(ctx)
	if err != nil {
		return nil, err
	}
	if stored.KID == "" {
		if dir.Meta.ExternalAccountRequired {
			return nil, &caError{problem: &problem{
				Type:   "externalAccountRequired",
				Detail: i.cfg.Directory + " wants external account binding, which stshost does not offer: choose another directory",
			}}
		}
		if err := i.register(ctx, key, &stored); err != nil {
			return nil, err
		}
	} else if i.cfg.Email != "" && i.cfg.Email != stored.Email {
		i.updateContact(ctx, key, stored)
	}
	a.current = &account{key: key, kid: stored.KID, dir: *dir}
	a.fetched = i.now()
	return a.current, nil
}

// forgetAccount makes the next attempt look at the directory again and, if the
// CA says that it does not know the account, register its key anew.
func (i *Issuer) forgetAccount(ctx context.Context, unknown bool) error {
	a := &i.accounts
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
	stored, err := i.storedAccount(ctx)
	if err != nil {
		return err
	}
	stored.KID = ""
	return i.putAccount(ctx, stored)
}

// storedAccount reads the account, or makes its key: stored before it is
// shown to the CA, so that a crash in between does not lose the account.
func (i *Issuer) storedAccount(ctx context.Context) (storedAccount, error) {
	var stored storedAccount
	data, err := i.store.ACMEData(ctx, accountKey(i.cfg.Directory))
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
	return stored, i.putAccount(ctx, stored)
}

func (i *Issuer) putAccount(ctx context.Context, stored storedAccount) error {
	data, err := json.Marshal(stored)
	if err != nil {
		return err
	}
	if err := i.store.PutACMEData(ctx, accountKey(i.cfg.Directory), data); err != nil {
		return &storeError{err}
	}
	return nil
}

// register makes the CA know the key (RFC 8555 §7.3) and stores the account's
// URL. A key that the CA knows already gets the URL of its account.
func (i *Issuer) register(ctx context.Context, key *ecdsa.PrivateKey, stored *storedAccount) error {
	client := i.client(key)
	_, err := client.Register(ctx, &acme.Account{Contact: i.contact()}, autocert.AcceptTOS)
	if err != nil && !errors.Is(err, acme.ErrAccountAlreadyExists) {
		if refused := (*acme.Error)(nil); errors.As(err, &refused) {
			ca := &caError{problem: &problem{Type: refused.ProblemType, Detail: refused.Detail, Status: refused.StatusCode}}
			ca.retryAt, ca.asked = retryAfter(refused.Header, i.now())
			return ca
		}
		return err
	}
	stored.KID, stored.Email = string(client.KID), i.cfg.Email
	if err := i.putAccount(ctx, *stored); err != nil {
		return err
	}
	i.log.Info("ACME account registered", "step", "account", "account", stored.KID, "directory", i.cfg.Directory)
	return nil
}

// updateContact tells the CA a changed address (RFC 8555 §7.3.2). Certificates
// do not depend on it.
func (i *Issuer) updateContact(ctx context.Context, key *ecdsa.PrivateKey, stored storedAccount) {
	client := i.client(key)
	client.KID = acme.KeyID(stored.KID)
	_, err := client.UpdateReg(ctx, &acme.Account{Contact: i.contact()})
	if err == nil {
		stored.Email = i.cfg.Email
		err = i.putAccount(ctx, stored)
	}
	if err != nil {
		i.log.Warn("the CA was not told the new contact address; certificates do not depend on it", "step", "account", "err", err)
	}
}

// client speaks for the account outside of orders.
func (i *Issuer) client(key *ecdsa.PrivateKey) *acme.Client {
	return &acme.Client{
		Key: key, DirectoryURL: i.cfg.Directory, HTTPClient: i.cfg.HTTPClient,
		UserAgent: i.cfg.UserAgent, RetryBackoff: retryBadNonce,
	}
}

func (i *Issuer) contact() []string {
	if i.cfg.Email == "" {
		return nil
	}
	return []string{"mailto:" + i.cfg.Email}
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

func (i *Issuer) fetchDirectory(ctx context.Context) (*directory, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, i.cfg.Directory, nil)
	if err != nil {
		return nil, err
	}
	req.Header.Set("User-Agent", i.cfg.UserAgent)
	res, err := i.cfg.HTTPClient.Do(req)
	if err != nil {
		return nil, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxBody))
	if err != nil {
		return nil, err
	}
	if res.StatusCode != http.StatusOK {
		ca := &caError{problem: parseProblem(res.StatusCode, body)}
		ca.retryAt, ca.asked = retryAfter(res.Header, i.now())
		return nil, ca
	}
	dir := &directory{raw: body}
	if err := json.Unmarshal(body, dir); err != nil || dir.NewOrder == "" || dir.NewAccount == "" {
		return nil, &caError{problem: &problem{
			Detail: i.cfg.Directory + " is not an ACME directory (RFC 8555 §7.1.1): check [acme] directory",
		}}
	}
	return dir, nil
}

// caError is a refusal of the CA outside an order.
type caError struct {
	problem *problem
	retryAt time.Time // what Retry-After says, if asked
	asked   bool
}

func (e *caError) Error() string { return e.problem.String() }

// storeError is trouble of our own store: no fault of host or CA.
type storeError struct{ err error }

func (e *storeError) Error() string { return "store: " + e.err.Error() }
func (e *storeError) Unwrap() error { return e.err }
