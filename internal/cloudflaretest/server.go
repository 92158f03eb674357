// Package cloudflaretest is a model of Cloudflare for tests: the part of its
// API that concerns zones and DNS records, and the authoritative servers that
// show those records.
//
// It is modelled on the API's documentation and on what the libdns module
// sends. What matters here: records are filtered by name, type and content,
// changed by id one at a time, names may be given relative to the zone, every
// list carries result_info, and an identical second record is refused.
package cloudflaretest

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"
)

// Record is a DNS record at Cloudflare. Content is as the API shows it: TXT in
// quotes.
type Record struct {
	ID      string `json:"id"`
	ZoneID  string `json:"zone_id"`
	Zone    string `json:"zone_name"`
	Type    string `json:"type"`
	Name    string `json:"name"` // absolute, no trailing dot
	Content string `json:"content"`
	TTL     int    `json:"ttl"`
}

// Server is the model. Its methods may be called at any time.
type Server struct {
	Token     string // may read and edit every zone of the account
	ZoneToken string // may only read zones
	DNSAddr   string // host:port of the authoritative server, UDP and TCP
	DNSPort   int

	api  *httptest.Server
	dns  []*dns.Server
	open *url.URL

	mu       sync.Mutex
	zones    []zone
	records  []Record
	lastID   int
	requests []string
	fail     func(*http.Request) *Failure
}

type zone struct {
	id       string
	name     string // no trailing dot
	readOnly bool
}

// Failure is an answer that takes the place of the right one.
type Failure struct {
	Status int
	Header map[string]string
	Body   string // JSON unless Header says otherwise
}

// Failures as Cloudflare produces them.
func TooManyRequests(retryAfter string) *Failure {
	return &Failure{Status: 429, Header: map[string]string{"Retry-After": retryAfter},
		Body: `{"success":false,"errors":[{"code":971,"message":"Please wait and consider throttling your request speed"}],"messages":[],"result":null}`}
}

// BadGateway is the HTML page of Cloudflare's own edge.
func BadGateway() *Failure {
	return &Failure{Status: 502, Header: map[string]string{"Content-Type": "text/html"},
		Body: "<html>\n<head><title>502 Bad Gateway</title></head>\n<body><center><h1>502 Bad Gateway</h1></center><hr><center>cloudflare</center></body>\n</html>\n"}
}

// FailureWithoutReason says success:false with status 200 and no errors.
func FailureWithoutReason() *Failure {
	return &Failure{Status: 200, Body: `{"success":false,"errors":[],"messages":[],"result":null}`}
}

// Start runs the model with these zones until the test ends.
func Start(t testing.TB, zones ...string) *Server {
	t.Helper()
	s := &Server{Token: "cf-test-token-4Xk29", ZoneToken: "cf-zone-token-77Qp1"}
	for _, z := range zones {
		s.AddZone(z)
	}
	s.api = httptest.NewServer(http.HandlerFunc(s.serve))
	t.Cleanup(s.api.Close)
	s.open, _ = url.Parse(s.api.URL)
	s.startDNS(t)
	return s
}

// Transport leads requests for api.cloudflare.com here. It is for the
// Transport of dnsupdate.Config.
func (s *Server) Transport() http.RoundTripper { return transport{s} }

type transport struct{ s *Server }

func (t transport) RoundTrip(req *http.Request) (*http.Response, error) {
	if req.URL.Scheme != "https" || req.URL.Host != "api.cloudflare.com" {
		return nil, fmt.Errorf("a request for %s went to the Cloudflare model", req.URL.Host)
	}
	req = req.Clone(req.Context())
	req.URL.Scheme, req.URL.Host = t.s.open.Scheme, t.s.open.Host
	return http.DefaultTransport.RoundTrip(req)
}

// AddZone adds a zone to the account.
func (s *Server) AddZone(name string) { s.addZone(name, false) }

// AddReadOnlyZone adds a zone whose records Token may read and not edit.
func (s *Server) AddReadOnlyZone(name string) { s.addZone(name, true) }

func (s *Server) addZone(name string, readOnly bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.lastID++
	s.zones = append(s.zones, zone{id: fmt.Sprintf("%032x", s.lastID), name: plain(name), readOnly: readOnly})
}

// RemoveZone removes a zone and its records.
func (s *Server) RemoveZone(name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.zones = slices.DeleteFunc(s.zones, func(z zone) bool { return z.name == plain(name) })
	s.records = slices.DeleteFunc(s.records, func(r Record) bool { return r.Zone == plain(name) })
}

// Add adds a record behind the API's back, as another program or a person
// would. The content of a TXT record is given as the API shows it.
func (s *Server) Add(t testing.TB, typ, name, content string) {
	t.Helper()
	s.mu.Lock()
	defer s.mu.Unlock()
	z := s.zoneOf(plain(name))
	if z == nil {
		t.Fatalf("no zone for %s", name)
	}
	s.insert(*z, Record{Type: typ, Name: plain(name), Content: content, TTL: 300})
}

// Remove removes every record of a type at a name.
func (s *Server) Remove(typ, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.records = slices.DeleteFunc(s.records, func(r Record) bool { return r.Type == typ && r.Name == plain(name) })
}

// Contents returns the contents of the records of a type at a name, in the
// order they were made.
func (s *Server) Contents(typ, name string) []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	var out []string
	for _, r := range s.records {
		if r.Type == typ && r.Name == plain(name) {
			out = append(out, r.Content)
		}
	}
	return out
}

// Fail lets f decide for each request whether it fails; nil lets all be well.
func (s *Server) Fail(f func(*http.Request) *Failure) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fail = f
}

// Requests returns "METHOD path?query" of every request so far.
func (s *Server) Requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return slices.Clone(s.requests)
}

// Writes returns those requests that were not reads.
func (s *Server) Writes() []string {
	return slices.DeleteFunc(s.Requests(), func(r string) bool { return strings.HasPrefix(r, "GET ") })
}

// insert adds a record; the caller holds the lock.
func (s *Server) insert(z zone, r Record) Record {
	s.lastID++
	r.ID, r.ZoneID, r.Zone = fmt.Sprintf("%032x", s.lastID), z.id, z.name
	s.records = append(s.records, r)
	return r
}

// zoneOf returns the closest zone; the caller holds the lock.
func (s *Server) zoneOf(name string) *zone {
	var best *zone
	for i, z := range s.zones {
		if (name == z.name || strings.HasSuffix(name, "."+z.name)) && (best == nil || len(z.name) > len(best.name)) {
			best = &s.zones[i]
		}
	}
	return best
}

func plain(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }
