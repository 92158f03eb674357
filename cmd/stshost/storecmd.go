package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spf13/cobra"

	"github.com/stshost/stshost/config"
	"github.com/stshost/stshost/store"
)

func storeCommand(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "store",
		Short: "Back the store up, restore it, check it",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(storeBackupCommand(o), storeRestoreCommand(o), storeCheckCommand(o))
	return cmd
}

func storeBackupCommand(o *options) *cobra.Command {
	var force bool
	cmd := &cobra.Command{
		Use:   "backup FILE",
		Short: "Write a copy of the store, also while the server runs",
		Long: `Backup writes the store, as it stands at one moment, to FILE. The server may run
and goes on writing meanwhile. FILE gets mode 0600, for it holds the private
keys, and has its name only once it is whole, verified and on disk. A file that
exists is not overwritten without --force.`,
		Args: cobra.ExactArgs(1),
		RunE: action(func(cmd *cobra.Command, args []string) error {
			cfg, err := config.LoadStore(o.config)
			if err != nil {
				return err
			}
			sum, err := store.Backup(cmd.Context(), cfg.Path, args[0], force)
			if err != nil {
				return err
			}
			if o.json {
				return printJSON(cmd.OutOrStdout(), summaryJSON(sum))
			}
			fmt.Fprintf(cmd.OutOrStdout(), "backed up to %s: %s\n", sum.Path, summaryText(sum))
			return nil
		}),
	}
	cmd.Flags().BoolVar(&force, "force", false, "replace FILE if it exists")
	return cmd
}

func storeRestoreCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "restore FILE",
		Short: "Put a backup in the place of the store; the server must be stopped",
		Long: `Restore puts a copy of the backup FILE in the place of the store, after it has
looked through it. The store that stood there is kept beside it, as
<store>.before-restore-<time>. The server must be stopped.`,
		Args: cobra.ExactArgs(1),
		RunE: action(func(cmd *cobra.Command, args []string) error {
			cfg, err := config.LoadStore(o.config)
			if err != nil {
				return err
			}
			lock, err := lockStore(cfg.Path)
			if err != nil {
				return err
			}
			defer lock.release()
			res, err := store.Restore(cmd.Context(), args[0], cfg.Path, time.Now())
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			if o.json {
				return printJSON(out, struct {
					storeSummary
					Kept string `json:"kept,omitempty"`
				}{summaryJSON(res.Store), res.Kept})
			}
			fmt.Fprintf(out, "restored %s: %s\n", res.Store.Path, summaryText(res.Store))
			if res.Kept != "" {
				fmt.Fprintf(out, "The store that stood there is kept as %s; it holds private keys, so remove it when it is of no more use.\n", res.Kept)
			}
			fmt.Fprintf(out, "Start the server now (stshost serve --config %s): it compares what the backup knows with what is published,\n"+
				"gives a new id to whatever changed since, and renews certificates that are due. 'stshost status' shows what it asks of you.\n", o.config)
			return nil
		}),
	}
}

func storeCheckCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "check [FILE]",
		Short: "Look through the store, or a backup, for damage",
		Long: `Check reads the whole store, or the backup FILE, and says whether it is whole,
the version of its schema and what is in it. The server may run.`,
		Args: cobra.MaximumNArgs(1),
		RunE: action(func(cmd *cobra.Command, args []string) error {
			sum, err := inspect(cmd.Context(), o, args)
			if err != nil {
				return err
			}
			if o.json {
				return printJSON(cmd.OutOrStdout(), summaryJSON(sum))
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s is whole: %s\n", sum.Path, summaryText(sum))
			return nil
		}),
	}
}

// inspect looks through the backup that args name, or the store of the config.
func inspect(ctx context.Context, o *options, args []string) (store.Summary, error) {
	if len(args) == 1 {
		return store.InspectBackup(ctx, args[0])
	}
	cfg, err := config.LoadStore(o.config)
	if err != nil {
		return store.Summary{}, err
	}
	return store.Inspect(ctx, cfg.Path)
}

// storeSummary is a store.Summary in JSON.
type storeSummary struct {
	Path          string    `json:"path"`
	Bytes         int64     `json:"bytes"`
	SchemaVersion int64     `json:"schema_version"`
	Domains       int64     `json:"domains"`
	Certificates  int64     `json:"certificates"`
	LastRun       time.Time `json:"last_run,omitzero"`
}

func summaryJSON(s store.Summary) storeSummary {
	return storeSummary{
		Path: s.Path, Bytes: s.Size, SchemaVersion: s.SchemaVersion,
		Domains: s.Domains, Certificates: s.Certificates, LastRun: s.LastRun,
	}
}

func summaryText(s store.Summary) string {
	text := fmt.Sprintf("%s, %s, %s, schema version %d", counted(s.Domains, "domain"), counted(s.Certificates, "certificate"), counted(s.Size, "byte"), s.SchemaVersion)
	if s.LastRun.IsZero() {
		return text
	}
	return text + ", as of " + s.LastRun.UTC().Format(time.RFC3339)
}
