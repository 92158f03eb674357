package server_test

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/server"
)

func TestExplain(t *testing.T) {
	next := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	base := server.DomainStatus{Domain: "a.example", Host: "mta-sts.a.example", ID: "someid", DNSAccount: "main", DNSProvider: "cloudflare", InConfig: true, NextRun: next}
	for _, tc := range []struct {
		name                      string
		edit                      func(*server.DomainStatus)
		summary, blocking, remedy string // each is in the text; "" means that the text is empty
	}{
		{"new", func(d *server.DomainStatus) {}, "not been looked at", "still to come", "stshost serve"},
		{"new, in its turn", func(d *server.DomainStatus) { d.ConfigWaits = next }, "not been looked at", "its turn since 2026-01-02", "new and changed domains go before"},
		{"changed", func(d *server.DomainStatus) { d.Step, d.Mode, d.ConfigWaits = state.Confirmed, "enforce", next },
			"A change of the config waits to be taken up since 2026-01-02", "other domains", "wait"},
		{"changed, and in trouble before", func(d *server.DomainStatus) {
			d.Step, d.LastError, d.Remedy, d.ConfigWaits = state.Confirmed, "two records", "remove one", next
		}, "waits to be taken up", "two records", "remove one"},
		{"waiting for DNS", func(d *server.DomainStatus) { d.Step = state.WaitingDNS }, "does not lead to this server", "no address record", "stshost records a.example"},
		{"waiting for DNS, found out", func(d *server.DomainStatus) {
			d.Step, d.LastError, d.Remedy = state.WaitingDNS, "mta-sts.a.example leads to 192.0.2.9", "point it here"
		}, "does not lead to this server", "leads to 192.0.2.9", "point it here"},
		{"ordering", func(d *server.DomainStatus) { d.Step = state.WaitingCertificate }, "leads here", "under way", "wait"},
		{"CA refused", func(d *server.DomainStatus) {
			d.Step, d.CertificateProblem, d.CertificateNextTry = state.WaitingCertificate, "CAA forbids", next
		}, "not issued", "CAA forbids", "`stshost reload` has it tried at once"},
		{"serving", func(d *server.DomainStatus) { d.Step = state.Serving }, "not announced before", "proof", "[prove] via"},
		{"proven", func(d *server.DomainStatus) { d.Step = state.Proven }, "does not announce it yet", "pushed", `"main"`},
		{"proven, by hand", func(d *server.DomainStatus) { d.Step, d.DNSProvider = state.Proven, "print" }, "does not announce it yet", "by hand", `_mta-sts.a.example TXT "v=STSv1; id=someid;"`},
		{"announced", func(d *server.DomainStatus) { d.Step = state.Announced }, "not every authoritative server", "another record or none", "v=STSv1; id=someid;"},
		{"testing", func(d *server.DomainStatus) { d.Step, d.Mode = state.Confirmed, "testing" }, "in mode testing", "", ""},
		{"enforce", func(d *server.DomainStatus) { d.Step, d.Mode = state.Confirmed, "enforce" }, "over verified TLS", "", ""},
		{"none", func(d *server.DomainStatus) { d.Step, d.Mode = state.Confirmed, "none" }, "has left MTA-STS", "", ""},
		{"drift", func(d *server.DomainStatus) {
			d.Step, d.Mode, d.LastError, d.Remedy = state.Confirmed, "enforce", "two records", "remove one"
		}, "gone wrong since", "two records", "remove one"},
		{"renewal fails", func(d *server.DomainStatus) {
			d.Step, d.Mode, d.CertificateProblem, d.CertificateNotAfter, d.CertificateNextTry = state.Confirmed, "enforce", "CAA forbids", next, next
		}, "could not be renewed", "CAA forbids (the certificate is valid until 2026-01-02", "`stshost reload` has it tried at once"},
		{"renewal fails for the config", func(d *server.DomainStatus) {
			d.Step, d.Mode, d.CertificateProblem, d.CertificateRemedy = state.Confirmed, "enforce", "no such profile", "correct profile in [acme] and restart"
		}, "could not be renewed", "no such profile", "correct profile in [acme] and restart"},
		{"MX hosts fail", func(d *server.DomainStatus) {
			d.Step, d.Mode, d.MX, d.MXTrouble, d.MXRemedy = state.Confirmed, "enforce", "mx1 offers no STARTTLS", true, "switch it on"
		}, "not every MX host is as it promises", "mx1 offers no STARTTLS", "switch it on"},
		{"MX hosts fail, and more", func(d *server.DomainStatus) {
			d.Step, d.Mode, d.MX, d.MXTrouble, d.LastError, d.Remedy = state.Confirmed, "enforce", "mx1 offers no STARTTLS", true, "two records", "remove one"
		}, "gone wrong since", "two records", "remove one"},
		{"MX hosts pass", func(d *server.DomainStatus) { d.Step, d.Mode, d.MX = state.Confirmed, "enforce", "all pass" }, "over verified TLS", "", ""},
		{"none, adopted", func(d *server.DomainStatus) {
			d.Step, d.Mode, d.ModeSource = state.Confirmed, "none", "adopted"
		}, "has left MTA-STS", "", `mode = "testing"`},
		{"own certificate expired", func(d *server.DomainStatus) {
			d.Step, d.CertificateOwn, d.CertificateProblem = state.WaitingCertificate, "/own.pem", "it expired yesterday"
		}, "is your own, and senders would refuse it", "it expired yesterday", "write a renewed certificate"},
		{"orphan with an own certificate", func(d *server.DomainStatus) {
			d.Step, d.InConfig, d.CertificateOwn = state.Confirmed, false, "/own.pem"
		}, "which nobody renews but you", "", ""},
		{"orphan behind a proxy", func(d *server.DomainStatus) {
			d.Step, d.InConfig, d.CertificateExternal = state.Confirmed, false, true
		}, "to the reverse proxy, which has its certificate,", "", ""},
		{"orphan", func(d *server.DomainStatus) { d.Step, d.InConfig = state.Confirmed, false }, "no longer in the configuration. Its policy goes on being served and its certificate renewed", "", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			d := base
			tc.edit(&d)
			e := server.Explain(d)
			for _, c := range []struct{ what, got, want string }{{"summary", e.Summary, tc.summary}, {"blocking", e.Blocking, tc.blocking}, {"remedy", e.Remedy, tc.remedy}} {
				if !strings.Contains(c.got, c.want) || (c.want == "") != (c.got == "") {
					t.Errorf("%s: %q, want %q in it", c.what, c.got, c.want)
				}
			}
			again := next // of the domain itself, which is no look at its MX hosts
			if e.Blocking != "" && e.Blocking == d.MX {
				again = d.MXNext
			}
			if e.Domain != d.Domain || e.Step != d.Step || !e.NextRun.Equal(again) {
				t.Errorf("%+v", e)
			}
		})
	}
}

func TestFormatZone(t *testing.T) {
	got := server.FormatZone([]server.DNSRecord{
		{Name: "mta-sts.a.example", Type: "A", TTL: 300, Data: "192.0.2.1", Purpose: "leads here"},
		{Name: "mta-sts.b.example", Type: "CNAME", TTL: 60, Data: "host.example."},
		{Name: "_mta-sts.a.example", Type: "TXT", TTL: 300, Data: `v=STSv1; "\`},
		{Name: "long.example", Type: "TXT", TTL: 1, Data: strings.Repeat("x", 256)},
		{Name: "new.example", Type: "AAAA", TTL: 1},
		{Name: "_mta-sts.b.example", Type: "TXT", TTL: 1, Problem: "b's name\nis a's", Purpose: "announces"},
	})
	want := "; leads here (entered by hand)\nmta-sts.a.example. 300 IN A 192.0.2.1\n" +
		"mta-sts.b.example. 60 IN CNAME host.example.\n" +
		`_mta-sts.a.example. 300 IN TXT "v=STSv1; \"\\"` + "\n" +
		`long.example. 1 IN TXT "` + strings.Repeat("x", 255) + `" "x"` + "\n" +
		"; new.example. IN AAAA is not known yet\n" +
		"; no TXT record for _mta-sts.b.example: b's name is a's\n"
	if got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

func TestPolicies(t *testing.T) {
	p := server.NewPolicies()
	lookup := func(host, domain, body string, ok bool) {
		t.Helper()
		d, b, o := p.Lookup(host)
		if d != domain || string(b) != body || o != ok || p.Known(host) != ok {
			t.Errorf("%s: %q %q %v, known %v", host, d, b, o, p.Known(host))
		}
	}
	body := []byte("one")
	p.Set("a.example", body)
	body[0] = 'X' // the caller's bytes are the caller's
	lookup("mta-sts.a.example", "a.example", "one", true)
	lookup("a.example", "", "", false)
	p.SetHosts(map[string]struct{}{"mta-sts.b.example": {}})
	lookup("mta-sts.a.example", "a.example", "one", true)
	lookup("mta-sts.b.example", "b.example", "", true)
	p.SetAll(map[string][]byte{"b.example": []byte("two")})
	lookup("mta-sts.a.example", "", "", false)
	lookup("mta-sts.b.example", "b.example", "two", true)
	p.Remove("b.example")
	lookup("mta-sts.b.example", "b.example", "", true)
	p.SetHosts(nil)
	lookup("mta-sts.b.example", "", "", false)
}

func TestNewRefuses(t *testing.T) {
	for name, cfg := range map[string]server.Config{
		"no policies": {}, "negative limit": {Policies: server.NewPolicies(), MaxConnections: -1},
	} {
		if _, err := server.New(cfg); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
	reg := prometheus.NewRegistry()
	cfg := server.Config{Policies: server.NewPolicies(), Registry: reg}
	if _, err := server.New(cfg); err != nil {
		t.Fatal(err)
	}
	var already prometheus.AlreadyRegisteredError
	if _, err := server.New(cfg); !errors.As(err, &already) {
		t.Errorf("two servers with one registry: %v", err)
	}
	s, err := server.New(server.Config{Policies: server.NewPolicies()})
	if err != nil {
		t.Fatal(err)
	}
	if err := s.ServeAdmin(t.Context(), listen(t)); err == nil {
		t.Error("admin without backend")
	}
}

// TestNews shows that a domain whose change waits does not look as if all were
// well, nor as if the change had been the trouble.
func TestNews(t *testing.T) {
	waits := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for want, d := range map[string]server.DomainStatus{
		"":          {Step: state.Confirmed, InConfig: true},
		"two found": {Step: state.Confirmed, InConfig: true, LastError: "two found"},
		"mx1 fails": {Step: state.Confirmed, InConfig: true, MX: "mx1 fails", MXTrouble: true},
		"no certificate yet; and of the MX hosts: mx1 fails": {Step: state.Confirmed, InConfig: true, MX: "mx1 fails", MXTrouble: true, LastError: "no certificate yet"},
		"mx1 fails; and: no certificate yet": {
			Step: state.Confirmed, InConfig: true, MX: "mx1 fails", MXTrouble: true, MXSeverity: state.SeverityCritical, LastError: "no certificate yet",
		},
		"mx1 fails; and: the certificate could not be renewed: CAA forbids": {
			Step: state.Confirmed, InConfig: true, MX: "mx1 fails", MXTrouble: true, MXSeverity: state.SeverityCritical,
			CertificateProblem: "CAA forbids", CertificateNotAfter: waits,
		},
		"waits to be looked at for the first time":                            {InConfig: true, ConfigWaits: waits},
		"a change of the config waits to be taken up":                         {Step: state.Confirmed, InConfig: true, ConfigWaits: waits},
		"a change of the config waits to be taken up; before: two found":      {Step: state.Confirmed, InConfig: true, ConfigWaits: waits, LastError: "two found"},
		"no longer in the config; served on for senders that hold its policy": {Step: state.Confirmed},
	} {
		if got := d.News(); got != want {
			t.Errorf("%q, want %q", got, want)
		}
	}
}

// MX hosts that fail are explained beside whatever else is wrong, with a remedy
// and a time of their own.
func TestExplainMXHosts(t *testing.T) {
	next, mxNext := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), time.Date(2026, 1, 2, 9, 0, 0, 0, time.UTC)
	base := server.DomainStatus{
		Domain: "a.example", Host: "mta-sts.a.example", Step: state.Confirmed, Mode: "enforce", InConfig: true, NextRun: next,
		MX: "mx1 fails", MXTrouble: true, MXRemedy: "mend mx1", MXNext: mxNext,
	}
	e := server.Explain(base)
	if e.Blocking != "mx1 fails" || e.Remedy != "mend mx1" || !e.NextRun.Equal(mxNext) || e.MX != "" {
		t.Errorf("nothing else: %+v", e)
	}
	for name, edit := range map[string]func(*server.DomainStatus){
		"an error":               func(d *server.DomainStatus) { d.LastError, d.Remedy = "two records", "remove one" },
		"no renewal":             func(d *server.DomainStatus) { d.CertificateProblem, d.CertificateNotAfter = "CAA forbids", next },
		"a step on the way":      func(d *server.DomainStatus) { d.Step = state.Serving },
		"a change of the config": func(d *server.DomainStatus) { d.ConfigWaits = next },
	} {
		d := base
		edit(&d)
		e := server.Explain(d)
		if e.Blocking == "" || e.Blocking == "mx1 fails" || !e.NextRun.Equal(next) || e.MX != "mx1 fails" || e.MXRemedy != "mend mx1" || !e.MXNext.Equal(mxNext) {
			t.Errorf("%s: %+v", name, e)
		}
	}
	base.InConfig = false
	if e := server.Explain(base); e.MX != "" || e.Blocking != "" {
		t.Errorf("it has left: %+v", e)
	}
}
