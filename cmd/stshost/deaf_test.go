package main

import (
	"fmt"
	"io"
	"net"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/stshost/stshost/server"
)

// The DNS server of some customers takes connections and never answers. That
// holds up nobody else: a change of another customer's domain is served while
// the first request still waits for its answer, although there are two workers
// only. The dead server is left alone then, and explain says so.
func TestDeafDNSServerHoldsUpItsOwnDomainsOnly(t *testing.T) {
	t.Parallel()
	names := []string{example}
	for i := range 5 {
		names = append(names, fmt.Sprintf("deaf%d.test", i))
	}
	w := newWorld(t, names...)
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	var connections atomic.Int32
	first, given := make(chan struct{}), make(chan struct{}) // a connection came; it was given up
	go func() {
		for {
			c, err := listener.Accept()
			if err != nil {
				return
			}
			n := connections.Add(1)
			go func() {
				defer c.Close()
				if n == 1 {
					close(first)
					defer close(given)
				}
				io.Copy(io.Discard, c)
			}()
		}
	}()
	w.workers = 2
	w.extra = fmt.Sprintf("[dns.deaf]\nprovider = \"rfc2136\"\nserver = %q\nkey_name = \"k\"\nkey = \"c2VjcmV0\"\n", listener.Addr())
	for i := range w.domains[1:] {
		w.domains[i+1].lines = "dns = \"deaf\"\n"
	}
	all := w.domains
	all[0].lines = "dns = \"main\"\n"
	w.domains = all[:1]
	s := w.start()
	before := w.confirmed(example)

	w.domains = all
	s.reload()
	<-first
	w.domains[0].mx = []string{"mx2.mail.test"}
	s.reload()
	w.await(example, "the changed policy served", func(d server.DomainStatus) bool {
		return strings.Contains(d.Body, "mx2.mail.test") && d.ConfigWaits.IsZero()
	})
	select {
	case <-given:
		t.Error("the change was not served before a request to the dead server had timed out")
	default:
	}
	w.sees(w.confirmedAnew(before))
	for _, d := range w.domains[1:] {
		w.await(d.name, "that the server does not answer", blockedBy("dns account deaf (rfc2136) has not answered since"))
	}
	w.explains(w.domains[1].name, "did not answer over TCP", "the account is left alone until")
	if n := connections.Load(); n > 4 {
		t.Errorf("%d connections to a server that does not answer", n)
	}
	if got := w.metric(`stshost_dns_paused_until_timestamp_seconds{account="deaf"}`); got == 0 {
		t.Error("the metric shows no pause")
	}
}
