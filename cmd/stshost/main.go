// Stshost makes inbound mail to a set of domains TLS-enforced by MTA-STS
// (RFC 8461), and keeps it so: it gets the certificate for mta-sts.<domain>,
// serves the policy, proves from outside that senders will see it, and only
// then announces it in DNS.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/spf13/cobra"
)

// defaultConfig is read when neither --config nor STSHOST_CONFIG names a file.
const defaultConfig = "/etc/stshost/config.toml"

func main() {
	// The services of shoutrrr use this client, which would wait for ever.
	http.DefaultClient.Timeout = time.Minute
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := run(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}

// run executes one command line.
func run(ctx context.Context, args []string, stdout, stderr io.Writer) int {
	return execute(ctx, newRoot(lookOut), args, stdout, stderr)
}

// execute maps the end of a command line to an exit code: 0 done, 1 failed,
// 2 wrong usage, or what the command says of itself.
func execute(ctx context.Context, root *cobra.Command, args []string, stdout, stderr io.Writer) int {
	root.SetArgs(args)
	root.SetOut(stdout)
	root.SetErr(stderr)
	cmd, err := root.ExecuteContextC(ctx)
	var failed failedError
	var coded exitError
	switch {
	case err == nil:
		return 0
	case errors.As(err, &coded):
		return int(coded)
	case errors.As(err, &failed):
		fmt.Fprintf(stderr, "stshost: %v\n", failed.error)
		return 1
	default: // cobra's own: unknown command or flag, wrong number of arguments
		fmt.Fprintf(stderr, "stshost: %v\nRun '%s --help' for usage.\n", err, cmd.CommandPath())
		return 2
	}
}

// failedError marks an error as the outcome of a command that was rightly
// called, so that it is not taken for wrong usage.
type failedError struct{ error }

func (e failedError) Unwrap() error { return e.error }

// exitError ends a command that has said all there is to say.
type exitError int

func (e exitError) Error() string { return fmt.Sprintf("exit status %d", int(e)) }

// options are the flags that every command has.
type options struct {
	config string
	json   bool
}

// newRoot is the whole command line; look opens the eyes of `stshost check`.
func newRoot(look lookFunc) *cobra.Command {
	o := &options{config: defaultConfig}
	if path := os.Getenv("STSHOST_CONFIG"); path != "" {
		o.config = path
	}
	root := &cobra.Command{
		Use:   "stshost",
		Short: "Host MTA-STS policies, rightly and for good",
		Long: `stshost hosts MTA-STS policies (RFC 8461): it gets the certificate for
mta-sts.<domain> by ACME, serves the policy, fetches it back as a sender would,
and only then announces it in DNS. It keeps all of that true.

See it at work on this machine alone:  stshost demo`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args:          cobra.NoArgs,
		RunE:          func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	root.PersistentFlags().StringVar(&o.config, "config", o.config, "config `file`; also STSHOST_CONFIG")
	root.PersistentFlags().BoolVar(&o.json, "json", false, "print JSON")
	root.AddCommand(
		serveCommand(o),
		configCommand(o),
		statusCommand(o),
		explainCommand(o),
		checkCommand(o, look),
		recordsCommand(o),
		rolloutCommand(o),
		rollbackCommand(o),
		retireCommand(o),
		horizonCommand(o),
		mxCommand(o),
		eventsCommand(o),
		notifyCommand(o),
		reloadCommand(o),
		storeCommand(o),
		dnsCommand(o),
		demoCommand(o),
		versionCommand(o),
	)
	nameArguments(root)
	root.SetFlagErrorFunc(flagError)
	return root
}

// action adapts a command's work to cobra: whatever it returns is a failure,
// not wrong usage.
func action(f func(cmd *cobra.Command, args []string) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		err := f(cmd, args)
		var coded exitError
		var usage usageError
		if err == nil || errors.As(err, &coded) || errors.As(err, &usage) {
			return err
		}
		return failedError{err}
	}
}

// usageError is a wrong argument that only the command itself can tell.
type usageError struct{ error }

func (e usageError) Unwrap() error { return e.error }
