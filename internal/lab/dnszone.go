package lab

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/miekg/dns"
)

// negativeTTL is how long resolvers may remember that something does not
// exist, in seconds (RFC 2308 §5). It is short because a lab changes quickly.
const negativeTTL = 1

// zone is the data of one zone. A zone that is being served does not change: a
// change is made to a clone that then takes its place.
type zone struct {
	origin string
	names  map[string]rrsets // by canonical owner name
}

// rrsets are the records at one name, by type.
type rrsets map[uint16][]dns.RR

func newZone(origin, serverIP string, ttl uint32) (*zone, error) {
	z := &zone{origin: origin, names: make(map[string]rrsets)}
	under := origin
	if origin == "." {
		under = ""
	}
	addrType := "A"
	if strings.Contains(serverIP, ":") {
		addrType = "AAAA"
	}
	for _, line := range []string{
		fmt.Sprintf("%s %d IN SOA ns1.%s hostmaster.%s 1 3600 600 604800 %d", origin, ttl, under, under, negativeTTL),
		fmt.Sprintf("%s %d IN NS ns1.%s", origin, ttl, under),
		fmt.Sprintf("ns1.%s %d IN %s %s", under, ttl, addrType, serverIP),
	} {
		rr, err := dns.NewRR(line)
		if err != nil {
			return nil, fmt.Errorf("zone %s: %w", origin, err)
		}
		z.add(rr)
	}
	return z, nil
}

func (z *zone) clone() *zone {
	c := &zone{origin: z.origin, names: make(map[string]rrsets, len(z.names))}
	for name, sets := range z.names {
		c.names[name] = maps.Clone(sets)
	}
	return c
}

func (z *zone) soa() *dns.SOA {
	for _, rr := range z.names[z.origin][dns.TypeSOA] {
		if soa, ok := rr.(*dns.SOA); ok {
			return soa
		}
	}
	return nil
}

func (z *zone) bumpSerial() {
	soa := dns.Copy(z.soa()).(*dns.SOA)
	soa.Serial++
	z.names[z.origin][dns.TypeSOA] = []dns.RR{soa}
}

// add puts rr into the zone by the rules of RFC 2136 §3.4.2.2: a CNAME and
// other data exclude one another and the one that came first stays, there is
// one CNAME and one SOA, and an RRset has one TTL (RFC 2181 §5.2).
func (z *zone) add(rr dns.RR) {
	rr = dns.Copy(rr)
	h := rr.Header()
	h.Name = dns.CanonicalName(h.Name)
	sets := z.names[h.Name]
	if sets == nil {
		sets = make(rrsets)
		z.names[h.Name] = sets
	}
	switch h.Rrtype {
	case dns.TypeSOA:
		sets[dns.TypeSOA] = []dns.RR{rr}
		return
	case dns.TypeCNAME:
		if len(sets) == 0 || len(sets[dns.TypeCNAME]) > 0 {
			sets[dns.TypeCNAME] = []dns.RR{rr}
		}
		return
	}
	if len(sets[dns.TypeCNAME]) > 0 {
		return
	}
	var set []dns.RR
	for _, old := range sets[h.Rrtype] {
		if dns.IsDuplicate(old, rr) {
			continue
		}
		old = dns.Copy(old)
		old.Header().Ttl = h.Ttl
		set = append(set, old)
	}
	sets[h.Rrtype] = append(set, rr)
}

// removeSet deletes an RRset; the zone's own SOA and NS stay (RFC 2136 §3.4.2.3).
func (z *zone) removeSet(name string, t uint16) {
	if name == z.origin && (t == dns.TypeSOA || t == dns.TypeNS) {
		return
	}
	delete(z.names[name], t)
	z.prune(name)
}

// removeName deletes every RRset at a name, but for the zone's own SOA and NS.
func (z *zone) removeName(name string) {
	for t := range z.names[name] {
		z.removeSet(name, t)
	}
}

// removeRR deletes one record. The SOA and the last NS of the zone stay
// (RFC 2136 §3.4.2.4).
func (z *zone) removeRR(rr dns.RR) {
	name, t := dns.CanonicalName(rr.Header().Name), rr.Header().Rrtype
	set := z.names[name][t]
	if t == dns.TypeSOA || name == z.origin && t == dns.TypeNS && len(set) == 1 {
		return
	}
	rest := slices.DeleteFunc(slices.Clone(set), func(old dns.RR) bool { return dns.IsDuplicate(old, rr) })
	if len(rest) == len(set) {
		return
	}
	if len(rest) > 0 {
		z.names[name][t] = rest
		return
	}
	delete(z.names[name], t)
	z.prune(name)
}

func (z *zone) prune(name string) {
	if len(z.names[name]) == 0 {
		delete(z.names, name)
	}
}

// exists says whether a name is in the zone: with records, or as an empty
// non-terminal above a name with records (RFC 8020, RFC 4592 §2.2.2).
func (z *zone) exists(name string) bool {
	if _, ok := z.names[name]; ok {
		return true
	}
	for owner := range z.names {
		if strings.HasSuffix(owner, "."+name) {
			return true
		}
	}
	return false
}

// find gives the records for a name: its own, or those of the wildcard that
// covers it (RFC 4592 §3.3.1). exists is false if there is neither.
func (z *zone) find(name string) (sets rrsets, exists bool) {
	if sets, ok := z.names[name]; ok {
		return sets, true
	}
	if z.exists(name) {
		return nil, true
	}
	// The wildcard must stand directly below the closest encloser.
	for parent := name; parent != z.origin; {
		i, end := dns.NextLabel(parent, 0)
		if end {
			break
		}
		parent = parent[i:]
		if z.exists(parent) {
			sets, ok := z.names["*."+parent]
			return sets, ok
		}
	}
	return nil, false
}

// rdata is a record's data as in a zone file, but a TXT record as plain text.
func rdata(rr dns.RR) string {
	if txt, ok := rr.(*dns.TXT); ok {
		return plainTXT(txt)
	}
	return strings.TrimPrefix(rr.String(), rr.Header().String())
}

// plainTXT joins a record's strings and takes the zone file's escapes, which
// miekg/dns keeps in memory, out of them.
func plainTXT(txt *dns.TXT) string {
	s := strings.Join(txt.Txt, "")
	if !strings.Contains(s, `\`) {
		return s
	}
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		switch {
		case s[i] != '\\' || i+1 == len(s):
			b.WriteByte(s[i])
		case i+3 < len(s) && isDigit(s[i+1]) && isDigit(s[i+2]) && isDigit(s[i+3]):
			b.WriteByte((s[i+1]-'0')*100 + (s[i+2]-'0')*10 + s[i+3] - '0')
			i += 3
		default:
			i++
			b.WriteByte(s[i])
		}
	}
	return b.String()
}

// quoteTXT is text as a zone file has it: strings of at most 255 bytes in
// quotes (RFC 1035 §3.3.14, §5.1).
func quoteTXT(text string) string {
	if text == "" {
		return `""`
	}
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if i%255 == 0 {
			if i > 0 {
				b.WriteString(`" `)
			}
			b.WriteByte('"')
		}
		switch c := text[i]; {
		case c == '"' || c == '\\':
			b.WriteByte('\\')
			b.WriteByte(c)
		case c < ' ' || c > '~':
			fmt.Fprintf(&b, `\%03d`, c)
		default:
			b.WriteByte(c)
		}
	}
	b.WriteByte('"')
	return b.String()
}

func isDigit(c byte) bool { return '0' <= c && c <= '9' }
