package main

import (
	"os/exec"
	"strings"
	"testing"

	"github.com/stshost/stshost/internal/lab"
	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/server"
)

// unreachable is an address that Linux and others refuse to connect to at
// once, as a router without hairpin NAT may refuse its own.
const unreachable = "255.255.255.255"

// Behind a router the CA and senders reach us at an address that we cannot
// reach ourselves. The CA asks the lab's DNS, where the host has ours.
func TestProveVia(t *testing.T) {
	w := newWorld(t, example)
	inside, err := lab.StartDNS(lab.DNSConfig{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { inside.Close() })
	if err := inside.AddZone(example); err != nil {
		t.Fatal(err)
	}
	if err := inside.Set("mta-sts."+example, "A", unreachable); err != nil {
		t.Fatal(err)
	}
	w.useLabDNS(inside)

	s := w.start()
	d := w.await(example, "that the host cannot be reached", blockedBy(unreachable))
	if d.Step != state.WaitingDNS || w.lab.CA.TotalOrders() > 0 {
		t.Errorf("without [prove] via: step %s, %d orders", d.Step, w.lab.CA.TotalOrders())
	}
	if err := s.stop(); err != nil {
		t.Fatal(err)
	}

	via := w.lab.HTTPSAddr
	w.extra = "[prove]\nvia = \"" + via + "\"\n"
	w.start()
	d = w.confirmed(example)
	if d.Proof != "via "+via+" ok" {
		t.Errorf("the proof is %q", d.Proof)
	}
	for _, args := range [][]string{{"status"}, {"status", example}} {
		out, err := exec.Command("stshost", append(args, "--config", w.config())...).Output()
		if err != nil || !strings.Contains(string(out), "confirmed (via "+via+")") {
			t.Errorf("%v does not say how it was proven (%v):\n%s", args, err, out)
		}
	}
	w.announces(inside, d)
	if n := w.lab.CA.TotalOrders(); n != 1 {
		t.Errorf("%d orders, want 1", n)
	}
}

// Via checks what a sender would check: another server there proves nothing.
func TestProveViaAnotherServer(t *testing.T) {
	w := newWorld(t, example)
	other := w.otherHTTPS("127.0.0.1:0", "mta-sts."+example, "version: STSv1\nmode: none\nmax_age: 86400\n")
	w.extra = "[prove]\nvia = \"" + other + "\"\n"
	w.start()
	d := w.await(example, "that another policy came back", blockedBy("another policy"))
	if d.Step != state.Serving || len(w.lab.DNS.TXT("_mta-sts."+example)) > 0 {
		t.Errorf("announced in step %s", d.Step)
	}
}

// useLabDNS puts another of the lab's name servers in the place of its first.
func (w *world) useLabDNS(d *lab.DNS) {
	key := d.Key()
	w.dnsAddr, w.dnsPort = d.Addr(), d.Port()
	w.account = "provider = \"rfc2136\"\nserver = \"" + d.Addr() + "\"\nkey_name = \"" + key.Name +
		"\"\nkey_alg = \"" + key.Algorithm + "\"\nkey = \"" + key.Secret + "\"\n"
}

// announces wants d to have exactly the record of the status.
func (w *world) announces(d *lab.DNS, s server.DomainStatus) {
	w.t.Helper()
	if txt := d.TXT("_mta-sts." + s.Domain); len(txt) != 1 || txt[0] != recordOf(s) {
		w.t.Errorf("the records are %q, want %q", txt, recordOf(s))
	}
}
