package lab

import (
	"fmt"
	"math"
	"net"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/miekg/dns"
)

// CARequest is a kind of request to the CA.
type CARequest string

// The kinds of requests. Validation has its own fault: FailValidation.
const (
	AnyRequest  CARequest = ""
	Directory   CARequest = "directory"
	NewAccount  CARequest = "newAccount"
	NewOrder    CARequest = "newOrder"
	Authz       CARequest = "authz"     // reading an authorization
	Challenge   CARequest = "challenge" // asking to validate
	Order       CARequest = "order"     // reading an order
	Finalize    CARequest = "finalize"
	Certificate CARequest = "certificate" // the download
	RenewalInfo CARequest = "renewalInfo" // when to renew a certificate (RFC 9773)
)

// CAFault makes the CA misbehave for the requests that it matches: one of
// Drop, Hang, or an answer with Status.
type CAFault struct {
	Request CARequest
	// Host limits a fault for NewOrder to orders with this host. Empty: all.
	Host string
	// Times is how many requests it is for; 0: all until undone.
	Times int

	// Drop closes the connection without an answer.
	Drop bool
	// Hang gives no answer until the fault is undone (then the request goes
	// on), the client leaves, or the CA is closed.
	Hang bool
	// Status is the HTTP status of a problem document (RFC 7807).
	Status int
	// Type is the problem's type; without a scheme it is put behind
	// "urn:ietf:params:acme:error:". Empty: "serverInternal".
	Type string
	// Detail is the problem's text.
	Detail string
	// RetryAfter, if not 0, is sent in whole seconds, rounded up.
	RetryAfter time.Duration

	undone chan struct{}
}

// validationFault is what FailValidation sets.
type validationFault struct {
	host  string
	types []string
}

// challenge is what the CA offered at a challenge URL.
type challenge struct{ host, kind string }

// Fail adds a fault. It lasts until undo is called or its Times are used up.
// Of several that match a request the newest counts.
func (c *CA) Fail(f CAFault) (undo func()) {
	p := &f
	p.Host = strings.ToLower(p.Host)
	p.undone = make(chan struct{})
	c.mu.Lock()
	defer c.mu.Unlock()
	c.faults = append(c.faults, p)
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.faults = slices.DeleteFunc(c.faults, func(q *CAFault) bool { return q == p })
		select {
		case <-p.undone:
		default:
			close(p.undone)
		}
	}
}

// Down drops every connection until up is called.
func (c *CA) Down() (up func()) { return c.Fail(CAFault{Drop: true}) }

// RateLimit answers newOrder with 429 and the problem document that Let's
// Encrypt sends, until undo is called.
func (c *CA) RateLimit(retryAfter time.Duration) (undo func()) {
	return c.Fail(CAFault{
		Request:    NewOrder,
		Status:     http.StatusTooManyRequests,
		Type:       "rateLimited",
		Detail:     "too many new orders (300) from this account in the last 3h0m0s",
		RetryAfter: retryAfter,
	})
}

// FailValidation makes validations of host fail, as if the host's address
// could not be reached, until undo is called: those by the given challenge
// types ("http-01", "tls-alpn-01"), or all if none is given.
func (c *CA) FailValidation(host string, types ...string) (undo func()) {
	p := &validationFault{host: dns.CanonicalName(host), types: types}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.validation = append(c.validation, p)
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.validation = slices.DeleteFunc(c.validation, func(q *validationFault) bool { return q == p })
	}
}

// fault finds the fault for a request and takes one of its Times; or nil.
func (c *CA) fault(kind CARequest, hosts []string) *CAFault {
	c.mu.Lock()
	defer c.mu.Unlock()
	for i, f := range slices.Backward(c.faults) {
		if f.Request != AnyRequest && f.Request != kind || f.Host != "" && !slices.Contains(hosts, f.Host) {
			continue
		}
		if f.Times > 0 {
			if f.Times--; f.Times == 0 {
				c.faults = slices.Delete(c.faults, i, i+1)
			}
		}
		return f
	}
	return nil
}

// serve gives the fault's answer. handled is false if the request goes on.
func (f *CAFault) serve(w http.ResponseWriter, r *http.Request, closed <-chan struct{}) (handled bool) {
	switch {
	case f.Drop:
		panic(http.ErrAbortHandler) // net/http's way to cut a connection
	case f.Hang:
		select {
		case <-f.undone:
			return false
		case <-r.Context().Done():
		case <-closed:
		}
		panic(http.ErrAbortHandler)
	}
	kind := f.Type
	if kind == "" {
		kind = "serverInternal"
	}
	if !strings.Contains(kind, ":") {
		kind = "urn:ietf:params:acme:error:" + kind
	}
	if f.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(math.Ceil(f.RetryAfter.Seconds()))))
	}
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(f.Status)
	fmt.Fprintf(w, "{\"type\": %q, \"detail\": %q, \"status\": %d}\n", kind, f.Detail, f.Status)
	return true
}

// serveView answers the CA's DNS queries from the lab's DNS, but for the hosts
// whose validation is to fail: those get an address that Linux and others
// refuse to connect to at once.
func (c *CA) serveView(w dns.ResponseWriter, req *dns.Msg) {
	if len(req.Question) == 1 && c.validationFails(req.Question[0].Name) {
		resp := new(dns.Msg).SetReply(req)
		if q := req.Question[0]; q.Qtype == dns.TypeA {
			resp.Answer = []dns.RR{&dns.A{
				Hdr: dns.RR_Header{Name: q.Name, Rrtype: dns.TypeA, Class: dns.ClassINET},
				A:   net.IPv4bcast,
			}}
		}
		_ = w.WriteMsg(resp)
		return
	}
	c.cfg.DNS.ServeDNS(w, req)
}

func (c *CA) validationFails(name string) bool {
	name = dns.CanonicalName(name)
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.ContainsFunc(c.validation, func(f *validationFault) bool {
		return f.host == name && (len(f.types) == 0 || slices.Contains(f.types, c.trying[name]))
	})
}
