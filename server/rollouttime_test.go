package server_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/server"
)

// long runs f in fake time with a server whose looks at the gates end when they
// are told to, or are given up.
func long(t *testing.T, takes time.Duration, f func(ask func(path, body string) net.Conn, began <-chan struct{}, ended <-chan error, stop func())) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		began, ended := make(chan struct{}, 20), make(chan error, 20)
		r := &rollouts{now: time.Now().UTC(), look: func(ctx context.Context) error {
			began <- struct{}{}
			select {
			case <-time.After(takes):
			case <-ctx.Done():
			}
			ended <- ctx.Err()
			return ctx.Err()
		}}
		s := newServer(t, server.Config{Policies: server.NewPolicies(), Backend: newBackend(time.Now()), Rollouts: r})
		ln := newPipes()
		ctx, stop := context.WithCancel(t.Context())
		served := make(chan error, 1)
		go func() { served <- s.ServeAdmin(ctx, ln) }()
		f(func(path, body string) net.Conn {
			conn := ln.dial()
			fmt.Fprintf(conn, "POST /api/v1/domains/a.example/%s HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", path, len(body), body)
			return conn
		}, began, ended, stop)
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}

// A look at the gates may take its minute, whether an order came with it or not.
func TestStartingARolloutTakesItsTime(t *testing.T) {
	for _, body := range []string{"", "{}"} {
		for _, path := range []string{"rollout", "rollout/plan", "mx/accept"} {
			long(t, 80*time.Second, func(ask func(string, string) net.Conn, _ <-chan struct{}, ended <-chan error, _ func()) {
				if resp, text := answer(t, ask(path, body)); resp.StatusCode != 200 || <-ended != nil {
					t.Errorf("%s %s: %d %s", path, body, resp.StatusCode, text)
				}
			})
		}
	}
}

func TestStartingARolloutHasAnEnd(t *testing.T) {
	for _, path := range []string{"rollout", "rollout/plan", "mx/accept"} {
		long(t, time.Hour, func(ask func(string, string) net.Conn, _ <-chan struct{}, ended <-chan error, _ func()) {
			start := time.Now()
			resp, text := answer(t, ask(path, ""))
			if took := time.Since(start); took != 90*time.Second || resp.StatusCode != 503 || !strings.Contains(text, "took too long") || <-ended == nil {
				t.Errorf("%s: after %s: %d %s", path, took, resp.StatusCode, text)
			}
		})
	}
}

func TestStartingARolloutEndsWhenTheClientGoes(t *testing.T) {
	for _, asked := range [][2]string{{"rollout", ""}, {"rollout", "{}"}, {"rollout/plan", ""}, {"rollout/plan", "{}"}, {"mx/accept", ""}} {
		long(t, time.Hour, func(ask func(string, string) net.Conn, began <-chan struct{}, ended <-chan error, _ func()) {
			conn := ask(asked[0], asked[1])
			<-began
			time.Sleep(10 * time.Second)
			start := time.Now()
			conn.Close()
			if err := <-ended; !errors.Is(err, context.Canceled) || time.Since(start) > time.Second {
				t.Errorf("%s: after %s: %v", asked, time.Since(start), err)
			}
		})
	}
}

func TestStartingARolloutEndsWithTheServer(t *testing.T) {
	long(t, time.Hour, func(ask func(string, string) net.Conn, began <-chan struct{}, ended <-chan error, stop func()) {
		conn := ask("rollout", "")
		<-began
		stop()
		if resp, _ := answer(t, conn); resp.StatusCode != 503 || <-ended == nil {
			t.Errorf("%d", resp.StatusCode)
		}
	})
}

// A client that is stopped gives up what it asked for.
func TestStoppedClientCancelsARollout(t *testing.T) {
	began, ended := make(chan struct{}), make(chan error, 1)
	r := &rollouts{look: func(ctx context.Context) error {
		close(began)
		<-ctx.Done()
		ended <- ctx.Err()
		return ctx.Err()
	}}
	s := newServer(t, server.Config{Policies: server.NewPolicies(), Backend: newBackend(rolloutTime), Rollouts: r})
	c := server.NewClient(serve(t, s.ServeAdmin))
	ctx, stop := context.WithCancel(t.Context())
	go func() { <-began; stop() }()
	if _, err := c.StartRollout(ctx, "a.example", state.RolloutOrder{Now: true}); !errors.Is(err, context.Canceled) {
		t.Errorf("the client: %v", err)
	}
	if err := <-ended; !errors.Is(err, context.Canceled) {
		t.Errorf("the server: %v", err)
	}
}

// An order to go back waits for no look at gates.
func TestRollbackWaitsForNoLook(t *testing.T) {
	long(t, 20*time.Second, func(ask func(string, string) net.Conn, began <-chan struct{}, _ <-chan error, _ func()) {
		start := time.Now()
		var conns []net.Conn
		for range 5 {
			conns = append(conns, ask("rollout", ""))
		}
		synctest.Wait()
		if len(began) != len(conns) {
			t.Errorf("%d have begun", len(began))
		}
		if resp, _ := answer(t, ask("rollback", "")); resp.StatusCode != 200 || time.Since(start) != 0 {
			t.Errorf("going back: %d after %s", resp.StatusCode, time.Since(start))
		}
		for _, c := range conns {
			if resp, _ := answer(t, c); resp.StatusCode != 200 {
				t.Errorf("a look: %d", resp.StatusCode)
			}
		}
	})
}
