package templates

// Tone is how a state looks. Its text says the same, for those who see no colour.
type Tone string

// The tones, from best to worst.
const (
	Good Tone = "good" // as it should be
	Wait Tone = "wait" // on its way
	Bad  Tone = "bad"  // needs somebody
)

// Stamp is a point in time. A zero Stamp is shown as a dash.
type Stamp struct {
	ISO      string // RFC 3339, for machines
	Text     string // for people, in UTC
	Relative string // e.g. "in 62 days"
}

// Count is a number in the summary of the status page.
type Count struct {
	Label string
	N     int
	Tone  Tone
}

// StatusPage lists the domains.
type StatusPage struct {
	Version string
	Now     Stamp
	Waiting string // why the server is not ready yet; "" when it is
	Counts  []Count
	Query   string // part of a name that rows were chosen by
	Rows    []DomainRow
	Total   int // domains that match Query; more than Rows when the list was cut
	Hosts   []HostRow
}

// HostRow is one host beside the policy hosts.
type HostRow struct {
	Host        string
	Tone        Tone
	Step        string // of its certificate, in words
	Certificate Stamp
	Error       string
	Remedy      string
}

// DomainRow is one domain in the list.
type DomainRow struct {
	Domain      string
	Path        string // of the domain's page
	Step        string
	Tone        Tone
	Mode        string
	Stage       string // where it is on its way and where it goes; "" if the mode says it all
	ID          string
	Certificate Stamp
	Error       string
	Note        string // what is to be known of it besides, e.g. that it has left the configuration
}

// DomainPage shows one domain.
type DomainPage struct {
	Version string
	Now     Stamp

	Domain, Host      string
	Step              string
	Tone              Tone
	Since             Stamp
	Summary           string
	Blocking, Remedy  string
	Mode, ModeSource  string
	MaxAge            string // e.g. "7 days"
	ID                string
	Proof             string
	Certificate       Stamp
	CertificateTry    Stamp
	CertificateOwn    string // its file, if it is the operator's own
	LastRun, NextRun  Stamp
	DNSAccount        string
	MX                string // how the MX hosts stand
	MXTrouble         bool   // they fail
	MXRemedy          string // what to do about that
	MXChecked, MXNext Stamp
	Stage             string // where it is on its way, and where it goes
	RolloutNews       string // what holds it up there
	RolloutRemedy     string // what to do about that, or about the hint
	RolloutNext       Stamp  // when its gates are looked at next
	Hint              string // what could be done with it
	Policy, PolicyURL string
	Records           []Record

	Served, Refused, FailedHandshakes uint64
	CountedSince, LastServed          Stamp
	Fetches, Failures                 []Fetch
	Events                            []Event // the latest first
}

// Event is something that happened to a domain.
type Event struct {
	Time         Stamp
	Severity     string
	Tone         Tone
	Text, Remedy string
}

// Record is a DNS record that a domain needs.
type Record struct {
	Name, Type, Data, Purpose string
	Problem                   string // why it must not be entered; "" if it may
	Managed                   bool
}

// Fetch is a request at the policy host, or a failed handshake.
type Fetch struct {
	Time                      Stamp
	Remote, UserAgent, Reason string
	Protocol                  string
	Status                    int
}

// PolicyHostPage is what a person sees who opens https://mta-sts.<domain>/.
type PolicyHostPage struct {
	Domain, Host string
	PolicyPath   string
	HasPolicy    bool
}

// HostPage is what a person sees who opens a host of this server that is no
// policy host.
type HostPage struct {
	Host string
}

// ProblemPage is an error for a person.
type ProblemPage struct {
	Title  string
	Detail string
}
