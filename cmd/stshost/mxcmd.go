package main

import (
	"context"
	"errors"

	"github.com/spf13/cobra"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/server"
)

func mxCommand(o *options) *cobra.Command {
	cmd := &cobra.Command{
		Use:   "mx",
		Short: "Accept MX hosts that the policy does not name",
		Args:  cobra.NoArgs,
		RunE:  func(cmd *cobra.Command, _ []string) error { return cmd.Help() },
	}
	cmd.AddCommand(&cobra.Command{
		Use:   "accept DOMAIN [HOST...]",
		Short: "Have the policy name the MX hosts that the DNS has and it does not",
		Long: `Accept adds to the policy of a domain the MX hosts that the DNS has now and that it
does not name, beside those that it names; name hosts to have these and no other. It
is you who vouches for them: look at them before, with 'stshost check DOMAIN', for
what is forged in the DNS must not enter a policy. Nothing is taken out of the policy;
'stshost horizon DOMAIN --mx HOST' says when an old host can go. Write the new ones
into mx in the config when it suits you.`,
		Args:              cobra.MinimumNArgs(1),
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: action(func(cmd *cobra.Command, args []string) error {
			var hosts domainList
			for _, arg := range args[1:] {
				hosts.add("", arg)
			}
			if len(hosts.faults) > 0 {
				return usageError{errors.Join(hosts.faults...)}
			}
			return onDomain(cmd, o, args[0], func(ctx context.Context, c *server.Client, domain string) error {
				change, err := askDomain(ctx, domain, func(ctx context.Context, domain string) (state.MXChange, error) {
					return c.AcceptMX(ctx, domain, hosts.names...)
				})
				if err != nil {
					return err
				}
				return screenOf(cmd.OutOrStdout(), cmd.ErrOrStderr(), o.json).answer(change, func(st style) string {
					return st.wrapped(escaped(change.Domain)+": "+sentence(change.Text)) + "\n"
				})
			})
		}),
	})
	return cmd
}
