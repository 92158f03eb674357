package check

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/net/publicsuffix"

	"github.com/stshost/stshost/internal/resolver"
	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
)

// longTTL is from when on a TTL delays changes for longer than need be.
const longTTL = 24 * time.Hour

// judgeRecord judges the TXT records at _mta-sts.<domain> (RFC 8461 §3.1).
func (j *judgement) judgeRecord() {
	ev, name := j.ev.Record, mtasts.RecordName(j.ev.Domain)
	switch {
	case ev.Bogus:
		if j.announced = recordBroken; len(mtasts.Records(ev.Answer.TXT())) == 0 {
			j.announced = recordAbsent
		}
		j.find(RecordBogus, name, evidence("records", quoted(ev.Answer.TXT())), "the answer does not pass DNSSEC validation: %v", ev.Err)
		return
	case ev.Circle:
		j.announced = recordBroken
		j.find(RecordLoop, name, aliasEvidence(ev.Answer), "the CNAMEs that begin there do not end")
		return
	case ev.Err != nil:
		j.find(RecordUnanswered, name, nil, "%v", ev.Err)
		return
	}
	if len(ev.Answer.Aliases) > 0 && !(ev.Wildcard && len(mtasts.Records(ev.Answer.TXT())) == 0) {
		j.find(RecordAlias, name, aliasEvidence(ev.Answer), "%s", aliasChain(name, targets(ev.Answer.Aliases)))
	}
	j.judgeTexts(name)
	if j.announced != recordAbsent {
		j.judgeRecordAnswer(name)
	}
	j.judgeServers(name)
}

func aliasEvidence(a resolver.Answer) map[string]string {
	var hops []string
	for _, alias := range a.Aliases {
		hops = append(hops, fmt.Sprintf("%s CNAME %s (TTL %s)", alias.From, alias.To, alias.TTL))
	}
	return evidence("hops", strings.Join(hops, "; "))
}

func targets(aliases []resolver.Alias) []string {
	var all []string
	for _, a := range aliases {
		all = append(all, a.To)
	}
	return all
}

func quoted(txts []string) string {
	var all []string
	for _, txt := range txts {
		all = append(all, fmt.Sprintf("%.200q", txt))
	}
	return strings.Join(all, ", ")
}

// judgeTexts finds out what senders make of the texts.
func (j *judgement) judgeTexts(name string) {
	txts := j.ev.Record.Answer.TXT()
	candidates := mtasts.Records(txts)
	shown := evidence("records", quoted(txts))
	if foreign := len(txts) - len(candidates); foreign > 0 && len(candidates) > 0 {
		j.find(RecordForeign, name, shown, "%d of the %d TXT records at the name are none of MTA-STS's", foreign, len(txts))
	}
	record, err := mtasts.FindRecord(txts)
	var bad *mtasts.RecordError
	j.announced = recordBroken
	switch {
	case errors.Is(err, mtasts.ErrNoRecord):
		j.announced = recordAbsent
		j.judgeAbsent(name, txts, shown)
	case errors.Is(err, mtasts.ErrSeveralRecords):
		j.find(RecordSeveral, name, shown, "%d TXT records begin with v=STSv1;, and senders act as if there were none", len(candidates))
	case errors.As(err, &bad) && bad.AboutID():
		j.find(RecordID, name, shown, "%s", bad.Problem)
	case errors.As(err, &bad):
		j.find(RecordGrammar, name, shown, "%s: %s", bad.Problem, bad.Rule)
	default:
		j.announced, j.record = recordValid, &record
		shown["ttl"] = j.ev.Record.Answer.TTL.String()
		j.find(RecordOK, name, shown, "the record announces the id %s", record.ID)
	}
}

// judgeAbsent says what stands in place of a record.
func (j *judgement) judgeAbsent(name string, txts []string, shown map[string]string) {
	for _, txt := range txts {
		if lookalike(txt) {
			j.announced = recordBroken
			j.find(RecordLookalike, name, shown, "%.100q is meant as a record, but does not begin with v=STSv1;", txt)
			return
		}
	}
	answer := j.ev.Record.Answer
	if len(answer.Aliases) > 0 && !j.ev.Record.Wildcard {
		j.announced = recordBroken
		j.find(RecordDangling, name, aliasEvidence(answer), "%s, where there is no MTA-STS record", aliasChain(name, targets(answer.Aliases)))
		return
	}
	j.find(RecordNone, name, shown, "no TXT record there begins with v=STSv1;")
}

// lookalike reports whether a text is meant as a record.
func lookalike(txt string) bool {
	text := strings.ToLower(strings.NewReplacer(" ", "", "\t", "", `"`, "", `\`, "").Replace(txt))
	return strings.HasPrefix(text, "v=sts") || strings.HasPrefix(text, "sts1") || strings.HasPrefix(text, "stsv1") ||
		strings.HasPrefix(text, "id=") && strings.Contains(text, "v=sts")
}

// judgeRecordAnswer judges how the answer came.
func (j *judgement) judgeRecordAnswer(name string) {
	ev := j.ev.Record
	if ev.Wildcard {
		j.find(RecordWildcard, name, nil, "a name beside it that nobody made has the same TXT records")
	}
	if ev.Answer.Split() > 0 {
		j.find(RecordSplit, name, nil, "%d of the TXT records consist of several strings", ev.Answer.Split())
	}
	if ev.Answer.TTL > longTTL {
		j.find(RecordTTL, name, evidence("ttl", ev.Answer.TTL.String()), "resolvers keep the record for %s", ev.Answer.TTL)
	}
	switch {
	case len(ev.Answer.Records) == 0:
	case !ev.Answer.Judged:
		f := j.find(RecordDNSSECSkipped, name, nil, "whether DNSSEC protects the record is not judged: %s %s", ev.Answer.Server, ev.Answer.Unjudged)
		if ev.Answer.Unjudged == resolver.NotValidating {
			f.Remedy = "ask a resolver that validates, such as Unbound on this machine"
		}
	case ev.Answer.Authenticated:
		j.find(RecordSigned, name, nil, "%s has validated the record", ev.Answer.Server)
	default:
		j.find(RecordUnsigned, name, nil, "%s has not validated the record: the zone is not signed, or the resolver does not validate", ev.Answer.Server)
	}
}

// judgeServers compares the authoritative servers.
func (j *judgement) judgeServers(name string) {
	ev := j.ev.Record
	var split *resolver.SplitError
	switch {
	case errors.As(ev.ServersErr, &split):
		j.find(RecordServersDiffer, name, nil, "%v", split)
		return
	case ev.ServersErr != nil:
		if j.announced != recordAbsent {
			j.find(RecordServersSkipped, name, nil, "%v", ev.ServersErr)
		}
		return
	}
	var first *state.ServerTXT
	differ := false
	for i, s := range ev.Servers {
		switch {
		case s.Err != nil:
			if j.announced != recordAbsent {
				j.find(RecordServerSilent, name, evidence("server", s.Server), "%v", s.Err)
			}
		case first == nil:
			first = &ev.Servers[i]
		case !differ && !sameTexts(mtasts.Records(s.TXT), mtasts.Records(first.TXT)):
			differ = true
			j.find(RecordServersDiffer, name, evidence(first.Server, show(first.TXT), s.Server, show(s.TXT)),
				"%s shows %s, and %s shows %s", first.Server, show(first.TXT), s.Server, show(s.TXT))
		}
	}
	resolved := mtasts.Records(j.ev.Record.Answer.TXT())
	switch {
	case first == nil || differ:
	case !j.ev.Record.Wildcard && !sameTexts(mtasts.Records(first.TXT), resolved):
		j.find(RecordCached, name, evidence("servers", show(first.TXT), "resolver", show(resolved), "ttl", j.ev.Record.Answer.TTL.String()),
			"the name servers show %s, and %s shows %s", show(first.TXT), j.ev.Record.Answer.Server, show(resolved))
	case j.announced != recordAbsent:
		j.find(RecordServersAgree, name, evidence("servers", fmt.Sprint(len(ev.Servers))), "the authoritative name servers show the same record")
	}
}

func show(txts []string) string {
	if len(txts) == 0 {
		return "nothing"
	}
	return quoted(txts)
}

// judgeID judges whether the id announces the body that is served.
func (j *judgement) judgeID() {
	if j.ev.ServedErr != nil {
		j.find(RecordStoreSkipped, mtasts.RecordName(j.ev.Domain), nil, "%v", j.ev.ServedErr)
	}
	if j.record == nil || !j.fetched {
		return
	}
	name, id, digest := mtasts.RecordName(j.ev.Domain), j.record.ID, mtasts.Digest(j.body)
	shown := evidence("id", id, "policy_sha256", digest)
	_, ours := mtasts.IDTime(id)
	remembered := j.ev.Served
	switch {
	case slices.ContainsFunc(append(j.otherBodies, j.body), func(body []byte) bool { return mtasts.Announces(id, body) }):
		j.find(RecordIDCurrent, name, shown, "the id has the digest of the policy that is served")
	case remembered != nil && remembered.ID == id && remembered.SHA256 != "" && remembered.SHA256 != digest:
		j.find(RecordIDKept, name, shown, "another policy is served than this installation announced under this id")
	case ours:
		j.find(RecordIDStale, name, shown, "the id has the digest of another policy than the one that is served")
	}
}

// organisation is the part of a name that one registers, or the name.
func organisation(name string) string {
	if org, err := publicsuffix.EffectiveTLDPlusOne(name); err == nil {
		return org
	}
	return name
}
