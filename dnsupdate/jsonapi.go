package dnsupdate

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"time"

	"golang.org/x/time/rate"
)

// jsonAPI is the way to a provider's HTTP API that speaks JSON. It adds what
// every such way needs: a timeout, pacing, a pause after a 429, no redirects,
// and a sentence for an answer that is none.
type jsonAPI struct {
	name    string // "the deSEC API"
	base    string
	http    *http.Client
	limiter *rate.Limiter
	sign    func(req *http.Request, body []byte) error // adds what proves who we are
	pauser
}

// apiTimeout bounds one request.
const apiTimeout = 20 * time.Second

// newJSONAPI makes the way to a provider, to which each requests a second and
// burst at once may go.
func newJSONAPI(env environment, provider, base string, each time.Duration, burst int) *jsonAPI {
	return &jsonAPI{
		name: "the " + provider + " API", base: base,
		http:    &http.Client{Transport: env.transport, Timeout: apiTimeout, CheckRedirect: noRedirect},
		limiter: rate.NewLimiter(rate.Every(each), burst),
		sign:    func(*http.Request, []byte) error { return nil },
		pauser:  pauser{provider: provider, otherwise: time.Minute, now: env.now},
	}
}

// problem is an answer that is no success.
type problem struct {
	status int
	body   []byte
	text   string
}

func (e *problem) Error() string { return e.text }

// call sends one request and decodes the answer into result, if that is wanted.
// An answer that is no success is a *problem.
func (a *jsonAPI) call(ctx context.Context, method, path string, body, result any) error {
	if err := a.paused(); err != nil {
		return err
	}
	if err := pace(ctx, a.limiter); err != nil {
		return err
	}
	var payload []byte
	if body != nil {
		var err error
		if payload, err = json.Marshal(body); err != nil {
			return err
		}
	}
	req, err := http.NewRequestWithContext(ctx, method, a.base+path, bytes.NewReader(payload))
	if err != nil {
		return err
	}
	req.Header.Set("Accept", "application/json")
	if body != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if err := a.sign(req, payload); err != nil {
		return err
	}
	resp, err := a.http.Do(req)
	if err != nil {
		if ctx.Err() != nil {
			return ctx.Err()
		}
		return fmt.Errorf("%s cannot be reached: %w", a.name, err)
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	switch {
	case err != nil:
		return fmt.Errorf("%s broke off its answer: %w", a.name, err)
	case resp.StatusCode == http.StatusTooManyRequests:
		return a.pause(resp.Header.Get("Retry-After"))
	case resp.StatusCode/100 != 2:
		what := "reports a failure"
		if resp.StatusCode >= 500 {
			what = "is in trouble"
		}
		return &problem{status: resp.StatusCode, body: answer, text: fmt.Sprintf("%s %s (%d): %s", a.name, what, resp.StatusCode, excerpt(answer))}
	case result == nil:
		return nil
	}
	if err := json.Unmarshal(answer, result); err != nil {
		return fmt.Errorf("%s answers with JSON that cannot be read: %w", a.name, err)
	}
	return nil
}
