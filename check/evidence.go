package check

import (
	"crypto/x509"
	"time"

	"github.com/stshost/stshost/internal/caa"
	"github.com/stshost/stshost/internal/resolver"
	"github.com/stshost/stshost/internal/state"
)

// Evidence is everything that the probes saw of a policy domain. The probes
// collect and do not judge; Evaluate judges and does not look.
type Evidence struct {
	Domain string
	Time   time.Time

	Record     RecordEvidence
	Host       HostEvidence
	MX         MXEvidence
	TLSRPT     resolver.Answer // TXT at _smtp._tls.<domain>
	TLSRPTErr  error
	Subdomains SubdomainEvidence
	Served     *state.Served // what a store remembers; nil: nothing, or not asked
	ServedErr  error         // the store could not be asked
}

// RecordEvidence is what the DNS says at _mta-sts.<domain>.
type RecordEvidence struct {
	Answer   resolver.Answer // TXT, as recursive resolvers show it
	Err      error           // nobody answered
	Bogus    bool            // it answers when asked not to validate, and not otherwise
	Circle   bool            // nobody answers, because its CNAMEs lead back to it
	Wildcard bool            // a name beside it that nobody has made has the same records
	Servers  []state.ServerTXT
	// ServersErr says why the authoritative servers were not asked.
	ServersErr error
}

// HostEvidence is what was seen of mta-sts.<domain>.
type HostEvidence struct {
	Name      string
	Aliases   []resolver.Alias // the CNAMEs that lead from it, in order
	LookupErr error            // neither family could be looked up
	Wildcard  bool             // a name beside it that nobody has made has an address, too
	Addresses []HTTPSLook      // none: it has no address
	More      int              // addresses that were not looked at
	Plain     []PlainLook
	CAA       caa.Set
	CAAErr    error
}

// HTTPSLook is one look at one address of a policy host.
type HTTPSLook struct {
	Family, Address string
	Skipped         string // why it was not tried; all else is empty then
	NoRoute         bool   // Skipped, because this machine has no way to addresses of the family
	Err             error  // the family's look-up, or the connection, failed
	TLS             *TLSLook
	Main            *HTTPFetch  // as stshost, over whatever protocol was negotiated
	Others          []HTTPFetch // as other senders; only at the first address of a family
	Again           *HTTPFetch  // what got the policy, once more, if something else did not
}

// HTTPFetch is one GET of the policy.
type HTTPFetch struct {
	Agent       string // User-Agent; "" is none
	Proto       string // "HTTP/2.0", "HTTP/1.1": what was wanted if Err is set
	Err         error  // no response
	Status      int
	Location    string
	ContentType string
	Body        []byte
	BodyErr     error // it broke off
	TooLarge    bool  // more than senders read; Body has the beginning
	Took        time.Duration
}

// PlainLook is one look at port 80 of a policy host.
type PlainLook struct {
	Address string
	Err     error
	Status  int
	Body    []byte // the beginning
}

// TLSLook is one TLS handshake, whatever came of it.
type TLSLook struct {
	Name    string // SNI that was sent; "" is none
	Err     error  // the handshake failed
	Version uint16 // as tls.VersionTLS12
	Chain   []*x509.Certificate
	// Untrusted says why no chain leads to a trusted root, dates and names
	// aside; NameErr why the certificate is not for the host.
	Untrusted, NameErr error
	NotBefore          time.Time // of the leaf
	NotAfter           time.Time // the earliest in the best chain
}

// MXEvidence is what was seen of the MX hosts of a domain.
type MXEvidence struct {
	Answer   resolver.Answer
	Err      error // the MX records could not be looked up
	Implicit bool  // there are none, and the domain's own address stands in (RFC 5321 §5.1)
	Null     bool  // RFC 7505
	Hosts    []MXHost
	More     int // hosts beyond those in Hosts
	// Closed says why port 25 seems closed on our side, by family of addresses.
	Closed map[string]string
}

// MXHost is one MX host.
type MXHost struct {
	Name       string // without trailing dot
	Preference uint16
	Untried    bool             // it was not looked at: there are so many; all below is empty then
	Aliases    []resolver.Alias // the name is a CNAME (RFC 2181 §10.3)
	Err        error            // its addresses could not be looked up
	Addresses  []SMTPLook       // none: it has no address
	More       int              // addresses that were not looked at
	TLSA       TLSAEvidence
}

// TLSAEvidence is what the DNS says at _25._tcp.<MX host>.
type TLSAEvidence struct {
	Answer resolver.Answer
	Err    error
	// Secure: the address records and the TLSA records are validated by a
	// resolver that is believed (RFC 7672 §2.2); MXSecure: the MX records are.
	Secure, MXSecure bool
	// Judged: the resolver is one that is believed about DNSSEC at all.
	Judged bool
}

// SMTPStage is how far an SMTP session came.
type SMTPStage string

// The stages, in order. A look that ended well is at SMTPDone.
const (
	SMTPConnect  SMTPStage = "connect"
	SMTPGreeting SMTPStage = "greeting"
	SMTPEHLO     SMTPStage = "EHLO"
	SMTPSTARTTLS SMTPStage = "STARTTLS"
	SMTPTLS      SMTPStage = "TLS handshake"
	SMTPDone     SMTPStage = "done"
)

// SMTPLook is one look at one address of an MX host.
type SMTPLook struct {
	Family, Address string
	Skipped         string    // why it was not tried; all else is empty then
	Stage           SMTPStage // the last one begun
	Err             error     // why it went no further
	Greeting        string    // first line of the greeting
	Reply           string    // the reply that Err is about, e.g. "454 4.7.0 TLS not available"
	STARTTLS        bool      // offered
	TLS             *TLSLook  // with SNI
	NoSNI           *TLSLook  // without; nil if it was not tried
}

// SubdomainEvidence is which common sub-domains take mail of their own.
type SubdomainEvidence struct {
	Err      error    // one could not be looked up
	Wildcard bool     // any sub-domain has MX records
	Bare     []string // have MX records and no MTA-STS record
	Covered  []string // have both
}

// unseen is why an address is skipped that did not come to an end in time.
const unseen = "it did not come to an end before the time for the examination was over"

// dropUnseen takes the looks that ended only because the time was over for looks
// that were not made: what they would have seen is not known.
func (ev *Evidence) dropUnseen() {
	for i := range ev.Host.Addresses {
		l := &ev.Host.Addresses[i]
		if resolver.IsTimeout(l.Err) || l.TLS != nil && resolver.IsTimeout(l.TLS.Err) || l.Main != nil && (resolver.IsTimeout(l.Main.Err) || resolver.IsTimeout(l.Main.BodyErr)) {
			*l = HTTPSLook{Family: l.Family, Address: l.Address, Skipped: unseen}
		}
	}
	for _, h := range ev.MX.Hosts {
		for i := range h.Addresses {
			if l := &h.Addresses[i]; resolver.IsTimeout(l.Err) {
				*l = SMTPLook{Family: l.Family, Address: l.Address, Skipped: unseen}
			}
		}
	}
}
