package check

import (
	"cmp"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
)

// expirySoon is how long before the end of a certificate a warning begins.
const expirySoon = 14 * 24 * time.Hour

// Evaluate judges evidence. It looks at nothing else: equal evidence gives an
// equal report, but for the seconds that it took.
func Evaluate(ev Evidence) state.Report {
	j := newJudgement(ev)
	j.judgeRecord()
	j.judgeHost()
	j.judgePolicy()
	j.judgeMX()
	j.judgeReaderLoss()
	j.judgeTLSRPT()
	j.judgeLife()
	r := state.Report{Domain: ev.Domain, Time: ev.Time.UTC(), Findings: j.sorted()}
	if j.record != nil {
		r.RecordID = j.record.ID
	}
	if j.fetched && j.policy != nil {
		r.Mode, r.MaxAge, r.MX, r.Policy = string(j.policy.Mode), int64(j.policy.MaxAge/time.Second), j.policy.MX, string(j.body)
	}
	r.Verdict, r.Summary = j.verdict()
	return r
}

// judgeMXOnly judges what was seen of the MX hosts by a policy that is known: that
// of a domain which stshost hosts.
func judgeMXOnly(ev Evidence, policy mtasts.Policy) state.MXCheck {
	j := newJudgement(ev)
	j.policy, j.fetched, j.announced = &policy, true, recordValid // as senders have it
	j.judgeMX()
	c := state.MXCheck{Domain: ev.Domain, Time: ev.Time, Passed: true}
	general := j.rules[j.index[MXUncovered]].Remedy
	for _, f := range j.sorted() {
		if f.Status == pass {
			continue
		}
		if f.Code == MXUncovered && f.Remedy == general {
			f.Remedy = "add the host to `mx` in the config and reload, or have `stshost mx accept " + ev.Domain + "` take it into the policy; " +
				"if nobody wanted it, remove the MX record: somebody may be forging it, so look at who can change the zone"
		}
		c.Findings = append(c.Findings, f)
		if f.Status == fail {
			c.Passed = false
		}
	}
	c.Unknown = c.Passed && j.mxUnknown != ""
	if c.Unknown {
		c.Passed = false
	}
	c.Summary = j.mxSummary()
	c.Judged, c.Open = j.judged, j.open
	c.Hosts, c.Validated = ev.MX.names(), ev.MX.Err == nil && ev.MX.Answer.Judged && ev.MX.Answer.Authenticated
	return c
}

// names are the hosts that take the domain's mail, by the DNS, in the order of
// preference: where there are no MX records the domain itself, if it has an
// address (RFC 5321 §5.1). An address that stands in an MX record is no host.
func (ev MXEvidence) names() (names []string) {
	for _, h := range ev.Hosts {
		nowhere := ev.Implicit && len(h.Addresses) == 0 && h.Err == nil
		if !nowhere && !mtasts.IsIP(h.Name) {
			names = append(names, h.Name)
		}
	}
	return names
}

// judgement is an evaluation under way: what was found, and what the later
// parts have to know of the earlier ones.
type judgement struct {
	ev    Evidence
	rules []Rule
	index map[string]int
	found []state.Finding
	count map[string]int // findings by code

	announced recordState
	record    *mtasts.Record // the one that senders find

	body        []byte   // of the policy, as senders get it or would get it
	fetched     bool     // senders get it, at one address at least
	otherBodies [][]byte // that other addresses serve
	untried     string   // why it is not known whether they do
	policy      *mtasts.Policy

	refused   []string // what senders refuse in mode enforce: MX hosts, or their addresses
	noTLS     []string // those of refused that are so by their TLS
	lostAll   bool     // there is no other way in
	mxUnknown string   // why it is not known of some MX host whether they do

	judged []string // addresses of MX hosts that could be judged
	open   []string // MX hosts and names of TLSA records of which something could not be told

	unheard string // the code of why nobody is told what fails; "" if somebody is
}

// recordState is what senders make of the TXT records.
type recordState int

const (
	recordUnknown recordState = iota
	recordAbsent
	recordBroken // there is something, and senders ignore it
	recordValid
)

func newJudgement(ev Evidence) *judgement {
	rules := Rules()
	return &judgement{ev: ev, rules: rules, index: indexOf(rules), count: make(map[string]int)}
}

// evidence is what a finding rests on: keys and values in turn. Values that are
// empty are left out.
func evidence(pairs ...string) map[string]string {
	m := make(map[string]string)
	for i := 0; i+1 < len(pairs); i += 2 {
		if pairs[i+1] != "" {
			m[pairs[i]] = pairs[i+1]
		}
	}
	if len(m) == 0 {
		return nil
	}
	return m
}

// find adds a finding, with status, harm, section and remedy as its rule has
// them. The pointer is good until the next one is added.
func (j *judgement) find(code, subject string, ev map[string]string, format string, args ...any) *state.Finding {
	rule := j.rules[j.index[code]]
	for key, value := range ev {
		ev[key] = clip(value)
	}
	f := state.Finding{
		Code: code, Status: rule.Status, Harm: rule.Harm, Section: rule.Section,
		Remedy:  strings.ReplaceAll(rule.Remedy, "<domain>", j.ev.Domain),
		Subject: subject, Evidence: ev, Text: strings.Join(strings.Fields(clip(fmt.Sprintf(format, args...))), " "),
	}
	if j.count[code]++; j.count[code] > maxSame {
		// Strangers decide how much there is to find.
		f.Subject, f.Evidence, f.Text = j.ev.Domain, nil, fmt.Sprintf("%d more of the same", j.count[code]-maxSame)
		for i := range j.found {
			if j.found[i].Code == code && j.found[i].Subject == f.Subject && strings.HasSuffix(j.found[i].Text, "more of the same") {
				j.found[i] = f
				return &j.found[i]
			}
		}
	}
	j.found = append(j.found, f)
	return &j.found[len(j.found)-1]
}

// maxSame is how many findings of one code are told one by one.
const maxSame = 40

// clip bounds what a stranger's text takes of a report, and takes out what a
// terminal would act upon.
func clip(text string) string {
	const most = 1000
	if len(text) > most {
		text = strings.ToValidUTF8(text[:most], "") + "…"
	}
	return strings.Map(func(r rune) rune {
		if r == '\n' || r == '\r' || !unicode.IsControl(r) && !unicode.Is(unicode.Bidi_Control, r) {
			return r
		}
		return unicode.ReplacementChar
	}, text)
}

// has reports whether code was found.
func (j *judgement) has(code string) bool {
	return j.count[code] > 0
}

// sorted are the findings, what does most harm first; then failures before
// warnings and so on, and for the rest in the order of the rules.
func (j *judgement) sorted() []state.Finding {
	order := []state.CheckStatus{fail, warn, unknown, skipped, pass}
	slices.SortStableFunc(j.found, func(a, b state.Finding) int {
		return cmp.Or(
			cmp.Compare(b.Harm.Rank(), a.Harm.Rank()),
			cmp.Compare(slices.Index(order, a.Status), slices.Index(order, b.Status)),
			cmp.Compare(j.index[a.Code], j.index[b.Code]),
			strings.Compare(a.Subject, b.Subject),
		)
	})
	return j.found
}

// certificateCodes are the codes for what is wrong with TLS at some kind of
// host.
type certificateCodes struct {
	version, untrusted, name, expired, expires string
}

// judgeTLS finds what is wrong with a completed handshake, all of it, and
// reports whether a sender takes it.
func (j *judgement) judgeTLS(look *TLSLook, subject, host string, codes certificateCodes) bool {
	now := j.ev.Time
	leaf := look.Chain[0]
	ev := func(more ...string) map[string]string {
		return evidence(append([]string{
			"tls", tls.VersionName(look.Version), "names", names(leaf),
			"issuer", printable(leaf.Issuer.String()), "not_after", look.NotAfter.UTC().Format(time.RFC3339)}, more...)...)
	}
	good := true
	bad := func(code, format string, args ...any) {
		j.find(code, subject, ev(), format, args...)
		good = false
	}
	if look.Version < tls.VersionTLS12 {
		bad(codes.version, "it speaks %s at most", tls.VersionName(look.Version))
	}
	if look.Untrusted != nil {
		bad(codes.untrusted, "the certificate is not trusted: %s", untrusted(look))
	}
	if look.NameErr != nil {
		bad(codes.name, "the certificate is not for %s, but for %s", host, certNames(leaf))
	}
	switch {
	case now.Before(look.NotBefore):
		bad(codes.expired, "the certificate is valid only from %s", day(look.NotBefore))
	case look.Expired(now):
		bad(codes.expired, "the certificate, or one in its chain, expired on %s", day(look.NotAfter))
	case look.NotAfter.Sub(now) < expirySoon:
		j.find(codes.expires, subject, ev(), "the certificate runs out on %s", day(look.NotAfter))
	}
	return good
}

// untrusted says why no chain leads to a root.
func untrusted(look *TLSLook) string {
	leaf := look.Chain[0]
	switch {
	case len(look.Chain) == 1 && leaf.Issuer.String() == leaf.Subject.String() && leaf.CheckSignature(leaf.SignatureAlgorithm, leaf.RawTBSCertificate, leaf.Signature) == nil:
		return "it is self-signed"
	case len(look.Chain) == 1:
		return fmt.Sprintf("its issuer %q is no root that is trusted, and no intermediate certificate was sent", printable(leaf.Issuer.String()))
	}
	return printable(look.Untrusted.Error())
}

// certNames tells whom a certificate is for.
func certNames(leaf *x509.Certificate) string {
	const most = 5
	switch all := leaf.DNSNames; {
	case len(all) > most:
		return fmt.Sprintf("%s and %d more", printable(strings.Join(all[:most], ", ")), len(all)-most)
	case len(all) > 0:
		return names(leaf)
	case leaf.Subject.CommonName != "":
		return fmt.Sprintf("no dNSName at all (its common name %q does not count)", leaf.Subject.CommonName)
	}
	return "no dNSName at all"
}

// names are the dNSNames of a certificate, as they may be shown: whoever made it
// wrote them.
func names(leaf *x509.Certificate) string { return printable(strings.Join(leaf.DNSNames, ", ")) }

func day(t time.Time) string { return t.UTC().Format("2006-01-02 15:04 UTC") }

// at names one address of a host.
func at(host, address string) string {
	if address == "" {
		return host
	}
	return host + " (" + address + ")"
}

// aliasChain tells the way of CNAMEs: "a is a CNAME to b, that one to c".
func aliasChain(name string, targets []string) string {
	text := name + " is a CNAME to "
	return text + strings.Join(targets, ", that one to ")
}
