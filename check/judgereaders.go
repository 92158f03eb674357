package check

import (
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/stshost/stshost/internal/senders"
	"github.com/stshost/stshost/mtasts"
)

// judgeReaders tells where readers that exist differ from RFC 8461 on this
// record and this policy.
func (j *judgement) judgeReaders(policy string) {
	record := mtasts.RecordName(j.ev.Domain)
	differ := false
	for _, d := range senders.Deviations(j.ev.Record.Answer.TXT(), j.body) {
		differ = true
		code, subject := ReadersPolicy, policy
		if d.Subject == senders.SubjectRecord {
			code, subject = ReadersRecord, record
		}
		if !d.Harmful {
			code = ReadersLenient
		}
		where := ""
		if d.Line > 0 {
			where = fmt.Sprintf("line %d: ", d.Line)
		}
		f := j.find(code, subject, evidence("readers", strings.Join(d.Readers, ", "), "source", d.Source, "line", lineText(d.Line)),
			"%s%s %s", where, d.Behaviour, d.Effect)
		if d.Subject == senders.SubjectRecord {
			f.Section = "RFC 8461 §3.1"
		}
	}
	if !differ && j.body != nil {
		j.find(ReadersAgree, policy, nil, "strict and lenient readers read record and policy as RFC 8461 has it")
	}
}

// undotted are patterns without a dot at their ends: how readers match those that
// have one is not known, and nobody is accused of what is not known.
func undotted(patterns []string) []string {
	var all []string
	for _, p := range patterns {
		all = append(all, strings.TrimSuffix(p, "."))
	}
	return all
}

// judgeReaderLoss finds readers that take record and policy in mode enforce where
// RFC 8461 does not, or with other MX patterns, and so refuse MX hosts.
func (j *judgement) judgeReaderLoss() {
	if j.body == nil || !j.fetched {
		return
	}
	rfc := j.policy != nil && j.policy.Mode == mtasts.ModeEnforce && j.record != nil
	refused := make(map[string][]string) // what is refused → by whom
	for _, r := range senders.Readers() {
		if !slices.Contains([]string{senders.GoMTASTS, senders.Resolver, senders.Mox}, r.Name) {
			continue // the others stand for several
		}
		reading := r.Read(j.ev.Record.Answer.TXT(), j.body)
		if !reading.Record.OK || !reading.Policy.OK || reading.Policy.Mode != string(mtasts.ModeEnforce) {
			continue
		}
		var hosts []string
		for _, h := range j.ev.MX.Hosts {
			if matching(undotted(reading.Policy.MX), h.Name) == "" && !(rfc && matching(j.policy.MX, h.Name) == "") {
				hosts = append(hosts, h.Name)
			}
		}
		if !rfc {
			hosts = append(hosts, j.noTLS...)
		}
		if len(hosts) > 0 {
			what := list(hosts)
			refused[what] = append(refused[what], r.Name)
		}
	}
	for _, what := range slices.Sorted(maps.Keys(refused)) {
		by := strings.Join(refused[what], ", ")
		j.find(ReadersLose, mtasts.PolicyURL(j.ev.Domain), evidence("readers", by), "%s read mode enforce in it, and refuse %s", by, what)
	}
}
