package lab

import (
	"context"
	"maps"
	"slices"
	"sort"
	"time"

	"github.com/miekg/dns"
)

// Update is an accepted RFC 2136 update.
type Update struct {
	Time   time.Time // when it took effect
	Zone   string    // canonical, with the trailing dot
	Serial uint32    // of the zone after it
	Names  []string  // the names its records are at, canonical, in order
	// Changes are the RRsets that are different now. An update that changed
	// nothing has none.
	Changes []Change
}

// Change is what an update did to one RRset.
type Change struct {
	Name, Type    string
	Before, After []string // data as in a zone file, TXT as plain text; in order
}

// Updates lists the updates accepted since the start, oldest first.
func (d *DNS) Updates() []Update {
	d.mu.RLock()
	defer d.mu.RUnlock()
	return slices.Clone(d.updates)
}

// NextUpdate waits for the update after the first n and returns it, so that
// no update is missed between two calls.
func (d *DNS) NextUpdate(ctx context.Context, n int) (Update, error) {
	for {
		d.mu.RLock()
		updates, news := d.updates, d.news
		d.mu.RUnlock()
		if n < len(updates) {
			return updates[n], nil
		}
		select {
		case <-news:
		case <-ctx.Done():
			return Update{}, context.Cause(ctx)
		}
	}
}

// serveUpdate answers an UPDATE (RFC 2136 §3).
func (d *DNS) serveUpdate(w dns.ResponseWriter, req *dns.Msg) {
	names := updateNames(req)
	fault := d.fault(true, 0, names...)
	if fault != nil && fault.Silent {
		return
	}
	resp := new(dns.Msg).SetReply(req)
	switch {
	case req.IsTsig() == nil:
		resp.Rcode = dns.RcodeRefused
	case w.TsigStatus() != nil:
		// answerTSIG says what is wrong.
	case fault != nil && !fault.Ignore:
		resp.Rcode = fault.Rcode
	case fault != nil:
	default:
		resp.Rcode = d.update(req, names)
	}
	d.answerTSIG(w, req, resp)
}

func updateNames(req *dns.Msg) []string {
	seen := make(map[string]bool)
	for _, rr := range req.Ns {
		seen[dns.CanonicalName(rr.Header().Name)] = true
	}
	return slices.Sorted(maps.Keys(seen))
}

// update does an update whole or not at all, and returns the response code.
func (d *DNS) update(req *dns.Msg, names []string) int {
	if len(req.Question) != 1 || req.Question[0].Qtype != dns.TypeSOA {
		return dns.RcodeFormatError
	}
	d.mu.Lock()
	u, rcode := d.updateLocked(req, names)
	d.mu.Unlock()
	if rcode == dns.RcodeSuccess && d.cfg.OnUpdate != nil {
		d.cfg.OnUpdate(u)
	}
	return rcode
}

func (d *DNS) updateLocked(req *dns.Msg, names []string) (Update, int) {
	old := d.zones[dns.CanonicalName(req.Question[0].Name)]
	if old == nil || req.Question[0].Qclass != dns.ClassINET {
		return Update{}, dns.RcodeNotAuth
	}
	if rcode := old.prerequisites(req.Answer); rcode != dns.RcodeSuccess {
		return Update{}, rcode
	}
	if rcode := old.prescan(req.Ns); rcode != dns.RcodeSuccess {
		return Update{}, rcode
	}
	z := old.clone()
	for _, rr := range req.Ns {
		z.apply(rr)
	}
	u := Update{Time: d.cfg.Now(), Zone: z.origin, Names: names}
	for _, name := range names {
		u.Changes = append(u.Changes, changes(name, old.names[name], z.names[name])...)
	}
	if len(u.Changes) > 0 && z.soa().Serial == old.soa().Serial {
		z.bumpSerial()
	}
	u.Serial = z.soa().Serial
	d.zones[z.origin] = z
	d.updates = append(d.updates, u)
	close(d.news)
	d.news = make(chan struct{})
	return u, dns.RcodeSuccess
}

// prerequisites checks the first section (RFC 2136 §3.2).
func (z *zone) prerequisites(rrs []dns.RR) int {
	type key struct {
		name string
		t    uint16
	}
	exact := make(map[key][]dns.RR) // value-dependent ones, by RRset
	for _, rr := range rrs {
		h := rr.Header()
		name := dns.CanonicalName(h.Name)
		set := z.names[name][h.Rrtype]
		switch {
		case h.Ttl != 0:
			return dns.RcodeFormatError
		case !dns.IsSubDomain(z.origin, name):
			return dns.RcodeNotZone
		case h.Class == dns.ClassINET:
			exact[key{name, h.Rrtype}] = append(exact[key{name, h.Rrtype}], rr)
		case h.Rdlength != 0 || h.Class != dns.ClassANY && h.Class != dns.ClassNONE:
			return dns.RcodeFormatError
		case h.Rrtype == dns.TypeANY:
			inUse := len(z.names[name]) > 0
			if h.Class == dns.ClassANY && !inUse {
				return dns.RcodeNameError
			}
			if h.Class == dns.ClassNONE && inUse {
				return dns.RcodeYXDomain
			}
		case h.Class == dns.ClassANY && len(set) == 0:
			return dns.RcodeNXRrset
		case h.Class == dns.ClassNONE && len(set) > 0:
			return dns.RcodeYXRrset
		}
	}
	for k, want := range exact {
		if !sameSet(z.names[k.name][k.t], want) {
			return dns.RcodeNXRrset
		}
	}
	return dns.RcodeSuccess
}

// sameSet compares RRsets without regard to order, TTL and repetition.
func sameSet(a, b []dns.RR) bool {
	within := func(a, b []dns.RR) bool {
		return !slices.ContainsFunc(a, func(x dns.RR) bool {
			return !slices.ContainsFunc(b, func(y dns.RR) bool { return dns.IsDuplicate(x, y) })
		})
	}
	return within(a, b) && within(b, a)
}

// prescan refuses a malformed update before any of it is done (RFC 2136 §3.4.1).
func (z *zone) prescan(rrs []dns.RR) int {
	for _, rr := range rrs {
		h := rr.Header()
		if !dns.IsSubDomain(z.origin, dns.CanonicalName(h.Name)) {
			return dns.RcodeNotZone
		}
		meta := h.Rrtype >= 128 && h.Rrtype <= 255 || h.Rrtype == dns.TypeOPT
		switch h.Class {
		case dns.ClassINET:
			if meta {
				return dns.RcodeFormatError
			}
		case dns.ClassANY:
			if h.Ttl != 0 || h.Rdlength != 0 || meta && h.Rrtype != dns.TypeANY {
				return dns.RcodeFormatError
			}
		case dns.ClassNONE:
			if h.Ttl != 0 || meta {
				return dns.RcodeFormatError
			}
		default:
			return dns.RcodeFormatError
		}
	}
	return dns.RcodeSuccess
}

// apply does one record of the update section (RFC 2136 §3.4.2).
func (z *zone) apply(rr dns.RR) {
	h := rr.Header()
	name := dns.CanonicalName(h.Name)
	switch h.Class {
	case dns.ClassINET:
		if soa, ok := rr.(*dns.SOA); ok {
			// Only the zone's own SOA, and only a newer one (RFC 1982).
			if name != z.origin || int32(soa.Serial-z.soa().Serial) <= 0 {
				return
			}
		}
		z.add(rr)
	case dns.ClassANY:
		if h.Rrtype == dns.TypeANY {
			z.removeName(name)
		} else {
			z.removeSet(name, h.Rrtype)
		}
	case dns.ClassNONE:
		rr = dns.Copy(rr)
		rr.Header().Class = dns.ClassINET
		z.removeRR(rr)
	}
}

// changes compares the RRsets at a name before and after an update.
func changes(name string, before, after rrsets) []Change {
	types := maps.Clone(before)
	if types == nil {
		types = make(rrsets)
	}
	maps.Copy(types, after)
	var out []Change
	for _, t := range slices.Sorted(maps.Keys(types)) {
		b, a := sortedData(before[t]), sortedData(after[t])
		if !slices.Equal(b, a) {
			out = append(out, Change{Name: name, Type: dns.TypeToString[t], Before: b, After: a})
		}
	}
	return out
}

func sortedData(set []dns.RR) []string {
	var out []string
	for _, rr := range set {
		out = append(out, rdata(rr))
	}
	sort.Strings(out)
	return out
}
