package senders

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/net/idna"
	"pgregory.net/rapid"

	"github.com/stshost/stshost/mtasts"
)

func TestDeviations(t *testing.T) {
	const (
		goSource       = goMTASTSSource + ", readPolicy"
		resolverPolicy = resolverSource + ", parse_mta_sts_policy and resolve"
	)
	tests := []struct {
		name string
		txts []string
		body string
		want []Deviation
	}{
		{"what all take", []string{goodRecord}, goodBody, nil},
		{"nothing", nil, "", nil},
		{"an error page", []string{"v=spf1 -all"}, "<!DOCTYPE html>\n<p>404: Not Found</p>\n", nil},
		{"blank line", nil, goodBody + "\r\n", []Deviation{{
			Subject: SubjectPolicy, Line: 5,
			Behaviour: "a reader that passes over blank lines",
			Effect:    "takes this policy although RFC 8461 §3.2 does not",
			Readers:   []string{Lenient, Resolver},
			Source:    goMTASTSSource + " or " + resolverSource + "; " + resolverPolicy,
		}}},
		{"URL in a note", nil, goodBody + "note: https://example.com/\r\n", []Deviation{{
			Subject: SubjectPolicy, Line: 5,
			Behaviour: "a reader that rejects unknown keys", Effect: "ignores this policy", Harmful: true,
			Readers: []string{Strict}, Source: checkdmarcSource + ", parse_mta_sts_policy",
		}, {
			Subject: SubjectPolicy, Line: 5,
			Behaviour: "a reader that rejects a colon in a value", Effect: "ignores this policy", Harmful: true,
			Readers: []string{GoMTASTS}, Source: goSource,
		}}},
		{"two modes", nil, goodBody + "mode: testing\r\n", []Deviation{{
			Subject: SubjectPolicy, Line: 5,
			Behaviour: "a reader that rejects a repeated key", Effect: "ignores this policy", Harmful: true,
			Readers: []string{Strict}, Source: checkdmarcSource + ", parse_mta_sts_policy",
		}, {
			Subject: SubjectPolicy, Line: 5,
			Behaviour: "a reader that takes the last of a repeated key",
			Effect:    "reads mode testing where RFC 8461 reads enforce", Harmful: true,
			Readers: []string{Lenient, GoMTASTS, Resolver},
			Source:  goMTASTSSource + " or " + resolverSource + "; " + goSource + "; " + resolverPolicy,
		}}},
		{"beyond ASCII", nil, strings.Replace(goodBody, "max_age", "mx: mx.bücher.example\r\nmax_age", 1), []Deviation{{
			Subject: SubjectPolicy, Line: 4,
			Behaviour: "a reader that takes an mx that is not in A-labels",
			Effect:    "takes this policy although RFC 8461 §3.2 does not",
			Readers:   []string{Lenient, GoMTASTS, Resolver},
			Source:    goMTASTSSource + " or " + resolverSource + "; " + goSource + "; " + resolverPolicy,
		}}},
		{"another's TXT record", []string{"hello", goodRecord}, goodBody, []Deviation{{
			Subject:   SubjectRecord,
			Behaviour: "a reader that wants no other TXT record at the name, whatever it is",
			Effect:    "finds no valid record, and so no policy", Harmful: true,
			Readers: []string{Strict, GoMTASTS}, Source: goMTASTSSource + ", readDNSRecord",
		}}},
		{"two ids", []string{"v=STSv1; id=a1; id=a2;"}, goodBody, []Deviation{{
			Subject:   SubjectRecord,
			Behaviour: "a reader that rejects a repeated id", Effect: "finds no valid record, and so no policy", Harmful: true,
			Readers: []string{Strict, Mox}, Source: moxSource + ", mtasts.ParseRecord and LookupRecord",
		}, {
			Subject:   SubjectRecord,
			Behaviour: "a reader that takes the last id of a record", Effect: `reads id "a2" where RFC 8461 reads "a1"`, Harmful: true,
			Readers: []string{Lenient, GoMTASTS, Resolver},
			Source: goMTASTSSource + " or " + resolverSource + "; " + goMTASTSSource + ", readDNSRecord; " +
				resolverSource + ", parse_mta_sts_record and resolve",
		}}},
	}
	for _, tt := range tests {
		if diff := cmp.Diff(tt.want, Deviations(tt.txts, []byte(tt.body))); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

// A body beyond ASCII is well with a charset, and not without.
func TestDeviationsForWantOfACharset(t *testing.T) {
	got := Deviations(nil, []byte(goodBody+"note: Grüße\r\n"))
	at := slices.IndexFunc(got, func(d Deviation) bool { return slices.Contains(d.Readers, Resolver) })
	if at < 0 || got[at].Effect != "ignores this policy unless its Content-Type says charset=utf-8" || !got[at].Harmful {
		t.Errorf("Deviations = %+v; want what %s does without a charset", got, Resolver)
	}
}

// On what stshost itself renders and announces readers do not differ.
func TestNoDeviationsOnWhatIsRendered(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		policy := policies().Draw(t, "policy")
		body, err := policy.Render()
		if err != nil {
			t.Fatalf("Render(%+v): %v", policy, err)
		}
		now := time.Unix(rapid.Int64Range(0, 1<<32).Draw(t, "now"), 0)
		record := mtasts.Record{ID: mtasts.NewID(now, body)}
		if got := Deviations([]string{record.String()}, body); got != nil {
			t.Errorf("Deviations(%q, %q) = %+v; want none", record, body, got)
		}
	})
}

// Where a reading differs from that of RFC 8461 a behaviour says why, and
// where none differs nothing is said.
func TestEveryDifferenceIsExplained(t *testing.T) {
	for name, body := range bodies() {
		checkExplained(t, name, nil, body)
	}
	for name, txts := range records() {
		checkExplained(t, name, txts, "")
	}
	if t.Failed() {
		return
	}
	rapid.Check(t, func(t *rapid.T) {
		checkExplained(t, "drawn", oddRecords().Draw(t, "txts"), oddBodies().Draw(t, "body"))
	})
}

func checkExplained(t errorer, name string, txts []string, body string) {
	t.Helper()
	told := map[string]bool{}
	for _, d := range Deviations(txts, []byte(body)) {
		if d.Behaviour == "a reader that " || d.Effect == "" || d.Source == "" || len(d.Readers) == 0 {
			t.Errorf("%s: %+v is not complete", name, d)
		}
		if strings.HasSuffix(d.Effect, "charset=utf-8") {
			continue
		}
		for _, r := range d.Readers {
			told[d.Subject+r] = true
		}
	}
	readers := Readers()
	rfc := readers[0].Read(txts, []byte(body))
	for _, r := range readers[1:] {
		got := r.Read(txts, []byte(body))
		if !got.Policy.OK && got.Policy.Why == "" || !got.Record.OK && got.Record.Why == "" {
			t.Errorf("%s: %s does not say why: %+v", name, r.Name, got)
		}
		record := got.Record.OK != rfc.Record.OK || got.Record.ID != rfc.Record.ID
		policy := got.Policy.OK != rfc.Policy.OK || got.Policy.Mode != rfc.Policy.Mode || got.Policy.MaxAge != rfc.Policy.MaxAge ||
			!slices.EqualFunc(got.Policy.MX, rfc.Policy.MX, strings.EqualFold)
		if record != told[SubjectRecord+r.Name] || policy != told[SubjectPolicy+r.Name] {
			t.Errorf("%s: %s on %q and %.300q: differs in record %v, in policy %v; told %v:\n%+v\n%+v",
				name, r.Name, txts, body, record, policy, told, got, rfc)
		}
	}
}

// What any reader ignores that exists, Strict ignores, and all that it takes
// RFC 8461 takes.
func TestStrictIsStrictest(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		body, txts := oddBodies().Draw(t, "body"), oddRecords().Draw(t, "txts")
		strict := strictReader().Read(txts, []byte(body))
		for _, r := range Readers() {
			got := r.Read(txts, []byte(body))
			if r.Name != Lenient && (strict.Policy.OK && !got.Policy.OK || strict.Record.OK && !got.Record.OK) {
				t.Errorf("%q, %q: strict takes what %s does not: %+v", txts, body, r.Name, got)
			}
		}
	})
}

// Lenient takes the case of letters as mailauth does, which none of the
// readers that the tests run does.
func TestLenientIgnoresCase(t *testing.T) {
	body := []byte("\ufeffVERSION: STSv1\n Mode : Enforce\n\nMX: mx.example.com\nMAX_AGE: -1\n")
	want := PolicyReading{OK: true, Mode: "enforce", MX: []string{"mx.example.com"}, MaxAge: -1}
	if diff := cmp.Diff(want, lenientReader().ReadPolicy(body)); diff != "" {
		t.Errorf("ReadPolicy (-want +got):\n%s", diff)
	}
	if got := lenientReader().ReadRecord([]string{"grüße", "ID = a-b; V=stsv1"}); got != (RecordReading{OK: true, ID: "a-b"}) {
		t.Errorf("ReadRecord = %+v; want id a-b", got)
	}
}

// policies generates what stshost may be told to serve.
func policies() *rapid.Generator[mtasts.Policy] {
	return rapid.Custom(func(t *rapid.T) mtasts.Policy {
		policy := mtasts.Policy{
			Mode:   rapid.SampledFrom([]mtasts.Mode{mtasts.ModeEnforce, mtasts.ModeTesting, mtasts.ModeNone}).Draw(t, "mode"),
			MaxAge: time.Duration(rapid.Int64Range(0, maxAge).Draw(t, "max_age")) * time.Second,
		}
		atLeast := 1
		if policy.Mode == mtasts.ModeNone {
			atLeast = 0
		}
		policy.MX = rapid.SliceOfN(patterns(), atLeast, 12).Draw(t, "mx")
		return policy
	})
}

// patterns generates canonical MX patterns, but for names with hyphens in the
// third and fourth place: those mox refuses, and Deviations says so.
func patterns() *rapid.Generator[string] {
	label := rapid.OneOf(
		rapid.StringMatching(`[A-Za-z]([A-Za-z0-9-]{0,61}[A-Za-z0-9])?`),
		rapid.SampledFrom([]string{"mx", "1", "bücher", "ΒΌΛΟΣ", "例え", "xn--bcher-kva"}),
	)
	return rapid.Custom(func(t *rapid.T) string {
		name := strings.Join(rapid.SliceOfN(label, 1, 4).Draw(t, "labels"), ".") + ".example"
		pattern, err := mtasts.ParsePattern(name)
		if err != nil {
			t.Skip(err)
		}
		if _, err := idna.Lookup.ToASCII(pattern); err != nil {
			t.Skip(err)
		}
		return rapid.SampledFrom([]string{"", "*."}).Draw(t, "wildcard") + pattern
	})
}
