package state

// MXWatch is what the watch over the MX hosts of a hosted domain remembers.
type MXWatch struct {
	MXCheck          // the last look
	Attempts int     // looks in a row that did not pass; spaces the next ones
	Told     Trouble // that MX hosts fail, told and not over
}

// Trouble is what was told and is not over.
type Trouble struct {
	Severity Severity // "": there is none
	Reason   string
	Remedy   string
}
