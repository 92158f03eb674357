package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/spf13/cobra"
	"golang.org/x/term"

	"github.com/stshost/stshost/check"
	"github.com/stshost/stshost/config"
	"github.com/stshost/stshost/internal/state"
)

// examiner tells what senders will do with mail to a domain. Its error is that
// of a name that is none, or of a ctx that ended. It is safe for concurrent use.
type examiner interface {
	Examine(ctx context.Context, domain string) (state.Report, error)
}

// lookSettings are how a command looks at the world.
type lookSettings struct {
	net config.Net
	// remember is what is known of a domain that is hosted here; nil: nothing of any.
	remember func(ctx context.Context, domain string) (*state.Served, error)
	many     bool // domains are looked at, and may share MX hosts
}

// lookFunc makes an examiner that looks at the world so.
type lookFunc func(lookSettings) (examiner, error)

// lookOut is the lookFunc for the real world.
func lookOut(s lookSettings) (examiner, error) {
	c, err := s.prober()
	if err != nil {
		return nil, err
	}
	return check.New(c), nil
}

// prober is the config of what looks. [prove] is left out: its `via` leads to
// the policy hosts of this installation alone.
func (s lookSettings) prober() (check.Config, error) {
	c, err := looking(s.net)
	c.Remember, c.Reuse = s.remember, s.many
	return c, err
}

// The formats of a report.
const (
	formatText     = "text"
	formatJSON     = "json"
	formatMarkdown = "markdown"
)

func checkFormats() []string { return []string{formatText, formatJSON, formatMarkdown} }

// checkSettings are the flags of `stshost check`.
type checkSettings struct {
	format   string
	file     string
	parallel int
	timeout  time.Duration
	verbose  bool
}

// mostParallel bounds --parallel: each domain asks many servers at once already.
const mostParallel = 32

func checkCommand(o *options, look lookFunc) *cobra.Command {
	var s checkSettings
	cmd := &cobra.Command{
		Use:   "check DOMAIN...",
		Short: "Tell what senders will do with mail to any domain, and why",
		Long: `Check looks at a domain as mail senders do, whoever hosts its policy: the record
in DNS, the policy over HTTPS at each address of its host, the MX hosts with
their certificates, and what stands beside all that. It changes nothing, sends
no mail, and needs no config, server or rights.

The first line is the verdict, what senders will do: enforce, test, ignore,
LOSE MAIL; or the domain has no MTA-STS, or it could not be decided from here.
What is wrong follows, the worst first, each with its remedy, the section of the
standard, and a code that docs/check.md explains.

Several domains, or those of --file, end in a table; with --json each is one
line of JSON, written as soon as its domain is done. docs/check.schema.json
describes the JSON.

With --config, or STSHOST_CONFIG, the [net] settings of that config are used:
resolver, roots and ports. Otherwise those of ` + defaultConfig + `,
if it is there and may be read. Faults elsewhere in it do not matter here.

Exit codes:
  0  senders will enforce or test, for every domain
  1  one loses mail, has a policy that is ignored, or has none
  2  wrong usage, or a config that cannot be used
  3  one could not be decided, or the command was interrupted or could not
     write its report, and none is 1`,
		Example: `  stshost check example.org
  stshost check example.org --format markdown > report.md
  stshost check --file domains.txt --parallel 8 --json | jq -r 'select(.verdict != "enforce").domain'`,
		Args:              cobra.ArbitraryArgs,
		ValidArgsFunction: cobra.NoFileCompletions,
		RunE: action(func(cmd *cobra.Command, args []string) error {
			if err := s.complete(cmd, o); err != nil {
				return usageError{err}
			}
			domains, err := s.domains(cmd, args)
			if err != nil {
				return err
			}
			many := len(args) != 1 || s.file != ""
			eyes, shut, err := openEyes(cmd, o, look, many)
			if err != nil {
				// Exit code 1 is a verdict, so this is 2, as wrong usage is.
				fmt.Fprintln(cmd.ErrOrStderr(), err)
				return exitError(2)
			}
			defer shut()
			c := &checker{examiner: eyes, checkSettings: s, out: cmd.OutOrStdout(), errOut: cmd.ErrOrStderr(), style: styleOf(cmd.OutOrStdout())}
			if many {
				return c.many(cmd.Context(), domains)
			}
			return c.one(cmd.Context(), domains[0])
		}),
	}
	flags := cmd.Flags()
	flags.StringVar(&s.format, "format", formatText, "`format` of the report: "+strings.Join(checkFormats(), ", "))
	flags.StringVar(&s.file, "file", "", "also check the domains in `FILE`, one a line; - is standard input")
	flags.IntVar(&s.parallel, "parallel", 4, fmt.Sprintf("look at this `number` of domains at once, 1 to %d", mostParallel))
	flags.DurationVar(&s.timeout, "timeout", 30*time.Second, "give up on a domain after this `time`")
	flags.BoolVarP(&s.verbose, "verbose", "v", false, "in text, show the evidence of what is in order too")
	complete := cobra.FixedCompletions(checkFormats(), cobra.ShellCompDirectiveNoFileComp)
	if err := cmd.RegisterFlagCompletionFunc("format", complete); err != nil {
		panic(err) // the flag is made above
	}
	return cmd
}

// complete takes --json in and says which settings cannot be.
func (s *checkSettings) complete(cmd *cobra.Command, o *options) error {
	switch {
	case !slices.Contains(checkFormats(), s.format):
		return fmt.Errorf("--format %q is none of %s", s.format, strings.Join(checkFormats(), ", "))
	case o.json && cmd.Flags().Changed("format") && s.format != formatJSON:
		return fmt.Errorf("--json contradicts --format %s; leave one of them out", s.format)
	case s.parallel < 1 || s.parallel > mostParallel:
		return fmt.Errorf("--parallel %d is out of range; it must be from 1 to %d", s.parallel, mostParallel)
	case s.timeout <= 0:
		return fmt.Errorf("--timeout %v is no time; write one such as 30s or 2m", s.timeout)
	}
	if o.json {
		s.format = formatJSON
	}
	return nil
}

// openEyes makes the examiner with the settings of the config; shut ends it.
func openEyes(cmd *cobra.Command, o *options, look lookFunc, many bool) (eyes examiner, shut func(), err error) {
	cfg, err := checkConfig(cmd, o)
	if err != nil {
		return nil, nil, err
	}
	remember, shut := openMemory(cmd.Context(), cfg.Store.Path)
	eyes, err = look(lookSettings{net: cfg.Net, remember: remember, many: many})
	if err != nil {
		shut()
		return nil, nil, err
	}
	return eyes, shut, nil
}

// checkConfig reads of the config what looking needs. One that nobody has named
// need not be there, nor be open to everybody who wants to look at a domain.
func checkConfig(cmd *cobra.Command, o *options) (config.Look, error) {
	named := cmd.Flags().Changed("config") || os.Getenv("STSHOST_CONFIG") != ""
	return config.LoadLook(o.config, !named)
}

// exitCode is what the verdict makes of the command: 0 for mail that is
// protected or on the way there, 3 if nothing is known, 1 for the rest.
func exitCode(v state.Verdict) int {
	switch v {
	case state.VerdictEnforce, state.VerdictTest:
		return 0
	case state.VerdictUnknown:
		return 3
	}
	return 1
}

// worse is the worse of two exit codes: what is known to be wrong is worse than
// what is not known.
func worse(a, b int) int {
	for _, code := range []int{1, 3} {
		if a == code || b == code {
			return code
		}
	}
	return 0
}

// ending ends the command with an exit code.
func ending(code int) error {
	if code == 0 {
		return nil
	}
	return exitError(code)
}

// brokenOff ends a command that could not do or say all. It is no verdict, so
// that code, of what was examined, is the exit code if it is worse.
func brokenOff(w io.Writer, err error, code int) error {
	fmt.Fprintf(w, "stshost: %v\n", err)
	return ending(worse(code, 3))
}

// terminal reports whether w is one.
func terminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && isatty.IsTerminal(f.Fd())
}

// styleOf is how text is written to w: with colours and broken at the right
// margin on a terminal, plain elsewhere. See no-color.org for NO_COLOR.
func styleOf(w io.Writer) style {
	if !terminal(w) {
		return style{}
	}
	st := style{color: os.Getenv("NO_COLOR") == "" && os.Getenv("TERM") != "dumb"}
	if width, _, err := term.GetSize(int(w.(*os.File).Fd())); err == nil {
		st.width = width
	}
	return st
}
