package server

import (
	"context"
	"strings"
	"time"

	"github.com/stshost/stshost/internal/state"
)

// Backend is what the admin listener shows and does. Its methods are called
// from many goroutines at once and must return when ctx ends.
type Backend interface {
	// Domains returns the status of every domain, sorted by name.
	Domains(ctx context.Context) ([]DomainStatus, error)
	// Domain returns one domain's status; the error wraps state.ErrNotFound if
	// the domain is neither configured nor journalled. name is lower-case.
	Domain(ctx context.Context, name string) (DomainStatus, error)
	// Records returns the DNS records that a domain needs, in the order in which
	// they should be shown. It fails as Domain does.
	Records(ctx context.Context, name string) ([]DNSRecord, error)
	// Events returns the events that q chooses, the oldest first. If there is
	// none it waits for one, for as long as wait; none is no error.
	Events(ctx context.Context, q state.EventQuery, wait time.Duration) ([]state.Event, error)
	// Hosts returns how the hosts beside the policy hosts stand, sorted by name.
	Hosts(ctx context.Context) ([]HostStatus, error)
	// Check examines any policy domain, as senders see it; domain is in A-labels.
	// Unless allowPrivate it connects to addresses of the public Internet only.
	// It may take half a minute.
	Check(ctx context.Context, domain string, allowPrivate bool) (state.Report, error)
	// Reload reads the configuration again and swaps it in whole. Domains that it
	// lists no longer are retired, but for those that o abandons. If it has faults
	// the error wraps an *InvalidConfigError, and if o abandons a domain that
	// stays, a *state.StageError; nothing has changed then.
	Reload(ctx context.Context, o ReloadOrder) (ReloadResult, error)
	// Ready is nil once everything that is to be served is served. The error is
	// shown to whoever asks, so it says what is awaited.
	Ready() error
}

// DomainStatus is what is known of one policy domain.
type DomainStatus struct {
	Domain string `json:"domain" doc:"Policy domain in A-labels"`
	Host   string `json:"host" doc:"Policy host, mta-sts.<domain>"`

	Step  state.Step `json:"step" doc:"How far the domain has come: waiting-dns, waiting-certificate, serving, proven, announced or confirmed; empty before the first look"`
	Since time.Time  `json:"since,omitzero" doc:"When the step was reached"`

	Mode       string `json:"mode,omitempty" doc:"Mode of the policy served, or that it will have: enforce, testing or none"`
	ModeSource string `json:"mode_source,omitempty" doc:"Why it has that mode: 'config FILE:LINE', 'managed' or 'adopted'"`
	MaxAge     int64  `json:"max_age,omitempty" doc:"max_age of the policy served, in seconds"`
	ID         string `json:"id,omitempty" doc:"Record id that announces the policy served"`
	Body       string `json:"policy,omitempty" doc:"The policy served, as its bytes are"`
	Proof      string `json:"proof,omitempty" doc:"How the policy was last fetched back"`

	CertificateExternal bool      `json:"certificate_external,omitempty" doc:"Whether a reverse proxy has the certificate, and this server knows nothing of it"`
	CertificateNotAfter time.Time `json:"certificate_not_after,omitzero" doc:"Expiry of the certificate of the policy host"`
	CertificateProblem  string    `json:"certificate_problem,omitempty" doc:"Why the last attempt at a certificate failed, in the CA's words where it gave any"`
	CertificateRemedy   string    `json:"certificate_remedy,omitempty" doc:"What to correct in the configuration about it, where that is at fault"`
	CertificateNextTry  time.Time `json:"certificate_next_try,omitzero" doc:"When the certificate is tried again or renewed"`
	CertificateOwn      string    `json:"certificate_own,omitempty" doc:"File of the operator's own certificate that is served; empty where a CA is asked for one"`

	LastError string    `json:"last_error,omitempty" doc:"Why the next step is not reached, or what is wrong now"`
	Remedy    string    `json:"remedy,omitempty" doc:"What the operator can do about it"`
	Attempts  int       `json:"attempts,omitempty" doc:"Failed runs in a row"`
	LastRun   time.Time `json:"last_run,omitzero" doc:"When the domain was last looked at"`
	NextRun   time.Time `json:"next_run,omitzero" doc:"When the domain is looked at again"`

	MXChecked  time.Time      `json:"mx_checked,omitzero" doc:"When the MX hosts were last looked at; absent if they never were"`
	MXNext     time.Time      `json:"mx_next,omitzero" doc:"When they are looked at next"`
	MX         string         `json:"mx,omitempty" doc:"How the MX hosts stood at the last look, in one sentence"`
	MXUnknown  bool           `json:"mx_unknown,omitempty" doc:"Whether that look could not tell how they stand"`
	MXTrouble  bool           `json:"mx_trouble,omitempty" doc:"Whether senders that honour the policy would refuse an MX host, or cannot reach it"`
	MXSeverity state.Severity `json:"mx_severity,omitempty" doc:"How grave that is: warning, or critical where mail is lost by it"`
	MXRemedy   string         `json:"mx_remedy,omitempty" doc:"What can be done about that"`

	Stage         string    `json:"stage,omitempty" enum:"testing,enforce,retiring,withdrawing,retired" doc:"How far the domain has been taken; absent before the first policy"`
	Goal          string    `json:"goal,omitempty" enum:"enforce,retire" doc:"Where the domain is being taken; absent if it stays"`
	RolloutNews   string    `json:"rollout_news,omitempty" doc:"What holds the domain up on its way and does not go by itself, in one sentence; absent if nothing does"`
	Hint          string    `json:"hint,omitempty" doc:"What could be done with the domain although nothing is wrong, in one sentence: to take it to enforce, if it has been in testing for long"`
	RolloutRemedy string    `json:"rollout_remedy,omitempty" doc:"What to do about what holds it up, or about the hint"`
	RolloutNext   time.Time `json:"rollout_next,omitzero" doc:"When its gates are looked at next"`

	ConfigWaits time.Time `json:"config_waits,omitzero" doc:"Since when the domain's entry in the configuration, which is new or has changed, waits to be taken up; until then all else is about what was before. Absent if nothing waits"`

	DNSAccount  string `json:"dns_account,omitempty" doc:"Name of the DNS account in the configuration"`
	DNSProvider string `json:"dns_provider,omitempty" doc:"Provider of that account; 'print' means that records are entered by hand"`
	InConfig    bool   `json:"in_config" doc:"Whether the configuration still lists the domain"`
}

// DNSRecord is a DNS record that a domain needs.
type DNSRecord struct {
	Name    string `json:"name" doc:"Owner name without trailing dot"`
	Type    string `json:"type" doc:"Record type: A, AAAA, CNAME or TXT"`
	TTL     int64  `json:"ttl" doc:"Time to live in seconds"`
	Data    string `json:"data" doc:"Address, target name or text, without quotes"`
	Purpose string `json:"purpose,omitempty" doc:"What the record is for, in a few words"`
	Problem string `json:"problem,omitempty" doc:"Why there is no such record, and none must be entered: where the name leads, none can stand for this domain. The data is empty then"`
	Managed bool   `json:"managed" doc:"Whether stshost makes the record itself; otherwise it is entered by hand"`
}

// ReloadOrder is what a reload does with domains that leave the configuration
// beyond retiring them (RFC 8461 §8.3).
type ReloadOrder struct {
	Abandon    []string `json:"abandon,omitempty" maxItems:"10000" doc:"Domains to drop at once if they leave with this reload; senders that hold their policy find none any more"`
	RetireMany bool     `json:"retire_many,omitempty" doc:"Whether most of the domains may leave with this reload, which is refused otherwise"`
	AbandonAll bool     `json:"abandon_all,omitempty" doc:"Whether that is done with every domain that leaves with this reload"`
}

// ReloadResult is what a reload changed. With nothing changed all is empty.
type ReloadResult struct {
	Added     []string `json:"added,omitempty" doc:"Domains that are new"`
	Changed   []string `json:"changed,omitempty" doc:"Domains with other settings than before"`
	Removed   []string `json:"removed,omitempty" doc:"Domains that are no longer listed"`
	Retiring  []string `json:"retiring,omitempty" doc:"Domains of those removed that are being retired: they are served until no sender can hold their policy"`
	Abandoned []string `json:"abandoned,omitempty" doc:"Domains of those removed that were dropped at once, as was ordered"`
	Unchanged int      `json:"unchanged" doc:"Number of domains that stay as they were"`
	Settings  []string `json:"settings,omitempty" doc:"Other settings that changed and are in force"`
	Restart   []string `json:"restart,omitempty" doc:"Settings that changed and need a restart"`
	Warnings  []string `json:"warnings,omitempty" doc:"What is doubtful in the configuration, as file:line: what; remedy"`

	TriedAgain int `json:"tried_again,omitempty" doc:"Number of hosts whose certificate could not be had, and is tried again earlier because of this reload"`
}

// Empty reports whether the reload found nothing changed in the configuration.
func (r ReloadResult) Empty() bool {
	return len(r.Added)+len(r.Changed)+len(r.Removed)+len(r.Settings)+len(r.Restart) == 0
}

// VersionInfo says what is running.
type VersionInfo struct {
	Version string `json:"version" doc:"Version of stshost"`
	Go      string `json:"go" doc:"Version of Go it was built with"`
}

// InvalidConfigError says that a reload was refused. Errors has the faults of
// the configuration, one a line as "file:line: what; remedy".
type InvalidConfigError struct {
	Errors []string
}

// NewInvalidConfigError makes an InvalidConfigError of an error whose text has
// one fault a line.
func NewInvalidConfigError(err error) *InvalidConfigError {
	e := &InvalidConfigError{}
	for line := range strings.Lines(err.Error()) {
		if line = strings.TrimSpace(line); line != "" {
			e.Errors = append(e.Errors, line)
		}
	}
	return e
}

func (e *InvalidConfigError) Error() string {
	return "the configuration has faults, the running one stays:\n" + strings.Join(e.Errors, "\n")
}
