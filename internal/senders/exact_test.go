package senders

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"pgregory.net/rapid"
)

// What the table of go-mtasts predicts is what go-mtasts does.
func TestGoMTASTSIsAsPredicted(t *testing.T) {
	judge := judgeByGoMTASTS(t)
	model := goMTASTSReader()
	for name, body := range bodies() {
		got := judge([]string{goodRecord}, []byte(body))
		comparePolicy(t, name, body, model.policy([]byte(body), utf8Label), got)
	}
	for name, txts := range records() {
		compareRecord(t, name, txts, model.ReadRecord(txts), judge(txts, []byte(goodBody)))
	}
	if t.Failed() {
		return
	}
	rapid.Check(t, func(t *rapid.T) {
		body := oddBodies().Draw(t, "body")
		comparePolicy(t, "drawn", body, model.policy([]byte(body), utf8Label), judge([]string{goodRecord}, []byte(body)))
		txts := oddRecords().Draw(t, "txts")
		compareRecord(t, "drawn", txts, model.ReadRecord(txts), judge(txts, []byte(goodBody)))
	})
}

// What the table of postfix-mta-sts-resolver predicts is what that program
// does, with and without a charset.
func TestResolverIsAsPredicted(t *testing.T) {
	judge := judgeByResolver(t)
	model := resolverReader()
	labels := map[string]string{"": "text/plain", utf8Label: "text/plain; charset=utf-8"}
	for name, body := range bodies() {
		for charset, contentType := range labels {
			got := judge([]string{goodRecord}, []byte(body), contentType)
			comparePolicy(t, name+" as "+contentType, body, model.policy([]byte(body), charset), got)
		}
	}
	for name, txts := range records() {
		compareRecord(t, name, txts, model.ReadRecord(txts), judge(txts, []byte(goodBody), "text/plain"))
	}
	if t.Failed() {
		return
	}
	rapid.Check(t, func(t *rapid.T) {
		body := oddBodies().Draw(t, "body")
		for charset, contentType := range labels {
			got := judge([]string{goodRecord}, []byte(body), contentType)
			comparePolicy(t, "drawn as "+contentType, body, model.policy([]byte(body), charset), got)
		}
		txts := oddRecords().Draw(t, "txts")
		compareRecord(t, "drawn", txts, model.ReadRecord(txts), judge(txts, []byte(goodBody), "text/plain"))
	})
}

// errorer is what a test and a rapid one have in common.
type errorer interface {
	Helper()
	Errorf(format string, args ...any)
}

func comparePolicy(t errorer, name, body string, read policyRead, got judgement) {
	t.Helper()
	want := read.PolicyReading
	want.Why = ""
	if diff := cmp.Diff(got.policy, want, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("%s: %.300q is read otherwise than predicted (-read +predicted: %s):\n%s", name, body, read.Why, diff)
	}
}

func compareRecord(t errorer, name string, txts []string, want RecordReading, got judgement) {
	t.Helper()
	if got.recordOK != want.OK || got.id != want.ID {
		t.Errorf("%s: %q: read %v with id %q; predicted %+v", name, txts, got.recordOK, got.id, want)
	}
}
