package check

import (
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/stshost/stshost/internal/resolver"
	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
)

func mxCodes() certificateCodes {
	return certificateCodes{MXTLSVersion, MXCertUntrusted, MXCertName, MXCertExpired, MXCertExpires}
}

// enforcing reports whether senders refuse what does not fit, be it those only
// that fetch from one address.
func (j *judgement) enforcing() bool {
	return j.fetched && j.announced == recordValid && slices.ContainsFunc(j.policies(), func(p mtasts.Policy) bool { return p.Mode == mtasts.ModeEnforce })
}

// policies are the policies that senders have: as a rule one.
func (j *judgement) policies() []mtasts.Policy {
	var all []mtasts.Policy
	if j.policy != nil {
		all = append(all, *j.policy)
	}
	for _, body := range j.otherBodies {
		if p, err := mtasts.ParsePolicy(body); err == nil {
			all = append(all, p)
		}
	}
	return all
}

// judgeMX judges the MX hosts: whether the policy covers them, and whether TLS
// works at each address (RFC 8461 §4.1, §4.2).
func (j *judgement) judgeMX() {
	ev := j.ev.MX
	if ev.Err != nil {
		j.mxUnknown = ev.Err.Error()
		j.open = []string{state.MXAnything}
		j.find(MXLookup, j.ev.Domain, nil, "%v", ev.Err)
		return
	}
	switch {
	case ev.Null && len(ev.Hosts) > 0:
		f := j.find(MXNull, j.ev.Domain, nil, "a null MX stands beside %s: some senders take the domain for one without mail", mxList(ev.Hosts))
		f.Harm, f.Remedy = partial, "remove the null MX if the domain takes mail, or else the other MX records"
	case ev.Null:
		j.find(MXNull, j.ev.Domain, nil, "the domain has a null MX: it says that it takes no mail")
	}
	if ev.Null && len(ev.Hosts) == 0 {
		return
	}
	before := len(j.found)
	switch {
	case ev.Implicit && len(ev.Hosts[0].Addresses) == 0 && ev.Hosts[0].Err == nil:
		j.lostAll = true
		text := "there are neither MX records nor an address"
		if ev.Answer.Missing {
			text = "the name does not exist in the DNS; is it spelt right?"
		}
		j.find(MXNone, j.ev.Domain, nil, "%s", text)
		j.noteTLSA(&ev.Hosts[0])
		return
	case ev.Implicit:
		j.find(MXImplicit, j.ev.Domain, nil, "there are no MX records, so that mail goes to the domain's own address")
	default:
		j.find(MXSet, j.ev.Domain, evidence("mx", mxList(ev.Hosts)), "mail goes to %s", mxList(ev.Hosts))
	}
	for _, family := range slices.Sorted(maps.Keys(ev.Closed)) {
		j.find(MXPortClosed, j.ev.Domain, evidence("family", family), "%s", ev.Closed[family])
	}
	untried := 0
	usable, alive := false, false
	for i := range ev.Hosts {
		u, a := j.judgeMXHost(&ev.Hosts[i])
		usable, alive = usable || u, alive || a
		j.noteTLSA(&ev.Hosts[i])
		if ev.Hosts[i].Untried {
			untried++
		}
	}
	if untried += ev.More; untried > 0 {
		j.mxUnknown = fmt.Sprintf("only the first %d MX hosts were looked at", maxMX)
		j.find(MXNotTried, j.ev.Domain, nil, "%s, and %d more were not", j.mxUnknown, untried)
	}
	j.judgeUnused()
	j.lostAll = !usable
	j.weighMX(before, alive)
}

// weighMX makes the harm of what was found at MX hosts that which it has as
// things stand: only mode enforce has senders refuse a host; and a host that
// nobody can deliver to does harm by the others being there or not.
func (j *judgement) weighMX(from int, alive bool) {
	for i := range j.found[from:] {
		f := &j.found[from+i]
		switch f.Code {
		case DANEMismatch:
		case MXConnect, MXSession, MXNoAddress, MXLiteral:
			if f.Harm = partial; !alive {
				f.Harm = lose
			}
		default:
			if f.Harm == lose && !j.enforcing() {
				f.Harm = risk
			}
		}
	}
}

func mxList(hosts []MXHost) string {
	var all []string
	for _, h := range hosts {
		all = append(all, fmt.Sprintf("%s (%d)", h.Name, h.Preference))
	}
	return strings.Join(all, ", ")
}

// judgeMXHost judges one MX host, and reports whether senders deliver there by
// the policy, and whether they could without one; where it could not be found
// out they may.
func (j *judgement) judgeMXHost(h *MXHost) (usable, alive bool) {
	covered := j.judgeCoverage(h)
	switch {
	case mtasts.IsIP(h.Name):
		j.find(MXLiteral, h.Name, nil, "the MX record has the address %s in place of a host's name", h.Name)
		return false, false
	case h.Untried:
		j.open = append(j.open, h.Name)
		return covered, true
	case h.Err != nil:
		j.mxUnknown = h.Err.Error()
		j.open = append(j.open, h.Name)
		j.find(MXHostLookup, h.Name, nil, "%v", h.Err)
		return covered, true
	}
	if len(h.Aliases) > 0 {
		j.find(MXCNAME, h.Name, nil, "%s", aliasChain(h.Name, targets(h.Aliases)))
	}
	if len(h.Addresses) == 0 {
		j.find(MXNoAddress, h.Name, nil, "it has neither an A nor an AAAA record")
		return false, false
	}
	if h.More > 0 {
		j.find(MXNotTried, h.Name, nil, "%d more addresses were not looked at", h.More)
	}
	good, refuses, open := 0, 0, false
	for i := range h.Addresses {
		address := at(h.Name, h.Addresses[i].Address)
		result := j.judgeSMTP(h.Name, &h.Addresses[i])
		if result != smtpUnknown {
			j.judged = append(j.judged, address)
		}
		switch result {
		case smtpGood:
			good++
		case smtpRefused:
			refuses++
			j.noTLS = append(j.noTLS, address)
			if covered {
				j.refused = append(j.refused, address)
			}
		case smtpUnknown:
			open = true
		}
	}
	if open || h.More > 0 {
		j.open = append(j.open, h.Name)
	}
	j.adviseAlias(h)
	j.judgeTLSA(h)
	if good == 0 && refuses == 0 && open && j.mxUnknown == "" {
		j.mxUnknown = "no address of " + h.Name + " could be judged from here"
	}
	return covered && (good > 0 || open), good > 0 || refuses > 0 || open
}

// noteTLSA notes that nothing can be told of DANE at an MX host.
func (j *judgement) noteTLSA(h *MXHost) {
	if !mtasts.IsIP(h.Name) && (h.TLSA.Err != nil || !h.TLSA.Judged) {
		j.open = append(j.open, tlsaName(h.Name))
	}
}

// judgeCoverage judges whether a pattern of each policy that senders have matches
// the host (RFC 8461 §4.1).
func (j *judgement) judgeCoverage(h *MXHost) bool {
	covered := true
	if mtasts.IsIP(h.Name) {
		return covered
	}
	for i, p := range j.policies() {
		switch pattern := matching(p.MX, h.Name); {
		case p.Mode == mtasts.ModeNone:
		case pattern == "":
			covered = false
			j.refused = append(j.refused, h.Name)
			j.uncovered(h, p)
		case i == 0:
			j.find(MXCovered, h.Name, evidence("pattern", pattern), "the pattern %s matches it", pattern)
		}
	}
	return covered
}

// matching is the first pattern that matches the host; "" if none does.
func matching(patterns []string, host string) string {
	for _, pattern := range patterns {
		if mtasts.MatchMX(pattern, host) {
			return pattern
		}
	}
	return ""
}

func (j *judgement) uncovered(h *MXHost, p mtasts.Policy) {
	patterns := p.MX
	text := fmt.Sprintf("no pattern of the policy (%s) matches it", patternsText(patterns))
	for _, pattern := range patterns {
		if suffix, ok := strings.CutPrefix(pattern, "*."); ok && strings.HasSuffix(h.Name, "."+suffix) {
			text = fmt.Sprintf("no pattern of the policy matches it: %s stands for one label before .%s, and here are more", pattern, suffix)
		}
	}
	f := j.find(MXUncovered, h.Name, evidence("mx", strings.Join(patterns, ", ")), "%s", text)
	if p.Mode != mtasts.ModeEnforce {
		f.Harm = risk
	}
	if target := h.target(); target != "" && matching(patterns, target) != "" {
		f.Remedy = "write " + target + ", to which it is a CNAME, into the MX record in its place"
	}
}

// target is where the CNAME of an MX host leads; "" if it is none.
func (h *MXHost) target() string {
	if len(h.Aliases) == 0 {
		return ""
	}
	return h.Aliases[len(h.Aliases)-1].To
}

// adviseAlias says of a certificate that is for the target of an MX host's CNAME
// what to do: the MX record is at fault, not the certificate.
func (j *judgement) adviseAlias(h *MXHost) {
	target := h.target()
	for _, l := range h.Addresses {
		if target == "" || l.TLS == nil || len(l.TLS.Chain) == 0 || l.TLS.Chain[0].VerifyHostname(target) != nil {
			continue
		}
		for i := range j.found {
			if f := &j.found[i]; f.Code == MXCertName && f.Subject == at(h.Name, l.Address) {
				f.Remedy = "write " + target + ", to which " + h.Name + " is a CNAME and which the certificate is for, into the MX record in its place"
			}
		}
	}
}

// judgeUnused finds patterns that match no MX host.
func (j *judgement) judgeUnused() {
	if j.policy == nil || j.policy.Mode == mtasts.ModeNone || j.ev.MX.More > 0 {
		return
	}
	var unused []string
	for _, pattern := range j.policy.MX {
		if !slices.ContainsFunc(j.ev.MX.Hosts, func(h MXHost) bool { return mtasts.MatchMX(pattern, h.Name) || mtasts.MatchMX(pattern, h.target()) }) {
			unused = append(unused, pattern)
		}
	}
	if len(unused) > 0 {
		j.find(MXPatternUnused, j.ev.Domain, evidence("patterns", strings.Join(unused, ", ")), "%s of the policy: no MX host matches", list(unused))
	}
}

// smtpResult is what a sender that enforces makes of one address.
type smtpResult int

const (
	smtpGood    smtpResult = iota // delivers
	smtpRefused                   // refuses to
	smtpNoWay                     // cannot connect, whatever the policy
	smtpUnknown                   // not known
)

// judgeSMTP judges one address of an MX host.
func (j *judgement) judgeSMTP(host string, l *SMTPLook) smtpResult {
	subject := at(host, l.Address)
	reply := evidence("reply", l.Reply, "greeting", l.Greeting)
	switch {
	case l.Skipped != "":
		j.find(MXNotTried, subject, nil, "%s", l.Skipped)
		return smtpUnknown
	case l.Address == "":
		j.find(MXHostLookup, subject, nil, "%v", l.Err)
		return smtpUnknown
	case l.Stage == SMTPConnect && j.ev.MX.Closed[l.Family] != "":
		return smtpUnknown
	case l.Stage == SMTPConnect && ownFault(l.Err):
		j.find(MXNotTried, subject, nil, "%v", l.Err)
		return smtpUnknown
	case l.Stage == SMTPConnect:
		j.find(MXConnect, subject, nil, "%v", l.Err)
		return smtpNoWay
	case resolver.IsTimeout(l.Err):
		j.find(MXSlow, subject, reply, "%v", l.Err)
		return smtpUnknown
	case l.Stage == SMTPEHLO && noEHLO(l.Reply):
		j.find(MXNoSTARTTLS, subject, reply, "it does not know EHLO, and without that there is no STARTTLS: %q", l.Reply)
		return smtpRefused
	case refusesUs(l):
		j.find(MXRefusesUs, subject, reply, "it answers %q", l.Reply)
		return smtpUnknown
	case l.Stage == SMTPGreeting || l.Stage == SMTPEHLO:
		j.find(MXSession, subject, reply, "%s", l.why())
		return smtpNoWay
	case l.Stage == SMTPSTARTTLS && !l.STARTTLS:
		j.find(MXNoSTARTTLS, subject, reply, "%v", l.Err)
		return smtpRefused
	case l.Stage == SMTPSTARTTLS:
		j.find(MXSTARTTLSFailed, subject, reply, "%s", l.why())
		return smtpRefused
	case l.TLS == nil || l.TLS.Err != nil:
		j.find(MXTLS, subject, reply, "%s", l.why())
		return smtpRefused
	}
	good := j.judgeTLS(l.TLS, subject, host, mxCodes())
	switch {
	case !good:
		return smtpRefused
	case l.Err != nil && answered(l.Reply):
		j.find(MXRefusesUs, subject, reply, "over TLS it answers %q", l.Reply)
		return smtpUnknown
	case l.Err != nil: // TLS is there, and the session in it is not
		j.find(MXTLS, subject, reply, "%s", l.why())
		return smtpRefused
	}
	j.find(MXOK, subject, evidence("tls", tlsName(l.TLS), "not_after", l.TLS.NotAfter.UTC().Format(time.RFC3339),
		"names", names(l.TLS.Chain[0]), "issuer", printable(l.TLS.Chain[0].Issuer.String())),
		"STARTTLS works: %s, certificate for the host until %s", tlsName(l.TLS), day(l.TLS.NotAfter))
	j.judgeNoSNI(l, subject)
	return smtpGood
}

// why says why the session went no further, with the reply that says so.
func (l *SMTPLook) why() string {
	if l.Reply == "" {
		return l.Err.Error()
	}
	return fmt.Sprintf("%v: %q", l.Err, l.Reply)
}

// ownFault reports whether a connection failed at this machine: no route, or a
// firewall of its own.
func ownFault(err error) bool {
	return errors.Is(err, syscall.ENETUNREACH) || errors.Is(err, syscall.EPERM) || errors.Is(err, syscall.EACCES)
}

// refusesUs reports whether the host answered that it will not speak to us, or
// not now (RFC 5321 §3.1): what it says to others is not known then.
func refusesUs(l *SMTPLook) bool {
	if l.Stage != SMTPGreeting && l.Stage != SMTPEHLO {
		return false
	}
	return answered(l.Reply)
}

// answered reports whether a reply is a refusal, for now or for good.
func answered(reply string) bool {
	return len(reply) >= 3 && (reply[0] == '4' || reply[0] == '5')
}

// noEHLO reports whether a reply to EHLO says that it is not known: senders go on
// with HELO then (RFC 5321 §3.2).
func noEHLO(reply string) bool {
	return len(reply) >= 3 && slices.Contains([]string{"500", "502", "504"}, reply[:3])
}

// judgeNoSNI judges what a client gets that names no host.
func (j *judgement) judgeNoSNI(l *SMTPLook, subject string) {
	if l.NoSNI == nil || l.NoSNI.Refusal(j.ev.Time) == nil {
		return
	}
	if l.NoSNI.Err != nil {
		j.find(MXCertNoSNI, subject, nil, "without SNI the TLS handshake fails: %v", l.NoSNI.Err)
		return
	}
	j.find(MXCertNoSNI, subject, evidence("names", names(l.NoSNI.Chain[0])),
		"without SNI it shows a certificate that is not right: %s", printable(unwrapped(l.NoSNI.Refusal(j.ev.Time))))
}

// unwrapped is an error without what crypto/tls puts before it.
func unwrapped(err error) string {
	if inner := errors.Unwrap(err); inner != nil {
		return inner.Error()
	}
	return err.Error()
}

// mxSummary is one sentence on the MX hosts.
func (j *judgement) mxSummary() string {
	hosts := counted(len(j.ev.MX.Hosts), "MX host")
	for _, f := range j.found {
		if f.Status == fail && (f.Harm == lose || !j.enforcing() && f.Harm == risk || f.Harm == partial) {
			return f.Subject + ": " + f.Text
		}
	}
	switch {
	case j.ev.MX.Null && len(j.ev.MX.Hosts) == 0:
		return "the domain has a null MX and takes no mail"
	case j.mxUnknown != "":
		return "not known: " + j.mxUnknown
	case len(j.ev.MX.Hosts) == 1:
		return hosts + " is covered and has authenticated TLS"
	}
	return hosts + " are covered and have authenticated TLS"
}

func counted(n int, noun string) string {
	if n != 1 {
		noun += "s"
	}
	return fmt.Sprintf("%d %s", n, noun)
}
