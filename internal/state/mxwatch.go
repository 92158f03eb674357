package state

import "time"

// MXWatch is what the watch over the MX hosts of a hosted domain remembers.
type MXWatch struct {
	Domain string
	Time   time.Time // of the last look
	Next   time.Time // of the next one; zero where none is to come, or nobody knows. It is not stored

	Passed, Unknown bool   // what the last look found, as in MXCheck
	Summary         string // the same

	Attempts int       // looks in a row that did not pass; spaces the next ones
	Trouble  Trouble   // what is wrong
	Faults   []MXFault // what it is made of, and what ended not long ago
	Told     MXTold
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
