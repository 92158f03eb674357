package check

import (
	"slices"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/stshost/stshost/internal/lab"
	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
)

// Whatever stands in record, policy and TLSRPT record, the report is sound:
// senders are said to enforce or test only what RFC 8461 has them take, and
// every finding is one of the catalogue.
func FuzzEvaluate(f *testing.F) {
	root, err := lab.NewRoot("Evidence Root")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(announcement(goodPolicy), goodPolicy, "v=TLSRPTv1; rua=mailto:a@example.test")
	f.Add("v=STSv1; id=1;", "version: STSv1\nmode: testing\nmx: *.example.test\nmax_age: 0\n", "v=TLSRPTv1;")
	f.Add("v=STSv1;id=", "\n\n: :\nmode: none", "")
	index := indexOf(Rules())
	inOrder := exhibits{f, root, time.Now()}.inOrder()
	f.Fuzz(func(t *testing.T, record, policy, tlsrpt string) {
		ev := inOrder
		fetch := *ev.Host.Addresses[0].Main
		fetch.Body = []byte(policy)
		ev.Host.Addresses = slices.Clone(ev.Host.Addresses)
		ev.Host.Addresses[0].Main = &fetch
		ev.Record.Answer.Records = []dns.RR{&dns.TXT{Hdr: dns.RR_Header{Name: "_mta-sts.example.test."}, Txt: []string{record}}}
		ev.TLSRPT.Records = []dns.RR{&dns.TXT{Txt: []string{tlsrpt}}}
		r := Evaluate(ev)
		for _, f := range r.Findings {
			if _, ok := index[f.Code]; !ok || f.Text == "" || f.Subject == "" || f.Section == "" {
				t.Errorf("finding %+v", f)
			}
		}
		if len(r.Findings) > 80 {
			t.Errorf("%d findings", len(r.Findings))
		}
		_, err := mtasts.FindRecord(ev.Record.Answer.TXT())
		p, policyErr := mtasts.ParsePolicy([]byte(policy))
		takes := err == nil && policyErr == nil && p.Mode != mtasts.ModeNone
		if acts := r.Verdict == state.VerdictEnforce || r.Verdict == state.VerdictTest || r.Verdict == state.VerdictLoseMail; acts != takes {
			t.Errorf("verdict %s, record %v, policy %v", r.Verdict, err, policyErr)
		}
	})
}
