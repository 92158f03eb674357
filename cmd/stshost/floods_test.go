package main

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stshost/stshost/internal/flood"
	"github.com/stshost/stshost/mtasts"
)

var campaign = flag.Bool("campaign", false, "flood the real process for minutes (TestFloods); the figures of docs/hardness.md")

// vitals are what a process shows of itself.
type vitals struct {
	rss, peak  int64 // kB
	goroutines int
	fds        int
}

// vitals reads them.
func (p *process) vitals() (v vitals, err error) {
	status, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", p.cmd.Process.Pid))
	if err != nil {
		return v, err
	}
	for line := range strings.Lines(string(status)) {
		name, value, _ := strings.Cut(line, ":")
		kB, _ := strconv.ParseInt(strings.TrimSuffix(strings.TrimSpace(value), " kB"), 10, 64)
		switch name {
		case "VmRSS":
			v.rss = kB
		case "VmHWM":
			v.peak = kB
		}
	}
	fds, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", p.cmd.Process.Pid))
	if err != nil {
		return v, err
	}
	v.fds = len(fds)
	goroutines, err := p.w.gauge("go_goroutines")
	v.goroutines = int(goroutines)
	return v, err
}

// gauge sums what /metrics says under a name, over all its labels.
func (w *world) gauge(name string) (sum float64, err error) {
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return (&net.Dialer{}).DialContext(ctx, "unix", strings.TrimPrefix(w.admin(), "unix:"))
	}}}
	res, err := client.Get("http://localhost/metrics")
	if err != nil {
		return 0, err
	}
	defer res.Body.Close()
	for s := bufio.NewScanner(io.LimitReader(res.Body, 1<<22)); s.Scan(); {
		key, value, _ := strings.Cut(s.Text(), " ")
		if key == name || strings.HasPrefix(key, name+"{") {
			v, err := strconv.ParseFloat(value, 64)
			if err != nil {
				return 0, err
			}
			sum += v
		}
	}
	return sum, nil
}

// resetPeak has the kernel count the peak of memory anew.
func (p *process) resetPeak() error {
	return os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", p.cmd.Process.Pid), []byte("5"), 0)
}

// TestFloods floods the real process, as an operator would run it, with each
// kind of ill client: more of them than it has places, from one address and
// from thousands. The honest client, at another address, is served throughout,
// and if the flood is from one address never fails; memory stays bounded; and
// when it is over nothing is left.
func TestFloods(t *testing.T) {
	if !*campaign {
		t.Skip("takes minutes: go test ./cmd/stshost -run TestFloods -campaign -v -timeout 60m")
	}
	// Each client is a descriptor here as well.
	var files syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &files); err != nil {
		t.Fatal(err)
	}
	files.Cur = files.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &files); err != nil || files.Cur < 12000 {
		t.Skipf("needs 12000 open files, may have %d: %v", files.Cur, err)
	}
	w := newWorld(t, example)
	w.writeConfig()
	p := w.spawn()
	body := w.confirmed(example).Body
	go func() { // the log must not stand still
		for range p.lines {
		}
	}()

	honest := flood.Target{HTTPS: w.lab.HTTPSAddr, HTTP: w.lab.HTTPAddr, Host: mtasts.PolicyHost(example),
		Path: mtasts.PolicyPath, Roots: w.lab.Roots()}
	one, many := honest, honest
	many.From = func() netip.Addr {
		n := rand.Uint32()
		return netip.AddrFrom4([4]byte{127, byte(2 + n>>16%250), byte(n >> 8), byte(n)})
	}
	one.From = func() netip.Addr { return netip.AddrFrom4([4]byte{127, 0, 1, 1}) }

	before, err := p.vitals()
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("| flood | from | clients | attacks | evicted | honest fetches | failed | RSS before, peak, after (MB) | goroutines at the peak, after |")
	for _, a := range flood.Attacks() {
		clients, length := 10000, 10*time.Second
		if strings.HasSuffix(a.Name, "h2") || strings.Contains(a.Name, "HTTP/1") {
			clients = 200 // each as fast as it can
		}
		if a.Name == "half a handshake" {
			length = 40 * time.Second // some 50,000 of them
		}
		for from, ill := range map[string]flood.Target{"one address": one, "many addresses": many} {
			t.Run(a.Name+" from "+from, func(t *testing.T) { w.flood(t, p, a, from, clients, length, ill, honest, body, before) })
		}
	}
	if p.cmd.ProcessState != nil {
		t.Error("the process ended")
	}
}

func (w *world) flood(t *testing.T, p *process, a flood.Attack, from string, clients int, length time.Duration, ill, honest flood.Target, body string, idle vitals) {
	begun, err := p.vitals()
	if err == nil {
		err = p.resetPeak()
	}
	if err != nil {
		t.Fatal(err)
	}
	evicted, err := w.gauge("stshost_connections_evicted_total")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), length)
	defer cancel()
	peak := make(chan int)
	go func() {
		most := 0
		for ctx.Err() == nil {
			if v, err := p.vitals(); err == nil {
				most = max(most, v.goroutines)
			}
			select {
			case <-ctx.Done():
			case <-time.After(500 * time.Millisecond):
			}
		}
		peak <- most
	}()
	out := flood.Run(ctx, a, clients, ill, honest, body)
	goroutines := <-peak
	ended, err := p.vitals()
	if err != nil {
		t.Fatal(err)
	}
	var after vitals
	eventually(t, func() error {
		var err error
		if after, err = p.vitals(); err != nil {
			return err
		}
		if after.goroutines > idle.goroutines+20 || after.fds > idle.fds+20 {
			return fmt.Errorf("%d goroutines and %d descriptors; before any flood %d and %d", after.goroutines, after.fds, idle.goroutines, idle.fds)
		}
		return nil
	})
	now, err := w.gauge("stshost_connections_evicted_total")
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("| %s | %s | %d | %d | %.0f | %d | %d | %d, %d, %d | %d, %d |", a.Name, from, clients, out.Runs-out.Refused, now-evicted,
		out.Fetched, out.Failed, begun.rss/1024, ended.peak/1024, after.rss/1024, goroutines, after.goroutines)
	// One address pays for what it does. From thousands, each no worse than the
	// honest one, those that have idled longest go, and some fetches with them.
	if out.Failed > 0 && from == "one address" || out.Fetched == 0 {
		t.Errorf("the honest client got %d policies and failed %d times: %v", out.Fetched, out.Failed, out.Failures)
	}
	// 4096 places on each of two listeners, at less than 100 kB each.
	if ended.peak > 800*1024 {
		t.Errorf("it took %d MB at the peak", ended.peak/1024)
	}
}
