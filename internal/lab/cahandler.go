package lab

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/letsencrypt/pebble/v2/wfe"
	"github.com/miekg/dns"
)

// maxRequest is the largest request body in bytes; ACME's are a few KiB.
const maxRequest = 1 << 20

// requestKind tells by Pebble's paths what a request is for.
func requestKind(path string) CARequest {
	switch path {
	case wfe.DirectoryPath:
		return Directory
	case "/sign-me-up":
		return NewAccount
	case "/order-plz":
		return NewOrder
	}
	for prefix, kind := range map[string]CARequest{
		"/authZ/":                              Authz,
		"/chalZ/":                              Challenge,
		"/my-order/":                           Order,
		"/finalize-order/":                     Finalize,
		"/certZ/":                              Certificate,
		"/draft-ietf-acme-ari-03/renewalInfo/": RenewalInfo,
	} {
		if strings.HasPrefix(path, prefix) {
			return kind
		}
	}
	return "other"
}

// ServeHTTP is the CA's front: it counts, makes faults, and passes to Pebble.
func (c *CA) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxRequest))
	if err != nil {
		return // the client broke off
	}
	kind := requestKind(r.URL.Path)
	var hosts []string
	var order *orderEntry
	if kind == NewOrder && r.Method == http.MethodPost {
		var what OrderRequest
		_ = json.Unmarshal(payload(body), &what) // Pebble says what is wrong with it
		hosts = orderHosts(body)
		order = c.orders.request(hosts, what)
		defer c.orders.answered(order)
	}
	if f := c.fault(kind, hosts); f != nil && f.serve(w, r, c.closed) {
		return
	}
	if kind == Challenge && !emptyPayload(body) {
		c.noteTrying(r.URL.Path)
	}
	polled := c.cfg.PollInterval > 0 && (kind == Authz || kind == Order)
	if polled {
		select {
		case <-time.After(c.cfg.PollInterval):
		case <-r.Context().Done():
			return
		}
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	resp := c.pass(r)
	c.note(kind, r.URL.Path, order, resp)
	maps.Copy(w.Header(), resp.header)
	if polled {
		// x/crypto/acme reads a time in the past as "at once", and 0 s as its
		// own default.
		w.Header().Set("Retry-After", time.Now().Add(-time.Minute).UTC().Format(http.TimeFormat))
	}
	w.WriteHeader(resp.status)
	_, _ = w.Write(resp.body.Bytes()) // the client is gone: nobody to tell
}

// pass gives the request to Pebble. Pebble's memory store can deadlock when
// many requests lock the same order in different sequence, so they go one
// after the other. None waits for a validation.
func (c *CA) pass(r *http.Request) *response {
	c.pebble.Lock()
	defer c.pebble.Unlock()
	resp := &response{header: make(http.Header), status: http.StatusOK}
	c.handler.ServeHTTP(resp, r)
	return resp
}

// response is an answer that was not sent yet.
type response struct {
	header http.Header
	status int
	body   bytes.Buffer
}

func (r *response) Header() http.Header         { return r.header }
func (r *response) WriteHeader(status int)      { r.status = status }
func (r *response) Write(p []byte) (int, error) { return r.body.Write(p) }

// payload is what a JWS in flattened form carries (RFC 8555 §6.2). The
// signature is Pebble's business.
func payload(body []byte) []byte {
	var jws struct {
		Payload string `json:"payload"`
	}
	if json.Unmarshal(body, &jws) != nil {
		return nil
	}
	b, err := base64.RawURLEncoding.DecodeString(jws.Payload)
	if err != nil {
		return nil
	}
	return b
}

// emptyPayload tells a POST-as-GET (RFC 8555 §6.3).
func emptyPayload(body []byte) bool { return len(payload(body)) == 0 }

// orderHosts are the identifiers of a newOrder request (RFC 8555 §7.4).
func orderHosts(body []byte) []string {
	var order struct {
		Identifiers []struct {
			Value string `json:"value"`
		} `json:"identifiers"`
	}
	if json.Unmarshal(payload(body), &order) != nil {
		return nil
	}
	var hosts []string
	for _, id := range order.Identifiers {
		hosts = append(hosts, strings.ToLower(id.Value))
	}
	return hosts
}

// noteTrying notes that the client asks to validate by the challenge at path.
func (c *CA) noteTrying(path string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if ch, ok := c.challenges[path]; ok {
		c.trying[ch.host] = ch.kind
	}
}

// note learns from Pebble's answers which challenges there are and how orders
// stand.
func (c *CA) note(kind CARequest, path string, entry *orderEntry, resp *response) {
	if resp.status/100 != 2 {
		return
	}
	switch kind {
	case NewOrder:
		var order struct {
			Authorizations []string `json:"authorizations"`
			Finalize       string   `json:"finalize"`
		}
		if entry != nil && json.Unmarshal(resp.body.Bytes(), &order) == nil {
			c.orders.accept(entry, append(order.Authorizations, order.Finalize))
		}
	case Authz:
		var authz struct {
			Status     string `json:"status"`
			Identifier struct {
				Value string `json:"value"`
			} `json:"identifier"`
			Challenges []struct {
				Type string `json:"type"`
				URL  string `json:"url"`
			} `json:"challenges"`
		}
		if json.Unmarshal(resp.body.Bytes(), &authz) != nil {
			return
		}
		if authz.Status == "invalid" || authz.Status == "deactivated" {
			c.orders.end(path, false)
		}
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, ch := range authz.Challenges {
			c.challenges[urlPath(ch.URL)] = challenge{host: dns.CanonicalName(authz.Identifier.Value), kind: ch.Type}
		}
	case Finalize:
		c.orders.end(path, true)
	}
}

func urlPath(s string) string {
	u, err := url.Parse(s)
	if err != nil {
		return s
	}
	return u.Path
}
