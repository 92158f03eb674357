package acme

import (
	"encoding/json"
	"net/http"
	"time"
)

// sighting is what the transport has seen of an attempt.
type sighting struct {
	ordered  bool  // newOrder went out, and was not sent back for its nonce
	rejected bool  // the CA answered it with a 4xx, or a 503 that asks to wait: no order was opened
	debited  bool  // admit let newOrder pass
	refusal  error // why admit did not

	verdict *problem // why the CA found the authorization or order invalid
	offered []string // challenge types of the authorization, if ours is not among them

	failedURL string    // the last request that failed and has not succeeded since
	status    int       // its status; 0 without an answer
	problem   *problem  // its problem document
	err       error     // why there was no answer
	retryAt   time.Time // what Retry-After said, if asked
	asked     bool
}

// look reads a response on its way to autocert and returns the body that
// autocert gets.
func (t *orderTransport) look(url string, res *http.Response, body []byte) []byte {
	if res.StatusCode >= 400 {
		p := parseProblem(res.StatusCode, body)
		fail := sighting{status: res.StatusCode, problem: p}
		fail.retryAt, fail.asked = retryAfter(res.Header, t.now())
		turnedAway := res.StatusCode == http.StatusServiceUnavailable && fail.asked
		if url == t.acct.dir.NewOrder && (res.StatusCode < 500 || turnedAway) {
			t.mu.Lock()
			// acme repeats a request that was sent back for its nonce.
			t.seen.ordered = p.kind() != "badNonce"
			t.seen.rejected = true
			t.mu.Unlock()
		}
		t.failed(url, fail)
		return body
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.seen.failedURL == url {
		t.seen.failedURL, t.seen.status, t.seen.problem, t.seen.err, t.seen.asked = "", 0, nil, nil, false
	}
	var obj struct {
		Status         string   `json:"status"`
		Error          *problem `json:"error"`
		Authorizations []string `json:"authorizations"`
	}
	if json.Unmarshal(body, &obj) != nil {
		return body // a certificate
	}
	switch {
	case t.authz[url]:
		body = t.authorization(url, obj.Status, body)
	case len(obj.Authorizations) > 0: // an order
		for _, a := range obj.Authorizations {
			t.authz[a] = true
		}
		if obj.Status == "invalid" && t.seen.verdict == nil {
			t.seen.verdict = obj.Error
		}
	default:
		return body
	}
	if obj.Status == "pending" || obj.Status == "processing" {
		t.pace(url, res)
	}
	return body
}

// authorization takes from an authorization (RFC 8555 §7.1.4) every challenge
// but those of the attempt's type, and notes why it failed.
func (t *orderTransport) authorization(url, status string, body []byte) []byte {
	var fields map[string]json.RawMessage
	var challenges []json.RawMessage
	if json.Unmarshal(body, &fields) != nil || json.Unmarshal(fields["challenges"], &challenges) != nil {
		return body
	}
	kept := []json.RawMessage{}
	var others []string
	for _, raw := range challenges {
		var ch struct {
			Type  string   `json:"type"`
			Error *problem `json:"error"`
		}
		if json.Unmarshal(raw, &ch) != nil {
			continue
		}
		if ch.Error != nil && status == "invalid" {
			t.seen.verdict = ch.Error
		}
		if ch.Type == t.challenge {
			kept = append(kept, raw)
		} else {
			others = append(others, ch.Type)
		}
	}
	if len(kept) == 0 && status == "pending" {
		t.seen.offered = others
	}
	filtered, err := json.Marshal(kept)
	if err != nil {
		return body
	}
	fields["challenges"] = filtered
	out, err := json.Marshal(fields)
	if err != nil {
		return body
	}
	if status == "valid" || status == "invalid" {
		t.settled[url] = out
	}
	return out
}

// failed notes a request that failed.
func (t *orderTransport) failed(url string, fail sighting) {
	t.mu.Lock()
	defer t.mu.Unlock()
	s := &t.seen
	s.failedURL, s.status, s.problem, s.err = url, fail.status, fail.problem, fail.err
	s.retryAt, s.asked = fail.retryAt, fail.asked
}
