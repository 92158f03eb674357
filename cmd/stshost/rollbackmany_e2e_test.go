package main

import (
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
	"github.com/stshost/stshost/server"
)

// The MX hosts that hundreds of domains share break, and one command takes all of
// them back to testing that senders may refuse: what is on its way there, too, and
// nothing else. The zone changes once for each that was in enforce.
func TestRollbackOfHundredsOfDomains(t *testing.T) {
	t.Parallel()
	const full, going, quiet = 120, 50, 30
	const pinned, out = "pinned.test", "out.test"
	var domains []string
	for i := range full + going + quiet {
		domains = append(domains, fmt.Sprintf("d%04d.test", i))
	}
	domains = append(domains, pinned, out)
	w := staged(newWorld(t, domains...))
	w.level = slog.LevelWarn
	for i := range w.domains {
		w.domains[i].mx = []string{"mx1.mail.test", "mx2.mail.test"}
	}
	enforced, others := w.domains[:full], w.domains[full:]
	w.domains[full+going+quiet].lines = "mode = \"enforce\"\nmax_age = \"28d\"\n"
	w.bringCertificates(domains)
	w.announced(mtasts.ModeEnforce, 4*oneWeek, append(enforced[:full:full], others[going+quiet:]...)...)
	w.announced(mtasts.ModeTesting, oneWeek, others[:going+quiet]...)
	w.start()
	if _, err := w.client().Retire(t.Context(), out); err != nil {
		t.Fatal(err)
	}
	onTheirWay := []string{"rollout", "--accept-no-reports", "--detach"}
	for _, d := range others[:going] {
		onTheirWay = append(onTheirWay, d.name)
	}
	says := func(want string, args ...string) {
		t.Helper()
		// A domain that is pinned in enforce stays there, which is no success of a rollback.
		got, err := w.cli(args...)
		if !strings.Contains(got, want) || (err != nil) != slices.Contains(args, "--yes") {
			t.Errorf("%s says\n%s\nwant %q", args, got, want)
		}
	}
	says("50 domains: 50 started\n", onTheirWay...)
	says("202 domains: 50 paused, 150 not on their way, 1 pinned in the config, 1 leaving MTA-STS\n", "rollout", "pause", "--all")
	says("2 domains: 2 resumed\n", "rollout", "resume", others[0].name, "mta-sts."+others[1].name)
	says("202 domains: 48 resumed, 2 on their way already, 150 not on their way, 1 pinned in the config, 1 leaving MTA-STS\n", "rollout", "resume", "--all")
	w.await(out, "confirmed in mode none", func(d server.DomainStatus) bool { return d.Step == state.Confirmed && d.Mode == "none" })

	updates, began := len(w.lab.DNS.Updates()), time.Now()
	says("202 domains: 170 going back to testing, 30 in testing already, 1 pinned in the config, 1 leaving MTA-STS\n"+
		"The server goes on by itself; `stshost status` shows how far each domain is.\n", "rollback", "--all", "--yes")
	t.Logf("the server had all in hand after %.1f s", time.Since(began).Seconds())
	eventually(t, func() error {
		all, err := w.client().Domains(t.Context())
		if err != nil {
			return err
		}
		for _, d := range all {
			mode := map[string]string{pinned: "enforce", out: "none"}[d.Domain]
			if mode == "" {
				mode = "testing"
			}
			if d.Mode != mode || d.Step != state.Confirmed || d.Goal == "enforce" || !d.ConfigWaits.IsZero() {
				return fmt.Errorf("%s is in %s, %s", d.Domain, d.Mode, d.Step)
			}
		}
		return nil
	})
	t.Logf("and all were confirmed after %.1f s", time.Since(began).Seconds())
	for _, d := range []string{enforced[0].name, enforced[full-1].name, others[0].name, pinned} {
		w.sees(w.confirmed(d))
	}
	if n := len(w.lab.DNS.Updates()) - updates; n != full {
		t.Errorf("%d updates of the DNS for %d domains that were in enforce", n, full)
	}
	says("202 domains: 200 in testing already, 1 pinned in the config, 1 leaving MTA-STS\n", "rollback", "--all", "--yes")

	// What is named is taken back wherever it is.
	says("2 domains: 1 going back to testing, 1 in testing already\n", "rollback", out, enforced[0].name)
	w.sees(w.await(out, "testing", func(d server.DomainStatus) bool { return d.Step == state.Confirmed && d.Mode == "testing" }))
}
