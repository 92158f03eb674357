package main

import (
	"context"
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/stshost/stshost/server"
)

// withServer hands f the running server, for a command that nothing else can
// answer.
func withServer(cmd *cobra.Command, o *options, f func(ctx context.Context, c *server.Client) error) error {
	admin, err := adminAddress(o.config)
	if err != nil {
		return err
	}
	err = f(cmd.Context(), server.NewClient(admin))
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
	return fmt.Errorf("no server is running at %s; start it with 'stshost serve --config %s'", admin, o.config)
}
