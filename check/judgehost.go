package check

import (
	"bytes"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/stshost/stshost/internal/caa"
	"github.com/stshost/stshost/mtasts"
)

// slowFetch is from when on an answer is slow. Senders are to wait for a minute
// (RFC 8461 §3.3).
const slowFetch = 10 * time.Second

func hostCodes() certificateCodes {
	return certificateCodes{HostTLSVersion, HostCertUntrusted, HostCertName, HostCertExpired, HostCertExpires}
}

// judgeHost judges the policy host, each address apart (RFC 8461 §3.3).
func (j *judgement) judgeHost() {
	ev := j.ev.Host
	if j.announced == recordAbsent && len(ev.Addresses) == 0 && len(ev.Aliases) == 0 {
		return // nobody says that there should be one
	}
	if len(ev.Aliases) > 0 {
		j.find(HostAlias, ev.Name, nil, "%s", aliasChain(ev.Name, targets(ev.Aliases)))
	}
	j.judgeDelegation()
	switch {
	case ev.LookupErr != nil:
		j.untried = ev.LookupErr.Error()
		j.find(HostLookup, ev.Name, nil, "%v", ev.LookupErr)
		return
	case len(ev.Addresses) == 0 && len(ev.Aliases) > 0:
		j.find(HostDangling, ev.Name, nil, "%s, which has no address", aliasChain(ev.Name, targets(ev.Aliases)))
		return
	case len(ev.Addresses) == 0:
		j.find(HostNoAddress, ev.Name, nil, "it has neither an A nor an AAAA record")
		return
	}
	before := len(j.found)
	for i := range ev.Addresses {
		j.judgeAddress(&ev.Addresses[i])
	}
	j.choosePolicy()
	if !j.fetched {
		for i := range j.found[before:] {
			if f := &j.found[before+i]; f.Harm == partial {
				f.Harm = ignored // no other address has it
			}
		}
	}
	if ev.More > 0 {
		j.find(HostNotTried, ev.Name, nil, "%d more addresses were not looked at", ev.More)
	}
	j.judgePlain()
	j.judgeCAA()
}

// judgeAddress judges what one address answers.
func (j *judgement) judgeAddress(l *HTTPSLook) {
	host := j.ev.Host.Name
	subject := at(host, l.Address)
	switch {
	case l.Address == "": // the family's look-up failed, and the other's did not
		j.find(HostLookup, host, nil, "%v", l.Err)
		return
	case l.Skipped != "":
		j.find(HostNotTried, subject, nil, "%s", l.Skipped)
		return
	case l.Err != nil:
		j.find(HostConnect, subject, nil, "%v", l.Err)
		return
	case l.TLS.Err != nil:
		j.find(HostTLS, subject, nil, "%v", l.TLS.Err)
		return
	}
	good := j.judgeTLS(l.TLS, subject, host, hostCodes())
	good = j.judgeFetch(l.Main, subject) && good
	if !good {
		return
	}
	j.find(HostOK, subject, evidence("tls", tlsName(l.TLS), "http", l.Main.Proto, "bytes", fmt.Sprint(len(l.Main.Body)),
		"took", l.Main.Took.Round(time.Millisecond).String(), "not_after", l.TLS.NotAfter.UTC().Format(time.RFC3339)),
		"a sender gets the policy: %s, %s, certificate until %s", tlsName(l.TLS), l.Main.Proto, day(l.TLS.NotAfter))
	j.judgeOthers(l, subject)
}

// judgeFetch judges one answer by RFC 8461 §3.2 and §3.3.
func (j *judgement) judgeFetch(f *HTTPFetch, subject string) bool {
	if f.Err != nil {
		j.find(HostHTTP, subject, nil, "%v", f.Err)
		return false
	}
	good := true
	bad := func(code, format string, args ...any) {
		j.find(code, subject, evidence("status", fmt.Sprint(f.Status), "location", f.Location, "content_type", f.ContentType), format, args...)
		good = false
	}
	switch {
	case f.redirects():
		bad(HostRedirect, "it answers %d with a redirect to %.200q", f.Status, f.Location)
		return false
	case f.Status != 200:
		bad(HostStatus, "it answers with status %d", f.Status)
		return false
	}
	if !f.plainText() {
		bad(HostMediaType, "it answers with the media type %.100q", f.ContentType)
	}
	if f.TooLarge {
		bad(HostSize, "the policy has more than %d bytes", mtasts.MaxBodySize)
	}
	if f.BodyErr != nil {
		bad(HostHTTP, "the answer breaks off: %v", f.BodyErr)
	}
	if good && f.Took > slowFetch {
		j.find(HostSlow, subject, evidence("took", f.Took.Round(time.Millisecond).String()), "the answer took %s", f.Took.Round(time.Second))
	}
	return good
}

// judgeOthers compares what other senders get with what we got.
func (j *judgement) judgeOthers(l *HTTPSLook, subject string) {
	for _, f := range l.Others {
		body, err := f.policy()
		what := "the policy"
		switch {
		case err != nil:
			what = err.Error()
		case !bytes.Equal(body, l.Main.Body):
			what = "another policy"
		default:
			continue
		}
		if f.Agent == UserAgent {
			j.find(HostHTTP1, subject, evidence("http", f.Proto), "over HTTP/1.1 a sender gets something else: %s", what)
			return // the others come by HTTP/1.1, too
		}
		j.find(HostAgent, subject, evidence("user_agent", f.Agent, "answer", what), "with the User-Agent %q a sender gets something else: %s", f.Agent, what)
		return
	}
}

// choosePolicy finds the body that senders get, or, if none does, one that they
// would get, so that it can be read all the same.
func (j *judgement) choosePolicy() {
	host := j.ev.Host.Name
	var from string
	tried := 0
	for i := range j.ev.Host.Addresses {
		l := &j.ev.Host.Addresses[i]
		if l.Skipped != "" || l.Address == "" {
			continue
		}
		tried++
		body, err := l.policy(j.ev.Time)
		switch {
		case err != nil:
		case !j.fetched:
			j.body, j.fetched, from = body, true, l.Address
		case !bytes.Equal(body, j.body):
			j.find(HostDifferent, at(host, l.Address), evidence("policy", clip(string(body)), "other_policy", clip(string(j.body))),
				"it serves another policy than %s", from)
		}
	}
	if tried == 0 || !j.fetched && slices.ContainsFunc(j.ev.Host.Addresses, func(l HTTPSLook) bool { return l.Skipped == unseen }) {
		j.untried = "no policy could be fetched from " + host + " from here, and not every address of it could be tried"
	}
	for i := range j.ev.Host.Addresses {
		l := &j.ev.Host.Addresses[i]
		if j.body == nil && l.Main != nil && l.Main.Status == 200 && !l.Main.TooLarge && bytes.Contains(l.Main.Body, []byte("STSv1")) {
			j.body = l.Main.Body
		}
	}
}

// clip bounds what a stranger's text takes of a report.
func clip(text string) string {
	const most = 1000
	if len(text) > most {
		return strings.ToValidUTF8(text[:most], "") + "…"
	}
	return text
}

// judgeDelegation finds that only one of the two names leads to another
// organisation (RFC 8461 §8.2).
func (j *judgement) judgeDelegation() {
	abroad := func(targets []string) string {
		if len(targets) == 0 || organisation(targets[len(targets)-1]) == organisation(j.ev.Domain) {
			return ""
		}
		return targets[len(targets)-1]
	}
	record, host := mtasts.RecordName(j.ev.Domain), j.ev.Host.Name
	recordTo, hostTo := abroad(targets(j.ev.Record.Answer.Aliases)), abroad(targets(j.ev.Host.Aliases))
	switch {
	case j.announced == recordUnknown, recordTo == "" && hostTo == "", recordTo != "" && hostTo != "":
	case recordTo != "":
		j.find(HostHalfDelegated, host, nil, "%s is a CNAME to %s, and %s is none", record, recordTo, host)
	default:
		j.find(HostHalfDelegated, record, nil, "%s is a CNAME to %s, and %s is none", host, hostTo, record)
	}
}

// judgePlain judges what port 80 serves.
func (j *judgement) judgePlain() {
	for _, l := range j.ev.Host.Plain {
		if l.Err == nil && l.Status == 200 && bytes.Contains(l.Body, []byte("STSv1")) {
			j.find(HostPlain, at(j.ev.Host.Name, l.Address), nil, "it serves the policy without TLS")
		}
	}
}

// judgeCAA judges whether the certificate can be renewed.
func (j *judgement) judgeCAA() {
	ev := j.ev.Host
	switch {
	case !ev.CAADone:
		return
	case ev.CAAErr != nil:
		j.find(HostCAALookup, ev.Name, nil, "%v", ev.CAAErr)
		return
	case ev.CAA.Owner == "":
		j.find(HostCAANone, ev.Name, nil, "neither the host nor a name above it has CAA records")
		return
	}
	var records []string
	for _, r := range ev.CAA.Records {
		records = append(records, r.String())
	}
	shown := evidence("at", ev.CAA.Owner, "alias", ev.CAA.Alias, "records", strings.Join(records, "; "))
	issuer, identities := j.issuer()
	var refusal *caa.Refusal
	if err := caa.Permits(ev.CAA, identities, "", ""); errors.As(err, &refusal) {
		j.find(HostCAAForbids, ev.Name, shown, "%s issued the present certificate, and the CAA records at %s do not permit it to renew", issuer, ev.CAA.Owner)
		return
	}
	if nobodyMayIssue(ev.CAA) {
		j.find(HostCAAForbids, ev.Name, shown, "the CAA records at %s permit no CA at all to issue", ev.CAA.Owner)
		return
	}
	j.find(HostCAA, ev.Name, shown, "the CAA records at %s count", ev.CAA.Owner)
}

// nobodyMayIssue reports whether there are issue records and each is empty
// (RFC 8659 §4.2: `issue ";"`).
func nobodyMayIssue(set caa.Set) bool {
	issues := slices.DeleteFunc(slices.Clone(set.Records), func(r caa.Record) bool { return !strings.EqualFold(r.Tag, "issue") })
	return len(issues) > 0 && !slices.ContainsFunc(issues, func(r caa.Record) bool {
		ca, _, _ := strings.Cut(r.Value, ";")
		return strings.TrimSpace(ca) != ""
	})
}

// issuer is who issued the certificate that is served, and by which names that
// CA knows itself in CAA records; none if it is none that is known here.
func (j *judgement) issuer() (name string, identities []string) {
	known := map[string][]string{ // by organisation in the issuer's name
		"Let's Encrypt":         {"letsencrypt.org"},
		"Google Trust Services": {"pki.goog"},
		"ZeroSSL":               {"sectigo.com", "zerossl.com"},
		"Sectigo Limited":       {"sectigo.com"},
		"DigiCert Inc":          {"digicert.com"},
		"GlobalSign nv-sa":      {"globalsign.com"},
		"Amazon":                {"amazon.com", "amazontrust.com", "awstrust.com", "amazonaws.com"},
		"Buypass AS-983163327":  {"buypass.com", "buypass.no"},
		"SSL Corporation":       {"ssl.com"},
		"Actalis S.p.A.":        {"actalis.it"},
	}
	for _, l := range j.ev.Host.Addresses {
		if l.TLS == nil || len(l.TLS.Chain) == 0 || l.TLS.Untrusted != nil {
			continue
		}
		for _, org := range l.TLS.Chain[0].Issuer.Organization {
			if identities, ok := known[org]; ok {
				return org, identities
			}
		}
	}
	return "", nil
}
