package check

import (
	"fmt"
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
	if !differ {
		j.find(ReadersAgree, policy, nil, "strict and lenient readers read record and policy as RFC 8461 has it")
	}
}
