package server

import (
	"sync"
	"time"
)

// Fetches is what senders did at one policy host since the server started.
type Fetches struct {
	Domain           string       `json:"domain" doc:"Policy domain in A-labels"`
	Host             string       `json:"host" doc:"Policy host, mta-sts.<domain>"`
	Since            time.Time    `json:"since" doc:"When counting began"`
	Served           uint64       `json:"served" doc:"Requests answered with the policy"`
	Refused          uint64       `json:"refused" doc:"Requests for the policy, or to the wrong host, answered with an error"`
	FailedHandshakes uint64       `json:"failed_handshakes" doc:"TLS handshakes that asked for this host and failed"`
	LastServed       time.Time    `json:"last_served,omitzero" doc:"When the policy was last fetched"`
	Recent           []FetchEvent `json:"recent" nullable:"false" doc:"Latest requests, newest first"`
	RecentFailures   []FetchEvent `json:"recent_failures" nullable:"false" doc:"Latest failed handshakes, newest first"`
}

// FetchEvent is one request at a policy host, or one failed TLS handshake.
type FetchEvent struct {
	Time      time.Time `json:"time" doc:"When it happened"`
	Remote    string    `json:"remote" doc:"Address and port of the client, or its address alone as a proxy told it"`
	UserAgent string    `json:"user_agent,omitempty" doc:"User-Agent of the request, cut to 128 bytes"`
	Protocol  string    `json:"protocol,omitempty" doc:"HTTP and TLS version"`
	Status    int       `json:"status,omitempty" doc:"HTTP status of the answer; absent for a failed handshake"`
	Reason    string    `json:"reason,omitempty" doc:"Why it was refused or failed"`
}

const (
	// recentEvents is how many requests, and how many failed handshakes, are kept
	// for a host. Memory is bounded by it and the number of our hosts.
	recentEvents = 20
	// logQuiet is for how long further failed handshakes of a host stay unlogged.
	logQuiet = time.Minute
	// clipped is how many bytes are kept of what a client says.
	clipped = 128
)

// fetchLog counts what happens at each known host. Only events of known hosts
// may be given to it.
type fetchLog struct {
	known func(host string) bool
	since time.Time

	mu    sync.Mutex
	hosts map[string]*hostLog
	sweep int // number of hosts at which those no longer known are dropped
}

type hostLog struct {
	served, refused, failed uint64
	lastServed, lastLogged  time.Time
	requests, handshakes    ring
}

func newFetchLog(known func(string) bool, since time.Time) *fetchLog {
	return &fetchLog{known: known, since: since, hosts: map[string]*hostLog{}, sweep: 64}
}

// request counts a request at host.
func (f *fetchLog) request(host string, e FetchEvent) {
	f.mu.Lock()
	defer f.mu.Unlock()
	h := f.host(host)
	if e.Status == 200 {
		h.served++
		h.lastServed = e.Time
	} else {
		h.refused++
	}
	h.requests.add(e)
}

// failedHandshake counts a failed handshake for host. It returns how many there
// were, and whether one was logged so lately that this one should not be.
func (f *fetchLog) failedHandshake(host string, e FetchEvent) (total uint64, quiet bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	h := f.host(host)
	h.failed++
	h.handshakes.add(e)
	if since := e.Time.Sub(h.lastLogged); !h.lastLogged.IsZero() && since >= 0 && since < logQuiet {
		return h.failed, true
	}
	h.lastLogged = e.Time
	return h.failed, false
}

// host returns the log of a host, made if need be; f.mu is held. Hosts that are
// no longer ours are dropped whenever the number of hosts has doubled.
func (f *fetchLog) host(name string) *hostLog {
	if h := f.hosts[name]; h != nil {
		return h
	}
	if len(f.hosts) >= f.sweep {
		for other := range f.hosts {
			if !f.known(other) {
				delete(f.hosts, other)
			}
		}
		f.sweep = max(64, 2*len(f.hosts))
	}
	h := &hostLog{}
	f.hosts[name] = h
	return h
}

// get returns what happened at host.
func (f *fetchLog) get(host string) Fetches {
	r := Fetches{Domain: policyDomain(host), Host: host, Since: f.since, Recent: []FetchEvent{}, RecentFailures: []FetchEvent{}}
	f.mu.Lock()
	defer f.mu.Unlock()
	h := f.hosts[host]
	if h == nil {
		return r
	}
	r.Served, r.Refused, r.FailedHandshakes, r.LastServed = h.served, h.refused, h.failed, h.lastServed
	r.Recent = h.requests.newestFirst()
	r.RecentFailures = h.handshakes.newestFirst()
	return r
}

// ring keeps the last recentEvents events.
type ring struct {
	events []FetchEvent
	next   int // where the oldest stands once the ring is full
}

func (r *ring) add(e FetchEvent) {
	if len(r.events) < recentEvents {
		r.events = append(r.events, e)
		return
	}
	r.events[r.next] = e
	r.next = (r.next + 1) % recentEvents
}

func (r *ring) newestFirst() []FetchEvent {
	n := len(r.events)
	out := make([]FetchEvent, 0, n)
	for i := range n {
		out = append(out, r.events[(r.next+n-1-i)%n])
	}
	return out
}
