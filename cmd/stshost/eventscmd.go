package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/spf13/cobra"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
	"github.com/stshost/stshost/server"
)

func eventsCommand(o *options) *cobra.Command {
	var q state.EventQuery
	var follow bool
	var since, severity string
	cmd := &cobra.Command{
		Use:   "events [DOMAIN]",
		Short: "Show what happened, when, why, and what to do about it",
		Long: `Events shows what happened: the newest 100, the latest at the end, each with its
time, its severity (info, warning, critical), the domain or host it is about,
and what can be done about it. --follow goes on with what comes next, until
interrupted, also over a restart of the server.

A host may stand in for DOMAIN: one of the extra_hosts, or a policy host, which
means its domain.

With --json each event is one JSON object on a line, with its evidence.`,
		Args: cobra.MaximumNArgs(1),
		RunE: action(func(cmd *cobra.Command, args []string) error {
			q.Newest, q.MinSeverity = true, state.Severity(severity)
			if err := completeQuery(&q, args, since, time.Now()); err != nil {
				return usageError{err}
			}
			return withReader(cmd, o, func(ctx context.Context, r reader) error {
				p := &eventPrinter{w: cmd.OutOrStdout(), json: o.json}
				f := follower{ask: r, q: q, print: p.print, note: func(text string) { fmt.Fprintln(cmd.ErrOrStderr(), text) }}
				if q.Domain != "" {
					if err := whom(ctx, r, &f.q, q.Domain); err != nil {
						return err
					}
				}
				if _, off := r.(*offline); off && follow {
					return errors.New("events can be followed only while a server runs; leave --follow out to see those that are stored")
				}
				last, err := f.first(ctx)
				if err != nil || !follow {
					return err
				}
				return f.follow(ctx, last)
			})
		}),
	}
	flags := cmd.Flags()
	flags.BoolVarP(&follow, "follow", "f", false, "go on with the events that come")
	flags.StringVar(&since, "since", "", "only events of the last `time` (30m, 24h, 7d), or since a time as 2026-01-31T12:00:00Z")
	flags.StringVar(&q.Kind, "kind", "", "only events of this `kind`, as domain.blocked")
	flags.StringVar(&severity, "severity", "", "only events of this `severity` or graver: info, warning or critical")
	flags.IntVarP(&q.Limit, "lines", "n", state.DefaultEvents, "at most the `number` of the newest events; 0 with --follow: only new ones")
	return cmd
}

// maxEventLines is how many events a server gives at once.
const maxEventLines = 10_000

// completeQuery takes over the arguments that need a look first.
func completeQuery(q *state.EventQuery, args []string, since string, now time.Time) (err error) {
	if len(args) == 1 {
		if q.Domain, err = mtasts.ParseDomain(args[0]); err != nil {
			return err
		}
	}
	if q.MinSeverity != "" && q.MinSeverity.Rank() == 0 {
		return fmt.Errorf("--severity %q is none of info, warning, critical", q.MinSeverity)
	}
	if kinds := state.EventKinds(); q.Kind != "" && !slices.Contains(kinds, q.Kind) {
		return fmt.Errorf("--kind %q is none of %s", q.Kind, strings.Join(kinds, ", "))
	}
	if q.Limit < 0 || q.Limit > maxEventLines {
		return fmt.Errorf("-n %d is out of range; it must be from 0 to %d", q.Limit, maxEventLines)
	}
	if since != "" {
		if q.Since, err = sinceTime(since, now); err != nil {
			return err
		}
	}
	return nil
}

// sinceTime reads a span of time before now, or a point in time.
func sinceTime(s string, now time.Time) (time.Time, error) {
	if t, err := time.Parse(time.RFC3339, s); err == nil {
		return t, nil
	}
	if t, err := time.ParseInLocation(time.DateOnly, s, time.Local); err == nil {
		return t, nil
	}
	span, err := time.ParseDuration(s)
	for suffix, unit := range map[string]time.Duration{"d": 24 * time.Hour, "w": 7 * 24 * time.Hour} {
		if n, ok := strings.CutSuffix(s, suffix); ok {
			var days uint64
			days, err = strconv.ParseUint(n, 10, 12)
			span = time.Duration(days) * unit
		}
	}
	if err != nil || span < 0 {
		return time.Time{}, fmt.Errorf("--since %q is neither a span such as 30m, 24h or 7d nor a time such as 2026-01-31T12:00:00Z", s)
	}
	return now.Add(-span), nil
}

// follower asks for events and shows them.
type follower struct {
	ask   reader
	q     state.EventQuery
	print func([]server.Event) error
	note  func(text string) // beside the events
}

// first shows what there is, and returns the id from which to go on.
func (f follower) first(ctx context.Context) (last int64, err error) {
	if f.q.Limit == 0 {
		newest, err := f.ask.Events(ctx, state.EventQuery{Newest: true, Limit: 1}, 0)
		return lastID(newest, 0), err
	}
	found, err := f.ask.Events(ctx, f.q, 0)
	if err != nil {
		return 0, err
	}
	if len(found) == 0 {
		return 0, nil
	}
	return lastID(found, 0), f.print(found)
}

// eventWait is how long one question waits for an event, and eventPause how
// long to leave a server alone that does not answer.
const (
	eventWait  = 30 * time.Second
	eventPause = time.Second
)

// follow shows what comes after the event last until ctx ends. A server that
// goes away is waited for.
func (f follower) follow(ctx context.Context, last int64) error {
	q := f.q
	q.Newest, q.Limit = false, 1000
	away := false
	for {
		q.After = last
		asked, wait := time.Now(), eventWait
		if away {
			wait = 0 // to know at once that it is back
		}
		found, err := f.ask.Events(ctx, q, wait)
		switch {
		case ctx.Err() != nil:
			return nil
		case err != nil && !away:
			away = true
			f.note("the server does not answer any more; waiting for it to come back")
		case err == nil && away:
			away = false
			f.note("the server is back")
			if last, err = f.resume(ctx, last, found); err != nil {
				away = true
			}
		}
		if len(found) > 0 {
			if err := f.print(found); err != nil {
				return err
			}
			last = lastID(found, last)
		}
		if len(found) == 0 && time.Since(asked) < eventPause {
			select {
			case <-time.After(eventPause):
			case <-ctx.Done():
				return nil
			}
		}
	}
}

// resume is the id from which to go on after a time without a server: another
// one when its store is not the one of before.
func (f follower) resume(ctx context.Context, last int64, found []server.Event) (int64, error) {
	if len(found) > 0 {
		return last, nil
	}
	newest, err := f.ask.Events(ctx, state.EventQuery{Newest: true, Limit: 1}, 0)
	if err != nil {
		return last, err
	}
	if id := lastID(newest, 0); id < last {
		f.note("the server has another store than before; what it has to tell from now on follows")
		return id, nil
	}
	return last, nil
}

func lastID(events []server.Event, or int64) int64 {
	if len(events) == 0 {
		return or
	}
	return events[len(events)-1].ID
}

// eventPrinter writes events for people, or as a line of JSON each.
type eventPrinter struct {
	w     io.Writer
	json  bool
	width int // of the column of domains
}

// widestDomain is how far a long name moves the texts to the right.
const widestDomain = 32

func (p *eventPrinter) print(events []server.Event) error {
	if p.json {
		enc := json.NewEncoder(p.w)
		enc.SetEscapeHTML(false)
		for _, e := range events {
			if err := enc.Encode(e); err != nil {
				return err
			}
		}
		return nil
	}
	for _, e := range events {
		p.width = max(p.width, min(utf8.RuneCountInString(about(e)), widestDomain))
	}
	var b strings.Builder
	for _, e := range events {
		fmt.Fprintf(&b, "%s  %-8s  %-*s  %s\n", e.Time.Local().Format(time.RFC3339), e.Severity, p.width, about(e), escaped(e.Text))
		if e.Remedy != "" {
			fmt.Fprintf(&b, "    what to do: %s\n", escaped(e.Remedy))
		}
	}
	_, err := io.WriteString(p.w, b.String())
	return err
}

// about is the domain or else the host that an event is about.
func about(e server.Event) string { return escaped(cmp.Or(e.Domain, e.Host, "-")) }

// printable is s on one line and without what a terminal would take for a
