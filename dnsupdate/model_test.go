package dnsupdate_test

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"

	"github.com/stshost/stshost/dnsupdate"
)

// model is a DNS provider in memory: one zone, the name server that shows it,
// and an API that each provider's model adds. It is made from the provider's
// documentation and has never met the real one.
type model struct {
	account  dnsupdate.Account
	secrets  []string
	api      func(m *model, w http.ResponseWriter, req *http.Request) // called under the lock
	staged   bool                                                     // changes show only after publish
	mu       sync.Mutex
	records  []modelRecord
	shown    []modelRecord
	last     int
	writes   int
	requests int
	fail     func(req *http.Request) (status int, header, body string) // status 0: no failure
	first    func(req *http.Request)                                   // called before each request is looked at, not under the lock
}

type modelRecord struct {
	id    string
	name  string // relative; "" is the apex
	typ   string
	value string // as the API gives it
	ttl   int
}

// redirect leads requests for a provider's address to the model.
type redirect struct{ to *url.URL }

func (r redirect) RoundTrip(req *http.Request) (*http.Response, error) {
	was := req.URL.String()
	req = req.Clone(req.Context())
	req.URL.Scheme, req.URL.Host = r.to.Scheme, r.to.Host
	req.Header.Set("X-Was", was)
	return http.DefaultTransport.RoundTrip(req)
}

// startModel runs the model until the test ends.
func startModel(t testing.TB, m *model) *backend {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, req *http.Request) {
		m.mu.Lock()
		f := m.first
		m.mu.Unlock()
		if f != nil {
			f(req)
		}
		m.mu.Lock()
		defer m.mu.Unlock()
		m.requests++
		if m.fail != nil {
			if status, header, body := m.fail(req); status != 0 {
				if key, value, ok := strings.Cut(header, ": "); ok {
					w.Header().Set(key, value)
				}
				w.WriteHeader(status)
				io.WriteString(w, body)
				return
			}
		}
		m.api(m, w, req)
	}))
	t.Cleanup(server.Close)
	conn, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	started := make(chan struct{})
	s := &dns.Server{PacketConn: conn, Handler: dns.HandlerFunc(m.answer), NotifyStartedFunc: func() { close(started) }}
	go s.ActivateAndServe()
	<-started
	t.Cleanup(func() { s.Shutdown() })

	to, _ := url.Parse(server.URL)
	b := open(t, dnsupdate.Config{
		Accounts:  map[string]dnsupdate.Account{account: m.account},
		Resolver:  newResolver(t, conn.LocalAddr().String(), conn.LocalAddr().(*net.UDPAddr).Port),
		Transport: redirect{to},
	})
	b.Unpace()
	b.settings, b.secrets = m.account.Settings, m.secrets
	put := func(name, typ, value string) {
		m.mu.Lock()
		defer m.mu.Unlock()
		m.add(name, typ, value, 3600)
		m.publish()
	}
	b.add = func(_ testing.TB, name, rdata string) { put("_mta-sts."+name, "TXT", rdata) }
	b.alias = func(_ testing.TB, name, target string) { put("_mta-sts."+name, "CNAME", target+".") }
	b.wildcard = func(_ testing.TB, target string) { put("*", "CNAME", target+".") }
	b.show = func(_ testing.TB, name string) []string {
		m.mu.Lock()
		defer m.mu.Unlock()
		var all []string
		for _, r := range m.records {
			if r.typ == "TXT" && r.name == "_mta-sts."+name {
				all = append(all, zoneFile(r.value))
			}
		}
		slices.Sort(all)
		return all
	}
	b.version = func(testing.TB) uint64 {
		m.mu.Lock()
		defer m.mu.Unlock()
		return uint64(m.writes)
	}
	return b
}

// use replaces the account.
func (b *backend) use(t testing.TB, a dnsupdate.Account) {
	t.Helper()
	if err := b.SetAccounts(map[string]dnsupdate.Account{account: a}); err != nil {
		t.Fatal(err)
	}
	b.Unpace()
}

// failing has requests fail from now on, as f says; nil: none.
func (m *model) failing(f func(*http.Request) (status int, header, body string)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.fail = f
}

// before has f called before each request from now on.
func (m *model) before(f func(*http.Request)) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.first = f
}

// asked is how many requests came.
func (m *model) asked() int {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.requests
}

// zoneFile puts a TXT record into quotes that has none.
func zoneFile(value string) string {
	if strings.HasPrefix(value, `"`) {
		return value
	}
	return `"` + value + `"`
}

func (m *model) add(name, typ, value string, ttl int) modelRecord {
	m.last++
	r := modelRecord{id: strconv.Itoa(m.last), name: name, typ: typ, value: value, ttl: ttl}
	m.records = append(m.records, r)
	m.changed()
	return r
}

func (m *model) remove(id string) bool {
	before := len(m.records)
	m.records = slices.DeleteFunc(m.records, func(r modelRecord) bool { return r.id == id })
	m.changed()
	return len(m.records) < before
}

// at returns the records of a name, of every type if typ is "".
func (m *model) at(name, typ string) []modelRecord {
	var all []modelRecord
	for _, r := range m.records {
		if r.name == name && (typ == "" || r.typ == typ) {
			all = append(all, r)
		}
	}
	return all
}

// replace makes these the records of a name and type.
func (m *model) replace(name, typ string, ttl int, values []string) {
	m.records = slices.DeleteFunc(m.records, func(r modelRecord) bool { return r.name == name && r.typ == typ })
	m.writes-- // it is one change with the next line, or with those of add
	m.changed()
	for _, v := range values {
		m.add(name, typ, v, ttl)
	}
	m.writes++
}

func (m *model) changed() {
	m.writes++
	if !m.staged {
		m.publish()
	}
}

func (m *model) publish() { m.shown = slices.Clone(m.records) }

// answer shows the zone as its only name server.
func (m *model) answer(w dns.ResponseWriter, q *dns.Msg) {
	m.mu.Lock()
	defer m.mu.Unlock()
	reply := new(dns.Msg)
	reply.SetReply(q)
	reply.Authoritative = true
	defer func() { w.WriteMsg(reply) }()
	question := q.Question[0]
	if !dns.IsSubDomain(zone+".", strings.ToLower(question.Name)) {
		reply.Rcode = dns.RcodeRefused
		return
	}
	all := append([]modelRecord{
		{name: "", typ: "SOA", value: "ns1." + zone + ". h." + zone + ". 1 1 1 1 1"},
		{name: "", typ: "NS", value: "ns1." + zone + "."},
		{name: "ns1", typ: "A", value: "127.0.0.1"},
	}, m.shown...)
	name := strings.TrimSuffix(strings.TrimSuffix(strings.ToLower(question.Name), zone+"."), ".")
	exists := slices.ContainsFunc(all, func(r modelRecord) bool { return r.name == name })
	for _, r := range all {
		if r.name != name && (exists || r.name != "*") {
			continue
		}
		if r.typ == "TXT" {
			r.value = zoneFile(r.value)
		}
		rr, err := dns.NewRR(question.Name + " 60 IN " + r.typ + " " + r.value)
		if err == nil && (rr.Header().Rrtype == question.Qtype || r.typ == "CNAME") {
			reply.Answer = append(reply.Answer, rr)
		}
	}
}
