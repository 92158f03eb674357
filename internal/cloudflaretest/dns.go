package cloudflaretest

import (
	"fmt"
	"net"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// startDNS runs the authoritative server of all zones. Each zone has an SOA,
// the NS ns1.<zone>, that name's A 127.0.0.1, and the records of the API.
func (s *Server) startDNS(t testing.TB) {
	t.Helper()
	var l net.Listener
	var p net.PacketConn
	for range 20 {
		var err error
		if l, err = net.Listen("tcp", "127.0.0.1:0"); err != nil {
			t.Fatal(err)
		}
		if p, err = net.ListenPacket("udp", l.Addr().String()); err == nil {
			break
		}
		l.Close()
	}
	if p == nil {
		t.Fatal("no port is free for both TCP and UDP")
	}
	s.DNSAddr, s.DNSPort = l.Addr().String(), l.Addr().(*net.TCPAddr).Port
	for _, server := range []*dns.Server{{Listener: l}, {PacketConn: p}} {
		started := make(chan struct{})
		server.Handler = dns.HandlerFunc(s.serveDNS)
		server.NotifyStartedFunc = func() { close(started) }
		go server.ActivateAndServe()
		<-started
		t.Cleanup(func() { server.Shutdown() })
		s.dns = append(s.dns, server)
	}
}

func (s *Server) serveDNS(w dns.ResponseWriter, q *dns.Msg) {
	m := new(dns.Msg)
	m.SetReply(q)
	m.Compress = true
	defer func() { w.WriteMsg(m) }()
	if len(q.Question) != 1 {
		m.Rcode = dns.RcodeFormatError
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	owner := q.Question[0].Name
	z := s.zoneOf(plain(owner))
	if z == nil {
		// Tests point the resolver here, and CAA records are looked for up to
		// the root (RFC 8659 §3).
		if q.Question[0].Qtype != dns.TypeCAA {
			m.Rcode = dns.RcodeRefused
		}
		return
	}
	m.Authoritative = true
	qtype, exists := q.Question[0].Qtype, false
	for _, rr := range s.zoneRecords(*z) {
		name := strings.ToLower(rr.Header().Name)
		exists = exists || dns.IsSubDomain(strings.ToLower(owner), name)
		if !strings.EqualFold(name, owner) {
			continue
		}
		if rr.Header().Rrtype == qtype || rr.Header().Rrtype == dns.TypeCNAME {
			m.Answer = append(m.Answer, rr)
		}
	}
	if len(m.Answer) > 0 {
		return
	}
	if !exists {
		m.Rcode = dns.RcodeNameError
	}
	m.Ns = append(m.Ns, z.soa())
}

func (z zone) soa() dns.RR {
	rr, _ := dns.NewRR(fmt.Sprintf("%[1]s. 60 IN SOA ns1.%[1]s. dns.%[1]s. 1 3600 600 86400 1", z.name))
	return rr
}

// zoneRecords is the zone's content as the DNS shows it.
func (s *Server) zoneRecords(z zone) []dns.RR {
	rrs := []dns.RR{z.soa()}
	add := func(format string, args ...any) {
		if rr, err := dns.NewRR(fmt.Sprintf(format, args...)); err == nil && rr != nil {
			rrs = append(rrs, rr)
		}
	}
	add("%[1]s. 60 IN NS ns1.%[1]s.", z.name)
	add("ns1.%s. 60 IN A 127.0.0.1", z.name)
	for _, r := range s.records {
		if r.ZoneID != z.id {
			continue
		}
		content := r.Content
		switch {
		case r.Type == "TXT" && !strings.HasPrefix(content, `"`):
			content = fmt.Sprintf("%q", content)
		case r.Type == "CNAME" || r.Type == "NS":
			content = dns.Fqdn(content)
		}
		add("%s. %d IN %s %s", r.Name, max(r.TTL, 1), r.Type, content)
	}
	return rrs
}
