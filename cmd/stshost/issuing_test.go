package main

import (
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"testing"
	"time"

	ari "github.com/mholt/acmez/v3/acme"

	"github.com/stshost/stshost/internal/lab"
	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/server"
)

// pauseOver is longer than a CA is left alone that could not be used once, and
// a few times of it are less than what TSIG lets clocks differ (RFC 8945 §5.2.3).
const pauseOver = 65 * time.Second

// addCA starts another CA in the lab.
func (w *world) addCA(cfg lab.CAConfig) *lab.CA {
	w.t.Helper()
	ca, err := w.lab.AddCA(cfg)
	if err != nil {
		w.t.Fatal(err)
	}
	return ca
}

// leaf is the certificate that a sender gets, checked as a sender does.
func (w *world) leaf(host string) *x509.Certificate {
	w.t.Helper()
	conn, err := tls.Dial("tcp", w.https, &tls.Config{RootCAs: w.lab.Roots(), ServerName: host})
	if err != nil {
		w.t.Fatal(err)
	}
	defer conn.Close()
	return conn.ConnectionState().PeerCertificates[0]
}

// from reports whether the CA issued the certificate that a sender gets.
func (w *world) from(ca *lab.CA, host string) bool {
	conn, err := tls.Dial("tcp", w.https, &tls.Config{RootCAs: ca.IssuerPool(), ServerName: host})
	if err != nil {
		return false
	}
	return conn.Close() == nil
}

// event waits for the n-th event of a kind.
func (w *world) event(kind string, n int) server.Event {
	w.t.Helper()
	var found server.Event
	eventually(w.t, func() error {
		all, err := w.client().Events(w.t.Context(), state.EventQuery{Kind: kind}, 0)
		if err != nil {
			return err
		}
		if len(all) < n {
			return fmt.Errorf("%d events %s, want %d: %+v", len(all), kind, n, all)
		}
		found = all[n-1]
		return nil
	})
	return found
}

// The CA moves the window of renewal into the past, as it does before it
// revokes. The service asks, renews with an order that names the certificate,
// serves the new one, and tells why.
func TestARI(t *testing.T) {
	t.Parallel()
	const why = "https://ca.lab.test/incidents/7"
	w := newWorld(t, example)
	s := w.start()
	d := w.confirmed(example)
	old := w.leaf(d.Host)
	now := time.Now()
	if err := w.lab.CA.SuggestRenewal(old, now.Add(-2*time.Hour), now.Add(-time.Hour), why); err != nil {
		t.Fatal(err)
	}
	w.ahead.Add(int64(12 * time.Minute)) // past the first question

	// Not at once: the certificate is too new for that. A restart in between
	// forgets nothing.
	told := w.event(state.KindCertificateRescheduled, 1)
	if told.Host != d.Host || !strings.Contains(told.Remedy, why) || told.Evidence["ca"] != w.lab.CA.DirectoryURL() {
		t.Errorf("event %+v", told)
	}
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}
	w.start()
	w.ahead.Add(int64(9 * time.Hour))
	eventually(t, func() error {
		if n := w.lab.CA.Issued(d.Host); n != 2 {
			return fmt.Errorf("%d certificates", n)
		}
		if w.leaf(d.Host).Equal(old) {
			return errors.New("the old certificate is still served")
		}
		return nil
	})
	id, err := ari.ARIUniqueIdentifier(old)
	if err != nil {
		t.Fatal(err)
	}
	orders := w.lab.CA.OrderRequests(d.Host)
	if len(orders) != 2 || orders[0].Replaces != "" || orders[1].Replaces != id {
		t.Errorf("the orders were %+v; the first certificate is %s", orders, id)
	}
	w.sees(w.confirmed(example))
}

// The profile of the config decides what is issued; a wrong one is said with
// those that there are.
func TestProfile(t *testing.T) {
	t.Parallel()
	w := newWorld(t, example)
	w.ca = w.addCA(lab.CAConfig{Profiles: map[string]time.Duration{"classic": 90 * 24 * time.Hour, "shortlived": 6 * 24 * time.Hour}})
	w.acme = "profile = \"short\"\n"
	s := w.start()
	w.await(example, "that the profile is wrong", blockedBy(`has no certificate profile "short"; write one of these as profile in [acme]: classic, shortlived`))
	w.explains(example, "classic, shortlived")
	if n := w.ca.TotalOrders(); n != 0 {
		t.Errorf("%d orders", n)
	}
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}

	w.acme = "profile = \"shortlived\"\n"
	w.ahead.Add(int64(pauseOver))
	w.start()
	d := w.confirmed(example)
	w.sees(d)
	leaf := w.leaf(d.Host)
	if life := leaf.NotAfter.Sub(leaf.NotBefore); life < 5*24*time.Hour || life > 7*24*time.Hour {
		t.Errorf("the certificate lives %s", life)
	}
	if orders := w.ca.OrderRequests(d.Host); len(orders) != 1 || orders[0].Profile != "shortlived" {
		t.Errorf("orders %+v", orders)
	}
}

// A CA that takes only bound accounts: what is missing is said, a wrong key
// too, and the right one works. No output shows it.
func TestEAB(t *testing.T) {
	t.Parallel()
	key := []byte("an HMAC key of an account at the CA, 32+ bytes")
	encoded := base64.RawURLEncoding.EncodeToString(key)
	wrong := base64.RawURLEncoding.EncodeToString([]byte("another HMAC key that this CA has never seen"))
	w := newWorld(t, example)
	w.ca = w.addCA(lab.CAConfig{AccountKeys: map[string][]byte{"kid-1": key}})
	var logs strings.Builder
	try := func(acme, blocked string) {
		t.Helper()
		w.acme = acme
		w.ahead.Add(int64(pauseOver))
		s := w.start()
		if blocked != "" {
			w.await(example, blocked, blockedBy(blocked))
			out, err := exec.Command("stshost", "explain", example, "--config", w.config()).CombinedOutput()
			if err != nil || strings.Contains(string(out), encoded) || strings.Contains(string(out), wrong) {
				t.Errorf("explain: %v\n%s", err, out)
			}
		} else {
			w.sees(w.confirmed(example))
		}
		if err := s.stop(); err != nil {
			t.Fatal(err)
		}
		logs.WriteString(s.log.String())
	}
	try("", "eab_kid and eab_hmac in [acme]")
	try(fmt.Sprintf("eab_kid = \"kid-1\"\neab_hmac = %q\n", wrong), "are eab_kid and eab_hmac in [acme] the ones it gave you")
	try(fmt.Sprintf("eab_kid = \"kid-1\"\neab_hmac = %q\n", encoded), "")
	for _, secret := range []string{encoded, wrong, string(key)} {
		if strings.Contains(logs.String(), secret) {
			t.Error("the log shows an HMAC key")
		}
	}
}

// The first CA is down: the second issues at once, which is told; when the
// first is back it is used again, and what the second issued stays.
func TestFallbackCA(t *testing.T) {
	w := newWorld(t, example, "late.test")
	key := []byte("an HMAC key of an account at the second CA")
	second := w.addCA(lab.CAConfig{AccountKeys: map[string][]byte{"kid": key}})
	w.acme = fmt.Sprintf("[acme.fallback]\ndirectory = %q\nroots_file = %q\naccept_terms = true\neab_kid = \"kid\"\neab_hmac = %q\n",
		second.DirectoryURL(), w.lab.ACMERootsFile, base64.RawURLEncoding.EncodeToString(key))
	late := w.domains[1]
	w.domains = w.domains[:1]
	up := w.lab.CA.Down()
	s := w.start()
	d := w.confirmed(example)
	w.sees(d)
	first := w.leaf(d.Host)
	if !w.from(second, d.Host) || w.from(w.lab.CA, d.Host) {
		t.Error("the certificate is not from the second CA")
	}
	told := w.event(state.KindCertificateFallback, 1)
	if told.Severity != state.SeverityWarning || !strings.Contains(told.Text, w.lab.CA.DirectoryURL()) || told.Evidence["ca"] != second.DirectoryURL() {
		t.Errorf("event %+v", told)
	}

	up()
	w.domains = append(w.domains, late)
	w.ahead.Add(int64(pauseOver))
	s.reload()
	l := w.confirmed(late.name)
	if !w.from(w.lab.CA, l.Host) {
		t.Error("the certificate is not from the first CA")
	}
	if told := w.event(state.KindCertificateFallback, 2); told.Severity != state.SeverityInfo {
		t.Errorf("event %+v", told)
	}
	if !w.leaf(d.Host).Equal(first) || second.Issued(d.Host) != 1 || second.Orders(l.Host) != 0 || w.lab.CA.Orders(d.Host) != 0 {
		t.Errorf("%d and %d orders at the first CA, %d and %d at the second",
			w.lab.CA.Orders(d.Host), w.lab.CA.Orders(l.Host), second.Orders(d.Host), second.Orders(l.Host))
	}
	stats := s.issuer.Stats()
	if len(stats.PerCA) != 2 || stats.PerCA[0].Issued != 1 || stats.PerCA[1].Issued != 1 {
		t.Errorf("stats %+v", stats)
	}
}

// A host whose validation fails does not go to the second CA.
func TestNoFallbackForTheHost(t *testing.T) {
	t.Parallel()
	w := newWorld(t, example)
	second := w.addCA(lab.CAConfig{})
	w.acme = fmt.Sprintf("[acme.fallback]\ndirectory = %q\nroots_file = %q\naccept_terms = true\n", second.DirectoryURL(), w.lab.ACMERootsFile)
	undo := w.lab.CA.FailValidation("mta-sts." + example)
	defer undo()
	w.start()
	w.event(state.KindCertificateFailed, 1)
	w.ahead.Add(int64(2 * time.Minute))
	w.event(state.KindCertificateFailed, 2)
	if n := second.TotalOrders(); n != 0 {
		t.Errorf("%d orders at the second CA", n)
	}
}
