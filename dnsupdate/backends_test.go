package dnsupdate_test

import (
	"bytes"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stshost/stshost/dnsupdate"
	"github.com/stshost/stshost/internal/cloudflaretest"
	"github.com/stshost/stshost/internal/dnstest"
	"github.com/stshost/stshost/internal/resolver"
	"github.com/stshost/stshost/internal/state"
)

const (
	zone    = "example.test"
	first   = "v=STSv1; id=20260101T000000Z0123456789abcdef;"
	second  = "v=STSv1; id=20260102T000000Zfedcba9876543210;"
	stale   = "v=STSv1; id=old1;"
	stale2  = "v=STSv1; id=old2;"
	account = "main"
)

// backend is a provider with a real or modelled server behind it.
type backend struct {
	*dnsupdate.Updater
	log *logBuffer
	// settings open the account; secrets are what must never be shown.
	settings  map[string]string
	secrets   []string
	resolver  *resolver.Resolver
	transport http.RoundTripper

	add      func(t testing.TB, name, rdata string) // a TXT record in zone-file notation
	alias    func(t testing.TB, name, target string)
	wildcard func(t testing.TB, target string)
	show     func(t testing.TB, name string) []string // each record's strings in zone-file notation, sorted
	version  func(t testing.TB) uint64                // differs after every change
}

// target is a name in the zone of every backend.
func target(name string) state.Target {
	return state.Target{Account: account, Name: "_mta-sts." + name + "." + zone, TTL: 300 * time.Second}
}

// backends starts every kind of server and runs f with each.
func backends(t *testing.T, f func(t *testing.T, b *backend)) {
	for _, s := range []struct {
		name  string
		start func(t testing.TB) *backend
	}{
		{"knot", func(t testing.TB) *backend { return overUpdate(t, dnstest.StartKnot(t, zone)) }},
		{"bind", func(t testing.TB) *backend { return overUpdate(t, dnstest.StartBIND(t, zone)) }},
		{"powerdns-rfc2136", func(t testing.TB) *backend { return overUpdate(t, dnstest.StartPowerDNS(t, zone)) }},
		{"powerdns", func(t testing.TB) *backend { return overPowerDNS(t, dnstest.StartPowerDNS(t, zone)) }},
		{"cloudflare", func(t testing.TB) *backend { return overCloudflare(t, cloudflaretest.Start(t, zone)) }},
	} {
		t.Run(s.name, func(t *testing.T) { f(t, s.start(t)) })
	}
	for name, m := range models() {
		t.Run(name, func(t *testing.T) { f(t, startModel(t, m())) })
	}
}

func overUpdate(t testing.TB, s *dnstest.Server) *backend {
	return overServer(t, s, dnsupdate.Account{Provider: "rfc2136", Settings: map[string]string{
		"server": s.Addr, "key_name": s.TSIGName, "key_alg": s.TSIGAlgorithm, "key": s.TSIGSecret,
	}}, s.TSIGSecret)
}

func overPowerDNS(t testing.TB, s *dnstest.Server) *backend {
	return overServer(t, s, dnsupdate.Account{Provider: "powerdns", Settings: map[string]string{
		"url": s.APIURL, "api_key": s.APIKey,
	}}, s.APIKey)
}

func overServer(t testing.TB, s *dnstest.Server, a dnsupdate.Account, secret string) *backend {
	b := open(t, dnsupdate.Config{
		Accounts: map[string]dnsupdate.Account{account: a},
		Resolver: newResolver(t, s.Addr, s.Port),
	})
	b.settings, b.secrets = a.Settings, []string{secret}
	b.add = func(t testing.TB, name, rdata string) {
		s.AddRecord(t, "_mta-sts."+name+"."+zone+". 60 IN TXT "+rdata)
	}
	b.alias = func(t testing.TB, name, target string) {
		s.AddRecord(t, "_mta-sts."+name+"."+zone+". 60 IN CNAME "+target+".")
	}
	b.wildcard = func(t testing.TB, target string) {
		s.AddRecord(t, "*."+zone+". 60 IN CNAME "+target+".")
	}
	b.show = func(t testing.TB, name string) []string {
		var out []string
		for _, strs := range s.TXT(t, "_mta-sts."+name+"."+zone) {
			out = append(out, `"`+strings.Join(strs, `" "`)+`"`)
		}
		slices.Sort(out)
		return out
	}
	b.version = func(t testing.TB) uint64 { return uint64(s.Serial(t, zone)) }
	return b
}

func overCloudflare(t testing.TB, s *cloudflaretest.Server) *backend {
	a := dnsupdate.Account{Provider: "cloudflare", Settings: map[string]string{"api_token": s.Token, "zone_token": s.ZoneToken}}
	b := open(t, dnsupdate.Config{
		Accounts:  map[string]dnsupdate.Account{account: a},
		Resolver:  newResolver(t, s.DNSAddr, s.DNSPort),
		Transport: s.Transport(),
	})
	b.settings, b.secrets = a.Settings, []string{s.Token, s.ZoneToken}
	b.add = func(t testing.TB, name, rdata string) { s.Add(t, "TXT", "_mta-sts."+name+"."+zone, rdata) }
	b.alias = func(t testing.TB, name, target string) { s.Add(t, "CNAME", "_mta-sts."+name+"."+zone, target) }
	b.wildcard = func(t testing.TB, target string) { s.Add(t, "CNAME", "*."+zone, target) }
	b.show = func(t testing.TB, name string) []string {
		out := s.Contents("TXT", "_mta-sts."+name+"."+zone)
		slices.Sort(out)
		return out
	}
	b.version = func(testing.TB) uint64 { return uint64(len(s.Writes())) }
	return b
}

// open makes an updater whose log is kept.
func open(t testing.TB, cfg dnsupdate.Config) *backend {
	t.Helper()
	log := &logBuffer{}
	cfg.Logger = slog.New(slog.NewTextHandler(log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	u, err := dnsupdate.New(cfg)
	if err != nil {
		t.Fatal(err)
	}
	return &backend{Updater: u, log: log, resolver: cfg.Resolver, transport: cfg.Transport}
}

func newResolver(t testing.TB, addr string, port int) *resolver.Resolver {
	t.Helper()
	r, err := resolver.New(resolver.Config{Servers: []string{addr}, AuthPort: port, Timeout: 2 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// clean fails the test if a secret is in any of the texts or in the log.
func (b *backend) clean(t testing.TB, texts ...string) {
	t.Helper()
	for _, text := range append(texts, b.log.String()) {
		for _, s := range b.secrets {
			if strings.Contains(text, s) {
				t.Errorf("a secret is shown in %q", text)
			}
		}
	}
}

// confirmed fails the test unless every authoritative server shows want and no
// other record of our kind.
func (b *backend) confirmed(t testing.TB, at state.Target, want string) {
	t.Helper()
	seen, err := b.Observe(t.Context(), at)
	if err != nil {
		t.Fatal(err)
	}
	if len(seen) == 0 {
		t.Fatal("no authoritative server was asked")
	}
	for _, s := range seen {
		if s.Err != nil {
			t.Fatal(s.Err)
		}
		ours := slices.DeleteFunc(slices.Clone(s.TXT), func(txt string) bool { return !strings.HasPrefix(txt, "v=STSv1;") })
		if want == "" && len(ours) == 0 {
			continue
		}
		if len(ours) != 1 || ours[0] != want {
			t.Fatalf("%s shows %q, want only %q", s.Server, ours, want)
		}
	}
}

// logBuffer is a log that goroutines may share.
type logBuffer struct {
	mu  sync.Mutex
	buf bytes.Buffer
}

func (l *logBuffer) Write(b []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(b)
}

func (l *logBuffer) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}
