package server_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/server"
)

// aReport has every field set.
func aReport(domain string) state.Report {
	return state.Report{
		Domain: domain, Verdict: state.VerdictLoseMail, Summary: "Senders refuse mx1.", Time: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), Seconds: 1.5,
		RecordID: "id1", Mode: "enforce", MaxAge: 604800, MX: []string{"mx1." + domain}, Policy: "version: STSv1\r\n",
		Findings: []state.Finding{
			{Code: "STS-MX-NO-STARTTLS", Status: state.CheckFail, Harm: state.HarmLoss, Subject: "mx1." + domain, Text: "It offers none.",
				Evidence: map[string]string{"address": "192.0.2.1"}, Section: "RFC 8461 §4.2", Remedy: "switch it on"},
			{Code: "STS-RECORD-OK", Status: state.CheckPass, Subject: "_mta-sts." + domain, Text: "It is right.", Section: "RFC 8461 §3.1"},
		},
	}
}

func TestCheck(t *testing.T) {
	b := newBackend(time.Now())
	var asked []string
	b.check = func(_ context.Context, domain string, allowPrivate bool) (state.Report, error) {
		asked = append(asked, fmt.Sprint(domain, " ", allowPrivate))
		if domain == "broken.example" {
			return state.Report{}, errors.New("secret detail")
		}
		return aReport(domain), nil
	}
	addr := startAdmin(t, b)
	c := server.NewClient(addr)
	got, err := c.Check(t.Context(), "bücher.Example", true)
	same(t, got, aReport("xn--bcher-kva.example"), err)
	got, err = c.Check(t.Context(), "a.example", false)
	same(t, got, aReport("a.example"), err)
	same(t, asked, []string{"xn--bcher-kva.example true", "a.example false"}, nil)

	var invalid *server.InvalidConfigError
	if _, err = c.Check(t.Context(), "not a domain", false); err == nil || errors.As(err, &invalid) || !strings.Contains(err.Error(), "not a domain") {
		t.Errorf("no domain: %v", err)
	}
	if _, err = c.Check(t.Context(), "broken.example", false); err == nil || strings.Contains(err.Error(), "secret") {
		t.Errorf("broken: %v", err)
	}

	// The answers are as the document says.
	_, body := do(t, http.DefaultClient, "GET", "http://"+addr+"/api/v1/openapi.json")
	var doc map[string]any
	if err := json.Unmarshal([]byte(body), &doc); err != nil {
		t.Fatal(err)
	}
	spec := openAPI{doc}
	for question, status := range map[string]int{
		`{"domain": "a.example"}`:                        200,
		`{"domain": "a.example", "allow_private": true}`: 200,
		`{"domain": "192.0.2.1"}`:                        422,
		`{"domain": ""}`:                                 422,
		`{"domain": 1}`:                                  422,
		`{}`:                                             422,
		`{"domain": "` + strings.Repeat("a", 300) + `"}`:     422,
		`{"domain": "broken.example", "allow_private":true}`: 500,
	} {
		resp, err := http.Post("http://"+addr+"/api/v1/check", "application/json", strings.NewReader(question))
		if err != nil {
			t.Fatal(err)
		}
		var v any
		err = json.NewDecoder(resp.Body).Decode(&v)
		resp.Body.Close()
		if resp.StatusCode != status || err != nil {
			t.Errorf("%s: %d, want %d: %v %v", question, resp.StatusCode, status, v, err)
			continue
		}
		kind := resp.Header.Get("Content-Type")
		schema, ok := spec.get("paths", "/api/v1/check", "post", "responses", fmt.Sprint(status), "content", kind, "schema")
		if !ok {
			t.Fatalf("%s: the document does not have an answer %d %s", question, status, kind)
		}
		spec.check(t, question, schema.(map[string]any), v)
	}
}

// examine runs f in fake time with a server whose examinations take that long.
func examine(t *testing.T, takes time.Duration, f func(ask func(domain string) net.Conn, began <-chan string, ended <-chan error, stop func())) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		began, ended := make(chan string, 20), make(chan error, 20)
		b := newBackend(time.Now())
		b.check = func(ctx context.Context, domain string, _ bool) (state.Report, error) {
			began <- domain
			select {
			case <-time.After(takes):
			case <-ctx.Done():
			}
			ended <- ctx.Err()
			return aReport(domain), ctx.Err()
		}
		s := newServer(t, server.Config{Policies: server.NewPolicies(), Backend: b})
		ln := newPipes()
		ctx, stop := context.WithCancel(t.Context())
		served := make(chan error, 1)
		go func() { served <- s.ServeAdmin(ctx, ln) }()
		f(func(domain string) net.Conn {
			conn := ln.dial()
			body := `{"domain":"` + domain + `"}`
			fmt.Fprintf(conn, "POST /api/v1/check HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", len(body), body)
			return conn
		}, began, ended, stop)
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}

// answer reads what comes, and closes the connection.
func answer(t *testing.T, conn net.Conn) (*http.Response, string) {
	t.Helper()
	defer conn.Close()
	resp, err := http.ReadResponse(bufio.NewReader(conn), nil)
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	return resp, string(text)
}

// An examination may take longer than a request may take to be sent.
func TestCheckTakesItsTime(t *testing.T) {
	examine(t, 59*time.Second, func(ask func(string) net.Conn, _ <-chan string, ended <-chan error, _ func()) {
		resp, body := answer(t, ask("a.example"))
		if resp.StatusCode != 200 || !strings.Contains(body, `"verdict":"lose-mail"`) || <-ended != nil {
			t.Errorf("%d %s", resp.StatusCode, body)
		}
	})
}

func TestCheckHasAnEnd(t *testing.T) {
	examine(t, time.Hour, func(ask func(string) net.Conn, _ <-chan string, ended <-chan error, _ func()) {
		start := time.Now()
		resp, body := answer(t, ask("a.example"))
		if took := time.Since(start); took != time.Minute || resp.StatusCode != 503 || !strings.Contains(body, "took too long") || <-ended == nil {
			t.Errorf("after %s: %d %s", took, resp.StatusCode, body)
		}
	})
}

func TestCheckEndsWhenTheClientGoes(t *testing.T) {
	examine(t, time.Hour, func(ask func(string) net.Conn, began <-chan string, ended <-chan error, _ func()) {
		conn := ask("a.example")
		<-began
		time.Sleep(10 * time.Second)
		start := time.Now()
		conn.Close()
		if err := <-ended; !errors.Is(err, context.Canceled) || time.Since(start) > time.Second {
			t.Errorf("after %s: %v", time.Since(start), err)
		}
	})
}

func TestCheckEndsWithTheServer(t *testing.T) {
	examine(t, time.Hour, func(ask func(string) net.Conn, began <-chan string, ended <-chan error, stop func()) {
		conn := ask("a.example")
		<-began
		stop()
		if resp, _ := answer(t, conn); resp.StatusCode != 503 || <-ended == nil {
			t.Errorf("%d", resp.StatusCode)
		}
	})
}

// Two examinations are under way at a time. Others wait for their turn, but not
// for long.
func TestChecksWaitForOneAnother(t *testing.T) {
	examine(t, 20*time.Second, func(ask func(string) net.Conn, began <-chan string, _ <-chan error, _ func()) {
		var conns []net.Conn
		start := time.Now()
		for i := range 5 {
			conns = append(conns, ask(fmt.Sprintf("d%d.example", i)))
			synctest.Wait()
		}
		if len(began) != 2 {
			t.Errorf("%d have begun", len(began))
		}
		for _, c := range conns[:4] {
			if resp, body := answer(t, c); resp.StatusCode != 200 {
				t.Errorf("%d %s", resp.StatusCode, body)
			}
		}
		if took := time.Since(start); took != 40*time.Second {
			t.Errorf("four took %s", took)
		}
		resp, body := answer(t, conns[4]) // which gave up at 30 seconds
		if resp.StatusCode != 503 || resp.Header.Get("Retry-After") != "30" || resp.Header.Get("Content-Type") != "application/problem+json" ||
			!strings.Contains(body, "2 examinations are under way") {
			t.Errorf("%d %v %s", resp.StatusCode, resp.Header, body)
		}
	})
}
