package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/stshost/stshost/internal/lab"
	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
	"github.com/stshost/stshost/server"
)

// storyClock is the time by which the rollouts of the demo go: weeks pass when the
// story says so.
type storyClock struct {
	mu    sync.Mutex
	ahead time.Duration
}

func (c *storyClock) now() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return time.Now().Add(c.ahead)
}

func (c *storyClock) set(ahead time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.ahead = ahead
}

// pass has the given time pass for the rollouts.
func (d *demo) pass(span time.Duration) {
	d.clock.set(time.Until(d.clock.now()).Round(time.Second) + span)
	d.service.rollouts.WakeAll()
	d.detail("… %s pass (the clock of this stshost's rollouts is set ahead) …", dayCount(span))
}

func dayCount(span time.Duration) string {
	if days := int(span.Round(24*time.Hour) / (24 * time.Hour)); days != 1 {
		return fmt.Sprintf("%d days", days)
	}
	return "1 day"
}

// enforced takes the story's domain to enforce.
func (d *demo) enforced(ctx context.Context) error {
	d.step("%s goes from testing to enforce by one command, `stshost rollout %s`, stage by stage.", demoStory, demoStory)
	_, err := d.client.StartRollout(ctx, demoStory, state.RolloutOrder{})
	var refused *state.RefusedError
	if !errors.As(err, &refused) || refused.Gate.Name != state.GateReports {
		return fmt.Errorf("the rollout was not refused for want of reports: %v", err)
	}
	d.gates(refused.Status.Gates)
	d.detail("refused: %s; %s", refused.Gate.Value, refused.Gate.Remedy)
	s, err := d.client.StartRollout(ctx, demoStory, state.RolloutOrder{AcceptNoReports: true})
	if err != nil {
		return err
	}
	d.detail("with --accept-no-reports it begins: %s", s.Awaits)
	for _, stage := range []struct {
		wait, maxAge time.Duration
	}{{7 * 24 * time.Hour, 24 * time.Hour}, {2 * 24 * time.Hour, 7 * 24 * time.Hour}, {7 * 24 * time.Hour, 28 * 24 * time.Hour}} {
		d.pass(stage.wait)
		if err := d.reached(ctx, mtasts.ModeEnforce, stage.maxAge); err != nil {
			return err
		}
	}
	return nil
}

func (d *demo) gates(gates []state.Gate) {
	for _, g := range gates {
		d.detail("%-8s %-16s %s", g.State, g.Name, g.Value)
	}
}

// reached waits until everybody sees the story's domain in this mode, with the id of
// the policy.
func (d *demo) reached(ctx context.Context, mode mtasts.Mode, maxAge time.Duration) error {
	s, err := d.awaitConfirmed(ctx, demoStory, func(s server.DomainStatus) bool {
		return s.Mode == string(mode) && s.MaxAge == int64(maxAge/time.Second)
	})
	if err != nil {
		return err
	}
	id, policy, err := d.lab.Reader.Fetch(ctx, demoStory)
	if err != nil {
		return err
	}
	if id != s.ID || !strings.Contains(policy, "mode: "+string(mode)+"\r\n") {
		return fmt.Errorf("the independent reader got id %s and %q", id, policy)
	}
	d.detail("%s with a max_age of %s is served, proven and announced: id %s", mode, dayCount(maxAge), id)
	return nil
}

// message is a message that the story sends.
func message(subject string) []byte {
	return []byte("From: <alice@sender.test>\r\nTo: <bob@" + demoStory + ">\r\nSubject: " + subject + "\r\n\r\nNobody else is to read this.\r\n")
}

// attacked shows what all of that is for.
func (d *demo) attacked(ctx context.Context) (err error) {
	d.step("Anatomy of the attack: somebody on the path to the mail hosts takes STARTTLS out of what they offer.")
	var attackers []*lab.Stripper
	defer func() {
		for _, a := range attackers {
			err = errors.Join(err, a.Close())
		}
	}()
	for _, mx := range d.lab.MX {
		a, err := lab.StartStripper(ctx, mx.Addr())
		if err != nil {
			return err
		}
		attackers = append(attackers, a)
	}
	overheard := func() (lines []string) {
		for _, a := range attackers {
			lines = append(lines, a.Overheard()...)
		}
		return lines
	}
	send := func(who string, sender *lab.Sender, attacked bool, want lab.Outcome) error {
		if attacked {
			sender.Dial = lab.Route(attackers...)
		}
		got, err := sender.Send(ctx, "alice@sender.test", "bob@"+demoStory, message("sent by "+who))
		if err != nil {
			return err
		}
		if got.Outcome != want {
			return fmt.Errorf("%s: %s, want %s", who, got, want)
		}
		d.detail("%s: %s", who, got)
		return nil
	}
	if err := send("a sender that honours MTA-STS, without the attack", d.lab.STSSender(), false, lab.VerifiedTLS); err != nil {
		return err
	}
	if err := send("an opportunistic sender, under attack", d.lab.OpportunisticSender(), true, lab.InTheClear); err != nil {
		return err
	}
	heard := overheard()
	if !slices.Contains(heard, "Nobody else is to read this.") {
		return fmt.Errorf("the attacker overheard %q", heard)
	}
	d.detail("the attacker reads: %q", heard[len(heard)-1])
	if err := send("a sender that honours MTA-STS, under attack", d.lab.STSSender(), true, lab.Refused); err != nil {
		return err
	}
	if now := overheard(); len(now) != len(heard) {
		return fmt.Errorf("the attacker overheard more: %q", now[len(heard):])
	}
	d.detail("the attacker reads nothing of that; the sender keeps the message and tries again later")
	return nil
}

// fellBack takes the story's domain back to testing.
func (d *demo) fellBack(ctx context.Context) error {
	d.step("The way back is one command too: `stshost rollback %s`.", demoStory)
	before, err := d.client.Domain(ctx, demoStory)
	if err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watch, err := watchOrder(ctx, d.lab.Reader, before)
	if err != nil {
		return err
	}
	if _, err := d.client.Rollback(ctx, demoStory); err != nil {
		return err
	}
	err = d.reached(ctx, mtasts.ModeTesting, 7*24*time.Hour)
	if err = errors.Join(err, watch()); err != nil {
		return err
	}
	d.detail("who looked all the time never saw the new id before the new policy")
	return nil
}

// left takes the story's domain out of MTA-STS.
func (d *demo) left(ctx context.Context) error {
	d.step("And the way out: `stshost retire %s` (RFC 8461 §8.3).", demoStory)
	if _, err := d.client.Retire(ctx, demoStory); err != nil {
		return err
	}
	if err := d.reached(ctx, mtasts.ModeNone, 24*time.Hour); err != nil {
		return err
	}
	h, err := d.client.Horizon(ctx, demoStory, "")
	if err != nil {
		return err
	}
	d.detail("`stshost horizon %s`: %s", demoStory, h.Text)
	for _, b := range h.Bodies {
		d.detail("  %-8s max_age %-8s until %s  %s", b.Mode, dayCount(time.Duration(b.MaxAge)*time.Second), b.Until.UTC().Format(time.DateOnly), b.Why)
	}
	name := mtasts.RecordName(demoStory)
	if len(d.lab.DNS.TXT(name)) != 1 {
		return fmt.Errorf("DNS has %q at %s before the horizon", d.lab.DNS.TXT(name), name)
	}
	d.pass(h.Until.Sub(d.clock.now()).Truncate(24*time.Hour) + 24*time.Hour)
	err = d.await(ctx, demoStory+" has left", func() (bool, error) {
		s, err := d.client.Rollout(ctx, demoStory)
		if err != nil || s.Stage != state.StageRetired {
			return false, errors.Join(err, fmt.Errorf("it is %s: %s", s.Stage, s.Awaits))
		}
		return true, nil
	})
	if err != nil {
		return err
	}
	if txts := d.lab.DNS.TXT(name); len(txts) != 0 {
		return fmt.Errorf("DNS still has %q at %s", txts, name)
	}
	dialer := tls.Dialer{Config: &tls.Config{ServerName: mtasts.PolicyHost(demoStory), RootCAs: d.lab.Roots()}}
	if conn, err := dialer.DialContext(ctx, "tcp", d.lab.HTTPSAddr); err == nil {
		conn.Close()
		return errors.New("the policy host still shows a certificate")
	}
	d.detail("the record is gone from the DNS, the policy and its certificate from this server")
	d.clock.set(0)
	return nil
}
