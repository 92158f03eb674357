package server_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/server"
)

// What a reload is to drop arrives, and may be left out.
func TestReloadOrder(t *testing.T) {
	b := newBackend(rolloutTime)
	b.reload = server.ReloadResult{Removed: []string{"y.example", "z.example"}, Retiring: []string{"y.example"}, Abandoned: []string{"z.example"}}
	addr, _ := startRollouts(t, b)
	c := server.NewClient(addr)
	res, err := c.Reload(t.Context(), server.ReloadOrder{Abandon: []string{"Z.Example"}, AbandonAll: true})
	same(t, res, b.reload, err)
	if resp, body := do(t, http.DefaultClient, "POST", "http://"+addr+"/api/v1/reload"); resp.StatusCode != 200 || !strings.Contains(body, `"retiring":["y.example"],"abandoned":["z.example"]`) {
		t.Errorf("%d %s", resp.StatusCode, body)
	}
	var invalid *server.InvalidConfigError
	if _, err := c.Reload(t.Context(), server.ReloadOrder{Abandon: []string{"not a domain"}}); err == nil || errors.As(err, &invalid) || !strings.Contains(err.Error(), "not a domain name") {
		t.Errorf("no domain: %v", err)
	}
	if resp, body := do(t, http.DefaultClient, "POST", "http://"+addr+"/api/v1/reload", withBody(`{"abandon":"a.example"}`)); resp.StatusCode != 422 {
		t.Errorf("no list: %d %s", resp.StatusCode, body)
	}
	same(t, b.orders, []server.ReloadOrder{{Abandon: []string{"z.example"}, AbandonAll: true}, {}}, nil)
	b.reloadErr = fmt.Errorf("inner: %w", &state.StageError{Text: "a.example stays in the config"})
	var stage *state.StageError
	if _, err := c.Reload(t.Context(), server.ReloadOrder{Abandon: []string{"a.example"}}); !errors.As(err, &stage) || stage.Text != "a.example stays in the config" {
		t.Errorf("a domain that stays: %v", err)
	}
}

// A reload may take its time, although no body comes with it.
func TestReloadTakesItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBackend(time.Now())
		b.reloading = func(ctx context.Context) error {
			select {
			case <-time.After(time.Minute):
			case <-ctx.Done():
			}
			return ctx.Err()
		}
		s := newServer(t, server.Config{Policies: server.NewPolicies(), Backend: b})
		ln := newPipes()
		ctx, stop := context.WithCancel(t.Context())
		served := make(chan error, 1)
		go func() { served <- s.ServeAdmin(ctx, ln) }()
		conn := ln.dial()
		fmt.Fprint(conn, "POST /api/v1/reload HTTP/1.1\r\nHost: localhost\r\nContent-Length: 0\r\n\r\n")
		if resp, text := answer(t, conn); resp.StatusCode != 200 {
			t.Errorf("%d %s", resp.StatusCode, text)
		}
		stop()
		if err := <-served; err != nil {
			t.Error(err)
		}
	})
}
