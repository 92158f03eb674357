package store

// statements is the SQL of one dialect, one field per question. Placeholders
// stand in the order in which the methods pass their arguments, and columns in
// the order in which they scan them; both are noted where they are not plain.
type statements struct {
	// journal.go
	domains      string
	domain       string // name
	saveDomain   string // as domainArgs
	removeDomain string // name

	// ledger.go
	bodies     string // domain
	served     string
	closeOther string // last_served, domain, sha256 of the body that stays open
	openBody   string // as bodyArgs; an entry that exists is re-opened
	addBody    string // as bodyArgs; an entry that exists gets the wider time
	closeBody  string // last_served, domain

	// certificates.go
	acmeData        string // name
	putACMEData     string // name, data
	deleteACMEData  string // name
	certificate     string // host
	saveCertificate string // host, not_before, not_after, pem

	// certjobs.go
	certJob       string // host
	certJobs      string
	dueCertJobs   string // now, limit
	putCertJob    string // as certJobArgs
	deleteCertJob string // host

	// orders.go
	pruneOrders string // account, time up to which an order counts no more
	clampOrders string // now, account, now
	countOrders string // account
	nthOrder    string // account, n
	addOrder    string // account, at

	// secrets.go
	secret    string // name
	addSecret string // name, value; keeps one that exists
}
