// Package state holds the values that pass between stshost's packages and
// into its store: the journal of a policy domain, the bodies it has served,
// certificates and the queue that issues them. It has no behaviour beyond
// small questions about the values themselves, and does no I/O, so that
// store, acme, dnsupdate, check, server and reconcile can share it without
// importing one another.
package state

import (
	"errors"
	"time"

	"github.com/stshost/stshost/mtasts"
)

// Errors that cross package borders. They are compared with errors.Is.
var (
	// ErrNotFound says that the store holds no such thing.
	ErrNotFound = errors.New("not found")

	// ErrManual says that nobody but the operator can make a DNS change: the
	// account's provider is "print". It is a reason to wait, not a failure.
	ErrManual = errors.New("this DNS record is entered by hand")
)

// Step is how far a policy domain has come on the way certificate, policy,
// proof, announcement. A step is journalled when it has been reached.
type Step string

// The steps in their order.
const (
	// WaitingDNS: the policy host does not lead to this server yet.
	WaitingDNS Step = "waiting-dns"
	// WaitingCertificate: the policy host leads here; the CA has not issued yet.
	WaitingCertificate Step = "waiting-certificate"
	// Serving: the body is served under a valid certificate; not yet fetched back.
	Serving Step = "serving"
	// Proven: the body was fetched back as a sender would; not yet announced.
	Proven Step = "proven"
	// Announced: the DNS provider accepted the record; not yet seen everywhere.
	Announced Step = "announced"
	// Confirmed: every authoritative server shows exactly this one record.
	Confirmed Step = "confirmed"
	// Withdrawn: the domain leaves MTA-STS, and no authoritative server shows its
	// record any more (RFC 8461 §8.3).
	Withdrawn Step = "withdrawn"
)

// Domain is the journal of one policy domain: what it serves, what it has
// announced, and what it does next.
type Domain struct {
	Name  string    // policy domain in A-labels
	Step  Step      // the last step reached
	Since time.Time // when Step was reached

	// Mode and MaxAge are where a managed domain (one without `mode` in the
	// config) stands. Mode is "" until the first body was decided.
	Mode   mtasts.Mode
	MaxAge time.Duration // 0: the config's max_age
	// ConfigMaxAge is the config's max_age when MaxAge was adopted: an edit of
	// the config ends the adoption of MaxAge.
	ConfigMaxAge time.Duration
	Adopted      bool // the first body's mode and max_age were found published

	BodySHA256 string // lower-case hex of the body served now; "" before the first
	ID         string // record id for that body, journalled before its first push; "" until made
	FormerID   string // the id of the body before, until this one has its own
	Proof      string // how the body was last proven, e.g. "IPv4 ok, IPv6 skipped: no route"

	LastError string    // why the next step is not reached; "" when nothing is wrong
	Remedy    string    // what the operator can do about it
	Attempts  int       // failed runs in a row; drives the backoff
	LastRun   time.Time // end of the last run
	NextRun   time.Time // when the domain is looked at again
}

// Body is an entry of the ledger: a policy body that senders may have cached.
// A sender may hold it until LastServed + MaxAge (RFC 8461 §3.2, §8.3).
type Body struct {
	Domain      string
	SHA256      string // lower-case hex of Body
	Body        []byte // the bytes served
	Mode        mtasts.Mode
	MaxAge      time.Duration
	FirstServed time.Time
	LastServed  time.Time // zero while it is served
	Adopted     bool      // found published before this installation served it
}

// Certificate is an issued certificate with its key.
type Certificate struct {
	Host      string
	PEM       []byte // private key, then the chain, leaf first
	NotBefore time.Time
	NotAfter  time.Time
}

// CertJob is one host's place in the certificate queue: a first issuance, a
// retry, or a renewal.
type CertJob struct {
	Host        string
	Due         time.Time
	NotAfter    time.Time // expiry of the certificate to be replaced; zero if there is none
	Attempts    int       // failed attempts in a row
	Challenge   string    // challenge type of the next attempt: "tls-alpn-01" or "http-01"
	Problem     string    // why the last attempt failed, in the CA's words where it gave any
	LastAttempt time.Time
	Running     bool // an order may be open at the CA

	// CA is the directory URL of the CA that issued the certificate to be
	// replaced; "" where there is none, or where it was not kept.
	CA string
	// AskAt is when that CA is next asked for renewal information (RFC 9773);
	// zero: as soon as can be.
	AskAt time.Time
	// WindowStart and WindowEnd are the renewal window that it suggested last;
	// zero: none.
	WindowStart, WindowEnd time.Time
	Explanation            string // URL of the CA's reason for the window, or ""
}

// CertJobCounts counts the certificate queue.
type CertJobCounts struct {
	Due       int // due and not started: they wait for a worker, the budget or a CA
	Retrying  int // wait for another try after a failure
	Scheduled int // wait for their time without trouble, nearly all for renewal
	Running   int // an order may be open
}

// CertStatus is what can be said of a host's certificate.
type CertStatus struct {
	Host      string
	External  bool      // a reverse proxy has it, and nothing else can be said of it
	NotBefore time.Time // zero without a certificate
	NotAfter  time.Time
	Pending   bool      // a job waits or runs for a first certificate or a replacement that failed before
	Running   bool      // an order is under way
	NextTry   time.Time // when the pending job, or the renewal, is due
	Attempts  int
	Problem   string
	Remedy    string // what the operator can do about Problem, where that is known
	Own       string // file of the operator's own certificate that is served; "" if a CA is asked for one
}

// OwnRemedy is what the operator can do where CertStatus.Own has a Problem.
const OwnRemedy = "write a renewed certificate to its files, or take its [[certificate]] out of the config and reload, and the CA takes over"

// CertificateRemedy is what the operator can do where CertStatus.Problem says
// why an attempt failed. It names no time: it is kept, and the time changes.
const CertificateRemedy = "mend what it names if it is on your side; then `stshost reload` has it tried at once, unless the CA has asked to wait"

// Valid reports whether a certificate exists that has not expired at t. One
// that has not begun counts: CAs issue none for later, so the clock that says
// so is behind, and another certificate would begin no sooner.
func (c CertStatus) Valid(t time.Time) bool {
	return !c.NotAfter.IsZero() && t.Before(c.NotAfter)
}

// Target is a TXT record set that stshost manages.
type Target struct {
	Account string        // name of the DNS account in the config
	Zone    string        // apex of the zone with trailing dot; "" finds it by SOA
	Name    string        // owner name without trailing dot, e.g. "_mta-sts.example.com"
	TTL     time.Duration // TTL for a record that is pushed
}

// ServerTXT is what one authoritative server says about a TXT name.
type ServerTXT struct {
	Server string   // name and address, for messages
	TXT    []string // each record's strings joined; empty when there is none
	Err    error    // it could not be asked; TXT means nothing then
}

// Fetch is the outcome of one look at one address of a host.
type Fetch struct {
	Family  string // "IPv4", "IPv6", or "via host:port" for one in place of them
	Address string // address and port; "" if the family's look-up failed
	Skipped string // why the address was not tried; Body and Err are empty then
	Err     error
	Body    []byte
}
