package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/stshost/stshost/internal/state"
)

const (
	// maxChecks is how many examinations are under way at a time: each opens
	// dozens of connections, and whoever asks for many is asked to wait.
	maxChecks = 2
	// checkWait is how long a request waits for others to end. One takes half a
	// minute at most.
	checkWait = 30 * time.Second
	// checkTimeout bounds a request as a whole.
	checkTimeout = time.Minute
)

// checkQuestion says what to examine.
type checkQuestion struct {
	Domain       string `json:"domain" maxLength:"255" doc:"Policy domain, hosted here or not; A-labels or U-labels, in any case" example:"example.com"`
	AllowPrivate bool   `json:"allow_private,omitempty" doc:"Whether to connect to private, loopback and other addresses that are not of the public Internet, if DNS leads there"`
}

type checkInput struct{ Body checkQuestion }

// busyError says that what was asked for is too much just now.
type busyError struct{ after time.Duration }

func (e *busyError) Error() string {
	return fmt.Sprintf("%d examinations are under way, which is as many as are done at a time; ask again in a while", maxChecks)
}

// withRetryAfter adds to a problem when to ask again, if err says so.
func withRetryAfter(p *huma.ErrorModel, err error) error {
	var busy *busyError
	if !errors.As(err, &busy) {
		return p
	}
	return huma.ErrorWithHeaders(p, http.Header{"Retry-After": {strconv.Itoa(int(busy.after.Seconds()))}})
}

// mountCheck adds the examination of a domain. One that is under way ends with
// stopping, for a stop waits for the requests in flight.
func (s *Server) mountCheck(api huma.API, stopping context.Context) {
	operation(s, api, "check-domain", http.MethodPost, "/check", "Examine any domain as mail senders see it",
		func(ctx context.Context, in *checkInput) (state.Report, error) {
			domain, err := domainName(in.Body.Domain)
			if err != nil {
				return state.Report{}, err
			}
			ctx, end := bounded(ctx, stopping, checkTimeout)
			defer end()
			if err := s.enterCheck(ctx); err != nil {
				return state.Report{}, err
			}
			defer func() { <-s.checks }()
			return s.cfg.Backend.Check(ctx, domain, in.Body.AllowPrivate)
		})
}

// bounded is ctx for a request that may take long: it ends with stopping, too,
// and after limit. end is for when the request is through.
func bounded(ctx, stopping context.Context, limit time.Duration) (_ context.Context, end func()) {
	ctx, cancel := context.WithTimeout(ctx, limit)
	forget := context.AfterFunc(stopping, cancel)
	return ctx, func() { forget(); cancel() }
}

// enterCheck takes a place among the examinations under way, or waits for one.
func (s *Server) enterCheck(ctx context.Context) error {
	patience := time.NewTimer(checkWait)
	defer patience.Stop()
	select {
	case s.checks <- struct{}{}:
		return nil
	case <-patience.C:
		return &busyError{after: checkWait}
	case <-ctx.Done():
		return ctx.Err()
	}
}
