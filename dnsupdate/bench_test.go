package dnsupdate_test

import (
	"fmt"
	"os/exec"
	"strings"
	"testing"

	"github.com/stshost/stshost/dnsupdate"
	"github.com/stshost/stshost/internal/dnstest"
)

// BenchmarkPush changes one record at a real Knot by signed updates over TCP,
// one after another, beside nsupdate with the same changes from one script.
// A push also reads what stands there before it writes; nsupdate does not.
func BenchmarkPush(b *testing.B) {
	s := dnstest.StartKnot(b, zone)
	texts := []string{first, second}
	b.Run("stshost", func(b *testing.B) {
		settings := map[string]string{"server": s.Addr, "key_name": s.TSIGName, "key_alg": s.TSIGAlgorithm, "key": s.TSIGSecret}
		var u *dnsupdate.Updater
		for i := 0; b.Loop(); i++ {
			if i%10 == 0 { // a new account may do this much before it is paced
				u = open(b, dnsupdate.Config{
					Accounts: map[string]dnsupdate.Account{account: {Provider: "rfc2136", Settings: settings}},
					Resolver: newResolver(b, s.Addr, s.Port),
				}).Updater
			}
			if err := u.Push(b.Context(), target("stshost"), texts[i%2]); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("nsupdate", func(b *testing.B) {
		program := dnstest.RequireServer(b, "nsupdate", "bind9-dnsutils")
		host, port, _ := strings.Cut(s.Addr, ":")
		var script strings.Builder
		fmt.Fprintf(&script, "server %s %s\nkey %s:%s %s\nzone %s\n", host, port, s.TSIGAlgorithm, s.TSIGName, s.TSIGSecret, zone)
		for i := range b.N {
			fmt.Fprintf(&script, "update delete _mta-sts.nsupdate.%s TXT\nupdate add _mta-sts.nsupdate.%s 300 TXT %q\nsend\n", zone, zone, texts[i%2])
		}
		cmd := exec.CommandContext(b.Context(), program, "-v")
		cmd.Stdin = strings.NewReader(script.String())
		b.ResetTimer()
		if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
			b.Fatalf("%v: %s", err, out)
		}
	})
}
