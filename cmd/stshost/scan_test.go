package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stshost/stshost/acme"
	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
)

// countingStore counts what handshakes and validations read.
type countingStore struct {
	acme.CertificateStore
	reads atomic.Int64
}

func (c *countingStore) Certificate(ctx context.Context, host string) (state.Certificate, error) {
	c.reads.Add(1)
	return c.CertificateStore.Certificate(ctx, host)
}

func (c *countingStore) ACMEData(ctx context.Context, key string) ([]byte, error) {
	c.reads.Add(1)
	return c.CertificateStore.ACMEData(ctx, key)
}

// Scanners try names by the thousand. None may cost a store read, an order, a
// certificate, memory or a line in the log, and senders are served meanwhile.
func TestScanOfUnknownNames(t *testing.T) {
	const names, absent, grown = 10_000, 1_000, 4 << 20
	w := newWorld(t, example)
	w.level = slog.LevelInfo // at debug each handshake is logged
	store := &countingStore{}
	w.certStore = func(s acme.CertificateStore) acme.CertificateStore {
		store.CertificateStore = s
		return store
	}
	s := w.start()
	d := w.confirmed(example)
	w.sees(d)
	if store.reads.Load() == 0 {
		t.Fatal("the count sees no reads at all")
	}
	w.scan("warm-up", 500, 50)

	reads, heap, log := store.reads.Load(), heapAfterGC(), s.log.String()
	stop := w.keepFetching(d.Host, d.Body)
	w.scan("scan", names, absent)
	w.scanPlain(500)
	stop()
	if n := store.reads.Load() - reads; n != 0 {
		t.Errorf("the scan cost %d store reads", n)
	}
	if n := w.lab.CA.TotalOrders(); n != 1 {
		t.Errorf("%d orders, want the one from before", n)
	}
	if now := heapAfterGC(); now > heap+grown {
		t.Errorf("the heap grew from %d to %d bytes", heap, now)
	}
	if more := strings.TrimPrefix(s.log.String(), log); more != "" {
		t.Errorf("the scan was logged:\n%s", more)
	}
	if f, err := w.client().Fetches(t.Context(), example); err != nil || f.FailedHandshakes != 0 {
		t.Errorf("%d failed handshakes were put down to the domain (%v)", f.FailedHandshakes, err)
	}
	if n := w.metric(`stshost_tls_handshakes_failed_total{known="false",reason="unknown_name"}`); n < names+absent {
		t.Errorf("%v handshakes of scanners were counted, want %d at least", n, names+absent)
	}
}

// scan makes handshakes with names that are not ours, and with none at all,
// and wants each to be refused for its name.
func (w *world) scan(label string, names, absent int) {
	w.t.Helper()
	jobs := make(chan *tls.Config)
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			for cfg := range jobs {
				if err := w.refused(cfg); err != nil {
					w.t.Errorf("server name %q: %v", cfg.ServerName, err)
				}
			}
		})
	}
	for i := range names {
		name := fmt.Sprintf("mta-sts.%s%d.test", label, i)
		switch i % 4 {
		case 1:
			name = fmt.Sprintf("%s%d.mta-sts.%s", label, i, example)
		case 2:
			name = fmt.Sprintf("%s%d.%s", label, i, example)
		}
		cfg := &tls.Config{ServerName: name, CurvePreferences: []tls.CurveID{tls.CurveP256}} // a cheap hello
		if i%10 == 9 {
			cfg.NextProtos = []string{acme.ALPNProto} // as if it were a CA
		}
		jobs <- cfg
	}
	for range absent {
		jobs <- &tls.Config{InsecureSkipVerify: true, CurvePreferences: []tls.CurveID{tls.CurveP256}}
	}
	close(jobs)
	wg.Wait()
}

func (w *world) refused(cfg *tls.Config) error {
	conn, err := tls.Dial("tcp", w.https, cfg)
	if err == nil {
		conn.Close()
		return errors.New("got a certificate")
	}
	if !strings.Contains(err.Error(), "unrecognized name") { // RFC 6066 §3
		return fmt.Errorf("want the alert unrecognized_name, have %w", err)
	}
	return nil
}

// scanPlain asks port 80 for challenges of hosts that are not ours.
func (w *world) scanPlain(n int) {
	w.t.Helper()
	tr := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "tcp", w.http)
	}}
	defer tr.CloseIdleConnections()
	for i := range n {
		resp, err := (&http.Client{Transport: tr}).Get(fmt.Sprintf("http://mta-sts.plain%d.test/.well-known/acme-challenge/token%d", i, i))
		if err != nil {
			w.t.Error(err)
			return
		}
		resp.Body.Close()
		if resp.StatusCode != http.StatusMisdirectedRequest {
			w.t.Errorf("status %d", resp.StatusCode)
		}
	}
}

// keepFetching fetches a policy over and over, each time over a connection of
// its own, until stop is called; each must succeed.
func (w *world) keepFetching(host, body string) (stop func()) {
	w.t.Helper()
	ctx, cancel := context.WithCancel(w.t.Context())
	var wg sync.WaitGroup
	fetched := 0
	var slowest time.Duration
	v := w.visitor("", "h2")
	v.Transport.(*http.Transport).DisableKeepAlives = true
	tick := time.NewTicker(20 * time.Millisecond) // leaves the machine to the scan
	wg.Go(func() {
		for ctx.Err() == nil {
			began := time.Now()
			resp, got, err := v.fetch(w.t.Context(), http.MethodGet, "https://"+host+mtasts.PolicyPath)
			if err != nil || resp.StatusCode != http.StatusOK || got != body {
				w.t.Errorf("a sender was not served: %v", err)
				return
			}
			slowest = max(slowest, time.Since(began))
			fetched++
			<-tick.C
		}
	})
	return func() {
		cancel()
		wg.Wait()
		tick.Stop()
		if fetched == 0 || v.dials.Load() < int64(fetched) {
			w.t.Errorf("%d fetches over %d connections meanwhile", fetched, v.dials.Load())
		}
		w.t.Logf("%d fetches meanwhile, the slowest in %v", fetched, slowest)
	}
}

// heapAfterGC is how much memory is in use.
func heapAfterGC() uint64 {
	var m runtime.MemStats
	runtime.GC()
	runtime.GC() // what finalizers let go of
	runtime.ReadMemStats(&m)
	return m.HeapAlloc
}

// metric is the value of a metric, as /metrics shows it.
func (w *world) metric(name string) float64 {
	w.t.Helper()
	for line := range strings.Lines(w.adminGet("/metrics")) {
		if value, ok := strings.CutPrefix(line, name+" "); ok {
			v, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				w.t.Fatal(err)
			}
			return v
		}
	}
	w.t.Fatalf("there is no metric %s", name)
	return 0
}
