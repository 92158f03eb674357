// Package config reads stshost's TOML files.
//
// It is strict: unknown keys, wrong types, bad values and references to
// things that do not exist are refused, all of them at once, each with the
// file, the line, and what to write instead. It checks what can be known from
// the files alone and never asks the network. Every key is described, with
// its unit, its default and what excludes it, in config.example.toml.
package config

import (
	"net/netip"
	"time"

	"github.com/stshost/stshost/mtasts"
)

// Config is a config that was read and found right, with every default
// filled in. It is not changed after Load.
type Config struct {
	File  string   // the main file, as given to Load
	Files []string // every file read, the main file first, the included ones in the order read

	Listen  Listen
	Store   Store
	ACME    ACME
	DNS     map[string]DNSAccount // by name; always has PrintAccount
	Net     Net
	Prove   Prove
	Watch   Watch
	Records Records
	Notify  map[string]Notify // by name

	Certificates []Certificate // the operator's own, in the order of the files
	Domains      []Domain      // in the order of the files

	// Warnings are findings that do not keep the config from being used,
	// sorted by file and line.
	Warnings []Error
}

// Listen says where stshost listens.
type Listen struct {
	HTTPS          string // host:port for policies and tls-alpn-01; default ":443"; "" only beside Proxied, see ProxyTLS
	HTTP           string // host:port for ACME http-01 and redirects; default ":80"; "" is off
	Admin          string // "unix:/path" or a loopback host:port; default "unix:/run/stshost/admin.sock"
	MaxConnections int    // open connections on each of the listeners; default 4096

	Proxied        string         // host:port for plain HTTP from a reverse proxy that has ended TLS; "" is off
	TrustedProxies []netip.Prefix // the proxies of Proxied; default loopback; empty without Proxied
	ProxyProtocol  []netip.Prefix // balancers whose connections to HTTPS and HTTP begin with a PROXY header
}

// ProxyTLS reports whether TLS, and with it the certificates, are the business
// of a reverse proxy alone.
func (l Listen) ProxyTLS() bool { return l.HTTPS == "" }

// Store says where state is kept.
type Store struct {
	Path       string        // path of the SQLite file; default /var/lib/stshost/stshost.db
	KeepEvents time.Duration // how long events are kept; default 90 d
}

// ACME says which CA issues certificates. It is empty if Listen.ProxyTLS.
type ACME struct {
	CA

	AcceptTerms bool     // true after Load: it refuses anything else
	Workers     int      // orders worked on at once; default 4
	ExtraHosts  []string // names that get certificates beside the policy hosts; A-labels
	Fallback    *CA      // who is asked while the first CA is out of order; nil: nobody
}

// CA is a certificate authority and the account there.
type CA struct {
	Directory       string // URL of the ACME directory; default Let's Encrypt
	Email           string // contact for the CA; may be empty
	RootsFile       string // PEM roots for the directory's own HTTPS; "": the system's
	Profile         string // the certificate profile to order; "" leaves it to the CA
	EAB             *EAB   // external account binding (RFC 8555 §7.3.4); nil: none
	OrdersPer3Hours int    // orders sent to the CA in any 3 hours; default 300
}

// EAB binds the ACME account to one that the operator has at the CA.
type EAB struct {
	KID string
	Key []byte // HMAC key, a secret: never log or show it
}

// Certificate is a certificate of the operator's own, with its key, in PEM files.
type Certificate struct {
	CertFile, KeyFile string // paths
	At                Pos
}

// Notify says whom to tell what happens, and when.
type Notify struct {
	Name      string         // the NAME of [notify.NAME]
	URL       string         // URL of the service, a secret: never log or show it
	Min       string         // the least severity told: info, warning or critical; default warning
	QuietFrom time.Duration  // since midnight; with QuietTo the time of day that only critical events break
	QuietTo   time.Duration  // both 0: no quiet hours
	Location  *time.Location // of the quiet hours; default the machine's
	Repeat    time.Duration  // after which trouble that lasts is told again; default 24 h; 0: never
	At        Pos
}

// PrintAccount is the DNS account that always exists: its provider, also
// called "print", shows the records for an operator to enter by hand.
const PrintAccount = "print"

// DNSAccount is access to one DNS provider.
type DNSAccount struct {
	Name     string // the NAME of [dns.NAME]
	Provider string
	Settings map[string]string // secrets resolved: never log or show them
	At       Pos               // zero for the implied PrintAccount
}

// Net says how stshost looks at the world. The ports and roots are for labs
// and private networks.
type Net struct {
	Resolver  []string // host:port of recursive resolvers; empty: /etc/resolv.conf
	RootsFile string   // PEM roots for policy hosts and MX hosts; "": the system's
	DNSPort   int      // where authoritative servers are asked; default 53
	HTTPSPort int      // where policy hosts are fetched; default 443
	HTTPPort  int      // where policy hosts answer plain HTTP; default 80
	SMTPPort  int      // where MX hosts are reached; default 25

	TrustAD     bool     // what Resolver says about DNSSEC is believed although they are not on this machine
	SMTPControl []string // hosts that surely take mail at SMTPPort; nil: those of large mail providers, empty: none
}

// Prove says how stshost fetches its own policies back.
type Prove struct {
	Via string // host:port that stands in for the policy host's addresses; "": none
}

// Watch says how often a domain that is in order is looked at again.
type Watch struct {
	Interval   time.Duration // default 1 h
	MXInterval time.Duration // the same for the MX hosts; default 6 h; 0: they are not looked at
	Workers    int           // domains looked at at once, and as many again whose MX hosts are; default 8
}

// Records says what `stshost records` shows for the policy hosts.
type Records struct {
	Addresses []netip.Addr  // A and AAAA of each policy host; excludes CNAME
	CNAME     string        // target of each policy host, without trailing dot; excludes Addresses
	TTL       time.Duration // TTL of records shown and pushed; default 300 s
}

// Domain is one policy domain.
type Domain struct {
	Name    string        // A-labels, lower case, no trailing dot
	Account string        // name of the DNS account
	Zone    string        // apex of the DNS zone with trailing dot; "" finds it by SOA
	MX      []string      // canonical MX patterns; never empty unless Mode is none
	MaxAge  time.Duration // whole seconds; default 7 d; in enforce a managed domain has those of Rollout
	Mode    mtasts.Mode   // "" is managed: stshost decides, see Managed
	Profile string        // the profile that filled in what the domain left out; "" is none
	At      Pos           // the [[domain]] header
	ModeAt  Pos           // where Mode was pinned; zero when managed
	Rollout Rollout       // for a managed domain
}

// Managed reports whether `stshost rollout`, not the config, decides the mode.
func (d Domain) Managed() bool { return d.Mode == "" }

// Setting describes one setting of a DNS provider.
type Setting struct {
	Key      string
	Required bool
	Secret   bool // may not stand in backups and logs; `config init` puts it in a file
	Doc      string
}

// Options is what Load needs to know from its caller.
type Options struct {
	// Providers are the known DNS providers and their settings. "print" is
	// always known.
	Providers map[string][]Setting
	// Refused are DNS providers that are known and not offered, each with the
	// reason as "why; what to do instead".
	Refused map[string]string
	// CheckAccount says what cannot be right about the settings of a DNS
	// account, one fault a line, each as "what; what to write instead". It is
	// asked when all settings could be read, and shows no secret. Nil checks
	// nothing.
	CheckAccount func(provider string, settings map[string]string) error
	// CheckCertificate returns the names that a certificate is for, or says what
	// is wrong with it and its key, in one line as CheckAccount does. Nil checks
	// nothing.
	CheckCertificate func(certFile, keyFile string) (names []string, err error)
	// Starting makes what CheckCertificate finds a warning: the files of one
	// host, half written when the machine went down, keep no other host from
	// being served.
	Starting bool
	// CheckNotify says what is wrong with the URL of a [notify.NAME], without
	// showing it. Nil checks nothing.
	CheckNotify func(url string) error
	// Getenv resolves ${NAME} in the settings of DNS accounts; "" counts as
	// not set. Nil is os.Getenv.
	Getenv func(string) string
}

// Defaults that the docs name.
const (
	defaultMaxAge         = 7 * 24 * time.Hour
	defaultMaxConnections = 4096
	defaultStorePath      = "/var/lib/stshost/stshost.db"
	defaultAdmin          = "unix:/run/stshost/admin.sock"

	defaultKeepEvents = 90 * 24 * time.Hour
	defaultOrders     = 300

	letsEncrypt        = "https://acme-v02.api.letsencrypt.org/directory"
	letsEncryptStaging = "https://acme-staging-v02.api.letsencrypt.org/directory"
	zeroSSL            = "https://acme.zerossl.com/v2/DV90"
	googleTrust        = "https://dv.acme-v02.api.pki.goog/directory"
)
