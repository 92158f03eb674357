package main

import (
	"database/sql"
	"net/http"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/stshost/stshost/internal/cloudflaretest"
	"github.com/stshost/stshost/internal/lab"
	"github.com/stshost/stshost/server"
)

// explains wants `stshost explain` to name the cause and to have a remedy.
func (w *world) explains(domain string, causes ...string) {
	w.t.Helper()
	out, err := exec.Command("stshost", "explain", domain, "--config", w.config()).CombinedOutput()
	if err != nil {
		w.t.Fatalf("explain: %v\n%s", err, out)
	}
	for _, cause := range append(causes, "What blocks it: ", "What to do: ") {
		if !strings.Contains(string(out), cause) {
			w.t.Errorf("explain does not say %q:\n%s", cause, out)
		}
	}
}

// serves wants the policy host to go on serving what it served before.
func (w *world) serves(d server.DomainStatus) {
	w.t.Helper()
	_, policy, err := w.reader().Fetch(w.t.Context(), d.Domain)
	if err != nil || policy != d.Body {
		w.t.Errorf("%s serves %q (%v), want %q", d.Host, policy, err, d.Body)
	}
}

func blockedBy(text string) func(server.DomainStatus) bool {
	return func(d server.DomainStatus) bool { return strings.Contains(d.LastError, text) }
}

func TestCADown(t *testing.T) {
	w := newWorld(t, example, "late.test")
	late := w.domains[1]
	w.domains = w.domains[:1]
	s := w.start()
	before := w.confirmed(example)

	up := w.lab.CA.Down()
	w.domains = append(w.domains, late)
	s.reload()
	w.await(late.name, "the CA's absence", func(d server.DomainStatus) bool { return d.CertificateProblem != "" })
	s.reconciler.Wake(late.name)
	w.await(late.name, "why there is no certificate", blockedBy("there is no certificate"))
	w.explains(late.name, "there is no certificate")
	w.serves(before)

	up()
	s.pass(2*time.Minute, late.name) // the backoff is a minute
	w.sees(w.confirmed(late.name))
}

// Whoever mended what the CA complained of does not wait for the next try.
func TestReloadTriesAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, example)
	undo := w.lab.CA.FailValidation("mta-sts." + example)
	s := w.start()
	failed := func(attempts int) {
		w.await(example, "a failure", func(server.DomainStatus) bool {
			job, err := s.store.CertJob(t.Context(), "mta-sts."+example)
			return err == nil && job.Attempts == attempts && !job.Running
		})
	}
	failed(1)
	s.pass(2*time.Minute, example)
	failed(2)
	s.reconciler.Wake(example)
	d := w.await(example, "why there is no certificate", blockedBy("there is no certificate"))
	w.explains(example, "`stshost reload` has it tried at once", "It is tried again at "+stamp(d.CertificateNextTry))
	undo()
	if out := w.stshost("reload"); !strings.Contains(out, "nothing changed in the config") || !strings.Contains(out, "are tried again: 1") {
		t.Errorf("reload says:\n%s", out)
	}
	w.sees(w.confirmed(example))
}

func TestCALimitsOrders(t *testing.T) {
	w := newWorld(t, example)
	undo := w.lab.CA.RateLimit(time.Second)
	s := w.start()
	d := w.await(example, "the CA's words", func(d server.DomainStatus) bool {
		return strings.Contains(d.CertificateProblem, "too many new orders")
	})
	if d.CertificateNextTry.IsZero() {
		t.Error("nobody says when the next try is")
	}
	s.reconciler.Wake(example)
	w.await(example, "the CA's words as the reason", blockedBy("too many new orders"))
	w.explains(example, "too many new orders")
	undo()
	s.pass(2*time.Minute, example)
	w.sees(w.confirmed(example))
}

func TestDNSServerRefuses(t *testing.T) {
	t.Parallel() // it waits more than it works
	w := newWorld(t, example)
	s := w.start()
	before := w.confirmed(example)
	undo := w.lab.DNS.Fail(lab.DNSFault{Updates: true, Rcode: dns.RcodeRefused})
	w.domains[0].mx = []string{"mx2.mail.test"}
	s.reload()
	d := w.await(example, "the refusal", func(d server.DomainStatus) bool {
		return d.LastError != "" && d.Body != before.Body
	})
	w.explains(example, "127.0.0.1")
	w.serves(d)
	undo()
	w.sees(w.confirmedAnew(before))
}

func TestCloudflareDown(t *testing.T) {
	t.Parallel() // it waits more than it works
	for name, failure := range map[string]func() *cloudflaretest.Failure{
		"HTML 502":                  cloudflaretest.BadGateway,
		"429":                       func() *cloudflaretest.Failure { return cloudflaretest.TooManyRequests("1") },
		"success:false, no errors ": cloudflaretest.FailureWithoutReason,
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorld(t, example)
			cf := cloudflaretest.Start(t, example)
			cf.Add(t, "A", "mta-sts."+example, "127.0.0.1")
			w.dnsAddr, w.dnsPort, w.transport = cf.DNSAddr, cf.DNSPort, cf.Transport()
			w.account = "provider = \"cloudflare\"\napi_token = \"" + cf.Token + "\"\n"
			cf.Fail(func(*http.Request) *cloudflaretest.Failure { return failure() })
			s := w.start()
			d := w.await(example, "Cloudflare's failure", blockedBy("loudflare"))
			w.explains(example, "loudflare")
			if _, body, _ := s.policies.Lookup(d.Host); string(body) != d.Body || d.Body == "" {
				t.Errorf("serves %q", body)
			}
			cf.Fail(nil)
			w.sees(w.confirmed(example))
			if strings.Contains(s.log.String(), cf.Token) {
				t.Error("the token is in the log")
			}
		})
	}
}

// Another writer that holds SQLite's lock makes the store read-only for us.
func TestStoreLocked(t *testing.T) {
	t.Parallel() // it waits more than it works
	w := newWorld(t, example)
	s := w.start()
	before := w.confirmed(example)

	db, err := sql.Open("sqlite", filepath.Join(w.dir, "stshost.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	conn, err := db.Conn(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if _, err := conn.ExecContext(t.Context(), "BEGIN IMMEDIATE"); err != nil {
		t.Fatal(err)
	}
	w.domains[0].mx = []string{"mx2.mail.test"}
	s.reload()
	w.await(example, "what is wrong with the store", func(d server.DomainStatus) bool { return strings.Contains(d.LastError, "store") })
	w.explains(example, "store")
	w.serves(before)
	if _, err := conn.ExecContext(t.Context(), "ROLLBACK"); err != nil {
		t.Fatal(err)
	}
	w.sees(w.confirmedAnew(before))
}
