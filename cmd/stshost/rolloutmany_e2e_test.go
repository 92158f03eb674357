package main

import (
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
	"github.com/stshost/stshost/store"
)

// A thousand domains on two MX hosts are taken to enforce, eight at a time. One
// that has a broken MX host of its own is refused, all others go on, and the hosts
// that they share are not visited a thousand times for that.
func TestRolloutOfAThousandDomains(t *testing.T) {
	t.Parallel()
	const many, atOnce, mostVisits = 1000, 8, 20
	const broken = "d0500.test"
	var domains, prompt []string // all of them, and those that need not wait
	for i := range many {
		domains = append(domains, fmt.Sprintf("d%04d.test", i))
	}
	w := staged(newWorld(t, domains...))
	w.level = slog.LevelWarn
	w.mailHost(broken, 30).offer(time.Time{})
	visits := []*atomic.Int64{w.countVisits(0, "127.0.0.20"), w.countVisits(1, "127.0.0.21")}
	for i := range w.domains {
		d := &w.domains[i]
		if d.name != broken {
			d.mx = []string{"mx1.mail.test", "mx2.mail.test"}
		}
		if i%50 == 1 {
			d.lines = "stay = [\"0s\", \"2d\", \"7d\"]\n"
			prompt = append(prompt, d.name)
		}
	}
	w.bringCertificates(domains)
	w.announced(mtasts.ModeTesting, oneWeek, w.domains...)
	w.start()
	updates := len(w.lab.DNS.Updates())

	began := time.Now()
	var begin errgroup.Group
	begin.SetLimit(atOnce)
	var mu sync.Mutex
	refusals := make(map[string]error)
	for _, d := range domains {
		begin.Go(func() error {
			_, err := w.client().StartRollout(t.Context(), d, state.RolloutOrder{AcceptNoReports: true})
			if err != nil {
				mu.Lock()
				defer mu.Unlock()
				refusals[d] = err
			}
			return nil
		})
	}
	begin.Wait()
	t.Logf("%d rollouts were begun in %.1f s", many, time.Since(began).Seconds())
	var refused *state.RefusedError
	if len(refusals) != 1 || !errors.As(refusals[broken], &refused) || refused.Gate.Name != state.GateTLS {
		t.Fatalf("%d were refused: %v", len(refusals), refusals)
	}
	for i, v := range visits {
		if n := v.Load(); n == 0 || n > mostVisits {
			t.Errorf("the MX host %d was visited %d times, want %d at most", i+1, n, mostVisits)
		}
	}

	for _, d := range prompt {
		w.at(d, state.StageEnforce, oneDay)
		w.sees(w.confirmed(d))
	}
	all, err := w.client().Rollouts(t.Context())
	if err != nil || len(all) != many {
		t.Fatalf("%d domains, %v", len(all), err)
	}
	for _, r := range all {
		wants := state.Rollout{Stage: state.StageTesting, Goal: state.GoalEnforce}
		switch {
		case r.Domain == broken:
			wants.Goal = state.GoalStay
		case slices.Contains(prompt, r.Domain):
			wants.Stage = state.StageEnforce
		}
		if r.Stage != wants.Stage || r.Goal != wants.Goal || r.Refused {
			t.Errorf("%s is in %s, on the way to %q, refused: %t", r.Domain, r.Stage, r.Goal, r.Refused)
		}
	}
	if n := len(w.lab.DNS.Updates()) - updates; n != len(prompt) {
		t.Errorf("%d updates of the DNS for %d steps", n, len(prompt))
	}
	if told, err := w.client().Events(t.Context(), state.EventQuery{Kind: state.KindRolloutHeld}, 0); err != nil || len(told) > 0 {
		t.Errorf("told were %+v, %v", told, err)
	}
}

// announced puts domains into the store and into the DNS as they are when they have
// been confirmed with such a policy.
func (w *world) announced(mode mtasts.Mode, maxAge time.Duration, domains ...entry) {
	w.t.Helper()
	s, err := store.Open(w.t.Context(), w.storePath())
	if err != nil {
		w.t.Fatal(err)
	}
	defer s.Close()
	now := time.Now().Add(-time.Minute)
	for _, e := range domains {
		p := mtasts.Policy{Mode: mode, MX: e.mx, MaxAge: maxAge}
		body, err := p.Render()
		if err != nil {
			w.t.Fatal(err)
		}
		d := state.Domain{
			Name: e.name, Step: state.Confirmed, Since: now, ID: mtasts.NewID(now, body), BodySHA256: mtasts.Digest(body),
			Mode: p.Mode, LastRun: now, NextRun: now.Add(time.Hour),
		}
		w.noError(s.ServeBody(w.t.Context(), d, state.Body{Domain: e.name, SHA256: d.BodySHA256, Body: body, Mode: p.Mode, MaxAge: p.MaxAge, FirstServed: now}, now))
		w.noError(w.lab.DNS.SetTXT("_mta-sts."+e.name, mtasts.Record{ID: d.ID}.String()))
	}
}

// bringCertificates is bringCertificate for many domains.
func (w *world) bringCertificates(domains []string) {
	w.t.Helper()
	const each = 100
	for i := 0; i < len(domains); i += each {
		var hosts []string
		for _, d := range domains[i:min(i+each, len(domains))] {
			hosts = append(hosts, mtasts.PolicyHost(d))
		}
		f := ownFiles{w: w, cert: filepath.Join(w.dir, fmt.Sprintf("own%d.pem", i)), key: filepath.Join(w.dir, fmt.Sprintf("own%d.key", i))}
		f.write(time.Now().AddDate(2, 0, 0), hosts...)
		w.extra += fmt.Sprintf("[[certificate]]\ncert_file = %q\nkey_file = %q\n", f.cert, f.key)
	}
}

// countVisits puts a relay at ip in front of an MX host of the lab, which counts
// the connections to it.
func (w *world) countVisits(i int, ip string) *atomic.Int64 {
	w.t.Helper()
	mx := w.lab.MX[i]
	ln, err := net.Listen("tcp", net.JoinHostPort(ip, strconv.Itoa(w.lab.SMTPPort)))
	if err != nil {
		w.t.Fatal(err)
	}
	w.noError(w.lab.DNS.Set(mx.Hosts()[0], "A", ip))
	w.t.Cleanup(func() { ln.Close() })
	visits := new(atomic.Int64)
	go func() {
		for {
			in, err := ln.Accept()
			if err != nil {
				return
			}
			visits.Add(1)
			go func() {
				defer in.Close()
				out, err := net.Dial("tcp", mx.Addr())
				if err != nil {
					return
				}
				defer out.Close()
				go io.Copy(out, in) // ends with out
				io.Copy(in, out)
			}()
		}
	}()
	return visits
}
