package main

import (
	"errors"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/stshost/stshost/config"
)

func configCheckCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "check",
		Short: "Check the config and show every fault at once",
		Args:  cobra.NoArgs,
		RunE: action(func(cmd *cobra.Command, _ []string) error {
			cfg, err := loadConfig(o.config)
			var faults config.Errors
			if err != nil && !errors.As(err, &faults) {
				return err
			}
			if o.json {
				return checkJSON(cmd, cfg, faults)
			}
			if len(faults) > 0 {
				for _, f := range faults {
					fmt.Fprintln(cmd.ErrOrStderr(), f.Error())
				}
				return exitError(1)
			}
			for _, w := range cfg.Warnings {
				fmt.Fprintln(cmd.ErrOrStderr(), "warning: "+w.Error())
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s is right: %s\n", o.config, counted(len(cfg.Domains), "domain"))
			return nil
		}),
	}
}

// finding is a fault or a warning of a config.
type finding struct {
	File   string `json:"file"`
	Line   int    `json:"line"`
	What   string `json:"what"`
	Remedy string `json:"remedy,omitempty"`
}

func findings(errs []config.Error) []finding {
	all := []finding{}
	for _, e := range errs {
		all = append(all, finding{File: e.Pos.File, Line: e.Pos.Line, What: e.What, Remedy: e.Remedy})
	}
	return all
}

func checkJSON(cmd *cobra.Command, cfg *config.Config, faults config.Errors) error {
	out := struct {
		Errors   []finding `json:"errors"`
		Warnings []finding `json:"warnings"`
		Domains  int       `json:"domains"`
	}{Errors: findings(faults), Warnings: []finding{}}
	if cfg != nil {
		out.Warnings, out.Domains = findings(cfg.Warnings), len(cfg.Domains)
	}
	if err := printJSON(cmd.OutOrStdout(), out); err != nil {
		return err
	}
	if len(faults) > 0 {
		return exitError(1)
	}
	return nil
}
