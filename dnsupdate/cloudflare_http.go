package dnsupdate

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	"golang.org/x/time/rate"
)

const (
	// cloudflareTimeout bounds one request. It must be there: the libdns
	// module holds a lock across its zone look-up, so one request that hangs
	// would stop every domain of the account.
	cloudflareTimeout = 20 * time.Second

	// Cloudflare allows a user 1,200 requests in 5 minutes over everything,
	// then refuses all of them for 5 minutes. These make at most 1,100, for the
	// user has other programs too.
	cloudflareRate    = 3
	cloudflareBurst   = 200
	cloudflarePenalty = 5 * time.Minute
)

// cloudflareHTTP is the way to Cloudflare's API for our own reads and for the
// libdns module (it is the module's HTTPClient). It adds what the module lacks:
// a timeout, pacing, a pause after a 429, and errors for answers that the
// module would misread, such as an HTML page or a failure without a reason.
type cloudflareHTTP struct {
	client  *http.Client
	limiter *rate.Limiter
	pauser
}

func newCloudflareHTTP(env environment) *cloudflareHTTP {
	return &cloudflareHTTP{
		client:  &http.Client{Transport: env.transport, Timeout: cloudflareTimeout, CheckRedirect: noRedirect},
		limiter: rate.NewLimiter(cloudflareRate, cloudflareBurst),
		pauser:  pauser{provider: "Cloudflare", otherwise: cloudflarePenalty, now: env.now},
	}
}

// Do sends a request. The response is one that the module reads rightly:
// JSON, a success that says so, its body complete in memory.
func (h *cloudflareHTTP) Do(req *http.Request) (*http.Response, error) {
	if err := h.paused(); err != nil {
		return nil, err
	}
	if err := pace(req.Context(), h.limiter); err != nil {
		return nil, err
	}
	resp, err := h.client.Do(req)
	if err != nil {
		if req.Context().Err() != nil {
			return nil, req.Context().Err()
		}
		return nil, fmt.Errorf("the Cloudflare API cannot be reached: %w", err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("the Cloudflare API broke off its answer: %w", err)
	}
	if resp.StatusCode == http.StatusTooManyRequests {
		return nil, h.pause(resp.Header.Get("Retry-After"))
	}
	if err := cloudflareProblem(resp.StatusCode, body); err != nil {
		return nil, err
	}
	resp.Body = io.NopCloser(bytes.NewReader(body))
	return resp, nil
}

// result sends a request and decodes the result in the answer.
func (h *cloudflareHTTP) result(req *http.Request, result any) error {
	resp, err := h.Do(req)
	if err != nil {
		return err
	}
	var answer struct {
		Result json.RawMessage `json:"result"`
	}
	if err := json.NewDecoder(resp.Body).Decode(&answer); err != nil {
		return fmt.Errorf("the Cloudflare API answers with JSON that cannot be read: %w", err)
	}
	if err := json.Unmarshal(answer.Result, result); err != nil {
		return fmt.Errorf("the Cloudflare API answers with a result that cannot be read: %w", err)
	}
	return nil
}

// cloudflareError is one of the errors in an answer.
type cloudflareError struct {
	Code    int               `json:"code"`
	Message string            `json:"message"`
	Chain   []cloudflareError `json:"error_chain"`
}

func (e cloudflareError) String() string {
	s := fmt.Sprintf("%d %s", e.Code, e.Message)
	for _, c := range e.Chain {
		s += ": " + c.String()
	}
	return s
}

// cloudflareRefusal is the API's answer that it will not do what was asked,
// unlike trouble on the way to it or of its own.
type cloudflareRefusal struct{ text string }

func (e *cloudflareRefusal) Error() string { return e.text }

// cloudflareProblem returns what is wrong with an answer, nil for a success.
func cloudflareProblem(status int, body []byte) error {
	var answer struct {
		Success bool              `json:"success"`
		Errors  []cloudflareError `json:"errors"`
	}
	if err := json.Unmarshal(body, &answer); err != nil {
		if status/100 == 2 {
			return fmt.Errorf("the Cloudflare API answers %d without JSON: %s", status, excerpt(body))
		}
		return fmt.Errorf("the Cloudflare API is in trouble, it answers %d %s without JSON: %s", status, http.StatusText(status), excerpt(body))
	}
	if status/100 == 2 && answer.Success && len(answer.Errors) == 0 {
		return nil
	}
	var said []string
	for _, e := range answer.Errors {
		said = append(said, e.String())
	}
	text := strings.Join(said, "; ")
	if text == "" {
		text = "it gives no reason"
	}
	refuse := func(format string, args ...any) error { return &cloudflareRefusal{fmt.Sprintf(format, args...)} }
	switch {
	case status == http.StatusUnauthorized, hasCode(answer.Errors, 1000, 6003, 6111, 9109):
		return refuse("the Cloudflare API does not accept the token (%d: %s); check api_token and zone_token: an API token, not expired, not revoked, usable from this address", status, text)
	case status == http.StatusForbidden, hasCode(answer.Errors, 10000):
		return refuse("the Cloudflare API does not let the token do this (%d: %s); give it Zone:Read and DNS:Edit on the zone", status, text)
	case status >= 500:
		return fmt.Errorf("the Cloudflare API is in trouble (%d: %s)", status, text)
	}
	return refuse("the Cloudflare API reports a failure (%d: %s)", status, text)
}

func hasCode(errs []cloudflareError, codes ...int) bool {
	for _, e := range errs {
		for _, c := range codes {
			if e.Code == c || hasCode(e.Chain, c) {
				return true
			}
		}
	}
	return false
}
