package lab

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"sort"
	"strings"
	"sync"
	"time"

	"github.com/miekg/dns"
)

// DNSConfig configures a DNS server. The zero value is usable.
type DNSConfig struct {
	// Addr is host:port for UDP and TCP; empty: a free port on 127.0.0.1.
	Addr string
	// TTL of the records that Set and Add make; 0: 60 s.
	TTL time.Duration
	// OnUpdate, if set, is called with each accepted update after it took
	// effect and before the client gets its answer.
	OnUpdate func(Update)
	// Now is the clock; nil: time.Now.
	Now func() time.Time
}

// DNS is an authoritative name server for the zones it was given, on one port
// for UDP and TCP. It takes RFC 2136 updates and zone transfers signed with
// TSIG. To queries that ask for recursion it also plays the resolver: what is
// in none of its zones does not exist. It is safe for concurrent use.
type DNS struct {
	cfg  DNSConfig
	addr string
	tsig TSIG

	mu      sync.RWMutex
	zones   map[string]*zone // by canonical origin
	faults  []*DNSFault
	updates []Update
	news    chan struct{} // closed and replaced at each update

	servers []*dns.Server
	wg      sync.WaitGroup
}

// TSIG is the key that updates and transfers have to be signed with (RFC 8945).
type TSIG struct {
	Name      string // canonical, with the trailing dot
	Algorithm string // "hmac-sha256"
	Secret    string // base64
}

// DNSFault makes the server misbehave for the messages that it matches.
type DNSFault struct {
	// Updates: the fault is for UPDATE messages; otherwise it is for queries.
	Updates bool
	// Name limits the fault to queries for this name, or to updates that have
	// a record at this name. Empty: every name.
	Name string
	// Type limits a fault for queries to one type, such as dns.TypeTXT. 0: all.
	Type uint16

	// Rcode is the answer, e.g. dns.RcodeServerFailure or dns.RcodeRefused.
	Rcode int
	// Silent: there is no answer at all.
	Silent bool
	// Truncate: UDP queries are answered with an empty truncated message.
	Truncate bool
	// Ignore: an update is answered with NOERROR and not done.
	Ignore bool
}

// StartDNS starts a name server without zones.
func StartDNS(cfg DNSConfig) (*DNS, error) {
	if cfg.TTL == 0 {
		cfg.TTL = time.Minute
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	key, err := newTSIG()
	if err != nil {
		return nil, err
	}
	packet, stream, err := listenBoth(cfg.Addr)
	if err != nil {
		return nil, err
	}
	d := &DNS{
		cfg:   cfg,
		addr:  stream.Addr().String(),
		tsig:  key,
		zones: make(map[string]*zone),
		news:  make(chan struct{}),
	}
	for _, s := range []*dns.Server{{PacketConn: packet, UDPSize: dns.MaxMsgSize}, {Listener: stream}} {
		if err := d.serve(s); err != nil {
			packet.Close()
			stream.Close()
			d.Close()
			return nil, err
		}
	}
	return d, nil
}

// serve starts s and waits until it can be shut down.
func (d *DNS) serve(s *dns.Server) error {
	s.Handler = d
	s.TsigProvider = d.tsig
	s.MsgAcceptFunc = acceptMsg
	started, failed := make(chan struct{}), make(chan error, 1)
	s.NotifyStartedFunc = func() { close(started) }
	d.wg.Go(func() { failed <- s.ActivateAndServe() })
	select {
	case <-started:
		d.servers = append(d.servers, s)
		return nil
	case err := <-failed:
		return fmt.Errorf("start the DNS server: %w", err)
	}
}

// acceptMsg lets updates through, which miekg/dns refuses by default.
func acceptMsg(h dns.Header) dns.MsgAcceptAction {
	const qr, opcode = 1 << 15, 0xF << 11
	if h.Bits&qr != 0 {
		return dns.MsgIgnore
	}
	switch int(h.Bits&opcode) >> 11 {
	case dns.OpcodeQuery, dns.OpcodeUpdate:
		return dns.MsgAccept
	}
	return dns.MsgRejectNotImplemented
}

// listenBoth opens one port for UDP and TCP.
func listenBoth(addr string) (net.PacketConn, net.Listener, error) {
	if addr == "" {
		addr = "127.0.0.1:0"
	}
	var last error
	// With port 0 the UDP port that we get may be taken for TCP: try others.
	for range 50 {
		packet, err := net.ListenPacket("udp", addr)
		if err != nil {
			return nil, nil, fmt.Errorf("listen for DNS: %w", err)
		}
		stream, err := net.Listen("tcp", packet.LocalAddr().String())
		if err == nil {
			return packet, stream, nil
		}
		last = err
		packet.Close()
	}
	return nil, nil, fmt.Errorf("listen for DNS: %w", last)
}

func newTSIG() (TSIG, error) {
	var b [36]byte
	if _, err := rand.Read(b[:]); err != nil {
		return TSIG{}, fmt.Errorf("make a TSIG key: %w", err)
	}
	return TSIG{
		Name:      "lab-" + hex.EncodeToString(b[:4]) + ".",
		Algorithm: "hmac-sha256",
		Secret:    base64.StdEncoding.EncodeToString(b[4:]),
	}, nil
}

// Close stops the server. Queries in progress are answered first.
func (d *DNS) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Second)
	defer cancel()
	var errs []error
	for _, s := range d.servers {
		if err := s.ShutdownContext(ctx); err != nil && !errors.Is(err, context.DeadlineExceeded) {
			errs = append(errs, err)
		}
	}
	d.servers = nil
	d.wg.Wait()
	return errors.Join(errs...)
}

// Addr is the server's host:port, for UDP and TCP.
func (d *DNS) Addr() string { return d.addr }

// Port is the port of Addr.
func (d *DNS) Port() int { return int(netip.MustParseAddrPort(d.addr).Port()) }

// Key is the key for updates and transfers, generated at the start.
func (d *DNS) Key() TSIG { return d.tsig }

// AddZone makes the server authoritative for a zone with a SOA record and the
// name server ns1.<zone> at the server's own address. A zone that is there
// already is left as it is.
func (d *DNS) AddZone(origin string) error {
	origin = dns.CanonicalName(origin)
	if _, ok := dns.IsDomainName(origin); !ok {
		return fmt.Errorf("zone %q is not a domain name", origin)
	}
	host, _, err := net.SplitHostPort(d.addr)
	if err != nil {
		return err
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	z, err := newZone(origin, host, uint32(d.cfg.TTL/time.Second))
	if err != nil {
		return err
	}
	if _, ok := d.zones[origin]; !ok {
		d.zones[origin] = z
	}
	return nil
}

// RemoveZone takes a zone away with everything in it.
func (d *DNS) RemoveZone(origin string) {
	d.mu.Lock()
	defer d.mu.Unlock()
	delete(d.zones, dns.CanonicalName(origin))
}

// Zones lists the zones, each with the trailing dot, in order.
func (d *DNS) Zones() []string {
	d.mu.RLock()
	defer d.mu.RUnlock()
	zones := make([]string, 0, len(d.zones))
	for origin := range d.zones {
		zones = append(zones, origin)
	}
	sort.Strings(zones)
	return zones
}

// Set replaces the RRset of the type at name ("A", "MX", …). data is in the
// form of a zone file: `10 mx1.example.test.`; names in it end in a dot, and
// TXT data is quoted (see SetTXT). Without data the RRset goes away. It is the
// owner of the zone who speaks here: the change is not journalled as an update.
func (d *DNS) Set(name, rrtype string, data ...string) error {
	return d.change(name, rrtype, data, true)
}

// Add puts records beside those that are in the RRset already.
func (d *DNS) Add(name, rrtype string, data ...string) error {
	return d.change(name, rrtype, data, false)
}

// Remove deletes the RRset of the type at name, or every RRset at the name if
// rrtype is empty.
func (d *DNS) Remove(name, rrtype string) error {
	if rrtype != "" {
		return d.Set(name, rrtype)
	}
	return d.edit(name, func(z *zone, name string) { z.removeName(name) })
}

// SetTTL gives the records that are made from now on another TTL.
func (d *DNS) SetTTL(ttl time.Duration) {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.cfg.TTL = ttl
}

// SetTXT makes the records at name exactly these, one record for each text.
func (d *DNS) SetTXT(name string, texts ...string) error {
	data := make([]string, len(texts))
	for i, text := range texts {
		data[i] = quoteTXT(text)
	}
	return d.Set(name, "TXT", data...)
}

// AddTXT puts TXT records beside those at name.
func (d *DNS) AddTXT(name string, texts ...string) error {
	data := make([]string, len(texts))
	for i, text := range texts {
		data[i] = quoteTXT(text)
	}
	return d.Add(name, "TXT", data...)
}

// TXT is what the server has at name itself: each record's strings joined, in
// no particular order. It does not follow a CNAME.
func (d *DNS) TXT(name string) []string { return d.Records(name, "TXT") }

// Records is the data of the RRset of the type at name, as Set takes it, but
// TXT records as plain text.
func (d *DNS) Records(name, rrtype string) []string {
	name = dns.CanonicalName(name)
	d.mu.RLock()
	defer d.mu.RUnlock()
	z := d.zoneOf(name)
	if z == nil {
		return nil
	}
	var out []string
	for _, rr := range z.names[name][dns.StringToType[strings.ToUpper(rrtype)]] {
		out = append(out, rdata(rr))
	}
	return out
}

// Fail adds a fault. It lasts until undo is called. Of several that match a
// message the newest counts.
func (d *DNS) Fail(f DNSFault) (undo func()) {
	if f.Name != "" {
		f.Name = dns.CanonicalName(f.Name)
	}
	p := &f
	d.mu.Lock()
	defer d.mu.Unlock()
	d.faults = append(d.faults, p)
	return func() {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.faults = slices.DeleteFunc(d.faults, func(q *DNSFault) bool { return q == p })
	}
}

// fault finds the fault for a message, or nil.
func (d *DNS) fault(update bool, qtype uint16, names ...string) *DNSFault {
	d.mu.RLock()
	defer d.mu.RUnlock()
	for _, f := range slices.Backward(d.faults) {
		if f.Updates == update && (f.Type == 0 || f.Type == qtype) &&
			(f.Name == "" || slices.Contains(names, f.Name)) {
			return f
		}
	}
	return nil
}

// zoneOf finds the zone that a canonical name is in, or nil. The caller holds mu.
func (d *DNS) zoneOf(name string) *zone {
	for i, end := 0, false; !end; i, end = dns.NextLabel(name, i) {
		if z := d.zones[name[i:]]; z != nil {
			return z
		}
	}
	return d.zones["."]
}

func (d *DNS) change(name, rrtype string, data []string, replace bool) error {
	t, ok := dns.StringToType[strings.ToUpper(rrtype)]
	if !ok {
		return fmt.Errorf("unknown record type %q", rrtype)
	}
	d.mu.RLock()
	ttl := int(d.cfg.TTL / time.Second)
	d.mu.RUnlock()
	rrs := make([]dns.RR, len(data))
	for i, text := range data {
		rr, err := dns.NewRR(fmt.Sprintf("%s %d IN %s %s", dns.CanonicalName(name), ttl, rrtype, text))
		if err == nil && rr == nil {
			err = errors.New("it is empty")
		}
		if err != nil {
			return fmt.Errorf("record %s %s %q: %w", name, rrtype, text, err)
		}
		rrs[i] = rr
	}
	return d.edit(name, func(z *zone, name string) {
		if replace {
			z.removeSet(name, t)
		}
		for _, rr := range rrs {
			z.add(rr)
		}
	})
}

// edit lets f change a copy of the zone of name, which then takes its place.
func (d *DNS) edit(name string, f func(*zone, string)) error {
	name = dns.CanonicalName(name)
	d.mu.Lock()
	defer d.mu.Unlock()
	old := d.zoneOf(name)
	if old == nil {
		return fmt.Errorf("%s is in no zone of this server; add its zone first", name)
	}
	z := old.clone()
	f(z, name)
	z.bumpSerial()
	d.zones[z.origin] = z
	return nil
}
