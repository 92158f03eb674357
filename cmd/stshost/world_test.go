package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/stshost/stshost/acme"
	"github.com/stshost/stshost/internal/lab"
	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
	"github.com/stshost/stshost/server"
)

// world is a whole Internet on loopback with one stshost in it: real CA, real
// DNS, the real serve path, a config file as an operator writes it.
type world struct {
	t   *testing.T
	lab *lab.Lab
	dir string

	// The DNS that stshost looks at and changes; the lab's own unless a test
	// puts another in its place.
	dnsAddr   string            // host:port of the authoritative server
	dnsPort   int               // its port
	account   string            // the lines of [dns.main]
	transport http.RoundTripper // for providers that speak HTTP

	ca *lab.CA // of [acme] directory; the lab's own unless a test sets another

	ahead atomic.Int64 // how far stshost's clock is ahead of ours, in nanoseconds

	https, http string  // [listen]; the addresses that the CA and senders connect to unless a test sets others
	listen      string  // more lines of [listen]
	acme        string  // more lines of [acme]
	domains     []entry // of the config, in order
	extra       string  // more lines for the config
	watch       string  // [watch] interval
	mxWatch     string  // [watch] mx_interval; "": MX hosts are not looked at
	workers     int     // [watch] workers; 0: the usual number
	storeDir    string  // where the store is; "": in dir

	level     slog.Level                                        // what is logged
	certStore func(acme.CertificateStore) acme.CertificateStore // see environment

	notifyWindow time.Duration // see environment
}

// entry is a [[domain]] of the config.
type entry struct {
	name  string
	mx    []string
	lines string // more lines, e.g. a mode
}

// newWorld starts a lab with the given domains in it, each of which is in the
// config with one MX host.
func newWorld(t *testing.T, domains ...string) *world {
	t.Helper()
	// Not t.TempDir: a unix socket's path has 107 bytes at most.
	dir, err := os.MkdirTemp("", "stshost")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	l, err := lab.Start(t.Context(), lab.Config{Domains: domains, Dir: dir, PollInterval: 20 * time.Millisecond})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	key := l.DNS.Key()
	w := &world{
		t: t, lab: l, ca: l.CA, dir: dir, dnsAddr: l.DNS.Addr(), dnsPort: l.DNSPort, watch: "1h",
		https: l.HTTPSAddr, http: l.HTTPAddr, level: slog.LevelDebug,
		account: fmt.Sprintf("provider = \"rfc2136\"\nserver = %q\nkey_name = %q\nkey_alg = %q\nkey = %q\n",
			l.DNS.Addr(), key.Name, key.Algorithm, key.Secret),
	}
	for _, d := range domains {
		w.domains = append(w.domains, entry{name: d, mx: []string{"mx1.mail.test"}})
	}
	return w
}

func (w *world) config() string { return filepath.Join(w.dir, "config.toml") }
func (w *world) admin() string  { return "unix:" + filepath.Join(w.dir, "admin.sock") }

func (w *world) storePath() string { return filepath.Join(cmp.Or(w.storeDir, w.dir), "stshost.db") }

func (w *world) client() *server.Client { return server.NewClient(w.admin()) }

// writeConfig writes the config file anew.
func (w *world) writeConfig() {
	w.t.Helper()
	var b strings.Builder
	fmt.Fprintf(&b, `[listen]
https = %q
http = %q
admin = %q
%s
[store]
url = "sqlite:%s"
[acme]
directory = %q
roots_file = %q
accept_terms = true
%s
[net]
resolver = %q
dns_port = %d
roots_file = %q
https_port = %d
http_port = %d
smtp_port = %d
[watch]
interval = %q
mx_interval = %q
workers = %d
[dns.main]
%s
`, w.https, w.http, w.admin(), w.listen, w.storePath(), w.ca.DirectoryURL(), w.lab.ACMERootsFile, w.acme,
		w.dnsAddr, w.dnsPort, w.lab.RootsFile, w.lab.HTTPSPort, w.lab.HTTPPort, w.lab.SMTPPort, w.watch, cmp.Or(w.mxWatch, "0s"), cmp.Or(w.workers, 8), w.account)
	b.WriteString(w.extra)
	for _, d := range w.domains {
		fmt.Fprintf(&b, "[[domain]]\nname = %q\nmx = [\"%s\"]\n%s\n", d.name, strings.Join(d.mx, `", "`), d.lines)
	}
	if err := writeByRename(w.config(), []byte(b.String())); err != nil {
		w.t.Fatal(err)
	}
}

// now is stshost's clock.
func (w *world) now() time.Time { return time.Now().Add(time.Duration(w.ahead.Load())) }

// pass lets d pass on stshost's clock and has it look at the domain then.
func (r *running) pass(d time.Duration, domain string) {
	r.w.ahead.Add(int64(d))
	r.reconciler.Wake(domain)
}

// running is one life of stshost in the world.
type running struct {
	*service
	w    *world
	log  *logBuffer
	stop func() error
}

// start writes the config and runs stshost on it until stop or the test's end.
func (w *world) start() *running {
	w.t.Helper()
	return w.startIn(environment{})
}

// startIn is start in surroundings of which some are given.
func (w *world) startIn(env environment) *running {
	w.t.Helper()
	w.writeConfig()
	cfg, err := loadConfigToStart(w.config())
	if err != nil {
		w.t.Fatal(err)
	}
	env.dnsTransport, env.now, env.certStore, env.notifyWindow, env.ownEvery = w.transport, w.now, w.certStore, w.notifyWindow, 20*time.Millisecond
	log := &logBuffer{}
	ctx, cancel := context.WithCancel(context.Background())
	var s *service
	eventually(w.t, func() error {
		s, err = newService(ctx, cfg, slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: w.level})), env)
		if err != nil && !strings.Contains(err.Error(), "another program does") {
			cancel()
			w.t.Fatal(err)
		}
		return err // a child that another test has just forked holds our last life's listener for a moment
	})
	done := make(chan error, 1)
	go func() { done <- s.run(ctx, nil) }()
	r := &running{service: s, w: w, log: log}
	r.stop = sync.OnceValue(func() error { cancel(); return <-done })
	w.t.Cleanup(func() {
		if err := r.stop(); err != nil {
			w.t.Errorf("serve ended with: %v", err)
		}
		if w.t.Failed() {
			w.t.Logf("log of stshost:\n%s", log.String())
		}
	})
	return r
}

// reload writes the config and has the server read it.
func (r *running) reload() server.ReloadResult {
	r.w.t.Helper()
	r.w.writeConfig()
	res, err := r.w.client().Reload(r.w.t.Context(), server.ReloadOrder{})
	if err != nil {
		r.w.t.Fatal(err)
	}
	return res
}

// await waits until the domain's status is as accept wants it.
func (w *world) await(domain, what string, accept func(server.DomainStatus) bool) server.DomainStatus {
	w.t.Helper()
	var last server.DomainStatus
	eventually(w.t, func() error {
		var err error
		if last, err = w.client().Domain(w.t.Context(), domain); err != nil {
			return err
		}
		if !accept(last) {
			return fmt.Errorf("%s: want %s, have step %s, id %s, error %q", domain, what, last.Step, last.ID, last.LastError)
		}
		return nil
	})
	return last
}

// confirmed waits until the domain is confirmed and nothing is wrong with it.
func (w *world) confirmed(domain string) server.DomainStatus {
	w.t.Helper()
	return w.await(domain, "confirmed", func(d server.DomainStatus) bool {
		return d.Step == state.Confirmed && d.LastError == ""
	})
}

// confirmedAnew is confirmed with another id than before.
func (w *world) confirmedAnew(before server.DomainStatus) server.DomainStatus {
	w.t.Helper()
	return w.await(before.Domain, "confirmed with a new id", func(d server.DomainStatus) bool {
		return d.Step == state.Confirmed && d.LastError == "" && d.ID != before.ID
	})
}

// eventually asks until there is no error, for two minutes at most: for
// what another process or a network decides, where no signal can be had.
func eventually(t *testing.T, ask func() error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		err := ask()
		if err == nil {
			return
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			t.Fatal(errors.Join(errors.New("waited for two minutes"), err))
		}
	}
}

// reader is the independent reader, pointed at the world's DNS.
func (w *world) reader() *lab.Reader {
	return &lab.Reader{DNS: w.dnsAddr, HTTPSPort: w.lab.HTTPSPort, Roots: w.lab.Roots()}
}

// sees wants a sender to find exactly what the status says.
func (w *world) sees(d server.DomainStatus) {
	w.t.Helper()
	id, policy, err := w.reader().Fetch(w.t.Context(), d.Domain)
	if err != nil {
		w.t.Fatal(err)
	}
	if id != d.ID || policy != d.Body || !mtasts.Announces(id, []byte(policy)) {
		w.t.Errorf("a sender sees the id %s with %q; the status says %s with %q", id, policy, d.ID, d.Body)
	}
}

// watchOrder has an eager sender look at the domain until stop, and fails the
// test if it saw a new id with the old policy, or no new id at all.
func (w *world) watchOrder(before server.DomainStatus) (stop func()) {
	w.t.Helper()
	end, err := watchOrder(w.t.Context(), w.reader(), before)
	if err != nil {
		w.t.Fatal(err)
	}
	return func() {
		w.t.Helper()
		if err := end(); err != nil {
			w.t.Error(err)
		}
	}
}

// logBuffer keeps what is logged, for many goroutines.
type logBuffer struct {
	mu sync.Mutex
	b  strings.Builder
}

func (l *logBuffer) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.Write(p)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.b.String()
}
