package server

import (
	"cmp"
	"fmt"
	"time"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
)

// Explanation says what keeps a domain from being protected, if anything does.
type Explanation struct {
	Domain   string     `json:"domain" doc:"Policy domain in A-labels, or the host that it is about"`
	Step     state.Step `json:"step" doc:"How far the domain has come; empty before the first look"`
	Summary  string     `json:"summary" doc:"One sentence on how the domain stands"`
	Blocking string     `json:"blocking,omitempty" doc:"The one thing that blocks the next step or is wrong now; empty if nothing does"`
	Remedy   string     `json:"remedy,omitempty" doc:"What to do about it"`
	NextRun  time.Time  `json:"next_run,omitzero" doc:"When stshost tries again by itself: the certificate or the MX hosts, if that is what it is about, or else the whole domain"`

	MX       string    `json:"mx,omitempty" doc:"What is wrong with the MX hosts besides; empty if nothing is, or if it is what blocking says"`
	MXRemedy string    `json:"mx_remedy,omitempty" doc:"What to do about that"`
	MXNext   time.Time `json:"mx_next,omitzero" doc:"When stshost looks at those MX hosts next"`

	Rollout       string    `json:"rollout,omitempty" doc:"What holds the domain up on its way to enforce besides; empty if nothing does, or if it is what blocking says"`
	Hint          string    `json:"hint,omitempty" doc:"What could be done with the domain; empty if something is wrong with it"`
	RolloutRemedy string    `json:"rollout_remedy,omitempty" doc:"What to do about that, or about the hint"`
	RolloutNext   time.Time `json:"rollout_next,omitzero" doc:"When stshost looks at the gates of that rollout next"`
}

// printProvider is the DNS provider whose records are entered by hand.
const printProvider = "print"

// stepText names a step for people.
func stepText(s state.Step) string {
	switch s {
	case "":
		return "new"
	case state.WaitingDNS:
		return "waiting for DNS"
	case state.WaitingCertificate:
		return "waiting for certificate"
	}
	return string(s)
}

// Explain says in plain words what blocks a domain and what to do about it. What
// the Backend found out (LastError, Remedy) goes before what the step suggests.
func Explain(d DomainStatus) Explanation {
	e := explainStep(d)
	e.Domain, e.Step, e.NextRun = d.Domain, d.Step, d.NextRun
	if d.CertificateProblem != "" && d.CertificateOwn == "" && d.CertificateNextTry.After(e.NextRun) {
		e.NextRun = d.CertificateNextTry // looks until then find nothing new
	}
	if d.CertificateExternal {
		e.Summary += " Its certificate is the reverse proxy's."
	}
	if d.LastError != "" {
		e.Blocking = d.LastError
	}
	if d.Remedy != "" {
		e.Remedy = d.Remedy
	}
	if !d.ConfigWaits.IsZero() && d.Step != "" {
		e.Summary = fmt.Sprintf("A change of the config waits to be taken up since %s. Until then: ", utc(d.ConfigWaits)) + e.Summary
		e.Blocking = cmp.Or(e.Blocking, "other domains are being looked at")
		e.Remedy = cmp.Or(e.Remedy, turnRemedy)
	}
	if !d.tended() {
		if d.Stage == string(state.StageRetired) {
			e.Summary = fmt.Sprintf("%s is no longer in the configuration, and was taken out of MTA-STS before: %s", d.Domain, nothingLeft)
			e.Blocking, e.Remedy = "", ""
			return e
		}
		kept := " and its certificate renewed"
		switch {
		case d.CertificateExternal:
			kept = " to the reverse proxy, which has its certificate"
		case d.CertificateOwn != "":
			kept = " with a certificate of your own, which nobody renews but you"
		}
		e.Summary = fmt.Sprintf("%s is no longer in the configuration. Its policy goes on being served%s, "+
			"because senders may hold it for as long as its max_age; nothing else is looked after any more.", d.Domain, kept)
		e.Blocking, e.Remedy = "", ""
		return e
	}
	if !d.InConfig {
		e.Summary = d.Domain + " is no longer in the configuration. " + e.Summary
	}
	return explainRollout(explainMX(e, d), d)
}

// explainMX adds what is wrong with the MX hosts, which is a trouble of its own
// whatever else there is.
func explainMX(e Explanation, d DomainStatus) Explanation {
	switch {
	case !d.MXTrouble || !d.InConfig:
	case e.Blocking == "":
		e.Blocking, e.Remedy, e.NextRun = d.MX, d.MXRemedy, d.MXNext
		if d.Step == state.Confirmed {
			e.Summary = "The policy is announced and confirmed, and not every MX host is as it promises."
		}
	default:
		e.MX, e.MXRemedy, e.MXNext = d.MX, d.MXRemedy, d.MXNext
	}
	return e
}

// turnRemedy is for a domain that the server is to look at and has not yet.
const turnRemedy = "wait; new and changed domains go before all others, as many at a time as [watch] workers says. " +
	"If minutes pass, many have changed at once, or the DNS providers answer slowly: the log says which"

// News is the one thing to know about the domain in a table; "" if there is
// none.
func (d DomainStatus) News() string {
	trouble := d.Trouble()
	switch {
	case !d.InConfig:
		return d.leftNews(trouble)
	case d.ConfigWaits.IsZero():
		return cmp.Or(trouble, d.Hint)
	case d.Step == "":
		return "waits to be looked at for the first time"
	case trouble != "":
		return ConfigWaitsNews + "; before: " + trouble
	}
	return ConfigWaitsNews
}

// ConfigWaitsNews says that what is shown is about the config as it was.
const ConfigWaitsNews = "a change of the config waits to be taken up"

// explainStep is the explanation that the step alone gives.
func explainStep(d DomainStatus) Explanation {
	host, byHand := d.Host, d.DNSProvider == printProvider
	record := fmt.Sprintf(`%s TXT "v=STSv1; id=%s;"`, mtasts.RecordName(d.Domain), d.ID)
	switch d.Step {
	case "":
		e := Explanation{
			Summary:  "The domain has not been looked at yet.",
			Blocking: "its first look is still to come",
			Remedy:   "see that `stshost serve` runs with this configuration; new and changed domains are the first that it looks at",
		}
		if !d.ConfigWaits.IsZero() {
			e.Blocking = fmt.Sprintf("it waits for its turn since %s", utc(d.ConfigWaits))
			e.Remedy = turnRemedy
		}
		return e
	case state.WaitingDNS:
		return Explanation{
			Summary:  fmt.Sprintf("The policy host %s does not lead to this server yet, so no certificate can be had for it.", host),
			Blocking: fmt.Sprintf("%s has no address record that leads here", host),
			Remedy:   fmt.Sprintf("make an A or AAAA record for %s with this server's address, or a CNAME to a name that has it; `stshost records %s` shows it", host, d.Domain),
		}
	case state.WaitingCertificate:
		if d.CertificateOwn != "" {
			return Explanation{
				Summary:  fmt.Sprintf("The certificate of %s is your own, and senders would refuse it; no CA is asked for another.", host),
				Blocking: cmp.Or(d.CertificateProblem, "it is looked at again in a moment"),
				Remedy:   state.OwnRemedy,
			}
		}
		e := Explanation{
			Summary:  fmt.Sprintf("The policy host %s leads here, and the CA has not issued its certificate yet.", host),
			Blocking: "the order for the certificate is under way",
			Remedy:   "wait; it takes a minute as a rule",
		}
		if d.CertificateProblem != "" {
			e.Blocking = "the CA did not issue a certificate: " + d.CertificateProblem
			e.Remedy = fmt.Sprintf("see that ports 80 and 443 of %s reach this server from everywhere and that no CAA record forbids the CA; %s", host, state.CertificateRemedy)
			e.Remedy = cmp.Or(d.CertificateRemedy, e.Remedy)
		}
		return e
	case state.Serving:
		if d.CertificateExternal {
			return Explanation{
				Summary:  "This policy is served to the reverse proxy, and has not been fetched back yet as a sender would fetch it; it is not announced before.",
				Blocking: "the proof is still to come",
				Remedy: fmt.Sprintf("see that %s leads to the reverse proxy, that it has a certificate for %s, and passes requests on with Host and X-Forwarded-Proto: https",
					mtasts.PolicyURL(d.Domain), host),
			}
		}
		return Explanation{
			Summary:  "This policy is served, and has not been fetched back yet as a sender would fetch it; it is not announced before.",
			Blocking: "the proof is still to come",
			Remedy:   fmt.Sprintf("see that %s can be reached from this server; behind a router that does not lead its own address back in, set [prove] via in the configuration", mtasts.PolicyURL(d.Domain)),
		}
	case state.Proven:
		e := Explanation{
			Summary:  "The policy is served and proven; the record in DNS does not announce it yet.",
			Blocking: "the record is still to be pushed",
			Remedy:   fmt.Sprintf("see the log for what the DNS account %q answers", d.DNSAccount),
		}
		if byHand {
			e.Blocking = "this record is entered by hand and is not in DNS yet"
			e.Remedy = "enter " + record + " and remove any other v=STSv1 record at that name; stshost sees it by itself"
		}
		return e
	case state.Announced:
		return Explanation{
			Summary:  "The record is pushed; not every authoritative server of the zone shows it yet.",
			Blocking: "an authoritative server shows another record or none",
			Remedy:   fmt.Sprintf("wait for the zone to reach all its servers; each must show exactly %s", record),
		}
	case state.Confirmed:
		return explainConfirmed(d)
	case state.Withdrawn:
		return explainWithdrawn(d)
	}
	return Explanation{Summary: fmt.Sprintf("The domain is in the state %q.", d.Step)}
}

func explainConfirmed(d DomainStatus) Explanation {
	e := Explanation{Summary: confirmedSummary(d)}
	switch {
	case d.CertificateProblem != "" && d.CertificateOwn != "":
		e.Summary = "The policy is announced and confirmed, and its certificate, which is your own, needs you."
		e.Blocking = d.CertificateProblem
		e.Remedy = state.OwnRemedy
	case d.CertificateProblem != "":
		e.Summary = "The policy is announced and confirmed, and its certificate could not be renewed so far."
		e.Blocking = fmt.Sprintf("%s (the certificate is valid until %s)", d.CertificateProblem, utc(d.CertificateNotAfter))
		e.Remedy = cmp.Or(d.CertificateRemedy, state.CertificateRemedy)
	case mtasts.Mode(d.Mode) == mtasts.ModeNone && d.ModeSource == "adopted":
		e.Remedy = `mode none was found published and taken over; to begin anew set mode = "testing" for the domain`
	}
	return e
}

// Trouble is what is wrong with the domain now, the graver first; "" if nothing
// is. Of a domain that has left the configuration nothing is, unless it is being
// retired: nobody looks after it any more, and its host may rightly lead elsewhere.
func (d DomainStatus) Trouble() string {
	own, rollout := d.ownTrouble(), d.RolloutNews
	if !d.tended() {
		return ""
	}
	switch {
	case !d.MXTrouble || !d.InConfig:
	case own == "":
		own = d.MX
	case d.MXSeverity == state.SeverityCritical:
		own = d.MX + "; and: " + own
	default:
		own += "; and of the MX hosts: " + d.MX
	}
	if own == "" || rollout == "" {
		return own + rollout
	}
	return own + "; and of the rollout: " + rollout
}

// ownTrouble is what is wrong with the domain but for its MX hosts.
func (d DomainStatus) ownTrouble() string {
	switch {
	case d.LastError != "":
		return d.LastError
	case d.CertificateProblem == "" || d.CertificateOwn != "":
		return d.CertificateProblem
	case d.CertificateNotAfter.IsZero():
		return "there is no certificate yet: " + d.CertificateProblem
	}
	return "the certificate could not be renewed: " + d.CertificateProblem
}

func utc(t time.Time) string { return t.UTC().Format("2006-01-02 15:04:05 UTC") }

func confirmedSummary(d DomainStatus) string {
	if d.LastError != "" {
		return "The policy was announced and confirmed, and something has gone wrong since."
	}
	switch d.Stage {
	case string(state.StageRetiring):
		return "The domain is on its way out of MTA-STS: its policy says none, and is served until no sender can hold an earlier one."
	case string(state.StageWithdrawing):
		return "No sender can hold another policy than none any more, and the record is being taken out of the DNS. The policy goes when the record is gone everywhere."
	}
	switch mtasts.Mode(d.Mode) {
	case mtasts.ModeEnforce:
		return "The policy is served and announced: senders that honour it deliver to the hosts it names, over verified TLS, and to no others."
	case mtasts.ModeTesting:
		return "The policy is served and announced; in mode testing senders report what would fail, and deliver all the same."
	case mtasts.ModeNone:
		return "The policy is served and announced: mode none tells senders that the domain has left MTA-STS."
	}
	return "The policy is served and announced."
}
