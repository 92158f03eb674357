package check

import (
	"bytes"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/stshost/stshost/internal/caa"
	"github.com/stshost/stshost/internal/resolver"
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
	if j.announced == recordAbsent && (ev.Wildcard || len(ev.Addresses) == 0 && len(ev.Aliases) == 0) {
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
			f := &j.found[before+i]
			switch {
			case f.Harm != partial:
			case j.announced == recordAbsent:
				f.Harm = risk // nobody looks for a policy yet
			case j.untried == "":
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
	best := l.best()
	if best == nil {
		j.judgeFetch(l.Main, subject)
		return
	}
	j.judgeFetch(best, subject)
	j.judgeOthers(l, best, subject)
	if !good {
		return
	}
	j.find(HostOK, subject, evidence("tls", tlsName(l.TLS), "http", best.Proto, "bytes", fmt.Sprint(len(best.Body)),
		"took", best.Took.Round(time.Millisecond).String(), "not_after", l.TLS.NotAfter.UTC().Format(time.RFC3339)),
		"a sender gets the policy: %s, %s, certificate until %s", tlsName(l.TLS), best.Proto, day(l.TLS.NotAfter))
}

// judgeFetch judges one answer by RFC 8461 §3.2 and §3.3.
func (j *judgement) judgeFetch(f *HTTPFetch, subject string) {
	bad := func(code, format string, args ...any) {
		j.find(code, subject, evidence("status", fmt.Sprint(f.Status), "location", f.Location, "content_type", f.ContentType), format, args...)
	}
	switch {
	case resolver.IsTimeout(f.Err) || resolver.IsTimeout(f.BodyErr):
		j.find(HostTimeout, subject, nil, "no whole answer came within %s", FetchTimeout)
		return
	case f.Err != nil:
		j.find(HostHTTP, subject, nil, "%v", f.Err)
		return
	case f.redirects():
		bad(HostRedirect, "it answers %d with a redirect to %.200q", f.Status, f.Location)
		return
	case f.Status != 200:
		bad(HostStatus, "it answers with status %d", f.Status)
		return
	}
	switch {
	case !f.plainText():
		bad(HostMediaType, "it answers with the media type %.100q", f.ContentType)
	case f.oddParameters():
		bad(HostMediaParameters, "the parameters of the media type %.100q break the grammar", f.ContentType)
	}
	if f.TooLarge {
		bad(HostSize, "the policy has more than %d bytes", mtasts.MaxBodySize)
	}
	if f.BodyErr != nil {
		bad(HostHTTP, "the answer breaks off: %v", f.BodyErr)
	}
	if f.BodyErr == nil && f.Took > slowFetch {
		j.find(HostSlow, subject, evidence("took", f.Took.Round(time.Millisecond).String()), "the answer took %s", f.Took.Round(time.Second))
	}
}

// judgeOthers compares what the fetches got with the best of them. One cause is
// told once: a host that answers now so and now so, a protocol, or else the first
// name that is turned away. Other policies are for choosePolicy.
func (j *judgement) judgeOthers(l *HTTPSLook, best *HTTPFetch, subject string) {
	fetches := append([]HTTPFetch{*l.Main}, l.Others...)
	odd := slices.IndexFunc(fetches, func(f HTTPFetch) bool { return f.refusal() != "" })
	if odd < 0 {
		return
	}
	f := fetches[odd]
	shown := evidence("user_agent", f.Agent, "http", f.Proto, "answer", f.refusal())
	plain := slices.IndexFunc(l.Others, func(f HTTPFetch) bool { return f.Agent == UserAgent }) // over HTTP/1.1
	byProto := l.Main.Proto == "HTTP/2.0" && plain >= 0
	switch {
	case f.Status == http.StatusTooManyRequests || f.Status >= 500 || l.Again != nil && l.Again.refusal() != "":
		j.find(HostFlaky, subject, shown, "it answers with the policy, and at another time: %s", f.refusal())
	case byProto && odd == 0 && l.Others[plain].refusal() == "":
		j.find(HostHTTP2, subject, shown, "over HTTP/2 a sender gets something else: %s", f.refusal())
	case byProto && best == l.Main && l.Others[plain].refusal() != "":
		j.find(HostHTTP1, subject, shown, "over HTTP/1.1 a sender gets something else: %s", f.refusal())
	default:
		j.find(HostAgent, subject, shown, "with the User-Agent %q a client gets something else: %s", f.Agent, f.refusal())
	}
}

// refusal says why a fetch got no policy; "" if it did, or if our patience was at
// an end, which is not a sender's.
func (f *HTTPFetch) refusal() string {
	_, err := f.policy()
	if err == nil || resolver.IsTimeout(err) {
		return ""
	}
	return err.Error()
}

// bodies are the policies that the address serves, each once: to several clients
// it may serve several.
func (l *HTTPSLook) bodies() [][]byte {
	var all [][]byte
	for _, f := range append([]HTTPFetch{*l.Main}, l.Others...) {
		body, err := f.policy()
		if err == nil && !slices.ContainsFunc(all, func(b []byte) bool { return sameMeaning(b, body) }) {
			all = append(all, body)
		}
	}
	return all
}

// sameMeaning reports whether senders make the same of two bodies.
func sameMeaning(a, b []byte) bool {
	if bytes.Equal(a, b) {
		return true
	}
	p, errP := mtasts.ParsePolicy(a)
	q, errQ := mtasts.ParsePolicy(b)
	return errP == nil && errQ == nil && p.Mode == q.Mode && p.MaxAge == q.MaxAge && sameTexts(p.MX, q.MX)
}

// choosePolicy finds the body that senders get, or, if none does, one that they
// would get, so that it can be read all the same. Of several it is the one that
// asks most of MX hosts: senders that choose its address go by it.
func (j *judgement) choosePolicy() {
	host := j.ev.Host.Name
	var served []*HTTPSLook
	var bodies [][]byte
	tried := 0
	notSeen := j.ev.Host.More > 0
	for i := range j.ev.Host.Addresses {
		l := &j.ev.Host.Addresses[i]
		if l.Skipped != "" || l.Address == "" {
			notSeen = notSeen || !l.NoRoute
			continue
		}
		tried++
		_, err := l.policy(j.ev.Time)
		switch {
		case resolver.IsTimeout(err) && l.TLS != nil: // a sender may have more patience
			notSeen = true
		case err == nil:
			for _, body := range l.bodies() {
				served, bodies = append(served, l), append(bodies, body)
			}
		}
	}
	if len(bodies) == 0 {
		if tried == 0 || notSeen {
			j.untried = "no policy could be fetched from " + host + " from here, and not every address of it could be tried"
		}
		j.body = j.almostServed()
		return
	}
	main := 0
	for i := range bodies {
		if demand(bodies[i]) > demand(bodies[main]) {
			main = i
		}
	}
	j.body, j.fetched = bodies[main], true
	for i, body := range bodies {
		if sameMeaning(body, j.body) {
			continue
		}
		j.otherBodies = append(j.otherBodies, body)
		text := "it serves another policy than " + served[main].Address
		if served[i] == served[main] {
			text = "it serves now one policy and now another"
		}
		j.find(HostDifferent, at(host, served[i].Address), evidence("policy", string(body), "other_policy", string(j.body)), "%s", text)
	}
}

// demand orders bodies by what they ask of MX hosts.
func demand(body []byte) int {
	p, err := mtasts.ParsePolicy(body)
	switch {
	case err != nil:
		return 0
	case p.Mode == mtasts.ModeEnforce:
		return 3
	case p.Mode == mtasts.ModeTesting:
		return 2
	}
	return 1
}

// almostServed is a body that senders do not get, but for what is wrong on the
// way; nil if there is none.
func (j *judgement) almostServed() []byte {
	for _, l := range j.ev.Host.Addresses {
		if l.Main != nil && l.Main.Status == 200 && !l.Main.TooLarge && bytes.Contains(l.Main.Body, []byte("STSv1")) {
			return l.Main.Body
		}
	}
	return nil
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
	if j.ev.Record.Wildcard || j.ev.Host.Wildcard {
		return // nobody delegated anything
	}
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
