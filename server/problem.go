package server

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
)

// badInputError says that what was asked with is not what it must be, as a
// domain that is no name at all.
type badInputError struct{ err error }

func (e *badInputError) Error() string { return e.err.Error() }

// domainName brings a name in a URL into the form that the Backend knows.
func domainName(s string) (string, error) {
	name, err := mtasts.ParseDomain(s)
	if err != nil {
		return "", &badInputError{err}
	}
	return name, nil
}

// problem maps an error to a response (RFC 9457). Only errors that are meant for
// the caller are shown; of others the log has the detail.
func (s *Server) problem(path string, err error) *huma.ErrorModel {
	p := &huma.ErrorModel{Detail: err.Error()}
	var invalid *InvalidConfigError
	var input *badInputError
	var refused *state.RefusedError
	var pinned *state.PinnedError
	var stage *state.StageError
	switch {
	case errors.As(err, &invalid):
		p.Status = http.StatusUnprocessableEntity
		p.Detail = fmt.Sprintf("the configuration has %d faults; the running one stays in force", len(invalid.Errors))
		if len(invalid.Errors) == 1 {
			p.Detail = "the configuration has a fault; the running one stays in force"
		}
		for _, line := range invalid.Errors {
			p.Errors = append(p.Errors, &huma.ErrorDetail{Message: line})
		}
	case errors.As(err, &input):
		p.Status = http.StatusUnprocessableEntity
	case errors.As(err, &refused):
		p.Status, p.Detail = http.StatusConflict, refused.Error()
	case errors.As(err, &pinned):
		p.Status, p.Detail = http.StatusConflict, pinned.Error()
	case errors.As(err, &stage):
		p.Status, p.Detail = http.StatusConflict, stage.Error()
	case errors.As(err, new(*busyError)):
		p.Status = http.StatusServiceUnavailable
	case errors.Is(err, state.ErrNotFound):
		p.Status = http.StatusNotFound
		p.Detail = "the server does not know this domain; if it is in the configuration, run `stshost reload`"
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		p.Status = http.StatusServiceUnavailable
		p.Detail = "the answer took too long; ask again"
	default:
		p.Status = http.StatusInternalServerError
		p.Detail = "stshost could not answer; its log says why"
		s.log.Error("an admin request failed", "path", path, "error", err)
	}
	p.Title = http.StatusText(p.Status)
	return p
}
