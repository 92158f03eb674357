// Package senders predicts how the readers of MTA-STS that exist in the field
// read a TXT record set and the body of a policy. RFC 8461 says what they
// should do; they differ in what they do with blank lines, colons in values,
// repeated keys and the like.
//
// A reader is a table of named behaviours (gomtasts.go, resolver.go, mox.go,
// general.go), each with what triggers it, laid over one way to walk through
// lines or fields (policy.go, record.go). Tests hold the tables of go-mtasts
// and of postfix-mta-sts-resolver against those programs themselves; mox is
// modelled after its source and is not run by the tests. The package is pure:
// no I/O, no clock.
package senders

import (
	"time"

	"github.com/stshost/stshost/mtasts"
)

// The readers, as Reader.Name and Deviation.Readers have them.
const (
	RFC      = "RFC 8461"
	Strict   = "strict"
	Lenient  = "lenient"
	GoMTASTS = "go-mtasts"
	Resolver = "postfix-mta-sts-resolver 1.1.2"
	Mox      = "mox"
)

// Reader is one reader of MTA-STS, or the model of one.
type Reader struct {
	Name   string // one of the constants, RFC first
	Source string // what it is modelled after: a section, or a program with its version

	record func(txts []string) recordRead
	policy func(body []byte, charset string) policyRead
}

// Readers returns all readers: RFC 8461 first, which is package mtasts
// itself, then the two extremes, then those that exist.
//
// Strict ignores whatever any other of them ignores, and what checkers refuse
// besides. Lenient tolerates most of what any of them tolerates.
func Readers() []Reader {
	return []Reader{rfcReader(), strictReader(), lenientReader(), goMTASTSReader(), resolverReader(), moxReader()}
}

// Reading is what one reader makes of a record set and a policy.
type Reading struct {
	Reader string // Reader.Name
	Record RecordReading
	Policy PolicyReading
}

// RecordReading is what a reader makes of the TXT records at
// _mta-sts.<domain>.
type RecordReading struct {
	OK  bool   // it finds one record that it takes
	ID  string // of that record
	Why string // why not, as what the reader does: "rejects blanks within a field"
}

// PolicyReading is what a reader makes of the body of a policy.
type PolicyReading struct {
	OK     bool     // it takes the policy
	Mode   string   // of the policy taken, as the reader holds it
	MX     []string // as the reader holds them: not all readers check or lower-case them
	MaxAge int64    // seconds; negative where a reader takes that
	Why    string   // why not, as what the reader does: "rejects blank lines"
}

// Read returns what r makes of both.
func (r Reader) Read(txts []string, body []byte) Reading {
	return Reading{Reader: r.Name, Record: r.ReadRecord(txts), Policy: r.ReadPolicy(body)}
}

// ReadRecord returns what r makes of the TXT records at _mta-sts.<domain>,
// each with its strings joined.
func (r Reader) ReadRecord(txts []string) RecordReading { return r.record(txts).RecordReading }

// ReadPolicy returns what r makes of the body of a policy that is served as
// "text/plain; charset=utf-8". [Deviations] also tells what a reader does
// otherwise if there is no charset.
func (r Reader) ReadPolicy(body []byte) PolicyReading { return r.policy(body, utf8Label).PolicyReading }

// utf8Label is the charset parameter of a Content-Type that names UTF-8, the
// charset of policies (RFC 8461 §3.2). "" is a Content-Type without one.
const utf8Label = "utf-8"

// rfcReader reads as RFC 8461 has it.
func rfcReader() Reader {
	return Reader{Name: RFC, Source: "RFC 8461 §3.1, §3.2", record: readRecordByRFC, policy: readPolicyByRFC}
}

func readRecordByRFC(txts []string) recordRead {
	record, err := mtasts.FindRecord(txts)
	if err != nil {
		return recordRead{RecordReading: RecordReading{Why: err.Error()}, err: err}
	}
	return recordRead{RecordReading: RecordReading{OK: true, ID: record.ID}}
}

func readPolicyByRFC(body []byte, _ string) policyRead {
	policy, err := mtasts.ParsePolicy(body)
	if err != nil {
		return policyRead{PolicyReading: PolicyReading{Why: err.Error()}, err: err}
	}
	return policyRead{PolicyReading: PolicyReading{
		OK:     true,
		Mode:   string(policy.Mode),
		MX:     policy.MX,
		MaxAge: int64(policy.MaxAge / time.Second),
	}}
}
