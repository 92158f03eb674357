package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"
)

// Names of the servers, as the table has them. Ratios are to nginx.
const (
	nameStshost = "stshost"
	nameNginx   = "nginx"
	nameCaddy   = "Caddy"
	nameBare    = "bare net/http"
)

// What stshost answers with; the others are told to do the same.
const (
	contentType  = "text/plain; charset=utf-8"
	cacheControl = "no-cache, max-age=0"
)

// competitor is a server under measurement.
type competitor struct {
	name, addr string
	*process
}

// build builds stshost as the Makefile does.
func build(ctx context.Context, dir string) (binary string, err error) {
	binary = filepath.Join(dir, "stshost")
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-ldflags", "-s -w", "-o", binary, "github.com/stshost/stshost/cmd/stshost")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build stshost: %w\n%s", err, out)
	}
	return binary, nil
}

// measureServers starts all servers there are and lets them take turns.
func measureServers(ctx context.Context, o options, dir, binary string, stderr io.Writer) (_ []result, versions []string, err error) {
	w, err := newWorld(ctx, dir)
	if err != nil {
		return nil, nil, err
	}
	defer w.lab.Close()
	fmt.Fprintln(stderr, "waiting until stshost has its certificate and has announced the policy")
	first, err := w.serve(ctx, o.serverCPU, binary)
	if err != nil {
		return nil, nil, err
	}
	defer first.stop()
	c, err := w.take(ctx)
	if err != nil {
		return nil, nil, err
	}
	c.workers = o.workers
	all := []competitor{{nameStshost, w.lab.HTTPSAddr, first}}
	for _, peer := range peers() {
		program := find(peer.program)
		if program == "" {
			fmt.Fprintf(stderr, "%s is not installed (Debian package %s): left out\n", peer.name, peer.program)
			continue
		}
		started, err := peer.launch(ctx, o.serverCPU, dir, program)
		if err != nil {
			return nil, nil, err
		}
		defer started.stop()
		all = append(all, started)
		if peer.version != "" {
			out, err := exec.CommandContext(ctx, program, peer.version).CombinedOutput()
			if err != nil {
				return nil, nil, fmt.Errorf("%s %s: %w", program, peer.version, err)
			}
			said := strings.TrimSpace(string(out))
			versions = append(versions, peer.name+" "+strings.TrimPrefix(said, "nginx version: nginx/"))
		}
	}
	for _, s := range all {
		if err := c.check(ctx, s.addr); err != nil {
			return nil, nil, fmt.Errorf("%s: %w", s.name, err)
		}
	}
	results, err := takeTurns(ctx, o, c, all, stderr)
	return results, versions, err
}

// takeTurns measures every server once in each round, each time another one
// first.
func takeTurns(ctx context.Context, o options, c *client, all []competitor, stderr io.Writer) ([]result, error) {
	connection := newResult("server CPU per new TLS 1.3 connection with one GET", duration, nameNginx)
	request := newResult("server CPU per GET over an open connection", duration, nameNginx)
	rate := newResult("GETs per second over open connections", perSecond, nameNginx)
	held := newResult("memory after all that (PSS)", bytesHeld, nameNginx)
	for round := -1; round < o.rounds; round++ { // round -1 is the warm-up
		fmt.Fprintf(stderr, "round %d of %d\n", round+1, o.rounds)
		for i := range all {
			s := all[(i+round+len(all))%len(all)]
			if o.wants("connection") {
				used, _, err := s.timed(func() error { return c.connections(ctx, s.addr, o.n) })
				if err != nil {
					return nil, err
				}
				connection.add(round, s.name, used/float64(o.n))
			}
			if n := 10 * o.n; o.wants("request") {
				used, took, err := s.timed(func() error { return c.requests(ctx, s.addr, n) })
				if err != nil {
					return nil, err
				}
				request.add(round, s.name, used/float64(n))
				rate.add(round, s.name, float64(n)/took)
			}
		}
	}
	for _, s := range all {
		pss, err := memory(s.pid)
		if err != nil {
			return nil, err
		}
		held.add(0, s.name, pss)
	}
	var out []result
	for _, r := range []*result{connection, request, rate, held} {
		if len(r.values) > 0 {
			out = append(out, *r)
		}
	}
	return out, nil
}

// timed runs f and returns, in seconds, the CPU time that the server used
// meanwhile and the time that passed.
func (s competitor) timed(f func() error) (used, took float64, err error) {
	before, err := cpuTime(s.pid)
	if err != nil {
		return 0, 0, err
	}
	began := time.Now()
	if err := f(); err != nil {
		return 0, 0, fmt.Errorf("%s: %w; it said:\n%s", s.name, err, s.said())
	}
	took = time.Since(began).Seconds()
	after, err := cpuTime(s.pid)
	return (after - before).Seconds(), took, err
}
