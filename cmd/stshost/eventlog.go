package main

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/stshost/stshost/config"
	"github.com/stshost/stshost/events"
	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
	"github.com/stshost/stshost/server"
)

// openEvents begins to keep what happens.
func (s *service) openEvents(cfg *config.Config) {
	s.events = events.New(events.Config{Store: s.store, Keep: cfg.Store.KeepEvents, Now: s.env.now, Logger: s.log})
}

// hostEvent records an event of a part that knows hosts and no policy domains.
func (s *service) hostEvent(e state.Event) {
	if domain, ok := mtasts.PolicyDomain(e.Host); ok && e.Domain == "" {
		e.Domain = domain
	}
	s.events.Record(e)
}

// lastEvents is how long a stop waits for the last events to be stored.
const lastEvents = 5 * time.Second

// closeEvents stores the last events, which must come before the store is
// closed.
func (s *service) closeEvents() {
	if s.events == nil {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), lastEvents)
	defer cancel()
	if err := s.events.Close(ctx); err != nil {
		s.log.Error("closing the events", "error", err)
	}
}

// Events returns the events that q chooses, and waits for one if there is none.
func (s *service) Events(ctx context.Context, q state.EventQuery, wait time.Duration) ([]state.Event, error) {
	if wait <= 0 {
		return s.events.Events(ctx, q)
	}
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	return s.events.Next(ctx, q)
}

// noteStart tells that the server runs, and if the one before it ended without
// a word.
func (s *service) noteStart(ctx context.Context) {
	e := state.Event{
		Kind: state.KindServerStarted, Severity: state.SeverityInfo,
		Text:     "the server has started",
		Evidence: map[string]string{"version": version(), "domains": strconv.Itoa(len(s.started.Domains))},
	}
	started, stopped := s.lastEvent(ctx, state.KindServerStarted), s.lastEvent(ctx, state.KindServerStopped)
	// A backup of a running server's store has seen it start and not stop.
	restored := s.lastEvent(ctx, state.KindStoreRestored)
	if started.ID > max(stopped.ID, restored.ID) {
		e.Severity = state.SeverityWarning
		e.Text = "the server has started; the one before it ended without stopping in order: it was killed, it crashed, or the machine lost power"
		e.Remedy = "see the log of the service manager for how it ended"
		e.Evidence["before"] = started.Time.UTC().Format(time.RFC3339)
	}
	s.events.Record(e)

	// The config of a start is in order: what was refused before is over.
	if s.lastEvent(ctx, state.KindConfigRefused).ID > s.lastEvent(ctx, state.KindConfigReloaded).ID {
		s.events.Record(state.Event{Kind: state.KindConfigReloaded, Severity: state.SeverityInfo, Text: "the config was read at the start and is in order again"})
	}
}

// lastEvent is the newest event of the kind, or none.
func (s *service) lastEvent(ctx context.Context, kind string) state.Event {
	found, err := s.events.Events(ctx, state.EventQuery{Kind: kind, Newest: true, Limit: 1})
	if err != nil {
		s.log.Warn("the events of before cannot be read", "error", err)
	}
	if len(found) == 0 {
		return state.Event{}
	}
	return found[0]
}

// noteStop tells how the server ended.
func (s *service) noteStop(err error) {
	e := state.Event{Kind: state.KindServerStopped, Severity: state.SeverityInfo, Text: "the server was told to stop, and did"}
	if err != nil {
		e.Severity = state.SeverityCritical
		e.Text = fmt.Sprintf("the server has ended, because something it needs failed: %v", err)
		e.Remedy = "mend what it names and start the server; until then nothing is served"
	}
	s.events.Record(e)
}

// noteReload tells what a reload changed, or why it was refused.
func (s *service) noteReload(res server.ReloadResult, err error) {
	e := state.Event{Kind: state.KindConfigReloaded, Severity: state.SeverityInfo, Evidence: make(map[string]string)}
	var invalid *server.InvalidConfigError
	switch {
	case errors.As(err, &invalid):
		e.Kind, e.Severity = state.KindConfigRefused, state.SeverityWarning
		e.Text = fmt.Sprintf("the config was to be reloaded and has faults, so that the running one stays; the first: %s", invalid.Errors[0])
		e.Remedy = "correct the config; `stshost config check` shows its faults"
		e.Evidence["faults"] = strings.Join(invalid.Errors[:min(len(invalid.Errors), 20)], "\n")
		e.Evidence["count"] = strconv.Itoa(len(invalid.Errors))
	case err != nil:
		e.Kind, e.Severity = state.KindConfigRefused, state.SeverityWarning
		e.Text = fmt.Sprintf("the config could not be reloaded, and the running one stays: %v", err)
		e.Remedy = "mend what it names and reload again"
	case res.Empty() && !s.refused:
		return
	case res.Empty():
		e.Text = "the config is in order again; nothing changed"
	default:
		var parts []string
		for _, p := range []struct {
			key, what string
			names     []string
		}{
			{"added", "domains added", res.Added}, {"changed", "domains changed", res.Changed}, {"removed", "domains removed", res.Removed},
		} {
			if n := len(p.names); n > 0 {
				e.Evidence[p.key] = strconv.Itoa(n)
				parts = append(parts, fmt.Sprintf("%s: %d", p.what, n))
			}
		}
		if len(res.Settings) > 0 {
			e.Evidence["settings"] = strings.Join(res.Settings, " ")
			parts = append(parts, "settings in force: "+strings.Join(res.Settings, ", "))
		}
		if len(res.Restart) > 0 {
			e.Evidence["restart"] = strings.Join(res.Restart, " ")
			parts = append(parts, "settings that need a restart: "+strings.Join(res.Restart, ", "))
			e.Remedy = "restart the server for the settings that need it"
		}
		e.Text = fmt.Sprintf("the config was reloaded; %s", strings.Join(parts, "; "))
	}
	s.refused = e.Kind == state.KindConfigRefused
	s.events.Record(e)
}
