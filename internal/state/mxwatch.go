package state

import "time"

// MXWatch is what the watch over the MX hosts of a hosted domain remembers.
type MXWatch struct {
	Domain string
	Time   time.Time // of the last look
	Next   time.Time // of the next one; zero where none is to come, or nobody knows. It is not stored

	Passed, Unknown bool   // what the last look found, as in MXCheck
	Summary         string // the same

	// Attempts are the looks in a row that did not pass, counted anew when a host
	// that used to pass begins to fail. They space the next looks.
	Attempts int
	Trouble  Trouble   // what is wrong
	Faults   []MXFault // what it is made of, and what ended not long ago
	Told     MXTold

	Hosts []MXHostSeen // the MX hosts that have passed at some look
	Drift MXDrift
}

// Trouble is something wrong.
type Trouble struct {
	Severity Severity // "": there is nothing
	Reason   string
	Remedy   string
}

// MXFault is one thing that fails at an MX host, by the finding that said so.
type MXFault struct {
	Code    string    `json:"code"`
	Subject string    `json:"subject"`
	Harm    Harm      `json:"harm"`
	Since   time.Time `json:"since"` // the first of the looks in a row that did not find it to be over
	Seen    time.Time `json:"seen"`  // the last of them
	Open    bool      `json:"open"`  // it is not known to be over
	Told    bool      `json:"told"`
	Leads   bool      `json:"leads"` // the trouble's reason is of this one
}

// MXTold is the last event about the MX hosts of a domain.
type MXTold struct {
	Kind     string // KindMXFailed, KindMXRecovered, or "": there was none
	Time     time.Time
	Severity Severity // the gravest since the trouble began
	Reason   string
	Held     bool // the trouble came back soon, so that its end is told late
}

// MXHostSeen is an MX host that has passed at some look: one of its addresses did.
type MXHostSeen struct {
	Host    string    `json:"host"`
	Passed  time.Time `json:"passed"`           // the last such look
	Failing time.Time `json:"failing,omitzero"` // the first look since at which all addresses failed; zero: there was none
	Looks   int       `json:"looks,omitempty"`  // the looks at which they did, that one among them
	Told    time.Time `json:"told,omitzero"`    // when KindMXGuard told of it; zero: it has not
}

// MXDrift is the last KindMXDrift event, while what it told of may stand.
type MXDrift struct {
	Hosts []string  `json:"hosts"` // MX hosts that the policy does not name, sorted
	Time  time.Time `json:"time"`
}
