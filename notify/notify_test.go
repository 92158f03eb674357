package notify

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stshost/stshost/internal/state"
)

// wants wants exactly these messages, each with its parts, since the last look.
func (o *office) wants(messages ...[]string) {
	o.t.Helper()
	got := o.post.take()
	if len(got) != len(messages) {
		o.t.Fatalf("%s: %d messages came, want %d:\n%v", time.Now().UTC().Format(time.DateTime), len(got), len(messages), got)
	}
	for i, parts := range messages {
		for _, part := range parts {
			if !strings.Contains(got[i].Title+"\n"+got[i].Text, part) {
				o.t.Errorf("message %d does not say %q:\n%s\n%s", i+1, part, got[i].Title, got[i].Text)
			}
		}
	}
}

func one(parts ...string) []string { return parts }

func TestOneTroubleOneMessage(t *testing.T) {
	inOffice(t, Target{}, func(o *office) {
		o.log.add(blocked("a.test", "The record is not in DNS."))
		o.pass(29 * time.Second)
		o.wants()
		o.pass(2 * time.Second)
		o.wants(one("[stshost] warning: a.test: domain.blocked", "The record is not in DNS.", "What to do: mend it",
			"When: 2000-01-01 00:00:00 UTC", "Server: mx.test", "More: stshost events a.test"))

		// The same again, but for what changes in it.
		o.log.add(failed("b.test", "The CA says no at 12:00."))
		o.pass(time.Minute)
		o.wants(one("certificate.failed"))
		o.log.add(failed("b.test", "The CA says no at 12:01."))
		o.pass(time.Minute)
		o.wants()
		o.log.add(failed("b.test", "The CA cannot be reached."))
		o.pass(time.Minute)
		o.wants(one("The CA cannot be reached."))

		o.log.add(recovered("a.test"))
		o.pass(time.Minute)
		o.wants(one("[stshost] all is well again: a.test", "The record is in DNS again."))
		o.log.add(recovered("a.test"))
		o.pass(time.Minute)
		o.wants()

		// It comes back.
		o.log.add(blocked("a.test", "The record is not in DNS."))
		o.pass(time.Minute)
		o.wants(one("domain.blocked"))
	})
}

func TestRecoveryOfWhatWasNeverTold(t *testing.T) {
	inOffice(t, Target{Min: state.SeverityCritical}, func(o *office) {
		o.log.add(blocked("a.test", "The record is not in DNS."), recovered("a.test"), recovered("b.test"))
		o.pass(time.Hour)
		o.wants()
	})
}

// What ended before it was told is told once, as over.
func TestTroubleThatEndsInTheWindow(t *testing.T) {
	inOffice(t, Target{}, func(o *office) {
		o.log.add(blocked("a.test", "The record is not in DNS."))
		o.pass(10 * time.Second)
		o.log.add(recovered("a.test"))
		o.pass(time.Minute)
		o.wants(one("The record is not in DNS (over since 2000-01-01 00:00:10 UTC)"))
	})
}

func TestRepeat(t *testing.T) {
	inOffice(t, Target{Repeat: 24 * time.Hour}, func(o *office) {
		repaired := state.Event{Kind: state.KindRecordRepaired, Severity: state.SeverityWarning, Domain: "a.test", Text: "The record had gone."}
		o.log.add(blocked("a.test", "The name server refuses."), repaired)
		o.pass(time.Minute)
		o.wants(one("The name server refuses.", "The record had gone."))
		o.pass(23 * time.Hour)
		o.wants()
		o.pass(time.Hour)
		o.wants(one("still warning, domain.blocked, a.test: The name server refuses."))
		o.pass(24*time.Hour + time.Minute)
		o.wants(one("still warning"))
		o.log.add(repaired) // nothing ends it: it is told anew after a day
		o.pass(time.Minute)
		o.wants(one("The record had gone."))
		o.log.add(recovered("a.test"))
		o.pass(time.Minute)
		o.wants(one("all is well again"))
		o.pass(100 * time.Hour)
		o.wants()
	})
}

// Who wants nothing said again is told of what happens again.
func TestNoRepeat(t *testing.T) {
	inOffice(t, Target{Repeat: -1}, func(o *office) {
		repaired := state.Event{Kind: state.KindRecordRepaired, Severity: state.SeverityWarning, Domain: "a.test", Text: "The record had gone."}
		o.log.add(blocked("a.test", "The name server refuses."), repaired)
		o.pass(time.Minute)
		o.wants(one("The name server refuses.", "The record had gone."))
		o.log.add(repaired)
		o.pass(23 * time.Hour)
		o.wants()
		o.pass(2 * time.Hour)
		o.log.add(blocked("a.test", "The name server refuses."), repaired)
		o.pass(time.Minute)
		o.wants(one("The record had gone."))
	})
}

// Nobody tells the end of a trouble if its subject left the config while no
// server ran, or if a crash lost the word.
func TestStillIsSaidOfWhatIs(t *testing.T) {
	inOffice(t, Target{}, func(o *office) {
		fallback := state.Event{Kind: state.KindCertificateFallback, Severity: state.SeverityWarning, Text: "The first CA is out of order."}
		o.log.add(blocked("gone.test", "It is blocked."), failed("gone.test", "The CA says no."), blocked("a.test", "It is blocked."), fallback)
		o.pass(time.Minute)
		o.wants(one("4 events"))
		o.stop()
		o.stands = func(kind, subject string) bool { return kind != state.KindDomainBlocked || subject != "gone.test" }
		o.start()
		o.log.add(state.Event{Kind: state.KindServerStarted, Severity: state.SeverityInfo, Text: "The server has started."})
		o.pass(23 * time.Hour)
		o.wants()
		o.pass(2 * time.Hour)
		o.wants(one("2 events", "still warning, domain.blocked, a.test", "still warning, certificate.failed, gone.test"))
		o.log.add(fallback) // told anew, as it is out of order again
		o.pass(time.Minute)
		o.wants(one("The first CA is out of order."))
		o.log.add(state.Event{Kind: state.KindServerStarted, Severity: state.SeverityInfo, Text: "The server has started."}, fallback)
		o.pass(25 * time.Hour)
		o.wants(one("2 events"), one("still warning, certificate.fallback"))
	})
}

// A target that wants to hear of everything hears of a domain that left with
// its trouble.
func TestTroubleThatLeft(t *testing.T) {
	inOffice(t, Target{Min: state.SeverityInfo}, func(o *office) {
		o.log.add(blocked("a.test", "It is blocked."))
		o.pass(time.Minute)
		o.wants(one("It is blocked."))
		o.log.add(state.Event{Kind: state.KindDomainLeft, Severity: state.SeverityInfo, Domain: "a.test", Text: "It is no longer in the config."})
		o.pass(time.Minute)
		o.wants(one("domain.left", "It is no longer in the config."))
	})
}

// A target that was new while the clock was ahead hears of what happens from
// then on.
func TestClockThatWasAhead(t *testing.T) {
	ahead := time.Date(2031, 1, 1, 0, 0, 0, 0, time.UTC)
	for name, since := range map[string]*book{"": {Since: ahead}, "with something told": {Since: ahead, Open: map[string]map[string]*trouble{
		"b.test": {"b.test k": {Item: item{Kind: state.KindDomainBlocked, Severity: state.SeverityWarning, Subject: "b.test", Text: "It is blocked.", Key: "b.test k"}, Told: ahead}},
	}}} {
		t.Run(name, func(t *testing.T) {
			inOffice(t, Target{}, func(o *office) {
				o.stop()
				data, err := since.bytes()
				if err != nil {
					t.Fatal(err)
				}
				o.store.data["ops"] = data
				o.start()
				o.log.add(blocked("a.test", "It is blocked."))
				o.pass(time.Minute)
				o.wants(one("a.test"))
				o.pass(25 * time.Hour)
				if got := o.post.take(); len(got) != 1 || strings.Contains(got[0].Text, "b.test") != (since.Open != nil) {
					t.Errorf("after a day: %v", got)
				}
			})
		})
	}
}

// A reason that another took the place of is not said again.
func TestRepeatOfTheLastReasonOnly(t *testing.T) {
	inOffice(t, Target{}, func(o *office) {
		o.log.add(blocked("a.test", "First reason."))
		o.pass(time.Minute)
		o.log.add(blocked("a.test", "Second reason."))
		o.pass(time.Minute)
		o.wants(one("First reason."), one("Second reason."))
		o.log.add(blocked("a.test", "First reason.")) // to and fro is no news
		o.pass(time.Minute)
		o.log.add(blocked("a.test", "Second reason."))
		o.pass(time.Minute)
		o.wants()
		o.pass(24 * time.Hour)
		o.wants(one("still warning, domain.blocked, a.test: Second reason."))
	})
}

func TestDigest(t *testing.T) {
	inOffice(t, Target{}, func(o *office) {
		const n = 9998
		for i := range n {
			o.log.add(failed(fmt.Sprintf("d%d.test", i), fmt.Sprintf("mta-sts.d%d.test: the CA cannot be reached.", i)))
		}
		o.log.add(critical("x.test", "The policy host serves another policy."))
		o.pass(time.Minute)
		o.wants(one("[stshost] critical: x.test: domain.blocked, and 9,998 more events",
			"- critical, domain.blocked, x.test: The policy host serves another policy.",
			"- warning, certificate.failed, 9,998 domains, e.g. d0.test, d1.test, d2.test: mta-sts.d0.test: the CA cannot be reached."))
		for i := range n {
			o.log.add(issued(fmt.Sprintf("d%d.test", i)))
		}
		o.pass(time.Minute)
		o.wants(one("[stshost] all is well again: 9,998 domains"))
		o.pass(24 * time.Hour)
		o.wants(one("still critical"))
	})
}

func TestHourlyLimit(t *testing.T) {
	inOffice(t, Target{}, func(o *office) {
		for i := range 40 {
			o.log.add(blocked(fmt.Sprintf("d%d.test", i), "It is blocked."))
			o.pass(time.Minute)
		}
		if got := o.post.take(); len(got) != 30 {
			t.Fatalf("%d messages in 40 minutes", len(got))
		}
		o.pass(21 * time.Minute)
		o.wants(one("10 events", "10 domains, e.g. d30.test", "Held back since 2000-01-01 00:30:00 UTC by the limit of 30 messages an hour."))
		if s := o.n.Stats()["ops"]; s.Sent != 31 || s.Waiting != 0 {
			t.Errorf("counts are %+v", s)
		}
	})
}

func TestTargetThatFails(t *testing.T) {
	inOffice(t, Target{}, func(o *office) {
		o.post.set(errors.New("connection refused"), false)
		o.log.add(blocked("a.test", "It is blocked."))
		o.pass(31 * time.Second) // fails
		o.pass(61 * time.Second) // and after 1 min
		o.log.add(blocked("b.test", "It is blocked."))
		o.pass(5 * time.Minute) // and after 5 min
		first := time.Date(2000, 1, 1, 0, 0, 30, 0, time.UTC)
		if s := o.n.Stats()["ops"]; s.Failed != 3 || s.Waiting != 2 || s.Sent != 0 || !s.FailingSince.Equal(first) {
			t.Errorf("counts are %+v", s)
		}
		o.post.set(nil, false)
		o.pass(29 * time.Minute)
		o.wants()
		o.pass(2 * time.Minute)
		o.wants(one("2 domains", "a.test, b.test", "Held back since 2000-01-01 00:00:00 UTC by deliveries that failed."))
		if s := o.n.Stats()["ops"]; s.Sent != 1 || !s.FailingSince.IsZero() {
			t.Errorf("counts are %+v", s)
		}
		o.pass(time.Hour)
		o.wants()
	})
}

// A service that never answers holds a bounded number of connections, and up
// nobody's stop.
func TestTargetThatHangs(t *testing.T) {
	inOffice(t, Target{}, func(o *office) {
		o.post.set(nil, true)
		o.log.add(blocked("a.test", "It is blocked."))
		o.pass(30 * 24 * time.Hour)
		if s := o.n.Stats()["ops"]; s.Failed < maxHanging+10 {
			t.Errorf("counts are %+v", s)
		}
		o.n.mu.Lock()
		hanging := o.n.workers["ops"].hanging.Load()
		o.n.mu.Unlock()
		if hanging != maxHanging {
			t.Errorf("%d deliveries hang", hanging)
		}
		before := time.Now()
		o.stop()
		if took := time.Since(before); took > 0 {
			t.Errorf("the stop took %s", took)
		}
	})
}

// Restarts and crashes at any point lose nothing and repeat nothing.
func TestRestart(t *testing.T) {
	inOffice(t, Target{}, func(o *office) {
		o.log.add(blocked("a.test", "It is blocked."))
		o.pass(10 * time.Second)
		o.stop()
		o.log.add(blocked("b.test", "It is blocked.")) // by the end of the stop
		o.start()
		o.pass(time.Minute)
		o.wants(one("2 domains", "a.test, b.test"))

		o.log.add(blocked("c.test", "It is blocked."))
		o.pass(10 * time.Second)
		crashed := o.store.snapshot()
		o.stop()
		o.store = crashed
		o.start()
		o.pass(time.Minute)
		o.wants(one("c.test"))

		crashed = o.store.snapshot()
		o.stop()
		o.store = crashed
		o.start()
		o.log.add(blocked("c.test", "It is blocked."), recovered("a.test"))
		o.pass(time.Minute)
		o.wants(one("all is well again: a.test"))
	})
}

// A target that is new hears of what happens from then on.
func TestNewTarget(t *testing.T) {
	inOffice(t, Target{}, func(o *office) {
		o.log.add(blocked("a.test", "It is blocked."))
		o.pass(time.Minute)
		o.wants(one("a.test"))
		second := o.target
		second.Name = "late"
		o.n.SetTargets([]Target{o.target, second})
		o.pass(time.Minute)
		o.wants()
		o.log.add(blocked("b.test", "It is blocked."))
		o.pass(time.Minute)
		o.wants(one("b.test"), one("b.test"))
		// What a target was told stands when its settings change.
		second.Min = state.SeverityInfo
		o.n.SetTargets([]Target{second})
		o.pass(time.Minute)
		o.log.add(blocked("b.test", "It is blocked."), issued("c.test"))
		o.pass(time.Minute)
		o.wants(one("[stshost] info: c.test: certificate.issued"))
		o.n.SetTargets(nil)
		o.log.add(blocked("d.test", "It is blocked."))
		o.pass(time.Hour)
		o.wants()
	})
}

func TestStoreThatRefuses(t *testing.T) {
	inOffice(t, Target{}, func(o *office) {
		o.store.refuses = true
		o.log.add(blocked("a.test", "It is blocked."))
		o.pass(time.Hour)
		o.wants(one("a.test"))
		o.store.mu.Lock()
		o.store.refuses = false
		o.store.mu.Unlock()
		o.pass(2 * time.Minute)
		o.stop()
		o.start()
		o.pass(time.Hour)
		o.wants()
	})
}

// Two troubles of a domain that end together have not come back.
func TestTwoTroublesEnd(t *testing.T) {
	inOffice(t, Target{}, func(o *office) {
		o.log.add(failed("a.test", "The CA says no."), blocked("a.test", "There is no certificate."))
		o.pass(time.Minute)
		o.wants(one("2 events"))
		o.log.add(issued("a.test"), recovered("a.test"))
		o.pass(time.Minute)
		if got := o.post.take(); len(got) != 1 || !strings.Contains(got[0].Text, "well again, a.test: A certificate was issued.") || strings.Contains(got[0].Text, "came back") {
			t.Errorf("told %q", got)
		}
	})
}

func TestQuietHours(t *testing.T) {
	// The bubble's clock begins at midnight UTC, in winter 01:00 in Berlin.
	target := Target{QuietFrom: 22 * time.Hour, QuietTo: 7 * time.Hour, Location: berlin(t)}
	inOffice(t, target, func(o *office) {
		o.log.add(blocked("a.test", "It is blocked."), blocked("b.test", "It is blocked."))
		o.pass(time.Hour)
		o.wants()
		o.log.add(critical("c.test", "Mail is lost."))
		o.pass(time.Minute)
		if got := o.post.take(); len(got) != 1 || got[0].Title != "[stshost] critical: c.test: domain.blocked" || strings.Contains(got[0].Text, "Held back") {
			t.Errorf("told %q, want what is critical, which nothing held back", got)
		}
		o.log.add(recovered("b.test"), recovered("c.test"))
		o.pass(time.Minute) // who was woken is told of the end
		o.wants(one("[stshost] all is well again: c.test", "The record is in DNS again."))
		o.pass(5*time.Hour - 3*time.Minute) // 06:59 in Berlin
		o.wants()
		o.pass(2 * time.Minute)
		o.wants(one("2 events", "domain.blocked, a.test: It is blocked.", "b.test: It is blocked (over since 2000-01-01 01:01:00 UTC)",
			"Held back since 2000-01-01 00:00:00 UTC by quiet hours."))
		o.log.add(blocked("d.test", "It is blocked."))
		o.pass(time.Minute)
		o.wants(one("d.test"))
	})
}

func berlin(t *testing.T) *time.Location {
	t.Helper()
	loc, err := time.LoadLocation("Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	return loc
}

// A target that is down for long costs no more than so much, and what is grave
// is told whatever came before it.
func TestTooManyInfosWait(t *testing.T) {
	inOffice(t, Target{Min: state.SeverityInfo}, func(o *office) {
		o.post.set(errors.New("down"), false)
		for n := range 12 {
			for i := range 1000 {
				o.log.add(issued(fmt.Sprintf("d%d-%d.test", n, i)))
			}
			o.pass(time.Minute)
		}
		o.log.add(critical("grave.test", "Mail is lost."))
		o.pass(20 * time.Minute)
		o.stop() // what is kept is kept over a restart
		if size := len(o.store.snapshot().data["ops"]); size > 4<<20 {
			t.Errorf("%d bytes are stored", size)
		}
		o.post.set(nil, false)
		o.start()
		o.pass(time.Hour)
		o.wants(one("critical: grave.test", "and 12,000 more events", "10,001 events, from", "Mail is lost.",
			"Besides these, 2,000 events of severity info came while too many waited."))
		o.log.add(issued("next.test"))
		o.pass(time.Minute)
		got := o.post.take()
		if len(got) != 1 || strings.Contains(got[0].Text, "Besides") {
			t.Errorf("later: %v", got)
		}
	})
}
