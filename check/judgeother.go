package check

import (
	"cmp"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/stshost/stshost/internal/resolver"
	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
	"github.com/stshost/stshost/tlsrpt"
)

// judgeTLSRPT judges the record by which the domain asks for reports (RFC 8460
// §3).
func (j *judgement) judgeTLSRPT() {
	name := tlsrpt.RecordName(j.ev.Domain)
	if j.ev.TLSRPTErr != nil {
		j.find(TLSRPTLookup, name, nil, "%v", j.ev.TLSRPTErr)
		return
	}
	txts := j.ev.TLSRPT.TXT()
	shown := evidence("records", quoted(txts))
	unheard := func(code, format string, args ...any) *state.Finding {
		j.unheard = code
		return j.find(code, name, shown, format, args...)
	}
	record, err := tlsrpt.FindRecord(txts)
	switch {
	case errors.Is(err, tlsrpt.ErrNoRecord) && j.announced == recordAbsent:
		return
	case errors.Is(err, tlsrpt.ErrNoRecord) && slices.ContainsFunc(txts, almostTLSRPT):
		unheard(TLSRPTGrammar, "a record there is meant as one of TLSRPT, but does not begin with v=TLSRPTv1;")
		return
	case errors.Is(err, tlsrpt.ErrNoRecord) && len(j.ev.TLSRPT.Aliases) > 0:
		f := unheard(TLSRPTNone, "%s, where there is no TLSRPT record", aliasChain(name, targets(j.ev.TLSRPT.Aliases)))
		f.Remedy = "have the record made where the CNAME leads, or replace the CNAME by it"
		return
	case errors.Is(err, tlsrpt.ErrNoRecord):
		unheard(TLSRPTNone, "no TXT record there begins with v=TLSRPTv1;")
		return
	case errors.Is(err, tlsrpt.ErrSeveralRecords):
		unheard(TLSRPTSeveral, "several TXT records begin with v=TLSRPTv1;, and senders act as if there were none")
		return
	case err != nil:
		unheard(TLSRPTGrammar, "%v", err)
		return
	}
	bad := 0
	for _, rua := range record.RUA {
		if err := tlsrpt.Problem(rua); err != nil {
			bad++
			unheard(TLSRPTScheme, "no report goes to %.200q: %v", rua, err)
		}
	}
	if bad < len(record.RUA) {
		j.unheard = "" // one address is enough
	}
	if bad == 0 {
		j.find(TLSRPTOK, name, shown, "reports go to %s", list(record.RUA))
	}
}

// almostTLSRPT reports whether a text is meant as a TLSRPT record.
func almostTLSRPT(txt string) bool {
	text := strings.ToLower(strings.NewReplacer(" ", "", `"`, "").Replace(txt))
	return strings.HasPrefix(text, "v=tlsrpt")
}

// judgeTLSA judges the TLSA records of an MX host (RFC 7672 §2.2). They are
// held against each address, as senders do.
func (j *judgement) judgeTLSA(h *MXHost) {
	name := tlsaName(h.Name)
	if h.TLSA.Err != nil {
		j.find(DANELookup, name, nil, "%v", h.TLSA.Err)
		return
	}
	records := h.TLSA.Answer.TLSA()
	if len(records) == 0 {
		j.find(DANENone, name, nil, "there are no TLSA records")
		return
	}
	var texts []string
	for _, r := range records {
		texts = append(texts, nameTLSA(r))
	}
	shown := evidence("tlsa", strings.Join(texts, "; "))
	switch {
	case !h.TLSA.Judged:
		j.find(DANESkipped, name, shown, "%s, and %s %s", counted(len(records), "TLSA record"), h.TLSA.Answer.Server, cmp.Or(h.TLSA.Answer.Unjudged, "is not believed about all that leads there"))
		return
	case !h.TLSA.Secure:
		j.find(DANEUnsigned, name, shown, "the TLSA records, or the addresses of the host, are not validated by DNSSEC")
		return
	case !h.TLSA.MXSecure:
		j.find(DANEMXUnsigned, name, shown, "the MX records of the domain are not validated by DNSSEC, and those of the host are")
	default:
		j.find(DANEPrecedence, name, shown, "senders that honour DANE go by the TLSA records; the policy counts for the others")
	}
	mismatch := func(subject, why string) {
		if f := j.find(DANEMismatch, subject, shown, "%s", why); !h.TLSA.MXSecure {
			f.Harm = partial // RFC 7672 §2.2.1 leaves it to the sender; Postfix insists by default
		}
	}
	for i := range h.Addresses {
		l := &h.Addresses[i]
		subject := at(h.Name, l.Address)
		switch v := judgeDANE(records, l.TLS, h.Name, j.ev.Time, j.ev.Domain); {
		case l.Skipped != "" || resolver.IsTimeout(l.Err) || l.Stage != SMTPSTARTTLS && l.TLS == nil: // not known
		case l.TLS == nil || l.TLS.Err != nil:
			mismatch(subject, "there is no TLS, and with TLSA records senders that honour DANE insist on it")
		case v.Usable == 0:
			j.find(DANEUnusable, subject, shown, "%s", v.Why)
		case !v.Matched:
			mismatch(subject, v.Why)
		default:
			j.find(DANEOK, subject, shown, "%s", v.Why)
		}
	}
}

// judgeLife judges where the domain stands between its first policy and its
// last (RFC 8461 §8).
func (j *judgement) judgeLife() {
	name := mtasts.RecordName(j.ev.Domain)
	if j.announced == recordAbsent && j.fetched && j.policy != nil {
		j.find(LifeUnannounced, name, nil, "a policy of mode %s is served, and no record announces it", j.policy.Mode)
	}
	if j.fetched && j.policy != nil && j.policy.Mode == mtasts.ModeNone {
		until := ""
		if s := j.ev.Served; s != nil && s.Horizon.After(j.ev.Time) {
			until = fmt.Sprintf("; senders may hold an enforce policy until %s", day(s.Horizon))
		}
		j.find(LifeNone, mtasts.PolicyURL(j.ev.Domain), nil, "the policy has mode none: the domain is leaving MTA-STS%s", until)
	}
	gone := j.announced == recordAbsent || j.announced == recordValid && !j.fetched && j.untried == ""
	if s := j.ev.Served; s != nil && gone && s.Horizon.After(j.ev.Time) {
		j.find(LifeRemovedEarly, name, evidence("horizon", s.Horizon.UTC().Format(time.RFC3339)),
			"senders may hold an enforce policy until %s, and the record or the policy is gone", day(s.Horizon))
	}
	j.judgeSubdomains()
}

func (j *judgement) judgeSubdomains() {
	ev := j.ev.Subdomains
	switch {
	case j.announced == recordAbsent:
	case ev.Err != nil && len(ev.Bare) == 0:
		j.find(LifeSubdomainsSkipped, j.ev.Domain, nil, "%v", ev.Err)
	case ev.Wildcard:
		j.find(LifeSubdomains, "*."+j.ev.Domain, nil, "every sub-domain takes mail, by a wildcard, and none has a policy unless it is made for it")
	case len(ev.Bare) > 0:
		j.find(LifeSubdomains, j.ev.Domain, evidence("subdomains", strings.Join(ev.Bare, ", ")), "%s: MX records, and no MTA-STS record", strings.Join(ev.Bare, ", "))
	default:
		j.find(LifeSubdomainsOK, j.ev.Domain, evidence("covered", strings.Join(ev.Covered, ", ")),
			"none of %d common names takes mail without a policy of its own", len(subdomainLabels()))
	}
}

func tlsName(l *TLSLook) string { return tls.VersionName(l.Version) }
