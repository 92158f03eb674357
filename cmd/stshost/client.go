package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/spf13/cobra"

	"github.com/stshost/stshost/config"
	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/server"
)

// reader is what the read-only commands ask: the running server, or the store
// when none runs.
type reader interface {
	Domains(ctx context.Context) ([]server.DomainStatus, error)
	Domain(ctx context.Context, name string) (server.DomainStatus, error)
	Records(ctx context.Context, name string) ([]server.DNSRecord, error)
	Hosts(ctx context.Context) ([]server.HostStatus, error)
	Events(ctx context.Context, q state.EventQuery, wait time.Duration) ([]server.Event, error)
}

// withReader finds out whether a server runs and hands f the one to ask. If
// none runs it says so on stderr, for what the store holds may be old.
func withReader(cmd *cobra.Command, o *options, f func(ctx context.Context, r reader) error) error {
	ctx := cmd.Context()
	admin, err := adminAddress(o.config)
	if err != nil {
		return err
	}
	client := server.NewClient(admin)
	ask, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	_, err = client.Version(ask)
	if err == nil {
		return f(ctx, client)
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return fmt.Errorf("the server at %s takes connections but does not answer; see its log, or restart it", admin)
	}
	if !errors.Is(err, server.ErrNotRunning) {
		return err
	}
	cfg, err := loadConfig(o.config)
	if err != nil {
		return err
	}
	if err := answersElsewhere(admin, cfg); err != nil {
		return err
	}
	off, err := newOffline(ctx, cfg)
	if err != nil {
		return err
	}
	if off.store == nil {
		fmt.Fprintln(cmd.ErrOrStderr(), "no server is running, and none has run before; start it with: stshost serve --config "+o.config)
	} else {
		fmt.Fprintln(cmd.ErrOrStderr(), "no server is running: nothing is served or looked after; this is how things stood when one last ran")
	}
	return errors.Join(f(ctx, off), off.Close())
}

// answersElsewhere is the error of a server that does not answer at admin and
// runs all the same; nil if none does.
func answersElsewhere(admin string, cfg *config.Config) error {
	who, running := serverOnStore(cfg.Store.Path)
	if !running {
		return nil
	}
	return fmt.Errorf("a server is running%s, but does not answer at %s; if [listen] admin was changed, restart it", who, admin)
}

// adminAddress is where the server of the config listens. A config that is
// being edited and has faults, or secrets that this user may not read, is no
// reason not to ask the server.
func adminAddress(path string) (string, error) {
	if admin, ok := config.AdminAddress(path); ok {
		return admin, nil
	}
	cfg, err := loadConfig(path)
	if err != nil {
		return "", err
	}
	return cfg.Listen.Admin, nil
}

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
