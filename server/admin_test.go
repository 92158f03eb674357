package server_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/server"
)

// backend is a Backend with a few domains.
type backend struct {
	mu        sync.Mutex
	domains   []server.DomainStatus
	domainErr error
	hosts     []server.HostStatus
	reload    server.ReloadResult
	reloadErr error
	readyErr  error
	reloads   int
	orders    []server.ReloadOrder
	reloading func(context.Context) error // what a reload does that takes its time
	events    []state.Event
	asked     []state.EventQuery
	waits     []time.Duration
	check     func(ctx context.Context, domain string, allowPrivate bool) (state.Report, error)
}

func newBackend(now time.Time) *backend {
	return &backend{hosts: []server.HostStatus{
		{Host: "sts.example.net", CertificateNotAfter: now.Add(40 * 24 * time.Hour)},
		{Host: "ops.example.net", LastError: "it leads <b>elsewhere</b>", Remedy: "make an AAAA record"},
	}, domains: []server.DomainStatus{
		{
			Domain: "a.example", Host: "mta-sts.a.example", Step: state.Confirmed, Since: now.Add(-time.Hour), InConfig: true,
			Mode: "testing", ModeSource: "managed", MaxAge: 604800, ID: "20260101T000000Z0123456789abcdef", Body: policyA,
			Proof: "IPv4 ok, IPv6 skipped: no route", CertificateNotAfter: now.Add(62 * 24 * time.Hour),
			LastRun: now.Add(-time.Minute), NextRun: now.Add(59 * time.Minute), DNSAccount: "main", DNSProvider: "cloudflare",
			MXChecked: now.Add(-2 * time.Hour), MX: "all MX hosts pass",
		},
		{
			Domain: "b.example", Host: "mta-sts.b.example", Step: state.WaitingDNS, Since: now.Add(-time.Minute), InConfig: true,
			LastError: "mta-sts.b.example has no address <script>", Remedy: "make an A record", DNSAccount: "print", DNSProvider: "print",
		},
		{Domain: "c.example", Host: "mta-sts.c.example", InConfig: true},
	}}
}

func (b *backend) Domains(context.Context) ([]server.DomainStatus, error) {
	return b.domains, b.domainErr
}

func (b *backend) Domain(_ context.Context, name string) (server.DomainStatus, error) {
	for _, d := range b.domains {
		if d.Domain == name {
			return d, b.domainErr
		}
	}
	return server.DomainStatus{}, fmt.Errorf("domain %q: %w", name, state.ErrNotFound)
}

func (b *backend) Records(_ context.Context, name string) ([]server.DNSRecord, error) {
	if name == "c.example" {
		return nil, nil
	}
	return []server.DNSRecord{
		{Name: "mta-sts." + name, Type: "A", TTL: 300, Data: "192.0.2.1", Purpose: "leads here"},
		{Name: "_mta-sts." + name, Type: "TXT", TTL: 300, Data: "v=STSv1; id=x;", Managed: true},
	}, nil
}

func (b *backend) Hosts(context.Context) ([]server.HostStatus, error) { return b.hosts, nil }

func (b *backend) Reload(ctx context.Context, o server.ReloadOrder) (server.ReloadResult, error) {
	if b.reloading != nil {
		return b.reload, b.reloading(ctx)
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	b.reloads++
	b.orders = append(b.orders, o)
	return b.reload, b.reloadErr
}

func (b *backend) Events(ctx context.Context, q state.EventQuery, wait time.Duration) ([]state.Event, error) {
	b.mu.Lock()
	b.asked, b.waits = append(b.asked, q), append(b.waits, wait)
	b.mu.Unlock()
	var found []state.Event
	for _, e := range b.events {
		if e.ID > q.After && (q.Domain == "" || q.Domain == e.Domain) {
			found = append(found, e)
		}
	}
	if len(found) == 0 && wait > 0 {
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return nil, ctx.Err()
		}
	}
	return found, b.domainErr
}

func (b *backend) Check(ctx context.Context, domain string, allowPrivate bool) (state.Report, error) {
	return b.check(ctx, domain, allowPrivate)
}

func (b *backend) Ready() error { return b.readyErr }

// startAdmin serves the admin interface over TCP.
func startAdmin(t *testing.T, b *backend) (addr string) {
	t.Helper()
	s := newServer(t, server.Config{Policies: server.NewPolicies(), Backend: b, Version: "1.2.3"})
	return serve(t, s.ServeAdmin)
}

func TestAdminPages(t *testing.T) {
	addr := startAdmin(t, newBackend(time.Now()))
	for _, tc := range []struct {
		method, path string
		status       int
		kind         string
		want, hidden string
	}{
		{"GET", "/", 200, "text/html; charset=utf-8", "a.example", "<script>"},
		{"GET", "/", 200, "text/html; charset=utf-8", "has no address &lt;script&gt;", ""},
		{"GET", "/", 200, "text/html; charset=utf-8", "sts.example.net", "<b>"},
		{"GET", "/", 200, "text/html; charset=utf-8", "make an AAAA record", ""},
		{"GET", "/api/v1/hosts", 200, "application/json", `"host":"sts.example.net"`, ""},
		{"GET", "/?q=B.EX", 200, "text/html; charset=utf-8", "b.example", ">a.example"},
		{"GET", "/?q=nothing", 200, "text/html; charset=utf-8", "No domain has", "a.example"},
		{"GET", "/domains/a.example", 200, "text/html; charset=utf-8", "mx: mx1.a.example", ""},
		{"GET", "/domains/A.Example", 200, "text/html; charset=utf-8", "in 61 days", ""},
		{"GET", "/domains/a.example", 200, "text/html; charset=utf-8", "<dd>all MX hosts pass</dd>", ""},
		{"GET", "/domains/a.example", 200, "text/html; charset=utf-8", "2 hours ago", ""},
		{"GET", "/domains/b.example", 200, "text/html; charset=utf-8", "make an A record", "<script>"},
		{"GET", "/domains/c.example", 200, "text/html; charset=utf-8", "not been looked at", ""},
		{"GET", "/domains/x.example", 404, "text/html; charset=utf-8", "does not know this domain", ""},
		{"GET", "/domains/-", 422, "text/html; charset=utf-8", "Unprocessable", ""},
		{"GET", "/domains/b%c3%bc.example", 404, "text/html; charset=utf-8", "does not know this domain", ""},
		{"HEAD", "/", 200, "text/html; charset=utf-8", "", ""},
		{"HEAD", "/api/v1/domains", 200, "application/json", "", ""},
		{"HEAD", "/metrics", 200, "", "", ""},
		{"GET", "/nothing", 404, "text/html; charset=utf-8", "no such page", ""},
		{"POST", "/", 405, "text/plain; charset=utf-8", "", ""},
		{"GET", "/healthz", 200, "text/plain; charset=utf-8", "ok", ""},
		{"GET", "/readyz", 200, "text/plain; charset=utf-8", "ready", ""},
		{"GET", "/metrics", 200, "", `stshost_policy_fetches_total{result="served"} 0`, ""},
		{"GET", "/metrics", 200, "", `stshost_connections_limit{listener="admin"} 10000`, ""},
	} {
		t.Run(tc.method+" "+tc.path, func(t *testing.T) {
			resp, body := do(t, http.DefaultClient, tc.method, "http://"+addr+tc.path)
			if resp.StatusCode != tc.status || tc.kind != "" && resp.Header.Get("Content-Type") != tc.kind {
				t.Errorf("%d %q, want %d %q", resp.StatusCode, resp.Header.Get("Content-Type"), tc.status, tc.kind)
			}
			if !strings.Contains(body, tc.want) {
				t.Errorf("%q is missing in:\n%s", tc.want, body)
			}
			if tc.hidden != "" && strings.Contains(body, tc.hidden) {
				t.Errorf("%q should not be in:\n%s", tc.hidden, body)
			}
			h := resp.Header
			if h.Get("X-Content-Type-Options") != "nosniff" || h.Get("X-Frame-Options") != "DENY" || h.Get("Referrer-Policy") != "no-referrer" ||
				!strings.HasPrefix(h.Get("Content-Security-Policy"), "default-src 'none'") || !strings.Contains(h.Get("Content-Security-Policy"), "frame-ancestors 'none'") {
				t.Errorf("security headers: %v", h)
			}
		})
	}
}

func TestWhatNeedsSomebodyStandsFirst(t *testing.T) {
	addr := startAdmin(t, newBackend(time.Now()))
	_, body := do(t, http.DefaultClient, "GET", "http://"+addr+"/")
	a, b, c := strings.Index(body, ">a.example"), strings.Index(body, ">b.example"), strings.Index(body, ">c.example")
	if !(b < c && c < a) {
		t.Errorf("order of rows: a at %d, b at %d, c at %d", a, b, c)
	}
}

// A confirmed domain is not in order if its certificate cannot be renewed.
func TestFailedRenewalNeedsSomebody(t *testing.T) {
	b := newBackend(time.Now())
	b.domains[0].CertificateProblem = "CAA forbids"
	b.domains[2].Step, b.domains[2].InConfig, b.domains[2].CertificateProblem = state.Confirmed, false, "it leads elsewhere"
	addr := startAdmin(t, b)
	_, body := do(t, http.DefaultClient, "GET", "http://"+addr+"/")
	for _, want := range []string{
		`<strong>2</strong> need attention`, `<span class="badge bad">confirmed</span><p class="error">the certificate could not be renewed: CAA forbids</p>`,
		`<span class="badge good">confirmed</span><p class="dim">no longer in the configuration</p>`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("%q is missing in:\n%s", want, body)
		}
	}
}

func TestLongListsAreCut(t *testing.T) {
	b := &backend{}
	for i := range 600 {
		b.domains = append(b.domains, server.DomainStatus{Domain: fmt.Sprintf("d%d.example", i), InConfig: true})
	}
	addr := startAdmin(t, b)
	if _, body := do(t, http.DefaultClient, "GET", "http://"+addr+"/"); !strings.Contains(body, "500 of 600 are shown") {
		t.Error("the page does not say that it shows 500 of 600")
	}
}

func TestNotReady(t *testing.T) {
	b := newBackend(time.Now())
	b.readyErr = errors.New("3 of 5 policies are loaded")
	addr := startAdmin(t, b)
	if resp, body := do(t, http.DefaultClient, "GET", "http://"+addr+"/readyz"); resp.StatusCode != 503 || !strings.Contains(body, "3 of 5") {
		t.Errorf("%d %q", resp.StatusCode, body)
	}
	if resp, _ := do(t, http.DefaultClient, "GET", "http://"+addr+"/healthz"); resp.StatusCode != 200 {
		t.Errorf("healthz %d", resp.StatusCode)
	}
	if _, body := do(t, http.DefaultClient, "GET", "http://"+addr+"/"); !strings.Contains(body, "3 of 5") {
		t.Error("the status page does not say what is awaited")
	}
}

// A web site must not be able to use the browser of somebody on this machine.
func TestOtherWebSitesAreRefused(t *testing.T) {
	b := newBackend(time.Now())
	addr := startAdmin(t, b)
	_, port, _ := net.SplitHostPort(addr)
	for _, tc := range []struct {
		name, method, path, host string
		header                   [2]string
		status                   int
	}{
		{name: "address", path: "/", status: 200},
		{name: "localhost", path: "/", host: "localhost:" + port, status: 200},
		{name: "IPv6 loopback", path: "/", host: "[::1]:" + port, status: 200},
		{name: "rebound name", path: "/", host: "evil.example:" + port, status: 421},
		{name: "rebound name, API", path: "/api/v1/domains", host: "evil.example", status: 421},
		{name: "rebound name, reload", method: "POST", path: "/api/v1/reload", host: "evil.example", status: 421},
		{name: "name like an address", path: "/", host: "127.0.0.1.evil.example", status: 421},
		{name: "no host at all", path: "/", host: " ", status: 421},
		{name: "monitoring by name", path: "/metrics", host: "node7.example", status: 200},
		{name: "health by name", path: "/healthz", host: "node7.example", status: 200},
		{name: "reload from the CLI", method: "POST", path: "/api/v1/reload", status: 200},
		{name: "reload from another site", method: "POST", path: "/api/v1/reload", header: [2]string{"Sec-Fetch-Site", "cross-site"}, status: 403},
		{name: "reload from another port", method: "POST", path: "/api/v1/reload", header: [2]string{"Origin", "http://127.0.0.1:1"}, status: 403},
		{name: "reload from here", method: "POST", path: "/api/v1/reload", header: [2]string{"Sec-Fetch-Site", "same-origin"}, status: 200},
	} {
		t.Run(tc.name, func(t *testing.T) {
			before := b.reloads
			resp, body := do(t, http.DefaultClient, or(tc.method, "GET"), "http://"+addr+tc.path, func(r *http.Request) {
				r.Host = tc.host
				if tc.header[0] != "" {
					r.Header.Set(tc.header[0], tc.header[1])
				}
			})
			if resp.StatusCode != tc.status {
				t.Errorf("status %d, want %d: %s", resp.StatusCode, tc.status, body)
			}
			if reloaded := b.reloads > before; reloaded != (tc.method == "POST" && tc.status == 200) {
				t.Errorf("reloaded: %v", reloaded)
			}
			if (tc.status == 421 || tc.status == 403) && resp.Header.Get("Content-Type") != "application/problem+json" {
				t.Errorf("not a problem: %q", resp.Header.Get("Content-Type"))
			}
			if resp.Header.Get("Access-Control-Allow-Origin") != "" {
				t.Error("other origins are allowed to read")
			}
		})
	}
}

// What a Backend fails with is for the log, not for whoever asks.
func TestInnerDetailStaysInside(t *testing.T) {
	b := newBackend(time.Now())
	b.domainErr = errors.New("sqlite: password=hunter2")
	addr := startAdmin(t, b)
	for _, path := range []string{"/", "/domains/a.example", "/api/v1/domains", "/api/v1/domains/a.example/explain", "/api/v1/events"} {
		resp, body := do(t, http.DefaultClient, "GET", "http://"+addr+path)
		if resp.StatusCode != 500 || strings.Contains(body, "hunter2") || !strings.Contains(body, "log") {
			t.Errorf("%s: %d %s", path, resp.StatusCode, body)
		}
	}
	resp, body := do(t, http.DefaultClient, "GET", "http://"+addr+"/metrics")
	if resp.StatusCode != 200 || strings.Contains(body, "hunter2") || !strings.Contains(body, "stshost_connections") {
		t.Errorf("/metrics: %d %s", resp.StatusCode, body)
	}
}

// So it is with one whose MX hosts fail.
func TestFailingMXHostsNeedSomebody(t *testing.T) {
	b := newBackend(time.Now())
	b.domains[0].MX, b.domains[0].MXTrouble = "mx1.a.example offers no <TLS>", true
	b.domains[2].Step, b.domains[2].InConfig, b.domains[2].MXTrouble = state.Confirmed, false, true
	_, body := do(t, http.DefaultClient, "GET", "http://"+startAdmin(t, b)+"/")
	for _, want := range []string{
		`<strong>2</strong> need attention`, `<span class="badge bad">confirmed</span><p class="error">mx1.a.example offers no &lt;TLS&gt;</p>`,
	} {
		if !strings.Contains(body, want) {
			t.Errorf("%q is missing in:\n%s", want, body)
		}
	}
}

// The page of a domain shows its MX hosts, with what to do, whatever else is
// wrong.
func TestDomainPageShowsFailingMXHosts(t *testing.T) {
	b := newBackend(time.Now())
	d := &b.domains[0]
	d.MX, d.MXTrouble, d.MXRemedy, d.LastError, d.Remedy = "mx1.a.example offers no <TLS>", true, "switch it on", "two records", "remove one"
	d.MXNext = time.Date(2026, 1, 2, 9, 0, 0, 0, time.UTC)
	_, body := do(t, http.DefaultClient, "GET", "http://"+startAdmin(t, b)+"/domains/a.example")
	for _, want := range []string{
		`<p class="error">mx1.a.example offers no &lt;TLS&gt;</p><p><strong>What to do:</strong> switch it on</p>`, "two records", "remove one", "2026-01-02",
	} {
		if !strings.Contains(body, want) {
			t.Errorf("%q is missing in:\n%s", want, body)
		}
	}
}

// TestAPIContract holds the answers against the OpenAPI document.
func TestAPIContract(t *testing.T) {
	b := newBackend(time.Now())
	b.reload = server.ReloadResult{Added: []string{"new.example"}, Unchanged: 2}
	b.events = someEvents(time.Now())
	way := held()
	way.Domain, way.LastError, way.Hint = "d.example", "two records", "it could go on"
	b.domains = append(b.domains, way)
	addr := startAdmin(t, b)
	resp, body := do(t, http.DefaultClient, "GET", "http://"+addr+"/api/v1/openapi.json")
	if resp.StatusCode != 200 {
		t.Fatal(resp.Status)
	}
	var doc map[string]any
	if err := json.Unmarshal([]byte(body), &doc); err != nil {
		t.Fatal(err)
	}
	if v, _ := doc["openapi"].(string); !strings.HasPrefix(v, "3.1") {
		t.Errorf("openapi %q", v)
	}
	spec := openAPI{doc}
	for _, tc := range []struct {
		method, path, operation string
		status                  int
	}{
		{"GET", "/api/v1/domains", "/api/v1/domains", 200},
		{"GET", "/api/v1/events", "/api/v1/events", 200},
		{"GET", "/api/v1/events?limit=x", "/api/v1/events", 422},
		{"GET", "/api/v1/domains/a.example", "/api/v1/domains/{domain}", 200},
		{"GET", "/api/v1/domains/c.example", "/api/v1/domains/{domain}", 200},
		{"GET", "/api/v1/domains/x.example", "/api/v1/domains/{domain}", 404},
		{"GET", "/api/v1/domains/not..a.domain", "/api/v1/domains/{domain}", 422},
		{"GET", "/api/v1/domains/" + strings.Repeat("a", 300), "/api/v1/domains/{domain}", 422},
		{"GET", "/api/v1/domains/b.example/explain", "/api/v1/domains/{domain}/explain", 200},
		{"GET", "/api/v1/domains/d.example", "/api/v1/domains/{domain}", 200},
		{"GET", "/api/v1/domains/d.example/explain", "/api/v1/domains/{domain}/explain", 200},
		{"GET", "/api/v1/domains/x.example/explain", "/api/v1/domains/{domain}/explain", 404},
		{"GET", "/api/v1/domains/a.example/records", "/api/v1/domains/{domain}/records", 200},
		{"GET", "/api/v1/domains/c.example/records", "/api/v1/domains/{domain}/records", 200},
		{"GET", "/api/v1/domains/a.example/fetches", "/api/v1/domains/{domain}/fetches", 200},
		{"GET", "/api/v1/version", "/api/v1/version", 200},
		{"POST", "/api/v1/reload", "/api/v1/reload", 200},
	} {
		t.Run(tc.method+" "+tc.path, func(t *testing.T) {
			resp, body := do(t, http.DefaultClient, tc.method, "http://"+addr+tc.path)
			if resp.StatusCode != tc.status {
				t.Fatalf("status %d, want %d: %s", resp.StatusCode, tc.status, body)
			}
			want := "application/json"
			if tc.status != 200 {
				want = "application/problem+json"
			}
			if got := resp.Header.Get("Content-Type"); got != want {
				t.Errorf("Content-Type %q, want %q", got, want)
			}
			var v any
			if err := json.Unmarshal([]byte(body), &v); err != nil {
				t.Fatal(err)
			}
			schema, ok := spec.get("paths", tc.operation, strings.ToLower(tc.method), "responses", fmt.Sprint(tc.status), "content", want, "schema")
			if !ok {
				t.Fatal("the document does not have this answer")
			}
			spec.check(t, "answer", schema.(map[string]any), v)
		})
	}
	resp, body = do(t, http.DefaultClient, "GET", "http://"+addr+"/api/v1/nothing")
	if resp.StatusCode != 404 || resp.Header.Get("Content-Type") != "application/problem+json" {
		t.Errorf("unknown operation: %d %s", resp.StatusCode, body)
	}
	if resp, _ := do(t, http.DefaultClient, "DELETE", "http://"+addr+"/api/v1/domains"); resp.StatusCode != 405 || resp.Header.Get("Allow") != "GET" {
		t.Errorf("DELETE: %d, Allow %q", resp.StatusCode, resp.Header.Get("Allow"))
	}
}
