package acme

import (
	"bytes"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"sync"
	"time"
)

const (
	maxBody     = 1 << 20     // of a response, in bytes
	pollDefault = time.Second // between looks at an order when the CA says nothing
	pollMin     = 50 * time.Millisecond
	pollMax     = 10 * time.Second // whatever the CA says
)

// errRefused is what autocert gets for a request that is none of an attempt.
var errRefused = errors.New("acme: this attempt makes no further requests")

// orderTransport is the way of one attempt to the CA. It sees to what autocert
// does not: one order, one challenge type, the account's budget, the CA's own
// words, and an end when the attempt is told to end.
type orderTransport struct {
	next      http.RoundTripper
	acct      *account
	challenge string        // the only challenge type autocert gets to see
	profile   string        // of the order; "": the CA's choice
	poll      time.Duration // between looks at an order; 0: what the CA says
	now       func() time.Time

	// ctx is the attempt's. It is kept because autocert makes its requests
	// under a context of its own that nobody else can end.
	ctx    context.Context
	cancel context.CancelFunc

	// admit is asked before newOrder is sent; its error keeps it from being
	// sent and is reported as refusal. free says that the order is none that
	// the budget is for.
	admit func(ctx context.Context, free bool) error

	// replaces is the identifier of the certificate that the order is to
	// replace (RFC 9773 §5); "": none. free says that such an order needs no
	// budget. Both end with the CA's refusal of it. Guarded by mu.
	replaces string
	free     bool

	mu       sync.Mutex
	closed   bool
	inflight sync.WaitGroup
	seen     sighting
	authz    map[string]bool      // URLs of the order's authorizations
	settled  map[string][]byte    // those that are valid or invalid, as autocert saw them
	notUntil map[string]time.Time // URLs not to be asked before
}

// close ends requests under way, refuses further ones, and returns what was
// seen. It lets go of everything: the Manager keeps the transport.
func (t *orderTransport) close() sighting {
	t.mu.Lock()
	t.closed = true
	t.mu.Unlock()
	t.cancel()
	t.inflight.Wait()
	t.mu.Lock()
	defer t.mu.Unlock()
	seen := t.seen
	t.seen = sighting{}
	t.next, t.acct, t.admit, t.now, t.ctx, t.cancel = nil, nil, nil, nil, nil, nil
	t.authz, t.settled, t.notUntil = nil, nil, nil
	return seen
}

// RoundTrip implements http.RoundTripper.
func (t *orderTransport) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.Body != nil {
		defer req.Body.Close()
	}
	t.mu.Lock()
	if t.closed {
		t.mu.Unlock()
		return nil, errRefused
	}
	t.inflight.Add(1)
	t.mu.Unlock()
	defer t.inflight.Done()

	ctx, cancel := context.WithCancel(req.Context())
	defer cancel()
	defer context.AfterFunc(t.ctx, cancel)()

	url := req.URL.String()
	if res, err := t.answer(ctx, req, url); res != nil || err != nil {
		return res, err
	}
	if err := t.wait(ctx, url); err != nil {
		return nil, err
	}
	req = req.WithContext(ctx)
	if url == t.acct.dir.NewOrder {
		if err := resign(req, t.acct.key, t.orderFields()); err != nil {
			return nil, err
		}
	}
	res, err := t.next.RoundTrip(req)
	if err != nil {
		t.failed(url, sighting{err: err})
		return nil, err
	}
	body, err := io.ReadAll(io.LimitReader(res.Body, maxBody))
	res.Body.Close()
	if err != nil {
		t.failed(url, sighting{err: err})
		return nil, err
	}
	body = t.notReplaced(url, res, body)
	body = t.look(url, res, body)
	res.Body = io.NopCloser(bytes.NewReader(body))
	res.ContentLength = int64(len(body))
	res.Header.Del("Content-Length")
	return res, nil
}

// answer deals with the requests that are not for the CA: those whose answer
// is known, and newOrders that may not be sent. It returns nil, nil for one
// that is to be sent.
func (t *orderTransport) answer(ctx context.Context, req *http.Request, url string) (*http.Response, error) {
	if req.Method == http.MethodGet { // acme asks for nothing else without signing it
		return local(req, http.StatusOK, t.acct.dir.raw, nil), nil
	}
	if req.Method != http.MethodPost {
		return nil, nil
	}
	if url == t.acct.dir.NewAccount {
		// Every Manager registers. The account is there; RFC 8555 §7.3.1 says
		// what the CA would answer.
		return local(req, http.StatusOK, []byte(`{"status":"valid"}`), http.Header{"Location": {t.acct.kid}}), nil
	}
	t.mu.Lock()
	body, ok := t.settled[url]
	t.mu.Unlock()
	if ok {
		// autocert looks back at its authorizations to deactivate pending ones.
		return local(req, http.StatusOK, body, nil), nil
	}
	if url != t.acct.dir.NewOrder {
		return nil, nil
	}
	return nil, t.order(ctx)
}

// order lets the first newOrder pass, if the account's budget does.
func (t *orderTransport) order(ctx context.Context) error {
	t.mu.Lock()
	if t.seen.ordered || t.seen.refusal != nil {
		t.mu.Unlock()
		return errRefused
	}
	debited, free := t.seen.debited, t.free
	t.seen.ordered, t.seen.rejected = true, false
	t.mu.Unlock()

	if debited { // sent back for its nonce: the same order
		return nil
	}
	err := t.admit(ctx, free)
	t.mu.Lock()
	defer t.mu.Unlock()
	if err != nil {
		t.seen.ordered, t.seen.refusal = false, err
		return err
	}
	t.seen.debited = !free
	return nil
}

// pace makes the next look at a URL wait here, where the attempt can end it,
// and not in acme, which gets a Retry-After that has passed.
func (t *orderTransport) pace(url string, res *http.Response) {
	d := t.poll
	if d == 0 {
		d = pollDefault
		if at, ok := retryAfter(res.Header, t.now()); ok {
			d = min(max(at.Sub(t.now()), pollMin), pollMax)
		}
	}
	t.notUntil[url] = time.Now().Add(d)
	res.Header.Set("Retry-After", "Thu, 01 Jan 1970 00:00:00 GMT")
}

// wait blocks until url may be asked again.
func (t *orderTransport) wait(ctx context.Context, url string) error {
	t.mu.Lock()
	at, ok := t.notUntil[url]
	delete(t.notUntil, url)
	t.mu.Unlock()
	if !ok {
		return nil
	}
	timer := time.NewTimer(time.Until(at))
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// retry is the acme.Client.RetryBackoff of the attempt. newOrder is never
// repeated, unless sent back for its nonce: the CA may have opened the order.
// Once one is open, a hiccup of the CA is no reason to lose it.
func (t *orderTransport) retry(n int, req *http.Request, res *http.Response) time.Duration {
	if res.StatusCode == http.StatusBadRequest {
		return retryBadNonce(n, req, res)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	url := req.URL.String()
	if t.closed || n > 3 || url == t.acct.dir.NewOrder {
		return -1
	}
	d := time.Duration(n) * time.Second
	if at, ok := retryAfter(res.Header, t.now()); ok {
		d = at.Sub(t.now())
	}
	if d > pollMax {
		return -1
	}
	t.notUntil[url] = time.Now().Add(d)
	return time.Nanosecond // the wait is ours
}

// local makes a response that the CA has not sent. The request's nonce is
// still unused, so it goes back to the client for the next one.
func local(req *http.Request, status int, body []byte, header http.Header) *http.Response {
	if header == nil {
		header = make(http.Header)
	}
	header.Set("Content-Type", "application/json")
	if nonce := nonceOf(req); nonce != "" {
		header.Set("Replay-Nonce", nonce)
	}
	return &http.Response{
		Status: fmt.Sprintf("%d %s", status, http.StatusText(status)), StatusCode: status,
		Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1,
		Header: header, Body: io.NopCloser(bytes.NewReader(body)), ContentLength: int64(len(body)),
		Request: req,
	}
}

// nonceOf returns the nonce of a signed request (RFC 8555 §6.5.2).
func nonceOf(req *http.Request) string {
	if req.Body == nil {
		return ""
	}
	var signed jws
	if json.NewDecoder(req.Body).Decode(&signed) != nil {
		return ""
	}
	protected, err := base64.RawURLEncoding.DecodeString(signed.Protected)
	if err != nil {
		return ""
	}
	var header struct {
		Nonce string `json:"nonce"`
	}
	if json.Unmarshal(protected, &header) != nil {
		return ""
	}
	return header.Nonce
}
