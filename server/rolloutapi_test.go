package server_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/server"
)

// Everything arrives at the Rollouts of the server, and what that returns comes
// back.
func TestRolloutsThroughTheClient(t *testing.T) {
	addr, r := startRollouts(t, newBackend(rolloutTime))
	c, ctx := server.NewClient(addr), t.Context()
	evidence := aReport("a.example")
	order := state.RolloutOrder{Now: true, AcceptNoReports: true, Evidence: &evidence, Waive: []state.Waiver{
		{Gate: state.GateReports, Reason: "few mails", Time: rolloutTime.AddDate(1, 0, 0)}, // of a time that is not now
	}}
	got, err := c.StartRollout(ctx, "A.Example", order)
	same(t, got, r.aRollout(), err)
	if order.Waive[0].Time.Equal(rolloutTime) {
		t.Error("the client changed the order")
	}
	got, err = c.PlanRollout(ctx, "a.example", state.RolloutOrder{})
	same(t, got, r.aRollout(), err)
	for _, do := range []func(context.Context, string) (state.RolloutStatus, error){c.Rollout, c.PauseRollout, c.ResumeRollout, c.Rollback, c.Retire} {
		got, err = do(ctx, "a.example")
		same(t, got, r.aRollout(), err)
	}
	all, err := c.Rollouts(ctx)
	want, _ := r.Rollouts(ctx)
	same(t, all, want, err)
	h, err := c.Horizon(ctx, "a.example", "MX1.bücher.example")
	same(t, h.Bodies[0].MX, []string{"mx1.xn--bcher-kva.example"}, err)
	h, err = c.Horizon(ctx, "a.example", "")
	same(t, h, state.Horizon{Domain: "a.example", Until: r.now, Open: true, Text: "not yet", Remedy: "wait", Bodies: []state.HorizonBody{}}, err)
	if _, err := c.AcceptMX(ctx, "a.example", "MX2.bücher.example"); err != nil {
		t.Error(err)
	}
	if _, err = c.AcceptMX(ctx, "a.example", "mx_2"); err == nil || !strings.Contains(err.Error(), "hosts: ") {
		t.Errorf("what is no host: %v", err)
	}
	m, err := c.AcceptMX(ctx, "a.example")
	same(t, m, state.MXChange{Domain: "a.example", Accepted: []string{}, MX: []string{"mx1.a.example"}, Text: "nothing to accept"}, err)

	order.Waive[0].Time = rolloutTime
	text, err := json.Marshal(order)
	same(t, r.asked, []string{
		"StartRollout a.example " + string(text), "PlanRollout a.example {}", "Rollout a.example", "PauseRollout a.example", "ResumeRollout a.example",
		"Rollback a.example", "Retire a.example", "Horizon a.example mx1.xn--bcher-kva.example", "Horizon a.example ", "AcceptMX a.example mx2.xn--bcher-kva.example", "AcceptMX a.example ",
	}, err)
}

// What is refused is refused in the same words, and with the same facts, on this
// side of the API as on the other.
func TestRolloutErrorsThroughTheClient(t *testing.T) {
	addr, _ := startRollouts(t, newBackend(rolloutTime))
	c, ctx := server.NewClient(addr), t.Context()
	for name, do := range map[string]func(domain string) error{
		"Rollout":       func(d string) error { _, err := c.Rollout(ctx, d); return err },
		"StartRollout":  func(d string) error { _, err := c.StartRollout(ctx, d, state.RolloutOrder{}); return err },
		"PlanRollout":   func(d string) error { _, err := c.PlanRollout(ctx, d, state.RolloutOrder{}); return err },
		"PauseRollout":  func(d string) error { _, err := c.PauseRollout(ctx, d); return err },
		"ResumeRollout": func(d string) error { _, err := c.ResumeRollout(ctx, d); return err },
		"Rollback":      func(d string) error { _, err := c.Rollback(ctx, d); return err },
		"Retire":        func(d string) error { _, err := c.Retire(ctx, d); return err },
		"Horizon":       func(d string) error { _, err := c.Horizon(ctx, d, "mx1.a.example"); return err },
		"AcceptMX":      func(d string) error { _, err := c.AcceptMX(ctx, d); return err },
	} {
		t.Run(name, func(t *testing.T) {
			var r *state.RefusedError
			if err := do("b.example"); !errors.As(err, &r) || err.Error() != refused.Error() || r.Remedy() != "switch it on" {
				t.Errorf("a gate refuses: %v", err)
			} else {
				same(t, *r, *refused, nil)
			}
			var p *state.PinnedError
			if err := do("c.example"); !errors.As(err, &p) || err.Error() != pinned.Error() || *p != *pinned {
				t.Errorf("pinned: %v", err)
			}
			var s *state.StageError
			if err := do("d.example"); !errors.As(err, &s) || err.Error() != noStage.Error() {
				t.Errorf("stage: %v", err)
			}
			if err := do("e.example"); err == nil || strings.Contains(err.Error(), "hunter2") || !strings.Contains(err.Error(), "log") {
				t.Errorf("an inner fault: %v", err)
			}
			if err := do("x.example"); !errors.Is(err, state.ErrNotFound) {
				t.Errorf("unknown: %v", err)
			}
			if err := do("not a domain"); err == nil || !strings.Contains(err.Error(), "is not a domain name") || errors.Is(err, state.ErrNotFound) {
				t.Errorf("no domain: %v", err)
			}
			if err := do(strings.Repeat("a", 300)); err == nil || !strings.Contains(err.Error(), "expected length <= 255") {
				t.Errorf("far too long: %v", err)
			}
		})
	}
}

// Evidence is a whole report, and one about many MX hosts is long.
func TestEvidenceMayBeLong(t *testing.T) {
	addr, r := startRollouts(t, newBackend(rolloutTime))
	evidence := aReport("a.example")
	for range 300 {
		f := evidence.Findings[0]
		f.Text = strings.Repeat("x", 10<<10)
		evidence.Findings = append(evidence.Findings, f)
	}
	got, err := server.NewClient(addr).StartRollout(t.Context(), "a.example", state.RolloutOrder{Evidence: &evidence})
	same(t, got, r.aRollout(), err)
}

// A program that is refused a rollout sees by which gate, and the whole status.
func TestRefusalIsAProblem(t *testing.T) {
	addr, _ := startRollouts(t, newBackend(rolloutTime))
	resp, body := do(t, http.DefaultClient, "POST", "http://"+addr+"/api/v1/domains/b.example/rollout")
	var p struct {
		Status        int
		Title, Detail string
		Rollout       state.RolloutStatus
		Gate          state.Gate
		Remedy        string
	}
	err := json.Unmarshal([]byte(body), &p)
	if err != nil || resp.StatusCode != 409 || resp.Header.Get("Content-Type") != "application/problem+json" || p.Status != 409 || p.Title != "Conflict" {
		t.Fatalf("%d %v: %s", resp.StatusCode, err, body)
	}
	same(t, p.Detail, "b.example stays in testing: the gate mx-tls is unmet (mx2 offers <no> TLS; wanted: each passes)", nil)
	same(t, p.Rollout, refused.Status, nil)
	same(t, p.Gate, closedGate, nil)
	same(t, p.Remedy, "switch it on", nil)
}

// The answers of the operations are as the OpenAPI document says, and what is
// asked wrongly reaches nobody.
func TestRolloutContract(t *testing.T) {
	addr, r := startRollouts(t, newBackend(rolloutTime))
	_, body := do(t, http.DefaultClient, "GET", "http://"+addr+"/api/v1/openapi.json")
	var doc map[string]any
	if err := json.Unmarshal([]byte(body), &doc); err != nil {
		t.Fatal(err)
	}
	spec := openAPI{doc}
	elsewhere, err := json.Marshal(map[string]any{"evidence": aReport("b.example")})
	if err != nil {
		t.Fatal(err)
	}
	for _, tc := range []struct {
		method, domain, path, body string
		status                     int
		want                       string // is in a problem
	}{
		{"GET", "", "/rollouts", "", 200, ""},
		{"GET", "a.example", "/rollout", "", 200, ""},
		{"GET", "x.example", "/rollout", "", 404, "does not know"},
		{"GET", "-", "/rollout", "", 422, "is not a domain name"},
		{"POST", "a.example", "/rollout", "", 200, ""},
		{"POST", "a.example", "/rollout", "{}", 200, ""},
		{"POST", "a.example", "/rollout", `{"now":true,"waive":[{"gate":"time","reason":"it is urgent"}]}`, 200, ""},
		{"POST", "a.example", "/rollout", `{"waive":[{"gate":"mx","reason":"it is urgent"}]}`, 422, "policy, mx-covered, mx-tls, mx-certificates, time, reports"},
		{"POST", "a.example", "/rollout", `{"waive":[{"gate":"time","reason":" "}]}`, 422, "the waiver of the gate time has no reason"},
		{"POST", "a.example", "/rollout", `{"waive":[{"gate":"time"}]}`, 422, "reason"},
		{"POST", "a.example", "/rollout", `{"evidence":{}}`, 422, "findings"},
		{"POST", "a.example", "/rollout", string(elsewhere), 422, "the evidence is about b.example, and not about a.example"},
		{"POST", "a.example", "/rollout", `{"hurry":true}`, 422, "hurry"},
		{"POST", "a.example", "/rollout", `{`, 400, ""},
		{"POST", "b.example", "/rollout", "", 409, "the gate mx-tls is unmet"},
		{"POST", "c.example", "/rollout", "", 409, "pinned at a.toml:7"},
		{"POST", "d.example", "/rollout", "", 409, noStage.Text},
		{"POST", "e.example", "/rollout", "", 500, "log"},
		{"POST", "x.example", "/rollout", "", 404, "does not know"},
		{"POST", "b.example", "/rollout/plan", "", 409, "the gate mx-tls is unmet"},
		{"POST", "a.example", "/rollout/plan", "{}", 200, ""},
		{"POST", "a.example", "/rollout/plan", `{"waive":[{"gate":"","reason":"x"}]}`, 422, "there is no gate"},
		{"POST", "a.example", "/rollout/pause", "", 200, ""},
		{"POST", "c.example", "/rollout/pause", "", 409, "pinned at"},
		{"POST", "a.example", "/rollout/resume", "", 200, ""},
		{"POST", "a.example", "/rollback", "", 200, ""},
		{"POST", "d.example", "/rollback", "", 409, noStage.Text},
		{"POST", "a.example", "/retire", "", 200, ""},
		{"POST", "x.example", "/retire", "", 404, "does not know"},
		{"GET", "a.example", "/horizon", "", 200, ""},
		{"GET", "a.example", "/horizon?mx=mx1.a.example", "", 200, ""},
		{"GET", "a.example", "/horizon?mx=192.0.2.1", "", 422, "mx: "},
		{"GET", "a.example", "/horizon?mx=*.a.example", "", 422, "mx: "},
		{"GET", "x.example", "/horizon", "", 404, "does not know"},
		{"POST", "a.example", "/mx/accept", "", 200, ""},
		{"POST", "x.example", "/mx/accept", "", 404, "does not know"},
	} {
		t.Run(tc.method+" "+tc.domain+tc.path+" "+tc.body, func(t *testing.T) {
			at, operation := tc.path, strings.Split(tc.path, "?")[0]
			if tc.domain != "" {
				at, operation = "/domains/"+tc.domain+at, "/domains/{domain}"+operation
			}
			asked := len(r.asked)
			resp, body := do(t, http.DefaultClient, tc.method, "http://"+addr+"/api/v1"+at, withBody(tc.body))
			if resp.StatusCode != tc.status || !strings.Contains(body, tc.want) {
				t.Fatalf("%d, want %d and %q: %s", resp.StatusCode, tc.status, tc.want, body)
			}
			if tc.status == 422 && len(r.asked) != asked {
				t.Errorf("it was asked for all the same: %s", r.asked[asked:])
			}
			if tc.status == 400 {
				return // huma's own, for what is no JSON
			}
			kind := "application/json"
			if tc.status != 200 {
				kind = "application/problem+json"
			}
			var v any
			if err := json.Unmarshal([]byte(body), &v); err != nil || resp.Header.Get("Content-Type") != kind {
				t.Fatalf("%v, %s", err, resp.Header.Get("Content-Type"))
			}
			schema, ok := spec.get("paths", "/api/v1"+operation, strings.ToLower(tc.method), "responses", fmt.Sprint(tc.status), "content", kind, "schema")
			if !ok {
				t.Fatal("the document does not have this answer")
			}
			spec.check(t, "answer", schema.(map[string]any), v)
		})
	}
	// Everybody may leave the order out who has none.
	for _, path := range []string{"/domains/{domain}/rollout", "/domains/{domain}/rollout/plan", "/reload"} {
		if required, ok := spec.get("paths", "/api/v1"+path, "post", "requestBody", "required"); ok && required == true {
			t.Errorf("%s wants a body", path)
		}
	}
}

// withBody gives a request a body of JSON; "": none.
func withBody(body string) func(*http.Request) {
	return func(r *http.Request) {
		if body != "" {
			fresh, err := http.NewRequest(r.Method, r.URL.String(), strings.NewReader(body))
			if err != nil {
				panic(err)
			}
			fresh.Header.Set("Content-Type", "application/json")
			*r = *fresh
		}
	}
}

// A server that has no rollouts has no such operations.
func TestWithoutRollouts(t *testing.T) {
	addr := startAdmin(t, newBackend(rolloutTime))
	_, body := do(t, http.DefaultClient, "GET", "http://"+addr+"/api/v1/openapi.json")
	if strings.Contains(body, "rollouts") {
		t.Error("they are in the document")
	}
	if resp, body := do(t, http.DefaultClient, "POST", "http://"+addr+"/api/v1/domains/a.example/rollback"); resp.StatusCode != 404 || !strings.Contains(body, "no such operation") {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
}
