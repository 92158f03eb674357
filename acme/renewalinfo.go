package acme

import (
	"context"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"time"

	// Its client asks by the wall clock, three times over, and hides the
	// status of an answer; the identifier and the object are what is used.
	ari "github.com/mholt/acmez/v3/acme"

	"github.com/stshost/stshost/internal/spread"
	"github.com/stshost/stshost/internal/state"
)

const (
	askDefault = 6 * time.Hour    // between questions when the CA says nothing
	askMin     = time.Minute      // whatever the CA says
	askMax     = 24 * time.Hour   // whatever the CA says; for short-lived certificates a twelfth of their life
	askFirst   = 10 * time.Minute // within which a new certificate is first asked for

	// ageMin is how old a certificate gets at least, or a twelfth of its life:
	// a CA that suggests the past for every new one would have us order
	// without end, and no budget would hold that up.
	ageMin = 8 * time.Hour
)

// suggestion is a CA's answer about the renewal of one certificate (RFC 9773
// §4.2).
type suggestion struct {
	start, end  time.Time
	at          time.Time     // the time in the window at which to renew
	explanation string        // URL, or ""
	next        time.Duration // until the next question
}

// errNoSuggestion says that the CA has no usable suggestion for this one
// certificate: when to renew it is ours to decide (RFC 9773 §4.2).
var errNoSuggestion = errors.New("no renewal information for this certificate")

// renewalID is the identifier of a certificate in questions and renewals (RFC
// 9773 §4.1).
func renewalID(leaf *x509.Certificate) (string, error) {
	if len(leaf.AuthorityKeyId) == 0 {
		return "", fmt.Errorf("%w: it has no authority key identifier", errNoSuggestion)
	}
	id, err := ari.ARIUniqueIdentifier(leaf)
	if err != nil {
		return "", fmt.Errorf("%w: %w", errNoSuggestion, err)
	}
	return id, nil
}

// suggest asks the CA when it wants a certificate renewed. An error that is
// errNoSuggestion is about this certificate; any other about the CA.
func (c *authority) suggest(ctx context.Context, acct *account, leaf *x509.Certificate) (suggestion, error) {
	id, err := renewalID(leaf)
	if err != nil {
		return suggestion{}, err
	}
	// RFC 9773 §4.1: a plain GET.
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, strings.TrimRight(acct.dir.RenewalInfo, "/")+"/"+id, nil)
	if err != nil {
		return suggestion{}, err
	}
	req.Header.Set("User-Agent", c.userAgent)
	res, err := c.HTTPClient.Do(req)
	if err != nil {
		return suggestion{}, err
	}
	defer res.Body.Close()
	body, err := io.ReadAll(io.LimitReader(res.Body, maxBody))
	if err != nil {
		return suggestion{}, err
	}
	retryAt, asked := retryAfter(res.Header, c.now())
	switch {
	case res.StatusCode == http.StatusTooManyRequests, res.StatusCode >= 500:
		return suggestion{}, &caError{problem: parseProblem(res.StatusCode, body), retryAt: retryAt, asked: asked}
	case res.StatusCode != http.StatusOK:
		return suggestion{}, fmt.Errorf("%w: %s", errNoSuggestion, parseProblem(res.StatusCode, body))
	}
	s, err := readSuggestion(body, id, leaf)
	if err != nil {
		return s, fmt.Errorf("%w: %w", errNoSuggestion, err)
	}
	s.next = askAgain(leaf.NotAfter.Sub(leaf.NotBefore), retryAt.Sub(c.now()), asked)
	return s, nil
}

// readSuggestion reads the CA's answer and picks the time of renewal: uniformly
// distributed in the window (RFC 9773 §4.2), and always the same one for the
// same certificate and window, so that neither a restart nor the next question
// throws the dice again.
func readSuggestion(body []byte, id string, leaf *x509.Certificate) (suggestion, error) {
	var info ari.RenewalInfo
	if err := json.Unmarshal(body, &info); err != nil {
		return suggestion{}, fmt.Errorf("the CA's answer cannot be read: %w", err)
	}
	start, end := info.SuggestedWindow.Start, info.SuggestedWindow.End
	if !info.HasWindow() || !end.After(start) {
		return suggestion{}, fmt.Errorf("the CA's window from %s to %s is none", start.Format(time.RFC3339), end.Format(time.RFC3339))
	}
	s := suggestion{start: start, end: end, explanation: clean(info.ExplanationURL)}
	s.at = start.Add(spread.Of(id, end.Sub(start)))
	// A window at the very end of the certificate's life leaves no time for a
	// second try.
	if latest := leaf.NotAfter.Add(-leaf.NotAfter.Sub(leaf.NotBefore) / 8); s.at.After(latest) {
		s.at = latest
	}
	return s, nil
}

// askAgain is how long to wait with the next question.
func askAgain(life, retryAfter time.Duration, asked bool) time.Duration {
	if !asked {
		retryAfter = askDefault
	}
	return max(askMin, min(retryAfter, askMax, life/12))
}

// firstQuestion is when the CA of a new certificate is first asked.
func firstQuestion(host string, now time.Time, life time.Duration) time.Time {
	return now.Add(askMin + spread.Of(host, min(askFirst-askMin, max(0, life/12))))
}

// reschedule puts a CA's suggestion into a job, and reports whether that is
// worth telling.
func reschedule(job state.CertJob, s suggestion, now time.Time) (state.CertJob, bool) {
	before := job
	job.WindowStart, job.WindowEnd, job.Explanation = s.start, s.end, s.explanation
	news := s.explanation != "" && s.explanation != before.Explanation
	if job.Attempts > 0 || job.Problem != "" {
		return job, news // it is on its way
	}
	at := later(s.at, job.LastAttempt.Add(min(ageMin, job.NotAfter.Sub(job.LastAttempt)/12)))
	switch {
	case at.After(now):
		job.Due = at
	case job.Due.After(now): // RFC 9773 §4.2: a time that has passed is now
		job.Due = now
		news = true
	}
	earlier := before.Due.Sub(job.Due)
	if !before.WindowEnd.IsZero() && earlier > job.NotAfter.Sub(before.Due)/8 {
		news = true
	}
	return job, news
}
