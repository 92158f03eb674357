package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/spf13/cobra"

	"github.com/stshost/stshost/config"
	"github.com/stshost/stshost/server"
)

// reader is what the read-only commands ask: the running server, or the store
// when none runs.
type reader interface {
	Domains(ctx context.Context) ([]server.DomainStatus, error)
	Domain(ctx context.Context, name string) (server.DomainStatus, error)
	Records(ctx context.Context, name string) ([]server.DNSRecord, error)
}

// withReader finds out whether a server runs and hands f the one to ask. If
// none runs it says so on stderr, for what the store holds may be old.
func withReader(cmd *cobra.Command, o *options, f func(ctx context.Context, r reader) error) error {
	ctx := cmd.Context()
	cfg, err := loadConfig(o.config)
	if err != nil {
		return err
	}
	client := server.NewClient(cfg.Listen.Admin)
	_, err = client.Version(ctx)
	if err == nil {
		return f(ctx, client)
	}
	if !errors.Is(err, server.ErrNotRunning) {
		return err
	}
	fmt.Fprintln(cmd.ErrOrStderr(), "no server is running; this is what the store holds")
	off, err := newOffline(ctx, cfg)
	if err != nil {
		return err
	}
	return errors.Join(f(ctx, off), off.Close())
}

// adminAddress is where the server of the config listens. A config with faults
// is read as far as it goes: it is what a reload is about to report.
func adminAddress(path string) (string, error) {
	cfg, err := loadConfig(path)
	if err == nil {
		return cfg.Listen.Admin, nil
	}
	if admin, ok := config.AdminAddress(path); ok {
		return admin, nil
	}
	return "", err
}

func printJSON(w io.Writer, v any) error {
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	enc.SetEscapeHTML(false)
	return enc.Encode(v)
}
