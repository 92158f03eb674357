package mxwatch

import (
	"context"
	"errors"
	"time"

	"github.com/stshost/stshost/internal/state"
	"github.com/stshost/stshost/mtasts"
)

// lookTimeout bounds one look. What was not seen by then is not known.
const lookTimeout = 2 * time.Minute

// look looks at one domain, of which last is known, and returns what is known
// then. idle says that there is nothing to look at before the domain serves
// another policy.
func (w *Watch) look(ctx context.Context, d *domain, last state.MXWatch) (next state.MXWatch, idle bool) {
	p, ok := w.cfg.Policy(d.name)
	switch {
	case !ok:
		return last, true
	case p.Mode == mtasts.ModeNone: // senders do as without a policy (RFC 8461 §5)
		return w.drop(context.WithoutCancel(ctx), d, last, p)
	}
	seen, err := w.cfg.Prober.CheckMX(ctx, d.name, p.MX, p.Mode)
	switch {
	case errors.Is(ctx.Err(), context.Canceled):
		return last, false // a stop, or the domain left: nothing is known of the hosts
	case err != nil:
		seen = state.MXCheck{
			Unknown: true, Summary: "the MX hosts could not be looked at: " + err.Error(), Open: []string{state.MXAnything},
		}
	}
	seen.Domain, seen.Time = d.name, w.cfg.Now()
	return w.conclude(context.WithoutCancel(ctx), d, seen, last, p), false
}

// confirm is for how long a connection has to fail until that counts: until the
// look that comes after the first one.
func (w *Watch) confirm() time.Duration {
	return min(firstRetry, w.interval()) * 9 / 10
}

// conclude stores what a look saw, and tells what is new in it.
func (w *Watch) conclude(ctx context.Context, d *domain, seen state.MXCheck, last state.MXWatch, p mtasts.Policy) state.MXWatch {
	confirm := w.confirm()
	next := judge(seen, last, p.Mode, confirm)
	told, failed := tell(seen, next, p, confirm)
	told, drifted := drift(seen, told, p, failed)
	told, events := guard(seen, told, p)
	if drifted != nil {
		events = append([]state.Event{*drifted}, events...)
	}
	if failed != nil {
		events = append([]state.Event{*failed}, events...)
	}
	switch err := w.keep(ctx, d, told, events...); {
	case errors.Is(err, errLeft):
		return last
	case err != nil:
		// What the store does not have is not told: the next look, which comes
		// soon, finds it once more.
		w.log.Error("what was seen of MX hosts cannot be stored", "domain", d.name, "error", err)
		next.Attempts = max(next.Attempts, 1)
		return next
	}
	w.logEvents(events)
	if w.cfg.Drift != nil && len(uncovered(seen, p)) > 0 {
		w.cfg.Drift(d.name, seen)
	}
	return told
}

func (w *Watch) logEvents(events []state.Event) {
	for _, e := range events {
		switch e.Kind {
		case state.KindMXFailed:
			w.log.Warn("something is wrong with the MX hosts", "domain", e.Domain, "reason", e.Evidence["reason"], "remedy", e.Remedy)
		case state.KindMXGuard:
			w.log.Warn("an MX host that used to pass fails at all of its addresses", "domain", e.Domain, "host", e.Host, "reason", e.Evidence["reason"], "remedy", e.Remedy)
		case state.KindMXDrift:
			w.log.Info("the MX records name what the policy does not", "domain", e.Domain, "hosts", e.Evidence["new_mx"], "remedy", e.Remedy)
		case state.KindMXRecovered:
			w.log.Info("all is well again with the MX hosts", "domain", e.Domain)
		}
	}
}

// keep stores what is known of a domain, and then tells the events.
func (w *Watch) keep(ctx context.Context, d *domain, known state.MXWatch, events ...state.Event) error {
	return w.whileThere(d, func() error {
		if err := w.cfg.Store.SaveMXCheck(ctx, known); err != nil {
			return err
		}
		for _, e := range events {
			w.cfg.Event(e)
		}
		return nil
	})
}

var errLeft = errors.New("the domain has left")

// whileThere does something about a domain unless it has left: SetDomains takes
// effect before all of it, or after.
func (w *Watch) whileThere(d *domain, do func() error) error {
	w.leaving.RLock()
	defer w.leaving.RUnlock()
	if !w.has(d) {
		return errLeft
	}
	return do()
}

// drop forgets what was seen of a domain whose MX hosts matter no longer: at once,
// or at the next look, if the end of trouble is to be told first.
func (w *Watch) drop(ctx context.Context, d *domain, last state.MXWatch, p mtasts.Policy) (next state.MXWatch, idle bool) {
	var err error
	switch {
	case last.Told.Kind == state.KindMXFailed:
		told, e := tellRecovered(state.MXWatch{
			Domain: d.name, Time: w.cfg.Now(), Passed: true, Attempts: 1, Told: last.Told,
			Summary: "in mode none senders accept any MX host",
		}, p, "the policy is in mode none, so that senders accept any MX host; before that: "+last.Told.Reason)
		if err = w.keep(ctx, d, told, *e); err == nil {
			return told, false
		}
	case last.Time.IsZero():
		return last, true
	default:
		err = w.whileThere(d, func() error { return w.cfg.Store.RemoveMXChecks(ctx, []string{d.name}) })
		if err == nil {
			return state.MXWatch{}, true
		}
	}
	if errors.Is(err, errLeft) {
		return last, true
	}
	w.log.Error("what was seen of MX hosts cannot be forgotten", "domain", d.name, "error", err)
	last.Attempts = max(last.Attempts, 1)
	last.Time = w.cfg.Now() // it is tried again in a while
	return last, false
}
