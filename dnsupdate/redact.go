package dnsupdate

import (
	"encoding/json"
	"errors"
	"net"
	"net/url"
	"slices"
	"strings"
)

// redactor strikes an account's secrets out of whatever is shown.
type redactor struct{ secrets []string }

// redacted stands where a secret was.
const redacted = "[redacted]"

func newRedactor(p providerType, settings map[string]string) redactor {
	var r redactor
	add := func(s string) {
		if s != "" && !slices.Contains(r.secrets, s) {
			r.secrets = append(r.secrets, s)
		}
	}
	for _, s := range p.settings {
		if !s.Secret {
			continue
		}
		// A secret may come back as it was sent, or in the notation of a URL
		// or of JSON.
		v := strings.TrimSpace(settings[s.Key])
		add(v)
		add(url.QueryEscape(v))
		add(url.PathEscape(v))
		if b, err := json.Marshal(v); err == nil {
			add(strings.Trim(string(b), `"`))
		}
	}
	// The longest first, lest a part of it is struck out and the rest stays.
	slices.SortFunc(r.secrets, func(a, b string) int { return len(b) - len(a) })
	return r
}

// error returns err with its secrets struck out, nil for nil. Our own end of a
// connection goes with them: its port is another each time, which would make
// every failure look like a new one.
func (r redactor) error(err error) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	if op, ok := errors.AsType[*net.OpError](err); ok && op.Source != nil {
		text = strings.ReplaceAll(text, op.Source.String()+"->", "")
	}
	for _, s := range r.secrets {
		text = strings.ReplaceAll(text, s, redacted)
	}
	return &redactedError{text: text, err: err}
}

// redactedError shows the clean text. It answers errors.Is and errors.As for
// the error behind it and does not hand it out, so that nobody logs it.
type redactedError struct {
	text string
	err  error
}

func (e *redactedError) Error() string        { return e.text }
func (e *redactedError) Is(target error) bool { return errors.Is(e.err, target) }
func (e *redactedError) As(target any) bool   { return errors.As(e.err, target) }
