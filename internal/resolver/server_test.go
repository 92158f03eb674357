package resolver_test

import (
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/stshost/stshost/internal/resolver"
)

// server is a DNS server made of records and, per question, of misbehaviour.
type server struct {
	addr string
	port int

	mu      sync.Mutex
	records []dns.RR
	zones   []string // apexes it is authoritative for
	twist   func(network string, q, answer *dns.Msg) *dns.Msg
	asked   []string // "network TYPE name"
}

func startServer(t *testing.T, zones []string, records ...string) *server {
	t.Helper()
	s := &server{zones: zones}
	for _, r := range records {
		rr, err := dns.NewRR(r)
		if err != nil {
			t.Fatal(err)
		}
		s.records = append(s.records, rr)
	}
	var l net.Listener
	var p net.PacketConn
	for p == nil {
		var err error
		if l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		if p, err = net.ListenPacket("udp", l.Addr().String()); err != nil {
			l.Close()
		}
	}
	s.addr, s.port = l.Addr().String(), l.Addr().(*net.TCPAddr).Port
	for network, d := range map[string]*dns.Server{"tcp": {Listener: l}, "udp": {PacketConn: p}} {
		started := make(chan struct{})
		d.Handler = dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
			if m := s.answer(network, q); m != nil {
				w.WriteMsg(m)
			}
		})
		d.NotifyStartedFunc = func() { close(started) }
		go d.ActivateAndServe()
		<-started
		t.Cleanup(func() { d.Shutdown() })
	}
	return s
}

// misbehave lets f change an answer; nil sends none.
func (s *server) misbehave(f func(network string, q, answer *dns.Msg) *dns.Msg) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.twist = f
}

func (s *server) questions() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.asked...)
}

func (s *server) answer(network string, q *dns.Msg) *dns.Msg {
	s.mu.Lock()
	defer s.mu.Unlock()
	m := new(dns.Msg)
	m.SetReply(q)
	if opt := q.IsEdns0(); opt != nil {
		m.SetEdns0(opt.UDPSize(), false)
	}
	name, qtype := strings.ToLower(q.Question[0].Name), q.Question[0].Qtype
	s.asked = append(s.asked, network+" "+dns.TypeToString[qtype]+" "+name)
	m.Authoritative = s.authoritative(name)
	if !m.Authoritative {
		m.Rcode = dns.RcodeRefused
	}
	exists := false
	for _, rr := range s.records {
		owner := strings.ToLower(rr.Header().Name)
		exists = exists || dns.IsSubDomain(name, owner)
		if owner == name && (rr.Header().Rrtype == qtype || rr.Header().Rrtype == dns.TypeCNAME) {
			m.Answer = append(m.Answer, rr)
		}
	}
	if m.Authoritative && !exists {
		m.Rcode = dns.RcodeNameError
	}
	if s.twist != nil {
		return s.twist(network, q, m)
	}
	return m
}

func (s *server) authoritative(name string) bool {
	for _, z := range s.zones {
		if dns.IsSubDomain(z, name) {
			return true
		}
	}
	return false
}

// resolverOf asks these servers, and authoritative ones at the first's port.
func resolverOf(t *testing.T, servers ...*server) *resolver.Resolver {
	t.Helper()
	cfg := resolver.Config{AuthPort: servers[0].port, Timeout: 300 * time.Millisecond}
	for _, s := range servers {
		cfg.Servers = append(cfg.Servers, s.addr)
	}
	r, err := resolver.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
