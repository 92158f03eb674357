package server

import (
	"bytes"
	"strconv"
	"sync"

	"github.com/stshost/stshost/mtasts"
)

// Policies is what the HTTPS listener serves: policy bodies by policy host, and
// the policy hosts that are known but have no body yet. Its methods may be
// called from any goroutine; a reader never sees half of a change.
type Policies struct {
	mu     sync.RWMutex
	hosts  map[string]struct{} // known hosts as given by SetHosts
	bodies map[string]*policy  // by policy host
}

// policy is one body with what a response needs, made once. It is never changed.
type policy struct {
	domain string
	body   []byte
	length []string // value of Content-Length, ready for http.Header
}

// NewPolicies returns an empty Policies.
func NewPolicies() *Policies {
	return &Policies{hosts: map[string]struct{}{}, bodies: map[string]*policy{}}
}

func newPolicy(domain string, body []byte) *policy {
	return &policy{domain: domain, body: bytes.Clone(body), length: []string{strconv.Itoa(len(body))}}
}

// Set serves body, which it copies, as the policy of domain from now on. The
// domain's policy host is known thereby.
func (p *Policies) Set(domain string, body []byte) {
	pol := newPolicy(domain, body)
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bodies[mtasts.PolicyHost(domain)] = pol
}

// SetAll replaces all bodies at once by those given, keyed by policy domain.
func (p *Policies) SetAll(bodies map[string][]byte) {
	m := make(map[string]*policy, len(bodies))
	for domain, body := range bodies {
		m[mtasts.PolicyHost(domain)] = newPolicy(domain, body)
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.bodies = m
}

// Remove stops serving a policy for domain. Its host stays known if SetHosts
// named it.
func (p *Policies) Remove(domain string) {
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.bodies, mtasts.PolicyHost(domain))
}

// SetHosts replaces the set of policy hosts (mta-sts.<domain>) that are known
// although they may have no body yet. It keeps hosts, so the caller must not
// change it afterwards. Hosts with a body are known in any case.
func (p *Policies) SetHosts(hosts map[string]struct{}) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.hosts = hosts
}

// Known reports whether host, in lower-case A-labels, is one of our policy hosts.
func (p *Policies) Known(host string) bool {
	p.mu.RLock()
	defer p.mu.RUnlock()
	if _, ok := p.bodies[host]; ok {
		return true
	}
	_, ok := p.hosts[host]
	return ok
}

// Lookup finds a policy host, in lower-case A-labels. ok reports whether the
// host is known; body is nil as long as it has no policy. The caller must not
// change body.
func (p *Policies) Lookup(host string) (domain string, body []byte, ok bool) {
	p.mu.RLock()
	pol := p.bodies[host]
	_, known := p.hosts[host]
	p.mu.RUnlock()
	switch {
	case pol != nil:
		return pol.domain, pol.body, true
	case known:
		return policyDomain(host), nil, true
	}
	return "", nil, false
}

// get is Lookup for the request path: it returns the prepared policy, or nil.
func (p *Policies) get(host string) *policy {
	p.mu.RLock()
	defer p.mu.RUnlock()
	return p.bodies[host]
}

// policyDomain is the policy domain of a policy host.
func policyDomain(host string) string {
	domain, _ := mtasts.PolicyDomain(host)
	return domain
}
