package server_test

import (
	"bufio"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/server"
)

func someEvents(at time.Time) []state.Event {
	return []state.Event{
		{ID: 1, Time: at, Kind: state.KindDomainBlocked, Severity: state.SeverityCritical, Domain: "a.example", Host: "mta-sts.a.example",
			Text: "Blocked <script>.", Remedy: "mend it", Evidence: map[string]string{"id": "x"}},
		{ID: 2, Time: at.Add(time.Second), Kind: state.KindServerStarted, Severity: state.SeverityInfo, Text: "Started."},
		{ID: 3, Time: at.Add(time.Minute), Kind: state.KindDomainRecovered, Severity: state.SeverityInfo, Domain: "a.example", Text: "Well again."},
	}
}

func TestEventsAreAskedFor(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for path, want := range map[string]struct {
		status int
		q      state.EventQuery
		wait   time.Duration
	}{
		"":         {200, state.EventQuery{Newest: true, Limit: 100}, 0},
		"?after=0": {200, state.EventQuery{Limit: 100}, 0},
		"?after=7&limit=5&wait=30s&domain=B%C3%BCcher.Example&host=h&kind=domain.step&severity=warning&since=2026-01-02T03:04:05Z": {200, state.EventQuery{
			After: 7, Limit: 5, Domain: "xn--bcher-kva.example", Host: "h", Kind: "domain.step", MinSeverity: state.SeverityWarning, Since: at,
		}, 30 * time.Second},
		"?wait=1h":         {200, state.EventQuery{Newest: true, Limit: 100}, time.Minute},
		"?wait=soon":       {422, state.EventQuery{}, 0},
		"?wait=-1s":        {422, state.EventQuery{}, 0},
		"?domain=-":        {422, state.EventQuery{}, 0},
		"?severity=loud":   {422, state.EventQuery{}, 0},
		"?after=-1":        {422, state.EventQuery{}, 0},
		"?after=x":         {422, state.EventQuery{}, 0},
		"?limit=0":         {422, state.EventQuery{}, 0},
		"?limit=1000000":   {422, state.EventQuery{}, 0},
		"?since=yesterday": {422, state.EventQuery{}, 0},
	} {
		t.Run(path, func(t *testing.T) {
			b := newBackend(at)
			b.events = append(someEvents(at), state.Event{ID: 9, Time: at, Domain: "xn--bcher-kva.example", Severity: state.SeverityInfo})
			resp, body := do(t, http.DefaultClient, "GET", "http://"+startAdmin(t, b)+"/api/v1/events"+path)
			if resp.StatusCode != want.status {
				t.Fatalf("%d %s", resp.StatusCode, body)
			}
			if want.status != 200 {
				if len(b.asked) > 0 || resp.Header.Get("Content-Type") != "application/problem+json" {
					t.Errorf("%q, asked %v", resp.Header.Get("Content-Type"), b.asked)
				}
				return
			}
			if diff := cmp.Diff([]state.EventQuery{want.q}, b.asked); diff != "" {
				t.Errorf("(-want +got)\n%s", diff)
			}
			if b.waits[0] != want.wait {
				t.Errorf("it waits for %s", b.waits[0])
			}
		})
	}
}

func TestEventsOverTheClient(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 123456000, time.UTC)
	b := newBackend(at)
	b.events = someEvents(at)
	s := newServer(t, server.Config{Policies: server.NewPolicies(), Backend: b})
	socket := "unix:" + filepath.Join(t.TempDir(), "admin.sock")
	ln, err := server.ListenAdmin(t.Context(), socket)
	if err != nil {
		t.Fatal(err)
	}
	serveOn(t, ln, s.ServeAdmin)
	c := server.NewClient(socket)
	var want []server.Event
	for _, e := range b.events {
		want = append(want, server.NewEvent(e))
	}
	got, err := c.Events(t.Context(), state.EventQuery{Newest: true}, 0)
	same(t, got, want, err)
	got, err = c.Events(t.Context(), state.EventQuery{After: 1, Domain: "a.example", Limit: 3, Since: at, MinSeverity: "info", Kind: "k", Host: "h"}, time.Second)
	same(t, got, want[2:], err)
	same(t, b.asked[1], state.EventQuery{After: 1, Domain: "a.example", Limit: 3, Since: at, MinSeverity: "info", Kind: "k", Host: "h"}, nil)
	got, err = c.Events(t.Context(), state.EventQuery{After: 3}, time.Millisecond)
	same(t, got, []server.Event{}, err)
}

func TestEventsAreDescribed(t *testing.T) {
	_, body := do(t, http.DefaultClient, "GET", "http://"+startAdmin(t, newBackend(time.Now()))+"/api/v1/openapi.json")
	var doc struct {
		Paths map[string]struct {
			Get struct {
				Parameters []struct {
					Name, In, Description string
					Required              bool
					Schema                struct{ Type string }
				}
			}
		}
	}
	if err := json.Unmarshal([]byte(body), &doc); err != nil {
		t.Fatal(err)
	}
	types := map[string]string{}
	for _, p := range doc.Paths["/api/v1/events"].Get.Parameters {
		if p.In != "query" || p.Required || p.Description == "" {
			t.Errorf("parameter %+v", p)
		}
		types[p.Name] = p.Schema.Type
	}
	want := map[string]string{"domain": "string", "host": "string", "kind": "string", "severity": "string", "since": "string", "after": "integer", "limit": "integer", "wait": "string"}
	if diff := cmp.Diff(want, types); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

// A question may wait for longer than a request may take to be sent, and ends
// with the server.
func TestWaitingForEvents(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newServer(t, server.Config{Policies: server.NewPolicies(), Backend: newBackend(time.Now())})
		ln := newPipes()
		ctx, stop := context.WithCancel(t.Context())
		defer stop()
		ended := make(chan error, 1)
		go func() { ended <- s.ServeAdmin(ctx, ln) }()
		conn := ln.dial()
		defer conn.Close()
		ask := func() (took time.Duration, status int, body string) {
			began := time.Now()
			io.WriteString(conn, "GET /api/v1/events?wait=55s HTTP/1.1\r\nHost: localhost\r\n\r\n")
			resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
			if err != nil {
				t.Fatal(err)
			}
			text, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			return time.Since(began), resp.StatusCode, string(text)
		}
		for range 2 { // over one connection
			if took, status, body := ask(); took != 55*time.Second || status != 200 || !strings.Contains(body, `"events":[]`) {
				t.Errorf("after %s: %d %q", took, status, body)
			}
		}
		time.AfterFunc(10*time.Second, stop)
		if took, status, body := ask(); took != 10*time.Second || status != 200 || !strings.Contains(body, `"events":[]`) {
			t.Errorf("with a stop, after %s: %d %q", took, status, body)
		}
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
}

func TestPageShowsEvents(t *testing.T) {
	at := time.Now().Add(-time.Hour)
	b := newBackend(at)
	b.events = someEvents(at)
	_, body := do(t, http.DefaultClient, "GET", "http://"+startAdmin(t, b)+"/domains/a.example")
	older, newer := strings.Index(body, "Blocked &lt;script&gt;."), strings.Index(body, "Well again.")
	if newer < 0 || older < newer || strings.Contains(body, "<script>") || strings.Contains(body, "Started.") {
		t.Errorf("the events are not on the page as they should be:\n%s", body)
	}
	for _, want := range []string{`<span class="badge bad">critical</span>`, "What to do: mend it"} {
		if !strings.Contains(body, want) {
			t.Errorf("%q is missing", want)
		}
	}
	if q := b.asked[0]; q.Limit != 20 || !q.Newest || q.Domain != "a.example" {
		t.Errorf("asked for %+v", q)
	}
}
