package main

import (
	"errors"
	"fmt"
	"io"
	"net"
	"testing"
	"time"

	"github.com/stshost/stshost/acme"
	"github.com/stshost/stshost/internal/lab"
	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/server"
)

// Where only port 80 leads here the certificate comes by http-01, at the first
// try.
func TestOnlyPort80(t *testing.T) {
	w := newWorld(t, example)
	w.https = elsewhere(t)
	s := w.start()
	d := w.await(example, "a certificate", func(d server.DomainStatus) bool { return !d.CertificateNotAfter.IsZero() })
	s.issuedBy(d.Host, acme.HTTP01)
	d = w.await(example, "what is wrong with port 443", blockedBy("cannot fetch the policy"))
	if d.Step != state.Serving || len(w.lab.DNS.TXT("_mta-sts."+example)) > 0 {
		t.Errorf("announced in step %s although nobody can fetch it", d.Step)
	}

	forward(t, w.lab.HTTPSAddr, w.https)
	s.reconciler.Wake(example)
	w.sees(w.confirmed(example))
	if n := w.lab.CA.TotalOrders(); n != 1 {
		t.Errorf("%d orders, want 1", n)
	}
}

// Without a listener for port 80 it comes by tls-alpn-01.
func TestOnlyPort443(t *testing.T) {
	w := newWorld(t, example)
	w.http = ""
	s := w.start()
	d := w.confirmed(example)
	w.sees(d)
	s.issuedBy(d.Host, acme.TLSALPN01)
	if n := w.lab.CA.TotalOrders(); n != 1 {
		t.Errorf("%d orders, want 1", n)
	}
}

// Where both lead here and one is broken for the CA, the next attempt takes
// the other, after the backoff, with one order each.
func TestChallengesAlternate(t *testing.T) {
	w := newWorld(t, example)
	host := "mta-sts." + example
	undo := w.lab.CA.FailValidation(host)
	s := w.start()
	for i, next := range []struct {
		challenge string
		pause     time.Duration // before it
	}{
		{acme.HTTP01, time.Minute},
		{acme.TLSALPN01, 10 * time.Minute},
		{acme.HTTP01, 100 * time.Minute},
	} {
		job := s.failures(host, i+1)
		if pause := job.Due.Sub(job.LastAttempt); job.Challenge != next.challenge || pause < next.pause*8/10 || pause > next.pause*13/10 {
			t.Errorf("after %d failures %s in %v, want %s in %v", i+1, job.Challenge, pause, next.challenge, next.pause)
		}
		if n := w.lab.CA.TotalOrders(); n != i+1 {
			t.Errorf("%d orders after %d attempts", n, i+1)
		}
		if i == 2 { // the CA reaches us, but not on port 443
			undo()
			w.lab.CA.FailValidation(host, acme.TLSALPN01)
		}
		s.pass(next.pause*3/2, example)
	}
	w.await(example, "a certificate", func(d server.DomainStatus) bool { return !d.CertificateNotAfter.IsZero() })
	s.issuedBy(host, acme.HTTP01)
	if n := w.lab.CA.TotalOrders(); n != 4 {
		t.Errorf("%d orders, want 4", n)
	}
}

// failures waits until n attempts at a certificate for host have failed.
func (r *running) failures(host string, n int) (job state.CertJob) {
	r.w.t.Helper()
	eventually(r.w.t, func() (err error) {
		job, err = r.store.CertJob(r.w.t.Context(), host)
		if err == nil && (job.Running || job.Attempts != n) {
			err = fmt.Errorf("%d failures, running: %t, want %d", job.Attempts, job.Running, n)
		}
		return err
	})
	return job
}

// issuedBy wants the certificate of host to have come by a challenge type.
func (r *running) issuedBy(host, challenge string) {
	r.w.t.Helper()
	job, err := r.store.CertJob(r.w.t.Context(), host) // the renewal's, which begins with what worked
	if err != nil || job.Challenge != challenge {
		r.w.t.Errorf("the certificate came by %s (%v), want %s", job.Challenge, err, challenge)
	}
}

// elsewhere is an address of this machine where nobody looks for us.
func elsewhere(t *testing.T) string {
	t.Helper()
	port, err := lab.FreePort("127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	return net.JoinHostPort("127.0.0.1", fmt.Sprint(port))
}

// forward passes connections to from on to the address to, as a router does,
// until the test ends.
func forward(t *testing.T, from, to string) {
	t.Helper()
	ln, err := net.Listen("tcp", from)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { ln.Close() })
	pass := func(in net.Conn) error {
		defer in.Close()
		out, err := net.Dial("tcp", to)
		if err != nil {
			return err
		}
		defer out.Close()
		go func() {
			io.Copy(out, in)
			out.(*net.TCPConn).CloseWrite()
		}()
		_, err = io.Copy(in, out)
		return err
	}
	go func() {
		for {
			in, err := ln.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			if err == nil {
				go pass(in)
			}
		}
	}()
}
