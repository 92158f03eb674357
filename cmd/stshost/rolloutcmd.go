package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/cobra"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/server"
)

// rolloutSettings are the flags of `stshost rollout`.
type rolloutSettings struct {
	selection
	batch int

	detach, plan bool

	hasty, noReports bool
	evidence         string
	force            []string
	reason           string
}

func rolloutCommand(o *options) *cobra.Command {
	var s rolloutSettings
	cmd := &cobra.Command{
		Use:   "rollout DOMAIN... | --all | --profile NAME",
		Short: "Take domains from testing to enforce, stage by stage",
		Long: `Rollout has the server take a managed domain to enforce: with a max_age of a day,
then of a week, then in full, unless ramp in the config says otherwise. Before each
stage stand gates, which rest on evidence that is minutes old:

  policy           the policy of the stage is confirmed on every name server
  mx-covered       the policy names every MX host
  mx-tls           every MX host passes at each of its addresses
  mx-certificates  their certificates are valid for 14 days more
  time             the stage has lasted for its time
  reports          senders report success, and no failure unexplained

If a gate is closed that does not open by itself, the rollout is refused and
nothing changes. --plan says what would happen, and when, and changes nothing.

Once started, the rollout is the server's and goes on by itself. The command shows
it until the domain has arrived, a gate holds it up, or Ctrl-C ends the command
alone: on a terminal in place, elsewhere, of one domain, a line when something
changes. --detach leaves that out.

Several domains, --all or --profile are started 8 at a time. One that is refused
holds up no other. --all and --profile leave those alone that are paused, pinned in
the config, or leave MTA-STS. With --batch, run it again for the next ones.

With --json: the state of a domain, again on a line of its own whenever something
changes. Of several domains one answer, when all are started.

Exit codes:
  0  started and, if followed, arrived, or the command was left by Ctrl-C; with
     --plan whatever the gates say
  1  refused, held up, or failed, at one domain at least; with --plan: pinned,
     leaving MTA-STS, or unknown
  2  wrong usage`,
		Example: `  stshost rollout example.org --plan
  stshost rollout example.org
  ssh mx.example.org stshost check example.org --json | stshost rollout example.org --evidence -
  stshost rollout --all --batch 50 --detach`,
		Args:              cobra.ArbitraryArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: action(func(cmd *cobra.Command, args []string) error {
			order, err := s.complete(cmd, args)
			if err != nil {
				return err
			}
			return withServer(cmd, o, func(ctx context.Context, c *server.Client) error {
				r := &roller{client: c, rolloutSettings: s, order: order, screen: screenOf(cmd.OutOrStdout(), cmd.ErrOrStderr(), o.json)}
				if len(s.named) == 1 {
					return r.one(ctx, s.named[0])
				}
				return r.many(ctx)
			})
		}),
	}
	s.flags(cmd)
	flags := cmd.Flags()
	flags.IntVar(&s.batch, "batch", 0, "with --all or --profile: start at most this `number` of domains that are not on their way")
	flags.BoolVar(&s.detach, "detach", false, "return when it is started")
	flags.BoolVar(&s.plan, "plan", false, "say what would happen and when, and change nothing")
	flags.BoolVar(&s.hasty, "now", false, "skip the waiting times, but no other gate")
	flags.BoolVar(&s.noReports, "accept-no-reports", false, "rest on probes alone where senders report nothing")
	flags.StringVar(&s.evidence, "evidence", "", "of one domain: `FILE` with what 'stshost check DOMAIN --json' found on another machine; - is standard input")
	flags.StringArrayVar(&s.force, "force", nil, "pass this `gate` unmet at the next step, may be repeated; needs --reason")
	flags.StringVar(&s.reason, "reason", "", "why a gate may be passed unmet: a `text`, which is kept")
	if err := cmd.RegisterFlagCompletionFunc("force", cobra.FixedCompletions(state.Gates(), cobra.ShellCompDirectiveNoFileComp)); err != nil {
		panic(err) // the flag is made above
	}
	cmd.AddCommand(
		rolloutPauseCommand(o),
		rolloutResumeCommand(o),
	)
	return cmd
}

// complete says which domains and what order the flags and arguments mean.
func (s *rolloutSettings) complete(cmd *cobra.Command, args []string) (o state.RolloutOrder, err error) {
	usage := func(format string, args ...any) (state.RolloutOrder, error) {
		return o, usageError{fmt.Errorf(format, args...)}
	}
	for _, arg := range args {
		if !strings.Contains(arg, ".") && len(args) > 1 {
			return usage("%q is no domain; the subcommands of rollout are pause and resume", arg)
		}
	}
	if err := s.selection.complete(cmd, args); err != nil {
		return o, err
	}
	flags := cmd.Flags()
	switch {
	case flags.Changed("batch") && s.named != nil:
		return usage("--batch goes with --all or --profile")
	case flags.Changed("batch") && s.batch < 1:
		return usage("--batch %d starts nothing; it must be 1 at least", s.batch)
	case len(s.force) > 0 && strings.TrimSpace(s.reason) == "":
		return usage("--force needs --reason: why may the gate be passed unmet?")
	case len(s.force) == 0 && flags.Changed("reason"):
		return usage("--reason goes with --force, and says why the gate may be passed unmet")
	case s.evidence != "" && len(s.named) != 1:
		return usage("--evidence is about one domain; name it, and no other")
	}
	o = state.RolloutOrder{Now: s.hasty, AcceptNoReports: s.noReports}
	slices.Sort(s.force)
	for _, gate := range slices.Compact(s.force) {
		if !slices.Contains(state.Gates(), gate) {
			return usage("--force %q is no gate; the gates are %s", gate, strings.Join(state.Gates(), ", "))
		}
		o.Waive = append(o.Waive, state.Waiver{Gate: gate, Reason: strings.TrimSpace(s.reason)})
	}
	if s.evidence != "" {
		if o.Evidence, err = readEvidence(cmd, s.evidence); err != nil {
			return o, usageError{err}
		}
	}
	return o, nil
}

// readEvidence reads a report that was made elsewhere.
func readEvidence(cmd *cobra.Command, path string) (*state.Report, error) {
	in, name := cmd.InOrStdin(), "standard input"
	if path != "-" {
		f, err := os.Open(path)
		if err != nil {
			return nil, fmt.Errorf("the evidence cannot be read: %w", err)
		}
		defer f.Close()
		in, name = f, escaped(path)
	}
	text, err := readInterruptibly(cmd.Context(), in)
	if err != nil {
		return nil, fmt.Errorf("the evidence cannot be read: %w", err)
	}
	const what = "what `stshost check DOMAIN --json` prints of one domain"
	r := new(state.Report)
	dec := json.NewDecoder(strings.NewReader(text))
	if err := dec.Decode(r); err != nil || r.Domain == "" || r.Findings == nil {
		return nil, fmt.Errorf("%s is not %s", name, what)
	}
	if _, err := dec.Token(); !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("%s has more in it than %s", name, what)
	}
	return r, nil
}

// onDomain is withServer for a command that takes one domain.
func onDomain(cmd *cobra.Command, o *options, arg string, f func(ctx context.Context, c *server.Client, domain string) error) error {
	var list domainList
	if list.add("", arg); len(list.faults) > 0 {
		return usageError{list.faults[0]}
	}
	return withServer(cmd, o, func(ctx context.Context, c *server.Client) error { return f(ctx, c, list.names[0]) })
}

// answer prints v as JSON, or as text for people.
func (sc screen) answer(v any, text func(style) string) (err error) {
	out := ""
	if !sc.json {
		out = text(styleOf(sc.out))
	} else if out, err = jsonText(v, "  "); err != nil {
		return err
	}
	_, err = io.WriteString(sc.out, out)
	return err
}
