package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/smtp"
	"slices"
	"strings"
	"time"

	"github.com/stshost/stshost/check"
	"github.com/stshost/stshost/internal/lab"
	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
	"github.com/stshost/stshost/server"
)

// story tells what stshost does, and verifies each step by other means than
// its own word.
func (d *demo) story(ctx context.Context) error {
	for _, chapter := range []func(context.Context) error{
		d.mailHosts, d.confirmed, d.certificate, d.policy, d.record, d.independent, d.change, d.tamper, d.judged,
		d.enforced, d.attacked, d.fellBack, d.left,
	} {
		if err := chapter(ctx); err != nil {
			return err
		}
	}
	return nil
}

// patience of the demo for one thing to happen.
const demoPatience = 45 * time.Second

// await asks done every now and then until it holds.
func (d *demo) await(ctx context.Context, what string, done func() (bool, error)) error {
	ctx, cancel := context.WithTimeoutCause(ctx, demoPatience, errors.New("waited too long"))
	defer cancel()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, err := done()
		if ok && err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return errors.Join(fmt.Errorf("%s: %w", what, context.Cause(ctx)), err)
		}
	}
}

// awaitConfirmed waits until domain is confirmed and accept agrees.
func (d *demo) awaitConfirmed(ctx context.Context, domain string, accept func(server.DomainStatus) bool) (server.DomainStatus, error) {
	var s server.DomainStatus
	err := d.await(ctx, domain+" is confirmed", func() (bool, error) {
		var err error
		if s, err = d.client.Domain(ctx, domain); err != nil {
			return false, err
		}
		if s.Step != state.Confirmed || s.LastError != "" || !s.ConfigWaits.IsZero() || !accept(s) {
			return false, fmt.Errorf("it is %s: %s", s.Step, s.LastError)
		}
		return true, nil
	})
	return s, err
}

func anyStatus(server.DomainStatus) bool { return true }

func (d *demo) mailHosts(context.Context) error {
	d.step("The mail hosts of the domains offer STARTTLS with certificates for their names.")
	for _, mx := range d.lab.MX {
		for _, host := range mx.Hosts() {
			c, err := smtp.Dial(mx.Addr())
			if err != nil {
				return err
			}
			err = c.StartTLS(&tls.Config{ServerName: host, RootCAs: d.lab.Roots()})
			c.Close()
			if err != nil {
				return fmt.Errorf("STARTTLS at %s: %w", host, err)
			}
			d.detail("%s at %s: TLS, certificate verified", host, mx.Addr())
		}
	}
	return nil
}

func (d *demo) confirmed(ctx context.Context) error {
	d.step("stshost serves the config: certificate, policy, proof, announcement, for each domain.")
	for _, domain := range []string{demoFirst, demoSecond, demoStory} {
		s, err := d.awaitConfirmed(ctx, domain, anyStatus)
		if err != nil {
			return err
		}
		if s.Mode != string(mtasts.ModeTesting) {
			return fmt.Errorf("%s is in mode %q, want testing: nobody starts with enforce", domain, s.Mode)
		}
		d.detail("%-10s  %s, mode %s, fetched back: %s", domain, s.Step, s.Mode, s.Proof)
	}
	return nil
}

func (d *demo) certificate(ctx context.Context) error {
	host := mtasts.PolicyHost(demoFirst)
	d.step("The CA issued a certificate for %s, and this server shows it.", host)
	dialer := tls.Dialer{Config: &tls.Config{ServerName: host, RootCAs: d.lab.Roots()}}
	conn, err := dialer.DialContext(ctx, "tcp", d.lab.HTTPSAddr)
	if err != nil {
		return err
	}
	defer conn.Close()
	cs := conn.(*tls.Conn).ConnectionState()
	leaf := cs.PeerCertificates[0]
	d.detail("names %v, issued by %q, valid until %s, %s", leaf.DNSNames, leaf.Issuer.CommonName,
		leaf.NotAfter.UTC().Format(time.DateOnly), tls.VersionName(cs.Version))
	if n := d.lab.CA.Orders(host); n != 1 {
		return fmt.Errorf("the CA counted %d orders for %s, want 1", n, host)
	}
	d.detail("the CA counted exactly one order for it")
	stranger := tls.Dialer{Config: &tls.Config{ServerName: "mta-sts.stranger.test", RootCAs: d.lab.Roots()}}
	_, err = stranger.DialContext(ctx, "tcp", d.lab.HTTPSAddr)
	if err == nil || !strings.Contains(err.Error(), "unrecognized name") { // the alert of RFC 6066 §3
		return fmt.Errorf("a name that is not ours was not refused as such: %v", err)
	}
	d.detail("a name that is not ours gets no certificate at all")
	return nil
}

func (d *demo) policy(ctx context.Context) error {
	d.step("The policy is served at %s.", mtasts.PolicyURL(demoFirst))
	roots := d.lab.Roots()
	client := &http.Client{Transport: &http.Transport{
		DialContext: func(ctx context.Context, network, _ string) (net.Conn, error) {
			return new(net.Dialer).DialContext(ctx, network, d.lab.HTTPSAddr)
		},
		TLSClientConfig:   &tls.Config{RootCAs: roots},
		DisableKeepAlives: true,
	}}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, mtasts.PolicyURL(demoFirst), nil)
	if err != nil {
		return err
	}
	resp, err := client.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	p, err := mtasts.ParsePolicy(body)
	if err != nil {
		return err
	}
	d.detail("HTTP %s, %s", resp.Status, resp.Header.Get("Content-Type"))
	d.detail("%s", body)
	if !p.Covers("mx1.mail.test") || !p.Covers("mx2.mail.test") {
		return errors.New("the policy does not cover the mail hosts")
	}
	return nil
}

func (d *demo) record(ctx context.Context) error {
	d.step("Only then was the record pushed to DNS (RFC 2136), and it names exactly this body.")
	for _, domain := range []string{demoFirst, demoSecond} {
		s, err := d.client.Domain(ctx, domain)
		if err != nil {
			return err
		}
		txts := d.lab.DNS.TXT(mtasts.RecordName(domain))
		rec, err := mtasts.FindRecord(txts)
		if err != nil || len(txts) != 1 {
			return fmt.Errorf("DNS has %q at %s: %v", txts, mtasts.RecordName(domain), err)
		}
		if !mtasts.Announces(rec.ID, []byte(s.Body)) || rec.ID != s.ID {
			return fmt.Errorf("the id %s is not of the body served", rec.ID)
		}
		d.detail("%s. TXT %q", mtasts.RecordName(domain), txts[0])
	}
	return nil
}

func (d *demo) independent(ctx context.Context) error {
	d.step("An independent reader (go-mtasts) finds record and policy as a sender does.")
	for _, domain := range []string{demoFirst, demoSecond, demoStory} {
		id, policy, err := d.lab.Reader.Fetch(ctx, domain)
		if err != nil {
			return err
		}
		s, err := d.client.Domain(ctx, domain)
		if err != nil {
			return err
		}
		if id != s.ID || policy != s.Body {
			return fmt.Errorf("the reader got id %s and %q for %s", id, policy, domain)
		}
		d.detail("%-10s  id %s, %d bytes of policy", domain, id, len(policy))
	}
	return nil
}

func (d *demo) change(ctx context.Context) error {
	d.step("The policy of %s changes: a second mail host is added to the config.", demoStory)
	ctx, cancel := context.WithCancel(ctx) // ends the watch if the change fails
	defer cancel()
	before, err := d.client.Domain(ctx, demoStory)
	if err != nil {
		return err
	}
	watch, err := watchOrder(ctx, d.lab.Reader, before)
	if err != nil {
		return err
	}
	if err := d.editConfig(`mx = ["mx1.mail.test"]`, `mx = ["mx1.mail.test", "mx2.mail.test"]`); err != nil {
		return err
	}
	res, err := d.client.Reload(ctx, server.ReloadOrder{})
	if err != nil {
		return err
	}
	if !slices.Equal(res.Changed, []string{demoStory}) {
		return fmt.Errorf("the reload changed %v", res.Changed)
	}
	after, err := d.awaitConfirmed(ctx, demoStory, func(s server.DomainStatus) bool { return s.ID != before.ID })
	if err = errors.Join(err, watch()); err != nil {
		return err
	}
	id, policy, err := d.lab.Reader.Fetch(ctx, demoStory)
	if err != nil {
		return err
	}
	if id != after.ID || !strings.Contains(policy, "mx: mx2.mail.test\r\n") {
		return fmt.Errorf("the reader got id %s and %q", id, policy)
	}
	d.detail("id before  %s\nid now     %s", before.ID, id)
	d.detail("who looked all the time never saw the new id before the new policy")
	again, err := d.client.Reload(ctx, server.ReloadOrder{})
	if err != nil {
		return err
	}
	if !again.Empty() {
		return fmt.Errorf("a second reload of the same config changed %+v", again)
	}
	d.detail("a second reload of the same config does nothing")
	return nil
}

// watchOrder looks at record and policy again and again, as the most eager
// sender could. stop ends it once the new id has been seen, and reports
// whether it was ever seen with the policy of before.
func watchOrder(ctx context.Context, reader *lab.Reader, before server.DomainStatus) (stop func() error, err error) {
	if id, policy, err := reader.Fetch(ctx, before.Domain); err != nil || id != before.ID || policy != before.Body {
		return nil, fmt.Errorf("before the change a sender sees the id %s (%v), want %s", id, err, before.ID)
	}
	ctx, cancel := context.WithTimeout(ctx, demoPatience)
	done := make(chan error, 1)
	go func() {
		for ctx.Err() == nil {
			// The record is read first and the policy after: a policy newer
			// than its id is the right order.
			id, policy, err := reader.Fetch(ctx, before.Domain)
			switch {
			case err != nil: // a moment without answer
			case id != before.ID && policy == before.Body:
				done <- fmt.Errorf("saw the new id %s with the old policy", id)
				return
			case id != before.ID:
				done <- nil
				return
			}
		}
		done <- errors.New("who looked all the time never saw the new id")
	}()
	return func() error { defer cancel(); return <-done }, nil
}

func (d *demo) tamper(ctx context.Context) error {
	name := mtasts.RecordName(demoStory)
	d.step("Somebody tampers with DNS at %s. stshost repairs it.", name)
	before, err := d.client.Domain(ctx, demoStory)
	if err != nil {
		return err
	}
	want := mtasts.Record{ID: before.ID}.String()
	for _, t := range []struct {
		what string
		txts []string
	}{
		{"the record is deleted", nil},
		{"the record gets another id", []string{"v=STSv1; id=20200101000000;"}},
		{"a second record appears, which switches MTA-STS off", []string{want, "v=STSv1; id=rogue;"}},
	} {
		if err := d.setTXT(name, t.txts); err != nil {
			return err
		}
		tampered := time.Now()
		_, err := d.awaitConfirmed(ctx, demoStory, func(s server.DomainStatus) bool {
			return s.LastRun.After(tampered) && slices.Equal(d.lab.DNS.TXT(name), []string{want})
		})
		if err != nil {
			return err
		}
		d.detail("%s: repaired, with the same id, for the policy did not change", t.what)
	}
	return nil
}

func (d *demo) judged(ctx context.Context) (err error) {
	d.step("stshost check judges %s as senders see it: every address, every mail host, every certificate.", demoStory)
	r, err := d.client.Check(ctx, demoStory, true)
	if err != nil {
		return err
	}
	failed := failures(r)
	if r.Verdict != state.VerdictTest || len(failed) > 0 {
		return fmt.Errorf("the verdict is %s (%s), and these failed: %q", r.Verdict, r.Summary, failed)
	}
	d.detail("senders will: %s (%d findings, no failure)", r.Verdict, len(r.Findings))
	before := d.lab.DNS.Records(demoStory, "MX")
	defer func() {
		err = errors.Join(err, d.lab.DNS.Set(demoStory, "MX", before...), d.lab.DNS.Remove("mx3.mail.test", ""))
	}()
	if err := d.lab.DNS.Add(demoStory, "MX", "30 mx3.mail.test."); err != nil {
		return err
	}
	if err := d.lab.DNS.Set("mx3.mail.test", "A", d.lab.DNS.Records("mx1.mail.test", "A")...); err != nil {
		return err
	}
	d.detail("somebody adds the MX host mx3.mail.test, and neither policy nor certificate knows it:")
	if r, err = d.client.Check(ctx, demoStory, true); err != nil {
		return err
	}
	if failed = failures(r); !slices.Equal(failed, []string{check.MXUncovered, check.MXCertName}) {
		return fmt.Errorf("check found %q", failed)
	}
	for _, f := range r.Findings {
		if f.Status == state.CheckFail {
			d.detail("%s %s: %s", f.Code, f.Subject, f.Text)
		}
	}
	d.detail("in mode enforce senders would refuse it; in testing nothing is lost, and one knows")
	return nil
}

// failures are the codes of what failed.
func failures(r state.Report) []string {
	var codes []string
	for _, f := range r.Findings {
		if f.Status == state.CheckFail {
			codes = append(codes, f.Code)
		}
	}
	return codes
}

func (d *demo) setTXT(name string, txts []string) error {
	if len(txts) == 0 {
		return d.lab.DNS.Remove(name, "TXT")
	}
	return d.lab.DNS.SetTXT(name, txts...)
}
