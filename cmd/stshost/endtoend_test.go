package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/stshost/stshost/internal/cloudflaretest"
	"github.com/stshost/stshost/internal/dnstest"
	"github.com/stshost/stshost/mtasts"
)

const example = "example.test"

// The main job against each kind of DNS: a domain is added and confirmed, its
// policy edited, and a reload without a change does nothing.
func TestEndToEnd(t *testing.T) {
	t.Parallel()
	providers := []struct {
		name string
		use  func(t *testing.T, w *world) zone
	}{
		{"knot by RFC 2136", func(t *testing.T, w *world) zone {
			return w.useRFC2136(dnstest.StartKnot(t, example))
		}},
		{"bind by RFC 2136", func(t *testing.T, w *world) zone {
			return w.useRFC2136(dnstest.StartBIND(t, example))
		}},
		{"powerdns by RFC 2136", func(t *testing.T, w *world) zone {
			return w.useRFC2136(dnstest.StartPowerDNS(t, example))
		}},
		{"powerdns by API", func(t *testing.T, w *world) zone {
			s := dnstest.StartPowerDNS(t, example)
			z := w.useRFC2136(s)
			w.account = "provider = \"powerdns\"\nurl = \"" + s.APIURL + "\"\napi_key = \"" + s.APIKey + "\"\n"
			return z
		}},
		{"cloudflare", func(t *testing.T, w *world) zone {
			cf := cloudflaretest.Start(t, example)
			cf.Add(t, "A", "mta-sts."+example, "127.0.0.1")
			w.dnsAddr, w.dnsPort, w.transport = cf.DNSAddr, cf.DNSPort, cf.Transport()
			w.account = "provider = \"cloudflare\"\napi_token = \"" + cf.Token + "\"\n"
			return zone{
				txt: func() []string {
					var all []string
					for _, content := range cf.Contents("TXT", "_mta-sts."+example) {
						all = append(all, strings.Trim(content, `"`)) // as the API shows them
					}
					return all
				},
				note:    func() { cf.Add(t, "TXT", "_mta-sts."+example, note) },
				changes: func() int { return len(cf.Writes()) },
			}
		}},
	}
	for _, p := range providers {
		t.Run(p.name, func(t *testing.T) {
			w := newWorld(t, example)
			z := p.use(t, w)
			before := z.changes()
			s := w.start()
			first := w.confirmed(example)
			w.sees(first)
			if n := z.changes() - before; n != 1 {
				t.Errorf("the zone changed %d times for the first id", n)
			}

			stop := w.watchOrder(first)
			w.domains[0].mx = []string{"mx1.mail.test", "mx2.mail.test"}
			if res := s.reload(); !slices.Equal(res.Changed, []string{example}) {
				t.Errorf("reload: %+v", res)
			}
			second := w.confirmedAnew(first)
			stop()
			w.sees(second)
			if n := z.changes() - before; n != 2 {
				t.Errorf("the zone changed %d times for two ids", n)
			}
			if res := s.reload(); !res.Empty() {
				t.Errorf("a reload without a change did %+v", res)
			}

			// Someone else's TXT at the name stays. (go-mtasts, our independent
			// reader, stumbles over it; RFC 8461 §3.1 has senders discard it.)
			z.note()
			w.domains[0].mx = []string{"mx2.mail.test"}
			s.reload()
			third := w.confirmedAnew(second)
			want := []string{note, mtasts.Record{ID: third.ID}.String()}
			got := z.txt()
			slices.Sort(got)
			if !slices.Equal(got, want) {
				t.Errorf("TXT records %q, want %q", got, want)
			}

			if n := w.lab.CA.TotalOrders(); n != 1 {
				t.Errorf("%d orders, want 1", n)
			}
		})
	}
}

// note is a TXT record at _mta-sts.example.test that is not ours.
const note = "somebody else's note"

// zone is the example's zone at a DNS provider.
type zone struct {
	txt  func() []string // what stands at _mta-sts.example.test
	note func()          // adds the note there
	// changes counts the changes of the zone, the note's among them: it grows
	// by one for each.
	changes func() int
}

// useRFC2136 puts a real DNS server in the place of the lab's, for stshost and
// for senders; the CA goes on asking the lab's, which has the same addresses.
func (w *world) useRFC2136(s *dnstest.Server) zone {
	w.t.Helper()
	s.AddA(w.t, "mta-sts."+example, "127.0.0.1")
	w.dnsAddr, w.dnsPort = s.Addr, s.Port
	w.account = "provider = \"rfc2136\"\nserver = \"" + s.Addr + "\"\nkey_name = \"" + s.TSIGName +
		"\"\nkey_alg = \"" + s.TSIGAlgorithm + "\"\nkey = \"" + s.TSIGSecret + "\"\n"
	return zone{
		txt: func() []string {
			var all []string
			for _, strs := range s.TXT(w.t, "_mta-sts."+example) {
				all = append(all, strings.Join(strs, ""))
			}
			return all
		},
		note:    func() { s.AddRecord(w.t, "_mta-sts."+example+`. 60 IN TXT "`+note+`"`) },
		changes: func() int { return int(s.Serial(w.t, example)) },
	}
}
