package dnsupdate

import (
	"context"
	"encoding/base64"
	"errors"
	"fmt"
	"net"
	"slices"
	"strings"
	"time"

	"github.com/miekg/dns"
	"golang.org/x/time/rate"

	"github.com/stshost/stshost/internal/resolver"
)

func rfc2136Settings() []Setting {
	return []Setting{
		{Key: "server", Required: true, Doc: "host:port of the zone's primary server, for example ns1.example.com:53"},
		{Key: "key_name", Required: true, Doc: "name of the TSIG key as the server knows it"},
		{Key: "key_alg", Doc: "algorithm of the TSIG key: " + strings.Join(tsigAlgorithms(), ", ") + "; hmac-sha256 if left out"},
		{Key: "key", Required: true, Secret: true, Doc: "secret of the TSIG key in base64"},
	}
}

func tsigAlgorithms() []string {
	return []string{"hmac-sha256", "hmac-sha512", "hmac-sha384", "hmac-sha224", "hmac-sha1"}
}

// rfc2136 changes records by DNS UPDATE (RFC 2136) signed with TSIG (RFC 8945).
// It asks the same server under the same key before each change, so it sees
// what the server holds for that key's view, and learns why a key is refused
// before it changes anything.
type rfc2136 struct {
	server    string
	keyName   string // canonical
	algorithm string // canonical
	secret    string // base64
	limiter   *rate.Limiter
	now       func() time.Time
}

// rfc2136Timeout bounds one exchange with the server.
const rfc2136Timeout = 10 * time.Second

// tsigFudge is the clock difference that is forgiven (RFC 8945 §10).
const tsigFudge = 300

func openRFC2136(settings map[string]string, env environment) (client, error) {
	c := &rfc2136{
		server:    strings.TrimSpace(settings["server"]),
		keyName:   dns.CanonicalName(strings.TrimSpace(settings["key_name"])),
		algorithm: dns.CanonicalName(strings.TrimSpace(settings["key_alg"])),
		secret:    strings.TrimSpace(settings["key"]),
		limiter:   rate.NewLimiter(50, 50),
		now:       env.now,
	}
	if c.algorithm == "." {
		c.algorithm = dns.HmacSHA256
	}
	if _, _, err := net.SplitHostPort(c.server); err != nil {
		if strings.Contains(c.server, ":") && net.ParseIP(c.server) == nil {
			return nil, fmt.Errorf("server %q is not host:port, for example ns1.example.com:53", c.server)
		}
		c.server = net.JoinHostPort(c.server, "53")
	}
	var errs []error
	if !slices.Contains(tsigAlgorithms(), trimDot(c.algorithm)) {
		errs = append(errs, fmt.Errorf("key_alg %q is not known; use one of %s", trimDot(c.algorithm), strings.Join(tsigAlgorithms(), ", ")))
	}
	if _, ok := dns.IsDomainName(c.keyName); !ok {
		errs = append(errs, fmt.Errorf("key_name %q is not a domain name", trimDot(c.keyName)))
	}
	if _, err := base64.StdEncoding.DecodeString(c.secret); err != nil {
		errs = append(errs, errors.New("key is not base64; give the secret as tsig-keygen or keymgr printed it"))
	}
	return c, errors.Join(errs...)
}

func (c *rfc2136) read(ctx context.Context, at site) ([]record, error) {
	q := new(dns.Msg)
	q.SetQuestion(at.name, dns.TypeTXT)
	q.RecursionDesired = false
	m, err := c.exchange(ctx, q)
	if err != nil {
		return nil, err
	}
	switch m.Rcode {
	case dns.RcodeSuccess, dns.RcodeNameError:
	case dns.RcodeRefused:
		return nil, noZone("server %s refuses questions about %s: it does not hold zone %s, or its access list keeps key %s or this machine out; "+
			"it must answer queries and take updates from here", c.server, trimDot(at.name), at.zone, trimDot(c.keyName))
	case dns.RcodeNotAuth:
		return nil, c.notAuthoritative(at)
	default:
		return nil, fmt.Errorf("server %s answers %s to a question about %s; its log says more", c.server, rcodeName(m.Rcode), trimDot(at.name))
	}
	if !m.Authoritative {
		return nil, c.notAuthoritative(at)
	}
	var records []record
	for _, rr := range m.Answer {
		if !strings.EqualFold(rr.Header().Name, at.name) {
			continue
		}
		switch rr := rr.(type) {
		case *dns.CNAME:
			stands, err := c.hasCNAME(ctx, at)
			if err != nil {
				return nil, err
			}
			if stands {
				return nil, &aliasError{name: at.name, target: rr.Target}
			}
			return nil, nil // a wildcard's, which no longer covers the name once it has a record
		case *dns.TXT:
			records = append(records, record{
				text: resolver.JoinTXT(rr),
				raw:  strings.TrimPrefix(rr.String(), rr.Hdr.String()),
				ttl:  time.Duration(rr.Hdr.Ttl) * time.Second,
			})
		}
	}
	return records, nil
}

// hasCNAME reports whether a CNAME stands at the name itself. An answer cannot
// tell, for a wildcard answers under the name asked for (RFC 4592 §2.2.3). A
// prerequisite looks at the zone's content; this UPDATE has nothing else in it.
func (c *rfc2136) hasCNAME(ctx context.Context, at site) (bool, error) {
	m := new(dns.Msg)
	m.SetUpdate(at.zone)
	m.RRsetNotUsed([]dns.RR{&dns.CNAME{Hdr: dns.RR_Header{Name: at.name, Rrtype: dns.TypeCNAME}}})
	r, err := c.exchange(ctx, m)
	if err != nil {
		return false, err
	}
	switch r.Rcode {
	case dns.RcodeSuccess:
		return false, nil
	case dns.RcodeYXRrset: // RFC 2136 §2.4.3
		return true, nil
	}
	return false, c.refusedUpdate(at, r.Rcode)
}

// write sends one UPDATE, which the server carries out whole or not at all
// (RFC 2136 §3.7). Records that stay are not mentioned in it.
func (c *rfc2136) write(ctx context.Context, at site, e edit) error {
	m := new(dns.Msg)
	m.SetUpdate(at.zone)
	for _, r := range e.drop {
		rr, err := parseTXT(r.raw)
		if err != nil {
			return err
		}
		rr.Hdr.Name = at.name
		m.Remove([]dns.RR{rr})
	}
	if e.add != "" {
		m.Insert([]dns.RR{&dns.TXT{
			Hdr: dns.RR_Header{Name: at.name, Rrtype: dns.TypeTXT, Class: dns.ClassINET, Ttl: uint32(at.ttl / time.Second)},
			Txt: []string{e.add}, // letters, digits and "=; ": nothing to escape, far below 255
		}})
	}
	r, err := c.exchange(ctx, m)
	if err != nil {
		return err
	}
	if r.Rcode != dns.RcodeSuccess {
		return c.refusedUpdate(at, r.Rcode)
	}
	return nil
}

// refusedUpdate says why the server has not carried out an UPDATE.
func (c *rfc2136) refusedUpdate(at site, rcode int) error {
	switch rcode {
	case dns.RcodeRefused:
		return noZone("server %s refuses the update: key %s may not change TXT records at %s; "+
			"grant it (BIND: update-policy { grant %s zonesub TXT; }; Knot: acl with action update for the key; PowerDNS: TSIG-ALLOW-DNSUPDATE and allow-dnsupdate-from)",
			c.server, trimDot(c.keyName), trimDot(at.name), trimDot(c.keyName))
	case dns.RcodeNotAuth, dns.RcodeNotZone:
		return c.notAuthoritative(at)
	case dns.RcodeNotImplemented:
		return fmt.Errorf("server %s does not take dynamic updates (NOTIMP); switch them on for zone %s", c.server, at.zone)
	case dns.RcodeServerFailure:
		return fmt.Errorf("server %s fails to carry out the update (SERVFAIL); its log says why, often it cannot write its journal or zone file", c.server)
	}
	return fmt.Errorf("server %s answers %s to the update of %s; its log says more", c.server, rcodeName(rcode), trimDot(at.name))
}

func (c *rfc2136) notAuthoritative(at site) error {
	return noZone("server %s does not hold zone %s as an authoritative primary; name the zone's primary in `server`, or the right `zone` for %s",
		c.server, at.zone, trimDot(at.name))
}

// exchange signs m, sends it over TCP and returns the verified answer.
func (c *rfc2136) exchange(ctx context.Context, m *dns.Msg) (*dns.Msg, error) {
	if err := pace(ctx, c.limiter); err != nil {
		return nil, err
	}
	m.SetTsig(c.keyName, c.algorithm, tsigFudge, c.now().Unix())
	limited, cancel := context.WithTimeout(ctx, rfc2136Timeout)
	defer cancel()
	dc := &dns.Client{Net: "tcp", Timeout: rfc2136Timeout, TsigSecret: map[string]string{c.keyName: c.secret}}
	conn, err := dc.DialContext(limited, c.server)
	if err != nil {
		return nil, fmt.Errorf("server %s cannot be reached over TCP: %w", c.server, err)
	}
	defer conn.Close()
	stop := context.AfterFunc(limited, func() { conn.SetDeadline(time.Unix(1, 0)) })
	defer stop()
	r, _, err := dc.ExchangeWithConnContext(limited, m, conn)
	if r != nil {
		if refusal := c.refusal(r); refusal != nil {
			return nil, refusal
		}
	}
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case errors.Is(err, dns.ErrTime):
		return nil, fmt.Errorf("the answer of server %s was signed more than %d s away from this machine's clock; set both clocks by NTP", c.server, tsigFudge)
	case errors.Is(err, dns.ErrSig), errors.Is(err, dns.ErrSecret), errors.Is(err, dns.ErrAuth):
		return nil, fmt.Errorf("the answer of server %s is not signed with key %s; it cannot be trusted: %w", c.server, trimDot(c.keyName), err)
	case err != nil:
		return nil, fmt.Errorf("server %s did not answer over TCP: %w", c.server, err)
	case r.IsTsig() == nil && r.Rcode == dns.RcodeSuccess:
		// RFC 8945 §5.4: an answer to a signed request is signed. An error may
		// come unsigned from a server that refuses before it looks at the key.
		return nil, fmt.Errorf("server %s answered without a signature to a request signed with key %s; is it the zone's primary, and not a resolver?", c.server, trimDot(c.keyName))
	}
	return r, nil
}

// refusal says what the server has against our signature (RFC 8945 §5.2).
func (c *rfc2136) refusal(r *dns.Msg) error {
	t := r.IsTsig()
	if t == nil {
		if r.Rcode == dns.RcodeNotAuth && r.Opcode != dns.OpcodeUpdate {
			return fmt.Errorf("server %s rejects key %s with algorithm %s and does not say why (NOTAUTH), its log does; "+
				"compare key_name, key_alg and the secret in key with its configuration, and both clocks", c.server, trimDot(c.keyName), trimDot(c.algorithm))
		}
		return nil
	}
	switch t.Error {
	case dns.RcodeSuccess:
		return nil
	case dns.RcodeBadKey:
		// Knot says this of a known key too, if no acl of the zone names it.
		return noZone("server %s does not know key %s with algorithm %s, or grants it nothing (BADKEY); compare key_name and key_alg with its configuration and its access list for the zone",
			c.server, trimDot(c.keyName), trimDot(c.algorithm))
	case dns.RcodeBadSig:
		return fmt.Errorf("server %s knows key %s with another secret or algorithm (BADSIG); copy its secret into key, and compare key_alg %s",
			c.server, trimDot(c.keyName), trimDot(c.algorithm))
	case dns.RcodeBadTime:
		return fmt.Errorf("server %s finds our signature more than %d s away from its clock (BADTIME); set both clocks by NTP", c.server, tsigFudge)
	}
	return fmt.Errorf("server %s rejects the signature of key %s (%s)", c.server, trimDot(c.keyName), rcodeName(int(t.Error)))
}

func rcodeName(rcode int) string {
	if name, ok := dns.RcodeToString[rcode]; ok {
		return name
	}
	return fmt.Sprintf("RCODE %d", rcode)
}
