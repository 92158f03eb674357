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
	acmeData          string // name
	putACMEData       string // name, data
	deleteACMEData    string // name
	certificate       string // host
	saveCertificate   string // host, not_before, not_after, pem
	removeCertificate string // host

	// certjobs.go
	certJob       string // host
	certJobs      string
	dueCertJobs   string // now, limit
	dueSuggested  string // ca, now, limit
	dueExpiring   string // now, time before which they expire, limit
	askCertJobs   string // now, limit
	countCertJobs string // now, now, now
	putCertJob    string // as certJobArgs
	deleteCertJob string // host

	// orders.go
	pruneOrders string // account, time up to which an order counts no more
	clampOrders string // now, account, now
	countOrders string // account
	nthOrder    string // account, n
	addOrder    string // account, at
	ordersSince string // account, time up to which an order counts no more

	// mxchecks.go
	mxChecks      string
	saveMXCheck   string // as mxCheckArgs
	removeMXCheck string // domain

	// rollouts.go
	rollouts      string
	saveRollout   string // as rolloutArgs
	removeRollout string // domain

	// events.go
	addEvent     string // at, kind, severity, domain, host, text, remedy, evidence
	events       eventStatements
	firstEventAt string // time; the lowest id of the events since then
	newestEvent  string
	oldEvents    string // time, limit; removes the first events of before that time
	lowEvents    string // id, limit; removes the first events up to that id

	// backup.go
	countDomains      string // number, latest last_run or 0
	countCertificates string
	makeDue           string

	// summary.go
	validities    string
	troubledHosts string

	// notify.go
	notifyState    string // target
	putNotifyState string // target, data

	// secrets.go
	secret    string // name
	addSecret string // name, value; keeps one that exists
}

// eventStatements are the parts that a question for events is put together
// from: one of the ways to the rows, any of the filters, and an order.
type eventStatements struct {
	// The ways, each of which ends with a condition on the id, and with which
	// the events are found without looking at others.
	all      string // id
	byDomain string // domain, id
	byHost   string // host, id
	byKind   string // kind, id
	notable  string // id; only what is graver than info

	// The filters.
	domain, host, kind, severity, since string

	oldest, newest string // limit
}
