package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"time"

	"github.com/spf13/cobra"
)

func serveCommand(o *options) *cobra.Command {
	var format, level string
	cmd := &cobra.Command{
		Use:   "serve",
		Short: "Serve the policies of the config and keep them announced",
		Long: `Serve runs in the foreground until INT or TERM. For every domain of the config it
gets the certificate, serves the policy, fetches it back, announces it in DNS,
and looks after all of that from then on. HUP, or 'stshost reload', reads the
config again.`,
		Args: cobra.NoArgs,
		RunE: action(func(cmd *cobra.Command, _ []string) error {
			log, err := newLogger(cmd.ErrOrStderr(), format, level)
			if err != nil {
				return usageError{err}
			}
			cfg, err := loadConfigToStart(o.config)
			if err != nil {
				return err
			}
			for _, w := range cfg.Warnings {
				log.Warn(w.Error())
			}
			ctx := cmd.Context()
			hup, stop := hangups()
			defer stop()
			manager, err := newManager()
			if err != nil {
				return err
			}
			s, err := newService(ctx, cfg, log, environment{manager: manager})
			if ctx.Err() != nil && errors.Is(err, context.Canceled) {
				return nil // told to stop before all was up
			}
			if err != nil {
				return err
			}
			log.Info("serving", "version", version(), "domains", len(cfg.Domains),
				"https", cfg.Listen.HTTPS, "http", cfg.Listen.HTTP, "proxied", cfg.Listen.Proxied, "admin", cfg.Listen.Admin)
			started := time.Now()
			err = s.run(ctx, hup)
			if err == nil {
				log.Info("stopped", "after", time.Since(started).Round(time.Second))
			}
			return err
		}),
	}
	cmd.Flags().StringVar(&format, "log-format", "text", "log as `text` or json")
	cmd.Flags().StringVar(&level, "log-level", "info", "log from this `level` up: debug, info, warn or error")
	return cmd
}

func newLogger(w io.Writer, format, level string) (*slog.Logger, error) {
	var opts slog.HandlerOptions
	var lv slog.Level
	if err := lv.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("--log-level %q is none of debug, info, warn, error", level)
	}
	opts.Level = lv
	if format == "text" && toJournal(w) { // which has the time; of JSON a program may want it
		opts.ReplaceAttr = func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && a.Key == slog.TimeKey {
				return slog.Attr{}
			}
			return a
		}
	}
	switch format {
	case "text":
		return slog.New(slog.NewTextHandler(w, &opts)), nil
	case "json":
		return slog.New(slog.NewJSONHandler(w, &opts)), nil
	}
	return nil, fmt.Errorf("--log-format %q is neither text nor json", format)
}
