package dnstest

import (
	"bytes"
	"cmp"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/miekg/dns"
)

// Zone is a zone of a Signed world.
type Zone struct {
	Name string
	// Records in zone-file syntax: names without a final dot are within the
	// zone, "@" is its apex, and the TTL is 60 unless one is given.
	Records []string
	// Unsigned zones have no keys, and no DS above: what they say is insecure. So
	// is what signed zones below one say, as no chain of trust leads there.
	Unsigned bool
}

// Signed is a small DNS with DNSSEC: a root, zones below it, Knot DNS to serve
// them, and Unbound as the recursive resolver, which trusts the root's key.
type Signed struct {
	ResolverAddr string // host:port of Unbound
	AuthAddr     string // host:port of Knot, which serves all the zones
	AuthPort     int    // the port of AuthAddr

	zones  []Zone // the root first, parents before their children
	forged map[string][]dns.RR
	dir    string
	serial int
	anchor string
	auth   *Server
	cache  *Server
}

// SignedWorld starts a Signed world (Debian packages knot, unbound and
// bind9-utils). The root is made and signed here; each zone is delegated from
// the closest one above it. Each has an SOA, the NS ns1 and that name's A
// 127.0.0.1 beside its records.
func SignedWorld(t testing.TB, zones ...Zone) *Signed {
	t.Helper()
	w := &Signed{dir: t.TempDir(), forged: map[string][]dns.RR{}}
	w.zones = append(w.zones, Zone{Name: "."})
	for _, z := range zones {
		z.Name = dns.CanonicalName(z.Name)
		w.zones = append(w.zones, z)
	}
	slices.SortStableFunc(w.zones, func(a, b Zone) int { return cmp.Compare(dns.CountLabel(a.Name), dns.CountLabel(b.Name)) })
	for _, z := range w.zones {
		if !z.Unsigned {
			w.keygen(t, z.Name)
		}
	}
	w.write(t)
	w.anchor = w.dsOf(t, ".")
	w.startKnot(t)
	w.startUnbound(t)
	return w
}

// Forge serves these records in place of those of the same names and types,
// under the signatures of those: the answers are bogus. They are in zone-file
// syntax with absolute names. The resolver forgets what it knew.
func (w *Signed) Forge(t testing.TB, records ...string) {
	t.Helper()
	for _, text := range records {
		rr := parseRR(t, text)
		zone := w.zoneOf(rr.Header().Name)
		w.forged[zone.Name] = append(w.forged[zone.Name], rr)
	}
	w.reload(t)
}

// Set gives a zone other records, signed if the zone is, and ends its
// forgeries. The resolver forgets what it knew.
func (w *Signed) Set(t testing.TB, zone string, records ...string) {
	t.Helper()
	i := slices.IndexFunc(w.zones, func(z Zone) bool { return z.Name == dns.CanonicalName(zone) })
	if i < 0 {
		t.Fatalf("there is no zone %s", zone)
	}
	w.zones[i].Records = records
	delete(w.forged, w.zones[i].Name)
	w.reload(t)
}

func (w *Signed) reload(t testing.TB) {
	t.Helper()
	w.write(t)
	w.auth.process.cmd.Process.Signal(syscall.SIGHUP)
	for _, z := range w.zones {
		if err := w.auth.serves(z.Name, uint32(w.serial)); err != nil {
			t.Fatalf("knot does not take the change of %s: %v\n%s", z.Name, err, w.auth.process.out)
		}
	}
	w.cache.Stop()
	w.startUnbound(t)
}

// zoneOf is the zone that a name lies in.
func (w *Signed) zoneOf(name string) Zone {
	var best Zone
	for _, z := range w.zones {
		if dns.IsSubDomain(z.Name, name) {
			best = z // the longest comes last
		}
	}
	return best
}

func (w *Signed) keygen(t testing.TB, zone string) {
	t.Helper()
	w.run(t, "dnssec-keygen", "-q", "-K", w.dir, "-a", "ECDSAP256SHA256", "-f", "KSK", zone)
}

// write makes the zone files, children first, for the parents' DS records.
func (w *Signed) write(t testing.TB) {
	t.Helper()
	w.serial++
	for _, z := range slices.Backward(w.zones) {
		var b strings.Builder
		fmt.Fprintf(&b, "$ORIGIN %s\n$TTL 60\n@ IN SOA ns1 hostmaster %d 3600 600 86400 1\n@ IN NS ns1\nns1 IN A 127.0.0.1\n", z.Name, w.serial)
		for _, record := range z.Records {
			b.WriteString(record + "\n")
		}
		for _, child := range w.zones {
			if child.Name == "." || w.parent(child).Name != z.Name {
				continue
			}
			fmt.Fprintf(&b, "%s IN NS ns1.%[1]s\nns1.%[1]s IN A 127.0.0.1\n", child.Name)
			if !child.Unsigned {
				b.WriteString(w.dsOf(t, child.Name) + "\n")
			}
		}
		file := writeFile(t, w.file(z), b.String())
		if !z.Unsigned {
			// -z: the one key signs everything. -P: the zone is not to be proved
			// here, that is Unbound's part.
			w.run(t, "dnssec-signzone", "-q", "-P", "-S", "-z", "-K", w.dir, "-d", w.dir, "-O", "full", "-o", z.Name, "-f", file, file)
		}
		if forged := w.forged[z.Name]; len(forged) > 0 {
			forge(t, file, forged)
		}
	}
}

// parent is the zone that delegates a zone.
func (w *Signed) parent(z Zone) Zone {
	off, end := dns.NextLabel(z.Name, 0)
	if end {
		return w.zoneOf(".")
	}
	return w.zoneOf(z.Name[off:])
}

func (w *Signed) file(z Zone) string { return filepath.Join(w.dir, "zone-"+z.Name) }

// dsOf is the DS record of a zone's key.
func (w *Signed) dsOf(t testing.TB, zone string) string {
	t.Helper()
	keys, err := filepath.Glob(filepath.Join(w.dir, "K"+zone+"+*.key"))
	if err != nil || len(keys) != 1 {
		t.Fatalf("keys of %s: %q, %v", zone, keys, err)
	}
	text, err := os.ReadFile(keys[0])
	if err != nil {
		t.Fatal(err)
	}
	key, ok := parseRR(t, string(text)).(*dns.DNSKEY)
	if !ok {
		t.Fatalf("%s holds no DNSKEY", keys[0])
	}
	ds := key.ToDS(dns.SHA256)
	ds.Hdr.Ttl = 60
	return ds.String()
}

// forge puts records into a signed zone in place of those of their names and
// types, and leaves the signatures as they are.
func forge(t testing.TB, file string, forged []dns.RR) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var b strings.Builder
	parser := dns.NewZoneParser(bytes.NewReader(text), "", file)
	for rr, ok := parser.Next(); ok; rr, ok = parser.Next() {
		replaced := slices.ContainsFunc(forged, func(f dns.RR) bool {
			return f.Header().Rrtype == rr.Header().Rrtype && strings.EqualFold(f.Header().Name, rr.Header().Name)
		})
		if !replaced {
			b.WriteString(rr.String() + "\n")
		}
	}
	if err := parser.Err(); err != nil {
		t.Fatal(err)
	}
	for _, rr := range forged {
		b.WriteString(rr.String() + "\n")
	}
	writeFile(t, file, b.String())
}

func (w *Signed) startKnot(t testing.TB) {
	t.Helper()
	binary := RequireServer(t, "knotd", "knot")
	s := w.newServer(t, "knot")
	var conf strings.Builder
	conf.WriteString(knotServer(w.dir, s.Port) + "zone:\n")
	for _, z := range w.zones {
		// The files are signed already, and perhaps wrongly: that is the point.
		fmt.Fprintf(&conf, "  - domain: %q\n    file: %q\n    zonefile-sync: -1\n    journal-content: none\n    semantic-checks: off\n", z.Name, w.file(z))
	}
	s.start(t, w.dir, binary, "-c", writeFile(t, filepath.Join(w.dir, "knot.conf"), conf.String()))
	w.auth, w.AuthAddr, w.AuthPort = s, s.Addr, s.Port
}

// startUnbound starts the resolver; where it ran before, at its old address.
func (w *Signed) startUnbound(t testing.TB) {
	t.Helper()
	binary := RequireServer(t, "unbound", "unbound")
	s := w.newServer(t, "unbound")
	if w.cache != nil {
		s.Port, s.Addr = w.cache.Port, w.cache.Addr
	}
	s.zones = []string{"."} // the others may be broken on purpose
	var conf strings.Builder
	fmt.Fprintf(&conf, `server:
	directory: %[1]q
	chroot: ""
	username: ""
	pidfile: ""
	use-syslog: no
	logfile: ""
	verbosity: 1
	val-log-level: 2
	interface: 127.0.0.1@%[2]d
	access-control: 127.0.0.0/8 allow
	do-ip6: no
	do-not-query-localhost: no
	num-threads: 1
	outgoing-range: 64
	num-queries-per-thread: 32
	msg-cache-size: 1m
	rrset-cache-size: 1m
	key-cache-size: 1m
	neg-cache-size: 1m
	infra-cache-numhosts: 100
	module-config: "validator iterator"
	val-permissive-mode: no
	trust-anchor: "%[3]s"
	trust-anchor-signaling: no
	local-zone: "test." nodefault
	local-zone: "invalid." nodefault
remote-control:
	control-enable: no
`, w.dir, s.Port, w.anchor)
	for _, z := range w.zones {
		fmt.Fprintf(&conf, "stub-zone:\n\tname: %q\n\tstub-addr: 127.0.0.1@%d\n", z.Name, w.AuthPort)
	}
	s.start(t, w.dir, binary, "-d", "-c", writeFile(t, filepath.Join(w.dir, "unbound.conf"), conf.String()))
	w.cache, w.ResolverAddr = s, s.Addr
}

func (w *Signed) newServer(t testing.TB, kind string) *Server {
	t.Helper()
	s := &Server{Kind: kind, Port: freePort(t)}
	s.Addr = net.JoinHostPort("127.0.0.1", itoa(s.Port))
	for _, z := range w.zones {
		s.zones = append(s.zones, z.Name)
	}
	return s
}

// run runs one of BIND's programs to its end.
func (w *Signed) run(t testing.TB, program string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), RequireServer(t, program, "bind9-utils"), args...)
	cmd.Dir = w.dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%s: %v\n%s", program, err, out)
	}
}

// serves waits until a server has this serial number of a zone.
func (s *Server) serves(zone string, serial uint32) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	late := time.After(20 * time.Second)
	m := new(dns.Msg).SetQuestion(zone, dns.TypeSOA)
	for {
		r, _, err := (&dns.Client{Net: "tcp", Timeout: 2 * time.Second}).Exchange(m, s.Addr)
		if err == nil {
			for _, rr := range r.Answer {
				if soa, ok := rr.(*dns.SOA); ok && soa.Serial == serial {
					return nil
				}
			}
		}
		select {
		case <-s.process.done:
			return fmt.Errorf("it ended by itself")
		case <-late:
			return fmt.Errorf("it does not serve serial %d (%v)", serial, err)
		case <-tick.C:
		}
	}
}

func parseRR(t testing.TB, text string) dns.RR {
	t.Helper()
	rr, err := dns.NewRR(text)
	if err != nil || rr == nil {
		t.Fatalf("record %q: %v", text, err)
	}
	return rr
}
