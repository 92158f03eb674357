package lab

import (
	"net"

	"github.com/miekg/dns"
)

const (
	// maxUDP is the largest UDP answer, as the DNS flag day of 2020 has it.
	maxUDP = 1232
	// maxChain is how many CNAMEs are followed before it counts as a loop.
	maxChain = 12
)

// ServeDNS answers one message. It implements dns.Handler.
func (d *DNS) ServeDNS(w dns.ResponseWriter, req *dns.Msg) {
	_, udp := w.RemoteAddr().(*net.UDPAddr)
	if req.Opcode == dns.OpcodeUpdate {
		d.serveUpdate(w, req)
		return
	}
	if len(req.Question) != 1 {
		d.answerTSIG(w, req, new(dns.Msg).SetRcode(req, dns.RcodeFormatError))
		return
	}
	q := req.Question[0]
	if q.Qtype == dns.TypeAXFR || q.Qtype == dns.TypeIXFR {
		d.serveTransfer(w, req, udp)
		return
	}
	fault := d.fault(false, q.Qtype, dns.CanonicalName(q.Name))
	if fault != nil && fault.Silent {
		return
	}
	resp := d.Answer(req)
	size := dns.MaxMsgSize
	if udp {
		size = dns.MinMsgSize
	}
	if opt := req.IsEdns0(); opt != nil {
		resp.SetEdns0(maxUDP, opt.Do())
		if opt.Version() != 0 {
			// RFC 6891 §6.1.3.
			*resp = *new(dns.Msg).SetReply(req)
			resp.SetEdns0(maxUDP, opt.Do())
			resp.Rcode = dns.RcodeBadVers
		}
		if udp {
			size = max(dns.MinMsgSize, min(int(opt.UDPSize()), maxUDP))
		}
	}
	if fault != nil {
		resp.Rcode = fault.Rcode
		if fault.Rcode != dns.RcodeSuccess || udp && fault.Truncate {
			resp.Answer, resp.Ns = nil, nil
		}
		resp.Truncated = udp && fault.Truncate
	}
	resp.Truncate(size)
	d.answerTSIG(w, req, resp)
}

// Answer is the answer to a query with one question, without EDNS, truncation
// and faults.
func (d *DNS) Answer(req *dns.Msg) *dns.Msg {
	resp := new(dns.Msg).SetReply(req)
	resp.RecursionAvailable = true
	q := req.Question[0]
	if q.Qclass != dns.ClassINET && q.Qclass != dns.ClassANY {
		resp.Rcode = dns.RcodeRefused
		return resp
	}
	d.mu.RLock()
	defer d.mu.RUnlock()
	name := q.Name
	for i := 0; ; i++ {
		z := d.zoneOf(dns.CanonicalName(name))
		if z == nil {
			d.answerOutside(req, resp, i > 0)
			return resp
		}
		if i == 0 {
			resp.Authoritative = true
		}
		target, ok := z.answer(resp, name, q.Qtype)
		if !ok {
			return resp
		}
		if i == maxChain {
			// A loop. A resolver cannot answer; a name server gives what it has.
			if req.RecursionDesired {
				resp.Rcode, resp.Answer = dns.RcodeServerFailure, nil
			}
			return resp
		}
		name = target
	}
}

// answerOutside answers for a name in none of the zones: as a name server we
// refuse, as a resolver we say that it does not exist, as the root does.
func (d *DNS) answerOutside(req, resp *dns.Msg, followed bool) {
	switch {
	case req.RecursionDesired:
		resp.Rcode = dns.RcodeNameError
		resp.Ns = []dns.RR{&dns.SOA{
			Hdr: dns.RR_Header{Name: ".", Rrtype: dns.TypeSOA, Class: dns.ClassINET, Ttl: negativeTTL},
			Ns:  "a.root-servers.net.", Mbox: "nstld.verisign-grs.com.",
			Serial: 1, Refresh: 1800, Retry: 900, Expire: 604800, Minttl: negativeTTL,
		}}
	case !followed:
		resp.Rcode = dns.RcodeRefused
	}
}

// answer puts what the zone has for a name and type into resp. If that is a
// CNAME to follow, it returns the target.
func (z *zone) answer(resp *dns.Msg, name string, qtype uint16) (target string, follow bool) {
	sets, exists := z.find(dns.CanonicalName(name))
	if qtype == dns.TypeANY && len(sets) > 0 {
		for _, set := range sets {
			resp.Answer = append(resp.Answer, owned(set, name)...)
		}
		return "", false
	}
	if set := sets[qtype]; len(set) > 0 {
		resp.Answer = append(resp.Answer, owned(set, name)...)
		return "", false
	}
	if set := sets[dns.TypeCNAME]; len(set) > 0 {
		resp.Answer = append(resp.Answer, owned(set, name)...)
		return set[0].(*dns.CNAME).Target, true
	}
	// RFC 2308 §2: NXDOMAIN or no data, with the SOA that says for how long.
	// After a CNAME the code is that of the last name (RFC 6604 §3).
	if !exists {
		resp.Rcode = dns.RcodeNameError
	}
	soa := dns.Copy(z.soa())
	soa.Header().Ttl = min(soa.Header().Ttl, negativeTTL)
	resp.Ns = append(resp.Ns, soa)
	return "", false
}

// owned are copies of records under the name as it was asked for: its case,
// and the name that a wildcard stood for.
func owned(set []dns.RR, name string) []dns.RR {
	out := make([]dns.RR, len(set))
	for i, rr := range set {
		out[i] = dns.Copy(rr)
		out[i].Header().Name = name
	}
	return out
}

// serveTransfer gives the whole zone (RFC 5936) to a client with the key.
func (d *DNS) serveTransfer(w dns.ResponseWriter, req *dns.Msg, udp bool) {
	d.mu.RLock()
	z := d.zones[dns.CanonicalName(req.Question[0].Name)]
	d.mu.RUnlock()
	switch {
	case req.IsTsig() != nil && w.TsigStatus() != nil:
		d.answerTSIG(w, req, nil) // says what is wrong with the signature
		return
	case req.IsTsig() == nil, udp:
		d.answerTSIG(w, req, new(dns.Msg).SetRcode(req, dns.RcodeRefused))
		return
	case z == nil:
		d.answerTSIG(w, req, new(dns.Msg).SetRcode(req, dns.RcodeNotAuth))
		return
	}
	// The SOA stands first and last; messages stay far below 64 KiB.
	rrs := []dns.RR{z.soa()}
	for _, sets := range z.names {
		for t, set := range sets {
			if t != dns.TypeSOA {
				rrs = append(rrs, set...)
			}
		}
	}
	rrs = append(rrs, z.soa())
	ch := make(chan *dns.Envelope, len(rrs)/100+1)
	for len(rrs) > 0 {
		n := min(100, len(rrs))
		ch <- &dns.Envelope{RR: rrs[:n]}
		rrs = rrs[n:]
	}
	close(ch)
	_ = new(dns.Transfer).Out(w, req, ch)
}
