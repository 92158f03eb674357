package dnsupdate_test

import (
	"net"
	"strconv"
	"strings"
	"testing"

	"github.com/miekg/dns"
)

// answerAt runs an authoritative server at an address, with these records and
// nothing else in the zone, until stop.
func answerAt(t *testing.T, ip string, port int, zone string, records ...string) (stop func()) {
	t.Helper()
	soa, err := dns.NewRR(zone + ". 60 IN SOA ns1." + zone + ". h." + zone + ". 1 1 1 1 1")
	if err != nil {
		t.Fatal(err)
	}
	rrs := []dns.RR{soa}
	for _, text := range records {
		rr, err := dns.NewRR(text)
		if err != nil {
			t.Fatal(err)
		}
		rrs = append(rrs, rr)
	}
	handler := dns.HandlerFunc(func(w dns.ResponseWriter, q *dns.Msg) {
		m := new(dns.Msg)
		m.SetReply(q)
		m.Authoritative = true
		for _, rr := range rrs {
			h := rr.Header()
			if strings.EqualFold(h.Name, q.Question[0].Name) && (h.Rrtype == q.Question[0].Qtype || h.Rrtype == dns.TypeCNAME) {
				m.Answer = append(m.Answer, rr)
			}
		}
		w.WriteMsg(m)
	})
	conn, err := net.ListenPacket("udp", net.JoinHostPort(ip, strconv.Itoa(port)))
	if err != nil {
		t.Skipf("no second address on loopback: %v", err)
	}
	started := make(chan struct{})
	s := &dns.Server{PacketConn: conn, Handler: handler, NotifyStartedFunc: func() { close(started) }}
	go s.ActivateAndServe()
	<-started
	return func() { s.Shutdown() }
}
