package main

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/stshost/stshost/internal/cloudflaretest"
	"github.com/stshost/stshost/mtasts"
	"github.com/stshost/stshost/server"
)

const aDay = 24 * time.Hour

// The clock jumps by a day while stshost runs: nothing is ordered or pushed for
// it, changes are announced as ever, and no id goes backwards.
func TestClockJumps(t *testing.T) {
	for name, jumps := range map[string][]time.Duration{
		"forward and back": {aDay, -aDay},
		"back and forward": {-aDay, aDay},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // it waits more than it works
			w := newWorld(t, example)
			w.watch = "1s"
			// A provider that does not care for our clock; RFC 2136 refuses
			// signatures that are minutes off.
			cf := cloudflaretest.Start(t, example)
			cf.Add(t, "A", "mta-sts."+example, "127.0.0.1")
			w.dnsAddr, w.dnsPort, w.transport = cf.DNSAddr, cf.DNSPort, cf.Transport()
			w.account = "provider = \"cloudflare\"\napi_token = \"" + cf.Token + "\"\n"
			s := w.start()
			last := w.confirmed(example)
			for n, by := range jumps {
				pushes := strings.Count(s.log.String(), "dns record changed")
				w.ahead.Add(int64(by))
				// Looked at in its turn, by nobody's wish, and not all the time.
				for range 2 {
					seen := w.now()
					w.await(example, "a look after the jump", func(d server.DomainStatus) bool { return d.LastRun.After(seen) })
				}
				if d := w.confirmed(example); d.ID != last.ID || strings.Count(s.log.String(), "dns record changed") != pushes {
					t.Errorf("jump %d: the id %s became %s", n, last.ID, d.ID)
				}
				w.domains[0].mx = []string{fmt.Sprintf("mx%d.mail.test", n+2)}
				s.reload()
				next := w.confirmedAnew(last)
				w.sees(next)
				before, _ := mtasts.IDTime(last.ID)
				if made, ours := mtasts.IDTime(next.ID); !ours || !made.After(before) {
					t.Errorf("jump %d: the id %s came after %s", n, next.ID, last.ID)
				}
				last = next
			}
			if n := w.lab.CA.TotalOrders(); n != 1 {
				t.Errorf("%d orders", n)
			}
		})
	}
}

// A machine starts with a clock that is a day ahead, and the CA asks to wait a
// moment. When the clock is put right that moment is not a day, be it in this
// life or in the next.
func TestClockIsPutRight(t *testing.T) {
	for name, restart := range map[string]bool{"while it runs": false, "before a start": true} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // it waits more than it works
			w := newWorld(t, example)
			w.ahead.Store(int64(aDay))
			undo := w.lab.CA.RateLimit(time.Second)
			s := w.start()
			w.await(example, "the CA's words", func(d server.DomainStatus) bool {
				return strings.Contains(d.CertificateProblem, "too many new orders")
			})
			undo()
			if restart {
				if err := s.stop(); err != nil {
					t.Fatal(err)
				}
			}
			w.ahead.Store(0)
			if restart {
				w.start()
			}
			w.sees(w.confirmed(example))
			if n := w.lab.CA.TotalOrders(); n > 3 {
				t.Errorf("%d orders", n)
			}
		})
	}
}
