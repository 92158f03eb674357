package server_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/server"
)

func TestClient(t *testing.T) {
	now := time.Now().UTC().Round(0)
	b := newBackend(now)
	b.reload = server.ReloadResult{Changed: []string{"a.example"}, Unchanged: 2}
	s := newServer(t, server.Config{Policies: server.NewPolicies(), Backend: b, Version: "1.2.3"})
	socket := "unix:" + filepath.Join(t.TempDir(), "admin.sock")
	ln, err := server.ListenAdmin(t.Context(), socket)
	if err != nil {
		t.Fatal(err)
	}
	serveOn(t, ln, s.ServeAdmin)
	for _, addr := range []string{socket, serve(t, s.ServeAdmin)} {
		t.Run(addr, func(t *testing.T) {
			c, ctx := server.NewClient(addr), t.Context()
			domains, err := c.Domains(ctx)
			same(t, domains, b.domains, err)
			d, err := c.Domain(ctx, "A.example")
			same(t, d, b.domains[0], err)
			e, err := c.Explain(ctx, "b.example")
			same(t, e, server.Explain(b.domains[1]), err)
			r, err := c.Records(ctx, "a.example")
			want, _ := b.Records(ctx, "a.example")
			same(t, r, want, err)
			f, err := c.Fetches(ctx, "a.example")
			same(t, f, s.Fetches("mta-sts.a.example"), err)
			v, err := c.Version(ctx)
			same(t, v.Version, "1.2.3", err)
			b.reloadErr = nil
			res, err := c.Reload(ctx, server.ReloadOrder{})
			same(t, res, b.reload, err)

			for _, ask := range []func() error{
				func() error { _, err := c.Domain(ctx, "x.example"); return err },
				func() error { _, err := c.Explain(ctx, "x.example"); return err },
				func() error { _, err := c.Fetches(ctx, "x.example"); return err },
			} {
				if err := ask(); !errors.Is(err, state.ErrNotFound) {
					t.Errorf("unknown domain: %v", err)
				}
			}
			if _, err := c.Domain(ctx, "../version"); err == nil || errors.Is(err, state.ErrNotFound) {
				t.Errorf("a name that is none: %v", err)
			}

			b.reloadErr = fmt.Errorf("reload: %w", server.NewInvalidConfigError(errors.New("a.toml:1: one; do this\na.toml:2: two; do that\n")))
			_, err = c.Reload(ctx, server.ReloadOrder{})
			var invalid *server.InvalidConfigError
			if !errors.As(err, &invalid) {
				t.Fatalf("faulty configuration: %v", err)
			}
			same(t, invalid.Errors, []string{"a.toml:1: one; do this", "a.toml:2: two; do that"}, nil)
			b.reloadErr = errors.New("disk on fire")
			if _, err = c.Reload(ctx, server.ReloadOrder{}); err == nil || errors.As(err, &invalid) {
				t.Errorf("failed reload: %v", err)
			}
		})
	}
}

func same[T any](t *testing.T, got, want T, err error) {
	t.Helper()
	if err != nil {
		t.Error(err)
		return
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got)\n%s", diff)
	}
}

func TestClientWithoutServer(t *testing.T) {
	ln := listen(t)
	closed := ln.Addr().String()
	ln.Close()
	for _, addr := range []string{"unix:" + filepath.Join(t.TempDir(), "none.sock"), closed} {
		_, err := server.NewClient(addr).Version(t.Context())
		if !errors.Is(err, server.ErrNotRunning) || !strings.Contains(err.Error(), "stshost serve") {
			t.Errorf("%s: %v", addr, err)
		}
	}
}

func TestClientMeetsAnotherServer(t *testing.T) {
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	_, err := server.NewClient(other.Listener.Addr().String()).Domain(t.Context(), "a.example")
	if err == nil || errors.Is(err, state.ErrNotFound) || !strings.Contains(err.Error(), "is it stshost?") {
		t.Errorf("error %v", err)
	}
}

func TestListenAdmin(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "admin.sock")
	ln, err := server.ListenAdmin(t.Context(), "unix:"+path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o660 {
		t.Errorf("mode of the socket: %v %v", info.Mode(), err)
	}
	if _, err := server.ListenAdmin(t.Context(), "unix:"+path); err == nil || !strings.Contains(err.Error(), "another stshost") {
		t.Errorf("second listener: %v", err)
	}
	ln.(*net.UnixListener).SetUnlinkOnClose(false) // as after a kill
	ln.Close()
	ln, err = server.ListenAdmin(t.Context(), "unix:"+path)
	if err != nil {
		t.Fatalf("a socket that was left behind: %v", err)
	}
	ln.Close()

	file := filepath.Join(dir, "file")
	if err := os.WriteFile(file, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := server.ListenAdmin(t.Context(), "unix:"+file); err == nil {
		t.Error("a file that is no socket was replaced")
	}
	if _, err := server.ListenAdmin(t.Context(), "unix:"+filepath.Join(dir, "no", "such.sock")); err == nil || !strings.Contains(err.Error(), "directory") {
		t.Errorf("no directory: %v", err)
	}
}

// serveOn is serve on a listener of the caller's.
func serveOn(t testing.TB, ln net.Listener, run func(context.Context, net.Listener) error) {
	t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- run(ctx, ln) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("serving ended with %v, want nil", err)
		}
	})
}
