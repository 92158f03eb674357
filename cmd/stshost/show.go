package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
	"github.com/stshost/stshost/server"
)

func statusCommand(o *options) *cobra.Command {
	var trouble bool
	cmd := &cobra.Command{
		Use:   "status [DOMAIN]",
		Short: "Show how far each domain is, or all about one domain or host",
		Args:  cobra.MaximumNArgs(1),
		RunE: action(func(cmd *cobra.Command, args []string) error {
			if len(args) == 1 {
				return answer(cmd, o, args[0], reader.Domain, printDomain, func(h server.HostStatus) (any, func(io.Writer) error) {
					return h, func(w io.Writer) error { return printHost(w, h) }
				})
			}
			return withReader(cmd, o, func(ctx context.Context, r reader) error {
				all, err := r.Domains(ctx)
				if err != nil {
					return err
				}
				hosts, err := r.Hosts(ctx)
				if err != nil {
					return err
				}
				summary := summarize(all)
				if trouble {
					all = slices.DeleteFunc(all, func(d server.DomainStatus) bool { return d.Trouble() == "" })
					hosts = slices.DeleteFunc(hosts, func(h server.HostStatus) bool { return h.Trouble() == "" })
				}
				if o.json {
					return printJSON(cmd.OutOrStdout(), struct {
						Domains []server.DomainStatus `json:"domains"`
						Hosts   []server.HostStatus   `json:"hosts,omitempty"`
					}{all, hosts})
				}
				out := cmd.OutOrStdout()
				if err := errors.Join(printDomains(out, all), printHosts(out, hosts)); err != nil {
					return err
				}
				_, err = io.WriteString(out, summary)
				return err
			})
		}),
	}
	cmd.Flags().BoolVar(&trouble, "trouble", false, "only where something is wrong or missing")
	return cmd
}

// summarize counts domains by state, where there are too many to see at a glance.
func summarize(all []server.DomainStatus) string {
	if len(all) <= 20 {
		return ""
	}
	steps, trouble := map[string]int{}, 0
	for _, d := range all {
		steps[cmp.Or(string(d.Step), "not looked at yet")]++
		if d.Trouble() != "" {
			trouble++
		}
	}
	var parts []string
	for _, step := range slices.Sorted(maps.Keys(steps)) {
		parts = append(parts, fmt.Sprintf("%d %s", steps[step], step))
	}
	return fmt.Sprintf("\n%s: %s; something is wrong or missing at %d (--trouble shows these alone)\n", counted(len(all), "domain"), strings.Join(parts, ", "), trouble)
}

func explainCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "explain DOMAIN",
		Short: "Say the one thing that blocks a domain or host, and the remedy",
		Args:  cobra.ExactArgs(1),
		RunE: action(func(cmd *cobra.Command, args []string) error {
			return answer(cmd, o, args[0], func(r reader, ctx context.Context, name string) (server.Explanation, error) {
				d, err := r.Domain(ctx, name)
				return server.Explain(d), err
			}, printExplanation, func(h server.HostStatus) (any, func(io.Writer) error) {
				e := server.ExplainHost(h)
				return e, func(w io.Writer) error { return printExplanation(w, e) }
			})
		}),
	}
}

// recordsAnswer is the shape of `records --json`.
type recordsAnswer struct {
	Records []server.DNSRecord `json:"records"`
}

func recordsCommand(o *options) *cobra.Command {
	return &cobra.Command{
		Use:   "records DOMAIN",
		Short: "Show the DNS records that a domain needs, as zone text",
		Args:  cobra.ExactArgs(1),
		RunE: action(func(cmd *cobra.Command, args []string) error {
			return answer(cmd, o, args[0], func(r reader, ctx context.Context, name string) (recordsAnswer, error) {
				all, err := r.Records(ctx, name)
				if o.json { // what is not known yet is nothing to feed to a program
					all = slices.DeleteFunc(all, func(r server.DNSRecord) bool { return r.Data == "" })
				}
				return recordsAnswer{all}, err
			}, func(w io.Writer, a recordsAnswer) error {
				_, err := io.WriteString(w, server.FormatZone(a.Records))
				return err
			}, nil)
		}),
	}
}

// answer asks about one domain and prints what came, as JSON or for people. Of
// a host beside the policy hosts it prints what host makes of it; nil: nothing
// can be said of those.
func answer[T any](cmd *cobra.Command, o *options, domain string,
	ask func(reader, context.Context, string) (T, error), print func(io.Writer, T) error,
	host func(server.HostStatus) (any, func(io.Writer) error)) error {
	name, err := mtasts.ParseDomain(domain)
	if err != nil {
		return usageError{err}
	}
	return withReader(cmd, o, func(ctx context.Context, r reader) error {
		var shown any
		v, err := askDomain(ctx, name, func(ctx context.Context, name string) (T, error) { return ask(r, ctx, name) })
		show := func(w io.Writer) error { return print(w, v) }
		shown = v
		if errors.Is(err, state.ErrNotFound) {
			h, hostErr := furtherHost(ctx, r, name)
			switch {
			case hostErr != nil || h == nil:
			case host == nil:
				err = fmt.Errorf("%s is one of the extra_hosts: it needs no record but those that lead it to this server", name)
			default:
				shown, show = host(*h)
				err = nil
			}
		}
		if err != nil {
			return err
		}
		if o.json {
			return printJSON(cmd.OutOrStdout(), shown)
		}
		return show(cmd.OutOrStdout())
	})
}

func printDomains(w io.Writer, all []server.DomainStatus) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	fmt.Fprintln(tw, "DOMAIN\tMODE\tSTATE\tID\tCERTIFICATE UNTIL\tNEWS")
	for _, d := range all {
		fmt.Fprintf(tw, "%s\t%s\t%s\t%s\t%s\t%s\n", d.Domain, dash(modeOf(d)), dash(stateOf(d)), dash(d.ID), certificate(d), glance(escaped(d.News())))
	}
	if err := tw.Flush(); err != nil {
		return err
	}
	waiting, unknown := 0, 0
	for _, d := range all {
		if d.MXUnknown && !d.MXTrouble {
			unknown++
		}
		if !d.ConfigWaits.IsZero() {
			waiting++
		}
	}
	if waiting > 0 {
		fmt.Fprintf(w, "New or changed in the config, and not taken up yet: %d of %d domains.\n", waiting, len(all))
	}
	if unknown > 0 {
		fmt.Fprintf(w, "It could not be told at the last look how the MX hosts are: %d of %d domains; `stshost status DOMAIN` says why.\n", unknown, len(all))
	}
	return nil
}

// glance is as much of a text as a table has room for; `explain` has it all.
func glance(text string) string {
	const most = 100
	if r := []rune(text); len(r) > most {
		return strings.TrimSpace(string(r[:most-2])) + " …"
	}
	return text
}

// stateOf is the step, with the way of the proof if it was not the usual one:
// then nothing is known of the way from outside.
func stateOf(d server.DomainStatus) string {
	if d.Stage == string(state.StageRetired) {
		return d.Stage // and nothing is left to have a state
	}
	if via, ok := strings.CutSuffix(d.Proof, " ok"); ok && strings.HasPrefix(via, "via ") {
		switch d.Step {
		case state.Proven, state.Announced, state.Confirmed:
			return string(d.Step) + " (" + via + ")"
		}
	}
	return string(d.Step)
}

// modeOf is the mode in a table, on the way to enforce in full with the max_age, by
// which the stages differ.
func modeOf(d server.DomainStatus) string {
	switch {
	case d.Goal != string(state.GoalEnforce):
	case d.Mode == string(mtasts.ModeEnforce) && d.MaxAge > 0:
		return d.Mode + " " + duration(time.Duration(d.MaxAge)*time.Second)
	case d.Mode == string(mtasts.ModeTesting):
		return d.Mode + ", to enforce"
	}
	return d.Mode
}

// proxysCertificate stands for a certificate that a reverse proxy has.
const proxysCertificate = "the proxy's"

// certificate says in a table until when the certificate is valid.
func certificate(d server.DomainStatus) string {
	if d.CertificateExternal {
		return proxysCertificate
	}
	return day(d.CertificateNotAfter)
}

func printDomain(w io.Writer, d server.DomainStatus) error {
	tw := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	row := func(key, value string) {
		if value != "" {
			fmt.Fprintf(tw, "%s:\t%s\n", key, value)
		}
	}
	row("domain", d.Domain)
	row("policy host", d.Host)
	row("state", cmp.Or(stateOf(d), "not looked at yet")+since(d.Since))
	row("mode", strings.TrimSpace(dash(d.Mode)+" ("+d.ModeSource+")"))
	if d.MaxAge > 0 {
		row("max_age", duration(time.Duration(d.MaxAge)*time.Second))
	}
	row("stage", d.StageText())
	row("id", d.ID)
	if d.CertificateExternal {
		row("certificate", proxysCertificate)
	}
	row("certificate until", stamp(d.CertificateNotAfter))
	row("own certificate", d.CertificateOwn)
	row("certificate problem", d.CertificateProblem)
	if d.CertificateProblem != "" && d.CertificateOwn == "" {
		row("certificate next try", stamp(d.CertificateNextTry))
	}
	row("proof", d.Proof)
	row("MX hosts", escaped(d.MX))
	row("MX hosts looked at", stamp(d.MXChecked))
	row("next look at MX hosts", stamp(d.MXNext))
	row("MX remedy", escaped(d.MXRemedy))
	row("DNS account", d.DNSAccount)
	row("last look", stamp(d.LastRun))
	row("next look", stamp(d.NextRun))
	row("news", escaped(d.News()))
	row("remedy", d.Remedy)
	row("rollout remedy", escaped(d.RolloutRemedy))
	row("next look at gates", stamp(d.RolloutNext))
	if err := tw.Flush(); err != nil {
		return err
	}
	if d.Body != "" {
		fmt.Fprintf(w, "\npolicy served at %s:\n", mtasts.PolicyURL(d.Domain))
		for line := range strings.Lines(d.Body) {
			fmt.Fprintf(w, "  %s\n", strings.TrimRight(line, "\r\n"))
		}
	}
	return nil
}

func printExplanation(w io.Writer, e server.Explanation) error {
	fmt.Fprintln(w, e.Summary)
	if e.Blocking != "" {
		fmt.Fprintf(w, "What blocks it: %s.\n", strings.TrimSuffix(escaped(e.Blocking), "."))
	}
	if e.Remedy != "" {
		fmt.Fprintf(w, "What to do: %s.\n", strings.TrimSuffix(escaped(e.Remedy), "."))
	}
	if e.Blocking != "" && !e.NextRun.IsZero() {
		fmt.Fprintf(w, "It is tried again at %s.\n", stamp(e.NextRun))
	}
	for _, part := range []struct {
		title, text, todo, remedy, again string
		next                             time.Time
	}{
		{"What is wrong with its MX hosts", e.MX, "What to do about them", e.MXRemedy, "They are looked at again at", e.MXNext},
		{"What holds its rollout up", e.Rollout, "What to do about that", e.RolloutRemedy, "Its gates are looked at again at", e.RolloutNext},
		{"Hint", e.Hint, "What to do", e.RolloutRemedy, "", time.Time{}},
	} {
		if part.text == "" {
			continue
		}
		fmt.Fprintf(w, "%s: %s.\n", part.title, strings.TrimSuffix(escaped(part.text), "."))
		if part.remedy != "" {
			fmt.Fprintf(w, "%s: %s.\n", part.todo, strings.TrimSuffix(escaped(part.remedy), "."))
		}
		if !part.next.IsZero() {
			fmt.Fprintf(w, "%s %s.\n", part.again, stamp(part.next))
		}
	}
	return nil
}

func dash(s string) string { return cmp.Or(s, "-") }

// duration writes d as the config has it: "7d", "36h", "90s".
func duration(d time.Duration) string {
	for _, unit := range []struct {
		d    time.Duration
		name string
	}{{7 * 24 * time.Hour, "w"}, {24 * time.Hour, "d"}, {time.Hour, "h"}, {time.Minute, "m"}} {
		if d > unit.d && d%unit.d == 0 {
			return fmt.Sprintf("%d%s", d/unit.d, unit.name)
		}
	}
	return fmt.Sprintf("%ds", d/time.Second)
}

func day(t time.Time) string {
	if t.IsZero() {
		return "-"
	}
	return t.UTC().Format(time.DateOnly)
}

func stamp(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return t.UTC().Format("2006-01-02 15:04:05 UTC")
}

func since(t time.Time) string {
	if t.IsZero() {
		return ""
	}
	return " since " + stamp(t)
}
