package acme

import (
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// maxProblem bounds the text of a problem, in bytes: it is kept with the job
// and shown on pages.
const maxProblem = 1000

// problem is a CA's problem document (RFC 8555 §6.7, RFC 9457).
type problem struct {
	Type        string    `json:"type"`
	Detail      string    `json:"detail"`
	Status      int       `json:"status"`
	Subproblems []problem `json:"subproblems"`
}

// kind is the error type without its name space, e.g. "rateLimited"
// (RFC 8555 §6.7).
func (p *problem) kind() string {
	if p == nil {
		return ""
	}
	return strings.TrimPrefix(p.Type, "urn:ietf:params:acme:error:")
}

// limits reports whether the CA refused because of a limit (RFC 8555 §6.6).
func (p *problem) limits() bool {
	return p != nil && (p.Status == http.StatusTooManyRequests || p.kind() == "rateLimited")
}

// String gives the CA's words in one line.
func (p *problem) String() string {
	text := p.Detail
	if kind := p.kind(); kind != "" {
		text = kind + ": " + text
	}
	for _, sub := range p.Subproblems {
		text += "; " + sub.String()
	}
	return clean(text)
}

// clean makes a foreign text fit for one line of a log or page.
func clean(text string) string {
	text = strings.ToValidUTF8(text, "\uFFFD")
	text = strings.Join(strings.Fields(strings.Map(func(r rune) rune {
		if r < ' ' || r == 0x7f {
			return ' '
		}
		return r
	}, text)), " ")
	if len(text) > maxProblem {
		text = strings.ToValidUTF8(text[:maxProblem], "") + " …"
	}
	return text
}

// parseProblem reads the body of an error response. A CA behind a broken proxy
// answers with a page instead; its status is then all there is to say.
func parseProblem(status int, body []byte) *problem {
	p := new(problem)
	if json.Unmarshal(body, p) != nil || p.Type == "" && p.Detail == "" {
		return &problem{Status: status, Detail: fmt.Sprintf("HTTP status %d %s", status, http.StatusText(status))}
	}
	p.Status = status
	return p
}

// maxRetryAfter is the longest Retry-After that is believed. Let's Encrypt's
// limits reach over 7 days; more comes from something that is broken.
const maxRetryAfter = 7 * 24 * time.Hour

// retryAfter reads Retry-After (RFC 9110 §10.2.3); ok is false without a
// usable one.
func retryAfter(header http.Header, now time.Time) (at time.Time, ok bool) {
	v := header.Get("Retry-After")
	if v == "" {
		return time.Time{}, false
	}
	if sec, err := strconv.ParseUint(v, 10, 31); err == nil {
		return now.Add(min(time.Duration(sec)*time.Second, maxRetryAfter)), true
	}
	at, err := http.ParseTime(v)
	if latest := now.Add(maxRetryAfter); at.After(latest) {
		at = latest
	}
	return at, err == nil
}

// aboutName reports whether a rateLimited problem is about this host's name,
// not about our account or address: Let's Encrypt limits failed validations
// and duplicate certificates by name, and certificates by registered domain,
// and names them, as other CAs do. Nobody else has to wait for those.
func aboutName(p *problem, host string) bool {
	if strings.Contains(p.Detail, "exact set of") {
		return true
	}
	for name := host; strings.Contains(name, "."); _, name, _ = strings.Cut(name, ".") {
		if hasName(p.Detail, name) {
			return true
		}
	}
	return false
}

// hasName reports whether text has name in it as a whole, quoted or not, and
// not as a part of a longer one.
func hasName(text, name string) bool {
	words := strings.FieldsFunc(strings.ToLower(text), func(r rune) bool {
		return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '.' && r != '_'
	})
	return slices.ContainsFunc(words, func(w string) bool { return strings.TrimRight(w, ".") == name })
}
